"""Many questions at once: rows of a JSONL file in, rows with answers out.

A row of the input is one question, and one picture or several:

    {"image": "photos/harbour.png", "question": "What color is the boat?", "id": 17}

Its row of the output has all of that, the number of its line, and the answer:

    {"image": ..., "question": ..., "id": 17, "line": 1, "answer": "The boat is red.", "tokens": 6,
     "seconds": 0.02, "finish": "stop"}

Every answer is written when it is there, so a run that was interrupted goes on where it ended. Rows
that cannot be answered are told and left out; the next run tries them again.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from minigpt4.api import LoadedChat
from minigpt4.errors import ConfigError, EngineError, ImageError, PromptError

ADDED = ("line", "answer", "tokens", "seconds", "finish")
"""What a row of the output has besides its row of the input."""


@dataclass(frozen=True, slots=True)
class Row:
    """A question of the input.

    Attributes:
        line: Where it stands, from 1.
        pictures: Paths of its pictures.
        question: What is asked.
        content: All that the row holds.
    """

    line: int
    pictures: tuple[Path, ...]
    question: str
    content: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Work:
    """What a run has to do.

    Attributes:
        rows: Still to be answered.
        bad: Line and reason of what is no row.
        done: How many rows the output holds already.
    """

    rows: tuple[Row, ...]
    bad: tuple[tuple[int, str], ...]
    done: int


def plan(source: Path, target: Path) -> Work:
    """Reads the rows, leaving out those that the output answers already.

    An output whose last line was cut off by a crash loses that line.

    Raises:
        ConfigError: If a file cannot be read, or the output answers other questions.
    """
    if source.resolve() == target.resolve():
        raise ConfigError([f"{target}: the answers cannot go into the file of the questions."])
    rows: dict[int, Row] = {}
    bad: list[tuple[int, str]] = []
    for line, text in enumerate(_lines(source), start=1):
        if not text.strip():
            continue
        try:
            rows[line] = _row(line, text, source.parent)
        except ValueError as error:
            bad.append((line, str(error)))
    done = _answered(target, rows, source)
    waiting = tuple(row for line, row in rows.items() if line not in done)
    return Work(waiting, tuple(bad), len(done))


def answer(
    chat: LoadedChat, work: Work, output: TextIO, report: Callable[[int, str], None]
) -> Iterator[bool]:
    """Answers the rows one after the other.

    A picture that several rows in turn ask about is looked at once.

    Args:
        chat: Answers.
        work: What `plan` returned.
        output: Gets a line for each answer.
        report: Is told the line and the reason of each row that cannot be answered.

    Yields:
        After each row, whether it was answered.
    """
    seen: tuple[Path, ...] | None = None
    conversation = chat.conversation()
    empty = fresh = conversation.session
    for row in work.rows:
        try:
            if row.pictures != seen:
                seen, conversation.session = None, empty
                conversation.attach(*row.pictures)
                seen, fresh = row.pictures, conversation.session
            conversation.session = fresh
            *_, last = conversation.parts(row.question)
        except (ImageError, PromptError, EngineError) as error:
            report(row.line, str(error))
            yield False
            continue
        added = (row.line, last.text, last.tokens, round(last.seconds, 3), last.finish)
        told = row.content | dict(zip(ADDED, added, strict=True))
        output.write(f"{json.dumps(told, ensure_ascii=False)}\n")
        output.flush()
        yield True


def run(
    source: Path, target: Path, load: Callable[[], LoadedChat], say: Callable[[str], None]
) -> bool:
    """Does all of it, with a progress bar where a person watches.

    Args:
        source: The questions.
        target: Where the answers go; what is there already is kept.
        load: Called if there is anything to answer.
        say: Gets sentences for the person.

    Returns:
        Whether every row is answered now.

    Raises:
        MiniGPT4Error: If the files or the model are not right.
    """
    from tqdm import tqdm  # noqa: PLC0415 - --help needs none

    work = plan(source, target)
    for line, reason in work.bad:
        say(f"{source}, line {line}: {reason}")
    failed = len(work.bad)
    if work.rows:
        with (
            _opened(target) as output,  # before the model: what is wrong with it is told at once
            tqdm(total=len(work.rows), unit="row", disable=None) as progress,
        ):
            chat = load()

            def report(line: int, reason: str) -> None:
                with progress.external_write_mode():
                    say(f"{source}, line {line}: {reason}")

            for answered in answer(chat, work, output, report):
                failed += not answered
                progress.update()
    answered_now = len(work.rows) + len(work.bad) - failed
    earlier = f", answered before: {work.done:,}" if work.done else ""
    skipped = f", bad and skipped: {failed:,}" if failed else ""
    say(f"Rows answered: {answered_now:,}{earlier}{skipped}. The answers are in {target}")
    return not failed


def _lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines()
    except FileNotFoundError as error:
        raise ConfigError([f"{path}: there is no such file."]) from error
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read ({error.strerror})."]) from error


def _opened(path: Path) -> TextIO:
    try:
        return path.open("a", encoding="utf-8")
    except OSError as error:
        raise ConfigError([f"{path}: cannot be written ({error.strerror})."]) from error


def _row(line: int, text: bytes, folder: Path) -> Row:
    """Raises ValueError, with a sentence, if this is no row."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError("This is no JSON in UTF-8.") from error
    if not isinstance(content, dict):
        raise ValueError('Expected an object such as {"image": "photo.png", "question": "..."}.')  # noqa: TRY004
    question, images = content.get("question"), content.get("image")
    if not isinstance(question, str):
        raise ValueError('"question" must be a text.')  # noqa: TRY004
    images = [images] if isinstance(images, str) else images
    if not isinstance(images, list) or not all(isinstance(each, str) for each in images):
        raise ValueError('"image" must be a path or a list of paths.')
    if taken := [name for name in ADDED if name in content]:
        raise ValueError(f'"{taken[0]}" is a field of the answers; give yours another name.')
    return Row(line, tuple(folder / each for each in images), question, content)


def _answered(target: Path, rows: dict[int, Row], source: Path) -> set[int]:
    """The lines of the input that the output answers; a last line that was cut off is removed."""
    if not target.exists():
        return set()
    *lines, rest = [*_lines(target), b""] if _ended(target) else _lines(target)
    done: set[int] = set()
    for number, text in enumerate(lines, start=1):
        line = _answered_line(text, rows)
        if line is None:
            raise _stranger(target, number, source)
        done.add(line)
    if not rest:
        return done
    if _answered_line(rest, rows) is None and (_is_json(rest) or not rest.startswith(b"{")):
        raise _stranger(target, len(lines) + 1, source)
    whole = target.read_bytes()
    target.write_bytes(whole[: len(whole) - len(rest)])
    return done


def _ended(path: Path) -> bool:
    content = path.read_bytes()
    return not content or content.endswith(b"\n")


def _answered_line(text: bytes, rows: dict[int, Row]) -> int | None:
    """Which line of the input a line of the output answers; None if it answers none."""
    if not _is_json(text):
        return None
    told = json.loads(text)
    line = told.get("line") if isinstance(told, dict) else None
    row = rows.get(line) if isinstance(line, int) else None
    if row is None or "answer" not in told:
        return None
    own = {name: value for name, value in told.items() if name not in ADDED}
    return row.line if own == row.content else None


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _stranger(target: Path, number: int, source: Path) -> ConfigError:
    problem = f"{target}, line {number}: this answers no row of {source}."
    return ConfigError([f"{problem} Give another file for the answers, or remove this one."])
