"""What the panel "Where it looks" is sent: plain values that its script draws.

Nothing here knows Gradio or the model. Like the page's other handlers, these see the chat of their
own tab only, and say in a sentence what went wrong.
"""

import base64
import io
import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from PIL import Image

from minigpt4.config import Config
from minigpt4.errors import MiniGPT4Error, PromptError
from minigpt4.images import limit_side
from minigpt4.looking.words import split_words
from minigpt4.ui.contract import PictureChat, projection_labels
from minigpt4.ui.pictures import Picture
from minigpt4.ui.sessions import FORGOTTEN, ChatState, SessionStore
from minigpt4.ui.worker import ModelWorker

if TYPE_CHECKING:
    import torch

    from minigpt4.chat import Session
    from minigpt4.looking.look import WordMap

NOTHING_YET = "There is nothing to look at yet. Ask about a picture first."
CRASHED = "Something went wrong while looking. The server's log says what."
SHOWN_SIDE = 640
"""Longest side of a picture in the panel, in pixels; it is sent along with its maps."""

Told = dict[str, Any]
"""What the panel's script is told: its "kind", and what belongs to that."""

T = TypeVar("T")

log = logging.getLogger(__name__)


class Looks:
    """The handlers of the panel.

    Args:
        worker: Has the model.
        store: Owns the chats.
        config: Says how long answers may be, and what the projections are called.
    """

    def __init__(self, worker: ModelWorker, store: SessionStore, config: Config) -> None:
        self._worker = worker
        self._store = store
        self._longest = config.generation.max_new_tokens
        self._labels = projection_labels(config)
        self._number = itertools.count(1)

    def answers(self, tab: str) -> Told:
        """Tell the panel what there is to look at: every answer, and where its words stand.

        The model is not asked for this.
        """
        chat = self._store.find(tab)
        session = chat.session if chat is not None else None
        turns = session.conversation.turns if session is not None else ()
        answers = [
            {
                "question": turn.question,
                "text": turn.answer or "",
                "words": _spans(turn.answer or ""),
            }
            for turn in turns
        ]
        return self._told("answers", answers=answers, pictures=list(_numbers(chat).values()))

    async def look(self, tab: str, turn: object) -> Told:
        """Tell the panel where the words of an answer came from."""

        async def look() -> Told:
            chat, session = self._open(tab)
            number = turn if isinstance(turn, int) and not isinstance(turn, bool) else -1
            if not 0 <= number < len(session.conversation.turns):
                raise PromptError("This answer is no longer part of the chat.")
            numbers, shown = _numbers(chat), _shown(chat)
            label, most = self._projection(chat, number), self._longest
            text = session.conversation.turns[number].answer or ""

            def ask(model: PictureChat) -> Told:
                pictures = {key: _opened(picture) for key, picture in shown.items()}
                found = model.look(session, number, pictures, max_new_tokens=most, projection=label)
                return {
                    "dropped": found.dropped,
                    "centre": found.first_centre,
                    "pictures": [
                        {"number": numbers[key], **_picture(pictures[key])}
                        for key in found.pictures
                    ],
                    "words": {
                        str(_units(text, each.word.start)): _word(each, found.pictures)
                        for each in found.words
                    },
                }

            return self._told("look", turn=number, text=text, **await self._worker.look(ask))

        return await self._in_words(look)

    async def tokens(self, tab: str, number: object) -> Told:
        """Tell the panel what the visual tokens of a picture look at, and what they are like."""

        async def look() -> Told:
            chat, session = self._open(tab)
            key = next((key for key, place in _numbers(chat).items() if place == number), None)
            if key is None:
                raise PromptError("This picture is no longer part of the chat.")
            picture = _shown(chat)[key]
            label = self._projection(chat, len(session.conversation.turns) - 1)

            def ask(model: PictureChat) -> Told:
                image = _opened(picture)
                found = model.look_at_tokens(session, key, image, label)
                tokens = [
                    {
                        "map": _levels([each.map], [1.0])[0],
                        "words": [[near.text, near.cosine] for near in each.words],
                    }
                    for each in found
                ]
                return {
                    "picture": _picture(image),
                    "centre": found[0].first_centre,
                    "tokens": tokens,
                }

            return self._told("tokens", number=number, **await self._worker.look(ask))

        return await self._in_words(look)

    def _told(self, kind: str, **what: object) -> Told:
        # Numbered, because Gradio passes on nothing that is equal to what it passed on before.
        return {"kind": kind, "stamp": next(self._number), **what}

    def _open(self, tab: str) -> "tuple[ChatState, Session]":
        chat = self._store.find(tab)
        if chat is None or chat.session is None:
            raise PromptError(FORGOTTEN if chat is None or chat.forgotten else NOTHING_YET)
        return chat, chat.session

    def _projection(self, chat: ChatState, turn: int) -> str | None:
        """The label of the projection that a turn was answered through; None for the model's."""
        sides = chat.sides.get(turn)
        label = sides.answers[sides.kept].label if sides is not None else self._labels[0]
        return None if label == self._labels[0] else label

    async def _in_words(self, look: "Callable[[], Any]") -> Told:
        try:
            told: Told = await look()
        except MiniGPT4Error as error:
            return self._told("notice", text=str(error))
        except Exception:
            log.exception("A look failed.")
            return self._told("notice", text=CRASHED)
        return told


def _shown(chat: ChatState | None) -> dict[str, Picture]:
    """The pictures of a chat by their key."""
    return {key: chat.seen[key] for key in _numbers(chat)} if chat is not None else {}


def _numbers(chat: ChatState | None) -> dict[str, int]:
    """The numbers of pictures on the page by their key; the first one, if one came twice."""
    session = chat.session if chat is not None else None
    if chat is None or session is None:
        return {}
    shown = [key for key in session.conversation.image_keys if key in chat.seen]
    return {key: shown.index(key) + 1 for key in shown}


def _spans(answer: str) -> list[list[int]]:
    """Where the words of an answer begin and end."""
    return [[_units(answer, word.start), _units(answer, word.end)] for word in split_words(answer)]


def _units(text: str, end: int) -> int:
    """The first characters of a text in the units that a browser counts."""
    return len(text[:end].encode("utf-16-le", "surrogatepass")) // 2


def _opened(picture: Picture) -> Image.Image:
    """Our copy of a picture, decoded."""
    if not picture.copy:
        raise PromptError(FORGOTTEN)
    with Image.open(io.BytesIO(picture.copy), formats=["WEBP"]) as image:
        return image.convert("RGB")


def _picture(image: Image.Image) -> dict[str, object]:
    small = limit_side(image, SHOWN_SIDE)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=82, method=2)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    width, height = small.size
    return {"src": f"data:image/webp;base64,{data}", "width": width, "height": height}


def _word(word: "WordMap", pictures: Sequence[str]) -> dict[str, object]:
    maps: Mapping[str, torch.Tensor] = word.maps
    shares = [word.shares[key] for key in pictures]
    return {
        "shares": [round(share, 4) for share in shares],
        "maps": _levels([maps[key] for key in pictures], shares),
    }


def _levels(maps: "Sequence[torch.Tensor]", shares: Sequence[float]) -> list[str]:
    """Maps `(G, G)` as one byte a patch, 255 where the most came from in all of them."""
    weighed = [heat * share for heat, share in zip(maps, shares, strict=True)]
    most = max(float(heat.max()) for heat in weighed)
    return [
        base64.b64encode(bytes((heat / most * 255).round().int().flatten().tolist())).decode()
        for heat in weighed
    ]
