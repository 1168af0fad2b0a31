"""A user's own pictures and texts, as they lie on disk -> rows, each with the line it stands in.

Layouts, told apart by what is in the file, never by its name:

    JSON lines     {"image": "cat.png", "instruction": "Describe it.", "answer": "A cat."}
    LLaVA's        {"image": "cat.png", "conversations": [{"from": "human", "value": "<image> ..."},
                   {"from": "gpt", "value": "..."}, ...]}, as JSON lines or as one JSON list
    the release's  a folder with filter_cap.json and image/<image_id>.jpg
    imagefolder    a folder with metadata.csv or metadata.jsonl, as Hugging Face datasets reads it
    CSV            a header with image and answer, perhaps instruction

Nothing is checked here but a row's own shape. What does not fit is a `Fault` in the row's place;
no row is left out. Whether a picture can be read and a text be learned is `train.validation`'s.
"""

import codecs
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from train.errors import TrainingError
from train.own_rows import (
    ANSWER_NAMES,
    IMAGE_NAMES,
    INSTRUCTION_NAMES,
    KNOWN,
    Doubled,
    Fault,
    Row,
    fault,
    kind_of,
    read_row,
)

_RELEASE_FILE = "filter_cap.json"
_METADATA = ("metadata.csv", "metadata.jsonl", "train/metadata.csv", "train/metadata.jsonl")
_FILE_KINDS = (".jsonl", ".json", ".csv", ".tsv")
_SEPARATOR_LINE = re.compile(r'"?sep=([,;\t|])"?[;,\s]*?\r?\n', re.IGNORECASE)
"""What Excel writes, and reads, before the header."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file of rows.

    Attributes:
        path: The file.
        layout: Which layout it was taken for, in words.
        rows: Every row of the file that has a picture, or should, in order.
        ignored: Keys that nothing is read from, and in how many rows they stand.
        text_only: Conversations without a picture, which LLaVA's files hold; they are passed over.
    """

    path: Path
    layout: str
    rows: tuple[Row | Fault, ...]
    ignored: Mapping[str, int]
    text_only: int = 0


def read_rows(path: Path) -> Source:
    """Reads a user's data.

    Args:
        path: A file, or a folder that holds one.

    Raises:
        TrainingError: If there is no such file, or it has none of the layouts.
    """
    if path.is_dir():
        return _folder_rows(path)
    try:
        # What is no UTF-8 is kept as surrogates, to be told row by row.
        content = path.read_bytes()
    except OSError as error:
        raise TrainingError(f"The data {path} cannot be read: {error.strerror}.") from error
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise TrainingError(f"The data {path} is UTF-16 text. Save the file as UTF-8.")
    text = content.decode("utf-8-sig", "surrogateescape")
    begin = text.lstrip()
    if not begin:
        raise TrainingError(f"The data {path} is empty.")
    reader = _Reader(path)
    if begin[0] == "[":
        return reader.source("a JSON list", reader.json_list(text, text.index("[") + 1))
    if begin[0] != "{":
        return reader.source("CSV", reader.csv_rows(text))
    annotations = re.compile(r'\s*\{\s*"annotations"\s*:\s*\[').match(text)
    if annotations:
        rows = reader.release_list(text, annotations.end())
        return reader.source("the release's folder", rows)
    return reader.source("JSON lines", reader.json_lines(text))


def _folder_rows(folder: Path) -> Source:
    if (folder / _RELEASE_FILE).is_file():
        return read_rows(folder / _RELEASE_FILE)
    for name in _METADATA:
        if (folder / name).is_file():
            source = read_rows(folder / name)
            return replace(source, layout="a Hugging Face imagefolder")
    files = sorted(path for path in folder.iterdir() if path.suffix in _FILE_KINDS)
    if len(files) == 1:
        return read_rows(files[0])
    found = ", ".join(path.name for path in files) or "none"
    message = (
        f"{folder} holds no data that can be told: expected {_RELEASE_FILE}, metadata.csv, "
        f"metadata.jsonl, or one file ending in {', '.join(_FILE_KINDS)}; found {found}. "
        "Name the file itself."
    )
    raise TrainingError(message)


