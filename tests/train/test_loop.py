"""The loop: the projection alone learns, and a run that was stopped ends as if it had not been."""

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from minigpt4.checkpoints import native
from minigpt4.checkpoints.native import load_projection
from minigpt4.conversation import Conversation, Turn, render
from minigpt4.errors import CheckpointError
from minigpt4.models.minigpt4 import MiniGPT4, TrainingBatch, collate
from minigpt4.prompt_formats import CAPTION, TINY
from train import run_folder
from train.cartoon.scene import COLORS
from train.errors import TrainingError, TrainingInterruptedError
from train.loop import Run, backward, new_accelerator, new_optimizer, train
from train.run_folder import RunFolder, read_lines
from train.samples import Batches, aligned_sample
from train.schedule import Schedule
from train.settings import CartoonSettings, PartsSettings, TrainSettings
from train.stages import check_frozen, frozen_parts, parts_table

FROZEN = "f" * 64
SETTINGS = TrainSettings(
    stage=2,
    model=PartsSettings(
        preset="tiny", prompt_format="tiny", vision="v", qformer="q", language_model="l"
    ),
    schedule=Schedule(
        steps=6,
        warmup_steps=2,
        warmup_learning_rate=1e-4,
        learning_rate=1e-2,
        final_learning_rate=1e-3,
    ),
    batch_size=2,
    save_every=3,
    check_every=3,
    device="cpu",
)


def _run(model: MiniGPT4, folder: Path, settings: TrainSettings = SETTINGS) -> Run:
    batches = Batches(model, TINY, lambda seed: aligned_sample(seed, CartoonSettings(), ("Look.",)))
    run = Run(model, batches, settings, RunFolder(folder), FROZEN)
    run.folder.begin(settings)
    return run


def _train(run: Run, check: Callable[[int], None] = lambda _step: None, **options: bool) -> None:
    train(run, new_accelerator(run.settings), check, **options)


def _state(model: MiniGPT4) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_only_the_projection_learns_and_the_rest_stays_asleep(
    tiny_model: MiniGPT4, tmp_path: Path
) -> None:
    before = _state(tiny_model)
    seen = []

    def check(step: int) -> None:
        awake = [
            module
            for part in frozen_parts(tiny_model).values()
            for module in part.modules()
            if module.training
        ]
        seen.append((step, tiny_model.projection.training, len(awake)))

    _train(_run(tiny_model, tmp_path), check)
    assert seen == [(0, True, 0), (3, True, 0), (6, True, 0)]
    with_gradient = {name for name, each in tiny_model.named_parameters() if each.grad is not None}
    assert with_gradient == {"projection.weight", "projection.bias"}
    changed = {
        name for name, now in tiny_model.state_dict().items() if not torch.equal(before[name], now)
    }
    assert changed == {"projection.weight", "projection.bias"}


def test_training_refuses_a_part_that_is_not_frozen(tiny_model: MiniGPT4, tmp_path: Path) -> None:
    tiny_model.qformer.query_tokens.requires_grad_(True)
    with pytest.raises(TrainingError, match=r"qformer\.query_tokens"):
        _train(_run(tiny_model, tmp_path))
    tiny_model.freeze()
    tiny_model.vision.train()
    with pytest.raises(TrainingError, match="vision encoder are in training mode"):
        check_frozen(tiny_model)
    tiny_model.freeze()
    tiny_model.projection.requires_grad_(False)
    with pytest.raises(TrainingError, match="projection would not be trained"):
        check_frozen(tiny_model)


def test_the_table_says_what_is_trained(tiny_model: MiniGPT4) -> None:
    rows = {line[:16].strip(): line.split() for line in parts_table(tiny_model).splitlines()}
    assert rows["projection"][-2:] == [f"{33 * 64:,}", "trained"]
    assert rows["language model"][-1] == rows["vision encoder"][-1] == "frozen"


def test_twenty_steps_overfit_eight_samples(tiny_model: MiniGPT4) -> None:
    _teach_to_read(tiny_model)
    batch = _colors_batch(tiny_model)
    accelerator = new_accelerator(SETTINGS)
    optimizer = torch.optim.AdamW(tiny_model.projection.parameters(), lr=0.02)
    tiny_model.train()
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        losses.append(backward(tiny_model, [batch], accelerator))
        optimizer.step()
    with torch.no_grad():
        after = tiny_model.loss(batch).item()
    assert after < losses[0] / 3


