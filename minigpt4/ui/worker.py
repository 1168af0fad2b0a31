"""The model behind the page and the HTTP server: loaded in the background, asked by many at once.

Loading runs in a thread of its own. Every answer runs in a thread that does nothing but wait for
the chat, whose engine writes many answers together and has the queue; what a generator of Gradio's
own would do, that is keep running after a cancel beside the next user's, cannot happen. The event
loop only waits for news.

Two places refuse a question: the engine when its queue is full, and this worker when more than all
its threads are taken, or too many wait for the weights. Both raise `BusyError`.
"""

import asyncio
import contextvars
import dataclasses
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeVar

from minigpt4.config import GenerationSettings
from minigpt4.errors import BusyError, ClosingError, MiniGPT4Error
from minigpt4.ui.contract import PictureChat
from minigpt4.ui.pictures import Picture

if TYPE_CHECKING:
    from minigpt4.chat import AnswerPart, ChatStatistics, Session

LoadState = Literal["loading", "ready", "failed"]
T = TypeVar("T")

UPDATE_SECONDS = 0.07
"""Least time between two updates of the page: a browser redraws the whole chat at each."""
WAKE_SECONDS = 0.25
"""How often a question that waits for the weights looks at its place."""
CUT_SHORT = "The server is being stopped: this answer ends here."


@dataclass(frozen=True, slots=True)
class Waiting:
    """A question waits for the model.

    Attributes:
        ahead: Questions that come first; 0 once it is its turn, also while its pictures are looked
            at.
        loading: The weights are not in yet.
    """

    ahead: int
    loading: bool


