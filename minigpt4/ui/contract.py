"""What the page asks of the model behind it.

The page knows `PictureChat`, not `minigpt4.chat.Chat`: tests put a fake in its place, and nothing
here imports torch, so that the page can open before the weights are in.
"""

import re
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from minigpt4.config import GenerationSettings

if TYPE_CHECKING:
    from PIL import Image

    from minigpt4.chat import AnswerPart, EncodedImage, Session


class PictureChat(Protocol):
    """A chat about pictures, used from one thread only."""

    def new_session(self) -> "Session":
        """Return the session of a chat in which nothing was said yet."""
        ...

    def encode_image(self, picture: "Image.Image") -> "EncodedImage":
        """Turn a checked RGB picture into its visual tokens."""
        ...

    def stream_answer(
        self,
        session: "Session",
        question: str,
        settings: GenerationSettings | None = None,
        cancel: threading.Event | None = None,
    ) -> "Iterator[AnswerPart]":
        """Answer a question; each part holds the whole answer so far, the last the new session."""
        ...


def model_name(preset: str) -> str:
    """Write a preset's name for people: ``minigpt4_vicuna_7b`` is "MiniGPT-4 Vicuna 7B"."""
    words = preset.removeprefix("minigpt4_").split("_")
    shown = [
        word.upper() if re.fullmatch(r"\d+b", word) else word if word == "tiny" else word.title()
        for word in words
    ]
    return " ".join(["MiniGPT-4", *shown])
