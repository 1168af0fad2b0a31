"""The one thread that owns the model.

Loading, encoding pictures and answering all run there, one job at a time and in the order in which
they came, whatever Gradio does with its own threads: a generator that Gradio steps itself keeps
running after a cancel, beside the next user's. The page's event loop only waits for news.
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from minigpt4.config import GenerationSettings
from minigpt4.errors import MiniGPT4Error
from minigpt4.ui.contract import PictureChat
from minigpt4.ui.pictures import Picture

if TYPE_CHECKING:
    from minigpt4.chat import AnswerPart, Session

LoadState = Literal["loading", "ready", "failed"]

UPDATE_SECONDS = 0.07
"""Least time between two updates of the page: a browser redraws the whole chat at each."""
WAKE_SECONDS = 0.25
"""How often a waiting job looks at its place in the queue."""


class TooManyWaitingError(MiniGPT4Error):
    """More questions wait for the model than the server accepts."""

    def __str__(self) -> str:
        return "Many people are asking right now. Please try again in a minute."


@dataclass(frozen=True, slots=True)
class Waiting:
    """A question waits for the model.

    Attributes:
        ahead: Questions that come first; 0 once it is its turn.
        loading: The weights are not in yet.
    """

    ahead: int
    loading: bool


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One question for the model.

    Attributes:
        session: What was said before; None for a new chat.
        question: The question as typed.
        pictures: Pictures that belong to it; those not yet encoded are encoded first.
        settings: How to generate.
        cancel: Set to stop within one token.
    """

    session: "Session | None"
    question: str
    pictures: tuple[Picture, ...]
    settings: GenerationSettings
    cancel: threading.Event = field(default_factory=threading.Event)


class ModelWorker:
    """Owns a chat and the only thread that touches it.

    Args:
        load: Builds the chat; runs in the model's thread.
        max_waiting: Questions that may wait behind the one being answered.
    """

    def __init__(self, load: Callable[[], PictureChat], max_waiting: int = 16) -> None:
        self._load = load
        self._max_waiting = max_waiting
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self._chat: PictureChat | None = None
        self._queue: list[Job] = []
        self._lock = threading.Lock()
        self._loading: Future[None] | None = None

    def start(self) -> "Future[None]":
        """Begin to load the weights; the future tells when they are in, or why they are not."""
        if self._loading is None:
            self._loading = self._pool.submit(self._load_chat)
        return self._loading

    @property
    def load_state(self) -> LoadState:
        """How far loading is."""
        if self._chat is not None:
            return "ready"
        failed = self._loading is not None and self._loading.done()
        return "failed" if failed else "loading"

    def close(self) -> None:
        """Stop what is being answered, refuse the rest, and end the thread."""
        with self._lock:
            for job in self._queue:
                job.cancel.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def answer(self, job: Job) -> AsyncGenerator["Waiting | AnswerPart", None]:
        """Yield where the question stands, then the answer so far, and at last the finished answer.

        A job that is stopped before its turn ends without an answer. Parts that come faster than
        the page can draw are skipped; the last one never is.

        Raises:
            TooManyWaitingError: The queue is full.
            MiniGPT4Error: Whatever the chat raises.
        """
        news = _News(asyncio.get_running_loop())
        with self._lock:
            if len(self._queue) > self._max_waiting:
                raise TooManyWaitingError
            self._queue.append(job)
        submitted = self._pool.submit(self._run, job, news)
        submitted.add_done_callback(lambda _: news.wake())
        try:
            shown: Waiting | AnswerPart | None = None
            while True:
                done = submitted.done()
                latest = news.part if news.part is not None else self._place(job)
                if done and news.part is None:
                    submitted.result()
                    return
                if _is_news(latest, shown):
                    shown = latest
                    yield latest
                    if not done:
                        await asyncio.sleep(UPDATE_SECONDS)
                if done:
                    submitted.result()
                    return
                if job.cancel.is_set() and submitted.cancel():
                    return
                await news.wait(WAKE_SECONDS)
        finally:
            job.cancel.set()
            if submitted.cancel():
                self._leave(job)

    def _place(self, job: Job) -> Waiting:
        with self._lock:
            ahead = self._queue.index(job) if job in self._queue else 0
        return Waiting(ahead, self.load_state == "loading")

    def _leave(self, job: Job) -> None:
        with self._lock:
            if job in self._queue:
                self._queue.remove(job)

    def _load_chat(self) -> None:
        self._chat = self._load()

    def _run(self, job: Job, news: "_News") -> None:
        try:
            if self._chat is None:
                raise MiniGPT4Error("The model could not be loaded. The server's log says why.")
            if job.cancel.is_set():
                return
            session = job.session if job.session is not None else self._chat.new_session()
            for picture in job.pictures:
                if picture.encoded is None and picture.image is not None:
                    picture.encoded = self._chat.encode_image(picture.image)
                    picture.image = None
                if picture.encoded is not None:
                    session = session.attach(picture.encoded)
            stream = self._chat.stream_answer(session, job.question, job.settings, job.cancel)
            for part in stream:
                news.tell(part)
        finally:
            self._leave(job)


def _is_news(latest: "Waiting | AnswerPart", shown: "Waiting | AnswerPart | None") -> bool:
    # Parts are compared by identity: they may hold tensors, which have no single truth value.
    return latest != shown if isinstance(latest, Waiting) else latest is not shown


class _News:
    """The latest part of an answer, told by the model's thread and awaited in the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.part: AnswerPart | None = None
        self._loop = loop
        self._changed = asyncio.Event()

    def tell(self, part: "AnswerPart") -> None:
        """Replace the latest part; called from the model's thread."""
        self.part = part
        self.wake()

    def wake(self) -> None:
        """Wake the waiting side; called from the model's thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._changed.set)

    async def wait(self, seconds: float) -> None:
        """Wait until there is news, but not longer than this."""
        try:
            await asyncio.wait_for(self._changed.wait(), seconds)
        except TimeoutError:
            return
        self._changed.clear()
