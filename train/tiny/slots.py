"""A scene as the embeddings of its own words: what a perfect eye would tell the language model.

Before there is an eye, the language model learns from these "fused slots": one vector for each
query of the Q-Former to come, the sum of the embeddings of the words that are true there. Queries 0
to 15 look at the quarter cells in reading order, query 16 at the background, queries 17 to 21 at
the letters of a sign. The words of a page sketch are those that its HTML is made of.
"""

from collections.abc import Sequence
from functools import cache

import torch

from minigpt4.models.language import LanguageModel
from train.cartoon.scene import CELLS, LONGEST_WORD, Scene

BACKGROUND_QUERY = CELLS
FIRST_LETTER_QUERY = CELLS + 1
QUERIES = CELLS + 1 + LONGEST_WORD
_MOST_WORDS = 5
_DOUBTED = 0.15
"""Share of the words that are mixed with others."""
_THING_WORDS = 4
"""A thing has at least so many words; an element of a page sketch has fewer."""
_SORTS = 3
_SORT_OF_SLOT = torch.tensor([*[0] * CELLS, 1, *[2] * LONGEST_WORD])
"""Cells, background and letters."""

# A closing tag stands for the one piece between its brackets, which opens the element too.
TAGS = {"title": "</h>", "button": "</button>", "list": "</ul>", "image": "</img>"}
_PAGE_TAG = "</html>"


def slot_words(scene: Scene) -> list[tuple[str, ...]]:
    """For every query the words that are true of what it looks at; a letter stands for itself."""
    words: list[tuple[str, ...]] = [("nothing",)] * QUERIES
    words[BACKGROUND_QUERY] = ("background", _background_word(scene))
    for thing in scene.things:
        tag = TAGS.get(thing.kind)
        what = (thing.size, thing.color, thing.kind) if tag is None else (tag,)
        words[thing.cell] = (*what, *thing.place.split())
        for index, letter in enumerate(thing.word):
            words[FIRST_LETTER_QUERY + index] = (letter,)
    return words


def _background_word(scene: Scene) -> str:
    if scene.strange:
        return "strange"
    return _PAGE_TAG if scene.is_page else scene.background


def inner_pieces(language: LanguageModel, tag: str) -> list[int]:
    """Ids of what stands between the brackets of a closing tag."""
    return language.encode(tag)[1:-1]


class FusedSlots:
    """Makes fused slots for batches of scenes from a language model's own embeddings."""

    def __init__(self, language: LanguageModel) -> None:
        self._language = language
        self._id_of = cache(self._single_id)

    def ids(self, scenes: Sequence[Scene]) -> torch.Tensor:
        """Ids of the words of every slot `(B, Q, W)`, -1 where there is no further word."""
        rows = [
            [
                [self._id_of(word) for word in words] + [-1] * (_MOST_WORDS - len(words))
                for words in slot_words(scene)
            ]
            for scene in scenes
        ]
        return torch.tensor(rows, dtype=torch.long).reshape(len(rows), QUERIES, _MOST_WORDS)

    def embed(
        self, ids: torch.Tensor, noise: float = 0.0, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Slots `(B, Q, D)` of word ids `(B, Q, W)`.

        Args:
            ids: From `ids`.
            noise: How far a slot may be off, as a share of the length of one word's embedding: no
                eye is perfect, and what follows must bear it. Some words are also mixed with what
                stands in their stead in another slot, as an eye does that doubts between two.
            generator: Where the noise comes from; None is torch's own.
        """
        embeddings = self._language.embed(ids.clamp(min=0))
        weights = (ids >= 0).to(embeddings.dtype)
        if noise > 0:
            nothing = self._id_of("nothing")
            embeddings = doubted(embeddings, ids, nothing, noise, generator)
            strength = 1 + noise * (torch.rand(ids.shape, generator=generator) - 0.5)
            weights = weights * strength
        slots = (embeddings * weights[..., None]).sum(dim=2)
        if noise > 0:
            amount = noise * torch.rand((len(ids), 1, 1), generator=generator)
            shift = torch.randn(slots.shape, generator=generator) / slots.shape[-1] ** 0.5
            slots = slots + amount * shift
        return slots

    def _single_id(self, word: str) -> int:
        # A letter stands inside a word, so its piece is the one without a leading space.
        if len(word) == 1:
            ids = self._language.encode(f'"{word}"')[1:-1]
        elif word.startswith("</"):
            ids = inner_pieces(self._language, word)
        else:
            ids = self._language.encode(word)
        if len(ids) != 1:
            message = f"The tokenizer splits {word!r} into {len(ids)} pieces; a slot needs one."
            raise ValueError(message)
        return ids[0]


def doubted(
    embeddings: torch.Tensor,
    ids: torch.Tensor,
    nothing: int,
    noise: float,
    generator: torch.Generator | None,
) -> torch.Tensor:
    """Embeddings `(B, Q, W, D)` of which some have a share of another slot's word in them.

    Only slots of one sort are mixed, whose words stand in the same order: a colour meets a colour.

    Args:
        embeddings: Of the words of slots.
        ids: Of the same words `(B, Q, W)`.
        nothing: Id of the word of an empty slot, which is mixed with none.
        noise: The largest share.
        generator: Where the choice comes from.
    """
    share = noise * torch.rand(ids.shape, generator=generator)
    asked = torch.rand(ids.shape, generator=generator) < _DOUBTED
    share = torch.where(asked, share, 0.0)
    words = (ids >= 0).sum(dim=-1)
    sort = torch.where(words >= _THING_WORDS, 1, 0) + 2 * _SORT_OF_SLOT.to(ids.device)
    sort = torch.where(ids[..., 0] == nothing, -1, sort)
    mixed = embeddings.clone()
    for each in range(2 * _SORTS):
        rows, slots = torch.nonzero(sort == each, as_tuple=True)
        others = torch.randperm(len(rows), generator=generator)
        there = (ids[rows, slots] >= 0) & (ids[rows[others], slots[others]] >= 0)
        part = torch.where(there, share[rows, slots], 0.0)[..., None]
        own, other = embeddings[rows, slots], embeddings[rows[others], slots[others]]
        mixed[rows, slots] = own + part * (other - own)
    return mixed
