"""How the server ends: running answers may finish, the rest is told, and nothing hangs.

The first SIGTERM or SIGINT begins the end. From then on new questions are refused in words, by the
page and by `/v1`; what is being answered has `server.grace_seconds`, and keeps its text and a
sentence about it if that was too short. Then the connections close, open tabs' among them. A second
signal ends the process at once.

Exit codes: 0 after SIGINT (Ctrl+C), 143 after SIGTERM, 130 or 143 after a second signal.
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from types import FrameType, TracebackType
from typing import Any, Protocol, Self

from minigpt4.ui.worker import ModelWorker

LAST_WORDS_SECONDS = 1.0
"""So long the event loop has to send what the last answers said."""
CONNECTION_SECONDS = 2
"""So long connections have to end; an open tab would hold its own for ever."""
_LOOK_SECONDS = 0.2


class StopSignals:
    """Notes that the process was told to stop, from the beginning of a ``with`` block to its end.

    Attributes:
        received: The first signal; None while there was none.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._told = threading.Event()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def exit_code(self) -> int:
        """What the process ends with."""
        return 128 + signal.SIGTERM if self.received == signal.SIGTERM else 0

    def wait(self) -> None:
        """Wait until the process is told to stop."""
        # Not for ever at a time: on some systems a signal does not wake a thread that waits so.
        while not self._told.wait(_LOOK_SECONDS):
            pass

    def wait_for(self, work: "Future[None]") -> bool:
        """Wait until some work is done, and raise what it raised.

        Returns:
            False if the process was told to stop before.
        """
        while not self._told.wait(_LOOK_SECONDS):
            if work.done():
                work.result()
                return True
        return False

    def leave_if(self, loading: bool) -> None:  # noqa: FBT001 - a question, not a switch
        """End the process here if it was told to stop while weights are being read.

        Reading cannot be interrupted and may take minutes, and nothing is lost by it.
        """
        if loading and self.received is not None:
            os._exit(self.exit_code)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.received is None:
            self.received = number
            self._told.set()
        else:
            os._exit(128 + number)


class Page(Protocol):
    """What is needed of Gradio's blocks that are being served."""

    def close(self, verbose: bool = True) -> None:  # noqa: FBT001, FBT002 - Gradio's signature
        """Stop serving."""


def stop_serving(
    worker: ModelWorker, page: Page, seconds: float, say: Callable[[str], None]
) -> None:
    """Let running answers end, tell the rest, and stop serving; called in the main thread.

    Args:
        worker: Owns the model.
        page: The page that is being served.
        seconds: So long answers may go on.
        say: Tells the host what is waited for.
    """
    waiting = worker.open_questions
    if waiting and worker.load_state == "ready":
        questions = "1 question" if waiting == 1 else f"{waiting} questions"
        say(f"Stopping: {questions} may be answered for {seconds:.0f} s. Again to stop at once.")
    if worker.load_state != "loading":
        worker.close(seconds)
    if waiting:
        time.sleep(LAST_WORDS_SECONDS)
    server = getattr(page, "server", None)  # none if the page could not be opened
    if server is not None:
        server.config.timeout_graceful_shutdown = CONNECTION_SECONDS
    page.close(verbose=False)
