"""A scene as the embeddings of its own words: what a perfect eye would tell the language model.

Before there is an eye, the tiny language model learns from these "fused slots": one vector for each
query of the Q-Former to come, the sum of the embeddings of the words that are true there. Queries 0
to 8 look at the nine cells in reading order, query 9 at the background.
"""

from collections.abc import Sequence
from functools import cache

import torch

from minigpt4.models.language import LanguageModel
from train.cartoon.scene import PLACES, Scene

BACKGROUND_QUERY = len(PLACES)
QUERIES = len(PLACES) + 1
_MOST_WORDS = 6


def slot_words(scene: Scene) -> list[tuple[str, ...]]:
    """For every query the words that are true of what it looks at."""
    words = [("nothing", *place.split()) for place in PLACES]
    for thing in scene.things:
        spoken = (thing.word,) if thing.word else ()
        words[thing.cell] = (thing.size, thing.color, thing.kind, *thing.place.split(), *spoken)
    return [*words, ("background", scene.background)]


class FusedSlots:
    """Makes fused slots for batches of scenes from a language model's own embeddings."""

    def __init__(self, language: LanguageModel) -> None:
        self._language = language
        self._id_of = cache(self._single_id)

    def ids(self, scenes: Sequence[Scene]) -> torch.Tensor:
        """Ids of the words of every slot `(B, Q, W)`, -1 where there is no further word."""
        ids = torch.full((len(scenes), QUERIES, _MOST_WORDS), -1)
        for row, scene in enumerate(scenes):
            for query, words in enumerate(slot_words(scene)):
                ids[row, query, : len(words)] = torch.tensor([self._id_of(word) for word in words])
        return ids

    def embed(self, ids: torch.Tensor, noise: float, generator: torch.Generator) -> torch.Tensor:
        """Slots `(B, Q, D)` of word ids `(B, Q, W)`.

        Args:
            ids: From `ids`.
            noise: How far a slot may be off, as a share of the length of one word's embedding: no
                eye is perfect, and what follows must bear it.
            generator: Where the noise comes from.
        """
        embeddings = self._language.embed(ids.clamp(min=0))
        weights = (ids >= 0).to(embeddings.dtype)
        if noise > 0:
            strength = 1 + noise * (torch.rand(ids.shape, generator=generator) - 0.5)
            weights = weights * strength
        slots = (embeddings * weights[..., None]).sum(dim=2)
        if noise > 0:
            amount = noise * torch.rand((len(ids), 1, 1), generator=generator)
            shift = torch.randn(slots.shape, generator=generator) / slots.shape[-1] ** 0.5
            slots = slots + amount * shift
        return slots

    def _single_id(self, word: str) -> int:
        ids = self._language.encode(word)
        if len(ids) != 1:
            message = f"The tokenizer splits {word!r} into {len(ids)} pieces; a slot needs one."
            raise ValueError(message)
        return ids[0]
