"""What the page does, as functions of values: tab, text and files in, views out.

Nothing here knows Gradio. A handler that answers is an async generator of `View`; it never raises
because of what a user did or because the model failed: it says so in the view and gives the
question back to the composer.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from minigpt4.config import Config, locate
from minigpt4.errors import ImageError, PromptError
from minigpt4.ui.answering import Answering, Draft
from minigpt4.ui.contract import model_name, projection_labels
from minigpt4.ui.feedback import FeedbackFile
from minigpt4.ui.markdown import transcript_zip
from minigpt4.ui.sessions import FORGOTTEN, SessionStore
from minigpt4.ui.settings import Setting, choose
from minigpt4.ui.transcript import file_name, transcript_html
from minigpt4.ui.views import Composer, View
from minigpt4.ui.worker import ModelWorker

MAX_PICTURES = 4
"""Pictures that one question may bring."""

NOTHING_TO_SAVE = "There is nothing to save yet. Ask something first."
NOT_YET_SAVED = "The answer that is being written is not in the file yet."
SAME_AGAIN = "At temperature 0 the same question gets the same answer. Raise it for another one."
NO_SUCH_ANSWER = "Only the last question's answers can be chosen from."
NOT_WRITTEN = "Your opinion could not be written down."

SavedAs = Literal["html", "markdown"]

log = logging.getLogger(__name__)


class PageHandlers:
    """The handlers of the page.

    Attributes:
        table: The generation settings, in the order in which their values are sent.

    Args:
        worker: Has the model.
        store: Owns the chats.
        config: What the page says of itself and offers.
        table: The generation settings, in the order in which their values are sent.

    Raises:
        ConfigError: The configured file for opinions cannot be written.
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
        self._answering = Answering(worker, self._model, projection_labels(config))
        self._feedback = (
            FeedbackFile(
                locate(config.page.feedback_file),
                self._model,
                pictures=config.page.feedback_pictures,
            )
            if config.page.feedback_file
            else None
        )
        self.table = table

    async def load(self) -> AsyncIterator[View]:
        """Show how loading stands until it has ended."""
        state = self._worker.load_state
        yield View(status=self._answering.rest_status())
        while state == "loading":
            await asyncio.sleep(0.25)
            state = self._worker.load_state
        yield View(status=self._answering.rest_status())

    async def ask(
        self, tab: str, text: str, files: Sequence[str], values: Sequence[object]
    ) -> AsyncIterator[View]:
        """Answer what is in the composer.

        Args:
            tab: Whose chat.
            text: The question as typed.
            files: Attachments, as paths on the server.
            values: Those of the settings, then the projection.
        """
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
            choice = choose(self.table, values)
            async for view in self._answering.take_turn(chat, lambda: (None, draft), choice):
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
        choice = choose(self.table, values)
        async for view in self._answering.take_turn(chat, lambda: (None, draft), choice):
            yield view

    async def retry(self, tab: str, index: int, values: Sequence[object]) -> AsyncIterator[View]:
        """Answer the question of a turn again, as if what came later had not been said."""
        chat = self._store.open(tab)
        choice = choose(self.table, values)

        def again() -> tuple[int, Draft]:
            number = chat.turn_at(index)
            question, files = chat.question(number)
            own, *others = self._answering.labels
            chosen = [label or own for label in choice.projections((own, *others))]
            sides = chat.sides.get(number)
            before = [side.label for side in sides.answers] if sides is not None else [own]
            same = choice.settings.temperature == 0 and chosen == before
            return number, Draft(question, files, question, SAME_AGAIN if same else "")

        async for view in self._answering.take_turn(chat, again, choice):
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

        async for view in self._answering.take_turn(chat, changed, choose(self.table, values)):
            yield view

    async def undo(self, tab: str, index: int) -> View:
        """Take back a question and its answer; the question returns to the composer."""
        chat = self._store.open(tab)
        async with chat.alone():
            try:
                number = chat.turn_at(index)
            except PromptError as error:
                return self._answering.rest_view(chat, notice=str(error))
            question, files = chat.question(number)
            chat.undo(number)
            back = Composer(answering=False, text=question, files=files)
            return self._answering.rest_view(chat, back)

    async def keep(self, tab: str, index: int, label: str) -> View:
        """Go on with another of the last turn's answers."""
        chat = self._store.open(tab)
        async with chat.alone():
            try:
                kept = chat.keep_side(chat.turn_at(index), label)
            except PromptError as error:
                return self._answering.rest_view(chat, notice=str(error))
            return self._answering.rest_view(chat, notice="" if kept else NO_SUCH_ANSWER)

    async def new_chat(self, tab: str) -> View:
        """Begin again with nothing said."""
        chat = self._store.open(tab)
        async with chat.alone():
            chat.clear()
            chat.forgotten = False
            return self._answering.rest_view(chat, Composer(answering=False, text=""))

    def save(self, tab: str, kind: SavedAs = "html") -> tuple[Path | None, str]:
        """Write what was said so far into a file among the chat's pictures; it goes with them.

        Returns:
            The file, None if nothing was said, and what to tell the user.
        """
        chat = self._store.open(tab)
        turns = chat.shown(chat.session)
        if not turns:
            return None, FORGOTTEN if chat.forgotten else NOTHING_TO_SAVE
        now = datetime.now(UTC).astimezone()
        about = (self._page.title, self._model, self._page.notice, now)
        content = (
            transcript_html(turns, *about).encode()
            if kind == "html"
            else transcript_zip(turns, *about)
        )
        file = chat.folder.write(file_name(now, "html" if kind == "html" else "zip"), content)
        return file, NOT_YET_SAVED if chat.busy.locked() else ""

    async def rate(self, tab: str, index: int, liked: object) -> str:
        """Write down what somebody thinks of an answer.

        Args:
            tab: Whose chat.
            index: The message's flat index on the page.
            liked: True, False, or anything else for an opinion that is taken back.

        Returns:
            What to tell the user; nothing if all is well.
        """
        chat = self._store.find(tab)
        if self._feedback is None or chat is None:
            return ""
        named = {True: "like", False: "dislike"}
        opinion = named[liked] if isinstance(liked, bool) else "withdrawn"
        try:
            number = chat.turn_at(index)
        except PromptError as error:
            return str(error)
        turn = chat.shown(chat.session)[number]
        pictures = chat.pictures_until(number)
        try:
            await asyncio.to_thread(self._feedback.write, turn, number + 1, pictures, opinion)
        except OSError:
            log.exception("An opinion could not be written.")
            return NOT_WRITTEN
        return ""

    def stop(self, tab: str) -> None:
        """Stop the answer that is being written; its generator then ends by itself."""
        chat = self._store.find(tab)
        if chat is not None:
            chat.cancel.set()

    def look(self, tab: str) -> View:
        """Open the pill, with figures of this moment; nothing while an answer is being written."""
        chat = self._store.find(tab)
        if chat is not None and chat.busy.locked():
            return View()
        return View(status=self._answering.rest_status(chat, opened=True))

    def refused(self) -> View:
        """Give the composer back after an event that Gradio itself refused."""
        return View(composer=Composer(answering=False), status=self._answering.rest_status())

    def close(self, tab: str) -> None:
        """Let go of a tab that was closed or reloaded; called in the event loop."""
        self._store.close(tab)
        asyncio.get_running_loop().call_later(self._store.closed_seconds + 1, self._store.sweep)
