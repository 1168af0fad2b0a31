"""Where a finished answer came from on its pictures, and what each visual token stands for.

A look is one extra forward pass over a conversation that is over, made when somebody asks for it.
The paths that answer know nothing of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from PIL import Image

from minigpt4.conversation import Conversation, fit, render
from minigpt4.engines.base import model_failures
from minigpt4.errors import PromptError
from minigpt4.images import to_pixel_values
from minigpt4.looking.attention import patch_attention, rollout
from minigpt4.looking.vocabulary import NearWord, nearest_words
from minigpt4.looking.words import Word, split_words, tokens_of_words
from minigpt4.models.minigpt4 import MiniGPT4
from minigpt4.models.presets import VisionConfig
from minigpt4.prompt_formats import PromptFormat

NEAR_WORDS = 5


@dataclass(frozen=True, slots=True, eq=False)
class WordMap:
    """Where one word of an answer came from.

    Attributes:
        word: The word.
        shares: How much of it came from each picture, by the picture's key; they sum to one.
        maps: By the picture's key `(G, G)`, rows from the top: non-negative, summing to one.
    """

    word: Word
    shares: Mapping[str, float]
    maps: Mapping[str, torch.Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class AnswerLook:
    """Where an answer came from.

    Attributes:
        words: Its words in order; those that the tokenizer spells in another way are left out.
        pictures: Keys of the pictures that the model saw when it answered, each once.
        dropped: Turns that were too old to fit, and so had no part in it.
        first_centre: See `first_centre`.
    """

    words: tuple[WordMap, ...]
    pictures: tuple[str, ...]
    dropped: int
    first_centre: float


@dataclass(frozen=True, slots=True, eq=False)
class TokenLook:
    """What one visual token of a picture stands for.

    Attributes:
        map: `(G, G)`, rows from the top: which patches it was made of; sums to one.
        words: Words of the vocabulary that it is most like, the nearest first.
        first_centre: See `first_centre`.
    """

    map: torch.Tensor
    words: tuple[NearWord, ...]
    first_centre: float


class Looking:
    """Looks at finished answers of a model, from any thread and while it answers others."""

    def __init__(self, model: MiniGPT4, prompt_format: PromptFormat, context_tokens: int) -> None:
        """Joins the parts.

        Args:
            model: The model that answered; it is only read.
            prompt_format: The one it was asked in.
            context_tokens: Longest sequence it reads, answer included.
        """
        self._model = model
        self._format = prompt_format
        self._context_tokens = context_tokens

    def answer(
        self,
        conversation: Conversation,
        turn: int,
        visual_tokens: Mapping[str, torch.Tensor],
        pictures: Mapping[str, Image.Image],
        max_new_tokens: int,
    ) -> AnswerLook:
        """Shows where each word of an answer came from.

        The position before a token is the one that predicts it. How much of that position comes
        from each visual token is a rollout of the language model's attention; from which patches
        a visual token comes is the Q-Former's last cross-attention. The map is their product, both
        squared: that was measured to point best (docs/looking.md).

        Args:
            conversation: What was said; what came after the turn does not matter.
            turn: Index of the answered turn, counted from 0.
            visual_tokens: For every picture's key `(Q, D)`, as when it was answered.
            pictures: For every picture's key the picture.
            max_new_tokens: Room that was kept for the answer then: it decides which turns were too
                old to fit.

        Raises:
            PromptError: If there is no such turn, it has no answer or no picture was seen in it.
            EngineError: If the model fails.
        """
        if not 0 <= turn < len(conversation.turns):
            message = (
                f"There is no answer {turn + 1} to look at; this chat has"
                f" {len(conversation.turns)}."
            )
            raise PromptError(message)
        text = conversation.turns[turn].answer
        if not text:
            raise PromptError("There is no answer yet whose words could be looked at.")
        ids = self._model.language.encode(text)
        asked = Conversation(
            (*conversation.turns[:turn], replace(conversation.turns[turn], answer=None))
        )
        room = self._context_tokens - max(max_new_tokens, len(ids))
        shown, dropped = fit(
            asked, self._format, lambda prompt: len(self._model.tokenize(prompt).ids), room
        )
        keys = tuple(dict.fromkeys(shown.image_keys))
        if not keys:
            raise PromptError("The model had seen no picture when it gave this answer.")
        prompt = render(shown, self._format)
        slots = self._model.tokenize(prompt).slots
        words = split_words(text)
        with model_failures(), torch.no_grad():
            before = self._model.embed_prompt(prompt, visual_tokens)
            after = self._model.language.embed(torch.tensor([ids], device=before.device))
            embeds = torch.cat([before, after], dim=1)
            queries = torch.arange(self._model.queries)
            sources = torch.cat([start + queries for start, _ in slots])
            shares = rollout(self._model.language, embeds, sources)
            patches = {key: self._patches(pictures[key]) for key in keys}
        # Row j predicts the answer's token j.
        rows = shares[before.shape[1] - 1 : -1].view(len(ids), len(slots), -1)
        pieces = tokens_of_words(self._model.language, ids, words)
        return AnswerLook(
            tuple(
                _word_map(word, rows[list(tokens)].mean(0), [key for _, key in slots], patches)
                for word, tokens in zip(words, pieces, strict=True)
                if tokens
            ),
            keys,
            dropped,
            first_centre(self._model.preset.vision),
        )

    def visual_tokens(
        self, visual_tokens: torch.Tensor, picture: Image.Image
    ) -> tuple[TokenLook, ...]:
        """Shows each visual token of a picture: where it looks, and which words it is like.

        Args:
            visual_tokens: `(Q, D)`.
            picture: The picture that they were made of.

        Raises:
            EngineError: If the model fails.
        """
        with model_failures():
            patches = self._patches(picture)
            words = nearest_words(
                self._model.language, visual_tokens, NEAR_WORDS, self._model.device
            )
        return tuple(
            TokenLook(as_map(row), near, first_centre(self._model.preset.vision))
            for row, near in zip(patches, words, strict=True)
        )

    @torch.no_grad()
    def _patches(self, picture: Image.Image) -> torch.Tensor:
        """From which patches each visual token of a picture comes, `(Q, patches)`."""
        model, preset = self._model, self._model.preset
        values = to_pixel_values(picture, preset.vision.image_size, preset.mean, preset.std)
        dtype = next(model.vision.parameters()).dtype
        features = model.vision(values[None].to(model.device, dtype))
        return patch_attention(model.qformer, features)


def _word_map(
    word: Word, shares: torch.Tensor, keys: Sequence[str], patches: Mapping[str, torch.Tensor]
) -> WordMap:
    """The maps of one word from its shares of each slot's visual tokens `(P, Q)`."""
    of_picture = {key: torch.zeros(shares.shape[1]) for key in patches}
    for key, row in zip(keys, shares, strict=True):
        # A picture that was attached twice stands in two slots.
        of_picture[key] = of_picture[key] + row
    total = max(float(shares.sum()), torch.finfo(shares.dtype).tiny)
    return WordMap(
        word,
        {key: float(row.sum()) / total for key, row in of_picture.items()},
        {key: as_map(row.square() @ patches[key].square()) for key, row in of_picture.items()},
    )


