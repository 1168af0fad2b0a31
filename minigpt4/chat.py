"""A chat about pictures: sessions as values, answers as streams."""

import atexit
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from PIL import Image

from minigpt4.config import GenerationSettings
from minigpt4.conversation import (
    MAX_QUESTION_CHARACTERS,
    Conversation,
    ImageSlot,
    Prompt,
    Turn,
    clean_question,
    fit,
    render,
)
from minigpt4.encoder import EncodedImage, EncoderStatistics, PictureEncoder
from minigpt4.engines.base import Engine, FinishReason
from minigpt4.engines.statistics import EngineStatistics
from minigpt4.errors import PromptError
from minigpt4.looking.look import AnswerLook, Looking, TokenLook
from minigpt4.models.minigpt4 import MiniGPT4
from minigpt4.models.projections import Projection
from minigpt4.prompt_formats import PromptFormat


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
        ahead: While the question waits for its turn, how many others come before it; None from
            the moment the model reads it.
        prompt_tokens: What the model reads for this answer: question, pictures, and the turns
            before that still count.
        context_tokens: The most it can hold, prompt and answer together.
    """

    text: str
    tokens: int
    seconds: float
    finish: FinishReason | None = None
    session: Session | None = None
    notice: str = ""
    ahead: int | None = None
    prompt_tokens: int = 0
    context_tokens: int = 0

    @property
    def context_used(self) -> int:
        """Tokens of prompt and answer so far."""
        return self.prompt_tokens + self.tokens


@dataclass(frozen=True, slots=True)
class ChatStatistics:
    """What the parts of a chat have done and are doing, at one moment."""

    engine: EngineStatistics
    encoder: EncoderStatistics


class Chat:
    """Answers questions about pictures for any number of sessions and threads at once.

    It keeps nothing of a session: whoever asks has it, and gets the new one with the answer.
    """

    def __init__(
        self,
        model: MiniGPT4,
        engine: Engine,
        prompt_format: PromptFormat,
        *,
        encoder: PictureEncoder,
        context_tokens: int,
        max_pictures: int = 8,
        max_question_characters: int = MAX_QUESTION_CHARACTERS,
        others: Sequence[Projection] = (),
    ) -> None:
        """Joins the parts.

        Args:
            model: Tokenises prompts.
            engine: Generates.
            prompt_format: The one the model was trained with.
            encoder: Looks at pictures.
            context_tokens: Longest sequence the model reads, answer included.
            max_pictures: Most pictures a chat may hold.
            max_question_characters: Longest question.
            others: Projections besides the model's own.
        """
        self._model = model
        self._engine = engine
        self._format = prompt_format
        self._encoder = encoder
        self._context_tokens = context_tokens
        self._max_pictures = max_pictures
        self._max_question_characters = max_question_characters
        self._others = {other.label: other for other in others}
        # A thread that computes while Python ends would abort the process.
        atexit.register(_close, weakref.ref(self))

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
        return self._encoder.encode([picture])[0]

    def encode_images(
        self,
        pictures: Sequence[bytes | Path | Image.Image],
        cancel: threading.Event | None = None,
    ) -> tuple[EncodedImage, ...]:
        """Looks at several pictures, together where the model can; see `encode_image`.

        Args:
            pictures: As many as there are.
            cancel: Gives it up when set.

        Raises:
            CancelledError: If `cancel` was set before all were seen (of concurrent.futures).
        """
        return self._encoder.encode(pictures, cancel)

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
        """Answers a question about the session's pictures.

        Any number of answers may be read at the same time, also of one session: a turn returns a
        new session, and which one goes on is for the caller to say.

        Args:
            session: The chat so far; it is not changed.
            question: What is asked.
            settings: How to draw the answer.
            cancel: Stops the answer within one token when set; the text so far is kept.
            projection: Label of another projection to look through; None takes the model's own.
            stop_strings: End the answer and are no part of it, besides those of the prompt format.

        Yields:
            Parts without text, with `ahead`, while the question waits; then the growing answer. The
            last part has `finish` and the new session.

        Raises:
            PromptError: If the question is empty or too long, or the chat has too many pictures.
            ContextOverflowError: If question and pictures do not fit even without the old turns.
            BusyError: If too many questions wait already.
            EngineError: If the model fails; the session is as it was.
        """
        settings = settings or GenerationSettings()
        cancel = cancel or threading.Event()
        asked = self._asked(session, question)
        room = self._context_tokens - settings.max_new_tokens
        shown, dropped = fit(asked, self._format, self._length, room)
        notice = _dropped_notice(dropped)
        prompt, pictures = self._seen(session, render(shown, self._format), projection)
        part = AnswerPart(
            "",
            0,
            0.0,
            notice=notice,
            prompt_tokens=self._length(prompt),
            context_tokens=self._context_tokens,
        )
        started = time.monotonic()
        text = ""
        for step in self._engine.stream(
            prompt, pictures, settings, (*self._format.stop_strings, *stop_strings), cancel
        ):
            text += step.text if text else step.text.lstrip()
            part = replace(
                part,
                text=text,
                tokens=step.tokens,
                seconds=time.monotonic() - started,
                ahead=step.ahead,
            )
            if step.finish is None:
                yield part
                continue
            answer = text.rstrip()
            if not answer and step.finish == "stop":
                notice = notice or "The model ended its answer without a word. Try other words."
            done = Session(asked.with_answer(answer), session.images)
            yield replace(part, text=answer, finish=step.finish, session=done, notice=notice)

    def look(
        self,
        session: Session,
        turn: int,
        pictures: Mapping[str, Image.Image],
        *,
        max_new_tokens: int | None = None,
        projection: str | None = None,
    ) -> AnswerLook:
        """Shows from which regions of the pictures each word of an answer came.

        Args:
            session: The chat.
            turn: Index of the answered turn, counted from 0.
            pictures: For every picture's key the picture, which a session does not keep.
            max_new_tokens: The length that the answer was allowed; None takes the default.
            projection: Label of the projection it was seen through; None takes the model's own.

        Raises:
            PromptError: If there is no such answer, or the model saw no picture for it.
            EngineError: If the model fails.
        """
        longest = max_new_tokens or GenerationSettings().max_new_tokens
        tokens = self._visual_tokens(session, projection)
        return self._looking().answer(session.conversation, turn, tokens, pictures, longest)

    def look_at_tokens(
        self, session: Session, key: str, picture: Image.Image, projection: str | None = None
    ) -> tuple[TokenLook, ...]:
        """Shows each visual token of a picture: where it looks, and which words it is like.

        Args:
            session: The chat.
            key: The picture's key in it.
            picture: The picture.
            projection: Label of the projection to look through; None takes the model's own.

        Raises:
            PromptError: If the session has no such picture.
            EngineError: If the model fails.
        """
        if key not in session.images:
            raise PromptError("This picture is no longer part of the chat.")
        tokens = self._visual_tokens(session, projection)[key]
        return self._looking().visual_tokens(tokens, picture)

    def statistics(self) -> ChatStatistics:
        """What engine and encoder have done and are doing."""
        return ChatStatistics(self._engine.statistics(), self._encoder.statistics())

    def close(self) -> None:
        """Ends what is being written, as `cancelled`, and frees what engine and encoder hold."""
        self._encoder.close()
        self._engine.close()

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

    def _seen(
        self, session: Session, prompt: Prompt, projection: str | None
    ) -> tuple[Prompt, dict[str, torch.Tensor]]:
        """The prompt with the visual tokens `(Q, D)` of its pictures, seen through a projection."""
        images = {key: session.images[key] for key in prompt.image_keys}
        if projection is None:
            return prompt, {key: image.visual_tokens for key, image in images.items()}
        other = self._others.get(projection)
        if other is None:
            known = ", ".join(self._others) or "only the model's own"
            raise PromptError(f"There is no projection {projection!r} here; there is {known}.")
        tokens = {
            other.picture_key(key): other.visual_tokens(_query_output(image))
            for key, image in images.items()
        }
        pieces = tuple(
            ImageSlot(other.picture_key(piece.key)) if isinstance(piece, ImageSlot) else piece
            for piece in prompt.pieces
        )
        return Prompt(pieces), tokens

    def _looking(self) -> Looking:
        return Looking(self._model, self._format, self._context_tokens)

    def _visual_tokens(self, session: Session, projection: str | None) -> dict[str, torch.Tensor]:
        """Visual tokens `(Q, D)` of every picture of a session, by the session's own keys."""
        slots = Prompt(tuple(map(ImageSlot, session.images)))
        seen, tokens = self._seen(session, slots, projection)
        return dict(zip(session.images, (tokens[key] for key in seen.image_keys), strict=True))

    def _length(self, prompt: Prompt) -> int:
        return len(self._model.tokenize(prompt).ids)


def _close(chat: "weakref.ReferenceType[Chat]") -> None:
    still = chat()
    if still is not None:
        still.close()


def _query_output(image: EncodedImage) -> torch.Tensor:
    if image.query_output is None:
        raise PromptError(
            "A picture of this chat was looked at by a chat without other projections. Please"
            " attach it again."
        )
    return image.query_output


def _dropped_notice(dropped: int) -> str:
    if not dropped:
        return ""
    turns = "turn" if dropped == 1 else f"{dropped} turns"
    return f"This chat has grown long: the oldest {turns} no longer counted for this answer."
