"""The training loop: gradients of the projection alone, clipped, stepped, saved and shown."""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import FrameType
from typing import Never

import torch
from accelerate import Accelerator
from tqdm import tqdm

from minigpt4.models.minigpt4 import MiniGPT4, TrainingBatch
from train.errors import TrainingError, TrainingInterruptedError
from train.run_folder import Position, RunFolder, append_lines
from train.samples import Batches, learned_tokens
from train.settings import TrainSettings
from train.stages import check_frozen

_MOST_SKIPPED = 3
_SMOOTHING = 0.95


@dataclass(frozen=True, slots=True)
class Run:
    """What the loop works on.

    Attributes:
        model: Only its projection is trained.
        batches: Makes the data of a step.
        settings: What was asked for.
        folder: Where everything goes.
        frozen: Fingerprint of the frozen parts.
    """

    model: MiniGPT4
    batches: Batches
    settings: TrainSettings
    folder: RunFolder
    frozen: str


def new_accelerator(settings: TrainSettings) -> Accelerator:
    """The device and precision to train in.

    Raises:
        TrainingError: If it is started as several processes.
    """
    accelerator = Accelerator(
        cpu=settings.device == "cpu",
        mixed_precision="bf16" if settings.precision == "bfloat16" else "no",
    )
    if accelerator.num_processes > 1:
        message = (
            f"Training runs in one process, and {accelerator.num_processes} were started. "
            "Start it with python, without torchrun or accelerate launch."
        )
        raise TrainingError(message)
    return accelerator


def new_optimizer(model: MiniGPT4, settings: TrainSettings) -> torch.optim.AdamW:
    """AdamW on the projection; weight decay on its weight alone, as in the release."""
    projection = model.projection
    groups = [
        {"params": [projection.weight], "weight_decay": settings.weight_decay},
        {"params": [projection.bias], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.schedule.at(0))


def train(
    run: Run,
    accelerator: Accelerator,
    check: Callable[[int], None],
    *,
    resume: bool = False,
) -> Position:
    """Trains to the last step, or until it is told to stop.

    Args:
        run: The model, its data and its settings.
        accelerator: Where it computes.
        check: Called with the number of steps done: before the first, every `check_every`, and
            after the last.
        resume: Go on from the checkpoint in the run's folder.

    Returns:
        Where the run stands at its end.

    Raises:
        TrainingError: If the loss is no number three times in a row; the last checkpoint is kept.
        TrainingInterruptedError: If SIGTERM or Ctrl-C came; the run is saved.
    """
    settings, model = run.settings, run.model
    model.to(accelerator.device)
    optimizer = new_optimizer(model, settings)
    model.projection, optimizer = accelerator.prepare(model.projection, optimizer)
    model.train()
    check_frozen(model)
    position = Position()
    if resume:
        position = run.folder.resume(model.projection, optimizer, settings, run.frozen)
    else:
        check(0)
    steps = settings.schedule.steps
    bar: tqdm[Never] = tqdm(initial=position.step, total=steps, unit="step", dynamic_ncols=True)
    with bar, _stop_asked() as asked:
        while position.step < steps:
            position = _step(run, accelerator, optimizer, position, bar)
            last = position.step == steps
            stop = asked()
            if stop or last or position.step % settings.save_every == 0:
                run.folder.save(model.projection, optimizer, position, settings, run.frozen)
            if stop and not last:
                raise TrainingInterruptedError(stop, position.step)
            if last or position.step % settings.check_every == 0:
                check(position.step)
    return position


def _step(
    run: Run,
    accelerator: Accelerator,
    optimizer: torch.optim.Optimizer,
    position: Position,
    bar: "tqdm[Never]",
) -> Position:
    """One optimiser step and its line in the metrics."""
    settings = run.settings
    started = time.perf_counter()
    learning_rate = settings.schedule.at(position.step)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    optimizer.zero_grad(set_to_none=True)
    batches = list(
        run.batches.of_step(
            settings.stage, position.step, settings.batch_size, settings.accumulation
        )
    )
    loss = backward(run.model, batches, accelerator)
    norm = accelerator.clip_grad_norm_(run.model.projection.parameters(), settings.clip_norm)
    finite = math.isfinite(loss) and norm is not None and math.isfinite(float(norm))
    if finite:
        optimizer.step()
    seconds = time.perf_counter() - started
    position = _after(position, loss if finite else None, seconds)
    speed = settings.samples_per_step / seconds
    row = {
        "step": position.step,
        "loss": loss if finite else None,
        "learning_rate": learning_rate,
        "samples_per_second": round(speed, 2),
        "seconds": round(position.seconds, 3),
    }
    append_lines(run.folder.metrics, [row])
    _check_skipped(run, position)
    smoothed = position.smoothed_loss
    bar.set_postfix_str(
        f"loss {'?' if smoothed is None else f'{smoothed:.3f}'}, lr {learning_rate:.1e}, "
        f"{speed:.0f} samples/s",
        refresh=False,
    )
    bar.update()
    return position


def backward(model: MiniGPT4, batches: Sequence[TrainingBatch], accelerator: Accelerator) -> float:
    """Adds up the gradient of the mean loss over all learned tokens of all batches.

    Every token counts the same, whichever batch it stands in: a mean over the batches' means would
    let short answers weigh more.

    Returns:
        That loss.
    """
    tokens = [learned_tokens(batch) for batch in batches]
    total = 0.0
    for batch, count in zip(batches, tokens, strict=True):
        with accelerator.autocast():
            loss = model.loss(batch) * (count / sum(tokens))
        accelerator.backward(loss)
        total += loss.item()
    return total


def _after(position: Position, loss: float | None, seconds: float) -> Position:
    position = replace(position, step=position.step + 1, seconds=position.seconds + seconds)
    if loss is None:
        return replace(position, skipped_in_a_row=position.skipped_in_a_row + 1)
    before = loss if position.smoothed_loss is None else position.smoothed_loss
    smoothed = _SMOOTHING * before + (1 - _SMOOTHING) * loss
    return replace(position, smoothed_loss=smoothed, skipped_in_a_row=0)


def _check_skipped(run: Run, position: Position) -> None:
    if not position.skipped_in_a_row:
        return
    first = (position.step - 1) * run.settings.samples_per_step
    last = first + run.settings.samples_per_step - 1
    where = f"step {position.step:,} (samples {first:,} to {last:,})"
    if position.skipped_in_a_row < _MOST_SKIPPED:
        tqdm.write(f"The loss of {where} is no finite number; the step is skipped.")
        return
    kept = run.folder.checkpoint
    message = (
        f"The loss was no finite number {_MOST_SKIPPED} times in a row, up to {where}. "
        + (f"The last checkpoint is kept: {kept}. " if kept.is_file() else "")
        + "Try a lower schedule.learning_rate or clip_norm, or precision=float32."
    )
    raise TrainingError(message)


@contextmanager
def _stop_asked() -> Iterator[Callable[[], int]]:
    """Notes SIGTERM and Ctrl-C, so that a step is finished and saved before the run ends.

    A second signal of either kind acts as it always does. Only the main thread can do this;
    elsewhere nothing is noted.
    """
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: 0
        return
    before = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)}

    def note(number: int, _frame: FrameType | None) -> None:
        asked.append(number)
        for each, handler in before.items():
            signal.signal(each, handler)

    for each in before:
        signal.signal(each, note)
    try:
        yield lambda: asked[0] if asked else 0
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
