"""Stage 0: the tokenizer of the embedded default, learned from the picture world's sentences."""

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

from sentencepiece import SentencePieceTrainer

from minigpt4.conversation import Conversation, Text, Turn, render
from minigpt4.prompt_formats import TINY
from train.cartoon.asking import ATTRIBUTE_WORDS, ask_to_describe, dialogue
from train.cartoon.describe import caption
from train.cartoon.scene import make_scene, with_random_word
from train.cartoon.wordings import FOREIGN_KINDS, NO_DRAWING, NO_PICTURE
from train.tiny.lessons import CASUAL_SHARE

VOCABULARY = 1024

_QUOTED = re.compile(r"(?<=\")([A-Z])[A-Z]*(?=\")")

# What a page sketch is turned into; its marks get pieces of their own.
_PAGE = (
    "<!doctype html>\n<html><body>\n<h1>Title</h1>\n<ul>\n<li>First</li>\n</ul>\n"
    '<button>Button</button>\n<img alt="picture">\n<p>Text</p>\n</body></html>'
)


def train_tokenizer(folder: Path, *, scenes: int = 6000) -> None:
    """Writes the tokenizer of the picture world's sentences; see `write_tokenizer`.

    Args:
        folder: Where the files go.
        scenes: How many scenes the sentences are taken from.
    """
    write_tokenizer(folder, _sentences(scenes), VOCABULARY)


def write_tokenizer(folder: Path, sentences: Iterator[str], vocabulary: int) -> None:
    """Writes tokenizer.model and tokenizer_config.json.

    The options are LLaMA's own: byte-pair pieces, unknown characters as bytes, digits apart,
    nothing normalised, a leading space on every text.

    Args:
        folder: Where the two files go; made if missing.
        sentences: What it learns from.
        vocabulary: How many pieces it has.
    """
    folder.mkdir(parents=True, exist_ok=True)
    SentencePieceTrainer.train(
        sentence_iterator=sentences,
        model_prefix=str(folder / "tokenizer"),
        model_type="bpe",
        vocab_size=vocabulary,
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
        rng = random.Random(seed)
        # Every letter is met behind a mark, not only those that the world's words begin with.
        scene = with_random_word(make_scene(seed), rng)
        exchanges = [
            *dialogue(scene, rng, 8, casual_share=CASUAL_SHARE),
            ask_to_describe(scene, rng),
        ]
        turns = tuple(Turn(each.question, each.answer) for each in exchanges)
        for piece in render(Conversation(turns), TINY).pieces:
            if isinstance(piece, Text):
                yield _unspelled(piece.text)
        yield _unspelled(caption(scene, rng))
        yield from (NO_PICTURE, NO_DRAWING)
        # Words that carry what was seen become pieces of their own, also the rare ones.
        yield from sorted(ATTRIBUTE_WORDS)
        yield from FOREIGN_KINDS
        yield from ("strange", "<Img>", "</Img> ")
        if seed % 8 == 0:
            yield _PAGE


def _unspelled(text: str) -> str:
    """A text with one letter for a sign's word: no two may become a piece, words are spelled."""
    return _QUOTED.sub(r"\1", text)
