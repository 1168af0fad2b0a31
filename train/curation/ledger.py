"""Rows of JSON in a file that only grows, so that a killed program has lost nothing it had done.

A row is written whole, with its line break, and handed to the system at once. A last line without
its end was cut off by a crash: nobody reads it, and the next program that writes takes it away.
Where an id stands twice, the later row counts.
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from train.curation.errors import CurationError

Fields: TypeAlias = dict[str, Any]
"""A row of a file; "id" names it."""


class Ledger:
    """A file of rows.

    Attributes:
        path: The file; there may be none yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(self) -> dict[str, Fields]:
        """Every row by its id, in the natural order of the ids: 2.png before 10.png.

        Raises:
            CurationError: If a line is no row.
        """
        rows: dict[str, Fields] = {}
        for number, line in enumerate(self._whole_lines(), start=1):
            row = _row(line)
            if row is None:
                message = (
                    f"{self.path}, line {number}: this is no row of curation. Restore the file, or"
                    " remove the line; the step then does its row again."
                )
                raise CurationError(message)
            rows[row["id"]] = row
        return dict(sorted(rows.items(), key=lambda each: natural(each[0])))

    @contextmanager
    def appending(self, *, lasting: bool = False) -> Iterator["Appender"]:
        """Opens the file to add rows.

        Args:
            lasting: Every row is on the disk before the next is asked for; for what people type.

        Raises:
            CurationError: If it cannot be written, or another program adds rows to it.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            message = f"{self.path} cannot be written: {error.strerror}."
            raise CurationError(message) from error
        try:
            _lock(file, self.path)
            whole = sum(map(len, self._whole_lines()))
            os.ftruncate(file, whole)
            yield Appender(file, self.path, lasting=lasting)
        finally:
            os.close(file)

    def replace(self, rows: list[Fields]) -> None:
        """Writes the whole file anew; a reader sees the old rows or the new ones."""
        beside = self.path.with_name(f"{self.path.name}.new")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(b"".join(map(_line, rows)))
        beside.replace(self.path)

    def _whole_lines(self) -> list[bytes]:
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise CurationError(f"{self.path} cannot be read: {error.strerror}.") from error
        return [line for line in content.splitlines(keepends=True) if line.endswith(b"\n")]


class Appender:
    """Adds rows to an open file."""

    def __init__(self, file: int, path: Path, *, lasting: bool) -> None:
        self._file = file
        self._path = path
        self._lasting = lasting

    def add(self, row: Fields) -> None:
        """Writes a row.

        Raises:
            CurationError: If the disk takes no more.
        """
        line = _line(row)
        try:
            written = os.write(self._file, line)
            if self._lasting:
                os.fsync(self._file)
        except OSError as error:
            message = f"{self._path} takes no more rows: {error.strerror}. The same command goes on"
            raise CurationError(f"{message} when there is room.") from error
        if written < len(line):  # a full disk takes a part; it is cut off when the step goes on
            raise CurationError(f"{self._path} takes no more rows: the disk is full.")


def natural(name: str) -> list[tuple[int, str]]:
    """Orders names as people do, numbers by their value."""
    pieces = re.split(r"(\d+)", name)
    return [(int(each), "") if each.isdecimal() else (-1, each) for each in pieces]


def _line(row: Fields) -> bytes:
    # Some models write lone surrogates, which are no UTF-8.
    text = json.dumps(row, ensure_ascii=False).encode("utf-8", "replace")
    return text + b"\n"


def _row(line: bytes) -> Fields | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and isinstance(row.get("id"), str) else None


def _lock(file: int, path: Path) -> None:
    try:
        import fcntl  # noqa: PLC0415 - Windows has none
    except ImportError:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        message = f"Another program writes to {path} now. Wait for it, or stop it."
        raise CurationError(message) from error
