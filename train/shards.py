"""Tar shards in img2dataset's layout, read member by member, with every fault counted by its cause.

A sample is the files of one key: a picture (`jpg`, `jpeg`, `png` or `webp`) and its caption (`json`
with "caption", or `txt`). A shard is indexed from its headers once, and then read anywhere in it.
webdataset reads streams, and leaves out in silence what follows a damaged header; so only its brace
patterns and its way of fetching remote shards are used here. No member is ever unpickled.
"""

import json
import os
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from minigpt4.errors import ImageError
from minigpt4.images import MAX_BYTES, load_image
from train.captions import clean_caption
from train.errors import TrainingError

PICTURES = frozenset({"jpg", "jpeg", "png", "webp"})
_CAPTIONS = ("json", "txt")  # the first that is there counts
_DAMAGE = (tarfile.TarError, ValueError, OverflowError, MemoryError)
"""What a damaged header can raise: sizes beyond what a file can be are no `TarError`."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a member's bytes stand in its shard."""

    start: int
    size: int


@dataclass(frozen=True, slots=True)
class Entry:
    """The files of one key that a sample is made of; None for what is missing."""

    key: str
    picture: Place | None
    caption: Place | None
    caption_kind: str = ""


class LostError(Exception):
    """A sample cannot be used.

    Attributes:
        cause: A few words, the same for all such samples.
    """

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard that was indexed.

    Attributes:
        path: The tar file.
        entries: Its samples, in the order in which they stand there.
        lost: Samples that the index already knows to be lost, by cause.
    """

    path: Path
    entries: tuple[Entry, ...]
    lost: Counter[str] = field(default_factory=Counter)

    def read(self, entry: Entry) -> tuple[Image.Image, str]:
        """The picture of a sample, RGB, and its caption, cleaned.

        Raises:
            LostError: If it cannot be used.
        """
        if entry.caption is not None and entry.picture is None:
            raise LostError("no picture")
        caption = self.read_caption(entry)
        return self.read_picture(entry), caption

    def read_caption(self, entry: Entry) -> str:
        """The caption of a sample alone, cleaned.

        Raises:
            LostError: If it cannot be used.
        """
        if entry.caption is None:
            raise LostError("no caption")
        with self.path.open("rb") as file:
            content = _bytes_at(file.fileno(), entry.caption)
        return _caption(content, entry.caption_kind)

    def read_picture(self, entry: Entry) -> Image.Image:
        """The picture of a sample alone, RGB.

        Raises:
            LostError: If it cannot be used.
        """
        if entry.picture is None:
            raise LostError("no picture")
        if entry.picture.size > MAX_BYTES:
            raise LostError("picture: too_many_bytes")  # and is not read either
        with self.path.open("rb") as file:
            content = _bytes_at(file.fileno(), entry.picture)
        try:
            return load_image(content)
        except ImageError as error:
            raise LostError(f"picture: {error.code}") from error


def index_shard(path: Path) -> Shard:
    """Finds the samples of a shard from its headers.

    A damaged shard keeps the samples before the damage; those that `<name>_stats.json` beside it
    (img2dataset's) promises beyond them are lost.

    Raises:
        LostError: If it is no tar file at all, or has no samples.
    """
    files: dict[str, dict[str, Place]] = {}
    twice: Counter[str] = Counter()
    try:
        size = path.stat().st_size
        with tarfile.open(path, "r:") as archive:
            whole = True
            for member in _members(archive):
                name = Path(member.name)
                key, _, extension = name.name.partition(".")
                place = Place(member.offset_data, member.size)
                if not 0 <= place.size <= size - place.start:
                    whole = False
                    break
                if not key:  # "._00000.jpg" and the like, of a Mac: no sample's
                    continue
                sample = files.setdefault(str(name.with_name(key)), {})
                if extension.lower() in sample:
                    twice["the same key twice"] += 1
                sample[extension.lower()] = place
            whole = whole and archive.offset <= size and _ends(path, archive.offset)
    except (*_DAMAGE, EOFError, OSError) as error:
        raise LostError("shard: no tar file") from error
    if not files:
        raise LostError("shard: empty")
    entries = tuple(_entry(key, sample) for key, sample in files.items())
    lost = Counter(twice)
    promised = _promised(path)
    if promised is not None and promised > len(entries):
        lost["shard: fewer samples than its stats promise"] = promised - len(entries)
    elif not whole:
        lost["shard: damaged, what follows is lost"] = 1
    return Shard(path, entries, lost)


def expand(urls: str) -> tuple[str, ...]:
    """The shards of a pattern, such as `cc/{00000..01255}.tar`; several are joined by `::`."""
    from webdataset.shardlists import expand_urls  # noqa: PLC0415 - brings much that others need not

    return tuple(expand_urls(urls))


def fetched(url: str, folder: Path) -> Path:
    """The file of a shard; one that lies elsewhere is brought into a folder first.

    Raises:
        LostError: If it cannot be had.
    """
    from webdataset.cache import FileCache  # noqa: PLC0415 - see above

    if "://" not in url:
        path = Path(url).expanduser()
        if not path.is_file():
            raise LostError("shard: not there")
        return path
    try:
        return Path(FileCache(str(folder)).get_file(url))
    except (OSError, ValueError) as error:
        raise LostError("shard: could not be fetched") from error


def _members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    try:
        for member in archive:
            if member.isreg():
                yield member
    except _DAMAGE:
        return  # within a header; `_ends` sees it


def _ends(path: Path, offset: int) -> bool:
    """Whether the archive ends where reading ended: tarfile takes a damaged header for the end."""
    with path.open("rb") as file:
        file.seek(offset)
        block = file.read(tarfile.BLOCKSIZE)
    return len(block) == tarfile.BLOCKSIZE and not any(block)


def _entry(key: str, sample: dict[str, Place]) -> Entry:
    picture = next((sample[kind] for kind in sample if kind in PICTURES), None)
    kind = next((kind for kind in _CAPTIONS if kind in sample), "")
    return Entry(key, picture, sample.get(kind), kind)


def _promised(path: Path) -> int | None:
    stats = path.with_name(f"{path.stem}_stats.json")
    try:
        return int(json.loads(stats.read_text(encoding="utf-8"))["successes"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"{stats} is no file of img2dataset's: {error!r}") from error


def _bytes_at(handle: int, place: Place) -> bytes:
    content = os.pread(handle, place.size, place.start)
    if len(content) < place.size:
        raise LostError("shard: cut off since it was indexed")
    return content


def _caption(content: bytes, kind: str) -> str:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise LostError("caption: not UTF-8") from error
    if kind == "json":
        try:
            told = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise LostError("caption: no JSON") from error
        caption = told.get("caption") if isinstance(told, dict) else None
        if not isinstance(caption, str):
            raise LostError("caption: none in the JSON")
        text = caption
    cleaned = clean_caption(text)
    if not cleaned:
        raise LostError("caption: empty")
    return cleaned
