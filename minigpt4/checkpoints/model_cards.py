"""The model card of a saved model: what it is, how it is loaded, what it scored."""

from collections.abc import Iterator, Mapping
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from minigpt4.config import Config

_NOTICES = {
    "llama2": (
        "Llama 2 is licensed under the LLAMA 2 Community License, Copyright (c) Meta Platforms,"
        " Inc. All Rights Reserved."
    ),
    "vicuna_v0": "Vicuna v0 rests on LLaMA 1: non-commercial use only.",
}
_DATA_NAME = "held-out data of this model's training"
Scores = Mapping[str, Any]
"""Shares or numbers by what was asked, by measure, by stage."""


def model_card(
    config: Config,
    settings: Mapping[str, Any],
    files: Mapping[str, int],
    scores: Scores | None,
    licence: str,
) -> str:
    """Write the card.

    Args:
        config: Of the saved model.
        settings: What its config.json says.
        files: Its weight files and their bytes.
        scores: What it scored; None if nobody said.
        licence: The hub's name of its licence.
    """
    name = config.page.title
    data = ModelCardData(
        license=licence,
        library_name="minigpt4",
        pipeline_tag="image-text-to-text",
        tags=["minigpt4", "vision-language", config.model.prompt_format],
        model_name=name,
        eval_results=list(_results(scores)) or None,
    )
    blocks = [
        f"---\n{data.to_yaml()}\n---",
        f"# {name}",
        config.page.claim,
        *([config.page.notice] if config.page.notice else []),
        "## Use",
        "With the code of MiniGPT-4, this folder or its place on the hub is a name like any other:",
        (
            "```python\nfrom minigpt4 import load\n\n"
            'chat = load("path/to/this/folder")  # or "owner/name@commit"\n'
            'print(chat.ask("photo.png", "What is in the picture?"))\n```'
        ),
        "## What it is",
        _table(
            ("", ""),
            [
                ("preset", f"`{config.model.preset}`"),
                ("prompt format", f"`{config.model.prompt_format}`"),
                *((part, f"`{text}`") for part, text in _elsewhere(settings)),
                *((f"`{file}`", f"{size:,} bytes") for file, size in files.items()),
            ],
        ),
        "Answers are drawn with: "
        + ", ".join(f"{key} {value}" for key, value in settings["generation"].items())
        + ".",
        "## Scores",
        *(_score_tables(scores) if scores else ["Whoever saved this model gave no scores."]),
        "## Licence",
        _licence_text(config, licence),
    ]
    return "\n\n".join(blocks) + "\n"


def _elsewhere(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the parts that are not in the folder but on the hub."""
    for part in ("vision", "qformer", "language_model", "projection"):
        text = settings["model"].get(part, "")
        if "@" in text:
            yield part.replace("_", " "), text


def _licence_text(config: Config, licence: str) -> str:
    if licence != "other":
        return f"`{licence}`"
    family = next((each for each in _NOTICES if config.model.prompt_format.startswith(each)), "")
    text = "Every part keeps the licence under which it was published; see where each came from."
    return f"{text} {_NOTICES[family]}" if family else text


def _results(scores: Scores | None) -> Iterator[EvalResult]:
    """Yield the one number for the hub's own tables: the mean of the first measure of shares."""
    for stage, measures in (scores or {}).items():
        for measure, rows in measures.items():
            if rows and all(isinstance(value, float) for value in rows.values()):
                yield EvalResult(
                    task_type="image-text-to-text",
                    dataset_type="synthetic",
                    dataset_name=_DATA_NAME,
                    metric_type="accuracy",
                    metric_name=f"{_words(stage)}, {_words(measure)}: mean of {len(rows)} kinds",
                    metric_value=round(sum(rows.values()) / len(rows), 4),
                )
                return


def _score_tables(scores: Scores) -> Iterator[str]:
    """Yield a heading and tables for each stage; measures of the same things share a table."""
    for stage, measures in scores.items():
        yield f"### {_words(stage)}"
        groups: list[dict[str, Mapping[str, float]]] = []
        for measure, rows in measures.items():
            near = next((each for each in groups if _related(each, rows)), None)
            if near is None:
                groups.append({measure: rows})
            else:
                near[measure] = rows
        for group in groups:
            names = dict.fromkeys(name for rows in group.values() for name in rows)
            table = [
                (_words(name), *(_cell(rows.get(name)) for rows in group.values()))
                for name in names
            ]
            yield _table(("", *map(_words, group)), table)


def _related(group: Mapping[str, Mapping[str, float]], rows: Mapping[str, float]) -> bool:
    """Whether a measure is of the same things as a group; one thing in common does not make it."""
    first = next(iter(group.values()))
    return 2 * len(rows.keys() & first.keys()) > min(len(rows), len(first))


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.1%}" if isinstance(value, float) else f"{value:,}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---", *("--:" for _ in head[1:])), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
