"""What the page does, as functions of values: tab, text and files in, views out.

Nothing here knows Gradio. A handler that answers is an async generator of `View`; it never raises
because of what a user did or because the model failed: it says so in the view and gives the
question back to the composer.
"""

import asyncio
import dataclasses
import logging
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from minigpt4.config import Config, locate
from minigpt4.errors import ImageError, MiniGPT4Error, PromptError
from minigpt4.ui.contract import model_name
from minigpt4.ui.pictures import Picture
from minigpt4.ui.sessions import FORGOTTEN, ChatState, SessionStore, numbered
from minigpt4.ui.settings import Setting, choose_settings
from minigpt4.ui.transcript import file_name, transcript_html
from minigpt4.ui.views import Composer, ShownTurn, Status, View
from minigpt4.ui.worker import Job, ModelWorker, Waiting

if TYPE_CHECKING:
    from minigpt4.chat import AnswerPart

MAX_PICTURES = 4
"""Pictures that one question may bring."""

CRASHED = "Something went wrong while answering. Your question is back in the box."
STOPPED_EARLY = "Stopped before the answer began. Your question is back in the box."
SILENT = "The model ended its answer without a word. Try other words."
NOTHING_TO_SAVE = "There is nothing to save yet. Ask something first."
NOT_YET_SAVED = "The answer that is being written is not in the file yet."
SAME_AGAIN = "At temperature 0 the same question gets the same answer. Raise it for another one."

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


Plan = tuple[int | None, Draft]
"""Which turn a draft takes the place of (None: it follows the last one), and the draft."""


