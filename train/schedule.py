"""The learning rate of every step."""

import math
from dataclasses import dataclass, field

from minigpt4.settings_file import within


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Linear warm-up, then the second part of a half cosine.

    The cosine counts from step 0, as in the release: after the warm-up it goes on from where it
    would be by then, a little below the peak. The release counted its warm-up within an epoch, so
    that a long one began anew in the next; here both count steps of the whole run.

    Source: LinearWarmupCosineLRScheduler of the release.
    """

    steps: int = field(metadata=within(1, 10_000_000))
    """Optimiser steps of the run."""
    warmup_steps: int = field(metadata=within(0, 10_000_000))
    """Steps of warm-up."""
    warmup_learning_rate: float = field(metadata=within(0, 1))
    """Learning rate of step 0."""
    learning_rate: float = field(metadata=within(0, 1))
    """The peak, which the warm-up leads to."""
    final_learning_rate: float = field(metadata=within(0, 1))
    """What the cosine leads to."""

    def at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.warmup_steps:
            rise = self.learning_rate - self.warmup_learning_rate
            return self.warmup_learning_rate + rise * step / self.warmup_steps
        fall = self.learning_rate - self.final_learning_rate
        half_cosine = 0.5 * (1 + math.cos(math.pi * step / self.steps))
        return self.final_learning_rate + fall * half_cosine
