"""What training reads, made ahead of time in worker processes, in the order it is asked for.

Workers do what needs no weights: they draw, read, decode and resize pictures and tokenise texts.
The frozen eye stays where the model is. A result is a function of its number alone, so it is the
same whoever makes it, and a run with workers learns what one without learns, to the bit.

Workers are forks: they begin with all that the process has read so far, and nothing has to be
picklable but results. Arrays travel through pipes, not through shared memory, of which containers
have little.
"""

import atexit
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from mmap import mmap
from types import FrameType
from typing import Generic, TypeVar

from torch import Generator
from torch.utils.data import DataLoader, Dataset

from minigpt4.errors import MiniGPT4Error
from train.errors import TrainingError

R = TypeVar("R")
_AHEAD = 2
"""Results that each worker has made or is making."""


def in_order(
    make: Callable[[int], R],
    numbers: Iterable[int],
    workers: int,
    begin: Callable[[], None] = lambda: None,
) -> Iterator[R]:
    """Yields what `make` makes of each number, in order.

    Args:
        make: Its result is the same in every process; it must leave GPUs alone.
        numbers: May be without end.
        workers: Processes that make it ahead of time; 0 makes it here, when it is asked for.
        begin: Called in every worker before its first number.

    Raises:
        TrainingError: If making one fails; workers' errors are told as if they had been made here.
    """
    if not workers:
        for number in numbers:
            yield make(number)
        return
    check_workers(workers)

    ending = mmap(-1, 1)  # one byte that forks share

    def end() -> None:
        ending[0] = 1

    def obey(_signal: int, _frame: FrameType | None) -> None:
        if ending[0]:
            os._exit(0)

    def started(_worker: int) -> None:
        # A scheduler may signal the whole group. The run finishes its step and needs its workers
        # for that; they end with it: a process that exits sends SIGTERM to its children and waits.
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, obey)
        begin()

    loader = DataLoader(
        _Made(make),
        batch_size=None,
        sampler=numbers,
        num_workers=workers,
        collate_fn=_as_it_is,
        worker_init_fn=started,
        prefetch_factor=_AHEAD,
        multiprocessing_context="fork",
        generator=Generator(),  # its own: the process's random state stays as it was
    )
    atexit.register(end)
    try:
        for result in loader:
            if isinstance(result, _Failed):
                raise TrainingError(result.message)
            yield result
    finally:
        end()
        atexit.unregister(end)


def check_workers(workers: int) -> None:
    """Makes sure that there can be workers.

    Raises:
        TrainingError: If this system cannot fork safely.
    """
    if workers and sys.platform != "linux":
        message = (
            f"workers: {workers} given; worker processes are forks, which work on Linux only, and "
            f"this is {sys.platform}. Set workers=0."
        )
        raise TrainingError(message)


class _Failed:
    """What went wrong in a worker; an error itself would come with the worker's traceback."""

    def __init__(self, message: str) -> None:
        self.message = message


class _Made(Dataset[R | _Failed], Generic[R]):
    def __init__(self, make: Callable[[int], R]) -> None:
        self._make = make

    def __getitem__(self, number: int) -> R | _Failed:
        try:
            return self._make(number)
        except MiniGPT4Error as error:
            return _Failed(str(error))


def _as_it_is(result: R) -> R:
    return result
