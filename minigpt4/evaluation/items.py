"""What an evaluation asks, what came back, and what it was worth, as values.

a benchmark's files -> Item, Item, ...    layouts.py, vqa_layouts.py
Item    -> Answer                         answering.py (our model), foreign.py (anybody's)
Answers -> Judged                         failures.py, pope.py, chair.py, vqa.py, captions.py
Judged  -> scores.json, results.jsonl, report.html
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Mark = Literal["right", "partly", "wrong", "scored"]
"""What an answer is shown as; "scored" where there is a number and no right or wrong."""


@dataclass(frozen=True, slots=True)
class Item:
    """One question of a benchmark.

    Attributes:
        key: What the benchmark knows it by.
        picture: Where its picture should be.
        question: What is asked.
        references: What is true, as the benchmark says it: an answer, answers of several people,
            objects, captions; nothing where the answer is judged by itself.
        group: What its score is also filed under; empty for nothing.
        rule: Which of the task's rules judges it; empty where there is one.
        choices: What it offers to choose from.
    """

    key: str
    picture: Path
    question: str
    references: tuple[str, ...] = ()
    group: str = ""
    rule: str = ""
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Data:
    """A benchmark as it was read.

    Attributes:
        items: What can be asked.
        bad: Place and reason of what cannot.
        notes: What the reader of a score should know of how it was read.
    """

    items: tuple[Item, ...]
    bad: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What was answered.

    Attributes:
        text: The answer.
        finish: Why it ended; None if whoever answered did not say.
    """

    text: str
    finish: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one answer is worth.

    Attributes:
        mark: How it is shown.
        score: From 0 to 1 where something is right or wrong, else as the metric has it.
        notes: Why, in a few words each.
    """

    mark: Mark
    score: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Score:
    """One figure over all answers.

    Attributes:
        name: What it is called.
        value: The figure; a share is between 0 and 1.
        kind: A share, or a plain number.
        low: Lower end of its 95 % interval; None where none can be told.
        high: Upper end.
        about: What it is, in one sentence.
    """

    name: str
    value: float
    kind: Literal["share", "number"] = "share"
    low: float | None = None
    high: float | None = None
    about: str = ""

    @property
    def text(self) -> str:
        """The figure for people."""
        if self.kind == "share":
            return f"{100 * self.value:.1f} %"
        return f"{self.value:.1f}" if self.value >= 10 else f"{self.value:.3f}"

    @property
    def interval(self) -> str:
        """The 95 % interval for people; empty where there is none."""
        if self.low is None or self.high is None:
            return ""
        return f"{100 * self.low:.1f} to {100 * self.high:.1f}"


@dataclass(frozen=True, slots=True)
class Judged:
    """All answers, judged.

    Attributes:
        scores: The figures, the most telling first.
        verdicts: What each answer is worth, by its item's key.
        groups: The first figure for each group of items.
    """

    scores: tuple[Score, ...]
    verdicts: Mapping[str, Verdict]
    groups: Mapping[str, Score] = field(default_factory=dict)


def share(name: str, part: float, whole: int, about: str = "") -> Score:
    """A share of independent answers with its 95 % interval (Wilson's, sound for few answers too).

    Args:
        name: What it is called.
        part: How many it is true of.
        whole: Of how many.
        about: What it is.
    """
    if not whole:
        return Score(name, 0.0, about=about)
    value, z = part / whole, 1.96
    middle = (value + z * z / (2 * whole)) / (1 + z * z / whole)
    reach = z * math.sqrt(value * (1 - value) / whole + z * z / (4 * whole * whole))
    reach /= 1 + z * z / whole
    return Score(name, value, "share", max(0.0, middle - reach), min(1.0, middle + reach), about)


def mean(name: str, values: Sequence[float], about: str = "") -> Score:
    """The mean of scores between 0 and 1.

    Its interval is that of a share. Scores that are partly right vary less than that, so it is
    rather too wide.
    """
    return share(name, sum(values), len(values), about)


def ratio(part: float, whole: float) -> float:
    """A quotient that is 0 where there is nothing to divide by."""
    return part / whole if whole else 0.0


def mark_of(score: float) -> Mark:
    """How a score from 0 to 1 is shown."""
    if score >= 1:
        return "right"
    return "partly" if score > 0 else "wrong"
