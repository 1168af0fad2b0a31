"""A chat about pictures: sessions as values, answers as streams."""

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from PIL import Image

from minigpt4.config import GenerationSettings
from minigpt4.conversation import (
    MAX_QUESTION_CHARACTERS,
    Conversation,
    Prompt,
    Turn,
    clean_question,
    fit,
    render,
)
from minigpt4.engines.base import Engine, FinishReason, model_failures
from minigpt4.errors import PromptError
from minigpt4.images import image_key, load_image, to_pixel_values
from minigpt4.models.minigpt4 import MiniGPT4
from minigpt4.prompt_formats import PromptFormat


@dataclass(frozen=True, slots=True, eq=False)
class EncodedImage:
    """A picture as the language model sees it.

    Attributes:
        key: Identifies the picture by its content.
        visual_tokens: `(Q, D)` on the CPU.
        size: Width and height of the picture in pixels.
    """

    key: str
    visual_tokens: torch.Tensor
    size: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Session:
    """Everything one chat consists of. Every method returns a new session.

    Attributes:
        conversation: Questions and answers so far.
        images: Every picture of the chat by its key.
        pending: Keys of pictures that were attached and wait for the next question.
    """

    conversation: Conversation = field(default_factory=Conversation)
    images: Mapping[str, EncodedImage] = field(default_factory=dict)
    pending: tuple[str, ...] = ()

    def attach(self, image: EncodedImage) -> "Session":
        """Adds a picture to the next question."""
        return replace(
            self,
            images={**self.images, image.key: image},
            pending=(*self.pending, image.key),
        )

    def rewind(self, turn: int) -> tuple["Session", Turn]:
        """Takes back a turn and all that followed it.

        Args:
            turn: Index of the first turn to take back, from 0; negative counts from the end.

        Returns:
            The session as it was before that turn's question, with the turn's pictures attached
            again, and the turn.

        Raises:
            PromptError: If there is no such turn.
        """
        turns = self.conversation.turns
        if not -len(turns) <= turn < len(turns):
            message = f"There is no turn {turn} to take back; this chat has {len(turns)}."
            raise PromptError(message)
        kept, taken = turns[:turn], turns[turn]
        wanted = {key for each in kept for key in each.images} | set(taken.images)
        images = {key: image for key, image in self.images.items() if key in wanted}
        return Session(Conversation(kept), images, taken.images), taken


@dataclass(frozen=True, slots=True)
class AnswerPart:
    """An answer on its way.

    Attributes:
        text: The whole answer so far.
        tokens: Tokens generated so far.
        seconds: Since the question was handed over.
        finish: Why the answer ended; on the last part only.
        session: The session with the finished turn; on the last part only.
        notice: Something the person should know, such as that old turns were left out.
    """

    text: str
    tokens: int
    seconds: float
    finish: FinishReason | None = None
    session: Session | None = None
    notice: str = ""


class Chat:
    """Answers questions about pictures, one call at a time on one model."""

    def __init__(
        self,
        model: MiniGPT4,
        engine: Engine,
        prompt_format: PromptFormat,
        *,
        context_tokens: int,
        max_pictures: int = 8,
        max_question_characters: int = MAX_QUESTION_CHARACTERS,
    ) -> None:
        """Joins the parts.

        Args:
            model: Encodes pictures and tokenises prompts.
            engine: Generates.
            prompt_format: The one the model was trained with.
            context_tokens: Longest sequence the model reads, answer included.
            max_pictures: Most pictures a chat may hold.
            max_question_characters: Longest question.
        """
        self._model = model
        self._engine = engine
        self._format = prompt_format
        self._context_tokens = context_tokens
        self._max_pictures = max_pictures
        self._max_question_characters = max_question_characters

    def new_session(self) -> Session:
        """A chat in which nothing was said yet."""
        return Session()

    def encode_image(self, picture: bytes | Path | Image.Image) -> EncodedImage:
        """Looks at a picture once; the result serves any number of questions.

        Args:
            picture: A file's bytes, its path, or an opened picture.

        Raises:
            ImageError: If it is no picture we read.
            EngineError: If the model fails on it.
        """
        image = load_image(picture)
        preset = self._model.preset
        values = to_pixel_values(image, preset.vision.image_size, preset.mean, preset.std)
        with model_failures():
            tokens = self._model.encode_images(values[None])[0].cpu()
        return EncodedImage(image_key(image), tokens, image.size)

    def stream_answer(
        self,
        session: Session,
        question: str,
        settings: GenerationSettings | None = None,
        cancel: threading.Event | None = None,
    ) -> Iterator[AnswerPart]:
        """Answers a question about the session's pictures.

        Args:
            session: The chat so far; it is not changed.
            question: What is asked.
            settings: How to draw the answer.
            cancel: Stops the answer within one token when set; the text so far is kept.

        Yields:
            The growing answer; the last part has `finish` and the new session.

        Raises:
            PromptError: If the question is empty or too long, or the chat has too many pictures.
            ContextOverflowError: If question and pictures do not fit even without the old turns.
            EngineError: If the model fails; the session is as it was.
        """
        settings = settings or GenerationSettings()
        cancel = cancel or threading.Event()
        asked = self._asked(session, question)
        room = self._context_tokens - settings.max_new_tokens
        shown, dropped = fit(asked, self._format, self._length, room)
        notice = _dropped_notice(dropped)
        pictures = {key: session.images[key].visual_tokens for key in shown.image_keys}
        started = time.monotonic()
        text = ""
        for step in self._engine.stream(
            render(shown, self._format), pictures, settings, self._format.stop_strings, cancel
        ):
            text += step.text if text else step.text.lstrip()
            seconds = time.monotonic() - started
            if step.finish is None:
                yield AnswerPart(text, step.tokens, seconds, notice=notice)
                continue
            answer = text.rstrip()
            if not answer and step.finish == "stop":
                notice = notice or "The model ended its answer without a word. Try other words."
            done = Session(asked.with_answer(answer), session.images)
            yield AnswerPart(answer, step.tokens, seconds, step.finish, done, notice)

    def _asked(self, session: Session, question: str) -> Conversation:
        cleaned = clean_question(question, self._max_question_characters)
        asked = session.conversation.with_question(cleaned, session.pending)
        pictures = len(asked.image_keys)
        if pictures > self._max_pictures:
            message = (
                f"This chat would hold {pictures} pictures and the limit is {self._max_pictures}. "
                "Please start a new chat."
            )
            raise PromptError(message)
        return asked

    def _length(self, prompt: Prompt) -> int:
        return len(self._model.tokenize(prompt).ids)


def _dropped_notice(dropped: int) -> str:
    if not dropped:
        return ""
    turns = "turn" if dropped == 1 else f"{dropped} turns"
    return f"This chat has grown long: the oldest {turns} no longer counted for this answer."
