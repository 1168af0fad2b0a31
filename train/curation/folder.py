"""The folder of a curation: a file of rows for each step, and what made them.

    runs/curation/
      described.jsonl   describe: what the model says of each picture
      repaired.jsonl    repair: the same without its faults
      filtered.jsonl    filter: kept or not, with every reason
      reviewed.jsonl    review: what a person decided, a line a decision
      runs.jsonl        what made the rows: model, prompt, settings, when; rows name it by "run"

A row knows the text it was made from by a digest, "of": if that text is another now, the row counts
no more, and the step does it again.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from train.curation.errors import CurationError
from train.curation.ledger import Fields, Ledger

DECIDED = ("accepted", "edited", "rejected")
"""What a person may decide about a row."""


@dataclass(frozen=True, slots=True)
class Caption:
    """A picture with its text, on its way through the steps.

    Attributes:
        id: Names it in every file.
        picture: Where its picture is; `sources.picture_bytes` reads it.
        text: The text as it is now.
        described: Its row of `describe`.
        repaired: Its row of `repair`, if it has one that counts.
        filtered: Its row of `filter`, likewise.
        reviewed: Its row of `review`, likewise.
    """

    id: str
    picture: Fields
    text: str
    described: Fields
    repaired: Fields | None = None
    filtered: Fields | None = None
    reviewed: Fields | None = None


class Folder:
    """The files of a curation."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.described = Ledger(path / "described.jsonl")
        self.repaired = Ledger(path / "repaired.jsonl")
        self.filtered = Ledger(path / "filtered.jsonl")
        self.reviewed = Ledger(path / "reviewed.jsonl")
        self._runs = Ledger(path / "runs.jsonl")

    def begin(self, step: str, rows: Ledger | None, settings: Fields, notes: Fields) -> str:
        """Writes down what makes the rows of a step.

        Args:
            step: Its name.
            rows: Its file, if all rows of it must be made alike.
            settings: What decides the rows.
            notes: What does not, such as the number of threads.

        Returns:
            The name of the run.

        Raises:
            CurationError: If the file holds rows that were made otherwise.
        """
        run = hashlib.sha256(json.dumps([step, settings], sort_keys=True).encode()).hexdigest()[:12]
        known = self._runs.rows()
        for row in rows.rows().values() if rows is not None else ():
            if rows is not None and row.get("run") not in (run, None):
                raise _made_otherwise(rows.path, known.get(row["run"], {}), settings)
        if run not in known:
            with self._runs.appending() as runs:
                began = {"step": step, "settings": settings, "notes": notes, "began": now()}
                runs.add({"id": run, **began})
        return run

    def runs(self) -> dict[str, Fields]:
        """What made the rows, by the names of the runs."""
        return self._runs.rows()

    def captions(self) -> Iterator[Caption]:
        """Every picture that was described, with as many later rows as count."""
        repaired, filtered = self.repaired.rows(), self.filtered.rows()
        reviewed = self.reviewed.rows()
        for name, row in self.described.rows().items():
            if "failed" in row:
                continue
            text = row["text"]
            mended = counting(repaired.get(name), text)
            text = text if mended is None or "failed" in mended else mended["text"]
            judged = counting(filtered.get(name), text)
            decided = counting(reviewed.get(name), text)
            yield Caption(name, row["picture"], text, row, mended, judged, decided)

    def told(self) -> Iterator[str]:
        """How many rows each step has, for people."""
        described = self.described.rows().values()
        failed = sum("failed" in row for row in described)
        yield _counted("described", len(described) - failed, failed=failed)
        captions = list(self.captions())
        mended = [each.repaired for each in captions if each.repaired is not None]
        if mended:
            failed = sum("failed" in row for row in mended)
            yield _counted("repaired", len(mended) - failed, failed=failed)
        judged = [each.filtered for each in captions if each.filtered is not None]
        if judged:
            kept = sum(row["kept"] for row in judged)
            reasons = Counter(reason for row in judged for reason in row["reasons"])
            yield _counted("kept by the filter", kept, rejected=len(judged) - kept)
            yield from (f"  {count:>7,} x {reason}" for reason, count in reasons.most_common())
        decided = Counter(
            each.reviewed["decision"] for each in captions if each.reviewed is not None
        )
        if any(decided[each] for each in DECIDED):
            accepted = decided["accepted"] + decided["edited"]
            parts = {"edited": decided["edited"], "rejected": decided["rejected"]}
            yield _counted("accepted by a person", accepted, **parts)


def counting(row: Fields | None, text: str) -> Fields | None:
    """A row of a later step, if it was made from this text."""
    return row if row is not None and row.get("of") == digest(text) else None


def digest(text: str) -> str:
    """Names a text by its content."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


def now() -> str:
    """The time, for a row."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _counted(what: str, number: int, **others: int) -> str:
    beside = ", ".join(f"{count:,} {name}" for name, count in others.items() if count)
    return f"  {number:>7,} {what}" + (f" ({beside})" if beside else "")


def _made_otherwise(path: Path, before: Fields, settings: Fields) -> CurationError:
    old = before.get("settings", {})
    other = [
        f"{key} was {_short(old.get(key))} and is {_short(settings.get(key))}"
        for key in sorted({*old, *settings})
        if old.get(key) != settings.get(key)
    ]
    what = "; ".join(other) or "which settings is not known, for runs.jsonl does not say"
    message = (
        f"{path} was made with other settings: {what}. Go on with the same ones, remove the file to"
        " begin the step anew, or use another folder."
    )
    return CurationError(message)


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
