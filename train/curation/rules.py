"""Repair without a language model: what can be seen to be wrong is taken out; nothing is added.

Taken out: marks of the prompt and all that follows them, characters without a meaning, words that
go round in a loop, sentences that stood there before (the same words, also in another order),
sentences that are none or not English, and a last sentence that breaks off.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from train.curation.sentences import (
    content_of,
    ended,
    is_latin,
    latin_share,
    looks_english,
    split_sentences,
    without_dangling,
    words,
)

_TURN = re.compile(
    r"#{2,}|</?(?:Img|ImageHere|s)>|\[/?INST\]|\b(?:Human|Assistant|USER|ASSISTANT):"
)
_RUN_OF_MARKS = re.compile(r"([^\w\s])(?:\s*\1)+")
_LONG_LETTERS = re.compile(r"(\w)\1{4,}")
_SPACE_BEFORE = re.compile(r"(?<!\s)\s+([,.;:!?])")
_LONGEST_LOOP = 12
_MOSTLY = 0.7
_FEWEST_WORDS = 3
_STATES_SOMETHING = 3
"""Sentences with fewer such words are compared word by word only."""


@dataclass(frozen=True, slots=True)
class Repaired:
    """A text that was repaired.

    Attributes:
        text: What is left; perhaps nothing.
        changes: What was done, and how often.
    """

    text: str
    changes: dict[str, int]


def repair_by_rules(text: str, *, cut: bool) -> Repaired:
    """Repairs a description.

    Args:
        text: What a model wrote.
        cut: It ended because it was as long as it was allowed, so its last sentence may be a part.
    """
    done: Counter[str] = Counter()
    sentences = [_without_loops(each, done) for each in split_sentences(_clean(text, done))]
    if sentences:
        sentences[-1:] = _last(sentences[-1], done, cut=cut, alone=len(sentences) == 1)
    kept: list[str] = []
    seen: set[object] = set()
    for sentence in sentences:
        readable = _without_other_scripts(sentence, done)
        if cause := _unfit(readable):
            done[cause] += 1
            continue
        keys = _keys(readable)
        if seen & keys:
            done["repeated sentence"] += 1
            continue
        seen |= keys
        kept.append(readable[0].upper() + readable[1:])
    return Repaired(" ".join(kept), dict(done))


def _clean(text: str, done: Counter[str]) -> str:
    text = unicodedata.normalize("NFC", text)
    if mark := _TURN.search(text):
        # What follows would be another turn: the model went on talking to itself.
        before, behind = text[: mark.start()], text[mark.end() :]
        text = before if words(before) else behind
        text = _TURN.sub(" ", text)
        done["mark of the prompt"] += 1
    kept = "".join(each if _means_something(each) else " " for each in text)
    short = _LONG_LETTERS.sub(r"\1", _RUN_OF_MARKS.sub(r"\1", kept))
    short = _SPACE_BEFORE.sub(r"\1", short)
    if _packed(short) != _packed(text):
        done["characters without a meaning"] += 1
    return "\n".join(" ".join(line.split()) for line in short.splitlines())


def _packed(text: str) -> str:
    return "".join(text.split())


def _means_something(character: str) -> bool:
    if character in "\n\t":
        return True
    kind = unicodedata.category(character)
    return kind[0] not in "CMS" or character in "$+°"


def _last(sentence: str, done: Counter[str], *, cut: bool, alone: bool) -> list[str]:
    """The last sentence whole, or nothing."""
    if ended(sentence):
        return [sentence]
    whole = without_dangling(sentence)
    if not alone and (cut or whole != sentence):
        done["sentence that breaks off"] += 1
        return []
    done["full stop"] += 1
    return [f"{whole.rstrip(' ,;:-')}."]


def _without_other_scripts(sentence: str, done: Counter[str]) -> str:
    """A sentence in Latin letters without single words in others."""
    if not _MOSTLY <= latin_share(sentence) < 1:
        return sentence
    done["not English"] += 1
    return _SPACE_BEFORE.sub(r"\1", " ".join("".join(filter(is_latin, sentence)).split()))


def _without_loops(sentence: str, done: Counter[str]) -> str:
    """A sentence in which words that come again and again at one place stand once."""
    said = sentence.split()
    bare = [re.sub(r"\W+", "", word).lower() for word in said]
    size = 1
    while size <= min(_LONGEST_LOOP, len(said) // 2):
        if (span := _loop(bare, size)) is None:
            size += 1
            continue
        first, behind = span
        # The last round has the punctuation that goes on, or ends the sentence.
        said[first:behind] = said[behind - size : behind]
        bare[first:behind] = bare[behind - size : behind]
        done["words in a loop"] += 1
    return " ".join(said)


def _loop(said: list[str], size: int) -> tuple[int, int] | None:
    """Where the same words follow each other: twice, or three times if it is one word."""
    rounds_needed = 3 if size == 1 else 2
    for first in range(len(said) - size * rounds_needed + 1):
        one = said[first : first + size]
        behind = first + size
        while said[behind : behind + size] == one:
            behind += size
        if behind - first >= size * rounds_needed and any(one):
            return first, behind
    return None


def _unfit(sentence: str) -> str:
    """Why a sentence cannot stay; empty if it can."""
    said = words(sentence)
    if len(said) < _FEWEST_WORDS or not any(len(word) > 1 and word.isalpha() for word in said):
        return "no sentence"
    return "" if looks_english(sentence) else "not English"


def _keys(sentence: str) -> set[object]:
    """What a sentence is known by; one that shares a key has been said."""
    return set(_each_key(sentence))


def _each_key(sentence: str) -> Iterator[object]:
    yield tuple(words(sentence))
    if len(content := content_of(sentence)) >= _STATES_SOMETHING:
        yield content
