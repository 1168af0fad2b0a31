"""One row of a user's own data, as its file holds it -> a picture and what is said about it.

Only a row's own shape is checked here; what does not fit becomes a `Fault` in the row's place.
"""

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
    """

    line: int
    path: Path
    exchanges: tuple[tuple[str, str], ...]
    picture_turn: int = 0
    content: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    """A row that cannot be used.

    Attributes:
        line: Where it stands in the file, from 1.
        cause: A few words that such rows are counted by.
        problem: A sentence on this one.
        content: The row itself.
    """

    line: int
    cause: str
    problem: str
    content: str = ""


class _FaultError(Exception):
    """A row's shape is wrong: cause and problem."""


def read_row(
    line: int, value: object, content: str, folder: Path
) -> tuple[Row | Fault, tuple[str, ...]]:
    """Reads one row.

    Args:
        line: Where it stands in its file.
        value: What the file holds there.
        content: The same, as it is written.
        folder: What a picture's path is relative to.

    Returns:
        The row, or what is wrong with it; and the keys that nothing is read from.
    """
    try:
        return _read(line, value, content, folder)
    except _FaultError as error:
        cause, problem = error.args
        return fault(line, cause, problem, content), ()


def _read(line: int, value: object, content: str, folder: Path) -> tuple[Row, tuple[str, ...]]:
    if any("\udc80" <= character <= "\udcff" for character in content):
        raise _FaultError("not UTF-8", "this row is no UTF-8 text. Save the file as UTF-8.")
    if not isinstance(value, dict):
        problem = f"{kind_of(value)} given; expected an object such as {_EXAMPLE}."
        raise _FaultError("wrong type", problem)
    unknown = _check_names(value)
    path = folder / _picture(value)
    if "conversations" in value:
        exchanges, picture_turn = _dialogue(value["conversations"])
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


def _dialogue(messages: object) -> tuple[tuple[tuple[str, str], ...], int]:
    """Return questions and answers of LLaVA's messages, and the turn with the picture."""
    if not isinstance(messages, list) or not messages:
        raise _FaultError("wrong type", f"conversations is {kind_of(messages)}; expected a list.")
    texts: list[str] = []
    slots: list[int] = []
    for number, message in enumerate(messages, start=1):
        role, value = (
            (message.get("from"), message.get("value")) if isinstance(message, dict) else (0, 0)
        )
        where = f"conversations, message {number}"
        if not isinstance(role, str) or not isinstance(value, str):
            problem = f'{where}: expected {{"from": "human" or "gpt", "value": text}}.'
            raise _FaultError("wrong type", problem)
        expected = "human" if number % 2 else "gpt"
        if role != expected:
            hint = "" if role in ("human", "gpt") else " " + did_you_mean(role, ("human", "gpt"))
            problem = f"{where} is from {role!r}; expected {expected!r}, turn about.{hint}"
            raise _FaultError("order of the conversation", problem)
        if expected == "human":
            value, count = _without_slot(value)
            slots += [number // 2] * count
            if not value and number > 1:
                raise _FaultError("empty question", f"{where} is empty; expected a question.")
        texts.append(value)
    if len(texts) % 2:
        problem = "the last message is from 'human'; expected an answer from 'gpt' after it."
        raise _FaultError("order of the conversation", problem)
    if len(slots) != 1:
        problem = f"{len(slots)} times <image> given for one picture; expected it once."
        raise _FaultError("image slots", problem)
    return tuple(zip(texts[::2], texts[1::2], strict=True)), slots[0]


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
