"""The longest answer that is learned: the release's cut, and what it costs, counted beforehand.

The release keeps the left part of an answer and its end symbol. So an answer that is too long loses
its end, and the model is not taught to stop in the middle of it.

Source: max_txt_len of the release, 32 tokens in stage 1 and 160 in stage 2.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from minigpt4.conversation import ImageSlot, Prompt, SpecialToken
from minigpt4.models.minigpt4 import IGNORED, PromptTokens

RELEASED_LIMITS = {1: 32, 2: 160}
"""Tokens of an answer, by stage."""


@dataclass(frozen=True, slots=True)
class Length:
    """How long a training sample is.

    Attributes:
        tokens: Positions it takes, visual tokens included and answers cut.
        longest_answer: Tokens of its longest answer with its end symbol, before any cut.
        cut: Answers that are longer than the limit.
    """

    tokens: int
    longest_answer: int
    cut: int


def length_of(
    prompt: Prompt, encode: Callable[[str], Sequence[int]], queries: int, limit: int
) -> Length:
    """Measures a rendered conversation without a model.

    Args:
        prompt: A closed conversation.
        encode: The tokeniser.
        queries: Visual tokens of a picture.
        limit: The longest answer.
    """
    tokens, answers, open_answer = 0, [0], False
    ends: list[int] = []
    for piece in prompt.pieces:
        if isinstance(piece, ImageSlot):
            tokens, open_answer = tokens + queries, False
        elif piece.part in ("answer", "end"):
            size = 1 if isinstance(piece, SpecialToken) else len(encode(piece.text))
            answers[-1:] = [answers[-1] + size] if open_answer else [answers[-1], size]
            ends += [size] if piece.part == "end" else []
            open_answer = True
        else:
            size = 1 if isinstance(piece, SpecialToken) else len(encode(piece.text))
            tokens, open_answer = tokens + size, False
    kept = sum(min(size, limit) for size in answers)
    inner = sum(size > limit for size in answers[:-1]) * max(ends, default=0)
    return Length(tokens + kept + inner, max(answers), sum(size > limit for size in answers))


def cut_answers(tokens: PromptTokens, limit: int, end: Sequence[int]) -> PromptTokens:
    """Cuts every answer with its end symbol to its first tokens.

    An answer that others follow keeps its end symbol, unlearned: without it the next question would
    stand inside the answer.

    Args:
        tokens: A tokenised closed conversation.
        limit: The most tokens of an answer.
        end: Ids of the end symbol.
    """
    ids: list[int] = []
    labels: list[int] = []
    place: list[int] = []  # where every old position went
    run = 0
    for position, (token, label) in enumerate(zip(tokens.ids, tokens.labels, strict=True)):
        place.append(len(ids))
        run = run + 1 if label != IGNORED else 0
        if run > limit:
            following = tokens.labels[position + 1 : position + 2]
            if not following or following[0] != IGNORED:
                continue
            ids += end  # the answer ends here, and the conversation goes on
            labels += [IGNORED] * len(end)
            continue
        ids.append(token)
        labels.append(label)
    slots = tuple((place[start], key) for start, key in tokens.slots)
    return PromptTokens(tuple(ids), tuple(labels), slots)
