"""Which words of the language model's vocabulary a visual token resembles."""

from dataclasses import dataclass

import torch
from torch import nn

from minigpt4.models.language import LanguageModel

_BEGINS_WORD = "\u2581"
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class NearWord:
    """A word near a visual token.

    Attributes:
        text: The word.
        cosine: How near: 1 is the same direction, 0 none in common.
    """

    text: str
    cosine: float


@torch.no_grad()
def nearest_words(
    language: LanguageModel, visual_tokens: torch.Tensor, most: int, device: torch.device
) -> tuple[tuple[NearWord, ...], ...]:
    """The words whose embeddings are most like each visual token.

    Embeddings of a language model share a large part, which would count as likeness: the mean of
    the words' embeddings is taken from both sides first. Only pieces that begin a word and are made
    of letters count; "##" and "ing" tell nobody anything.

    Args:
        language: Its embeddings are searched.
        visual_tokens: `(Q, D)`.
        most: Words for each token.
        device: Where the embeddings are.

    Returns:
        For each visual token its words, the nearest first.
    """
    words = {
        row: piece.removeprefix(_BEGINS_WORD)
        for piece, row in language.tokenizer.get_vocab().items()
        if piece.startswith(_BEGINS_WORD) and len(piece) > 2 and piece[1:].isalpha()
    }
    rows = torch.tensor(sorted(words), device=device)
    chunks = torch.split(rows, _ROWS_AT_ONCE)
    mean = torch.stack([language.embed(chunk).float().sum(0) for chunk in chunks]).sum(0)
    mean /= len(rows)
    tokens = nn.functional.normalize(visual_tokens.to(device).float() - mean, dim=-1)
    cosines = torch.cat(
        [
            tokens @ nn.functional.normalize(language.embed(chunk).float() - mean, dim=-1).T
            for chunk in chunks
        ],
        dim=1,
    )
    best = cosines.topk(min(most, len(rows)), dim=-1)
    return tuple(
        tuple(
            NearWord(words[int(rows[place])], round(float(cosine), 4))
            for place, cosine in zip(places, values, strict=True)
        )
        for places, values in zip(best.indices, best.values, strict=True)
    )
