"""The benchmark of `batch`, on a few pictures: it runs, and says what it should."""

import json
from pathlib import Path

from benchmarks import batch


def test_a_few_pictures(tmp_path: Path) -> None:
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
    # So few pictures are no measure of speed; only that eight together cost less than eight alone.
    assert ways["loop"]["ours_is_faster_by_cpu"] > 1
