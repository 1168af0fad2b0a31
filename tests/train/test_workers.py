"""Workers prepare steps ahead of time: the same data to the bit, and nothing is lost or hidden."""

import multiprocessing
import os
import signal
import subprocess
import sys
from itertools import count, islice
from pathlib import Path

import pytest
import torch

from minigpt4.models.minigpt4 import MiniGPT4, TrainingBatch
from minigpt4.prompt_formats import CAPTION, TINY
from tests.train.test_shards import faulty_shard, settings, write_shard
from train.errors import TrainingError
from train.prefetch import in_order
from train.samples import Batches, aligned_sample
from train.settings import ROOT, CartoonSettings
from train.web_data import WebData

WORLD = CartoonSettings()


def batches(model: MiniGPT4, workers: int) -> Batches:
    return Batches(
        model, TINY, lambda seed: aligned_sample(seed, WORLD, ("Look.",)), workers=workers
    )


def same(one: list[TrainingBatch], other: list[TrainingBatch]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(getattr(mine, name), getattr(theirs, name))
        for mine, theirs in zip(one, other, strict=True)
        for name in TrainingBatch.__dataclass_fields__
    )


def test_workers_change_nothing(tiny_model: MiniGPT4) -> None:
    plain, helped = batches(tiny_model, 0), batches(tiny_model, 2)
    state = torch.random.get_rng_state()
    for step in (0, 1, 2, 7, 8, 3):  # also where a run goes on at another step
        assert same(list(plain.of_step(2, step, 3, 2)), list(helped.of_step(2, step, 3, 2))), step
    shared = [list(each.of_step(2, 4, 3, 2, part=1, parts=2)) for each in (plain, helped)]
    assert same(*shared)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_results_come_in_order_and_from_other_processes() -> None:
    made = list(islice(in_order(lambda number: (number, os.getpid()), count(5), 2), 9))
    assert [number for number, _ in made] == list(range(5, 14))
    assert len({process for _, process in made}) == 2
    assert os.getpid() not in {process for _, process in made}
    assert list(in_order(lambda number: number, range(3), 2)) == [0, 1, 2]


def test_the_workers_end_with_who_asked() -> None:
    before = set(multiprocessing.active_children())
    results = in_order(lambda number: number, count(), 2)
    next(results)
    started = set(multiprocessing.active_children()) - before
    assert len(started) == 2
    results.close()
    for each in started:
        each.join(timeout=60)
        assert not each.is_alive()


def test_a_signal_to_the_whole_group_stops_no_worker() -> None:
    before = set(multiprocessing.active_children())
    results = in_order(lambda number: number, count(), 2)
    assert next(results) == 0
    assert next(results) == 1  # both have begun
    for each in set(multiprocessing.active_children()) - before:
        os.kill(each.pid, signal.SIGTERM)
        os.kill(each.pid, signal.SIGINT)
    assert list(islice(results, 30)) == list(range(2, 32))
    results.close()


def test_a_process_that_exits_while_its_workers_are_busy_takes_them_along() -> None:
    """As a run does that was stopped: nobody has closed its data, and its workers bear signals."""
    program = (
        "from itertools import count\n"
        "from train.prefetch import in_order\n"
        "results = in_order(lambda number: number, count(), 2)\n"
        "next(results), next(results)\n"
        "raise SystemExit(3)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=120, check=False)
    assert done.returncode == 3


def test_an_error_is_told_as_if_it_had_been_made_here() -> None:
    def make(number: int) -> int:
        if number == 3:
            raise TrainingError("cats/tom.png was read when training began, and now: gone")
        return number

    results = in_order(make, count(), 2)
    assert list(islice(results, 3)) == [0, 1, 2]
    with pytest.raises(TrainingError) as caught:
        next(results)
    assert str(caught.value) == "cats/tom.png was read when training began, and now: gone"


def test_a_system_without_safe_forks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(TrainingError, match=r"workers: 4 given; .* this is darwin\. Set workers=0"):
        next(in_order(lambda number: number, count(), 4))


def test_what_workers_read_and_lose_is_counted_once(tiny_model: MiniGPT4, tmp_path: Path) -> None:
    write_shard(tmp_path / "0.tar", 100)
    faulty_shard(tmp_path / "1.tar")
    cut = write_shard(tmp_path / "2.tar", 30, first=500, promised=30)
    cut.write_bytes(cut.read_bytes()[:40_000])
    (tmp_path / "3.tar").write_bytes(b"no tar")
    chosen = settings((str(tmp_path / "{0..3}.tar"), 1), most_lost=1)
    found = []
    for workers in (0, 2):
        web = WebData(chosen, stage=1, seed=0)
        helped = Batches(tiny_model, CAPTION, web.sample_of, workers=workers, tally=web)
        steps = [list(helped.of_step(1, step, 8, 1)) for step in range(6)]
        found.append((steps, web.read, web.lost))
    (steps, read, lost), (steps_of_workers, read_by_workers, lost_by_workers) = found
    assert all(same(*each) for each in zip(steps, steps_of_workers, strict=True))
    assert read == read_by_workers == 48
    assert lost == lost_by_workers
    assert lost["shard: no tar file"] == 1
    assert lost.total() > 5


def test_too_many_lost_stop_a_run_with_workers(tiny_model: MiniGPT4, tmp_path: Path) -> None:
    write_shard(tmp_path / "0.tar", 300)
    faulty_shard(tmp_path / "1.tar")
    web = WebData(settings((str(tmp_path / "{0..1}.tar"), 1)), stage=1, seed=0)
    helped = Batches(tiny_model, CAPTION, web.sample_of, workers=2, tally=web)
    steps = (batch for step in range(20) for batch in helped.of_step(1, step, 50, 1))
    with pytest.raises(TrainingError, match=r"more than the 1 % that shards.most_lost allows"):
        list(steps)
