"""The fault table: what can be wrong with data, counted to the piece by a run and by its check.

Further rows of the table stand with what they are about: broken tar files and every cause in
test_shards, a user's own rows in test_own_data, losses that are no number, SIGTERM and positions in
test_loop, a full disk in test_checkpoint_file, kills in tests/torture.
"""

import io
import json
import pickle
import struct
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.train.test_shards import FIRST, add, picture, settings, write_shard
from train.web_data import WebData

GOOD = json.dumps({"caption": "fine"}).encode()
Member = tuple[str, bytes]


def bomb() -> bytes:
    """A PNG whose header promises 12,000 x 12,000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", 12_000, 12_000, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


FAULTS: dict[str, tuple[list[Member], dict[str, int]]] = {
    "a broken picture": (
        [("a.png", picture(1)[:60]), ("a.json", GOOD)],
        {"picture: unreadable": 1},
    ),
    "a picture that is a page": (
        [("a.jpg", b"<html>gone</html>"), ("a.json", GOOD)],
        {"picture: not_supported": 1},
    ),
    "a picture with no bytes": ([("a.jpg", b""), ("a.json", GOOD)], {"picture: empty": 1}),
    "a bomb": ([("a.png", bomb()), ("a.json", GOOD)], {"picture: too_many_pixels": 1}),
    "no picture": ([("a.json", GOOD)], {"no picture": 1}),
    "no caption": ([("a.png", picture(1))], {"no caption": 1}),
    "an empty caption": ([("a.png", picture(1)), ("a.txt", b" \n")], {"caption: empty": 1}),
    "a caption of bad UTF-8": (
        [("a.png", picture(1)), ("a.txt", b"caf\xe9")],
        {"caption: not UTF-8": 1},
    ),
    "a key that comes twice": (
        [("a.png", picture(1)), ("a.png", picture(2)), ("a.json", GOOD)],
        {"the same key twice": 1},
    ),
    "three faults, two of a kind": (
        [("a.png", picture(1)), ("b.png", picture(1)), ("c.json", GOOD)],
        {"no caption": 2, "no picture": 1},
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_counted_exactly(fault: str, tmp_path: Path) -> None:
    """Beside 100 good samples, all of which stay usable."""
    members, expected = FAULTS[fault]
    write_shard(tmp_path / "0.tar", 100)
    with tarfile.open(tmp_path / "0.tar", "a") as archive:
        for name, content in members:
            add(archive, name, content)
    data = WebData(settings((str(tmp_path / "0.tar"), 1), most_lost=0.1), stage=1, seed=0)
    told = list(data.check())[-1]
    usable = 101 if fault == "a key that comes twice" else 100  # the last of its files counts
    assert told.startswith(f"{usable} samples can be used. Lost: ")
    assert all(f"{number} x {cause}" in told for cause, number in expected.items())
    assert told.count(" x ") == len(expected)


def test_members_in_any_order_make_their_samples(tmp_path: Path) -> None:
    """webdataset makes none of them: there, the files of a sample have to stand together."""
    with tarfile.open(tmp_path / "0.tar", "w") as archive:
        for number in range(70):
            add(archive, f"{number}.png", picture(number))
        for number in range(70):
            add(archive, f"{number}.txt", b"a picture")
    data = WebData(settings((str(tmp_path / "0.tar"), 1)), stage=1, seed=0)
    assert list(data.check()) == ["70 samples can be used. None is lost."]


def test_names_that_lead_out_of_the_folder_are_only_keys(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "0.tar", "w") as archive:
        add(archive, "../../outside.png", picture(1))
        add(archive, "../../outside.txt", b"a picture")
    data = WebData(settings((str(tmp_path / "0.tar"), 1)), stage=1, seed=0)
    assert list(data.check()) == ["1 samples can be used. None is lost."]
    assert [path.name for path in tmp_path.rglob("*")] == ["0.tar"]
    assert not list(tmp_path.parent.parent.glob("outside*"))


class Harmful:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self._path,)


def test_pickled_members_are_never_decoded(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    harmful = pickle.dumps(Harmful(canary))
    pickle.loads(harmful)
    assert canary.exists()
    canary.unlink()
    write_shard(tmp_path / "0.tar", 70)
    with tarfile.open(tmp_path / "0.tar", "a") as archive:
        for kind in ("pkl", "pth", "pickle", "pt"):
            add(archive, f"000000069.{kind}", harmful)
            add(archive, f"evil.{kind}", harmful)
    data = WebData(settings((str(tmp_path / "0.tar"), 1), most_lost=0.1), stage=1, seed=0)
    assert list(data.check())[-1] == "70 samples can be used. Lost: 1 x no caption."
    for number in range(20):
        data.sample_of(FIRST + number)
    assert not canary.exists()


def cut(whole: bytes) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        members = archive.getmembers()  # three a sample
    yield "cut within the sixth sample", whole[: members[15].offset_data + 3]
    flipped = bytearray(whole)
    flipped[members[12].offset + 150] ^= 1
    yield "a flipped byte in the header of the fifth", bytes(flipped)


def test_what_a_damaged_shard_lost_is_counted_against_its_stats(tmp_path: Path) -> None:
    path = write_shard(tmp_path / "0.tar", 10, promised=10)
    kept = []
    for what, content in cut(path.read_bytes()):
        path.write_bytes(content)
        data = WebData(settings((str(path), 1), most_lost=1), stage=1, seed=0)
        told = list(data.check())[-1]
        usable = int(told.split()[0])
        kept.append(usable)
        assert f"{10 - usable} x shard: fewer samples than its stats promise" in told, what
    assert kept == [5, 4]
