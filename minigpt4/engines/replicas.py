"""Which of several servers answers next: the least busy one that works, in the order of asking."""

import logging
import threading
import time
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from minigpt4.errors import BusyError, EngineError

logger = logging.getLogger(__name__)

PATIENCE = 3.0
"""Seconds without a working server before questions are turned away."""


@dataclass(slots=True, eq=False)
class Replica:
    """One server.

    Attributes:
        url: Its address.
        running: Answers it is writing for us.
        trouble: Why it is not asked; empty while it works.
        model: What it calls its model.
    """

    url: str
    running: int = 0
    trouble: str = "it was not asked yet"
    model: str = ""


@dataclass(slots=True, eq=False)
class Place:
    """One question's place: in the queue as long as it has no server.

    Attributes:
        replica: The server it was given to.
    """

    replica: Replica | None = None


class Replicas:
    """Gives questions to servers; every method may be called from any thread.

    All servers together are given so many questions at a time; more wait here, in order. When no
    server works, questions wait for a moment, since a connection that broke says little; after it
    they are turned away.
    """

    def __init__(
        self, urls: Sequence[str], *, places: int, queue_size: int, patience: float = PATIENCE
    ) -> None:
        """Starts with servers that are not known to work.

        Args:
            urls: Their addresses.
            places: Questions that have a server at a time.
            queue_size: Questions that may wait.
            patience: Seconds without a working server before questions are turned away.
        """
        self.all = tuple(Replica(url) for url in urls)
        self._places = places
        self._queue_size = queue_size
        self._patience = patience
        self._none_since: float | None = None
        self._changed = threading.Condition()
        self._waiting: deque[Place] = deque()

    @contextmanager
    def place(self) -> Iterator[Place]:
        """A place for one question, given back at the end.

        Raises:
            BusyError: If too many wait already.
        """
        place = Place()
        with self._changed:
            self._waiting.append(place)
            self._give()
            if place.replica is None and len(self._waiting) > self._queue_size:
                self._waiting.remove(place)
                raise BusyError
        try:
            yield place
        finally:
            with self._changed:
                if place.replica is not None:
                    place.replica.running -= 1
                    place.replica = None  # so that nobody moves it any more
                elif place in self._waiting:
                    self._waiting.remove(place)
                self._give()

    def ahead(self, place: Place, seconds: float) -> int | None:
        """How many questions come before this one; None if it has a server.

        Args:
            place: The question's.
            seconds: Waits at most so long for a change, if it has no server.

        Raises:
            EngineError: If no server has worked for a while.
        """
        with self._changed:
            if place.replica is None and seconds:
                self._changed.wait(seconds)
            if place.replica is not None:
                return None
            if (
                self._none_since is not None
                and time.monotonic() - self._none_since > self._patience
            ):
                raise none_works()
            return self._waiting.index(place)

    def move(self, place: Place, tried: Collection[Replica]) -> bool:
        """Gives a question to another server than those that failed on it.

        Returns:
            Whether there is another one.
        """
        with self._changed:
            others = [
                replica
                for replica in self.all
                if not replica.trouble and replica not in tried and replica is not place.replica
            ]
            if place.replica is None or not others:
                return False
            place.replica.running -= 1
            place.replica = min(others, key=lambda replica: replica.running)
            place.replica.running += 1
            self._give()
            return True

    def works(self, replica: Replica, model: str) -> None:
        """A server answered as it should.

        Args:
            replica: The server.
            model: What it calls its model.
        """
        with self._changed:
            if replica.trouble:
                logger.info("Model server %s works", replica.url)
            replica.trouble, replica.model = "", model
            self._none_since = None
            self._give()

    def fails(self, replica: Replica, trouble: str) -> None:
        """A server is not asked until it works again.

        Args:
            replica: The server.
            trouble: Why, for the log and for whoever runs the page.
        """
        with self._changed:
            if replica.trouble != trouble:
                logger.warning("Model server %s is not asked: %s", replica.url, trouble)
            replica.trouble = trouble
            if self._none_since is None and all(each.trouble for each in self.all):
                self._none_since = time.monotonic()
            self._changed.notify_all()

    def counts(self) -> tuple[int, int]:
        """Questions that have a server, and those that wait for one."""
        with self._changed:
            return sum(replica.running for replica in self.all), len(self._waiting)

    def words(self) -> tuple[str, ...]:
        """How each server is, for whoever runs the page."""
        with self._changed:
            return tuple(
                f"{replica.url}: {replica.trouble}"
                if replica.trouble
                else f"{replica.url}: works; answers it is writing: {replica.running}"
                for replica in self.all
            )

    def _give(self) -> None:
        """Hands waiting questions to servers; called with the lock held."""
        working = [replica for replica in self.all if not replica.trouble]
        free = self._places - sum(replica.running for replica in self.all)
        while working and free > 0 and self._waiting:
            free -= 1
            place = self._waiting.popleft()
            place.replica = min(working, key=lambda replica: replica.running)
            place.replica.running += 1
        self._changed.notify_all()


def none_works() -> EngineError:
    """What a person is told when no server works."""
    return EngineError("No model server answers right now. Please try again in a minute.")
