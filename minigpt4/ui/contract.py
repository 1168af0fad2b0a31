"""What the page asks of the model behind it.

The page knows `PictureChat`, not `minigpt4.chat.Chat`: tests put a fake in its place, and nothing
here imports torch, so that the page can open before the weights are in.
"""

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from minigpt4.config import Config, GenerationSettings

if TYPE_CHECKING:
    from PIL import Image

    from minigpt4.chat import AnswerPart, ChatStatistics, Session
    from minigpt4.encoder import EncodedImage
    from minigpt4.looking.look import AnswerLook, TokenLook


class PictureChat(Protocol):
    """A chat about pictures, used by many threads at once."""

    def new_session(self) -> "Session":
        """Return the session of a chat in which nothing was said yet."""
        ...

    def encode_images(
        self, pictures: "Sequence[Image.Image]", cancel: threading.Event | None = None
    ) -> "Sequence[EncodedImage]":
        """Turn checked RGB pictures into their visual tokens.

        Raises:
            CancelledError: If `cancel` is set before that is done (of concurrent.futures).
        """
        ...

    def stream_answer(
        self,
        session: "Session",
        question: str,
        settings: GenerationSettings | None = None,
        cancel: threading.Event | None = None,
        projection: str | None = None,
        *,
        stop_strings: Sequence[str] = (),
    ) -> "Iterator[AnswerPart]":
        """Answer a question; each part holds the whole answer so far, the last the new session.

        Args:
            session: The chat so far.
            question: What is asked.
            settings: How to draw the answer.
            cancel: Stops the answer when set.
            projection: Label of another projection to look through; None is the model's own.
            stop_strings: End the answer and are no part of it, besides the model's own.
        """
        ...

    def look(
        self,
        session: "Session",
        turn: int,
        pictures: "Mapping[str, Image.Image]",
        *,
        max_new_tokens: int | None = None,
        projection: str | None = None,
    ) -> "AnswerLook":
        """Show from which regions of the pictures each word of an answer came."""
        ...

    def look_at_tokens(
        self,
        session: "Session",
        key: str,
        picture: "Image.Image",
        projection: str | None = None,
    ) -> "tuple[TokenLook, ...]":
        """Show where each visual token of a picture looks, and which words it is like."""
        ...

    def statistics(self) -> "ChatStatistics":
        """Return what the model has done and is doing."""
        ...

    def close(self) -> None:
        """End what is being written and free what is held."""
        ...


def model_name(preset: str) -> str:
    """Write a preset's name for people: ``minigpt4_vicuna_7b`` is "MiniGPT-4 Vicuna 7B"."""
    words = preset.removeprefix("minigpt4_").split("_")
    shown = [
        word.upper() if re.fullmatch(r"\d+b", word) else word if word == "tiny" else word.title()
        for word in words
    ]
    return " ".join(["MiniGPT-4", *shown])


def projection_labels(config: Config) -> tuple[str, ...]:
    """Return what people call the projections, the model's own first."""
    others = (other.label for other in config.model.other_projections)
    return (config.model.projection_label, *others)
