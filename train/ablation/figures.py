"""What tables and plots show of the scores: shares, and how far chance may have moved them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Share:
    """A share of many questions.

    Attributes:
        value: From 0 to 1, the mean over seeds.
        error: Its standard error, of the questions asked: other ones would have moved it so far.
    """

    value: float
    error: float

    def __str__(self) -> str:
        return f"{100 * self.value:.1f}"


@dataclass(frozen=True, slots=True)
class ArmFigures:
    """What was found of one arm.

    Attributes:
        name: Of the arm.
        title: For tables.
        data: Share of stage 1's samples it saw.
        seeds: Scores by stage, seed by seed.
    """

    name: str
    title: str
    data: float
    seeds: Sequence[Mapping[str, Any]]

    def exact(self, stage: int, what: str = "answers") -> Share | None:
        """The plain mean, over types of question, of the share of exact answers."""
        found = [(each[what], each["asked"]) for each in self._of(stage) if what in each]
        values, variances = [], []
        for answers, asked in found:
            types = len(answers)
            values.append(sum(answers.values()) / types)
            variances.append(
                sum(_variance(share, asked[name]) for name, share in answers.items()) / types**2
            )
        return _joined(values, variances)

    def of_type(self, stage: int, question_type: str) -> float | None:
        """The share of exact answers to one type of question."""
        found = [each["answers"][question_type] for each in self._of(stage)]
        return sum(found) / len(found) if found else None

    def described(self, stage: int, measure: str, pictures: int) -> Share | None:
        """A score of the descriptions, such as failures."""
        values = [float(each["descriptions"][measure]) for each in self._of(stage)]
        return _joined(values, [_variance(value, pictures) for value in values])

    def number(self, what: str) -> int:
        """A whole number that is the same for every seed, such as the visual tokens."""
        return int(next(iter(self._of(2)))[what])

    @property
    def types(self) -> list[str]:
        """The types of question that were asked."""
        return list(next(iter(self._of(2)))["answers"])

    @property
    def cpu_seconds(self) -> float:
        """CPU seconds of training with one seed."""
        return sum(float(each["cpu_seconds"]) for each in self.seeds) / len(self.seeds)

    def _of(self, stage: int) -> Iterator[Mapping[str, Any]]:
        return (each[f"stage{stage}"] for each in self.seeds if f"stage{stage}" in each)


def arms_in(found: Mapping[str, Any]) -> list[ArmFigures]:
    """The arms of `experiment.results`, the base first."""
    return [
        ArmFigures(each["name"], each["title"], each["data"], list(each["seeds"].values()))
        for each in found["arms"]
    ]


def by_data(arms: Sequence[ArmFigures]) -> list[ArmFigures]:
    """The base and the arms that saw less of stage 1's data, least first."""
    base = arms[0]
    return sorted([base, *(arm for arm in arms if arm.data < 1)], key=lambda arm: arm.data)


def difference(found: Share, base: Share) -> str:
    """How far a share lies from the base's, in points, and whether chance would do as much.

    The same pictures are asked about, so errors are in truth a little smaller than this says.
    """
    points = 100 * (found.value - base.value)
    error = 100 * math.hypot(found.error, base.error)
    within = " (within chance)" if abs(points) <= 2 * error else ""
    return f"{points:+.1f}{within}"


def _variance(share: float, asked: int) -> float:
    """Of a share, as if one more had been right and one more wrong: all right is not certain."""
    likely = (share * asked + 1) / (asked + 2)
    return likely * (1 - likely) / max(1, asked)


def _joined(values: Sequence[float], variances: Sequence[float]) -> Share | None:
    if not values:
        return None
    return Share(sum(values) / len(values), math.sqrt(sum(variances)) / len(values))
