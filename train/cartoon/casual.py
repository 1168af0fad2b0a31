"""Questions as people type them: no capitals, no mark, but a greeting, a please or a thanks."""

import random
import re

OPENERS = (
    "Hi,", "Hello,", "Hey,", "Ok,", "Okay,", "So,", "And", "Now", "Well,", "Please,", "Please:",
    "Tell me,", "Say,", "Next question:", "I wonder:", "One more:", "Sorry,", "Look again:",
)  # fmt: skip
CLOSERS = (
    ", please", " please", ", thanks", " thanks", ", please, thanks", " then", " now", " exactly",
    " here", ", in your opinion", " by the way", ", if I may ask", ", do you know", " pls",
)  # fmt: skip
AFTERWORDS = ("Thanks!", "Thank you.", "Please.", "Thank you!", "Look carefully.", "Be exact.")
_MARKS = ".?!"
_WORD = re.compile(r"[a-z]+")


def casual(question: str, rng: random.Random) -> str:
    """A question said more loosely; what is asked stays the same.

    Args:
        question: A sentence, with its mark or without.
        rng: Decides what becomes of it: mostly one or two of the changes, at times none.
    """
    body = question.rstrip(_MARKS)
    mark = question[len(body) :]
    if rng.random() < 0.25:
        body += rng.choice([each for each in CLOSERS if not _repeats(each, body)])
    if rng.random() < 0.25:
        opener = rng.choice([each for each in OPENERS if not _repeats(each, body)])
        body = f"{opener} {_uncapitalized(body)}"
    draw = rng.random()
    if draw < 0.35:
        mark = ""
    elif draw < 0.4:
        mark = rng.choice(("?", "??", "!", " ?", "...", "."))
    said = body + mark
    if mark and rng.random() < 0.1:
        said = f"{said} {rng.choice(AFTERWORDS)}"
    if rng.random() < 0.4:
        said = said.lower()
    if rng.random() < 0.1:
        said = said.replace("'", "")
    return said


def unmarked(said: str) -> str:
    """Small letters and no mark: as small talk is typed, to which nothing is added."""
    return said.rstrip(_MARKS).lower()


def _uncapitalized(text: str) -> str:
    return text if text.startswith("I ") else text[:1].lower() + text[1:]


def _repeats(addition: str, body: str) -> bool:
    """Whether a word of an addition is said already."""
    said = set(_WORD.findall(body.lower()))
    return not said.isdisjoint(_WORD.findall(addition.lower()))
