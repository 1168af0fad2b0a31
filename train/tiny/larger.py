"""The schedules of stage 0 for devices that take many samples at once."""

from dataclasses import replace
from math import sqrt
from typing import TypeVar

from train.tiny.bridge import BridgeSettings
from train.tiny.eye import EyeSettings
from train.tiny.fitting import FittingSettings
from train.tiny.language import LanguageSettings

_Settings = TypeVar("_Settings", LanguageSettings, EyeSettings, FittingSettings, BridgeSettings)


def larger(settings: _Settings, times: int) -> _Settings:
    """As many samples in batches so many times as large; the learning rate grows by the root.

    Args:
        settings: Of a part.
        times: 1 leaves them as they are.
    """
    before = settings.steps
    steps = replace(
        before,
        steps=max(1, before.steps // times),
        batch_size=before.batch_size * times,
        learning_rate=before.learning_rate * sqrt(times),
        warmup_steps=max(1, before.warmup_steps // times),
        check_every=max(1, before.check_every // times),
    )
    return replace(settings, steps=steps)
