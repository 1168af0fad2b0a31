"""Checkpoints: no room is told before a byte is written, and a changed byte after."""

import random
import shutil
from collections import namedtuple
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState

from minigpt4.checkpoints.native import write_tensors
from minigpt4.errors import CheckpointError
from minigpt4.models.minigpt4 import MiniGPT4
from tests.train.test_loop import SETTINGS, _run, _train
from train.checkpoint_file import check_room, read_checkpoint, write_checkpoint
from train.errors import TrainingError
from train.loop import new_accelerator, train
from train.run_folder import read_lines

TENSORS = {"projection.weight": torch.arange(6.0).reshape(2, 3), "optimizer.0.step": torch.ones(())}
HEADER = {"position": {"step": 3, "seconds": 0.1}, "settings": {"shards": ()}, "frozen": "f"}
Usage = namedtuple("Usage", "total used free")  # noqa: PYI024


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    write_checkpoint(path, TENSORS, HEADER)
    tensors, header = read_checkpoint(path)
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    assert header["position"] == HEADER["position"]
    assert "sha256" not in header


def test_every_changed_byte_is_noticed(tmp_path: Path) -> None:
    """safetensors itself notices few of them."""
    path = tmp_path / "checkpoint.safetensors"
    write_checkpoint(path, TENSORS, HEADER)
    whole = path.read_bytes()
    numbers = whole.index(b'"step\\": ') + len(b'"step\\": ')
    for place in [
        numbers,
        *range(len(whole) - 28, len(whole)),
        *random.Random(0).sample(range(len(whole)), 60),
    ]:
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        try:
            tensors, header = read_checkpoint(path)
        except CheckpointError:
            continue
        # What is left are spaces of padding, and they mean nothing.
        assert whole[place : place + 1].isspace(), place
        assert header["position"] == HEADER["position"]
        assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)


def test_a_run_does_not_go_on_from_a_changed_byte(tiny_model: MiniGPT4, tmp_path: Path) -> None:
    run = _run(tiny_model, tmp_path)
    _train(run)
    content = bytearray(run.folder.checkpoint.read_bytes())
    content[-50] ^= 64
    run.folder.checkpoint.write_bytes(content)
    with pytest.raises(CheckpointError, match="SHA-256"):
        _train(run, resume=True)


def test_a_full_disk_is_told_before_anything_is_written(
    tiny_model: MiniGPT4, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _run(tiny_model, tmp_path)
    free = iter([10**9, 1_000_500])
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(10**9, 0, next(free)))
    with pytest.raises(
        CheckpointError, match=r"no room .* 1,000,500 are free. Nothing was written"
    ):
        _train(run)
    monkeypatch.undo()
    _, header = read_checkpoint(run.folder.checkpoint)
    assert header["position"]["step"] == 3
    assert not list(tmp_path.glob(".*"))  # no part of a file
    _train(run, resume=True)
    assert [row["step"] for row in read_lines(run.folder.metrics)] == [1, 2, 3, 4, 5, 6]


def test_what_is_needed_is_what_the_files_take(
    tiny_model: MiniGPT4, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    from train import run_folder

    def noted(folder: Path, bytes_needed: int) -> None:
        asked.append(bytes_needed)
        check_room(folder, bytes_needed)

    monkeypatch.setattr(run_folder, "check_room", noted)
    run = _run(tiny_model, tmp_path)
    _train(run)
    written = sum(path.stat().st_size for path in (run.folder.checkpoint, run.folder.projection))
    assert len(asked) == 2
    assert 0 < written - asked[0] < 10_000  # the headers, for which there is more than that


def test_a_checkpoint_of_before_new_settings_is_gone_on_from(
    tiny_model: MiniGPT4, tmp_path: Path
) -> None:
    run = _run(tiny_model, tmp_path)
    _train(run)
    tensors, header = read_checkpoint(run.folder.checkpoint)
    for name in ("wandb", "tensorboard", "peak_tflops"):
        del header["settings"][name]
    for name in ("loss_scale", "loss_scale_steps"):
        del header["position"][name]
    write_tensors(run.folder.checkpoint, tensors, header)
    assert run.folder.stored_settings() == SETTINGS
    _train(run, resume=True)


def test_float16_is_refused_where_it_does_not_work() -> None:
    AcceleratorState._reset_state()  # a process has one precision, and this one has more tests
    try:
        with pytest.raises(TrainingError, match="precision: float16 given on cpu"):
            new_accelerator(replace(SETTINGS, precision="float16"))
    finally:
        AcceleratorState._reset_state()


def test_a_scaled_loss_overflows_until_its_scale_is_right_and_keeps_it(
    tiny_model: MiniGPT4, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scaler of float16, at a scale that overflows float32, since CPUs have no other."""
    begin = {name: each.clone() for name, each in tiny_model.state_dict().items()}
    settings = replace(SETTINGS, schedule=replace(SETTINGS.schedule, steps=12), save_every=6)

    def scaled(scale: float):
        accelerator = new_accelerator(settings)
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=1000)
        return accelerator

    true_loss = tiny_model.loss
    monkeypatch.setattr(tiny_model, "loss", lambda batch: 100 * true_loss(batch))
    run = _run(tiny_model, tmp_path / "a", settings)
    train(run, scaled(2.0**127), lambda _step: None)
    rows = read_lines(run.folder.metrics)
    scales = [row["loss_scale"] for row in rows]
    halved = [after < before for before, after in pairwise(scales)]
    assert scales[0] == 2.0**126
    assert halved[0]  # more than three in a row are no reason to stop
    assert not halved[-1]  # it was found
    assert sum(halved) >= 3
    assert all(row["loss"] is not None for row in rows)
    changed = tiny_model.projection.weight - begin["projection.weight"]
    assert torch.isfinite(changed).all()
    assert changed.abs().sum() > 0

    position = run.folder.resume(
        tiny_model.learned_parts, torch.optim.AdamW(tiny_model.projection.parameters()), settings,
        run.frozen,
    )  # fmt: skip
    assert position.loss_scale == scales[-1]
    assert position.skipped_in_a_row == 0


def test_gradients_that_overflow_at_every_scale_stop_the_run(
    tiny_model: MiniGPT4, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "accelerate.Accelerator.clip_grad_norm_", lambda *_: torch.tensor(float("inf"))
    )
    accelerator = new_accelerator(SETTINGS)
    accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=0.5)
    with pytest.raises(TrainingError, match="3 times in a row, up to step 3"):
        train(_run(tiny_model, tmp_path), accelerator, lambda _step: None)
