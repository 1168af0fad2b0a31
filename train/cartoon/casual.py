"""Questions as people type them: no capitals, no mark, but a greeting, a please or a thanks."""

import random

_OPENERS = (
    "Hi,", "Hello,", "Hey,", "Ok,", "Okay,", "So,", "And", "Now", "Well,", "Please,", "Please:",
    "Tell me,", "Say,", "Next question:", "I wonder:", "One more:", "Sorry,", "Look again:",
)  # fmt: skip
_CLOSERS = (
    ", please", " please", ", thanks", " thanks", ", please, thanks", " then", " now", " exactly",
    " here", ", in your opinion", " by the way", ", if I may ask", ", do you know", " pls",
)  # fmt: skip
_AFTERWORDS = ("Thanks!", "Thank you.", "Please.", "Thank you!", "Look carefully.", "Be exact.")
_MARKS = ".?!"
_NAMES = frozenset({"I", "HTML"})
"""Words that keep their capitals in the middle of a sentence."""


def casual(question: str, rng: random.Random) -> str:
    """A question said more loosely; what is asked stays the same.

    Args:
        question: A sentence, with its mark or without.
        rng: Decides what becomes of it: mostly one or two of the changes, at times none.
    """
    body = question.rstrip(_MARKS)
    mark = question[len(body) :]
    if rng.random() < 0.25:
        body += rng.choice(_CLOSERS)
    if rng.random() < 0.25:
        body = f"{rng.choice(_OPENERS)} {_uncapitalized(body)}"
    draw = rng.random()
    if draw < 0.35:
        mark = ""
    elif draw < 0.4:
        mark = rng.choice(("?", "??", "!", " ?", "...", "."))
    said = body + mark
    if rng.random() < 0.08:
        said = f"{said} {rng.choice(_AFTERWORDS)}"
    if rng.random() < 0.4:
        said = said.lower()
    if rng.random() < 0.1:
        said = said.replace("'", "")
    return said


def _uncapitalized(text: str) -> str:
    first = text.split(" ", 1)[0]
    return text if first.rstrip(",") in _NAMES else text[:1].lower() + text[1:]
