"""Stage 0: the tokenizer of the embedded default, learned from the synthetic world's sentences."""

import random
from collections.abc import Iterator
from pathlib import Path

from minigpt4.conversation import Conversation, Text, Turn, render
from minigpt4.prompt_formats import TINY
from train.cartoon.describe import ATTRIBUTE_WORDS, ask_to_describe, caption, dialogue
from train.cartoon.scene import make_scene
from train.cartoon.wordings import NO_PICTURE
from train.embedded.tokenizer import write_tokenizer

VOCABULARY = 768


def train_tokenizer(folder: Path, *, scenes: int = 4000) -> None:
    """Writes the tokenizer of the synthetic world's sentences; see `write_tokenizer`.

    Args:
        folder: Where the files go.
        scenes: How many scenes the sentences are taken from.
    """
    write_tokenizer(folder, _sentences(scenes), VOCABULARY)


def _sentences(scenes: int) -> Iterator[str]:
    """The text pieces that training will tokenise, as often as training meets them."""
    for seed in range(scenes):
        scene, rng = make_scene(seed), random.Random(seed)
        exchanges = [*dialogue(scene, rng, 8), ask_to_describe(scene, rng)]
        turns = tuple(Turn(each.question, each.answer) for each in exchanges)
        for piece in render(Conversation(turns), TINY).pieces:
            if isinstance(piece, Text):
                yield piece.text
        yield caption(scene, rng)
        yield NO_PICTURE
        # Words that carry what was seen become pieces of their own, also the rare ones.
        yield from sorted(ATTRIBUTE_WORDS)
        yield "<Img>"
        yield "</Img> "
