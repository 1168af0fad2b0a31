"""Many rows at a time, each given out when it ends; one that fails stops no other."""

import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TypeVar

from train.curation.errors import RowError

_Row = TypeVar("_Row")
_Done = TypeVar("_Done")
_LISTEN_SECONDS = 0.2
"""What waits for ever in a lock is deaf to Ctrl-C on some systems."""


def as_they_end(
    rows: Iterable[_Row],
    work: Callable[[_Row], _Done],
    at_once: int,
    stop: threading.Event,
) -> Generator[tuple[_Row, _Done | RowError], None, None]:
    """Works on rows in threads.

    Closing the generator, or an error that is no row's own, sets `stop`, waits for what is under
    way, and begins nothing more.

    Args:
        rows: Asked for one by one.
        work: Raises `RowError` if a row cannot be done.
        at_once: Rows at a time.
        stop: Tells `work` to end early.

    Yields:
        Each row with what came of it, in the order in which they end.
    """
    waiting = iter(rows)
    running: dict[Future[_Done], _Row] = {}
    with ThreadPoolExecutor(at_once, thread_name_prefix="row") as pool:
        try:
            while True:
                for row in islice(waiting, at_once - len(running)):
                    running[pool.submit(work, row)] = row
                if not running:
                    return
                ended, _ = wait(running, _LISTEN_SECONDS, FIRST_COMPLETED)
                for future in ended:
                    row = running.pop(future)
                    error = future.exception()
                    if isinstance(error, RowError):
                        yield row, error
                    else:
                        yield row, future.result()
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
