"""Curves: what TensorBoard holds is what metrics.jsonl holds, also of a run that goes on."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from train import trackers
from train.run import main
from train.run_folder import RunFolder, read_lines
from train.settings import parts_overrides

CURVES = {
    "loss/training", "loss/held out", "held out/exact answers", "training/learning rate",
    "speed/samples per second", "speed/tokens per second", "speed/share of the peak",
}  # fmt: skip


@pytest.fixture
def arguments(parts_folder: Path, tmp_path: Path) -> list[str]:
    few = [
        "schedule.steps=4", "schedule.warmup_steps=1", "batch_size=2", "save_every=2",
        "check_every=2", "check_samples=2", "check_pictures=2", "check_tokens=4", "device=cpu",
        "peak_tflops=1",
    ]  # fmt: skip
    return ["--stage", "1", "--output", str(tmp_path / "run"), "--set",
            *parts_overrides(parts_folder), *few]  # fmt: skip


def curves(folder: Path) -> EventAccumulator:
    read = EventAccumulator(str(folder / "tensorboard"), size_guidance={"scalars": 0, "images": 0})
    return read.Reload()


def test_tensorboard_continues_where_a_run_goes_on(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is killed after step 3, and goes on from the checkpoint of step 2."""
    log = trackers.Trackers.log

    def killed(self: Any, numbers: Any, step: int) -> None:
        log(self, numbers, step)
        if step == 3:
            raise RuntimeError("as if killed")

    monkeypatch.setattr(trackers.Trackers, "log", killed)
    with pytest.raises(RuntimeError, match="as if killed"):
        main(arguments)
    monkeypatch.undo()
    folder = tmp_path / "run"
    # Files of one second are told apart by a number without leading zeros; no run is so short.
    time.sleep(1.1)
    assert [event.step for event in curves(folder).Scalars("loss/training")] == [1, 2, 3]
    assert main(["--stage", "1", "--output", str(folder), "--resume"]) == 0

    shown = curves(folder)
    assert set(shown.Tags()["scalars"]) == CURVES
    rows = read_lines(RunFolder(folder).metrics)
    losses = shown.Scalars("loss/training")
    assert [event.step for event in losses] == [row["step"] for row in rows] == [1, 2, 3, 4]
    assert [event.value for event in losses] == pytest.approx([row["loss"] for row in rows])
    share = [event.value for event in shown.Scalars("speed/share of the peak")]
    assert share == pytest.approx([row["mfu"] for row in rows])
    looks = {row["step"]: row["held_out_loss"] for row in read_lines(RunFolder(folder).samples)}
    held_out = shown.Scalars("loss/held out")
    assert {event.step: event.value for event in held_out} == pytest.approx(looks)
    assert [event.step for event in shown.Images("held-out pictures")] == [0, 2, 4]
    assert "settings/text_summary" in shown.Tags()["tensors"]


def test_no_tensorboard_where_nobody_wants_it(arguments: list[str], tmp_path: Path) -> None:
    assert main([*arguments, "tensorboard=false", "schedule.steps=1"]) == 0
    assert not (tmp_path / "run" / "tensorboard").exists()
    assert (tmp_path / "run" / "sheet.html").is_file()


def test_a_tracker_that_is_not_installed_is_told_at_once(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda _name: None)
    assert main([*arguments, "tensorboard=false", "--wandb", "cats"]) == 1
    told = capsys.readouterr().err
    assert "wandb: cats given" in told
    assert "pip install wandb" in told
    assert main(arguments) == 1
    assert "set tensorboard=false" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


FAKE = '''
"""Stands in for Weights & Biases, and writes down what it is told."""
import json, pathlib
class Error(Exception): ...
Error.__module__ = "wandb.errors"
class _Config:
    def update(self, values, allow_val_change=False): _note("config", values)
config = _Config()
class Image:
    def __init__(self, pixels): self.shape = list(pixels.shape)
def _note(what, told):
    with (pathlib.Path(__file__).parent / "told.jsonl").open("a") as file:
        file.write(json.dumps([what, told], default=lambda each: each.shape) + "\\n")
class _Run:
    def log(self, values, step=None): _note("log", {"step": step, **values})
    def finish(self): _note("finish", {})
def init(**told):
    if told["project"] == "refused": raise Error("No API key.")
    _note("init", told)
    return _Run()
'''


def test_weights_and_biases_keeps_a_run_by_its_id(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    package = tmp_path / "packages" / "wandb"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(FAKE)
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    assert main([*arguments, "tensorboard=false", "--wandb", "refused"]) == 1
    assert "No API key. Log in (wandb login), set WANDB_MODE=offline" in capsys.readouterr().err
    folder = tmp_path / "run"
    again = ["--stage", "1", "--output", str(folder)]
    assert main([*arguments, "tensorboard=false", "schedule.steps=2", "--wandb", "cats"]) == 0
    assert main([*again, "--resume", "--wandb", "cats"]) == 0
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    told = [json.loads(line) for line in (package / "told.jsonl").read_text().splitlines()]
    first, second = [values for what, values in told if what == "init"]
    assert first["id"] == second["id"]
    assert first["project"] == "cats"
    assert first["resume"] == "allow"
    (config,) = [values for what, values in told if what == "config"]
    assert config["schedule.steps"] == 2
    logged = [values for what, values in told if what == "log"]
    losses = {each["step"]: each["loss/training"] for each in logged if "loss/training" in each}
    rows = read_lines(RunFolder(folder).metrics)
    assert losses == {row["step"]: row["loss"] for row in rows}
    assert [what for what, _ in told].count("finish") == 2
