"""What a person decides about texts: the rows, the decisions, and what comes next. No page here.

A decision is on the disk before it counts. It may be taken again; the last one stands. Several
people may decide at the same time, each at a place of their own.
"""

import difflib
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from minigpt4.conversation import clean_text
from train.curation.errors import RowError
from train.curation.folder import Caption, Folder, digest, now
from train.curation.ledger import Appender, Fields

MOST_CHARACTERS = 8_000
REASONS = (
    "says what is not there",
    "leaves out what matters",
    "bad English",
    "unfit picture",
)
"""Why a person may reject a text, in the order of their keys, 1 to 4."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A text as it is shown.

    Attributes:
        caption: Its row.
        number: Its place among all rows, from 1.
        text: What was decided on, or typed, or repaired.
        decision: What was decided about it; empty if nothing was.
        reason: Why it was rejected.
    """

    caption: Caption
    number: int
    text: str
    decision: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the review is."""

    rows: int
    accepted: int
    edited: int
    rejected: int

    @property
    def open(self) -> int:
        """Rows that nobody has decided about."""
        return self.rows - self.accepted - self.edited - self.rejected


class Review:
    """The rows that the filter kept, and what was decided about them; for any number of threads."""

    def __init__(self, folder: Folder, rows: Appender, reviewer: str = "") -> None:
        """Reads the rows and the decisions so far.

        Args:
            folder: The curation.
            rows: Gets the decisions.
            reviewer: Who decides.
        """
        self.folder = folder
        self._rows = rows
        self._reviewer = reviewer
        self._lock = threading.Lock()
        kept = [each for each in folder.captions() if each.filtered and each.filtered["kept"]]
        self._captions = kept
        self._places = {caption.id: place for place, caption in enumerate(kept)}
        self._decided: dict[str, Fields] = {
            caption.id: caption.reviewed for caption in kept if caption.reviewed is not None
        }
        self._drafts: dict[str, str] = {}

    def progress(self) -> Progress:
        """How far it is."""
        with self._lock:
            count = Counter(row["decision"] for row in self._decided.values())
        return Progress(len(self._captions), count["accepted"], count["edited"], count["rejected"])

    def next_open(self, after: str = "") -> Shown | None:
        """The next row that nobody has decided about.

        Args:
            after: The row to look behind of; behind the last one comes the first.

        Returns:
            None if there is none left.
        """
        begin = self._places.get(after, -1) + 1
        with self._lock:
            for step in range(len(self._captions)):
                caption = self._captions[(begin + step) % len(self._captions)]
                if caption.id not in self._decided:
                    return self._shown(caption)
        return None

    def beside(self, name: str, step: int) -> Shown | None:
        """The row so many places on from another, decided about or not.

        Args:
            name: The other; none if all are decided, which counts as behind the last one.
            step: 1 or -1.
        """
        if not self._captions:
            return None
        place = self._places.get(name, len(self._captions)) + step
        with self._lock:
            return self._shown(self._captions[place % len(self._captions)])

    def keep_draft(self, name: str, text: str) -> None:
        """Remembers a text that was changed and not decided on, while the page is served."""
        if name not in self._places or len(text) > MOST_CHARACTERS:
            return
        with self._lock:
            caption = self._captions[self._places[name]]
            if text.strip() == self._shown(caption, drafts=False).text:
                self._drafts.pop(name, None)
            else:
                self._drafts[name] = text

    def accept(self, name: str, text: str) -> None:
        """Takes a text as it is shown; a changed one counts as edited.

        Raises:
            RowError: If there is no such row, or nothing stands in the text.
        """
        cleaned = " ".join(clean_text(text).split())
        if not cleaned:
            raise RowError("The text is empty. Write one, or reject the row.")
        if len(cleaned) > MOST_CHARACTERS:
            raise RowError(
                f"The text has {len(cleaned):,} characters; most are {MOST_CHARACTERS:,}."
            )
        edited = cleaned != " ".join(self._caption(name).text.split())
        self._decide(name, "edited" if edited else "accepted", cleaned)

    def reject(self, name: str, reason: str = "") -> None:
        """Leaves a row out.

        Raises:
            RowError: If there is no such row or reason.
        """
        if reason and reason not in REASONS:
            raise RowError(f"There is no reason {reason[:40]!r}.")
        self._decide(name, "rejected", self._caption(name).text, reason)

    def _caption(self, name: str) -> Caption:
        if name not in self._places:
            raise RowError("This row is not among those to review. Please reload the page.")
        return self._captions[self._places[name]]

    def _decide(self, name: str, decision: str, text: str, reason: str = "") -> None:
        row: Fields = {
            "id": name,
            "of": digest(self._caption(name).text),
            "decision": decision,
            "text": text,
            "reason": reason,
            "reviewer": self._reviewer,
            "time": now(),
        }
        with self._lock:
            self._rows.add(row)
            self._decided[name] = row
            self._drafts.pop(name, None)

    def _shown(self, caption: Caption, *, drafts: bool = True) -> Shown:
        shown = Shown(caption, self._places[caption.id] + 1, caption.text)
        if decided := self._decided.get(caption.id):
            text = decided["text"]
            shown = replace(
                shown, text=text, decision=decided["decision"], reason=decided["reason"]
            )
        if drafts and caption.id in self._drafts:
            return replace(shown, text=self._drafts[caption.id])
        return shown


def changes(before: str, after: str) -> Iterator[tuple[str, str]]:
    """What became of a text, word by word.

    Yields:
        Words, a space between them, with "same", "gone" or "new".
    """
    old, new = before.split(), after.split()
    matcher = difflib.SequenceMatcher(None, old, new, autojunk=False)
    for kind, first, behind, new_first, new_behind in matcher.get_opcodes():
        if kind == "equal":
            yield " ".join(old[first:behind]), "same"
            continue
        if behind > first:
            yield " ".join(old[first:behind]), "gone"
        if new_behind > new_first:
            yield " ".join(new[new_first:new_behind]), "new"
