"""The plain loop of stage 0: AdamW, warm-up and cosine, a state file to resume from."""

import copy
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_model, save_model
from torch import nn
from tqdm import tqdm

from train.errors import TrainingError
from train.tiny.processes import average_gradients, is_first_process, same_weights

Report = Callable[[dict[str, float]], None]
"""Takes the scores of a check; `step` is among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSettings:
    """How long and how fast to train.

    Attributes:
        steps: Optimiser steps of the whole run.
        batch_size: Samples a step.
        learning_rate: Peak learning rate.
        warmup_steps: Steps of linear warm-up; a half cosine to 2 % of the peak follows.
        weight_decay: AdamW's, on matrices only.
        check_every: Steps between two checks, each of which also saves the state.
    """

    steps: int
    batch_size: int
    learning_rate: float
    warmup_steps: int
    weight_decay: float
    check_every: int = 200

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        done = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return self.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))


def train_steps(
    module: nn.Module,
    loss_of: Callable[[int], torch.Tensor],
    settings: StepSettings,
    state: Path,
    check: Callable[[int], None],
    *,
    title: str = "",
    line: int = 0,
) -> None:
    """Runs the loop from wherever the state file says.

    Args:
        module: Whose parameters with gradients are trained.
        loss_of: The loss of a step; must draw the same data for the same step.
        settings: Schedule.
        state: File with weights, optimiser and step; written at every check, read at the start.
        check: Called with the number of steps done, at every check and at the end; in the first
            process alone, where there are several.
        title: What the progress bar is called.
        line: On which line of the terminal it stands; two runs may go on side by side.

    Raises:
        TrainingError: If the state was begun with other settings.
    """
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98), fused=True)
    first = _resume(module, optimizer, settings, state)
    same_weights(module)
    log = state.with_suffix(".jsonl")
    smoothed = None
    bar = tqdm(
        range(first, settings.steps),
        initial=first,
        total=settings.steps,
        unit="step",
        desc=title,
        position=line,
        disable=not is_first_process(),
    )
    for step in bar:
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate_at(step)
        torch.manual_seed(step)  # dropout, too, is the same in a run that was resumed
        loss = loss_of(step)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        average_gradients(trained)
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        value = loss.item()
        smoothed = value if smoothed is None else 0.98 * smoothed + 0.02 * value
        bar.set_postfix(loss=f"{smoothed:.3f}")
        if not is_first_process():
            continue
        if step % 20 == 0:
            with log.open("a") as lines:
                lines.write(json.dumps({"step": step, "loss": round(smoothed, 4)}) + "\n")
        done = step + 1
        if done % settings.check_every == 0 or done == settings.steps:
            check(done)
            _save(module, optimizer, settings, done, state)


def save_weights(module: nn.Module, file: Path) -> None:
    """Writes the weights alone, in half precision, as `load_weights` reads them."""
    partial = file.with_suffix(".partial")
    halves = copy.deepcopy(module).half()
    save_model(halves, str(partial))
    partial.replace(file)


def load_weights(module: nn.Module, file: Path) -> None:
    """Fills a module with the weights of an earlier run: its state, or what `save_weights` wrote.

    Raises:
        TrainingError: If they are not there or do not fit.
    """
    if not file.is_file():
        raise TrainingError(f"There are no weights at {file}. Leave out --warm-start, or name one.")
    try:
        if file.suffix == ".safetensors":
            load_model(module, file)
        else:
            module.load_state_dict(
                torch.load(file, weights_only=True, map_location=torch.get_default_device())[
                    "module"
                ]
            )
    except RuntimeError as error:
        raise TrainingError(f"{file} does not fit what is trained: {error}") from error


def _save(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    settings: StepSettings,
    step: int,
    state: Path,
) -> None:
    partial = state.with_suffix(".partial")
    content = {
        "module": module.state_dict(),
        "optimizer": optimizer.state_dict(),
        "step": step,
        "settings": asdict(settings),
    }
    torch.save(content, partial)
    partial.replace(state)


def _resume(
    module: nn.Module, optimizer: torch.optim.Optimizer, settings: StepSettings, state: Path
) -> int:
    state.parent.mkdir(parents=True, exist_ok=True)
    if not state.is_file():
        return 0
    content = torch.load(state, weights_only=True, map_location=torch.get_default_device())
    shapes = {name: each.shape for name, each in module.state_dict().items()}
    stored = {name: each.shape for name, each in content["module"].items()}
    if content["settings"] != asdict(settings) or shapes != stored:
        raise TrainingError(
            f"{state} was begun with other settings ({content['settings']}) than the code has now "
            f"({asdict(settings)}). Remove it to start anew, or choose another --output."
        )
    module.load_state_dict(content["module"])
    optimizer.load_state_dict(content["optimizer"])
    step: int = content["step"]
    return step
