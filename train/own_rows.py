"""One row of a user's own data, as its file holds it -> a picture and what is said about it.

Only a row's own shape is checked here; what does not fit becomes a `Fault` in the row's place.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from minigpt4.settings_file import did_you_mean

IMAGE_NAMES = ("image", "file_name")
INSTRUCTION_NAMES = ("instruction", "question", "prompt")
ANSWER_NAMES = ("answer", "caption", "text")
"""What a column or key may be called; the first of each is how messages call it."""

KNOWN = (*IMAGE_NAMES, *INSTRUCTION_NAMES, *ANSWER_NAMES, "conversations", "id")
_ROLES = (("human", "user"), ("gpt", "assistant"))
"""Who asks and who answers in LLaVA's conversations, and what others call them."""

_PICTURE_MARKS = ("<Img><ImageHere></Img>", "<image>")


@dataclass(frozen=True, slots=True)
class Row:
    """One picture and what is said about it, as its owner wrote it.

    Attributes:
        line: Where it stands in the file, from 1.
        path: The picture's file.
        exchanges: Questions and answers. The first question is empty if one is to be drawn.
        picture_turn: Which exchange the picture belongs to.
        content: The row as it is written, its beginning.
        entry: Which entry of a JSON list it is, from 1; 0 where a line is a row.
    """

    line: int
    path: Path
    exchanges: tuple[tuple[str, str], ...]
    picture_turn: int = 0
    content: str = ""
    entry: int = 0


@dataclass(frozen=True, slots=True)
class Fault:
    """A row that cannot be used.

    Attributes:
        line: Where it stands in the file, from 1.
        cause: A few words that such rows are counted by.
        problem: A sentence on this one.
        content: The row itself.
        entry: Which entry of a JSON list it is, from 1; 0 where a line is a row.
    """

    line: int
    cause: str
    problem: str
    content: str = ""
    entry: int = 0

    @property
    def place(self) -> str:
        """Where it stands; lists are often written on one line."""
        return f"line {self.line}, entry {self.entry:,}" if self.entry else f"line {self.line}"


class Doubled(dict[str, object]):
    """An object of JSON in which a key stands twice; a dict keeps the last in silence."""

    @staticmethod
    def of(pairs: list[tuple[str, object]]) -> dict[str, object]:
        """What a JSON decoder makes of an object's keys and values."""
        row = dict(pairs)
        return row if len(row) == len(pairs) else Doubled(pairs)


class _FaultError(Exception):
    """A row's shape is wrong: cause and problem."""


def read_row(
    line: int, value: object, content: str, folder: Path
) -> tuple[Row | Fault | None, tuple[str, ...]]:
    """Reads one row.

    Args:
        line: Where it stands in its file.
        value: What the file holds there.
        content: The same, as it is written.
        folder: What a picture's path is relative to.

    Returns:
        The row, what is wrong with it, or nothing if it is a conversation without a picture; and
        the keys that nothing is read from.
    """
    try:
        return _read(line, value, content, folder)
    except _FaultError as error:
        cause, problem = error.args
        return fault(line, cause, problem, content), ()


def _read(
    line: int, value: object, content: str, folder: Path
) -> tuple[Row | None, tuple[str, ...]]:
    if any("\udc80" <= character <= "\udcff" for character in content):
        raise _FaultError("not UTF-8", "this row is no UTF-8 text. Save the file as UTF-8.")
    if not isinstance(value, dict):
        problem = f"{kind_of(value)} given; expected an object such as {_EXAMPLE}."
        raise _FaultError("wrong type", problem)
    if isinstance(value, Doubled):
        raise _FaultError("two keys for one thing", "a key is given twice in this row.")
    unknown = _check_names(value)
    if _text_only(value):
        return None, unknown
    path = _path(folder, _picture(value))
    if "conversations" in value:
        exchanges, picture_turn = _dialogue(_messages(value["conversations"]))
    else:
        exchanges, picture_turn = (_exchange(value),), 0
    return Row(line, path, exchanges, picture_turn, content[:_KEPT_CHARACTERS]), unknown


def fault(line: int, cause: str, problem: str, content: str = "") -> Fault:
    """A fault that keeps the beginning of what was written."""
    return Fault(line, cause, _writable(problem), _writable(content.strip()[:_KEPT_CHARACTERS]))


def _writable(text: str) -> str:
    """Text without lone surrogates, which no file and no terminal takes."""
    return text.encode("utf-8", "replace").decode()


def kind_of(value: object) -> str:
    """What a value of a file is, in words."""
    words = {dict: "an object", list: "a list", str: "text", bool: "true or false"}
    if value is None:
        return "nothing"
    return words.get(type(value), f"a number, {value}")


def _check_names(row: Mapping[str, object]) -> tuple[str, ...]:
    """Return the keys that belong to the row's owner; one like a known key is misspelt."""
    for names in (IMAGE_NAMES, INSTRUCTION_NAMES, (*ANSWER_NAMES, "conversations")):
        given = [name for name in names if name in row]
        if len(given) > 1:
            problem = f"{' and '.join(given)} are given; expected one of them."
            raise _FaultError("two keys for one thing", problem)
    unknown = tuple(name for name in row if name not in KNOWN)
    for name in unknown:
        if get_close_matches(name, KNOWN, n=1):
            problem = f"{name}: no such key. {did_you_mean(name, KNOWN)}"
            raise _FaultError("unknown key", problem)
    return tuple(_writable(name) for name in unknown)


