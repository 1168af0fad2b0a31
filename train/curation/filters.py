"""The third step: which texts are fit to learn from, and why the others are not.

Every reason that applies is told and counted, not only the first. Source of the first one: section
3.2 of the paper; the others say in numbers what its authors looked for by hand.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

from train.curation.sentences import (
    ended,
    looks_english,
    repeated_sentences,
    repeated_share,
    words,
)

_APOLOGY = re.compile(
    r"i['\u2019]?\s*a?m sorry,? (?:that )?i made a mistake|i apologi[sz]e for that", re.IGNORECASE
)
_REFUSAL = re.compile(
    r"\b(?:i am|i['\u2019]m|as) an? (?:ai|tiny|language|large)\b[^.]{0,200}\bmodel\b"
    r"|\bi (?:can(?:no|['\u2019])t|am unable to|am not able to)"
    r" (?:see|do|view|help|provide|describe)\b",
    re.IGNORECASE,
)
_EXPLANATION = re.compile(
    r"^\W*(?:sure\b|certainly\b|of course\b|here(?:['\u2019]s| is| are)\b.{0,60}"
    r"(?:paragraph|version|text|description)|(?:the )?(?:corrected|revised|edited|fixed)"
    r" (?:paragraph|version|text|description)|the (?:given|input) paragraph\b)",
    re.IGNORECASE,
)
_ADDRESS = re.compile(
    r"https?:|www\.|\w\.(?:com|org|net|edu|gov|io|co|html?|jpe?g|png)\b|\S@\S", re.IGNORECASE
)
_MARK = re.compile(
    r"#{2,}|</?[a-z][^<>]*>|\[/?INST\]|\b(?:Human|Assistant|USER|ASSISTANT):|```|\*\*",
    re.IGNORECASE,
)
_MOST_STRANGE = 0.03
_PLAIN = frozenset(" \n\t.,;:!?'\"()-\u2013\u2014\u2019\u2018\u201c\u201d/&%$°+\u2026")


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterSettings:
    """What is asked of a text.

    Attributes:
        min_words: Fewer are too short.
        max_words: More are too long.
        most_repeated: The most of its runs of four words that may have stood in it before, 0 to 1.
        most_added: A repaired text may have so many times the words that the model wrote.
        english: Whether it must be English.
    """

    min_words: int = 8
    max_words: int = 250
    most_repeated: float = 0.2
    most_added: float = 1.5
    english: bool = True


def reasons_against(text: str, described: str, settings: FilterSettings) -> tuple[str, ...]:
    """Every reason not to learn from a text; none if it is fit.

    Args:
        text: As it is now.
        described: As the model wrote it.
        settings: What is asked of it.
    """
    said = _Said(text, described, settings)
    return tuple(reason for reason, applies in REASONS.items() if applies(said))


@dataclass(frozen=True, slots=True)
class _Said:
    text: str
    described: str
    settings: FilterSettings


_Rule: TypeAlias = Callable[[_Said], bool]


def _strange_share(text: str) -> float:
    strange = sum(not (each.isalnum() or each in _PLAIN) for each in text)
    return strange / max(1, len(text))


REASONS: Mapping[str, _Rule] = MappingProxyType(
    {
        "apology": lambda said: bool(_APOLOGY.search(said.text)),
        "refusal": lambda said: bool(_REFUSAL.search(said.text)),
        "explains the correction": lambda said: bool(_EXPLANATION.search(said.text)),
        "too short": lambda said: len(words(said.text)) < said.settings.min_words,
        "too long": lambda said: len(words(said.text)) > said.settings.max_words,
        "repetition": lambda said: (
            bool(repeated_sentences(said.text))
            or repeated_share(said.text) > said.settings.most_repeated
        ),
        "unfinished": lambda said: not ended(said.text),
        "not English": lambda said: said.settings.english and not looks_english(said.text),
        "address": lambda said: bool(_ADDRESS.search(said.text)),
        "mark of a prompt": lambda said: bool(_MARK.search(said.text)),
        "strange characters": lambda said: _strange_share(said.text) > _MOST_STRANGE,
        "the repair added too much": lambda said: (
            len(words(said.text)) > said.settings.most_added * len(words(said.described)) + 10
        ),
    }
)
"""Every reason by its name, in the order in which they are told."""
