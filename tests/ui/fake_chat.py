"""A chat without a model: it knows the mean colour of a picture and answers word by word.

An answer names the colours of the pictures of its own session and the question, so that a test sees
at once when two sessions mix. Sessions and answer parts are the real ones.
"""

import threading
import time
from collections.abc import Iterator

import torch
from PIL import Image

from minigpt4.chat import AnswerPart, EncodedImage, Session
from minigpt4.config import GenerationSettings
from minigpt4.conversation import clean_question
from minigpt4.errors import EngineError
from minigpt4.images import image_key

COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 170, 70),
    "blue": (40, 80, 220),
    "yellow": (240, 210, 50),
    "white": (250, 250, 250),
    "black": (10, 10, 10),
}


class FakeChat:
    """Answers with the colours of the session's pictures.

    Args:
        word_seconds: Time that one word takes.
        words: Length of the answer to a question that says "long".

    A question that says "crash" or "fail" fails after three words, with a bug or with an error that
    has a sentence for the user; one that says "silent" gets an empty answer.
    """

    def __init__(self, word_seconds: float = 0.01, words: int = 400) -> None:
        self.word_seconds = word_seconds
        self.words = words
        self.encoded = 0
        self.answering = 0
        self.threads: set[int] = set()
        self.settings: list[GenerationSettings] = []
        self.gate = threading.Event()
        self.gate.set()

    def new_session(self) -> Session:
        """Return the session of a chat in which nothing was said yet."""
        return Session()

    def encode_image(self, picture: Image.Image) -> EncodedImage:
        """Name the mean colour of a picture; its number stands in the visual tokens."""
        self.threads.add(threading.get_ident())
        self.encoded += 1
        mean = picture.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
        distance = {
            name: sum((a - b) ** 2 for a, b in zip(colour, mean, strict=True))
            for name, colour in COLOURS.items()
        }
        number = list(COLOURS).index(min(distance, key=distance.__getitem__))
        return EncodedImage(image_key(picture), torch.tensor([[number]]), picture.size)

    def stream_answer(
        self,
        session: Session,
        question: str,
        settings: GenerationSettings | None = None,
        cancel: threading.Event | None = None,
    ) -> Iterator[AnswerPart]:
        """Answer word by word."""
        settings = settings or GenerationSettings()
        cancel = cancel or threading.Event()
        self.threads.add(threading.get_ident())
        self.settings.append(settings)
        self.answering += 1
        assert self.answering == 1, "two answers at once"
        try:
            yield from self._words(session, clean_question(question), settings, cancel)
        finally:
            self.answering -= 1

    def _words(self, session, question, settings, cancel):
        begin = time.monotonic()
        asked = session.conversation.with_question(question, session.pending)
        colours = [
            list(COLOURS)[int(session.images[key].visual_tokens)] for key in asked.image_keys
        ]
        answer = f"I see {' and '.join(colours) or 'no picture'}. You asked: {question}"
        if "long" in question:
            answer += "".join(f" word{number}" for number in range(self.words))
        if "silent" in question:
            answer = ""
        text, finish, tokens = "", "stop", 0
        for word in answer.split(" "):
            self.gate.wait(10)
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
            yield AnswerPart(text, tokens, time.monotonic() - begin)
        done = Session(asked.with_answer(text), session.images)
        yield AnswerPart(text, tokens, time.monotonic() - begin, finish, done)
