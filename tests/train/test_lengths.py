"""Samples of like length stand together, every one of them once, and the gradient stays."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minigpt4.models.minigpt4 import MiniGPT4, TrainingBatch
from minigpt4.prompt_formats import TINY
from tests.train.test_loop import SETTINGS
from train.lengths import grouped, worth_a_pass
from train.loop import backward, new_accelerator
from train.samples import Batches, Share, aligned_sample
from train.settings import CartoonSettings


def positions(sizes: list[int], batches: list[list[int]]) -> int:
    return sum(len(each) * max(sizes[place] for place in each) for each in batches)


@given(
    sizes=st.lists(st.integers(1, 400), min_size=1, max_size=40),
    most_rows=st.integers(1, 12),
    cut_saves=st.sampled_from([None, 5, 64, 512]),
)
def test_every_sample_stands_in_one_batch_and_none_is_too_large(
    sizes: list[int], most_rows: int, cut_saves: int | None
) -> None:
    batches = grouped(sizes, most_rows, cut_saves=cut_saves)
    assert sorted(place for each in batches for place in each) == list(range(len(sizes)))
    assert all(1 <= len(each) <= most_rows and each == sorted(each) for each in batches)
    as_they_come = [
        list(range(start, min(len(sizes), start + most_rows)))
        for start in range(0, len(sizes), most_rows)
    ]
    if cut_saves is None:
        assert len(batches) == len(as_they_come)
    if cut_saves or len(sizes) % most_rows == 0:  # a step without cuts has full batches only
        assert positions(sizes, batches) + (cut_saves or 0) * len(batches) <= positions(
            sizes, as_they_come
        ) + (cut_saves or 0) * len(as_they_come)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.integers(1, 9))
def test_no_other_cut_is_cheaper(sizes: list[int], most_rows: int) -> None:
    batches = grouped(sizes, most_rows, cut_saves=4)
    order = sorted(range(len(sizes)), key=lambda place: -sizes[place])
    costs = []
    for mask in range(2 ** (len(sizes) - 1)):
        cut = [0, *[at + 1 for at in range(len(sizes) - 1) if mask >> at & 1], len(sizes)]
        tried = [order[start:end] for start, end in pairwise(cut)]
        if all(len(each) <= most_rows for each in tried):
            costs.append(positions(sizes, tried) + 4 * len(tried))
    assert positions(sizes, batches) + 4 * len(batches) == min(costs)


def test_long_samples_get_a_batch_of_their_own_where_that_pays() -> None:
    short_and_long = [10, 300, 12, 310, 11, 305, 12, 300]
    assert grouped(short_and_long, 8, cut_saves=512) == [[1, 3, 5, 7], [0, 2, 4, 6]]
    assert grouped(short_and_long, 8) == [list(range(8))]
    assert grouped([10, 12, 11], 8, cut_saves=512) == [[0, 1, 2]]  # as they come: nothing is gained


def test_a_cpu_is_cut_for_sooner_than_a_gpu() -> None:
    lengths = [100, 40] * 3
    assert len(grouped(lengths, 8, cut_saves=worth_a_pass("cpu"))) == 2
    assert len(grouped(lengths, 8, cut_saves=worth_a_pass("cuda"))) == 1


def test_several_processes_pass_equally_often() -> None:
    one, other = (Share(1, 5, 3, part, 2) for part in range(2))
    assert sorted([*one.seeds(2), *other.seeds(2)]) == Share(1, 5, 3).seeds(2)
    for share in (one, other):
        batches = grouped([7 * seed % 90 for seed in share.seeds(0)], share.rows)
        assert len(batches) == 3


def test_grouping_changes_no_gradient(
    tiny_model: MiniGPT4, monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(grouping: object) -> tuple[list[TrainingBatch], float, torch.Tensor]:
        monkeypatch.setattr("train.samples.grouped", grouping)
        batches = Batches(
            tiny_model, TINY, lambda seed: aligned_sample(seed, CartoonSettings(), ("Look.",))
        )
        parts = list(batches.of_step(2, 3, 8, 2))
        tiny_model.zero_grad()
        loss = backward(tiny_model, parts, new_accelerator(replace(SETTINGS, batch_size=8)))
        return parts, loss, next(iter(tiny_model.projection.parameters())).grad.clone()

    def as_they_come(sizes: list[int], most_rows: int, **_: object) -> list[list[int]]:
        return [list(range(at, at + most_rows)) for at in range(0, len(sizes), most_rows)]

    plain, loss, gradient = step(as_they_come)
    parts, grouped_loss, grouped_gradient = step(grouped)
    assert len(parts) > len(plain) == 2
    assert sum(each.ids.numel() for each in parts) < sum(each.ids.numel() for each in plain)
    assert sum(int(each.attention_mask.sum()) for each in parts) == sum(
        int(each.attention_mask.sum()) for each in plain
    )
    assert grouped_loss == pytest.approx(loss, rel=1e-5)
    # Float32 sums in another order.
    torch.testing.assert_close(grouped_gradient, gradient, rtol=1e-4, atol=1e-6)
