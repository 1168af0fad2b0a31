"""What every engine is: a prompt in, a stream of text out."""

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Protocol

import torch

from minigpt4.config import GenerationSettings
from minigpt4.conversation import Prompt
from minigpt4.engines.statistics import EngineStatistics
from minigpt4.errors import EngineError, MiniGPT4Error

logger = logging.getLogger(__name__)

FinishReason = Literal["stop", "length", "cancelled"]
"""Why an answer ended: the model ended it, it grew to `max_new_tokens`, or someone stopped it."""


@dataclass(frozen=True, slots=True)
class EngineStep:
    """A piece of an answer.

    Attributes:
        text: New text, valid UTF-8, free of stop strings; may be empty.
        tokens: Tokens generated so far.
        finish: Set on the last step only.
        ahead: While the question waits for its turn, how many others come before it; None from
            the moment the model reads it.
    """

    text: str
    tokens: int
    finish: FinishReason | None = None
    ahead: int | None = None


class Engine(Protocol):
    """Turns prompts into streams of text, for any number of threads at once."""

    def stream(
        self,
        prompt: Prompt,
        visual_tokens: Mapping[str, torch.Tensor],
        settings: GenerationSettings,
        stop_strings: Sequence[str],
        cancel: threading.Event,
    ) -> Iterator[EngineStep]:
        """Generates an answer.

        Args:
            prompt: Ends where the answer begins.
            visual_tokens: For every image slot's key the picture's visual tokens `(Q, D)`.
            settings: How to draw tokens.
            stop_strings: End the answer and are no part of it.
            cancel: Ends the answer within one token of being set.

        Yields:
            Steps without text while the question waits (a new one whenever its place changes),
            then pieces; the last one, and only it, has `finish`. Closing the iterator early stops
            the answer too.

        Raises:
            BusyError: If too many questions wait already.
            EngineError: If the model fails. Other answers go on.
        """
        ...

    def statistics(self) -> EngineStatistics:
        """What the engine has done and is doing."""
        ...

    def close(self) -> None:
        """Ends what is being written, as `cancelled`, and frees what the engine holds."""
        ...


class StopStringFilter:
    """Cuts a stream of text at the first stop string, also one that arrives in several pieces."""

    def __init__(self, stop_strings: Sequence[str]) -> None:
        self._stop_strings = tuple(stop_strings)
        self._held = ""
        self.stopped = False

    def feed(self, text: str) -> str:
        """Takes new text and gives back what is safe to show."""
        if self.stopped:
            return ""
        self._held += text
        found = [at for stop in self._stop_strings if (at := self._held.find(stop)) >= 0]
        if found:
            self.stopped = True
            shown, self._held = self._held[: min(found)], ""
            return shown
        keep = self._undecided()
        shown, self._held = (
            self._held[: len(self._held) - keep],
            self._held[len(self._held) - keep :],
        )
        return shown

    def flush(self) -> str:
        """What was held back in case a stop string would follow; none did."""
        shown, self._held = self._held, ""
        return shown

    def _undecided(self) -> int:
        """Length of the longest end of the held text that may grow into a stop string."""
        longest = max((len(stop) - 1 for stop in self._stop_strings), default=0)
        for length in range(min(longest, len(self._held)), 0, -1):
            tail = self._held[-length:]
            if any(stop.startswith(tail) for stop in self._stop_strings):
                return length
        return 0


@contextmanager
def model_failures() -> Iterator[None]:
    """Turns whatever goes wrong in the model into an `EngineError`; our own errors pass."""
    try:
        yield
    except MiniGPT4Error:
        raise
    except Exception as error:
        raise as_engine_error(error) from error


def as_engine_error(error: BaseException) -> BaseException:
    """What the person is told of a failure of the model; the log gets the whole of it.

    Our own errors are told as they are.
    """
    if isinstance(error, MiniGPT4Error) or not isinstance(error, Exception):
        return error
    logger.error("The model failed", exc_info=error)
    if isinstance(error, torch.OutOfMemoryError):
        return EngineError(
            "The model ran out of memory on this answer. Start a new chat, or ask for a shorter "
            "answer; whoever runs this page can choose a smaller model."
        )
    return EngineError("The model failed on this answer. Please try again.")
