"""A little training of stage 0's loop, to be started by torchrun: see `test_processes.py`."""

import sys
from pathlib import Path

import torch
from torch import nn

from train.tiny.processes import is_first_process, join_processes, part_of_step
from train.tiny.steps import StepSettings, train_steps

SETTINGS = StepSettings(
    steps=6, batch_size=8, learning_rate=0.05, warmup_steps=0, weight_decay=0.1, check_every=3
)


def train(folder: Path) -> nn.Module:
    """Fits a small convolution to numbers that depend on where a sample stands.

    Every check leaves a line. The weights keep their channels last, as the eye's do.
    """
    torch.manual_seed(5 if is_first_process() else 6)
    module = nn.Sequential(nn.Conv2d(3, 4, 2), nn.GELU(), nn.Flatten(), nn.Linear(4, 1))
    module.to(memory_format=torch.channels_last)

    def loss_of(step: int) -> torch.Tensor:
        numbers = torch.tensor(part_of_step(step, SETTINGS.batch_size)).float()
        waves = torch.arange(1, 13) * 0.3 * numbers[:, None]
        seen = torch.sin(waves).reshape(len(numbers), 3, 2, 2)
        return (module(seen) - numbers[:, None] / 10).square().mean()

    def check(step: int) -> None:
        with (folder / "checks").open("a") as lines:
            lines.write(f"{step}\n")

    train_steps(module, loss_of, SETTINGS, folder / "state.pt", check)
    return module


if __name__ == "__main__":
    join_processes("cpu")
    given = Path(sys.argv[1])
    trained = train(given)
    rank = 0 if is_first_process() else 1
    torch.save(trained.state_dict(), given / f"weights-{rank}.pt")
