"""Reading benchmarks' files, and finding their pictures."""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from minigpt4.batch_rows import PICTURE_ENDINGS
from minigpt4.errors import ConfigError
from minigpt4.evaluation.items import Data, Item

NO_OBJECT = "Expected an object."


def read_rows(path: Path) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """The objects of a JSONL file or of a JSON list, whatever the file's name ends in.

    POPE calls its JSONL files .json.

    Yields:
        The place of each row for people, and the row, or the reason why it is none.

    Raises:
        ConfigError: If the file cannot be read.
    """
    text = _text(path)
    if text.lstrip().startswith("["):
        content = _parsed(path, text)
        for number, row in enumerate(content, start=1):
            yield f"entry {number}", row if isinstance(row, dict) else NO_OBJECT
        return
    # JSON may hold characters as they are that `splitlines` takes for the end of a line.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            yield f"line {number}", "This is no JSON."
            continue
        yield f"line {number}", row if isinstance(row, dict) else NO_OBJECT


def read_json(path: Path) -> Any:  # noqa: ANN401 - whatever the file holds
    """The content of a JSON file.

    Raises:
        ConfigError: If it cannot be read or is no JSON.
    """
    return _parsed(path, _text(path))


def is_lines(path: Path) -> bool:
    """Whether a file holds an object a line: by its name, or because its first line is whole."""
    if path.suffix.lower() == ".jsonl":
        return True
    try:
        with path.open(encoding="utf-8-sig") as file:
            first, second = file.readline(1_000_000), file.readline(1_000_000)
        json.loads(first)
    except (OSError, ValueError, RecursionError):
        return False
    return first.lstrip().startswith("{") and second.lstrip().startswith("{")


def text_of(row: dict[str, Any], *names: str) -> str:
    """The first of some fields that holds a text; numbers become texts.

    Raises:
        ValueError: With a sentence, if there is none.
    """
    for name in names:
        value = row.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        if isinstance(value, str) and value.strip():
            return value.strip()
    given = " or ".join(f'"{name}"' for name in names)
    raise ValueError(f"{given} must be a text.")


def texts_of(row: dict[str, Any], name: str) -> tuple[str, ...]:
    """The texts of a field that holds a list of them.

    Raises:
        ValueError: With a sentence, if it does not.
    """
    value = row.get(name)
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return tuple(value)
    raise ValueError(f'"{name}" must be a list of texts.')


def group_of(row: dict[str, Any], name: str) -> str:
    """What a row's score is also filed under; nothing where its field is missing or null."""
    value = row.get(name)
    return "" if value is None else str(value)


def items_of(
    rows: Iterable[tuple[str, dict[str, Any] | str]], make: Callable[[dict[str, Any]], Item]
) -> Data:
    """Makes an item of each row.

    Args:
        rows: Place and row, or place and reason why it is none.
        make: Raises ValueError, with a sentence, for a row that cannot be asked.
    """
    items = []
    bad = []
    for place, row in rows:
        if isinstance(row, str):
            bad.append((place, row))
            continue
        try:
            items.append(make(row))
        except ValueError as error:
            bad.append((place, str(error)))
    return Data(tuple(items), tuple(bad))


class PictureFolder:
    """The pictures of a benchmark, found by their names or by the numbers in them.

    Benchmarks name a picture by a number, and store it under a name of their own: picture 42 of
    COCO is COCO_val2014_000000000042.jpg or 000000000042.jpg, of Visual Genome 42.jpg. The folder
    is listed once, when first asked for a number.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._named: dict[str, list[Path]] | None = None
        self._numbered: dict[int, list[Path]] = {}

    def named(self, name: str) -> Path:
        """Where the picture of a file's name belongs, whether it is there or not."""
        return self.folder / name

    def of_id(self, image_id: str) -> Path:
        """Where the picture of an id is; if nowhere, a place with its name that is not there.

        Raises:
            ValueError: With a sentence, if there are several.
        """
        named = self._list() if self._named is None else self._named
        found = named.get(image_id, [])
        if not found and image_id.isdecimal():
            found = self._numbered.get(int(image_id), [])
        if len(found) > 1:
            first, second = (each.relative_to(self.folder).as_posix() for each in found[:2])
            raise ValueError(f"Two pictures are number {image_id}: {first}, {second}.")
        return found[0] if found else self.folder / image_id

    def all(self) -> Iterator[tuple[str, Path]]:
        """Every picture of the folder and of those in it, by its path in the folder."""
        for path in sorted(self.folder.rglob("*")):
            inside = path.relative_to(self.folder)
            hidden = any(part.startswith(".") for part in inside.parts)
            if not hidden and path.suffix.lower() in PICTURE_ENDINGS and path.is_file():
                yield inside.as_posix(), path

    def _list(self) -> dict[str, list[Path]]:
        self._named = {}
        for _, path in self.all():
            self._named.setdefault(path.stem, []).append(path)
            if number := re.search(r"(?:^|\D)(\d{1,18})$", path.stem):
                self._numbered.setdefault(int(number[1]), []).append(path)
        return self._named


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ConfigError([f"{path}: there is no such file."]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: this is no text in UTF-8."]) from error
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read ({error.strerror})."]) from error


def _parsed(path: Path, text: str) -> Any:  # noqa: ANN401 - whatever the file holds
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError([f"{path}: this is no JSON ({error})."]) from error
