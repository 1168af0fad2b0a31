"""What was read before and need not be read again: sequences with their KV caches.

An engine is told prompts, not sessions. A follow-up is found by what it begins with: the longest
sequence in common with one that was read, position by position (see identities.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

CROPPED_TOKENS = 16
"""At most so many tokens are cut off a kept sequence to go on from it: its end symbol, and what the
tokenizer joins differently once the next turn follows. Where more differs (an edited question, an
answer made anew, another chat that begins alike), the common part is copied and the sequence
stays."""


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """A sequence that was read."""

    positions: tuple[int, ...]
    cache: DynamicCache
    size: int


class KeptSequences:
    """The caches of sequences read lately; used by one thread at a time.

    Those unused for longest go first when the budget is spent. Nothing but time is lost with them.
    """

    def __init__(self, budget: int) -> None:
        """Begins with nothing kept.

        Args:
            budget: Bytes of all caches together.
        """
        self._budget = budget
        self._kept: list[_Kept] = []  # the one used last at the end
        self._size = 0

    @property
    def share(self) -> float:
        """Share of the budget that is spent, 0 to 1."""
        return self._size / self._budget if self._budget else 0.0

    def take(self, positions: Sequence[int], new_cache: DynamicCache) -> DynamicCache:
        """The cache of the longest known beginning of a sequence.

        At least one position is left to be read, without which nothing could follow.

        Args:
            positions: The sequence.
            new_cache: An empty cache, filled and returned if no kept one can be gone on from.
        """
        best = max(self._kept, key=lambda kept: _common(kept.positions, positions), default=None)
        length = min(_common(best.positions, positions), len(positions) - 1) if best else 0
        if best is None or length == 0:
            return new_cache
        if len(best.positions) - length <= CROPPED_TOKENS:
            self._forget(best)
            if length < len(best.positions):  # transformers 5.17 takes 0 for all of it
                best.cache.crop(length - len(best.positions))
            return best.cache
        self._kept.remove(best)
        self._kept.append(best)
        for index, layer in enumerate(_layers(best.cache)):
            new_cache.update(
                layer.keys[:, :, :length].clone(), layer.values[:, :, :length].clone(), index
            )
        return new_cache

    def keep(self, positions: Sequence[int], cache: DynamicCache) -> None:
        """Keeps what was read.

        Args:
            positions: The sequence; its last positions may not have been read.
            cache: What was read of it, for a batch of one.
        """
        layers = _layers(cache)
        if any(type(layer) is not DynamicLayer for layer in layers):
            return  # a sliding window has lost its beginning, and cannot be cut
        length = cache.get_seq_length()
        size = sum(layer.keys.nbytes + layer.values.nbytes for layer in layers)
        if not 0 < length <= len(positions) or size > self._budget:
            return
        new = _Kept(tuple(positions[:length]), cache, size)
        for kept in [*self._kept]:
            if _common(kept.positions, new.positions) == len(kept.positions):
                self._forget(kept)
        self._kept.append(new)
        self._size += size
        while self._size > self._budget:
            self._forget(self._kept[0])

    def clear(self) -> None:
        """Forgets everything."""
        self._kept.clear()
        self._size = 0

    def _forget(self, kept: _Kept) -> None:
        self._kept.remove(kept)
        self._size -= kept.size


def _layers(cache: DynamicCache) -> Sequence[Any]:
    return cache.layers


def _common(left: Sequence[int], right: Sequence[int]) -> int:
    """How many positions two sequences begin with alike.

    It never ends within a picture: up to there both have the same slots at the same places.
    """
    pairs = zip(left, right, strict=False)
    shortest = min(len(left), len(right))
    return next((index for index, (one, other) in enumerate(pairs) if one != other), shortest)
