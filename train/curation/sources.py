"""Pictures to be described: a folder of them, tar shards, or rows of JSON that name them.

Where a picture is goes with its row through all steps: a file, or a piece of a tar file. So no
picture is copied before the export.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from minigpt4.batch_rows import PICTURE_ENDINGS
from minigpt4.images import MAX_BYTES
from train.curation.errors import CurationError, RowError
from train.curation.ledger import Fields
from train.own_rows import IMAGE_NAMES
from train.shards import LostError, expand, fetched, index_shard

_JSON_LINES = (".jsonl", ".ndjson")


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that is to be described.

    Attributes:
        id: Its name: the path within its folder, the shard and key, or as its row gives it.
        place: Where it is; `picture_bytes` reads it.
        problem: Why it cannot be read, if that is known already.
    """

    id: str
    place: Fields
    problem: str = ""


def pictures_of(source: str, cache: Path) -> Iterator[Picture]:
    """Finds the pictures of a source; none is opened yet.

    Args:
        source: A folder, a JSONL file, or a pattern of tar shards such as `cc/{00000..00009}.tar`.
        cache: Where shards that lie elsewhere are brought to.

    Raises:
        CurationError: If there is no such source, or it is none that can be read.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        yield from _of_folder(path)
    elif path.suffix.lower() in _JSON_LINES:
        yield from _of_lines(path)
    elif ".tar" in source:
        yield from _of_shards(source, cache)
    else:
        message = (
            f"{source}: expected a folder of pictures, a .jsonl file whose rows name an image, or"
            " tar shards such as shards/{00000..00009}.tar."
        )
        raise CurationError(message)


def picture_bytes(place: Fields) -> bytes:
    """The content of a picture's file.

    Raises:
        RowError: If it cannot be read.
    """
    path = Path(place["file"])
    size = place.get("size", MAX_BYTES + 1)
    try:
        with path.open("rb") as file:
            file.seek(place.get("start", 0))
            content = file.read(size)
    except OSError as error:
        raise RowError(f"{path.name}: {error.strerror}") from error
    if len(content) < place.get("size", 0):
        raise RowError(f"{path.name} was cut off since it was indexed")
    return content


def _of_folder(folder: Path) -> Iterator[Picture]:
    found = False
    for file in sorted(folder.rglob("*")):
        inside = file.relative_to(folder)
        hidden = any(part.startswith(".") for part in inside.parts)
        if hidden or file.suffix.lower() not in PICTURE_ENDINGS or not file.is_file():
            continue
        found = True
        yield Picture(inside.as_posix(), {"file": str(file.absolute())})
    if not found:
        endings = ", ".join(sorted(PICTURE_ENDINGS))
        raise CurationError(f"{folder}: there is no picture in this folder ({endings}).")


def _of_lines(path: Path) -> Iterator[Picture]:
    try:
        lines = path.read_text(encoding="utf-8-sig", errors="replace").split("\n")
    except OSError as error:
        raise CurationError(f"{path} cannot be read: {error.strerror}.") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, problem = _image_of(line)
        if problem:
            yield Picture(f"line {number}", {"file": str(path)}, f"line {number}: {problem}")
        else:
            yield Picture(name, {"file": str((path.parent / name).absolute())})


def _image_of(line: str) -> tuple[str, str]:
    """The image that a row names, or what is wrong with the row."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return "", "this is no JSON"
    named = [row[key] for key in IMAGE_NAMES if key in row] if isinstance(row, dict) else []
    if not named or not isinstance(named[0], str) or not named[0]:
        return "", f"no picture; expected a row such as {json.dumps({'image': 'cat.png'})}"
    return named[0], ""


def _of_shards(pattern: str, cache: Path) -> Iterator[Picture]:
    for url in expand(pattern):
        name = url.rpartition("/")[2]
        try:
            shard = index_shard(fetched(url, cache))
        except LostError as error:
            yield Picture(name, {"file": url}, f"{name}: {error.cause}")
            continue
        for entry in shard.entries:
            if entry.picture is None:
                yield Picture(f"{name}/{entry.key}", {"file": str(shard.path)}, "no picture")
                continue
            at = {"start": entry.picture.start, "size": entry.picture.size}
            yield Picture(f"{name}/{entry.key}", {"file": str(shard.path.absolute()), **at})
