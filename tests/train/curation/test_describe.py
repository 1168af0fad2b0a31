"""Describing: where pictures come from, what is asked, and what is written."""

import io
import json
import tarfile
import threading
from types import SimpleNamespace

import pytest
from PIL import Image

from minigpt4.errors import BusyError, EngineError, ImageError
from tests.train.curation.made import pictures
from train.curation.at_once import as_they_end
from train.curation.describe import Asked, Describer
from train.curation.errors import CurationError, RowError
from train.curation.sources import Picture, picture_bytes, pictures_of


class FakeLoaded:
    """Answers by script: for every question the text, its tokens and why it ended."""

    def __init__(self, *script):
        self.script = script
        self.asked: list[str] = []
        self.busy = 0

    def conversation(self, content):
        if content == b"broken":
            raise ImageError("unreadable", "The image could not be read.")
        answers = iter(self.script)

        def parts(question, stop):
            if self.busy:
                self.busy -= 1
                raise BusyError
            self.asked.append(question)
            answer = next(answers)
            if isinstance(answer, Exception):
                raise answer
            text, tokens, finish = answer
            yield SimpleNamespace(text="", tokens=0, finish=None)
            yield SimpleNamespace(text=text, tokens=tokens, finish=finish)

        return SimpleNamespace(parts=parts)


@pytest.fixture
def picture(tmp_path):
    (path,) = pictures(tmp_path, 1)
    return Picture("1.png", {"file": str(path)})


def describe(picture, *script, **settings):
    chat = FakeLoaded(*script)
    asked = Asked(prompt="Describe.", **settings)
    row = Describer(chat, asked, threading.Event()).describe(picture)
    return row, chat.asked


@pytest.mark.parametrize(
    ("tokens", "continued"), [(0, True), (79, True), (80, True), (81, False), (300, False)]
)
def test_at_most_80_tokens_are_continued_once(picture, tokens, continued):
    row, asked = describe(picture, ("A dog.", tokens, "stop"), ("It runs.", 5, "length"))
    assert asked == ["Describe.", *(["Continue"] if continued else [])]
    assert row["text"] == ("A dog. It runs." if continued else "A dog.")
    assert row["tokens"] == (tokens + 5 if continued else tokens)
    assert (row["continued"], row["finish"]) == (continued, "length" if continued else "stop")


def test_an_empty_second_answer_changes_nothing(picture):
    row, _ = describe(picture, ("A dog.", 3, "stop"), ("", 0, "stop"))
    assert row["text"] == "A dog."
    with pytest.raises(RowError, match="said nothing"):
        describe(picture, (" ", 1, "stop"), ("", 0, "stop"))


def test_a_failure_is_the_rows_own(picture, tmp_path):
    with pytest.raises(RowError, match="ran out"):
        describe(picture, EngineError("The model ran out of memory."))
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"broken")
    with pytest.raises(RowError, match="could not be read"):
        describe(Picture("x", {"file": str(broken)}))
    with pytest.raises(RowError, match=r"^gone\.png: No such file"):
        describe(Picture("x", {"file": str(tmp_path / "gone.png")}))
    with pytest.raises(RowError, match="no picture"):
        describe(Picture("x", {"file": str(broken)}, "no picture"))


def test_a_busy_model_is_asked_again(picture):
    chat = FakeLoaded(("A dog.", 90, "stop"))
    chat.busy = 2
    row = Describer(chat, Asked(prompt="Describe."), threading.Event()).describe(picture)
    assert row["text"] == "A dog."


def test_a_folder_is_read_by_name_and_hidden_files_are_not(tmp_path):
    pictures(tmp_path / "a" / "deep", 2)
    (tmp_path / "a" / "B.JPEG").write_bytes(b"x")
    (tmp_path / "a" / "notes.txt").write_text("no picture")
    pictures(tmp_path / "a" / ".hidden", 1)
    found = list(pictures_of(str(tmp_path / "a"), tmp_path))
    assert [each.id for each in found] == ["B.JPEG", "deep/1.png", "deep/2.png"]
    assert picture_bytes(found[1].place) == (tmp_path / "a/deep/1.png").read_bytes()
    (tmp_path / "empty").mkdir()
    with pytest.raises(CurationError, match="no picture in this folder"):
        list(pictures_of(str(tmp_path / "empty"), tmp_path))


def test_rows_that_name_no_picture_are_faults_of_their_own(tmp_path):
    pictures(tmp_path / "p", 1)
    rows = [{"image": "p/1.png", "caption": "x"}, {"file_name": "p/2.png"}, {"image": 3}, [], {}]
    text = "\n".join(map(json.dumps, rows))
    (tmp_path / "rows.jsonl").write_text(f"{text}\n\nnonsense\n")
    found = list(pictures_of(str(tmp_path / "rows.jsonl"), tmp_path))
    assert [each.id for each in found][:3] == ["p/1.png", "p/2.png", "line 3"]
    assert [bool(each.problem) for each in found] == [False, False, True, True, True, True]
    assert found[-1].problem == "line 7: this is no JSON"
    assert picture_bytes(found[0].place) == (tmp_path / "p/1.png").read_bytes()


def test_pictures_of_shards_stay_where_they_are(tmp_path):
    files = pictures(tmp_path / "p", 3)
    for shard in range(2):
        with tarfile.open(tmp_path / f"{shard:05}.tar", "w") as archive:
            for number, file in enumerate(files):
                archive.add(file, f"{number:04}.png")
                archive.addfile(tarfile.TarInfo(f"{number:04}.txt"), io.BytesIO(b""))
            archive.addfile(tarfile.TarInfo("0009.json"), io.BytesIO(b""))
    found = list(pictures_of(str(tmp_path / "{00000..00002}.tar"), tmp_path))
    assert [each.id for each in found] == [
        *(f"00000.tar/{key}" for key in ("0000", "0001", "0002", "0009")),
        *(f"00001.tar/{key}" for key in ("0000", "0001", "0002", "0009")),
        "00002.tar",
    ]
    assert [each.problem for each in found if each.problem] == [
        "no picture",
        "no picture",
        "00002.tar: shard: not there",
    ]
    assert picture_bytes(found[5].place) == files[1].read_bytes()
    Image.open(io.BytesIO(picture_bytes(found[6].place))).load()
    (tmp_path / "00001.tar").write_bytes(b"cut")
    with pytest.raises(RowError, match="cut off"):
        picture_bytes(found[5].place)


def test_no_source_is_told_what_would_be_one(tmp_path):
    with pytest.raises(CurationError, match="expected a folder"):
        list(pictures_of(str(tmp_path / "nothing"), tmp_path))


def test_rows_are_done_so_many_at_a_time_and_a_fault_stops_no_other():
    lock, now, most = threading.Lock(), 0, 0
    both = threading.Barrier(2, timeout=60)

    def work(row):
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        both.wait()
        with lock:
            now -= 1
        if row == 3:
            raise RowError("three")
        return row * 10

    ended = dict(as_they_end(range(8), work, 2, threading.Event()))
    assert most == 2
    assert {row: str(done) for row, done in ended.items() if row == 3} == {3: "three"}
    assert [ended[row] for row in range(8) if row != 3] == [0, 10, 20, 40, 50, 60, 70]


def test_an_error_of_all_begins_nothing_more():
    stop, begun = threading.Event(), []

    def work(row):
        begun.append(row)
        if row == 2:
            raise CurationError("wrong key")
        return row

    with pytest.raises(CurationError, match="wrong key"):
        list(as_they_end(range(1000), work, 1, stop))
    assert stop.is_set()
    assert begun == [0, 1, 2]
