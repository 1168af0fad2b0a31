"""Web pages in what a model wrote: where each begins and ends.

The paper's model writes a page from the photograph of a sketch. Such an answer stays text on our
page; `find_pages` says which part of it can also be shown as a page, to whoever wants to see it.

Source: MiniGPT-4, section 4.1 (a website from a hand-drawn draft).
"""

import re

Span = tuple[int, int]
"""Where a page begins and ends in an answer."""

# A document begins with tags that follow each other; in prose words come between them.
_BEGIN = re.compile(
    r"(?:<!doctype\s+html[^<>]*>|^[ \t]*<html(?:\s[^<>]*)?>)\s*(?=<)", re.IGNORECASE | re.MULTILINE
)
_END = re.compile(r"</html\s*>", re.IGNORECASE)
# A line that opens or closes a block of code. Nothing is tried twice ("*+"): time stays in
# proportion to length, whatever a model writes.
_FENCE = re.compile(r"^ {0,3}(`{3,}+|~{3,}+)[ \t]*+([^\s`]*+)[^\n`]*+$", re.MULTILINE)
_MARKUP = re.compile(r"<(?:!doctype\s+html|!--|[a-z])", re.IGNORECASE)
_LANGUAGES = frozenset({"html", "htm", "xhtml"})


def find_pages(answer: str) -> tuple[Span, ...]:
    """Find the web pages in a finished answer, in their order.

    A page is a whole document, from ``<!doctype html>`` or ``<html>`` to ``</html>``, or what
    stands in a closed block of code that says it is HTML and begins with a tag. Tags that prose
    speaks of are no page, and half a document is none.
    """
    pages: list[Span] = []
    at = 0
    for block in _blocks(answer):
        pages += _documents(answer, at, block[0])
        pages.append(block)
        at = block[1]
    pages += _documents(answer, at, len(answer))
    return tuple(pages)


def _blocks(answer: str) -> list[Span]:
    """The markup in closed blocks of code that say they are HTML."""
    found: list[Span] = []
    opened: re.Match[str] | None = None
    for line in _FENCE.finditer(answer):
        if opened is None:
            opened = line
        elif line[1].startswith(opened[1]) and not line[2]:
            markup = _trimmed(answer, opened.end(), line.start())
            if opened[2].lower() in _LANGUAGES and _MARKUP.match(answer, *markup):
                found.append(markup)
            opened = None
    return found


def _documents(answer: str, begin: int, end: int) -> list[Span]:
    """The whole documents in a part of an answer."""
    found: list[Span] = []
    while (opened := _BEGIN.search(answer, begin, end)) and (
        closed := _END.search(answer, opened.end(), end)
    ):
        found.append(_trimmed(answer, opened.start(), closed.end()))
        begin = closed.end()
    return found


def _trimmed(answer: str, begin: int, end: int) -> Span:
    """A part of an answer without the blank space around it."""
    text = answer[begin:end]
    return end - len(text.lstrip()), begin + len(text.rstrip())
