"""Samples of like length together, so that little of a batch is padding.

Only samples of one optimiser step are moved, and the gradient of a step is that of the mean over
all its learned tokens, whichever batch they stand in (`train.loop.backward`). So grouping changes
nothing of what is learned but the order in which numbers are added up.

Samples are not packed into one row: with the attention that runs everywhere (sdpa), a packed row
needs a mask of all its positions and gained nothing where it was measured.
"""

from collections.abc import Sequence

import numpy as np

_CUT_SAVES_CPU = 64
_CUT_SAVES = 512


def worth_a_pass(device: str) -> int:
    """Positions of padding that one more batch has to save: about what a pass of its own costs.

    On a CPU, small batches are as fast as large ones, and it is little. A GPU needs thousands of
    positions to be busy; that number is an estimate.

    Args:
        device: Its type, such as cpu or cuda.
    """
    return _CUT_SAVES_CPU if device == "cpu" else _CUT_SAVES


def grouped(
    lengths: Sequence[int], most_rows: int, *, cut_saves: int | None = None
) -> list[list[int]]:
    """Shares the samples of a step out to batches.

    Args:
        lengths: Positions of each sample.
        most_rows: The most samples of a batch.
        cut_saves: Positions that a batch beyond those needed has to save. None makes no more than
            are needed: with several processes, each has to pass as often as the others where the
            language model is spread over them.

    Returns:
        Batches, the longest first; each is the places of its samples in ascending order. Every
        place stands in one of them.
    """
    order = sorted(range(len(lengths)), key=lambda place: (-lengths[place], place))
    if cut_saves is not None:
        ends = _cheapest([lengths[place] for place in order], most_rows, cut_saves)
    else:
        ends = [*range(most_rows, len(order), most_rows), len(order)]
    starts = [0, *ends[:-1]]
    return [sorted(order[start:end]) for start, end in zip(starts, ends, strict=True)]


def _cheapest(longest_first: Sequence[int], most_rows: int, cut_saves: int) -> list[int]:
    """Where batches end, so that positions, and `cut_saves` a batch, are the least in sum.

    Args:
        longest_first: Lengths in descending order: the first of a batch is what it is padded to.
        most_rows: The most samples of a batch.
        cut_saves: What a batch costs besides its positions.
    """
    count = len(longest_first)
    lengths = np.array(longest_first, dtype=np.int64)
    cost = np.zeros(count + 1, dtype=np.int64)  # of all samples from a place on
    end_of = [0] * count
    for start in reversed(range(count)):
        last = min(count, start + most_rows)
        rows = np.arange(last - start, 0, -1)  # of two that cost alike, the larger
        totals = rows * lengths[start] + cost[start + rows]
        best = int(totals.argmin())
        cost[start], end_of[start] = cut_saves + totals[best], start + int(rows[best])
    ends, start = [], 0
    while start < count:
        start = end_of[start]
        ends.append(start)
    return ends
