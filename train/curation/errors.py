"""The errors of curation."""

from minigpt4.errors import MiniGPT4Error


class CurationError(MiniGPT4Error):
    """A step cannot start or go on; the message says why and what to do."""


class RowError(Exception):
    """One row cannot be done; the others go on. ``str(error)`` is the reason that is written."""


class UnansweredError(RowError):
    """An endpoint failed at a row, however often it was asked; it may be out of order."""