@dataclass(frozen=True, slots=True, eq=False)
class EarlierTurn:
    """A turn that an asker without a session sends along: a program tells the whole chat anew."""

    question: str
    answer: str
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One question for the model.

    Attributes:
        session: What was said before; None for a new chat.
        question: The question as typed.
        pictures: Pictures that belong to it; those not yet encoded are encoded first.
        settings: How to generate.
        cancel: Set to stop within one token.
        projection: Label of another projection to look through; None is the model's own.
        earlier: Turns that follow the session and come before the question.
        stop_strings: End the answer and are no part of it, besides the model's own.
    """

    session: "Session | None"
    question: str
    pictures: tuple[Picture, ...]
    settings: GenerationSettings
    cancel: threading.Event = field(default_factory=threading.Event)
    projection: str | None = None
    earlier: tuple[EarlierTurn, ...] = ()
    stop_strings: tuple[str, ...] = ()


class ModelWorker:
    """Loads a chat and runs its answers.

    Args:
        load: Builds the chat; runs in a thread of its own.
        max_waiting: Questions that may wait, as the engine is told too.
        max_answers: Answers that the engine writes at a time.

    Attributes:
        refused: Questions turned away here because too many waited, before the engine saw them.
    """

    def __init__(
        self, load: Callable[[], PictureChat], max_waiting: int = 16, max_answers: int = 16
    ) -> None:
        self._load = load
        self._max_waiting = max_waiting
        self._most = max_answers + max_waiting
        self._loader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="loading")
        self._threads = ThreadPoolExecutor(max_workers=self._most, thread_name_prefix="answer")
        self._looker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="looking")
        self._looks = 0
        self.refused = 0
        self._chat: PictureChat | None = None
        self._jobs: list[Job] = []
        self._changed = threading.Condition()
        self._loading: Future[None] | None = None
        self._closing = False

    def start(self) -> "Future[None]":
        """Begin to load the weights; the future tells when they are in, or why they are not."""
        with self._changed:
            if self._loading is None:
                self._loading = self._loader.submit(self._load_chat)
            return self._loading

    @property
    def load_state(self) -> LoadState:
        """How far loading is."""
        if self._chat is not None:
            return "ready"
        failed = self._loading is not None and self._loading.done()
        return "failed" if failed else "loading"

    @property
    def open_questions(self) -> int:
        """Questions that wait or are being answered."""
        return len(self._jobs)

    def statistics(self) -> "ChatStatistics | None":
        """What the model has done and is doing; None before it is loaded."""
        return None if self._chat is None else self._chat.statistics()

    def close(self, seconds: float = 0) -> None:
        """Refuse new questions, let running answers end, and stop what takes longer.

        An answer that is stopped keeps its text and is told so (`CUT_SHORT`); a question that got
        none fails with `ClosingError`. Both reach their readers only while the event loop runs, so
        a server calls this from another thread before it stops its loop.

        Args:
            seconds: So long answers may go on.
        """
        with self._changed:
            self._closing = True
            self._changed.wait_for(lambda: not self._jobs, timeout=seconds)
            for job in self._jobs:
                job.cancel.set()
        self._threads.shutdown(wait=True)
        self._loader.shutdown(wait=True, cancel_futures=True)
        self._looker.shutdown(wait=True, cancel_futures=True)
        if self._chat is not None:
            self._chat.close()

    async def answer(self, job: Job) -> AsyncGenerator["Waiting | AnswerPart", None]:
        """Yield where the question stands, then the answer so far, and at last the finished answer.

        A job that is stopped before its turn ends without an answer. Parts that come faster than
        the page can draw are skipped; the last one never is. Closing the generator stops the model.

        Raises:
            BusyError: The queue is full.
            ClosingError: The server is being stopped.
            MiniGPT4Error: Whatever the chat raises.
        """
        self._enter(job)
        try:
            shown: Waiting | None = None
            while self.load_state == "loading":
                self._check_open()
                if job.cancel.is_set():
                    self._leave(job)
                    return
                if (place := self._place(job)) != shown:
                    shown = place
                    yield place
                await asyncio.sleep(WAKE_SECONDS)
            news = _News(asyncio.get_running_loop(), Waiting(0, loading=False))
            submitted = self._submit(job, news)
        except BaseException:
            job.cancel.set()  # without a thread to start, it may still stand in line for one
            self._leave(job)
            raise
        try:
            async with aclosing(self._told(submitted, news)) as parts:
                async for part in parts:
                    yield part
        finally:
            job.cancel.set()

    async def look(self, look: "Callable[[PictureChat], T]") -> T:
        """Let something be looked up in the model, beside its answers and one look at a time.

        Args:
            look: What to do with the chat; runs in a thread of its own.

        Raises:
            BusyError: As many looks wait as questions may.
            ClosingError: The server is being stopped.
            MiniGPT4Error: The model is not there, or whatever the chat raises.
        """
        self._check_open()
        chat = self._chat
        if chat is None:
            raise MiniGPT4Error("The model is not loaded yet. Please try again in a moment.")
        if self._looks > self._max_waiting:
            raise BusyError
        self._looks += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._looker, look, chat)
        except asyncio.CancelledError:
            self._check_open()
            raise
        finally:
            self._looks -= 1

    async def _told(
        self, submitted: "Future[None]", news: "_News"
    ) -> AsyncGenerator["Waiting | AnswerPart", None]:
        """Yield what a running answer tells; the last part of all is never left out."""
        submitted.add_done_callback(lambda _: news.wake())
        shown: Waiting | AnswerPart | None = None
        while True:
            done = submitted.done()
            latest = news.latest
            if done:
                submitted.result()
            if latest is not shown and not (done and isinstance(latest, Waiting)):
                shown = latest
                yield self._marked(latest)
                if not done:
                    await asyncio.sleep(UPDATE_SECONDS)
            if done:
                if isinstance(latest, Waiting):
                    self._check_open()
                return
            await news.wait()

    def _marked(self, part: "Waiting | AnswerPart") -> "Waiting | AnswerPart":
        """The part, with a word for the reader if the server's end has cut the answer short."""
        if isinstance(part, Waiting) or part.finish != "cancelled" or not self._closing:
            return part
        if not part.text:
            raise ClosingError
        return dataclasses.replace(part, notice=CUT_SHORT)

    def check_room(self) -> None:
        """Refuse a question that would be refused anyway, before work is done for it.

        Raises:
            BusyError: Too many wait.
        """
        with self._changed:
            most = self._max_waiting + 1 if self.load_state == "loading" else self._most
            if len(self._jobs) >= most:
                self.refused += 1
                raise BusyError

    def _enter(self, job: Job) -> None:
        self._check_open()
        self.start()
        with self._changed:
            self.check_room()
            self._jobs.append(job)

    def _submit(self, job: Job, news: "_News") -> "Future[None]":
        with self._changed:
            if self._closing:
                raise ClosingError
            # In this context, by which ZeroGPU knows on whose account its GPU is lent.
            return self._threads.submit(contextvars.copy_context().run, self._run, job, news)

    def _check_open(self) -> None:
        if self._closing:
            raise ClosingError

    def _place(self, job: Job) -> Waiting:
        with self._changed:
            return Waiting(self._jobs.index(job), loading=True)

    def _leave(self, job: Job) -> None:
        with self._changed:
            if job in self._jobs:
                self._jobs.remove(job)
                self._changed.notify_all()

    def _load_chat(self) -> None:
        self._chat = self._load()

    def _run(self, job: Job, news: "_News") -> None:
        try:
            if self._chat is None:
                raise MiniGPT4Error("The model could not be loaded. The server's log says why.")
            session = job.session if job.session is not None else self._chat.new_session()
            session = self._attached(self._chat, session, job)
            stream = self._chat.stream_answer(
                session,
                job.question,
                job.settings,
                job.cancel,
                job.projection,
                stop_strings=job.stop_strings,
            )
            for part in stream:
                waits = part.ahead is not None
                news.tell(Waiting(part.ahead or 0, loading=False) if waits else part)
        except CancelledError:
            return  # while its pictures waited to be looked at
        finally:
            self._leave(job)

    @staticmethod
    def _attached(chat: PictureChat, session: "Session", job: Job) -> "Session":
        """The session with earlier turns and the question's pictures, the new ones encoded."""
        pictures = [*(each for turn in job.earlier for each in turn.pictures), *job.pictures]
        new = [(each, each.image) for each in pictures if each.encoded is None]
        images = [image for _, image in new if image is not None]
        encoded = iter(chat.encode_images(images, job.cancel) if images else ())
        for picture, image in new:
            if image is not None:
                picture.encoded = next(encoded)
                picture.image = None
        for turn in job.earlier:
            session = _with_pictures(session, turn.pictures)
            asked = session.conversation.with_question(turn.question, session.pending)
            said = asked.with_answer(turn.answer)
            session = dataclasses.replace(session, conversation=said, pending=())
        return _with_pictures(session, job.pictures)


def _with_pictures(session: "Session", pictures: Sequence[Picture]) -> "Session":
    for picture in pictures:
        if picture.encoded is not None:
            session = session.attach(picture.encoded)
    return session


class _News:
    """The latest of an answer, told by its thread and awaited in the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, latest: "Waiting | AnswerPart") -> None:
        self.latest = latest
        self._loop = loop
        self._changed = asyncio.Event()

    def tell(self, latest: "Waiting | AnswerPart") -> None:
        """Replace the latest; called from the answer's thread."""
        self.latest = latest
        self.wake()

    def wake(self) -> None:
        """Wake the waiting side; called from the answer's thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._changed.set)

    async def wait(self) -> None:
        """Wait until there is news."""
        await self._changed.wait()
        self._changed.clear()
