"""Stage 0: the tokenizer of the embedded default, learned from the synthetic world's sentences."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

from sentencepiece import SentencePieceTrainer

from minigpt4.conversation import Conversation, Text, Turn, render
from minigpt4.prompt_formats import TINY
from train.cartoon.describe import ATTRIBUTE_WORDS, ask_to_describe, caption, dialogue
from train.cartoon.scene import make_scene
from train.cartoon.wordings import NO_PICTURE

VOCABULARY = 768


def train_tokenizer(folder: Path, *, scenes: int = 4000) -> None:
    """Writes tokenizer.model and tokenizer_config.json.

    The options are LLaMA's own: byte-pair pieces, unknown characters as bytes, digits apart,
    nothing normalised, a leading space on every text.

    Args:
        folder: Where the two files go; made if missing.
        scenes: How many scenes the sentences are taken from.
    """
    folder.mkdir(parents=True, exist_ok=True)
    SentencePieceTrainer.train(
        sentence_iterator=_sentences(scenes),
        model_prefix=str(folder / "tokenizer"),
        model_type="bpe",
        vocab_size=VOCABULARY,
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=True,
        character_coverage=1.0,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    (folder / "tokenizer.vocab").unlink()
    settings = {
        "tokenizer_class": "LlamaTokenizer",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "add_bos_token": False,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "legacy": True,
        "model_max_length": 2048,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1) + "\n")


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
