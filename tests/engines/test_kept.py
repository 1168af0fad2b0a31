"""What the reference engine keeps of the sequences it has read."""

import pytest
import torch
from transformers import DynamicCache

from minigpt4.engines.kept import KeptSequences


def _filled(length: int) -> DynamicCache:
    cache = DynamicCache()
    numbers = torch.arange(length, dtype=torch.float32).reshape(1, 1, length, 1)
    cache.update(numbers, -numbers, 0)
    return cache


def test_kept_sequences_copy_or_cut_and_stay_within_their_budget():
    kept = KeptSequences(budget=2 * 4 * 250)
    kept.keep(range(100), _filled(100))
    assert kept.share == pytest.approx(0.4)
    # A little at the end differs: the cache itself is cut.
    cut = kept.take([*range(95), -1, -2], DynamicCache())
    assert cut.get_seq_length() == 95
    assert kept.share == 0
    kept.keep(range(100), _filled(100))
    # Much differs: a copy, and the rest stays.
    copy = kept.take([*range(50), -1], DynamicCache())
    assert torch.equal(copy.layers[0].keys.flatten(), torch.arange(50.0))
    assert torch.equal(copy.layers[0].values.flatten(), -torch.arange(50.0))
    assert kept.share == pytest.approx(0.4)
    # At least one position is left to be read.
    assert kept.take(list(range(60)), DynamicCache()).get_seq_length() == 59
    # What was unused for longest goes first; what is too large is not kept.
    kept.keep(["a", *range(90)], _filled(91))
    kept.take([*range(50), -1], DynamicCache())
    kept.keep(["b", *range(90)], _filled(91))
    assert kept.take(["a", 0, 1], DynamicCache()).get_seq_length() == 0
    assert kept.take([*range(50), -1], DynamicCache()).get_seq_length() == 50
    kept.keep(range(1000, 1300), _filled(300))
    assert kept.take([1000, 1001], DynamicCache()).get_seq_length() == 0
    # A longer sequence takes the place of its beginning.
    kept.keep([*range(100), 7], _filled(101))
    assert len(kept._kept) == 2


def test_a_sequence_that_only_grows_is_never_cut(monkeypatch):
    """Transformers 5.17 takes a cut of 0 positions for a cut to 0 positions."""
    cache = _filled(100)
    monkeypatch.setattr(cache, "crop", lambda length: pytest.fail(f"cut by {length}"))
    kept = KeptSequences(budget=10_000)
    kept.keep(range(100), cache)
    assert kept.take(range(130), DynamicCache()).get_seq_length() == 100
