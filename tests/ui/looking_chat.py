"""A fake chat that can be looked into: what it shows depends on the picture's own colour.

The map of a picture is bright in one patch, whose place is the number of its colour, so that a test
sees at once when maps, pictures, words or sessions mix.
"""

import threading
from collections.abc import Mapping

import torch
from PIL import Image

from minigpt4.chat import Session
from minigpt4.errors import EngineError, PromptError
from minigpt4.looking.look import AnswerLook, TokenLook, WordMap
from minigpt4.looking.vocabulary import NearWord
from minigpt4.looking.words import split_words
from tests.ui.fake_chat import COLOURS, FakeChat

GRID = 4
TOKENS = 6


class LookingChat(FakeChat):
    """Answers as `FakeChat` does.

    A look at an answer that has "crash" in it fails with a bug, one that has "fail" in it with an
    error that has a sentence for the user. The word "untraced" has no map.
    """

    def __init__(self, word_seconds: float = 0.01, **options: int) -> None:
        super().__init__(word_seconds, **options)
        self.looks: list[str] = []
        self.projections: list[str | None] = []
        self.lengths: list[int | None] = []
        self.sight = threading.Event()
        """While it is not set, looks take their time."""
        self.sight.set()

    def look(
        self,
        session: Session,
        turn: int,
        pictures: Mapping[str, Image.Image],
        *,
        max_new_tokens: int | None = None,
        projection: str | None = None,
    ) -> AnswerLook:
        """Bright at the number of the picture's colour, and one patch further with every word."""
        self.projections.append(projection)
        self.lengths.append(max_new_tokens)
        answer = session.conversation.turns[turn].answer or ""
        self.looks.append(answer)
        self.sight.wait(100)
        if "crash" in answer:
            raise RuntimeError("secret: /srv/weights/model.bin")
        if "fail" in answer:
            raise EngineError("The model ran out of memory. Please ask again.")
        shown = Session(session.conversation.__class__(session.conversation.turns[: turn + 1]))
        keys = tuple(dict.fromkeys(shown.conversation.image_keys))
        if not keys:
            raise PromptError("The model had seen no picture when it gave this answer.")
        words = [
            WordMap(
                word,
                {key: 1 / len(keys) for key in keys},
                {key: one_patch(self._number(pictures[key]) + place) for key in keys},
            )
            for place, word in enumerate(split_words(answer))
            if word.text != "untraced"
        ]
        return AnswerLook(tuple(words), keys, 0, 0.5)

    def look_at_tokens(
        self, session: Session, key: str, picture: Image.Image, projection: str | None = None
    ) -> tuple[TokenLook, ...]:
        """Each visual token looks at a patch of its own and is like words with its number."""
        assert key in session.images
        self.looks.append("tokens")
        self.sight.wait(100)
        first = self._number(picture)
        name = list(COLOURS)[first]
        return tuple(
            TokenLook(
                one_patch(first + place),
                (NearWord(f"{name}{place}", 0.75), NearWord("<b>bold</b>", 0.5)),
                0.5,
            )
            for place in range(TOKENS)
        )

    def _number(self, picture: Image.Image) -> int:
        return int(self._encoded(picture).visual_tokens)


def one_patch(number: int) -> torch.Tensor:
    """A map with everything in one patch."""
    heat = torch.zeros(GRID * GRID)
    heat[number % GRID**2] = 1
    return heat.reshape(GRID, GRID)
