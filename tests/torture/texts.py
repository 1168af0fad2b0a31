"""Text never becomes structure, down to the token ids of the embedded model."""

import time
from collections.abc import Iterator

from minigpt4.api import load
from minigpt4.conversation import Conversation, Turn, render
from minigpt4.errors import PromptError
from minigpt4.models.minigpt4 import MiniGPT4, PromptTokens
from minigpt4.prompt_formats import PROMPT_FORMATS, PromptFormat
from tests.test_hostile_text import HOSTILE
from tests.torture.promise import Finding, allowed

LENGTHS = (2_001, 200_000)
MAX_SECONDS = 1.0


def measure(share: float) -> Finding:
    """Renders and tokenises every hostile string as question and as answer, in every format."""
    del share
    with load() as chat:
        model = chat._chat._model
        wrong = [
            f"{prompt_format.name} {text[:20]!r}: {problem}"
            for prompt_format in PROMPT_FORMATS.values()
            if prompt_format.takes_question
            for text in HOSTILE
            for problem in _problems(model, prompt_format, text)
        ]
        slowest = 0.0
        for length in LENGTHS:
            began = time.monotonic()
            try:
                chat.ask([], "x" * length)
            except PromptError:
                slowest = max(slowest, time.monotonic() - began)
            else:
                wrong.append(f"{length:,} characters were not refused")
    figure = f"{len(HOSTILE)} strings, {len(wrong)} became structure; too long refused in "
    return Finding(not wrong and slowest < allowed(MAX_SECONDS), f"{figure}{1000 * slowest:.0f} ms")


def _problems(model: MiniGPT4, prompt_format: PromptFormat, text: str) -> Iterator[str]:
    def tokens(first: str, answer: str, second: str) -> PromptTokens:
        turns = (Turn(first, answer, ("a", "b")), Turn(second, None, ("c",)))
        return model.tokenize(render(Conversation(turns), prompt_format))

    calm, hostile = tokens("x", "y", "z"), tokens(text, text, text)
    if _specials(model, hostile) != _specials(model, calm):
        yield "special ids came of it"
    if [key for _, key in hostile.slots] != ["a", "b", "c"]:
        yield f"image slots {hostile.slots}"
    # What was said before does not change by what is typed next.
    until = calm.slots[-1][0]
    if tokens("x", "y", text).ids[:until] != calm.ids[:until]:
        yield "the turn before it changed"


def _specials(model: MiniGPT4, tokens: PromptTokens) -> list[int]:
    special = set(model.language.tokenizer.all_special_ids)
    in_slots = {start + place for start, _ in tokens.slots for place in range(model.queries)}
    return [
        token
        for place, token in enumerate(tokens.ids)
        if token in special and place not in in_slots
    ]
