"""Stage 0 on two processes: a batch is dealt out, and both learn what one process learns."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.train.tiny.shared_run import SETTINGS, train
from train.errors import TrainingError
from train.tiny import processes

ROOT = Path(__file__).parents[3]


@pytest.mark.load
@pytest.mark.timeout(240)
def test_two_processes_train_what_one_trains(tmp_path):
    alone, together = tmp_path / "one", tmp_path / "two"
    alone.mkdir()
    together.mkdir()
    expected = train(alone).state_dict()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc_per_node", "2", "-m", "tests.train.tiny.shared_run", str(together)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        text=True,
        capture_output=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for rank in (0, 1):
        weights = torch.load(together / f"weights-{rank}.pt", weights_only=True)
        for name, tensor in expected.items():
            torch.testing.assert_close(weights[name], tensor, rtol=1e-4, atol=1e-6)
    # The second process neither checks nor writes.
    assert (together / "checks").read_text() == (alone / "checks").read_text() == "3\n6\n"
    assert len((together / "state.jsonl").read_text().splitlines()) == 1


def test_the_parts_of_all_processes_are_the_batches_in_order(monkeypatch):
    parts = []
    monkeypatch.setattr(processes, "process_count", lambda: 4)
    for step in range(3):
        for rank in range(4):
            monkeypatch.setattr(processes.distributed, "get_rank", lambda rank=rank: rank)
            parts.extend(processes.part_of_step(step, SETTINGS.batch_size))
    assert parts == list(range(24))


def test_a_batch_that_cannot_be_dealt_out_is_refused(monkeypatch):
    monkeypatch.setattr(processes, "process_count", lambda: 3)
    with pytest.raises(TrainingError, match="batches of 8 cannot be dealt out to 3 processes"):
        processes.part_of_step(0, 8)


def test_one_process_has_everything():
    assert processes.part_of_step(2, 5) == range(10, 15)
