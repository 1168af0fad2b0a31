"""The benchmark of training, on a model in miniature: all ways learn the same, and ours does less."""

import json
from pathlib import Path

import pytest

from benchmarks import train_throughput


def test_all_ways_learn_the_same(tmp_path: Path) -> None:
    asked = ["--sizes", "quick", "--stages", "1", "--turns", "1", "--out", str(tmp_path)]
    train_throughput.main(asked)
    found = json.loads((tmp_path / "train_throughput.json").read_text(encoding="utf-8"))
    ways = found["sizes"]["quick"]["stage 1"]["ways"]
    assert list(ways) == ["plain", "longest", "ours", "cached"]
    for figures in ways.values():
        # The cached way's pictures went through half precision.
        assert figures["first_loss"] == pytest.approx(ways["plain"]["first_loss"], rel=1e-4)
        assert figures["samples_per_cpu_second"] > 0
        assert figures["peak_mb"] >= figures["grown_mb"]
    # Counted, not timed: fixed padding, logits everywhere and the eye are what is saved.
    work = [figures["gflop_per_sample"] for figures in ways.values()]
    assert work == sorted(work, reverse=True)
    assert work[3] < 0.7 * work[0]
    assert ways["plain"]["padding_share"] > ways["ours"]["padding_share"]
    page = (tmp_path / "train_throughput.md").read_text(encoding="utf-8")
    assert page.count("| ours, features cached |") == 1


def test_full_size_needs_a_gpu(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit) as caught:
        train_throughput.main(["--gpu-full-size"])
    assert caught.value.code == 2
    assert "there is no CUDA device here" in capsys.readouterr().err
