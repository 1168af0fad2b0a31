"""Decisions of a person, and the export of what is left."""

import json

import pytest
from PIL import Image

from tests.train.curation.made import TEXTS, described, filtered, lines, pictures
from train.curate import main
from train.curation.errors import CurationError, RowError
from train.curation.export import chosen, export
from train.curation.folder import Folder
from train.curation.reviewing import REASONS, Progress, Review, changes
from train.own_layouts import read_rows


@pytest.fixture
def folder(tmp_path):
    return filtered(tmp_path / "curation")


@pytest.fixture
def review(folder):
    with folder.reviewed.appending(lasting=True) as rows:
        yield Review(folder, rows, "ida")


def decide(folder: Folder, **decisions: str) -> None:
    with folder.reviewed.appending() as rows:
        review = Review(folder, rows)
        for name, text in decisions.items():
            row = f"{name[1:]}.png"
            if text:
                review.accept(row, text)
            else:
                review.reject(row)


def test_what_a_person_decides_is_written_at_once(folder, review):
    review.accept("2.png", f"  {TEXTS[1]}\n")
    review.accept("1.png", "It shows\nred.")
    review.reject("3.png", REASONS[0])
    told = [(row["id"], row["decision"], row["text"]) for row in lines(folder.reviewed.path)]
    assert told == [
        ("2.png", "accepted", TEXTS[1]),
        ("1.png", "edited", "It shows red."),
        ("3.png", "rejected", TEXTS[2]),
    ]
    assert review.progress() == Progress(rows=4, accepted=1, edited=1, rejected=1)
    assert review.progress().open == 1
    review.accept("3.png", TEXTS[2])
    assert review.progress() == Progress(rows=4, accepted=2, edited=1, rejected=0)


def test_what_comes_next(review):
    assert review.next_open().caption.id == "1.png"
    assert review.next_open(after="4.png").caption.id == "1.png"
    assert review.next_open(after="no such row").caption.id == "1.png"
    for name in ("1.png", "3.png"):
        review.reject(name)
    assert review.next_open().caption.id == "2.png"
    assert review.next_open(after="2.png").caption.id == "4.png"
    assert review.beside("1.png", -1).caption.id == "4.png"
    assert review.beside("", -1).number == 4
    for name in ("2.png", "4.png"):
        review.reject(name)
    assert review.next_open() is None


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("9.png", "x", "not among those"),
        ("../1.png", "x", "not among those"),
        ("1.png", " \n ", "empty"),
        ("1.png", "x" * 9_000, "9,000 characters"),
    ],
)
def test_nonsense_is_refused_and_not_written(folder, review, name, text, told):
    with pytest.raises(RowError, match=told):
        review.accept(name, text)
    with pytest.raises(RowError, match="no reason"):
        review.reject("1.png", "because")
    assert folder.reviewed.rows() == {}


def test_what_was_typed_and_not_decided_is_kept(review):
    review.keep_draft("1.png", "half a sen")
    review.keep_draft("9.png", "x")
    assert review.next_open().text == "half a sen"
    review.keep_draft("1.png", f"{TEXTS[0]} ")
    assert review.next_open().text == TEXTS[0]


def test_a_decision_about_another_text_counts_no_more(folder):
    decide(folder, _1=TEXTS[0])
    rows = list(folder.described.rows().values())
    rows[0]["text"] = "Another text about the picture than before."
    folder.described.replace(rows)
    assert chosen(folder.captions(), unreviewed=False) == []


def test_changes_are_told_word_by_word():
    told = [
        (piece.split(), kind) for piece, kind in changes("A dog runs  runs here", "A big dog runs.")
    ]
    assert told == [
        (["A"], "same"),
        (["big"], "new"),
        (["dog"], "same"),
        (["runs", "runs", "here"], "gone"),
        (["runs."], "new"),
    ]


def test_what_was_accepted_becomes_the_releases_folder(folder, tmp_path, capsys):
    decide(folder, _4=TEXTS[3], _2="An edited text.", _1="")
    target = tmp_path / "stage2"
    assert main(["export", str(folder.path), "--to", str(target)]) == 0
    assert f"python train/run.py --stage 2 --data {target}" in capsys.readouterr().out
    annotations = json.loads((target / "filter_cap.json").read_text())["annotations"]
    assert annotations == [
        {"image_id": "1", "caption": "An edited text."},
        {"image_id": "2", "caption": TEXTS[3]},
    ]
    source = read_rows(target)
    assert source.layout == "the release's folder"
    assert [row.exchanges for row in source.rows] == [(("", "An edited text."),), (("", TEXTS[3]),)]
    for row in source.rows:
        with Image.open(row.path) as picture:
            assert (picture.format, picture.size) == ("JPEG", (96, 64))
    told = lines(target / "provenance.jsonl")
    assert [(row["image_id"], row["id"]) for row in told] == [("1", "2.png"), ("2", "4.png")]
    assert told[0]["described"]["text"] == TEXTS[1]
    assert told[0]["reviewed"]["decision"] == "edited"
    from train.run import main as train

    assert train(["--stage", "2", "--data", str(target), "--check-data"]) == 0
    assert "2 rows, 2 of them usable, with 2 pictures" in capsys.readouterr().out


