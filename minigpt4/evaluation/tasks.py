"""The benchmarks there are: how each is read, asked and judged."""

import random
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from minigpt4.errors import ConfigError
from minigpt4.evaluation import captions, chair, failures, pope, vqa
from minigpt4.evaluation.files import PictureFolder
from minigpt4.evaluation.items import Answer, Data, Item, Judged
from minigpt4.evaluation.layouts import read_captions, read_chair, read_failures, read_pope
from minigpt4.evaluation.objects import read_objects
from minigpt4.evaluation.vqa_layouts import read_vqa

_QUESTION = "{question}"


@dataclass(frozen=True, slots=True)
class Task:
    """A benchmark.

    Attributes:
        title: What a report calls it.
        read: Reads its data, as the command line says.
        judge: Judges answers to its items.
        question: What is asked; "{question}" is the item's own.
        max_new_tokens: The longest answer.
        marks: What a report calls right and wrong answers.
    """

    title: str
    read: Callable[[Namespace], Data]
    judge: Callable[[Namespace, Sequence[Item], Mapping[str, Answer]], Judged]
    question: str
    max_new_tokens: int
    marks: tuple[str, str] = ("Right", "Wrong")


def _pictures(given: Namespace) -> PictureFolder:
    data: Path = given.data
    return PictureFolder(given.images or data.parent)


TASKS: Mapping[str, Task] = {
    "failures": Task(
        "Failed descriptions",
        lambda given: read_failures(given.data, _pictures(given)),
        lambda _, items, answers: failures.judge(items, answers),
        "Describe this image in detail.",
        300,
        ("Sound", "Failed"),
    ),
    "pope": Task(
        "POPE",
        lambda given: read_pope(given.data, _pictures(given)),
        lambda _, items, answers: pope.judge(items, answers),
        _QUESTION,
        30,
    ),
    "chair": Task(
        "CHAIR",
        lambda given: read_chair(
            given.data, _pictures(given), read_objects(given.objects), given.captions
        ),
        lambda given, items, answers: chair.judge(items, answers, read_objects(given.objects)),
        "Describe this image in detail.",
        300,
        ("Sound", "Hallucinates"),
    ),
    "vqa": Task(
        "VQA accuracy",
        lambda given: read_vqa(
            given.data,
            _pictures(given),
            annotations=given.annotations,
            multiple_choice=given.multiple_choice,
        ),
        lambda _, items, answers: vqa.judge(items, answers),
        _QUESTION,
        30,
    ),
    "captions": Task(
        "Caption scores",
        lambda given: read_captions(given.data, _pictures(given)),
        lambda _, items, answers: captions.judge(items, answers),
        "Describe this image briefly.",
        60,
    ),
}


def read(given: Namespace) -> Data:
    """Reads a task's data and draws `given.number` of its items, with their questions made up.

    Raises:
        ConfigError: If nothing can be read, or the question has no place for the items' own.
    """
    task = TASKS[given.task]
    question = given.question or task.question
    if task.question == _QUESTION and _QUESTION not in question:
        problem = f"--question: {question!r} given, which lacks {_QUESTION}: each item has its own."
        raise ConfigError([problem])
    data = task.read(given)
    repeated = _repeated(data.items)
    items = tuple(
        replace(item, question=question.replace(_QUESTION, item.question))
        for item in data.items
        if item.key not in repeated
    )
    bad = (*data.bad, *((f"item {key}", "There are several of this id.") for key in repeated))
    if not items:
        reason = f" {bad[0][0]}: {bad[0][1]}" if bad else ""
        raise ConfigError([f"{given.data}: there is nothing to ask in it.{reason}"])
    notes = data.notes
    if given.number is not None and given.number < len(items):
        chosen = set(random.Random(given.seed).sample(range(len(items)), given.number))
        notes += (
            f"{given.number:,} of {len(items):,} items, drawn at random (seed {given.seed}).",
        )
        items = tuple(item for index, item in enumerate(items) if index in chosen)
    return Data(items, bad, notes)


def _repeated(items: Sequence[Item]) -> list[str]:
    """Keys that several items have, so that an answer could not be told whose it is."""
    counted = Counter(item.key for item in items)
    return [key for key, number in counted.items() if number > 1]
