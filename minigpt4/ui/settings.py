"""The generation settings of the page: their names, ranges and defaults, in one table.

The table makes the sliders and checks what comes back from them; a browser can send anything.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAX_SEED = 2**31 - 1


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


def setting_table(defaults: Mapping[str, Any], max_new_tokens: int = 300) -> tuple[Setting, ...]:
    """Build the table.

    Args:
        defaults: Values of the configuration, by name; missing ones get the release's.
        max_new_tokens: Longest answer that this model can write.
    """

    def default(name: str, otherwise: float | None) -> float | None:
        value = defaults.get(name, otherwise)
        return value if isinstance(value, int | float) else otherwise

    length = max(max_new_tokens, 10)
    return (
        Setting(
            "temperature",
            "Temperature",
            "0 always takes the likeliest word.",
            0.0,
            2.0,
            0.05,
            default("temperature", 1.0),
        ),
        Setting(
            "top_p",
            "Top-p",
            "Only words that together are this likely.",
            0.05,
            1.0,
            0.05,
            default("top_p", 0.9),
        ),
        Setting(
            "max_new_tokens",
            "Longest answer",
            "In tokens; a word is one or two.",
            10,
            length,
            1,
            min(default("max_new_tokens", length) or length, length),
        ),
        Setting(
            "repetition_penalty",
            "Repetition penalty",
            "Above 1 avoids words used before.",
            1.0,
            2.0,
            0.01,
            default("repetition_penalty", 1.0),
        ),
        Setting(
            "num_beams",
            "Beams",
            "Answers tried at once; then no streaming.",
            1,
            5,
            1,
            default("num_beams", 1),
        ),
        Setting(
            "seed",
            "Seed",
            "Makes a drawn answer repeatable; empty draws anew.",
            0,
            MAX_SEED,
            1,
            default("seed", None),
        ),
    )


def read_settings(table: Sequence[Setting], values: Sequence[object]) -> dict[str, Any]:
    """Check the values that the page sent, in the order of the table.

    Returns:
        Arguments for ``GenerationSettings``.
    """
    sent = [*values, *([None] * (len(table) - len(values)))]
    return {
        setting.name: setting.check(value)
        for setting, value in zip(table, sent, strict=False)
        if not (setting.name == "seed" and value in (None, ""))
    }


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
