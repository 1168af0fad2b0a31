"""The learning rate: the release's numbers, without its warm-up beginning anew."""

import math

import pytest

from train.schedule import Schedule

RELEASE_STAGE_1 = Schedule(
    steps=20_000,
    warmup_steps=5_000,
    warmup_learning_rate=1e-6,
    learning_rate=1e-4,
    final_learning_rate=8e-5,
)


def test_it_rises_in_a_straight_line_and_falls_along_a_cosine() -> None:
    at = RELEASE_STAGE_1.at
    assert at(0) == 1e-6
    assert at(2_500) == pytest.approx((1e-6 + 1e-4) / 2)
    assert at(5_000) == pytest.approx(8e-5 + 2e-5 * 0.5 * (1 + math.cos(math.pi / 4)))
    assert at(10_000) == pytest.approx(9e-5)
    assert at(20_000) == pytest.approx(8e-5)


def test_a_warm_up_longer_than_an_epoch_goes_on() -> None:
    schedule = Schedule(
        steps=12,
        warmup_steps=6,
        warmup_learning_rate=1e-5,
        learning_rate=1e-3,
        final_learning_rate=1e-4,
    )
    rates = [schedule.at(step) for step in range(12)]
    assert rates[:6] == sorted(rates[:6])
    assert rates[6:] == sorted(rates[6:], reverse=True)
    assert rates[4] == pytest.approx(1e-5 + (1e-3 - 1e-5) * 4 / 6)


def test_no_warm_up_starts_at_the_peak() -> None:
    schedule = Schedule(
        steps=4,
        warmup_steps=0,
        warmup_learning_rate=0.0,
        learning_rate=1e-3,
        final_learning_rate=0.0,
    )
    assert schedule.at(0) == 1e-3
