"""What `python -m minigpt4.evaluation` does; `options` has its command line.

Exit codes: 0 every item was answered and judged, 1 some were not, 2 wrong usage, files or
configuration, 130 interrupted.
"""

import json
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minigpt4.commands import exit_code_of
from minigpt4.errors import EngineError
from minigpt4.evaluation.answering import ask, labels, make_folder, models, write_questions
from minigpt4.evaluation.foreign import read_answers
from minigpt4.evaluation.items import Answer, Data, Item, Judged, Score
from minigpt4.evaluation.options import parser
from minigpt4.evaluation.report import Column, report_html
from minigpt4.evaluation.tasks import TASKS, read
from minigpt4.terminal import say

_MOST_TOLD = 10
"""Bad rows that are told one by one."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one evaluation.

    Returns:
        The exit code.

    Raises:
        SystemExit: With 2 for wrong usage, with 0 after --help.
    """
    given = parser().parse_args(arguments)
    return exit_code_of(lambda: 0 if evaluate(given) else 1)


def evaluate(given: Namespace) -> bool:
    """Reads, asks, judges and writes.

    Returns:
        Whether every item of every model was answered.

    Raises:
        MiniGPT4Error: If nothing can be judged.
    """
    task = TASKS[given.task]
    data = read(given)
    # Packages that are missing are told now and not after a night of answering.
    task.judge(given, (), {})
    _tell(f"{given.data}", data.bad)
    for note in data.notes:
        say(note)
    if given.answers is None and given.questions_only:
        say(f"Questions: {write_questions(data.items, given.output)}")
        return not data.bad
    answered, whole = _answers(given, data, task.max_new_tokens)
    columns = [_column(given, label, data.items, answers) for label, answers in answered.items()]
    for column in columns:
        missing = len(data.items) - len(column.answers)
        whole = whole and not missing
        if missing:
            say(f"{column.label}: {missing:,} of {len(data.items):,} items have no answer.")
    _write(given, data, columns)
    sys.stdout.write(table(columns))
    say(f"Report: {given.output / 'report.html'}")
    return whole and not data.bad


def table(columns: Sequence[Column]) -> str:
    """The scores as lines of text, a column for each model."""
    groups = list(dict.fromkeys(name for column in columns for name in column.judged.groups))
    lines = [["", *(column.label for column in columns)]]
    first = columns[0].judged.scores[0].name
    for index, score in enumerate(columns[0].judged.scores):
        lines.append([score.name, *(_cell(column.judged.scores[index]) for column in columns)])
    lines += [
        [f"{first}: {name}", *(_cell(column.judged.groups.get(name)) for column in columns)]
        for name in groups
    ]
    lines.append(["answers", *(f"{len(column.answers):,}" for column in columns)])
    widths = [max(len(line[place]) for line in lines) for place in range(len(lines[0]))]
    padded = (
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )
    return "".join(f"{line.rstrip()}\n" for line in padded)


def _cell(score: Score | None) -> str:
    if score is None:
        return ""
    return f"{score.text} ({score.interval})" if score.interval else score.text


def _answers(
    given: Namespace, data: Data, max_new_tokens: int
) -> tuple[Mapping[str, Mapping[str, Answer]], bool]:
    """The answers by label and key, and whether every given row was one."""
    if given.answers is None:
        return ask(data.items, models(given, max_new_tokens), given, say), True
    found, whole = {}, True
    for label, file in labels(given.answers, "--answers").items():
        found[label], bad = read_answers(Path(file), data.items)
        _tell(file, bad)
        whole = whole and not bad
    make_folder(given.output)
    return found, whole


def _column(
    given: Namespace, label: str, items: Sequence[Item], answers: Mapping[str, Answer]
) -> Column:
    judged = [item for item in items if item.key in answers]
    if not judged:
        raise EngineError(f"{label}: no item was answered, so there is nothing to judge.")
    kept = {item.key: answers[item.key] for item in judged}
    return Column(label, kept, TASKS[given.task].judge(given, judged, kept))


def _tell(source: str, bad: Sequence[tuple[str, str]]) -> None:
    for place, reason in bad[:_MOST_TOLD]:
        say(f"{source}, {place}: {reason}")
    if len(bad) > _MOST_TOLD:
        say(f"{source}: {len(bad) - _MOST_TOLD:,} more such rows.")


def _write(given: Namespace, data: Data, columns: Sequence[Column]) -> None:
    output: Path = given.output
    scores = {
        "task": given.task,
        "data": str(given.data),
        "items": len(data.items),
        "bad": len(data.bad),
        "notes": list(data.notes),
        "seed": given.seed,
        "models": {column.label: _scores(column) for column in columns},
    }
    (output / "scores.json").write_text(f"{json.dumps(scores, indent=1)}\n", encoding="utf-8")
    with (output / "results.jsonl").open("w", encoding="utf-8", errors="replace") as file:
        for item in data.items:
            file.write(f"{json.dumps(_result(item, columns), ensure_ascii=False)}\n")
    page = report_html(
        TASKS[given.task].title,
        given.data.name,
        data,
        columns,
        most=given.report_items,
        seed=given.seed,
        marks=TASKS[given.task].marks,
    )
    (output / "report.html").write_text(page, encoding="utf-8", errors="replace")


def _scores(column: Column) -> dict[str, Any]:
    return {
        "answers": len(column.answers),
        "scores": {score.name: _told(score) for score in column.judged.scores},
        "groups": {name: _told(score) for name, score in column.judged.groups.items()},
    }


def _told(score: Score) -> dict[str, float]:
    told = {"value": score.value}
    if score.low is not None and score.high is not None:
        told |= {"low": score.low, "high": score.high}
    return {name: round(value, 6) for name, value in told.items()}


def _result(item: Item, columns: Sequence[Column]) -> dict[str, Any]:
    return {
        "id": item.key,
        "image": str(item.picture),
        "question": item.question,
        "references": list(item.references),
        "answers": {
            column.label: _judgement(item, column.answers, column.judged) for column in columns
        },
    }


def _judgement(item: Item, answers: Mapping[str, Answer], judged: Judged) -> dict[str, Any] | None:
    if item.key not in answers:
        return None
    answer, verdict = answers[item.key], judged.verdicts[item.key]
    return {
        "answer": answer.text,
        "finish": answer.finish,
        "mark": verdict.mark,
        "score": round(float(verdict.score), 6),
        "notes": list(verdict.notes),
    }