def as_map(weights: torch.Tensor) -> torch.Tensor:
    """Weights of patches `(patches,)` in reading order as a map `(G, G)` that sums to one."""
    side = round(len(weights) ** 0.5)
    above_zero = weights + torch.finfo(weights.dtype).tiny  # an even map if nothing was read
    return (above_zero / above_zero.sum()).reshape(side, side)


def first_centre(vision: VisionConfig) -> float:
    """Where the first patch's centre is, in patches from the picture's left and upper edge.

    A plain patch stem cuts the picture up, so it is half a patch. The convolutions of a `vit`, of
    three pixels and stride 2 with one pixel of padding, look around every second pixel, beginning
    with the first: after all of them the first patch still lies around the first pixel.
    """
    return 0.5 if vision.architecture == "eva" else 0.5 / vision.patch_size


def spread_over(heat: torch.Tensor, size: tuple[int, int], first_centre: float) -> torch.Tensor:
    """A map as large as its picture.

    The model saw the picture squashed to a square, so a square of patches is stretched over it.

    Args:
        heat: `(G, G)`.
        size: Width W and height H of the picture in pixels.
        first_centre: See `first_centre`.

    Returns:
        `(H, W)`, non-negative and summing to one: each patch's heat at its centre, a gentle way
        from one centre to the next, and nothing new beyond the outermost.
    """
    width, height = size
    down = _between(height, len(heat), first_centre)
    across = _between(width, len(heat), first_centre)
    large = down @ heat @ across.T
    return large / large.sum()


def _between(pixels: int, patches: int, first: float) -> torch.Tensor:
    """How much of each patch's heat is in each pixel of a line, `(pixels, patches)`."""
    places = ((torch.arange(pixels) + 0.5) * patches / pixels - first).clamp(0, patches - 1)
    before = places.floor()
    way = places - before
    eased = way.square() * (3 - 2 * way)
    parts = torch.zeros(pixels, patches)
    lines = torch.arange(pixels)
    parts[lines, before.long()] += 1 - eased
    parts[lines, before.long().add(1).clamp(max=patches - 1)] += eased
    return parts