def test_an_export_takes_the_place_of_an_older_one_only(folder, tmp_path):
    decide(folder, _1=TEXTS[0])
    target = tmp_path / "stage2"
    once = export(folder, chosen(folder.captions(), unreviewed=True), target)
    assert once.written == 4
    again = export(folder, chosen(folder.captions(), unreviewed=False), target)
    assert again.written == 1
    assert [file.name for file in (target / "image").iterdir()] == ["1.jpg"]
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("precious")
    with pytest.raises(CurationError, match="something else"):
        export(folder, chosen(folder.captions(), unreviewed=True), mine)
    assert [file.name for file in mine.iterdir()] == ["thesis.txt"]
    left = {file.name for file in tmp_path.iterdir()}
    assert left == {"curation", "stage2", "mine"}


def test_an_export_goes_where_a_link_leads_and_never_over_a_file(folder, tmp_path):
    decide(folder, _1=TEXTS[0])
    rows = chosen(folder.captions(), unreviewed=False)
    file, place, link = tmp_path / "notes.txt", tmp_path / "disk" / "stage2", tmp_path / "link"
    file.write_text("precious")
    with pytest.raises(CurationError, match="is a file"):
        export(folder, rows, file)
    assert file.read_text() == "precious"
    place.mkdir(parents=True)
    link.symlink_to(place)
    for _ in range(2):
        export(folder, rows, link)
        assert link.is_symlink()
        assert (place / "filter_cap.json").is_file()
    assert {each.name for each in tmp_path.iterdir()} == {"curation", "notes.txt", "disk", "link"}


def test_pictures_are_written_upright_once_and_without_their_metadata(tmp_path):
    folder = tmp_path / "p"
    (first,) = pictures(folder, 1)
    turned, plain, copy = folder / "turned.jpg", folder / "plain.jpg", folder / "copy.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "Camera"
    gradient = Image.linear_gradient("L").resize((64, 32)).convert("RGB")
    gradient.save(turned, exif=exif)
    gradient.save(plain)
    copy.write_bytes(first.read_bytes())
    files = [first, copy, plain, turned, folder / "gone.png"]
    texts = [f"The image shows field number {number} and more." for number in range(5)]
    made = filtered(tmp_path / "c", texts, files)
    done = export(made, chosen(made.captions(), unreviewed=True), tmp_path / "out")
    assert done.written == 3
    lost = dict(done.lost)
    assert "the same picture as" in lost.get("copy.png", lost.get("1.png", ""))
    assert "No such file" in lost["gone.png"]
    names = {row["id"]: row["image_id"] for row in lines(tmp_path / "out/provenance.jsonl")}
    written = {name: tmp_path / f"out/image/{number}.jpg" for name, number in names.items()}
    assert written["plain.jpg"].read_bytes() == plain.read_bytes()
    with Image.open(written["turned.jpg"]) as picture:
        assert picture.size == (32, 64)
        assert not picture.getexif()
    assert json.loads((tmp_path / "out/curation.json").read_text())["lost"] == lost


@pytest.mark.parametrize(
    ("ready", "command", "told"),
    [
        ("", ["repair", "--rules"], "curate.py describe"),
        ("", ["filter"], "curate.py describe"),
        ("", ["status"], "curate.py describe"),
        ("described", ["filter"], "curate.py repair"),
        ("described", ["review"], "curate.py filter"),
        ("described", ["export"], "curate.py filter"),
        ("described", ["repair"], "--endpoint"),
        ("described", ["repair", "--endpoint", "ftp://x", "--model", "m"], "ftp://x"),
        ("described", ["repair", "--endpoint", "http://x"], "--model"),
        ("described", ["repair", "--endpoint", "http://h:p/v1", "--model", "m"], "Invalid port"),
        ("described", ["repair", "--endpoint", "http://[::1/v1", "--model", "m"], "--endpoint: "),
        ("described", ["repair", "--endpoint", "http:///v1", "--model", "m"], "no host"),
        ("filtered", ["export"], "curate.py review"),
    ],
)
def test_a_step_that_comes_too_early_names_the_one_before(
    tmp_path, capsys, monkeypatch, ready, command, told
):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    if ready:
        {"described": described, "filtered": filtered}[ready](tmp_path)
    step, *options = command
    assert main([step, str(tmp_path), *options]) == 1
    assert told in capsys.readouterr().err
