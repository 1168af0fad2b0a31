"""Rows of `batch`: where they come from, which of them are answered already, and whose they are."""

import json
import os
import re
import sys
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from minigpt4.errors import ConfigError

if TYPE_CHECKING:
    from minigpt4.chat import AnswerPart

ADDED = ("line", "answer", "tokens", "seconds", "finish")
"""What a row of the output has besides its row of the input; no line if that was a folder."""
PICTURE_ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"})
"""Files of a folder that are asked about."""
STANDARD_INPUT = Path("-")
"""A source that is no file; its rows' paths start at the current folder."""


@dataclass(frozen=True, slots=True)
class Row:
    """A question of the input.

    Attributes:
        key: What it is known by: its line from 1, or a picture's path in the folder.
        pictures: Paths of its pictures.
        question: What is asked.
        content: All that the row holds.
    """

    key: int | str
    pictures: tuple[Path, ...]
    question: str
    content: dict[str, Any]

    @property
    def place(self) -> str:
        """Where it stands, for people."""
        return f"line {self.key}" if isinstance(self.key, int) else self.key


@dataclass(frozen=True, slots=True)
class Work:
    """What a run has to do.

    Attributes:
        rows: Still to be answered.
        bad: Line and reason of what is no row.
        done: How many rows the output holds already.
        unit: What the rows are, for people.
    """

    rows: tuple[Row, ...]
    bad: tuple[tuple[int, str], ...]
    done: int
    unit: str = "row"


@dataclass(frozen=True, slots=True)
class Shard:
    """One of several processes that share the rows.

    Attributes:
        number: Which, from 1.
        count: Of how many.
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads ``2/8``, the second of eight.

        Raises:
            ConfigError: If it is nothing like that.
        """
        found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        number, count = (int(each) for each in found.groups()) if found else (0, 0)
        if not 1 <= number <= count:
            raise ConfigError([f"shard: {text!r} given; expected such as 2/8, from 1/8 to 8/8."])
        return cls(number, count)

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] = os.environ) -> Self | None:
        """The one that `torchrun` has made this process; None if it is not one of several.

        Raises:
            ConfigError: If what it left is no rank.
        """
        rank, world = environment.get("RANK"), environment.get("WORLD_SIZE")
        if rank is None or world is None:
            return None
        if not rank.isdecimal() or not world.isdecimal() or int(rank) >= int(world):
            problem = f"RANK: {rank!r} of WORLD_SIZE {world!r} given in the environment."
            raise ConfigError([f"{problem} Unset both, or start this by torchrun."])
        return None if int(world) == 1 else cls(int(rank) + 1, int(world))

    def has(self, key: int | str) -> bool:
        """Whether a row is of this shard.

        Lines are dealt out in turn. Pictures are by their names, so that one that is added to the
        folder between two runs moves no other.
        """
        number = key - 1 if isinstance(key, int) else zlib.crc32(key.encode())
        return number % self.count == self.number - 1

    def file(self, target: Path) -> Path:
        """Where its answers go: for ``answers.jsonl``, ``answers.2-of-8.jsonl``."""
        return target.with_name(f"{target.stem}.{self.number}-of-{self.count}{target.suffix}")


def plan(
    source: Path, target: Path, question: str | None = None, shard: Shard | None = None
) -> Work:
    """Reads the rows, leaving out those of other shards and those that the output answers already.

    An output whose last line was cut off by a crash loses that line.

    Args:
        source: A JSONL file, `STANDARD_INPUT`, or a folder of pictures.
        target: The answers so far.
        question: Of every picture of a folder.
        shard: Whose rows; None is all.

    Raises:
        ConfigError: If a file cannot be read, or the output answers other questions.
    """
    if source.resolve() == target.resolve():
        raise ConfigError([f"{target}: the answers cannot go into the file of the questions."])
    _check_question(source, question)
    rows: dict[int | str, Row] = {}
    bad: list[tuple[int, str]] = []
    for key, made in _pictures(source, question) if question is not None else _lines(source):
        if shard is not None and not shard.has(key):
            continue
        if isinstance(made, Row):
            rows[key] = made
        else:
            bad.append((int(key), made))
    done = _answered(target, rows, source)
    waiting = tuple(row for key, row in rows.items() if key not in done)
    unit = "row" if question is None else "picture"
    return Work(waiting, tuple(bad), len(done), unit)


