"""Shards of a batch: disjoint, complete, and started by hand or by torchrun."""

import subprocess
import sys
from pathlib import Path

import pytest

from minigpt4 import cli
from minigpt4.batch_rows import Shard, plan
from minigpt4.errors import ConfigError
from tests.test_batch import ANSWERS, DESCRIBE, ROWS, answered, photos, read, source, target, write

__all__ = ["photos", "source", "target"]  # fixtures


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_shards_are_disjoint_and_complete(
    photos: Path, source: Path, target: Path, count: int
) -> None:
    write(source, ROWS * 7)
    for origin, question in ((photos, DESCRIBE), (source, None)):
        every = [row.key for row in plan(origin, target, question).rows]
        parts = [
            [row.key for row in plan(origin, target, question, Shard(number, count)).rows]
            for number in range(1, count + 1)
        ]
        assert sorted(key for part in parts for key in part) == sorted(every)
        if origin == source:
            assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_bad_rows_are_told_by_their_own_shard(tmp_path: Path, target: Path) -> None:
    source = write(tmp_path / "in.jsonl", [ROWS[0], "{half", ROWS[2], "{half"])
    told = [plan(source, target, None, Shard(number, 2)).bad for number in (1, 2)]
    assert [[line for line, _ in bad] for bad in told] == [[], [2, 4]]


def test_the_command_answers_its_shard(
    source: Path, target: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    command = ["batch", str(source), str(target), "--device", "cpu"]
    assert cli.main([*command, "--shard", "1/2"]) == 0
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert cli.main(command) == 0
    assert not target.exists()
    parts = [target.with_name(f"out.{number}-of-2.jsonl") for number in (1, 2)]
    assert [[row["line"] for row in answered(part)] for part in parts] == [[1, 3], [2]]
    capsys.readouterr()
    assert cli.main([*command, "--shard", "1/2"]) == 2
    assert "torchrun" in capsys.readouterr().err
    monkeypatch.setenv("RANK", "2")
    assert cli.main(command) == 2
    assert "RANK" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.load
def test_torchrun_deals_the_rows_out(source: Path, target: Path) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    launcher += ["--standalone"]  # on a port of its own: the usual one may be another run's
    command = [*launcher, "-m", "minigpt4", "batch", str(source), str(target), "--device", "cpu"]
    done = subprocess.run(
        command,
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    parts = [target.with_name(f"out.{number}-of-2.jsonl") for number in (1, 2)]
    assert [[row["line"] for row in answered(part)] for part in parts] == [[1, 3], [2]]
    answers = sorted(row["answer"] for part in parts for row in read(part))
    assert answers == sorted(ANSWERS)


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "1/0", "a/b", "-1/2", "1/2/3", ""])
def test_a_shard_that_is_none_is_told(text: str) -> None:
    with pytest.raises(ConfigError, match="such as 2/8"):
        Shard.parse(text)
    assert Shard.parse("2/8") == Shard(2, 8)
    assert Shard.of_environment({}) is None
    assert Shard.of_environment({"RANK": "0", "WORLD_SIZE": "1"}) is None
