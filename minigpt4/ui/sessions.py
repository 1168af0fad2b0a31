"""The chats that are open on this server, one for each browser tab.

The history of a chat lives here and only here. What the browser shows is a copy: it is never read
back, so a forged history cannot reach the model. A chat goes when its tab has been closed for a
while, when it was idle for long, or when there are too many.
"""

import asyncio
import threading
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from minigpt4.errors import PromptError
from minigpt4.ui.pictures import Picture, PictureFolder
from minigpt4.ui.views import ShownPicture, ShownSide, ShownTurn, turn_of_message

if TYPE_CHECKING:
    from minigpt4.chat import AnswerPart, Session

FORGOTTEN = "This chat had been idle for long and was cleared. Please attach the picture again."


@dataclass(frozen=True, slots=True)
class Side:
    """One answer to a question, as one projection lets the model see.

    Attributes:
        label: What people call the projection.
        session: The chat as it goes on from this answer.
    """

    label: str
    session: "Session"

    @property
    def text(self) -> str:
        """The answer."""
        return self.session.conversation.turns[-1].answer or ""


@dataclass(frozen=True, slots=True)
class Sides:
    """All answers to a question, and which of them the chat goes on with."""

    answers: tuple[Side, ...]
    kept: int = 0

    def shown(self) -> tuple[ShownSide, ...]:
        """Return them as the page shows them."""
        return tuple(
            ShownSide(side.label, side.text, kept=place == self.kept)
            for place, side in enumerate(self.answers)
        )


@dataclass(slots=True)
class ChatState:
    """One chat.

    Attributes:
        folder: The pictures of this chat.
        session: What was said; None until the first answer.
        seen: Pictures by the content key that the session knows them by.
        sides: The answers by projection, for the turns that have several, or one of another
            projection than the model's own; by the turn's number.
        last: The end of the last answer, without its session.
        cancel: Set to stop the answer that is being written.
        busy: Held while an answer is being written; a second one waits until the first has stopped.
        forgotten: This tab had a chat before, which the server has let go.
    """

    folder: PictureFolder
    session: "Session | None" = None
    seen: dict[str, Picture] = field(default_factory=dict)
    sides: Mapping[int, Sides] = field(default_factory=dict)
    last: "AnswerPart | None" = None
    cancel: threading.Event = field(default_factory=threading.Event)
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)
    forgotten: bool = False
    last_used: float = 0.0
    closed_at: float | None = None

    def shown(self, session: "Session | None") -> tuple[ShownTurn, ...]:
        """Return the turns of a session as the page shows them."""
        shown: list[ShownTurn] = []
        count = 0
        turns = session.conversation.turns if session is not None else ()
        for number, turn in enumerate(turns):
            pictures = [self.seen[key] for key in turn.images if key in self.seen]
            sides = self.sides[number].shown() if number in self.sides else ()
            shown.append(ShownTurn(turn.question, turn.answer, numbered(pictures, count), sides))
            count += len(pictures)
        return tuple(shown)

    def turn_at(self, message: int) -> int:
        """Find the turn that a message belongs to, by the message's flat index on the page.

        Raises:
            PromptError: There is no such turn; the server has let go of the chat that is shown.
        """
        turn = turn_of_message(self.shown(self.session), message)
        if turn is None:
            raise PromptError(FORGOTTEN)
        return turn

    def question(self, turn: int) -> tuple[str, tuple[str, ...]]:
        """Return the text of a turn and the paths of its pictures."""
        if self.session is None:
            return "", ()
        asked = self.session.conversation.turns[turn]
        return asked.question, tuple(str(self.seen[key].keep_file()) for key in asked.images)

    def pictures_until(self, turn: int) -> tuple[tuple[str, Picture], ...]:
        """Return every picture up to a turn with its content key."""
        turns = self.session.conversation.turns[: turn + 1] if self.session is not None else ()
        keys = [key for each in turns for key in each.images]
        return tuple((key, self.seen[key]) for key in keys if key in self.seen)

    def before(self, turn: int | None) -> "Session | None":
        """Return the session as it was before a turn; all of it for None.

        The pictures of that turn are not left waiting in it: they come back with the question.
        """
        if self.session is None or turn is None:
            return self.session
        return replace(self.session.rewind(turn)[0], pending=())

    def finish(self, session: "Session", sides: Sides | None) -> None:
        """Take over a finished turn, the last one of its session.

        Args:
            session: The chat with that turn.
            sides: Its answers by projection, where they are to be told apart.
        """
        number = len(session.conversation.turns) - 1
        before = {place: each for place, each in self.sides.items() if place < number}
        self.session = session
        self.sides = before if sides is None else {**before, number: sides}

    def undo(self, turn: int) -> None:
        """Take back a turn and all that followed it."""
        self.session = self.before(turn)
        self.sides = {place: each for place, each in self.sides.items() if place < turn}
        self.last = None

    def keep_side(self, turn: int, label: str) -> bool:
        """Go on with another of the last turn's answers.

        Returns:
            Whether there was such a choice.
        """
        sides = self.sides.get(turn)
        labels = [each.label for each in sides.answers] if sides is not None else []
        last = self.session is not None and turn == len(self.session.conversation.turns) - 1
        if sides is None or label not in labels or not last:
            return False
        place = labels.index(label)
        self.session = sides.answers[place].session
        self.sides = {**self.sides, turn: replace(sides, kept=place)}
        return True

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[threading.Event]:
        """Stop the answer that is being written, wait for its end, and keep others out meanwhile.

        Yields:
            The event that stops the new answer.
        """
        self.cancel.set()
        async with self.busy:
            self.cancel = threading.Event()
            try:
                yield self.cancel
            finally:
                self.cancel.set()

    def clear(self) -> None:
        """Begin a new chat."""
        self.session = None
        self.sides = {}
        self.last = None
        self.seen.clear()
        self.folder.clear()


