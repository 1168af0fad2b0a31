"""The first step: the stage-1 model says what it sees, and goes on if that was little.

Source: section 3.2 of the paper, "Initial aligned image-text generation".
"""

import hashlib
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from minigpt4.api import LoadedChat, OpenConversation
from minigpt4.chat import AnswerPart
from minigpt4.checkpoints.configured import fetch_parts
from minigpt4.checkpoints.fingerprints import fingerprint
from minigpt4.config import Config
from minigpt4.errors import BusyError, EngineError, ImageError, PromptError
from minigpt4.models.presets import preset_named
from train.curation.errors import RowError
from train.curation.folder import now
from train.curation.ledger import Fields
from train.curation.sources import Picture, picture_bytes

ENOUGH_TOKENS = 80
"""A model that wrote no more than these is asked to go on."""
GO_ON = "Continue"
_BUSY_SECONDS = 0.2
_OPENED_PICTURES = 8
"""Pictures that are in memory at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked of the model.

    Attributes:
        prompt: The first question.
        go_on: The second one.
        enough_tokens: An answer with more tokens is not continued.
    """

    prompt: str
    go_on: str = GO_ON
    enough_tokens: int = ENOUGH_TOKENS


class Describer:
    """Describes pictures, in any number of threads."""

    def __init__(self, chat: LoadedChat, asked: Asked, stop: threading.Event) -> None:
        self._chat = chat
        self._asked = asked
        self._stop = stop
        self._opening = threading.BoundedSemaphore(_OPENED_PICTURES)

    def describe(self, picture: Picture) -> Fields:
        """What the model says of a picture.

        Returns:
            The fields "text", "tokens", "continued", "finish", "seconds" and "time".

        Raises:
            RowError: If the picture cannot be read, or the model fails on it.
        """
        if picture.problem:
            raise RowError(picture.problem)
        began = time.monotonic()
        try:
            with self._opening:
                conversation = self._chat.conversation(picture_bytes(picture.place))
            last = self._answer(conversation, self._asked.prompt)
            texts, tokens = [last.text], last.tokens
            continued = tokens <= self._asked.enough_tokens
            if continued:
                last = self._answer(conversation, self._asked.go_on)
                texts.append(last.text)
                tokens += last.tokens
        except (ImageError, PromptError, EngineError) as error:
            raise RowError(str(error)) from error
        text = " ".join(each.strip() for each in texts if each.strip())
        if not text:
            raise RowError("the model said nothing")
        return {
            "text": text,
            "tokens": tokens,
            "continued": continued,
            "finish": last.finish,
            "seconds": round(time.monotonic() - began, 3),
            "time": now(),
        }

    def _answer(self, conversation: OpenConversation, question: str) -> AnswerPart:
        while not self._stop.is_set():
            try:
                *_, last = conversation.parts(question, self._stop)
            except BusyError:  # others may use the model too
                self._stop.wait(_BUSY_SECONDS)
                continue
            if last.finish != "cancelled":
                return last
        # Never written: nobody reads rows any more once everything is stopped.
        raise RowError("stopped")


def model_record(config: Config) -> Fields:
    """Names a model by the content of its files, and what its answers depend on.

    Raises:
        MiniGPT4Error: If there is no such preset, or a file cannot be had.
    """
    preset = preset_named(config.model.preset)
    paths = fetch_parts(config, preset)
    vision = paths["model.vision"]
    reader = paths.get("model.qformer", vision)
    generation = config.generation
    return {
        "preset": preset.name,
        "prompt_format": config.model.prompt_format,
        "frozen": fingerprint(vision, reader, paths["model.language_model"]),
        "projection": _digest(paths["model.projection"]),
        "precision": config.precision,
        "quantize": config.quantize,
        "max_new_tokens": generation.max_new_tokens,
        "temperature": generation.temperature,
        "top_p": generation.top_p,
        "repetition_penalty": generation.repetition_penalty,
        "num_beams": generation.num_beams,
        "seed": generation.seed,
    }


def still_to_describe(
    pictures: Sequence[Picture], rows: dict[str, Fields]
) -> tuple[list[Picture], list[str]]:
    """Pictures that have no description yet; those that failed are tried again.

    Returns:
        These, and the names that stand for several pictures.
    """
    seen: set[str] = set()
    waiting, twice = [], []
    for picture in pictures:
        if picture.id in seen:
            twice.append(picture.id)
            continue
        seen.add(picture.id)
        if "text" not in rows.get(picture.id, {}):
            waiting.append(picture)
    return waiting, twice


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
