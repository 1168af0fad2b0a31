"""Answers that somebody else's program gave, in the layouts in which such programs leave them.

    a line each, or a list of     {"question_id": 1, "answer": "..."}
    an object                     {"1": "..."}, or A-OKVQA's {"1": {"direct_answer": "...",
                                  "multiple_choice": "..."}}

The id may also be called id, questionId, image_id or image, the answer text, caption or prediction.
Rows without an id, as POPE's are, answer the questions in their order; there must then be as many.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minigpt4.errors import ConfigError
from minigpt4.evaluation.files import is_lines, read_json, read_rows, text_of
from minigpt4.evaluation.items import Answer, Item

_KEYS = ("id", "question_id", "questionId", "image_id", "image")
_TEXTS = ("answer", "text", "caption", "prediction")


def read_answers(
    path: Path, items: Sequence[Item]
) -> tuple[Mapping[str, Answer], tuple[tuple[str, str], ...]]:
    """Reads a file of answers.

    Returns:
        The answers by their items' keys, and place and reason of rows that are no answer of these
        items.

    Raises:
        ConfigError: If it cannot be read, or is of none of the layouts.
    """
    if not is_lines(path) and isinstance(content := read_json(path), dict):
        chosen = "multiple_choice" if items[0].rule == "choice" else "direct_answer"
        rows: list[tuple[str, dict[str, Any] | str]] = [
            (
                f"question {key}",
                {"id": key, "answer": said.get(chosen) if isinstance(said, dict) else said},
            )
            for key, said in content.items()
        ]
    else:
        rows = list(read_rows(path))
    known = {item.key for item in items}
    objects = [row for _, row in rows if isinstance(row, dict)]
    in_order = not any(name in row for row in objects for name in _KEYS)
    if in_order and len(rows) != len(items):
        problem = f"{path}: {len(rows):,} rows without ids for {len(items):,} questions."
        raise ConfigError([f"{problem} Give each row the question_id it answers."])
    answers: dict[str, Answer] = {}
    bad = []
    for number, (place, row) in enumerate(rows):
        if isinstance(row, str):
            bad.append((place, row))
            continue
        try:
            key = items[number].key if in_order else text_of(row, *_KEYS)
            answer = _answer(row)
        except ValueError as error:
            bad.append((place, str(error)))
            continue
        if key not in known:
            bad.append((place, f"{key!r} is none of the questions asked."))
        elif key in answers:
            bad.append((place, f"{key!r} is answered already; the first answer counts."))
        else:
            answers[key] = answer
    return answers, tuple(bad)


def _answer(row: Mapping[str, Any]) -> Answer:
    """An answer may be empty, but must be there."""
    for name in _TEXTS:
        if isinstance(row.get(name), str):
            finish = row.get("finish")
            return Answer(row[name], finish if isinstance(finish, str) else None)
    raise ValueError(f"No answer: expected a text as one of {', '.join(_TEXTS)}.")
