"""Stage 0 on several processes, each with its share of every batch.

    python -m torch.distributed.run --nproc-per-node 2 -m train.tiny.stage0 --only bridge ...

The embedded default is so small that further threads help little, and none draws pictures. Each
process draws its own part of a batch, and gradients are averaged before they are used. On two cores
it gains little (ADR 20). Without a launcher there is one process, and nothing here does anything.
"""

import os
from collections.abc import Sequence

import torch
from torch import distributed, nn

from train.errors import TrainingError


def join_processes(device: str) -> None:
    """Meets the other processes, if a launcher started several.

    Args:
        device: What is trained on, cpu or cuda; it decides how they talk.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not distributed.is_initialized():
        distributed.init_process_group("gloo" if device == "cpu" else "nccl")


def process_count() -> int:
    """How many processes train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def is_first_process() -> bool:
    """Whether this is the one that scores, reports and saves."""
    return not distributed.is_initialized() or distributed.get_rank() == 0


def wait_for_all() -> None:
    """Waits until every process has come here."""
    if process_count() > 1:
        distributed.barrier()


def part_of_step(step: int, batch_size: int, first: int = 0) -> range:
    """Which samples of a step fall to this process.

    Args:
        step: Counted from 0.
        batch_size: That of all processes together.
        first: Number (or seed) of the first step's first sample.

    Raises:
        TrainingError: If a batch cannot be dealt out evenly.
    """
    count = process_count()
    if batch_size % count:
        raise TrainingError(
            f"batches of {batch_size} cannot be dealt out to {count} processes. Start a number of"
            " processes that divides it."
        )
    size = batch_size // count
    rank = distributed.get_rank() if count > 1 else 0
    start = first + step * batch_size + rank * size
    return range(start, start + size)


def same_weights(module: nn.Module) -> None:
    """Gives a module the weights that it has in the first process."""
    if process_count() > 1:
        for tensor in module.state_dict().values():
            distributed.broadcast(tensor, src=0)


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Gives every process the mean of all gradients; one that a process lacks counts as zero."""
    count = process_count()
    if count == 1:
        return
    for each in parameters:
        if each.grad is None:
            each.grad = torch.zeros_like(each)
    grads = [each.grad for each in parameters if each.grad is not None]
    # One message, not one for each of some hundred small tensors.
    together = torch.cat([grad.flatten() for grad in grads])
    distributed.all_reduce(together)
    together /= count
    # In place: the fused optimiser wants gradients that lie in memory as their weights do, and
    # convolutions keep their channels last.
    means = torch.split(together, [grad.numel() for grad in grads])
    for grad, mean in zip(grads, means, strict=True):
        grad.copy_(mean.view(grad.shape))
