"""The second step: what the model said, without its faults; by a language model or by rules.

Source: section 3.2 of the paper, "Data post-processing".
"""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from train.curation.endpoint import Endpoint
from train.curation.errors import RowError
from train.curation.folder import counting, digest, now
from train.curation.ledger import Fields
from train.curation.rules import repair_by_rules

RULES_VERSION = 1
"""Raised when the rules change, so that rows made by other rules are not mixed with new ones."""
Repair: TypeAlias = Callable[[Fields], Fields]
"""From a row of `describe` to a row of `repair`; raises `RowError`."""


def by_endpoint(endpoint: Endpoint, prompt: str) -> Repair:
    """Repairs by asking a language model.

    Args:
        endpoint: Asked from any number of threads.
        prompt: What it is told; the text follows after an empty line.
    """

    def repair(described: Fields) -> Fields:
        answer = endpoint.complete(f"{prompt}\n\n{described['text']}")
        return {
            **_row(described, answer.text),
            "model": answer.model,
            "usage": answer.usage,
            "tries": answer.tries,
        }

    return repair


def by_rules(described: Fields) -> Fields:
    """Repairs without a language model.

    Raises:
        RowError: If nothing is left.
    """
    repaired = repair_by_rules(described["text"], cut=described.get("finish") == "length")
    if not repaired.text:
        done = ", ".join(f"{count} x {change}" for change, count in repaired.changes.items())
        raise RowError(f"nothing is left of it: {done}")
    return {**_row(described, repaired.text), "changes": repaired.changes}


def still_to_repair(
    described: Iterable[Fields], rows: Mapping[str, Fields]
) -> tuple[list[Fields], int]:
    """Rows that have no repair yet; those that failed are tried again.

    Returns:
        These, and how many are done.
    """
    waiting, done = [], 0
    for row in described:
        if "failed" in row:
            continue
        repaired = counting(rows.get(row["id"]), row["text"])
        if repaired is not None and "failed" not in repaired:
            done += 1
        else:
            waiting.append(row)
    return waiting, done


def _row(described: Fields, text: str) -> Fields:
    return {"id": described["id"], "of": digest(described["text"]), "text": text, "time": now()}
