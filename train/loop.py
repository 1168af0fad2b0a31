"""The training loop: gradients of the projection alone, clipped, stepped, saved and shown.

Several processes share every batch: the settings say how large a step is, and the number of
processes says only how fast it is done. Each looks at its part of the samples; the gradients of the
projection, the only thing that learns, are added up once a step. So a run that was begun with four
processes can go on with one.
"""

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
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
from train.sharding import is_shared_out
from train.stages import check_frozen, learned_parameters
from train.throughput import Done, Meter, peak_tflops
from train.trackers import Trackers

_MIXED = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}
"""What accelerate calls a precision."""
_MOST_SKIPPED = 3
_LEAST_SCALE = 1.0
"""In float16, gradients that overflow at this scale of the loss are no matter of scale."""
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
    """The device and precision to train in, and the other processes, if there are any.

    `python`, `torchrun` and `accelerate launch` all start the same run.

    Raises:
        TrainingError: If there are more processes than samples in a batch.
    """
    if settings.device == "cpu":
        # Without it accelerate would make every process of torchrun a run of its own.
        os.environ["ACCELERATE_USE_CPU"] = "true"
    accelerator = Accelerator(
        cpu=settings.device == "cpu",
        mixed_precision=_MIXED[settings.precision],
    )
    if settings.precision == "float16" and accelerator.scaler is None:
        message = (
            f"precision: float16 given on {accelerator.device}, which has no scaled float16. Set "
            "precision to bfloat16 or float32."
        )
        raise TrainingError(message)
    if accelerator.num_processes > settings.batch_size:
        message = (
            f"{accelerator.num_processes} processes were started for batches of "
            f"{settings.batch_size}, and each needs a sample. Start fewer, or raise batch_size."
        )
        raise TrainingError(message)
    return accelerator


def held_in(settings: TrainSettings) -> torch.dtype:
    """What large frozen parts are held in: what they compute in."""
    return getattr(torch, settings.precision)  # type: ignore[no-any-return]


def new_optimizer(model: MiniGPT4, settings: TrainSettings) -> torch.optim.AdamW:
    """AdamW on what learns; weight decay on matrices and not on biases, as in the release.

    Each group's `share` is its part of the learning rate.
    """
    shares = {"projection": 1.0, "qformer": settings.qformer_rate}
    groups = []
    for name, part in model.learned_parts.items():
        weights = list(part.parameters())
        for decay, chosen in (
            (settings.weight_decay, [each for each in weights if each.ndim > 1]),
            (0.0, [each for each in weights if each.ndim < 2]),
        ):
            groups.append({"params": chosen, "weight_decay": decay, "share": shares[name]})
    return torch.optim.AdamW(groups, lr=settings.schedule.at(0))


def train(
    run: Run,
    accelerator: Accelerator,
    check: Callable[[int], Mapping[str, float] | None],
    *,
    resume: bool = False,
    trackers: Trackers | None = None,
) -> Position:
    """Trains to the last step, or until it is told to stop.

    Args:
        run: The model, its data and its settings.
        accelerator: Where it computes.
        check: Called with the number of steps done: before the first, every `check_every`, and
            after the last, and for one that a stopped run did not come to; by the first process
            alone, or by all where the language model is shared out. Returns what trackers are to be
            told.
        resume: Go on from the checkpoint in the run's folder.
        trackers: Get the numbers of every step.

    Returns:
        Where the run stands at its end.

    Raises:
        CheckpointError: If a checkpoint cannot be saved; the one before is unchanged.
        TrainingError: If the loss is no number three times in a row; the last checkpoint is kept.
        TrainingInterruptedError: If SIGTERM or Ctrl-C came; the run is saved.
    """
    settings, model = run.settings, run.model
    model.to(accelerator.device)
    optimizer = accelerator.prepare_optimizer(new_optimizer(model, settings))
    model.train()
    check_frozen(model)
    position = _resumed(run, accelerator, optimizer) if resume else Position()
    together = is_shared_out(model)

    def look(step: int) -> None:
        if accelerator.is_main_process or together:
            found = check(step)
            if trackers is not None and found:
                trackers.log(found, step)

    steps = settings.schedule.steps
    bar: tqdm[Never] = tqdm(
        initial=position.step,
        total=steps,
        unit="step",
        dynamic_ncols=True,
        smoothing=0.02,  # looks at held-out pictures come rarely, and take many steps' time
        disable=not accelerator.is_main_process,
        bar_format="{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} steps, {remaining} left{postfix}",
    )
    with (
        nullcontext() if trackers is None else trackers.open(position.step),
        Meter(
            model, peak_tflops(accelerator.device, settings.precision, settings.peak_tflops)
        ) as meter,
        bar,
        _stop_asked() as asked,
    ):
        shown = _Shown(meter, bar, trackers)
        if not resume or _misses_look(run, accelerator, position.step):
            look(position.step)
        while position.step < steps:
            position = _step(run, shown, accelerator, optimizer, position)
            last = position.step == steps
            # A signal reaches the processes at different moments; they stop after the same step.
            stop = int(_most(accelerator, asked()))
            if accelerator.is_main_process and (
                stop or last or position.step % settings.save_every == 0
            ):
                run.folder.save(model.learned_parts, optimizer, position, settings, run.frozen)
            if stop and not last:
                accelerator.wait_for_everyone()
                raise TrainingInterruptedError(stop, position.step)
            if last or position.step % settings.check_every == 0:
                look(position.step)
    accelerator.wait_for_everyone()
    return position


