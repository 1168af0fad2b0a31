"""Failed descriptions: those that do not end, repeat themselves, or are not English.

The paper counts by hand how many of 100 long answers fail before stage 2 and after it: 35 against
2 descriptions, 32 against 1 poem. Its causes are repeated words or sentences, broken sentences and
text that says nothing (section 3.2). These rules count the same without a hand:

    empty         no letter and no figure in it
    no end        it grew to the limit, or its last character ends no sentence
    repetition    a sentence of three words or more comes twice, a group of up to ten words comes
                  three times in a row (a single word four times), or up to eight characters ten
                  times
    not English   more than a tenth of its letters are not Latin ones, or, from five words on,
                  py3langid takes it for another language, or for none

A refrain counts as repetition and a list without full stops as broken: read the failures, not only
their number; the report shows them first.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from minigpt4.evaluation.items import Answer, Item, Judged, Score, Verdict, share
from minigpt4.evaluation.packages import needed

_LANGUAGES = "py3langid"
CAUSES = ("empty", "no end", "repetition", "not English")
_WORD = re.compile("[^\\W_]+(?:['\u2019][^\\W_]+)*")
_CLOSING = "\"'\u201d\u2019)]*"
_SENTENCE_END = re.compile(rf"(?<=[.!?…])[{re.escape(_CLOSING)}]*\s+|\n+")
_LOOP = re.compile(r"(\S{1,8}?)\1{9,}")
_LONGEST_LOOP = 10
_FEWEST_WORDS = 5
"""Of fewer words no language can be told."""


def causes(
    text: str, finish: str | None, language: Callable[[str], str] | None = None
) -> tuple[str, ...]:
    """Why a long answer counts as failed.

    Args:
        text: The answer.
        finish: Why it ended, if that is known; "length" is the limit.
        language: Tells a text's language, as "en"; None takes py3langid.

    Returns:
        Some of `CAUSES`; nothing for an answer that did not fail.

    Raises:
        ConfigError: If py3langid is not installed.
    """
    if not any(character.isalnum() for character in text):
        return ("empty",)
    found = {
        "no end": finish == "length" or not _ends(text),
        "repetition": _repeats(text),
        "not English": not _is_english(text, language or _language),
    }
    return tuple(cause for cause in CAUSES if found.get(cause))


def judge(items: Sequence[Item], answers: Mapping[str, Answer]) -> Judged:
    """Counts the failed answers, and each cause.

    Raises:
        ConfigError: If py3langid is not installed.
    """
    needed(_LANGUAGES)  # told before the first answer, also where there is none yet
    verdicts = {}
    counted: Counter[str] = Counter()
    words = 0
    for item in items:
        answer = answers[item.key]
        found = causes(answer.text, answer.finish)
        counted.update(found)
        words += len(_WORD.findall(answer.text))
        verdicts[item.key] = Verdict("wrong" if found else "right", float(not found), found)
    failed = sum(verdict.mark == "wrong" for verdict in verdicts.values())
    number = len(items)
    return Judged(
        (
            share("failed", failed, number, "Answers with at least one of the causes below."),
            *(share(cause, counted[cause], number) for cause in CAUSES),
            # The paper's answers of stage 1 are short as well as broken.
            _mean_words(words, number),
        ),
        verdicts,
    )


def _mean_words(words: int, answers: int) -> Score:
    return Score("words", words / answers if answers else 0.0, "number", about="Mean length.")


def _ends(text: str) -> bool:
    return text.rstrip().rstrip(_CLOSING).endswith((".", "!", "?", "…"))


def _repeats(text: str) -> bool:
    sentences = [_words(sentence) for sentence in _SENTENCE_END.split(text)]
    said = Counter(tuple(words) for words in sentences if len(words) >= 3)
    if any(number > 1 for number in said.values()) or _LOOP.search(text):
        return True
    words = _words(text)
    return any(_comes_again(words, size) for size in range(1, _LONGEST_LOOP + 1))


def _comes_again(words: Sequence[str], size: int) -> bool:
    """Whether a group of so many words stands three times in a row, a single word four times."""
    times, same = (4 if size == 1 else 3), 0
    for index in range(size, len(words)):
        same = same + 1 if words[index] == words[index - size] else 0
        if same == size * (times - 1):
            return True
    return False


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _is_english(text: str, language: Callable[[str], str]) -> bool:
    letters = [character for character in text if character.isalpha()]
    foreign = sum(not unicodedata.name(each, "").startswith("LATIN") for each in letters)
    if 10 * foreign > len(letters):
        return False
    return len(_words(text)) < _FEWEST_WORDS or language(text) == "en"


def _language(text: str) -> str:
    return str(needed(_LANGUAGES).classify(text)[0])
