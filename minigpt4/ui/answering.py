"""One question carried out: its pictures read, its answers streamed, the chat taken further.

A question may be answered through several projections at once; their answers then grow side by
side, and the chat goes on with one of them.
"""

import asyncio
import dataclasses
import logging
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from minigpt4.errors import ImageError, MiniGPT4Error
from minigpt4.ui.pictures import Picture
from minigpt4.ui.sessions import FORGOTTEN, ChatState, Side, Sides, numbered
from minigpt4.ui.settings import Choice
from minigpt4.ui.status import rest_status, waiting_status
from minigpt4.ui.views import Composer, ShownSide, ShownTurn, Status, View
from minigpt4.ui.worker import UPDATE_SECONDS, Job, ModelWorker, Waiting

if TYPE_CHECKING:
    from minigpt4.chat import AnswerPart, Session

T = TypeVar("T")

CRASHED = "Something went wrong while answering. Your question is back in the box."
STOPPED_EARLY = "Stopped before the answer began. Your question is back in the box."
SILENT = "The model ended its answer without a word. Try other words."

CALM_TURNS = 10
"""From so many turns on a page is updated less often: a browser draws all of a chat each time."""

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Draft:
    """A question on its way to the model.

    Attributes:
        text: As it goes back to the composer if it cannot be answered.
        files: Attachments, as paths on the server.
        question: As the model is asked.
        notice: What to tell the user beside the answer.
    """

    text: str
    files: tuple[str, ...]
    question: str
    notice: str = ""

    @property
    def back(self) -> Composer:
        """The composer with this draft in it again."""
        return Composer(answering=False, text=self.text, files=self.files)


Plan = tuple[int | None, Draft]
"""Which turn a draft takes the place of (None: it follows the last one), and the draft."""


