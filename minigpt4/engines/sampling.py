"""From logits to tokens, for many answers at once, each by its own settings and its own chance."""

import random
from collections.abc import Sequence

import torch

from minigpt4.config import GenerationSettings

_LIKELIEST = 512
"""So many tokens nearly always hold all of `top_p`; sorting a whole vocabulary costs more than the
rest of a small model's step."""


class Draw:
    """How one answer's tokens are drawn, and what was drawn so far.

    The chance of an answer is its own: with the same seed it gets the same numbers, whoever else
    is answered in the same step.
    """

    def __init__(self, settings: GenerationSettings) -> None:
        self.settings = settings
        self.drawn: list[int] = []
        self._chance = random.Random(settings.seed)
        self._number = self._chance.random()

    def number(self) -> float:
        """The random number of the next token, from 0 up to 1; a step made anew gets it again."""
        return self._number

    def add(self, token: int) -> None:
        """Takes the next token."""
        self.drawn.append(token)
        self._number = self._chance.random()


def draw_tokens(logits: torch.Tensor, draws: Sequence[Draw]) -> list[int | None]:
    """One more token for each answer.

    In the order of `generate`: repetition penalty over the answer's own tokens, temperature, top_p.

    Args:
        logits: `(B, V)`, a row for each answer.
        draws: What belongs to each row; the new token is added to `drawn`.

    Returns:
        A token for each row; None for a row that holds what is no number.
    """
    scores = _penalised(logits.float(), draws)
    likeliest, tokens = scores.max(dim=-1)
    right = likeliest.isfinite().tolist()  # the largest of a row with a NaN is NaN
    drawn = [row for row, draw in enumerate(draws) if right[row] and draw.settings.temperature > 0]
    for all_of_it in (False, True):
        rows = [row for row in drawn if (draws[row].settings.top_p >= 1) is all_of_it]
        if rows:
            at = torch.tensor(rows, device=scores.device)
            tokens[at] = _sampled(scores[at], [draws[row] for row in rows], cut=not all_of_it)
    chosen = [token if right[row] else None for row, token in enumerate(tokens.tolist())]
    for draw, token in zip(draws, chosen, strict=True):
        if token is not None:
            draw.add(token)
    return chosen


def _penalised(scores: torch.Tensor, draws: Sequence[Draw]) -> torch.Tensor:
    rows: list[int] = []
    tokens: list[int] = []
    penalties: list[float] = []
    for row, draw in enumerate(draws):
        penalty = draw.settings.repetition_penalty
        if penalty != 1 and draw.drawn:
            seen = set(draw.drawn)
            rows += [row] * len(seen)
            tokens += seen
            penalties += [penalty] * len(seen)
    if not rows:
        return scores
    at = (torch.tensor(rows, device=scores.device), torch.tensor(tokens, device=scores.device))
    penalty_of = torch.tensor(penalties, device=scores.device)
    found = scores[at]
    return scores.index_put(at, torch.where(found < 0, found * penalty_of, found / penalty_of))


def _sampled(scores: torch.Tensor, draws: Sequence[Draw], *, cut: bool) -> torch.Tensor:
    """Tokens `(B,)` drawn from scores `(B, V)`.

    Args:
        scores: Finite or minus infinity.
        draws: What belongs to each row.
        cut: Whether to leave out what `top_p` leaves out.
    """

    def column(values: list[float]) -> torch.Tensor:
        return torch.tensor(values, device=scores.device, dtype=scores.dtype)[:, None]

    # The likeliest at 0, and no division by what rounds to 0: so no temperature is too small.
    smallest = torch.finfo(scores.dtype).tiny
    temperature = column([max(draw.settings.temperature, smallest) for draw in draws])
    probabilities = ((scores - scores.amax(-1, keepdim=True)) / temperature).softmax(-1)
    top, tokens = probabilities, None
    if cut:
        top_p = column([draw.settings.top_p for draw in draws])
        top, tokens = _likeliest(probabilities, top_p)
        # A token is in if those before it do not yet have all of top_p; so the first always is.
        top = top.masked_fill(top.cumsum(-1) - top >= top_p, 0)
    mass = top.cumsum(-1)
    number = column([draw.number() for draw in draws])
    place = torch.searchsorted(mass, number * mass[:, -1:], right=True)
    # Rounding must not choose what is out: the last that is in is where the mass is complete.
    place = place.minimum((mass < mass[:, -1:]).sum(-1, keepdim=True))
    return (place if tokens is None else tokens.gather(1, place)).squeeze(1)


def _likeliest(
    probabilities: torch.Tensor, top_p: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens in order, the likeliest first, and their probabilities: enough for `top_p`."""
    enough = min(_LIKELIEST, probabilities.shape[-1])
    top, tokens = probabilities.topk(enough)
    if enough < probabilities.shape[-1] and bool((top.sum(-1, keepdim=True) < top_p).any()):
        top, tokens = probabilities.sort(descending=True)
    return top, tokens