def numbered(pictures: Sequence[Picture], before: int) -> tuple[ShownPicture, ...]:
    """Number pictures as the page shows them, after so many earlier ones of the chat."""
    return tuple(
        ShownPicture(picture.keep_file(), before + place + 1)
        for place, picture in enumerate(pictures)
    )


class SessionStore:
    """All open chats by the session hash of their tab.

    Args:
        root: Folder for the copies of pictures; Gradio must serve it.
        capacity: Chats kept at most; the one idle longest goes first.
        idle_seconds: A chat unused for so long goes.
        closed_seconds: So long a chat outlives its tab. Phones cut the connection of a tab in the
            background, and the chat should still be there when its user returns.
        clock: Seconds that only grow; tests turn it by hand.
    """

    def __init__(
        self,
        root: Path,
        capacity: int = 500,
        idle_seconds: float = 3 * 3600,
        closed_seconds: float = 300,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._root = root
        self._capacity = capacity
        self._idle_seconds = idle_seconds
        self._closed_seconds = closed_seconds
        self._clock = clock
        self._chats: OrderedDict[str, ChatState] = OrderedDict()
        self._let_go: deque[str] = deque(maxlen=4 * capacity)
        self._lock = threading.Lock()

    def open(self, tab: str) -> ChatState:
        """Return the chat of a tab, a new one at its first call."""
        with self._lock:
            self._sweep()
            chat = self._chats.get(tab)
            if chat is None:
                chat = ChatState(PictureFolder(self._root), forgotten=tab in self._let_go)
                self._chats[tab] = chat
            chat.last_used = self._clock()
            chat.closed_at = None
            self._chats.move_to_end(tab)
            while len(self._chats) > self._capacity:
                self._drop(next(iter(self._chats)))
            return chat

    def find(self, tab: str) -> ChatState | None:
        """Return the chat of a tab if it has one, without opening it."""
        with self._lock:
            return self._chats.get(tab)

    def close(self, tab: str) -> None:
        """Stop the chat of a tab that has gone, and let go of it soon."""
        with self._lock:
            chat = self._chats.get(tab)
            if chat is not None:
                chat.cancel.set()
                chat.closed_at = self._clock()
            self._sweep()

    def sweep(self) -> None:
        """Let go of every chat whose time has come."""
        with self._lock:
            self._sweep()

    @property
    def closed_seconds(self) -> float:
        """Seconds that a chat outlives its tab."""
        return self._closed_seconds

    def __len__(self) -> int:
        return len(self._chats)

    def _sweep(self) -> None:
        now = self._clock()
        for tab, chat in list(self._chats.items()):
            idle = now - chat.last_used >= self._idle_seconds
            closed = chat.closed_at is not None and now - chat.closed_at >= self._closed_seconds
            if (idle and not chat.busy.locked()) or closed:
                self._drop(tab)

    def _drop(self, tab: str) -> None:
        chat = self._chats.pop(tab)
        chat.cancel.set()
        if chat.session is not None:
            self._let_go.append(tab)
        chat.clear()
