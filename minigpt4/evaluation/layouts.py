"""Reading what POPE, CHAIR, caption scores and failure rates are measured on.

    POPE        a line each {"question_id": 1, "image": "a.jpg", "text": "...", "label": "yes"}
    CHAIR       COCO's instances_*.json, with captions_*.json beside it; or a line each
                {"image": "a.png", "objects": ["boat", "sun"]}
    captions    COCO's captions_*.json; or a line each {"image": "a.png", "captions": ["..."]}
    failures    a folder of pictures; or a line each {"image": "a.png"}

Questions with answers are read by `vqa_layouts`.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from minigpt4.errors import ConfigError
from minigpt4.evaluation.files import (
    PictureFolder,
    group_of,
    is_lines,
    items_of,
    read_json,
    read_rows,
    text_of,
    texts_of,
)
from minigpt4.evaluation.items import Data, Item
from minigpt4.evaluation.objects import Objects


def read_failures(path: Path, pictures: PictureFolder) -> Data:
    """Pictures to describe.

    Args:
        path: A folder of them, or a JSONL file that names them.
        pictures: Where the file's pictures are.

    Raises:
        ConfigError: If there are none, or the file cannot be read.
    """
    if not path.is_dir():
        return items_of(
            read_rows(path), lambda row: Item(_key(row), pictures.named(text_of(row, "image")), "")
        )
    items = tuple(Item(name, file, "") for name, file in PictureFolder(path).all())
    if not items:
        raise ConfigError([f"{path}: there is no picture in this folder."])
    return Data(items)


def read_pope(path: Path, pictures: PictureFolder) -> Data:
    """Questions of POPE.

    Raises:
        ConfigError: If the file cannot be read.
    """

    def item(row: dict[str, Any]) -> Item:
        label = text_of(row, "label").lower()
        if label not in ("yes", "no"):
            raise ValueError(f'"label" must be yes or no; {label!r} given.')
        key = text_of(row, "question_id", "id")
        group = group_of(row, "category")
        picture = pictures.named(text_of(row, "image"))
        return Item(key, picture, text_of(row, "text", "question"), (label,), group)

    return items_of(read_rows(path), item)


def read_chair(
    path: Path, pictures: PictureFolder, objects: Objects, captions: Sequence[Path] = ()
) -> Data:
    """Pictures to describe, and the objects that are in them.

    Args:
        path: COCO's instances, or a JSONL file.
        pictures: Where the pictures are.
        objects: The objects that count.
        captions: COCO's captions of the same pictures; what they name is there too.

    Raises:
        ConfigError: If a file cannot be read, or marks objects that are not in the list.
    """
    if is_lines(path):

        def item(row: dict[str, Any]) -> Item:
            there = {word: objects.object_of(word) for word in texts_of(row, "objects")}
            if unknown := [word for word, name in there.items() if name is None]:
                raise ValueError(f"{unknown[0]!r} is no object of the list.")
            there = dict.fromkeys(name for name in there.values() if name)
            return Item(_key(row), pictures.named(text_of(row, "image")), "", tuple(there))

        return items_of(read_rows(path), item)
    content = _coco(path)
    named = _category_objects(path, content, objects)
    found: dict[str, set[str]] = {}
    for each in content["annotations"]:
        found.setdefault(str(each["image_id"]), set()).add(named[each["category_id"]])
    for file in captions:
        for each in _coco(file, "caption")["annotations"]:
            mentions = objects.mentions(str(each["caption"]))
            found.setdefault(str(each["image_id"]), set()).update(name for _, name in mentions)
    notes = () if captions else ("What captions name was not counted as there; CHAIR counts it.",)
    return Data(
        tuple(
            Item(key, picture, "", tuple(sorted(found.get(key, ()))))
            for key, picture in _coco_pictures(content, pictures)
        ),
        notes=notes,
    )


def read_captions(path: Path, pictures: PictureFolder) -> Data:
    """Pictures and what people wrote under them.

    Raises:
        ConfigError: If the file cannot be read.
    """
    if is_lines(path):

        def item(row: dict[str, Any]) -> Item:
            one = isinstance(row.get("caption"), str)
            written = (text_of(row, "caption"),) if one else texts_of(row, "captions")
            if not written:
                raise ValueError('"captions" must hold at least one caption.')
            return Item(_key(row), pictures.named(text_of(row, "image")), "", written)

        return items_of(read_rows(path), item)
    content = _coco(path, "caption")
    written: dict[str, list[str]] = {}
    for each in content["annotations"]:
        written.setdefault(str(each["image_id"]), []).append(str(each["caption"]))
    listed = list(_coco_pictures(content, pictures))
    items = [Item(key, file, "", tuple(written[key])) for key, file in listed if key in written]
    bad = [(f"picture {key}", "It has no captions.") for key, _ in listed if key not in written]
    return Data(tuple(items), tuple(bad))


def _key(row: dict[str, Any]) -> str:
    return text_of(row, "id", "image_id", "image")


def _coco(path: Path, annotated: str = "image_id") -> dict[str, Any]:
    """A file of COCO whose annotations all have a field, `annotated`, besides their picture."""
    content = read_json(path)
    lists = ("images", "annotations")
    if not isinstance(content, dict) or not all(isinstance(content.get(n), list) for n in lists):
        raise ConfigError([f'{path}: no file of COCO: expected lists "images" and "annotations".'])
    wanted = {"images": ("id",), "annotations": ("image_id", annotated)}
    for name, keys in wanted.items():
        for number, row in enumerate(content[name], start=1):
            for key in keys:
                if not isinstance(row, dict) or row.get(key) is None:
                    raise ConfigError([f"{path}: {name}, entry {number}: expected {key!r}."])
    return content


def _category_objects(path: Path, content: Mapping[str, Any], objects: Objects) -> dict[int, str]:
    """The object of the list for each category."""
    categories = content.get("categories")
    if not isinstance(categories, list) or not all(
        isinstance(each, dict) and isinstance(each.get("id"), int) and "name" in each
        for each in categories
    ):
        expected = 'expected a list "categories" of id and name'
        raise ConfigError([f"{path}: no instances of COCO: {expected}."])
    for number, each in enumerate(content["annotations"], start=1):
        if not isinstance(each.get("category_id"), int):
            raise ConfigError([f"{path}: annotations, entry {number}: expected 'category_id'."])
    known = {each["id"]: objects.object_of(str(each["name"])) for each in categories}
    used = {each.get("category_id") for each in content["annotations"]}
    names = {each["id"]: each["name"] for each in categories}
    if unknown := sorted(str(names.get(key, key)) for key in used if not known.get(key)):
        told = ", ".join(unknown[:5])
        raise ConfigError([f"{path}: not in the list of --objects: {told}. Add each on a line."])
    return {key: name for key, name in known.items() if name}


def _coco_pictures(
    content: Mapping[str, Any], pictures: PictureFolder
) -> Iterator[tuple[str, Path]]:
    for row in content["images"]:
        key = str(row["id"])
        name = row.get("file_name")
        yield key, pictures.named(name) if isinstance(name, str) else pictures.of_id(key)
