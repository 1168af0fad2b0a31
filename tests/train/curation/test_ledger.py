"""Rows on disk: nothing is lost, whenever a program is killed."""

import subprocess
import sys

import pytest

from train.curation.errors import CurationError
from train.curation.folder import Folder, digest
from train.curation.ledger import Ledger
from train.settings import ROOT


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "deep" / "rows.jsonl")


def test_rows_come_back_in_the_order_of_people_and_the_last_one_counts(ledger):
    assert ledger.rows() == {}
    with ledger.appending() as rows:
        for name, text in (
            ("10.png", "ten"),
            ("9.png", "nine"),
            ("a/2", "ü\n\ud800"),
            ("9.png", "neun"),
        ):
            rows.add({"id": name, "text": text})
    assert [(name, row["text"]) for name, row in ledger.rows().items()] == [
        ("9.png", "neun"),
        ("10.png", "ten"),
        ("a/2", "ü\n?"),  # a lone surrogate is no UTF-8
    ]


@pytest.mark.parametrize("rest", [b'{"id": "2", "te', b'{"id": "2", "text": "whole"}', b"\xff\xfe"])
def test_a_last_line_without_its_end_never_was(ledger, rest):
    with ledger.appending() as rows:
        rows.add({"id": "1"})
    ledger.path.write_bytes(ledger.path.read_bytes() + rest)
    assert list(ledger.rows()) == ["1"]
    with ledger.appending() as rows:
        rows.add({"id": "3"})
    assert ledger.path.read_bytes() == b'{"id": "1"}\n{"id": "3"}\n'


@pytest.mark.parametrize("line", ["[]", "{}", '{"id": 3}', "nonsense", "[" * 9_000])
def test_a_strange_line_is_named(ledger, line):
    ledger.path.parent.mkdir()
    ledger.path.write_text(f'{{"id": "1"}}\n{line}\n')
    with pytest.raises(CurationError, match="line 2"):
        ledger.rows()


def test_two_programs_do_not_write_at_once(ledger):
    program = (
        "import sys; from pathlib import Path; from train.curation.ledger import Ledger\n"
        "with Ledger(Path(sys.argv[1])).appending() as rows: rows.add({'id': 'other'})"
    )
    command = [sys.executable, "-c", program, str(ledger.path)]
    with ledger.appending() as rows:
        refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        rows.add({"id": "mine"})
    assert "Another program writes" in refused.stderr
    assert list(ledger.rows()) == ["mine"]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0
    assert list(ledger.rows()) == ["mine", "other"]


def test_rows_are_made_alike(tmp_path):
    folder = Folder(tmp_path)
    first = folder.begin("describe", folder.described, {"prompt": "one", "n": 1}, {"at": 1})
    with folder.described.appending() as rows:
        rows.add({"id": "1", "text": "x", "run": first})
    assert folder.begin("describe", folder.described, {"n": 1, "prompt": "one"}, {"at": 2}) == first
    with pytest.raises(CurationError, match='prompt was "one" and is "two"'):
        folder.begin("describe", folder.described, {"prompt": "two", "n": 1}, {})
    assert list(folder.runs()) == [first]
    assert folder.runs()[first]["notes"] == {"at": 1}


def test_a_later_row_counts_only_for_the_text_it_was_made_from(tmp_path):
    folder = Folder(tmp_path)
    described = {"id": "1", "picture": {}, "text": "old"}
    folder.described.replace([described, {"id": "2", "failed": "no picture"}])
    folder.repaired.replace([{"id": "1", "of": digest("old"), "text": "mended"}])
    folder.filtered.replace([{"id": "1", "of": digest("mended"), "kept": True, "reasons": []}])
    (caption,) = folder.captions()
    assert (caption.text, caption.filtered["kept"]) == ("mended", True)
    folder.described.replace([described | {"text": "new"}])
    (caption,) = folder.captions()
    assert (caption.text, caption.repaired, caption.filtered) == ("new", None, None)
