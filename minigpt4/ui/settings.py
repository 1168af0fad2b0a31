"""The generation settings of the page: their names, ranges and defaults, in one table.

The table makes the sliders and checks what comes back from them; a browser can send anything.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from minigpt4.config import GenerationSettings

MAX_SEED = 2**31 - 1
COMPARE = "Compare"
"""Instead of a projection: all of them, side by side."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        name: Field of ``GenerationSettings``.
        label: What the page calls it.
        info: What it does, in a few words.
        low: Smallest value.
        high: Largest value.
        step: Distance between two values of the slider; an int for whole numbers.
        default: Value of a new page and after a reset; None means "not set".
    """

    name: str
    label: str
    info: str
    low: float
    high: float
    step: float
    default: float | None

    def check(self, value: object) -> float | None:
        """Return the nearest value in range, or the default for what is no number."""
        if value == "":
            return None if self.name == "seed" else self.default
        if isinstance(value, str):
            value = _number(value)
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            return self.default
        bounded = min(max(value, self.low), self.high)
        return round(bounded) if isinstance(self.step, int) else float(bounded)


def setting_table(defaults: GenerationSettings) -> tuple[Setting, ...]:
    """Build the table around the defaults of a configuration.

    An answer can be made shorter than the configured length, not longer: that much the model's
    context was chosen to hold.
    """
    return (
        Setting(
            "temperature",
            "Temperature",
            "0 always takes the likeliest word.",
            0.0,
            2.0,
            0.05,
            defaults.temperature,
        ),
        Setting(
            "top_p",
            "Top-p",
            "Only words that together are this likely.",
            0.05,
            1.0,
            0.05,
            defaults.top_p,
        ),
        Setting(
            "max_new_tokens",
            "Longest answer",
            "In tokens; a word is one or two.",
            min(10, defaults.max_new_tokens),
            defaults.max_new_tokens,
            1,
            defaults.max_new_tokens,
        ),
        Setting(
            "repetition_penalty",
            "Repetition penalty",
            "Above 1 avoids words used before.",
            1.0,
            2.0,
            0.01,
            defaults.repetition_penalty,
        ),
        Setting(
            "num_beams",
            "Beams",
            "Answers tried at once; then no streaming.",
            1,
            5,
            1,
            defaults.num_beams,
        ),
        Setting(
            "seed",
            "Seed",
            "Makes a drawn answer repeatable; empty draws anew.",
            0,
            MAX_SEED,
            1,
            defaults.seed,
        ),
    )


@dataclass(frozen=True, slots=True)
class Choice:
    """What the page sent beside a question.

    Attributes:
        settings: How to generate.
        projection: The label of a projection, `COMPARE`, or nothing that is known.
    """

    settings: GenerationSettings
    projection: object = None

    def projections(self, labels: Sequence[str]) -> tuple[str | None, ...]:
        """Return what to look through, the model's own projection as None.

        Args:
            labels: Of all projections, the model's own first.
        """
        others = labels[1:]
        if others and self.projection == COMPARE:
            return (None, *others)
        chosen = [other for other in others if other == self.projection]
        return (chosen[0],) if chosen else (None,)


def choose(table: Sequence[Setting], values: Sequence[object]) -> Choice:
    """Read the values that the page sent: those of the table in its order, then the projection."""
    projection = values[len(table)] if len(values) > len(table) else None
    return Choice(choose_settings(table, values[: len(table)]), projection)


def choose_settings(table: Sequence[Setting], values: Sequence[object]) -> GenerationSettings:
    """Make settings of the values that the page sent, in the order of the table."""
    sent = [*values, *([None] * (len(table) - len(values)))]
    # A client may send more values than there are settings; what is too many counts for nothing.
    chosen: dict[str, Any] = {
        setting.name: setting.check(value) for setting, value in zip(table, sent, strict=False)
    }
    return GenerationSettings(**chosen)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
