"""One answer on its way to a client of `/v1`: what is new of its text, its tokens, its end."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from minigpt4.errors import ClosingError
from minigpt4.ui.worker import Job, ModelWorker, Waiting

if TYPE_CHECKING:
    from minigpt4.chat import AnswerPart

Finish = Literal["stop", "length"]
_END = object()


@dataclass(frozen=True, slots=True)
class Piece:
    """What is new of an answer.

    Attributes:
        text: New text; may be empty.
        prompt_tokens: Length of the prompt, visual tokens included.
        tokens: Written so far.
        finish: Why the answer ended; on the last piece only.
        notice: What the asker should know, such as that old turns were left out.
    """

    text: str
    prompt_tokens: int
    tokens: int
    finish: Finish | None = None
    notice: str = ""


class Answering:
    """An answer that is being written.

    The worker's news are read by a task of their own: so that whoever waits for them can wait for
    a while only, and look after the client in between.

    Args:
        worker: Owns the model.
        job: The question.
    """

    def __init__(self, worker: ModelWorker, job: Job) -> None:
        self._worker = worker
        self._job = job
        self._told = 0
        self._news: asyncio.Queue[Waiting | AnswerPart | Exception | object] = asyncio.Queue()
        self._task = asyncio.create_task(self._read())

    async def pieces(self, wake_seconds: float) -> AsyncGenerator[Piece | None, None]:
        """Yield what is new, and None whenever nothing was for so long.

        Raises:
            MiniGPT4Error: Whatever the worker raises.
        """
        while True:
            try:
                news = await asyncio.wait_for(self._news.get(), wake_seconds)
            except TimeoutError:
                yield None
                continue
            if isinstance(news, Exception):
                raise news
            if news is _END:
                # Only an answer that was stopped before it began has no last part.
                raise ClosingError
            if isinstance(news, Waiting):
                continue
            piece = self._piece(news)  # type: ignore[arg-type] # what is left is a part
            yield piece
            if piece.finish is not None:
                return

    async def close(self) -> None:
        """Stop the model if it still writes, and wait until the worker has let go."""
        self._job.cancel.set()
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _read(self) -> None:
        try:
            async with aclosing(self._worker.answer(self._job)) as parts:
                async for part in parts:
                    self._news.put_nowait(part)
        except Exception as error:  # noqa: BLE001 - it is raised where the pieces are read
            self._news.put_nowait(error)
        self._news.put_nowait(_END)

    def _piece(self, part: "AnswerPart") -> Piece:
        # Spaces at the end of a part wait: the last part has none.
        text = part.text.rstrip()
        new, self._told = text[self._told :], max(self._told, len(text))
        finish: Finish | None = None
        if part.finish is not None:
            # A server that is being stopped cuts answers short, and says so in the notice.
            finish = "stop" if part.finish == "stop" else "length"
        return Piece(new, part.prompt_tokens, part.tokens, finish, part.notice)