def _text_only(row: Mapping[str, object]) -> bool:
    """Whether this is a conversation about no picture; one that shows a mark has lost its own."""
    messages = row.get("conversations")
    if not isinstance(messages, list) or any(row.get(name) is not None for name in IMAGE_NAMES):
        return False
    return bool(messages) and not any(mark in str(messages) for mark in _PICTURE_MARKS)


def _picture(row: Mapping[str, object]) -> str:
    name = next((name for name in IMAGE_NAMES if name in row), "")
    if not name:
        raise _FaultError("no image", f"image is missing. Given: {_names(row)}.")
    image = _text(name, row[name]).strip()
    if not image:
        raise _FaultError("no image", f"{name} is empty; expected the path of a picture.")
    if re.match(r"[a-z]+://", image):
        problem = f"{name} is an address, {image[:80]!r}; expected a file beside the data."
        raise _FaultError("no image", problem)
    return image


def _path(folder: Path, image: str) -> Path:
    """Where a picture lies; a path that Windows wrote is read as it was meant."""
    path = folder / image
    if "\\" not in image or os.name == "nt" or path.exists():
        return path
    if re.match(r"[A-Za-z]:|\\\\", image):
        problem = f"{image[:80]} is a place of Windows; expected a path relative to the data."
        raise _FaultError("no image", problem)
    return folder / image.replace("\\", "/")


def _exchange(row: Mapping[str, object]) -> tuple[str, str]:
    """Return question and answer of a row with one of each."""
    name = next((name for name in ANSWER_NAMES if name in row), "")
    if not name:
        raise _FaultError("no answer", f"answer is missing. Given: {_names(row)}.")
    answer = _text(name, row[name])
    asked = next((name for name in INSTRUCTION_NAMES if name in row), "")
    if not asked:
        return "", answer
    question, slots = _without_slot(_text(asked, row[asked]))
    if slots > 1:
        raise _FaultError("image slots", f"{asked} has {slots} image slots; expected one at most.")
    if not question:
        raise _FaultError("empty question", f"{asked} is empty; leave the key out to draw one.")
    return question, answer


def _messages(messages: object) -> list[tuple[str, str]]:
    """Return questions and answers of LLaVA's messages, as they are written."""
    if not isinstance(messages, list) or not messages:
        raise _FaultError("wrong type", f"conversations is {kind_of(messages)}; expected a list.")
    texts: list[str] = []
    for number, message in enumerate(messages, start=1):
        role, value = (
            (message.get("from"), message.get("value")) if isinstance(message, dict) else (0, 0)
        )
        where = f"conversations, message {number}"
        if not isinstance(role, str) or not isinstance(value, str):
            problem = f'{where}: expected {{"from": "human" or "gpt", "value": text}}.'
            raise _FaultError("wrong type", problem)
        if role == "system":
            problem = f"{where} is from 'system'; nothing can be taught of it here. Take it out."
            raise _FaultError("system message", problem)
        expected = _ROLES[1 - number % 2]
        if role not in expected:
            names = [name for pair in _ROLES for name in pair]
            hint = "" if role in names else " " + did_you_mean(role, names)
            problem = f"{where} is from {role!r}; expected {expected[0]!r}, turn about.{hint}"
            raise _FaultError("order of the conversation", problem)
        texts.append(value)
    if len(texts) % 2:
        problem = f"the last message is from {role!r}; expected an answer from 'gpt' after it."
        raise _FaultError("order of the conversation", problem)
    return list(zip(texts[::2], texts[1::2], strict=True))


def _dialogue(messages: list[tuple[str, str]]) -> tuple[tuple[tuple[str, str], ...], int]:
    """Return questions and answers, and the turn with the picture: the first if none is marked."""
    exchanges: list[tuple[str, str]] = []
    slots: list[int] = []
    for number, (written, answer) in enumerate(messages):
        question, count = _without_slot(written)
        slots += [number] * count
        if not question and number:
            where = f"conversations, message {2 * number + 1}"
            raise _FaultError("empty question", f"{where} is empty; expected a question.")
        exchanges.append((question, answer))
    if len(slots) > 1:
        problem = f"{len(slots)} times <image> given for one picture; expected it once."
        raise _FaultError("image slots", problem)
    return tuple(exchanges), slots[0] if slots else 0


def _without_slot(text: str) -> tuple[str, int]:
    """Return a question without the marks of pictures at its ends, and how many marks it had."""
    text = text.strip()
    marks = sum(text.count(mark) for mark in _PICTURE_MARKS)
    for mark in _PICTURE_MARKS:
        text = text.removeprefix(mark).removesuffix(mark).strip()
    if marks == 1 and any(mark in text for mark in _PICTURE_MARKS):
        problem = "the picture's mark stands within a question; expected before it or after it."
        raise _FaultError("image slots", problem)
    return text, marks


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise _FaultError("wrong type", f"{name} is {kind_of(value)}; expected text.")
    return value


def _names(row: Mapping[str, object]) -> str:
    return ", ".join(str(name) for name in row) or "nothing"


_KEPT_CHARACTERS = 500
_EXAMPLE = '{"image": "cat.png", "answer": "A cat."}'