class _Reader:
    """Reads the rows of one file and counts the keys it makes nothing of."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ignored: Counter[str] = Counter()
        self._dialogues = False

    def source(self, layout: str, rows: Iterable[Row | Fault | None]) -> Source:
        every = tuple(rows)
        read = tuple(row for row in every if row)
        if self._dialogues:
            layout = f"LLaVA's conversations, {layout}"
        return Source(self._path, layout, read, dict(self._ignored), len(every) - len(read))

    def json_lines(self, text: str) -> Iterator[Row | Fault | None]:
        for line, content in enumerate(text.split("\n"), start=1):
            if not content.strip():
                continue
            try:
                value = json.loads(content, object_pairs_hook=Doubled.of)
            except (ValueError, RecursionError) as error:
                reason = _reason(error)
                yield fault(line, "no JSON", f"this line is no JSON: {reason}.", content)
                continue
            yield self._row(line, value, content)

    def json_list(self, text: str, start: int) -> Iterator[Row | Fault | None]:
        for entry, (line, value, content) in enumerate(self._entries(text, start), start=1):
            row = value if isinstance(value, Fault) else self._row(line, value, content)
            yield row and replace(row, entry=entry)

    def release_list(self, text: str, start: int) -> Iterator[Row | Fault | None]:
        for entry, (line, value, content) in enumerate(self._entries(text, start), start=1):
            row = self._release_row(line, value, content)
            yield row and replace(row, entry=entry)

    def _release_row(self, line: int, value: object, content: str) -> Row | Fault | None:
        if isinstance(value, Fault):
            return value
        if not isinstance(value, dict) or "image_id" not in value:
            return self._row(line, value, content)
        number = value["image_id"]
        if isinstance(number, str | int) and number != "":
            others = {key: each for key, each in value.items() if key != "image_id"}
            return self._row(line, {"image": f"image/{number}.jpg", **others}, content)
        problem = f"image_id is {kind_of(number)}; expected text such as 12."
        return fault(line, "wrong type", problem, content)

    def csv_rows(self, text: str) -> Iterator[Row | Fault | None]:
        told = _SEPARATOR_LINE.match(text)
        header_line = text.partition("\n")[0]
        separator = told[1] if told else max(",;\t", key=header_line.count)
        # Strictly: else a quote that is never closed takes all rows after it into one answer.
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        begin = 1
        try:
            if told:
                next(reader)
            header = [name.strip() for name in next(reader)]
            self._check_header(header)
            begin = reader.line_num + 1
            for fields in reader:
                line, begin = begin, reader.line_num + 1
                content = separator.join(fields)
                if not any(field.strip() for field in fields):
                    continue
                if len(fields) != len(header):
                    problem = f"{len(fields)} fields given; the header has {len(header)} columns."
                    yield fault(line, "wrong number of fields", problem, content)
                    continue
                value = dict(zip(header, fields, strict=True))
                # An empty field of an instruction is none.
                filled = {
                    key: each
                    for key, each in value.items()
                    if each.strip() or key not in INSTRUCTION_NAMES
                }
                yield self._row(line, filled, content)
        except csv.Error as error:
            message = (
                f"{self._path}: the row that begins in line {begin} is no CSV: {error}, in line"
                f" {reader.line_num}. Is a quotation mark left open there, or not doubled?"
            )
            raise TrainingError(message) from error

    def _check_header(self, header: list[str]) -> None:
        given = set(header)
        lacking = [
            names[0] for names in (IMAGE_NAMES, ANSWER_NAMES) if not given.intersection(names)
        ]
        if not lacking:
            twice = [name for name in KNOWN if header.count(name) > 1]
            if twice:
                message = f"{self._path}: the column {twice[0]} is given twice."
                raise TrainingError(message)
            return
        names = (name[:40] for name in header[:8])
        shown = ", ".join(name if name.isprintable() else ascii(name) for name in names)
        near = [
            f"{name[:40]!a}: did you mean {match[0]}?"
            for name in header
            if name not in KNOWN and (match := get_close_matches(name, KNOWN, n=1))
        ]
        message = (
            f"{self._path}: this begins with neither {{ nor [, so it was read as CSV, and its first"
            f" line has no column for {' and '.join(lacking)}: {shown}. {' '.join(near)} Expected"
            f" JSON lines, a JSON list, or CSV with the columns image and answer."
        )
        raise TrainingError(" ".join(message.split()))

    def _entries(self, text: str, start: int) -> Iterator[tuple[int, Any, str]]:
        """Yield line, value and text of every entry of a JSON list that begins before start."""
        decoder = json.JSONDecoder(object_pairs_hook=Doubled.of)
        gap = re.compile(r"[\s,]*")
        position, line, counted = start, 1, 0
        while True:
            gap_end = gap.match(text, position)
            position = gap_end.end() if gap_end else position
            line, counted = line + text.count("\n", counted, position), position
            if position >= len(text):
                problem = "the list is not closed; is the file whole?"
                yield line, fault(line, "no JSON", problem), ""
                return
            if text[position] == "]":
                return
            try:
                value, end = decoder.raw_decode(text, position)
            except (ValueError, RecursionError) as error:
                reason = _reason(error)
                problem = f"this is no JSON, and nothing after it can be read: {reason}."
                yield line, fault(line, "no JSON", problem, text[position : position + 200]), ""
                return
            yield line, value, text[position:end]
            position = end

    def _row(self, line: int, value: object, content: str) -> Row | Fault | None:
        row, unknown = read_row(line, value, content, self._path.parent)
        self._ignored.update(unknown)
        self._dialogues |= isinstance(value, dict) and "conversations" in value
        return row


def _reason(error: ValueError | RecursionError) -> str:
    if isinstance(error, json.JSONDecodeError):
        return error.msg
    return "it is nested too deep" if isinstance(error, RecursionError) else "a number is too long"