def test_accumulated_batches_give_the_gradient_of_the_joined_batch(
    tiny_model: MiniGPT4, tmp_path: Path
) -> None:
    def gradient(count: int) -> tuple[float, torch.Tensor]:
        settings = replace(SETTINGS, batch_size=6 // count, accumulation=count)
        batches = _run(tiny_model, tmp_path, settings).batches
        tiny_model.zero_grad()
        parts = list(batches.of_step(2, 0, settings.batch_size, count))
        assert len(parts) >= count  # more where that saves padding
        loss = backward(tiny_model, parts, new_accelerator(settings))
        assert tiny_model.projection.weight.grad is not None
        return loss, tiny_model.projection.weight.grad.clone()

    joined_loss, joined = gradient(1)
    loss, accumulated = gradient(3)
    assert loss == pytest.approx(joined_loss, rel=1e-5)
    torch.testing.assert_close(accumulated, joined, rtol=1e-4, atol=1e-6)


def test_a_resumed_run_ends_bit_for_bit_like_one_that_was_not_stopped(
    tiny_model: MiniGPT4, tmp_path: Path
) -> None:
    begin = _state(tiny_model)
    straight, halves = _run(tiny_model, tmp_path / "a"), _run(tiny_model, tmp_path / "b")
    _train(straight)
    expected = _state(tiny_model)

    tiny_model.load_state_dict(begin)
    stop_at = _signal_after(3, signal.SIGTERM, halves)
    with pytest.raises(TrainingInterruptedError) as stopped:
        _train(stop_at)
    assert stopped.value.exit_code == 143
    with torch.no_grad():  # what a new process would start from
        tiny_model.projection.weight.fill_(7)
    # A step that was done but not saved before the process was killed is done again.
    with halves.folder.metrics.open("a") as lines:
        lines.write(json.dumps({"step": 4, "loss": 99.0}) + "\n" + '{"step": 5, "lo')
    _train(halves, resume=True)

    assert all(torch.equal(expected[name], now) for name, now in tiny_model.state_dict().items())
    rows, other = (read_lines(run.folder.metrics) for run in (straight, halves))
    assert [row["step"] for row in other] == [1, 2, 3, 4, 5, 6]
    assert [row["loss"] for row in other] == [row["loss"] for row in rows]
    assert [row["learning_rate"] for row in other] == [row["learning_rate"] for row in rows]


@pytest.mark.parametrize("step", [3, 6])
def test_a_look_that_a_stopped_run_did_not_come_to_is_made_when_it_goes_on(
    tiny_model: MiniGPT4, tmp_path: Path, step: int
) -> None:
    run = _run(tiny_model, tmp_path)
    looked: list[int] = []

    def check(at: int) -> None:
        if not looked and at == step:
            raise KeyboardInterrupt  # killed between the save and the end of the look
        looked.append(at)
        run_folder.append_lines(run.folder.samples, [{"step": at}])
        native.write_file(run.folder.sheet_of(at), b"sheet")

    with pytest.raises(KeyboardInterrupt):
        _train(run, lambda at: check(at) if at == step else None)
    run_folder.append_lines(run.folder.samples, [{"step": 0}, {"step": step}])  # half a look
    native.write_file(run.folder.sheet_of(7), b"of a later step, which is done again")
    looked.append(0)
    _train(run, check, resume=True)
    assert looked == ([0, 3, 6] if step == 3 else [0, 6])
    assert [row["step"] for row in read_lines(run.folder.samples)] == looked
    assert not run.folder.sheet_of(7).exists()
    _train(run, check, resume=True)  # done: nothing is looked at twice
    assert [row["step"] for row in read_lines(run.folder.samples)] == looked


def test_the_history_of_a_run_survives_a_full_disk_and_other_processes(
    tiny_model: MiniGPT4, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _run(tiny_model, tmp_path)
    _train(run)
    run_folder.append_lines(run.folder.metrics, [{"step": 7, "loss": 1.0}])
    before = run.folder.metrics.read_bytes()
    accelerator = new_accelerator(SETTINGS)
    optimizer = new_optimizer(tiny_model, SETTINGS)
    # Every process resumes; one that also wrote here would write at the same time as the others.
    run.folder.resume(tiny_model.learned_parts, optimizer, SETTINGS, FROZEN)
    assert run.folder.metrics.read_bytes() == before

    def no_room(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(native.os, "fsync", no_room)
        with pytest.raises(CheckpointError, match="No space left"):
            train(run, accelerator, lambda _step: None, resume=True)
    assert run.folder.metrics.read_bytes() == before
    _train(run, resume=True)
    assert [row["step"] for row in read_lines(run.folder.metrics)] == [1, 2, 3, 4, 5, 6]


def test_ctrl_c_saves_and_a_second_one_stops_at_once(tiny_model: MiniGPT4, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    run = _signal_after(2, signal.SIGINT, _run(tiny_model, tmp_path))
    with pytest.raises(TrainingInterruptedError) as stopped:
        _train(run)
    assert stopped.value.exit_code == 130
    assert signal.getsignal(signal.SIGINT) is before
    record = load_projection(run.folder.projection, tiny_model.projection, frozen=FROZEN)
    assert (record.stage, record.step, record.prompt_format) == (2, 2, "tiny")


def test_resume_refuses_other_settings_and_names_them(tiny_model: MiniGPT4, tmp_path: Path) -> None:
    run = _run(tiny_model, tmp_path)
    _train(run)
    assert run.folder.stored_settings() == SETTINGS
    other = replace(run, settings=replace(SETTINGS, batch_size=4, save_every=1))
    with pytest.raises(TrainingError) as caught:
        _train(other, resume=True)
    assert "batch_size: 2 then, 4 now" in str(caught.value)
    assert "save_every" not in str(caught.value)
    with pytest.raises(TrainingError, match="frozen parts"):
        _train(replace(run, frozen="e" * 64), resume=True)


def test_resume_needs_a_whole_checkpoint(tiny_model: MiniGPT4, tmp_path: Path) -> None:
    run = _run(tiny_model, tmp_path)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        _train(run, resume=True)
    _train(run)
    content = run.folder.checkpoint.read_bytes()
    run.folder.checkpoint.write_bytes(content[:-100])
    with pytest.raises(CheckpointError, match="damaged"):
        _train(run, resume=True)


def test_a_loss_that_is_no_number_is_skipped_and_three_in_a_row_stop(
    tiny_model: MiniGPT4, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad_steps = {1, 2}
    true_loss, true_batches = tiny_model.loss, Batches.of_step
    at = [0]

    def of_step(self, stage: int, step: int, *sizes: int, **part: int):
        at[0] = step  # which may have several batches
        return true_batches(self, stage, step, *sizes, **part)

    def loss(batch: TrainingBatch) -> torch.Tensor:
        value = true_loss(batch)
        return value * float("nan") if at[0] in bad_steps else value

    monkeypatch.setattr(Batches, "of_step", of_step)
    monkeypatch.setattr(tiny_model, "loss", loss)
    run = _run(tiny_model, tmp_path / "a")
    _train(run)
    assert [row["loss"] is None for row in read_lines(run.folder.metrics)] == [
        False, True, True, False, False, False,
    ]  # fmt: skip
    assert torch.isfinite(tiny_model.projection.weight).all()

    bad_steps = {3, 4, 5}
    run = _run(tiny_model, tmp_path / "b")
    with pytest.raises(TrainingError, match="3 times in a row, up to step 6"):
        _train(run)
    weights = torch.nn.Linear(32, 64)
    assert load_projection(run.folder.projection, weights).step == 3
    assert torch.equal(weights.weight, tiny_model.projection.weight)


def test_a_failed_save_keeps_the_checkpoint_before(
    tiny_model: MiniGPT4, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _run(tiny_model, tmp_path)
    saved = iter(range(100))

    def no_room(_handle: int) -> None:
        if next(saved) >= 4:  # two files and their folders at the first save
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(native.os, "fsync", no_room)
    with pytest.raises(CheckpointError, match="No space left"):
        _train(run)
    monkeypatch.undo()
    _train(run, resume=True)
    assert [row["step"] for row in read_lines(run.folder.metrics)] == [1, 2, 3, 4, 5, 6]


def test_the_checkpoint_is_written_after_the_projection(
    tiny_model: MiniGPT4, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run killed between its last two files must do a step again, or its projection is an old one."""
    written = []
    for name in ("save_projection", "write_checkpoint"):
        real = getattr(run_folder, name)

        def write(path: Path, *content: object, real=real) -> None:
            written.append(path.name)
            real(path, *content)

        monkeypatch.setattr(run_folder, name, write)
    _train(_run(tiny_model, tmp_path))
    assert written == ["projection.safetensors", "checkpoint.safetensors"] * 2


def _signal_after(step: int, number: signal.Signals, run: Run) -> Run:
    """A run that gets a signal while it makes the data of the last step it is to do."""
    batches = run.batches

    class Stopping(Batches):
        def __init__(self) -> None: ...

        def of_step(self, stage: int, at: int, *sizes: int, **part: int):
            if at == step - 1:
                os.kill(os.getpid(), number)
            return batches.of_step(stage, at, *sizes, **part)

    return replace(run, batches=Stopping())


def _teach_to_read(model: MiniGPT4) -> None:
    """Teaches the language model to write the word whose embedding stands in its slot."""
    language = model.language
    words = torch.tensor([language.encode(color) for color in COLORS])
    texts = torch.tensor([language.encode(f"{color}\n") for color in COLORS])
    assert words.shape == (len(COLORS), 1), "every colour is one token"
    language.requires_grad_(True)
    optimizer = torch.optim.AdamW(language.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        slots = language.embed(words).expand(-1, model.queries, -1)
        noise = torch.randn(slots.shape, generator=generator) / slots.shape[-1] ** 0.5
        start = language.embed(torch.full_like(words, language.bos_id))
        embeds = torch.cat([start, slots + 0.5 * noise, language.embed(texts)], dim=1)
        hidden = language.model(inputs_embeds=embeds, use_cache=False).logits
        logits = hidden[:, -texts.shape[1] - 1 : -1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), texts.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.freeze()
    language.zero_grad()


def _colors_batch(model: MiniGPT4) -> TrainingBatch:
    """Eight pictures, as different as pictures can be, each with a colour for a caption."""
    outputs = torch.randn((8, model.queries, 32), generator=torch.Generator().manual_seed(1))
    conversations = [Conversation((Turn("", COLORS[row], (str(row),)),)) for row in range(8)]
    tokens = [model.tokenize(render(each, CAPTION)) for each in conversations]
    return collate(tokens, {str(row): outputs[row] for row in range(8)}, model.language.eos_id)
