import threading

import pytest

from minigpt4.engines import statistics
from minigpt4.engines.statistics import FIRST_TOKEN_BUCKETS, EngineStatistics, Meter


@pytest.fixture
def clock(monkeypatch):
    """Seconds on the meter's clock."""
    now = [100.0]
    monkeypatch.setattr(statistics.time, "monotonic", lambda: now[0])
    return now


def test_a_new_engine_has_done_nothing():
    shown = Meter().statistics(running=0, waiting=0)
    assert shown == EngineStatistics()


def test_first_tokens_are_counted_by_their_time():
    meter = Meter()
    for seconds in (0.004, 0.01, 0.011, 0.3, 31.0):
        meter.first_token(seconds)
    shown = meter.statistics(running=0, waiting=0)
    counts = dict(zip((*FIRST_TOKEN_BUCKETS, "more"), shown.first_token_counts, strict=True))
    assert {bound: count for bound, count in counts.items() if count} == {
        0.01: 2,
        0.025: 1,
        0.5: 1,
        "more": 1,
    }
    assert shown.first_token_sum == pytest.approx(31.325)


def test_speed_is_that_of_the_last_seconds(clock):
    meter = Meter()
    meter.step(1, 1)
    clock[0] += 60
    for _ in range(21):  # 20 tokens a second for one second, by two answers
        meter.step(2, 1)
        clock[0] += 0.05
    shown = meter.statistics(running=2, waiting=0)
    assert shown.tokens_per_second == pytest.approx(20 / 1.05)
    assert shown.batch_size == 2
    assert shown.generated_tokens == 22
    clock[0] += 60
    shown = meter.statistics(running=0, waiting=0)
    assert (shown.tokens_per_second, shown.batch_size, shown.generated_tokens) == (0, 0, 22)


def test_ends_are_counted_by_their_kind():
    meter = Meter()
    for how in ("stop", "length", "stop", "cancelled", "failed", "refused", "refused"):
        meter.ended(how)
    meter.read(100, 0)
    meter.read(120, 96)
    shown = meter.statistics(running=3, waiting=2, cache_share=0.5)
    assert (shown.answered, shown.cancelled, shown.failed, shown.refused) == (3, 1, 1, 2)
    assert (shown.prompt_tokens, shown.cached_tokens) == (220, 96)
    assert (shown.running, shown.waiting, shown.cache_share) == (3, 2, 0.5)


def test_threads_lose_no_count():
    meter = Meter()

    def count():
        for _ in range(500):
            meter.step(1, 1)
            meter.ended("stop")

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    shown = meter.statistics(running=0, waiting=0)
    assert (shown.generated_tokens, shown.answered) == (4000, 4000)
