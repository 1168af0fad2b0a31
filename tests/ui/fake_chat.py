"""A chat without a model: it knows the mean colour of a picture and answers word by word.

An answer names the colours of the pictures of its own session and the question, so that a test sees
at once when two sessions mix. Sessions and answer parts are the real ones. It answers several
questions at once and has a queue, as the engines do.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError

import torch
from PIL import Image

from minigpt4.chat import AnswerPart, ChatStatistics, Session
from minigpt4.config import GenerationSettings
from minigpt4.conversation import clean_question
from minigpt4.encoder import EncodedImage, EncoderStatistics
from minigpt4.engines.statistics import EngineStatistics
from minigpt4.errors import BusyError, EngineError
from minigpt4.images import image_key

COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 170, 70),
    "blue": (40, 80, 220),
    "yellow": (240, 210, 50),
    "white": (250, 250, 250),
    "black": (10, 10, 10),
}

CONTEXT_TOKENS = 1000


class FakeChat:
    """Answers with the colours of the session's pictures.

    Args:
        word_seconds: Time that one word takes.
        words: Length of the answer to a question that says "long".
        at_once: Answers written at a time.
        waiting: Questions that may wait behind them.

    Attributes:
        ends: How each answer ended: by a finish reason, or "left" if nobody read it to its end.

    A question that says "crash" or "fail" fails after three words, with a bug or with an error that
    has a sentence for the user; one that says "silent" gets an empty answer.
    """

    def __init__(
        self, word_seconds: float = 0.01, words: int = 400, at_once: int = 16, waiting: int = 16
    ) -> None:
        self.word_seconds = word_seconds
        self.words = words
        self.at_once = at_once
        self.waiting = waiting
        self.encoded = 0
        self.answering = 0
        self.most_answering = 0
        self.closed = False
        self.threads: set[int] = set()
        self.settings: list[GenerationSettings] = []
        self.answers: list[str] = []
        self.ends: list[str] = []
        self.gate = threading.Event()
        self.gate.set()
        self.eyes = threading.Event()
        """While it is not set, no picture is seen."""
        self.eyes.set()
        self._line: list[object] = []
        self._moved = threading.Condition()

    def new_session(self) -> Session:
        """Return the session of a chat in which nothing was said yet."""
        return Session()

    def encode_images(
        self, pictures: Sequence[Image.Image], cancel: threading.Event | None = None
    ) -> tuple[EncodedImage, ...]:
        """Name the mean colour of each picture."""
        while not self.eyes.wait(0.01):
            if cancel is not None and cancel.is_set():
                raise CancelledError
        return tuple(self._encoded(picture) for picture in pictures)

    def stream_answer(
        self,
        session: Session,
        question: str,
        settings: GenerationSettings | None = None,
        cancel: threading.Event | None = None,
        projection: str | None = None,
        *,
        stop_strings: Sequence[str] = (),
    ) -> Iterator[AnswerPart]:
        """Answer word by word; another projection sees everything through fog."""
        settings = settings or GenerationSettings()
        cancel = cancel or threading.Event()
        cleaned = clean_question(question)
        ticket = object()
        with self._moved:
            if len(self._line) >= self.at_once + self.waiting:
                raise BusyError
            self._line.append(ticket)
        try:
            yield from self._wait(ticket, cancel)
            with self._moved:
                self.threads.add(threading.get_ident())
                self.settings.append(settings)
                begun = self._line.index(ticket) < self.at_once  # or cancelled before
                self.answering += begun
                self.most_answering = max(self.most_answering, self.answering)
                assert self.answering <= self.at_once
            end = "left"
            try:
                for part in self._words(
                    session, cleaned, settings, cancel, projection, stop_strings
                ):
                    end = part.finish or end
                    yield part
            finally:
                with self._moved:
                    self.ends.append(end)
                    self.answering -= begun
        finally:
            with self._moved:
                self._line.remove(ticket)
                self._moved.notify_all()

    def statistics(self) -> ChatStatistics:
        """Count only what a test may look at."""
        engine = EngineStatistics(
            running=self.answering, waiting=max(0, len(self._line) - self.at_once)
        )
        return ChatStatistics(engine, EncoderStatistics(encoded=self.encoded))

    def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True

    def _encoded(self, picture: Image.Image) -> EncodedImage:
        """Name the mean colour of a picture; its number stands in the visual tokens."""
        mean = picture.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
        distance = {
            name: sum((a - b) ** 2 for a, b in zip(colour, mean, strict=True))
            for name, colour in COLOURS.items()
        }
        number = list(COLOURS).index(min(distance, key=distance.__getitem__))
        with self._moved:
            self.threads.add(threading.get_ident())
            self.encoded += 1
        return EncodedImage(image_key(picture), torch.tensor([[number]]), picture.size)

    def _wait(self, ticket: object, cancel: threading.Event) -> Iterator[AnswerPart]:
        told = 0
        while not cancel.is_set():
            with self._moved:
                ahead = self._line.index(ticket) - self.at_once + 1
                if ahead <= 0:
                    return
                if ahead == told:
                    self._moved.wait(0.02)
                    continue
            told = ahead
            yield AnswerPart("", 0, 0.0, ahead=ahead)

    def _said(self, seen, question):
        if "silent" in question:
            return ""
        answer = f"{seen}. You asked: {question}"
        if "long" in question:
            answer += "".join(f" word{number}" for number in range(self.words))
        return answer

    def _words(self, session, question, settings, cancel, projection, stop_strings):
        begin = time.monotonic()
        asked = session.conversation.with_question(question, session.pending)
        colours = [
            list(COLOURS)[int(session.images[key].visual_tokens)] for key in asked.image_keys
        ]
        seen = f"I see {' and '.join(colours) or 'no picture'}"
        if projection is not None:
            seen = f"Through {projection} I see fog"
        answer = self._said(seen, question)
        for stop in stop_strings:
            answer = answer.partition(stop)[0].rstrip()
        text, finish, tokens = "", "stop", 0
        said = sum(len(f"{turn.question} {turn.answer}".split()) for turn in asked.turns)
        context = {"prompt_tokens": said, "context_tokens": CONTEXT_TOKENS}
        for word in answer.split(" "):
            while not self.gate.wait(0.01) and not cancel.is_set():
                pass
            if cancel.is_set():
                finish = "cancelled"
                break
            if tokens >= settings.max_new_tokens:
                finish = "length"
                break
            if tokens == 3 and "crash" in question:
                raise RuntimeError("secret: /srv/weights/model.bin")
            if tokens == 3 and "fail" in question:
                raise EngineError("The model ran out of memory. Please ask again.")
            time.sleep(self.word_seconds)
            text = f"{text} {word}".strip()
            tokens += 1
            yield AnswerPart(text, tokens, time.monotonic() - begin, **context)
        self.answers.append(text)
        done = Session(asked.with_answer(text), session.images)
        yield AnswerPart(text, tokens, time.monotonic() - begin, finish, done, **context)