def told(row: Row, last: "AnswerPart") -> str:
    """The line of the output for an answered row."""
    added = (row.key, last.text, last.tokens, round(last.seconds, 3), last.finish)
    fields = dict(zip(ADDED, added, strict=True))
    if isinstance(row.key, str):
        del fields["line"]
    return f"{json.dumps(row.content | fields, ensure_ascii=False)}\n"


def _check_question(source: Path, question: str | None) -> None:
    if question is None and source.is_dir():
        problem = f'{source}: this is a folder. Say what to ask of its pictures: --question "..."'
        raise ConfigError([problem])
    if question is not None and not source.is_dir():
        problem = f"{source}: this is no folder; --question is for one. Rows have their own."
        raise ConfigError([problem])


def _pictures(folder: Path, question: str) -> Iterator[tuple[str, Row]]:
    """Every picture of a folder and of those in it, by name; hidden ones are left out."""
    found = 0
    for file in sorted(folder.rglob("*")):
        inside = file.relative_to(folder)
        hidden = any(part.startswith(".") for part in inside.parts)
        if hidden or file.suffix.lower() not in PICTURE_ENDINGS or not file.is_file():
            continue
        found += 1
        name = inside.as_posix()
        yield name, Row(name, (file,), question, {"image": name, "question": question})
    if not found:
        endings = ", ".join(sorted(PICTURE_ENDINGS))
        raise ConfigError([f"{folder}: there is no picture in this folder ({endings})."])


def _lines(source: Path) -> Iterator[tuple[int, Row | str]]:
    """Each line of a JSONL file as a row, or the reason why it is none."""
    for line, text in enumerate(_content(source).splitlines(), start=1):
        if not text.strip():
            continue
        try:
            yield line, _row(line, text, source.parent)
        except ValueError as error:
            yield line, str(error)


def _content(path: Path) -> bytes:
    try:
        content = sys.stdin.buffer.read() if path == STANDARD_INPUT else path.read_bytes()
        return content.removeprefix(b"\xef\xbb\xbf")
    except FileNotFoundError as error:
        raise ConfigError([f"{path}: there is no such file."]) from error
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read ({error.strerror})."]) from error


def _row(line: int, text: bytes, folder: Path) -> Row:
    """Raises ValueError, with a sentence, if this is no row."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError("This is no JSON in UTF-8.") from error
    if not isinstance(content, dict):
        raise ValueError('Expected an object such as {"image": "photo.png", "question": "..."}.')  # noqa: TRY004
    try:
        json.dumps(content, ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:
        # Python reads it; written down as an answer, no other program would.
        raise ValueError("It holds NaN, a number without end or half a character.") from error
    question, images = content.get("question"), content.get("image")
    if not isinstance(question, str):
        raise ValueError('"question" must be a text.')  # noqa: TRY004
    images = [images] if isinstance(images, str) else images
    if not isinstance(images, list) or not all(isinstance(each, str) for each in images):
        raise ValueError('"image" must be a path or a list of paths.')
    if taken := [name for name in ADDED if name in content]:
        raise ValueError(f'"{taken[0]}" is a field of the answers; give yours another name.')
    return Row(line, tuple(folder / each for each in images), question, content)


def _answered(target: Path, rows: Mapping[int | str, Row], source: Path) -> set[int | str]:
    """The rows that the output answers; a last line that was cut off is removed."""
    if not target.exists():
        return set()
    content = _content(target)
    *lines, rest = content.split(b"\n")
    done: set[int | str] = set()
    for number, text in enumerate(lines, start=1):
        row = _row_answered_by(text, rows)
        if row is None:
            raise _stranger(target, number, source)
        done.add(row.key)
    if not rest:
        return done
    if _row_answered_by(rest, rows) is None and (_is_json(rest) or not rest.startswith(b"{")):
        raise _stranger(target, len(lines) + 1, source)
    whole = target.read_bytes()
    target.write_bytes(whole[: len(whole) - len(rest)])
    return done


def _row_answered_by(text: bytes, rows: Mapping[int | str, Row]) -> Row | None:
    """The row of the input that a line of the output answers; None if it answers none."""
    if not _is_json(text):
        return None
    told = json.loads(text)
    if not isinstance(told, dict) or "answer" not in told:
        return None
    key = told.get("line", told.get("image"))
    row = rows.get(key) if isinstance(key, int | str) else None
    own = {name: value for name, value in told.items() if name not in ADDED}
    return row if row is not None and own == row.content else None


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _stranger(target: Path, number: int, source: Path) -> ConfigError:
    problem = f"{target}, line {number}: this answers no row of {source}."
    return ConfigError([f"{problem} Give another file for the answers, or remove this one."])