class PageHandlers:
    """The handlers of the page.

    Attributes:
        table: The generation settings, in the order in which their values are sent.

    Args:
        worker: Owns the model.
        store: Owns the chats.
        config: What the page says of itself and offers.
        table: The generation settings, in the order in which their values are sent.
    """

    def __init__(
        self,
        worker: ModelWorker,
        store: SessionStore,
        config: Config,
        table: Sequence[Setting],
    ) -> None:
        self._worker = worker
        self._store = store
        self._page = config.page
        self._model = model_name(config.model.preset)
        self.table = table

    async def load(self) -> AsyncIterator[View]:
        """Show how loading stands until it has ended."""
        state = self._worker.load_state
        yield View(status=self._rest_status())
        while state == "loading":
            await asyncio.sleep(0.25)
            state = self._worker.load_state
        yield View(status=self._rest_status())

    async def ask(
        self, tab: str, text: str, files: Sequence[str], values: Sequence[object]
    ) -> AsyncIterator[View]:
        """Answer what is in the composer."""
        chat = self._store.open(tab)
        question = text.strip()
        if not question and files:
            question = self._page.picture_question
        draft = Draft(text, tuple(files), question)
        if not question:
            yield View(composer=Composer(answering=False), notice="Please type a question.")
        elif len(files) > MAX_PICTURES:
            yield View(
                composer=Composer(answering=False),
                notice=f"Please attach at most {MAX_PICTURES} pictures to one question.",
            )
        else:
            async for view in self._turn(chat, lambda: (None, draft), values):
                yield view

    async def example(self, tab: str, index: int, values: Sequence[object]) -> AsyncIterator[View]:
        """Answer the question of an example card about its picture."""
        if not 0 <= index < len(self._page.examples):
            return
        chat = self._store.open(tab)
        chosen = self._page.examples[index]
        try:
            picture = await asyncio.to_thread(chat.folder.take, locate(chosen.picture))
        except ImageError as error:
            yield View(notice=str(error))
            return
        draft = Draft(chosen.question, (str(picture.path),), chosen.question)
        async for view in self._turn(chat, lambda: (None, draft), values):
            yield view

    async def retry(self, tab: str, index: int, values: Sequence[object]) -> AsyncIterator[View]:
        """Answer the question of a turn again, as if what came later had not been said."""
        chat = self._store.open(tab)
        greedy = choose_settings(self.table, values).temperature == 0

        def again() -> tuple[int, Draft]:
            number = chat.turn_at(index)
            question, files = chat.question(number)
            return number, Draft(question, files, question, SAME_AGAIN if greedy else "")

        async for view in self._turn(chat, again, values):
            yield view

    async def edit(
        self, tab: str, index: int, text: str, values: Sequence[object]
    ) -> AsyncIterator[View]:
        """Ask another question in the place of an earlier one, about the same pictures."""
        chat = self._store.open(tab)

        def changed() -> tuple[int, Draft]:
            number = chat.turn_at(index)
            if not text.strip():
                raise PromptError("Please type a question.")
            return number, Draft(text, chat.question(number)[1], text.strip())

        async for view in self._turn(chat, changed, values):
            yield view

    async def undo(self, tab: str, index: int) -> View:
        """Take back a question and its answer; the question returns to the composer."""
        chat = self._store.open(tab)
        async with _alone(chat):
            try:
                number = chat.turn_at(index)
            except PromptError as error:
                return self._rest_view(chat, notice=str(error))
            question, files = chat.question(number)
            chat.session = chat.before(number)
            return self._rest_view(chat, Composer(answering=False, text=question, files=files))

    async def new_chat(self, tab: str) -> View:
        """Begin again with nothing said."""
        chat = self._store.open(tab)
        async with _alone(chat):
            chat.clear()
            chat.forgotten = False
            return self._rest_view(chat, Composer(answering=False, text=""))

    def save(self, tab: str) -> tuple[Path | None, str]:
        """Write what was said so far into a file among the chat's pictures; it goes with them.

        Returns:
            The file, None if nothing was said, and what to tell the user.
        """
        chat = self._store.open(tab)
        turns = chat.shown(chat.session)
        if not turns:
            return None, FORGOTTEN if chat.forgotten else NOTHING_TO_SAVE
        now = datetime.now(UTC).astimezone()
        page = transcript_html(turns, self._page.title, self._model, self._page.notice, now)
        file = chat.folder.write(file_name(now), page.encode())
        return file, NOT_YET_SAVED if chat.busy.locked() else ""

    def stop(self, tab: str) -> None:
        """Stop the answer that is being written; its generator then ends by itself."""
        chat = self._store.find(tab)
        if chat is not None:
            chat.cancel.set()

    def refused(self) -> View:
        """Give the composer back after an event that Gradio itself refused."""
        return View(composer=Composer(answering=False), status=self._rest_status())

    def close(self, tab: str) -> None:
        """Let go of a tab that was closed or reloaded; called in the event loop."""
        self._store.close(tab)
        asyncio.get_running_loop().call_later(self._store.closed_seconds + 1, self._store.sweep)

    async def _turn(
        self, chat: ChatState, plan: Callable[[], Plan], values: Sequence[object]
    ) -> AsyncIterator[View]:
        """Carry out a plan, made once nothing else happens in this chat."""
        async with _alone(chat) as cancel:
            back: Composer | None = None
            try:
                number, draft = plan()
                notice = FORGOTTEN if chat.forgotten and not draft.files else draft.notice
                chat.forgotten = False
                back = Composer(answering=False, text=draft.text, files=draft.files)
                pictures = await self._read(chat, draft)
                session = chat.before(number)
                chosen = choose_settings(self.table, values)
                job = Job(
                    session,
                    draft.question,
                    pictures,
                    chosen,
                    cancel,
                )
                async with aclosing(self._run(chat, job, draft, notice)) as views:
                    async for view in views:
                        yield view
            except _PictureRefusedError as error:
                yield self._rest_view(chat, error.back, str(error))
            except MiniGPT4Error as error:
                yield self._rest_view(chat, back, str(error))
            except Exception:
                log.exception("A question could not be answered.")
                yield self._rest_view(chat, back, CRASHED)

    async def _run(
        self, chat: ChatState, job: Job, draft: Draft, notice: str
    ) -> AsyncGenerator[View, None]:
        before = chat.shown(job.session)
        numbers = numbered(job.pictures, sum(len(turn.pictures) for turn in before))
        open_turn = ShownTurn(draft.question, None, numbers)
        yield View(
            turns=(*before, open_turn),
            composer=Composer(answering=True, text=""),
            status=Status("answering", "Looking …"),
            notice=notice,
        )
        last: AnswerPart | None = None
        async with aclosing(self._worker.answer(job)) as news:
            async for part in news:
                if isinstance(part, Waiting):
                    yield View(status=_waiting_status(part))
                    continue
                last = part
                if part.session is None and part.text:
                    turn = dataclasses.replace(open_turn, answer=part.text)
                    yield View(turns=(*before, turn), status=Status("answering", "Answering …"))
        if last is None or last.session is None or not last.text.strip():
            back = Composer(answering=False, text=draft.text, files=draft.files)
            ended = last is not None and last.finish != "cancelled"
            yield self._rest_view(chat, back, SILENT if ended else STOPPED_EARLY)
            return
        for picture in job.pictures:
            if picture.encoded is not None:
                chat.seen[picture.encoded.key] = picture
        chat.session = last.session
        yield self._rest_view(
            chat,
            Composer(answering=False),
            " ".join(filter(None, (last.notice, notice))),
            _speed(last),
        )

    async def _read(self, chat: ChatState, draft: Draft) -> tuple[Picture, ...]:
        pictures: list[Picture] = []
        for path in draft.files:
            try:
                pictures.append(await asyncio.to_thread(chat.folder.read, path))
            except ImageError as error:
                others = tuple(other for other in draft.files if other != path)
                name = f"{Path(path).name}: " if others else ""
                back = Composer(answering=False, text=draft.text, files=others)
                raise _PictureRefusedError(f"{name}{error}", back) from error
        return tuple(pictures)

    def _rest_view(
        self,
        chat: ChatState,
        composer: Composer | None = None,
        notice: str = "",
        speed: str = "",
    ) -> View:
        return View(
            turns=chat.shown(chat.session),
            composer=composer if composer is not None else Composer(answering=False),
            status=self._rest_status(speed),
            notice=notice,
        )

    def _rest_status(self, speed: str = "") -> Status:
        state = self._worker.load_state
        if state == "ready":
            return Status("ready", speed or "ready", self._model)
        text = "loading …" if state == "loading" else "could not be loaded"
        return Status(state, text, self._model)


class _PictureRefusedError(MiniGPT4Error):
    """A picture of a draft cannot be used; `back` is the draft without it."""

    def __init__(self, message: str, back: Composer) -> None:
        super().__init__(message)
        self.back = back


@asynccontextmanager
async def _alone(chat: ChatState) -> AsyncIterator[threading.Event]:
    """Stop the answer that this chat is writing, wait for its end, and keep others out meanwhile.

    Yields:
        The event that stops the new answer.
    """
    chat.cancel.set()
    async with chat.busy:
        chat.cancel = threading.Event()
        try:
            yield chat.cancel
        finally:
            chat.cancel.set()


def _waiting_status(waiting: Waiting) -> Status:
    if waiting.loading:
        return Status("waiting", "Answers once the model is loaded …")
    if waiting.ahead:
        others = "1 question" if waiting.ahead == 1 else f"{waiting.ahead} questions"
        return Status("waiting", f"Waiting: {others} before yours")
    return Status("answering", "Looking …")


def _speed(part: "AnswerPart") -> str:
    if part.seconds <= 0 or part.tokens < 2:
        return ""
    return f"{part.tokens / part.seconds:.0f} tokens/s"