class Answering:
    """Carries out plans.

    Args:
        worker: Has the model.
        model: Its name.
        labels: What people call the projections, the model's own first.
    """

    def __init__(self, worker: ModelWorker, model: str, labels: Sequence[str]) -> None:
        self._worker = worker
        self._model = model
        self.labels = tuple(labels)

    async def take_turn(
        self, chat: ChatState, plan: Callable[[], Plan], choice: Choice
    ) -> AsyncIterator[View]:
        """Carry out a plan, made once nothing else happens in this chat.

        Whatever goes wrong, the chat is as it was, and the question is back in the composer.
        """
        async with chat.alone() as cancel:
            back: Composer | None = None
            try:
                number, draft = plan()
                notice = FORGOTTEN if chat.forgotten and not draft.files else draft.notice
                chat.forgotten = False
                back = draft.back
                pictures = await self._read(chat, draft)
                session = chat.before(number)
                jobs = [
                    Job(
                        session,
                        draft.question,
                        pictures,
                        choice.settings,
                        _Linked(cancel),
                        projection=projection,
                    )
                    for projection in choice.projections(self.labels)
                ]
                async with aclosing(self._run(chat, jobs, draft, notice)) as views:
                    async for view in views:
                        yield view
            except _PictureRefusedError as error:
                yield self.rest_view(chat, error.back, str(error))
            except MiniGPT4Error as error:
                yield self.rest_view(chat, back, str(error))
            except Exception:
                log.exception("A question could not be answered.")
                yield self.rest_view(chat, back, CRASHED)

    def rest_view(
        self, chat: ChatState, composer: Composer | None = None, notice: str = ""
    ) -> View:
        """The page of a chat in which nothing is being answered."""
        return View(
            turns=chat.shown(chat.session),
            composer=composer if composer is not None else Composer(answering=False),
            status=self.rest_status(chat),
            notice=notice,
        )

    def rest_status(self, chat: ChatState | None = None, *, opened: bool = False) -> Status:
        """The pill while nothing of this chat is being answered."""
        last = chat.last if chat is not None else None
        state, statistics = self._worker.load_state, self._worker.statistics()
        return rest_status(self._model, state, last, statistics, opened=opened)

    async def _run(
        self, chat: ChatState, jobs: Sequence[Job], draft: Draft, notice: str
    ) -> AsyncGenerator[View, None]:
        before = chat.shown(jobs[0].session)
        pictures = jobs[0].pictures
        numbers = numbered(pictures, sum(len(turn.pictures) for turn in before))
        open_turn = ShownTurn(draft.question, None, numbers, finished=False)
        yield View(
            turns=(*before, open_turn),
            composer=Composer(answering=True, text=""),
            status=Status("answering", "Looking …"),
            notice=notice,
        )
        parts: list[AnswerPart | None] = [None] * len(jobs)
        pace = UPDATE_SECONDS * max(1.0, len(before) / CALM_TURNS)
        drawn = -pace
        answers = [self._worker.answer(job) for job in jobs]
        async with aclosing(_together(answers)) as news:
            async for place, part in news:
                if isinstance(part, Waiting):
                    if not any(parts):
                        yield View(status=waiting_status(part))
                    continue
                parts[place] = part
                now = time.monotonic()
                going = any(each is None or each.session is None for each in parts)
                if going and now - drawn >= pace:
                    drawn = now
                    turn = self._growing(open_turn, jobs, parts)
                    yield View(turns=(*before, turn), status=Status("answering", "Answering …"))
        sides = self._finished(jobs, parts)
        if not sides:
            cut = any(each is None or each.finish == "cancelled" for each in parts)
            yield self.rest_view(chat, draft.back, STOPPED_EARLY if cut else SILENT)
            return
        for picture in pictures:
            if picture.encoded is not None:
                chat.seen[picture.encoded.key] = picture
        told = len(jobs) > 1 or jobs[0].projection is not None
        chat.finish(sides[0].session, Sides(sides) if told else None)
        ends = [each for each in parts if each is not None]
        chat.last = dataclasses.replace(ends[0], session=None)
        notices = dict.fromkeys([*(each.notice for each in ends), notice])
        yield self.rest_view(chat, Composer(answering=False), " ".join(filter(None, notices)))

    def _growing(
        self, turn: ShownTurn, jobs: Sequence[Job], parts: Sequence["AnswerPart | None"]
    ) -> ShownTurn:
        """The turn as it stands while its answers are being written."""
        texts = ["" if part is None else part.text for part in parts]
        if len(jobs) == 1 and jobs[0].projection is None:
            return dataclasses.replace(turn, answer=texts[0] or None)
        sides = tuple(
            ShownSide(self._label(job), text, kept=False)
            for job, text in zip(jobs, texts, strict=True)
        )
        return dataclasses.replace(turn, sides=sides if any(texts) else ())

    def _finished(
        self, jobs: Sequence[Job], parts: Sequence["AnswerPart | None"]
    ) -> tuple[Side, ...]:
        """The answers that came to something."""
        sides = []
        for job, part in zip(jobs, parts, strict=True):
            session: Session | None = part.session if part is not None else None
            if part is not None and session is not None and part.text.strip():
                sides.append(Side(self._label(job), session))
        return tuple(sides)

    def _label(self, job: Job) -> str:
        return job.projection if job.projection is not None else self.labels[0]

    async def _read(self, chat: ChatState, draft: Draft) -> tuple[Picture, ...]:
        pictures: list[Picture] = []
        for path in draft.files:
            try:
                pictures.append(await asyncio.to_thread(chat.folder.read, path))
            except ImageError as error:
                others = tuple(other for other in draft.files if other != path)
                name = f"{Path(path).name}: " if others else ""
                back = dataclasses.replace(draft.back, files=others)
                raise _PictureRefusedError(f"{name}{error}", back) from error
        return tuple(pictures)


class _Linked(threading.Event):
    """An event of one answer that is also set once its chat's is; the other way it tells nothing.

    The worker sets an answer's event at its end, and the answer beside it goes on.
    """

    def __init__(self, chats: threading.Event) -> None:
        super().__init__()
        self._chats = chats

    def is_set(self) -> bool:
        """Whether this answer, or all of the chat's, shall stop."""
        return super().is_set() or self._chats.is_set()


class _PictureRefusedError(MiniGPT4Error):
    """A picture of a draft cannot be used; `back` is the draft without it."""

    def __init__(self, message: str, back: Composer) -> None:
        super().__init__(message)
        self.back = back


async def _together(streams: Sequence[AsyncGenerator[T, None]]) -> AsyncGenerator[tuple[int, T]]:
    """Yield what several streams yield, as it comes, each with its stream's place.

    When one fails, or this is closed, all are closed.
    """
    waiting = {asyncio.ensure_future(_next(each)): place for place, each in enumerate(streams)}
    try:
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                said = task.result()
                place = waiting.pop(task)
                for each in said:
                    yield place, each
                    waiting[asyncio.ensure_future(_next(streams[place]))] = place
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        for stream in streams:
            await stream.aclose()


async def _next(stream: AsyncGenerator[T, None]) -> tuple[T, ...]:
    """The next of a stream, or nothing at its end."""
    async for each in stream:
        return (each,)
    return ()
