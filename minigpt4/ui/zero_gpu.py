"""A chat on a Hugging Face Space with ZeroGPU, where a GPU is lent for seconds at a time.

There, what runs on the GPU runs in a process that is forked for it: arguments and results travel
pickled, no event reaches it, and nothing that it remembers is there at the next call. A session is
a value that holds its pictures' visual tokens on the CPU, so every call has all it needs. Nothing
here is used anywhere else.

Source: the package ``spaces`` 0.51, ``zero/wrappers.py``.
"""

import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from minigpt4.config import Config, GenerationSettings
from minigpt4.conversation import clean_question
from minigpt4.errors import ConfigError, EngineError, MiniGPT4Error
from minigpt4.ui.contract import PictureChat

if TYPE_CHECKING:
    from PIL import Image

    from minigpt4.chat import AnswerPart, ChatStatistics, Session
    from minigpt4.encoder import EncodedImage
    from minigpt4.looking.look import AnswerLook, TokenLook

T = TypeVar("T")
Lend = Callable[[Callable[..., Any]], Callable[..., Any]]
"""``spaces.GPU``: makes a function, or a generator function, run where the GPU is."""


@dataclass(frozen=True, slots=True)
class Failed:
    """An error on its way out of the GPU's process, from which only values come whole."""

    error: MiniGPT4Error


def on_zero_gpu() -> bool:
    """Whether this process serves a Space with ZeroGPU."""
    return os.environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def zero_gpu_lender(config: Config) -> Lend:
    """Return ``spaces.GPU``; called before torch is imported, which the package prepares.

    Raises:
        ConfigError: The package is not there, or the engine cannot work in a forked process.
    """
    if config.engine.kind != "generate":
        problem = (
            f"engine.kind: {config.engine.kind!r} given; on ZeroGPU every answer runs in a process"
            " of its own, which only generate can do."
        )
        raise ConfigError([problem])
    try:
        import spaces  # noqa: PLC0415 - only a Space has it
    except ImportError as error:
        message = "SPACES_ZERO_GPU is set, but the package spaces is missing. Add it."
        raise ConfigError([message]) from error
    lend: Lend = spaces.GPU
    return lend


class ZeroGpuChat:
    """A chat whose model is only touched where the GPU is.

    Args:
        chat: Built in this process; the forked ones inherit it.
        lend: ``spaces.GPU``.
    """

    def __init__(self, chat: PictureChat, lend: Lend) -> None:
        self._chat = chat
        # Made once and before the page is launched: that is when ZeroGPU looks for them.
        self._encode = lend(_returning(chat.encode_images))
        self._answer = lend(_yielding(chat.stream_answer))
        self._look = lend(_returning(chat.look))
        self._look_at_tokens = lend(_returning(chat.look_at_tokens))

    def new_session(self) -> "Session":
        """See `PictureChat`."""
        return self._chat.new_session()

    def encode_images(
        self, pictures: "Sequence[Image.Image]", cancel: threading.Event | None = None
    ) -> "Sequence[EncodedImage]":
        """See `PictureChat`. What has begun is not stopped."""
        if cancel is not None and cancel.is_set():
            raise CancelledError
        encoded: Sequence[EncodedImage] = _call(self._encode, tuple(pictures))
        return encoded

    def stream_answer(
        self,
        session: "Session",
        question: str,
        settings: GenerationSettings | None = None,
        cancel: threading.Event | None = None,
        projection: str | None = None,
        *,
        stop_strings: Sequence[str] = (),
    ) -> "Iterator[AnswerPart]":
        """See `PictureChat`. It is stopped by closing, which the GPU's process is told."""
        started = time.monotonic()
        with _told_in_words():
            parts = self._answer(
                session,
                question,
                settings,
                projection=projection,
                stop_strings=tuple(stop_strings),
            )
            last: AnswerPart | None = None
            try:
                for part in parts:
                    if isinstance(part, Failed):
                        raise part.error
                    last = part
                    if cancel is not None and cancel.is_set() and part.finish is None:
                        break
                    yield part
            finally:
                parts.close()
        if last is not None and last.finish is None:
            yield _cut(last, session, question, time.monotonic() - started)

    def look(
        self,
        session: "Session",
        turn: int,
        pictures: "Mapping[str, Image.Image]",
        *,
        max_new_tokens: int | None = None,
        projection: str | None = None,
    ) -> "AnswerLook":
        """See `PictureChat`."""
        seen: AnswerLook = _call(
            self._look,
            session,
            turn,
            dict(pictures),
            max_new_tokens=max_new_tokens,
            projection=projection,
        )
        return seen

    def look_at_tokens(
        self,
        session: "Session",
        key: str,
        picture: "Image.Image",
        projection: str | None = None,
    ) -> "tuple[TokenLook, ...]":
        """See `PictureChat`."""
        seen: tuple[TokenLook, ...] = _call(self._look_at_tokens, session, key, picture, projection)
        return seen

    def statistics(self) -> "ChatStatistics":
        """See `PictureChat`. Counts of this process, not of those where the answers are written."""
        return self._chat.statistics()

    def close(self) -> None:
        """See `PictureChat`."""
        self._chat.close()


def _returning(work: Callable[..., T]) -> "Callable[..., T | Failed]":
    def lent(*arguments: object, **named: object) -> "T | Failed":
        try:
            return work(*arguments, **named)
        except MiniGPT4Error as error:
            return Failed(error)

    return lent


def _yielding(work: Callable[..., Iterator[T]]) -> "Callable[..., Iterator[T | Failed]]":
    def lent(*arguments: object, **named: object) -> "Iterator[T | Failed]":
        try:
            yield from work(*arguments, **named)
        except MiniGPT4Error as error:
            yield Failed(error)

    return lent


def _call(lent: Callable[..., Any], *arguments: object, **named: object) -> Any:  # noqa: ANN401
    with _told_in_words():
        result = lent(*arguments, **named)
    if isinstance(result, Failed):
        raise result.error
    return result


@contextmanager
def _told_in_words() -> Iterator[None]:
    """Give ZeroGPU's own refusals, such as a used up quota, to the page as a sentence."""
    import gradio as gr  # noqa: PLC0415 - imported long since where this can happen

    try:
        yield
    except gr.Error as error:
        raise EngineError(re.sub(r"<[^<>]*>", "", str(error.message))) from error


def _cut(last: "AnswerPart", session: "Session", question: str, seconds: float) -> "AnswerPart":
    """The end of an answer that was stopped: its text so far, in a new session."""
    from minigpt4.chat import Session  # noqa: PLC0415 - brings torch

    text = last.text.rstrip()
    cleaned = clean_question(question, len(question))  # the chat has found it short enough
    asked = session.conversation.with_question(cleaned, session.pending)
    done = Session(asked.with_answer(text), session.images)
    return replace(last, text=text, seconds=seconds, finish="cancelled", session=done)
