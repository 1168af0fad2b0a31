"""How VQA compares answers: by what is left of them once spelling is out of the way.

Source: `processPunctuation` and `processDigitArticle` of the official evaluation of VQA (v2), rule
for rule, the odd ones too: whether a mark of punctuation becomes a space or nothing depends on the
whole answer.
"""

import re

_MARKS = tuple(';/[]"{}()=+\\_-><@`,?!')
_NUMBERS = {
    word: str(number)
    for number, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
} | {"none": "0"}
_ARTICLES = frozenset({"a", "an", "the"})
_GROUPED_DIGITS = re.compile(r"\d,\d")
_FULL_STOP = re.compile(r"\.(?!\d)")

# An answer may have lost one of their apostrophes. Left out are those that without it are other
# words: I'll, he'll, she'll, we'll, we'd, we're, it's, she'd.
_CONTRACTED = (
    "ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've "
    "hasn't haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am "
    "mightn't mightn't've might've mustn't must've needn't not've o'clock oughtn't shan't "
    "should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd "
    "someone'd've someone'll someone's something'd something'd've something'll that's there'd "
    "there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we've "
    "weren't what'll what're what's what've when's where'd where's where've who'd who'd've "
    "who'll who's who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll "
    "y'all'd've you'd you'd've you'll you're you've 'ow's'at we'd've she'd've"
)


def without_punctuation(text: str) -> str:
    """An answer without marks of punctuation; apostrophes and colons stay."""
    grouped = _GROUPED_DIGITS.search(text) is not None
    left = text
    for mark in _MARKS:
        beside_space = f"{mark} " in text or f" {mark}" in text
        left = left.replace(mark, "" if beside_space or grouped else " ")
    return _FULL_STOP.sub("", left)


def plain(text: str) -> str:
    """What an answer is compared by: lower case, no articles, numbers as figures."""
    cleaned = without_punctuation(re.sub(r"[\n\t]", " ", text).strip())
    words = [_NUMBERS.get(word, word) for word in cleaned.lower().split()]
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def _contractions() -> dict[str, str]:
    """Every contraction by each spelling that lacks one of its apostrophes."""
    spelled = {"somebody'd": "somebodyd"}  # the wrong way round, as the official table has it
    for whole in _CONTRACTED.split():
        for place, character in enumerate(whole):
            if character == "'":
                spelled[whole[:place] + whole[place + 1 :]] = whole
    return spelled


_CONTRACTIONS = _contractions()
