"""The benchmark of `batch`, on a few pictures: it runs, and says what it should."""

import json
from pathlib import Path

import pytest

from benchmarks import batch
from minigpt4.engines.stepping import Stepper


def test_a_few_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, together = Stepper.run, []
    monkeypatch.setattr(
        Stepper, "run", lambda self, shares: (together.append(len(shares)), run(self, shares))[1]
    )
    batch.main(["--pictures", "12", "--turn", "8", "--out", str(tmp_path)])
    found = json.loads((tmp_path / "batch.json").read_text(encoding="utf-8"))
    assert found["pictures"] == 12
    assert found["answers_equal_to_the_loop"] == 1
    assert 10 < found["tokens_per_answer"] < 200
    ways = found["ways"]
    assert list(ways) == ["batch", "loop", "instructblip"]
    assert ways["batch"]["ours_is_faster_by"] == ways["batch"]["ours_is_faster_by_cpu"] == 1
    for figures in ways.values():
        assert figures["pictures_per_second"] > 0
        assert figures["pictures_per_cpu_second"] > 0
    # Counted, not timed: so few pictures are no measure of speed.
    assert max(together) > 1