def _resumed(run: Run, accelerator: Accelerator, optimizer: torch.optim.Optimizer) -> Position:
    folder = run.folder
    position = folder.resume(run.model.learned_parts, optimizer, run.settings, run.frozen)
    _restore_scale(accelerator.scaler, position)
    if accelerator.is_main_process:
        folder.drop_after(position.step)
    return position


def _misses_look(run: Run, accelerator: Accelerator, step: int) -> bool:
    """Whether a run was stopped or killed between its checkpoint and the look after that step."""
    settings = run.settings
    due = step == settings.schedule.steps or step % settings.check_every == 0
    # The first process writes, so it alone knows; all may have to look together.
    misses = accelerator.is_main_process and due and not run.folder.looked_at(step)
    return bool(_most(accelerator, misses))


@dataclass(frozen=True, slots=True)
class _Shown:
    """Where the numbers of a step go, besides the run's folder."""

    meter: Meter
    bar: "tqdm[Never]"
    trackers: Trackers | None


def _step(
    run: Run,
    shown: _Shown,
    accelerator: Accelerator,
    optimizer: torch.optim.Optimizer,
    position: Position,
) -> Position:
    """One optimiser step and its line in the metrics."""
    settings = run.settings
    started = time.perf_counter()
    learning_rate = settings.schedule.at(position.step)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["share"]
    optimizer.zero_grad(set_to_none=True)
    shown.meter.begin()
    batches = list(
        run.batches.of_step(
            settings.stage,
            position.step,
            settings.batch_size,
            settings.accumulation,
            part=accelerator.process_index,
            parts=accelerator.num_processes,
        )
    )
    loss = backward(run.model, batches, accelerator)
    norm = accelerator.clip_grad_norm_(learned_parameters(run.model), settings.clip_norm)
    finite = math.isfinite(loss) and norm is not None and math.isfinite(float(norm))
    scaler = accelerator.scaler
    if finite or scaler is not None:
        optimizer.step()  # with a scaler it does nothing but halve the scale where numbers overflow
    # That is how the right scale is found, no fault of a batch.
    skipped = not finite and not (
        scaler is not None and math.isfinite(loss) and scaler.get_scale() >= _LEAST_SCALE
    )
    positions, flop = _totals(accelerator, shown.meter.of(batches))
    seconds = time.perf_counter() - started
    position = _after(position, None if skipped else loss, seconds)
    position = _with_scale(position, scaler)
    done = Done(seconds, settings.samples_per_step, positions, flop)
    shown.meter.add(done, accelerator.num_processes)
    row: dict[str, int | float | None] = {
        "step": position.step,
        "loss": None if skipped else loss,
        "learning_rate": learning_rate,
        **done.speeds(shown.meter.peak_of(accelerator.num_processes)),
        "seconds": round(position.seconds, 3),
    }
    if scaler is not None:
        row["loss_scale"] = position.loss_scale
    if accelerator.is_main_process:
        append_lines(run.folder.metrics, [row])
        if shown.trackers is not None:
            numbers = {key: row[key] for key in row if key not in ("step", "seconds")}
            shown.trackers.log(numbers, position.step)
    _check_skipped(run, position)
    smoothed = position.smoothed_loss
    said = "?" if smoothed is None else f"{smoothed:.3f}"
    shown.bar.set_postfix_str(f"loss {said}, {shown.meter.said()}", refresh=False)
    shown.bar.update()
    return position


def backward(model: MiniGPT4, batches: Sequence[TrainingBatch], accelerator: Accelerator) -> float:
    """Adds up the gradient of the mean loss over all learned tokens of all batches.

    Every token counts the same, whichever batch or process it stands in: a mean over the batches'
    means would let short answers weigh more.

    Returns:
        That loss, the same in every process.
    """
    tokens = [learned_tokens(batch) for batch in batches]
    (of_all,) = _totals(accelerator, [sum(tokens)])
    part = 0.0
    for batch, count in zip(batches, tokens, strict=True):
        with accelerator.autocast():
            loss = model.loss(batch) * (count / of_all)
        accelerator.backward(loss)
        part += loss.item()
    for parameter in learned_parameters(model):
        if accelerator.num_processes > 1 and parameter.grad is not None:
            parameter.grad = accelerator.reduce(parameter.grad, reduction="sum")
    (whole,) = _totals(accelerator, [part])
    return whole


def _totals(accelerator: Accelerator, parts: Sequence[float]) -> list[float]:
    """The sum of each number over all processes."""
    if accelerator.num_processes == 1:
        return list(parts)
    numbers = torch.tensor(parts, dtype=torch.float64, device=accelerator.device)
    totals: list[float] = accelerator.reduce(numbers, reduction="sum").tolist()
    return totals


def _most(accelerator: Accelerator, part: float) -> float:
    """The greatest of a number over all processes."""
    if accelerator.num_processes == 1:
        return part
    number = torch.tensor([part], dtype=torch.float64, device=accelerator.device)
    return float(accelerator.gather(number).max())


def _with_scale(position: Position, scaler: "torch.amp.GradScaler | None") -> Position:
    if scaler is None:
        return position
    state = scaler.state_dict()
    return replace(position, loss_scale=state["scale"], loss_scale_steps=state["_growth_tracker"])


def _restore_scale(scaler: "torch.amp.GradScaler | None", position: Position) -> None:
    if scaler is not None and position.loss_scale is not None:
        state = {"scale": position.loss_scale, "_growth_tracker": position.loss_scale_steps}
        scaler.load_state_dict({**scaler.state_dict(), **state})


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
