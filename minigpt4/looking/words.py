"""The words of an answer, and the tokens that spell them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the page splits words too, and opens before there is a model
    from minigpt4.models.language import LanguageModel

# Letters and digits with what joins them (don't, well-known, 3.5); where words have no spaces
# between them, every character counts as one.
_UNSPACED = "\u0e00-\u0eff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(
    rf"[{_UNSPACED}]|[^\W{_UNSPACED}](?:[^\W{_UNSPACED}]|['\u2019-](?=[^\W_{_UNSPACED}])|[.,](?=\d))*"
)


@dataclass(frozen=True, slots=True)
class Word:
    """A word of an answer.

    Attributes:
        text: The word, without the punctuation around it.
        start: Its first character in the answer, counted from 0.
    """

    text: str
    start: int

    @property
    def end(self) -> int:
        """The character behind its last one."""
        return self.start + len(self.text)


def split_words(answer: str) -> tuple[Word, ...]:
    """The words of an answer in order."""
    return tuple(Word(match[0], match.start()) for match in _WORD.finditer(answer))


def tokens_of_words(
    language: "LanguageModel", ids: Sequence[int], words: Sequence[Word]
) -> tuple[tuple[int, ...], ...]:
    """Which tokens spell each word.

    Args:
        language: Knows what an id stands for.
        ids: Ids of the whole answer.
        words: Words of the same answer, in order.

    Returns:
        For each word the places of its tokens in `ids`; empty if the ids spell it otherwise. A
        token that ends one word and begins another belongs to both.
    """
    stream = language.text_stream()
    spans: list[tuple[int, int]] = []
    text = ""
    for token in ids:
        start = len(text)
        text += stream.step(token)
        spans.append((start, len(text)))
    found: list[tuple[int, ...]] = []
    behind = 0
    for word in words:
        # Tokenisers may change spaces, so a word is looked for from where the last one ended.
        at = text.find(word.text, behind)
        if at < 0:
            found.append(())
            continue
        behind = at + len(word.text)
        found.append(
            tuple(
                place
                for place, (start, end) in enumerate(spans)
                # A token without text of its own is a part of the character that follows.
                if start < behind and (end > at or start == end == at)
            )
        )
    return tuple(found)
