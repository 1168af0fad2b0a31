"""Captions as the release cleaned them before stage 1."""

import re

MOST_WORDS = 50
"""Words of a caption that are kept."""
_REMOVED = re.compile(r"[.!\"()*#:;~]")
_GAP = re.compile(r"\s{2,}")


def clean_caption(text: str) -> str:
    """A caption in lower case, without the punctuation the release took out, 50 words at most.

    Source: BlipCaptionProcessor of the release.
    """
    spaced = _GAP.sub(" ", _REMOVED.sub(" ", text.lower()))
    words = spaced.rstrip("\n").strip(" ").split(" ")
    return " ".join(words[:MOST_WORDS])
