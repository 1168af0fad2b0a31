"""A user's own data: every layout is read, and every fault is told with its line."""

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from train.errors import TrainingError
from train.own_layouts import read_rows
from train.own_rows import Fault, Row


def _write(path: Path, *rows: object) -> Path:
    path.write_text(
        "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows)
    )
    return path


def _llava(*messages: str) -> list[dict[str, str]]:
    roles = ("human", "gpt") * len(messages)
    return [{"from": role, "value": text} for role, text in zip(roles, messages, strict=False)]


def _rows(path: Path) -> list[tuple[int, str, tuple[tuple[str, str], ...]]]:
    read = read_rows(path).rows
    assert all(isinstance(row, Row) for row in read), read
    return [(row.line, str(row.path), row.exchanges) for row in read if isinstance(row, Row)]


def test_json_lines(tmp_path: Path) -> None:
    path = _write(
        tmp_path / "rows.txt",  # the name says nothing
        {"image": "a.png", "instruction": "What is it?", "answer": "A cat."},
        "",
        {"id": 7, "file_name": "b/b.png", "caption": "A\u2028dog."},
        {"image": "/c.png", "question": "<Img><ImageHere></Img> Look.", "text": "A bird."},
    )
    assert _rows(path) == [
        (1, str(tmp_path / "a.png"), (("What is it?", "A cat."),)),
        (3, str(tmp_path / "b/b.png"), (("", "A\u2028dog."),)),
        (4, "/c.png", (("Look.", "A bird."),)),
    ]
    assert read_rows(path).layout == "JSON lines"
    assert _rows(_write(tmp_path / "bom.jsonl", '\ufeff{"image": "a.png", "answer": "A."}'))


@pytest.mark.parametrize("indent", [None, 2])
def test_llavas_conversations_as_a_list_know_their_lines(
    tmp_path: Path, indent: int | None
) -> None:
    rows = [
        {"id": "1", "image": "a.png", "conversations": _llava("<image>\nWhat?", "A cat.")},
        {"image": "b.png", "conversations": _llava("Hello?\n<image>", "Hi.", "And?", "Nothing.")},
        {"image": "c.png", "conversations": _llava("Ready?", "Yes.", "<image>\nLook.", "A dog.")},
    ]
    path = tmp_path / "llava.json"
    path.write_text("\n" + json.dumps(rows, indent=indent))
    source = read_rows(path)
    assert source.layout == "LLaVA's conversations, a JSON list"
    assert [(row.exchanges, row.picture_turn) for row in source.rows if isinstance(row, Row)] == [
        ((("What?", "A cat."),), 0),
        ((("Hello?", "Hi."), ("And?", "Nothing.")), 0),
        ((("Ready?", "Yes."), ("Look.", "A dog.")), 1),
    ]
    lines = path.read_text().split("\n")
    begins = [2, 2, 2] if indent is None else [row.line for row in source.rows]
    assert [row.line for row in source.rows] == begins
    assert indent is None or all(lines[line - 1].strip() == "{" for line in begins)
    lines_path = _write(tmp_path / "llava.jsonl", *rows)
    assert read_rows(lines_path).layout == "LLaVA's conversations, JSON lines"
    assert [row.line for row in read_rows(lines_path).rows] == [1, 2, 3]


def test_the_releases_folder(tmp_path: Path) -> None:
    notes = [{"image_id": "2", "caption": "A cat."}, {"image_id": 30, "caption": "A dog."}]
    (tmp_path / "filter_cap.json").write_text(json.dumps({"annotations": notes}, indent=1))
    assert read_rows(tmp_path).layout == "the release's folder"
    assert _rows(tmp_path) == [
        (3, str(tmp_path / "image/2.jpg"), (("", "A cat."),)),
        (7, str(tmp_path / "image/30.jpg"), (("", "A dog."),)),
    ]
    assert _rows(tmp_path / "filter_cap.json") == _rows(tmp_path)


@pytest.mark.parametrize("place", ["", "train"])
@pytest.mark.parametrize("column", ["text", "caption"])
def test_an_imagefolder(tmp_path: Path, place: str, column: str) -> None:
    folder = tmp_path / place
    folder.mkdir(exist_ok=True)
    (folder / "metadata.csv").write_text(
        f'file_name,{column}\na.png,"A cat, and\na dog."\nb.png,B\n'
    )
    expected = [
        (2, str(folder / "a.png"), (("", "A cat, and\na dog."),)),
        (4, str(folder / "b.png"), (("", "B"),)),
    ]
    assert _rows(tmp_path) == expected
    assert read_rows(tmp_path).layout == "a Hugging Face imagefolder"
    (folder / "metadata.csv").unlink()
    _write(folder / "metadata.jsonl", {"file_name": "a.png", column: "A cat."})
    assert _rows(tmp_path) == [(1, str(folder / "a.png"), (("", "A cat."),))]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_csv(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "rows.csv"
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file, delimiter=separator)
        writer.writerows([["image", "instruction", "answer", "label"], ["a.png", "Q?", "A.", "3"]])
        writer.writerows([[], ["b.png", "", "B, too.", ""]])
    assert _rows(path) == [
        (2, str(tmp_path / "a.png"), (("Q?", "A."),)),
        (4, str(tmp_path / "b.png"), (("", "B, too."),)),
    ]
    assert read_rows(path).ignored == {"label": 2}
    assert _rows(tmp_path) == _rows(path), "the one file of a folder is found"


@pytest.mark.parametrize(
    ("row", "cause", "told"),
    [
        ('{"image": "a.png", "answer": "A', "no JSON", "this line is no JSON"),
        ("[1]", "wrong type", "a list given; expected an object"),
        ({"answer": "A."}, "no image", "image is missing. Given: answer."),
        ({"image": " ", "answer": "A."}, "no image", "image is empty"),
        ({"image": "https://x.org/a.png", "answer": "A."}, "no image", "is an address"),
        ({"image": 3, "answer": "A."}, "wrong type", "image is a number, 3; expected text."),
        ({"image": "a.png"}, "no answer", "answer is missing. Given: image."),
        ({"image": "a.png", "answer": None}, "wrong type", "answer is nothing; expected text."),
        ({"image": "a.png", "anwser": "A."}, "unknown key", "anwser: no such key. Did you mean answer?"),
        ({"image": "a.png", "answer": "A.", "text": "B."}, "two keys for one thing", "answer and text"),
        ({"image": "a.png", "instruction": "", "answer": "A."}, "empty question", "leave the key out"),
        ({"image": "a.png", "instruction": "<image> <image>x", "answer": "A"}, "image slots", "has 2"),
        ({"image": "a.png", "conversations": []}, "wrong type", "conversations is a list"),
        ({"conversations": _llava("<image> Q", "A")}, "no image", "image is missing"),
        (
            {"image": "a.png", "conversations": [{"from": "system", "value": "Be kind."}]},
            "system message",
            "message 1 is from 'system'; nothing can be taught of it here",
        ),
        ({"image": "C:\\a.png", "answer": "A."}, "no image", "a place of Windows"),
        (
            {"image": "a.png", "conversations": _llava("<image> Q", "A", "<image>", "B")},
            "empty question",
            "message 3 is empty",
        ),
        (
            {"image": "a.png", "conversations": _llava("<image> Q", "A", "<image> R", "B")},
            "image slots",
            "2 times <image>",
        ),
        ({"image": "a.png", "conversations": _llava("is <image> it", "A")}, "image slots", "within a question"),
        (
            {"image": "a.png", "conversations": _llava("<image> Q")},
            "order of the conversation",
            "the last message is from 'human'",
        ),
        (
            {"image": "a.png", "conversations": [{"from": "humann", "value": "<image> Q"}]},
            "order of the conversation",
            "Did you mean human?",
        ),
        ({"image": "a.png", "conversations": [{"from": "human"}]}, "wrong type", "message 1: expected"),
    ],
)  # fmt: skip
def test_a_fault_has_its_line_and_says_what_is_wrong(
    tmp_path: Path, row: object, cause: str, told: str
) -> None:
    good = {"image": "a.png", "answer": "A."}
    rows = read_rows(_write(tmp_path / "rows.jsonl", good, "", row, good)).rows
    assert [row.line for row in rows] == [1, 3, 4]
    fault = rows[1]
    assert isinstance(fault, Fault)
    assert fault.cause == cause
    assert told in fault.problem
    assert fault.content == (row if isinstance(row, str) else json.dumps(row))
    assert all(isinstance(row, Row) for row in (rows[0], rows[2]))


def test_faults_of_other_files(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes("image,answer\na.png,A\nb.png\nc.png,Caf\xe9\n".encode("latin-1"))
    rows = read_rows(path).rows
    assert [(row.line, row.cause) for row in rows if isinstance(row, Fault)] == [
        (3, "wrong number of fields"),
        (4, "not UTF-8"),
    ]
    path.write_text('[{"image": "a.png", "answer": "A"},\n{"image": }]')
    rows = read_rows(path).rows
    assert [type(row) for row in rows] == [Row, Fault]
    assert rows[1].line == 2
    path.write_text('[{"image": "a.png", "answer": "A"},')
    assert "not closed" in str(read_rows(path).rows[1])
    (tmp_path / "filter_cap.json").write_text(
        '{"annotations": [{"image_id": null, "caption": "A"}]}'
    )
    fault = read_rows(tmp_path).rows[0]
    assert isinstance(fault, Fault)
    assert fault.problem == "image_id is nothing; expected text such as 12."


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "is empty"),
        ("image,anwser\n", "no column for answer: image, anwser. 'anwser': did you mean answer?"),
        ("Just some words.\n", "no column for image and answer"),
    ],
)
def test_a_file_without_a_layout_is_refused(tmp_path: Path, content: str, told: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(content)
    with pytest.raises(TrainingError) as caught:
        read_rows(path)
    assert told in str(caught.value)
    with pytest.raises(TrainingError, match=r"nowhere\.jsonl cannot be read"):
        read_rows(tmp_path / "nowhere.jsonl")


def test_what_no_terminal_can_write_is_told_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    with pytest.raises(TrainingError) as caught:
        read_rows(tmp_path / "a.png")
    str(caught.value).encode()
    rows = ['{"image": "\\ud800", "image": 3}', '{"image": "a", "answer": "b", "\\ud800": 1}']
    path.write_text("\n".join([*rows, '{"image": "x", "\\udc01answer": ""}']))
    source = read_rows(path)
    assert [type(row) for row in source.rows] == [Fault, Row, Fault]
    for row in source.rows:
        assert isinstance(row, Row) or f"{row.problem}{row.content}".encode()
    assert source.ignored == {"?": 1}


def test_a_folder_with_two_files_asks_which(tmp_path: Path) -> None:
    for name in ("a.csv", "b.jsonl"):
        (tmp_path / name).write_text("x")
    Image.new("RGB", (2, 2)).save(tmp_path / "a.png")
    with pytest.raises(TrainingError, match=r"found a\.csv, b\.jsonl\. Name the file itself"):
        read_rows(tmp_path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('image,answer\na.png,"A cat\nb.png,A dog\nc.png,A bird\n', "begins in line 2 is no CSV"),
        ('image,answer\na.png,A cat\nb.png,"A" dog\n', "begins in line 3 is no CSV"),
        ("image,answer,answer\na.png,A cat,A dog\n", "the column answer is given twice"),
    ],
)
def test_no_row_or_column_of_csv_is_lost_in_silence(
    tmp_path: Path, content: str, told: str
) -> None:
    path = tmp_path / "data.csv"
    path.write_text(content)
    with pytest.raises(TrainingError, match=told):
        read_rows(path)


def test_text_of_windows_is_told_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('{"image": "a.png", "answer": "A cat."}', encoding="utf-16")
    with pytest.raises(TrainingError, match=r"is UTF-16 text\. Save the file as UTF-8"):
        read_rows(path)


def test_a_key_twice_and_a_number_too_long(tmp_path: Path) -> None:
    twice = '{"image": "a.png", "answer": "A cat.", "answer": "A dog."}'
    long = f'{{"image": "a.png", "answer": "A cat.", "n": {"9" * 5000}}}'
    rows = read_rows(_write(tmp_path / "rows.jsonl", twice, long)).rows
    assert [(row.line, row.cause) for row in rows if isinstance(row, Fault)] == [
        (1, "two keys for one thing"),
        (2, "no JSON"),
    ]
    rows = read_rows(_write(tmp_path / "rows.json", f"[{twice}]")).rows
    assert [row.cause for row in rows if isinstance(row, Fault)] == ["two keys for one thing"]


def test_a_folder_with_tabs(tmp_path: Path) -> None:
    (tmp_path / "data.tsv").write_text("image\tanswer\na.png\tA cat.\n")
    assert len(_rows(tmp_path)) == 1


@pytest.mark.parametrize("release", [False, True])
def test_a_list_on_one_line_tells_the_entry(tmp_path: Path, *, release: bool) -> None:
    good, bad = {"image": "a.png", "answer": "A."}, {"image": "a.png"}
    rows = [good, {"conversations": _llava("Q", "A")}, bad, good]
    path = tmp_path / "filter_cap.json"
    path.write_text(json.dumps({"annotations": rows} if release else rows))
    read = read_rows(path).rows
    assert [row.entry for row in read] == [1, 3, 4]
    assert [row.place for row in read if isinstance(row, Fault)] == ["line 1, entry 3"]
    assert [row.place for row in read_rows(_write(path, bad)).rows if isinstance(row, Fault)] == [
        "line 1"
    ]


def test_conversations_without_a_picture_are_passed_over_and_counted(tmp_path: Path) -> None:
    talk = [{"conversations": _llava("Q", "A")}, {"image": None, "conversations": _llava("Q", "A")}]
    source = read_rows(_write(tmp_path / "a.jsonl", *talk, {"image": "a.png", "answer": "A."}))
    assert ([row.line for row in source.rows], source.text_only) == ([3], 2)
    source = read_rows(_write(tmp_path / "a.jsonl", {"answer": "A."}, {"conversations": []}))
    assert ([type(row) for row in source.rows], source.text_only) == ([Fault, Fault], 0)


def test_conversations_of_others(tmp_path: Path) -> None:
    turns = [("user", "Q"), ("assistant", "A"), ("human", "R"), ("gpt", "B")]
    messages = [{"from": role, "value": text} for role, text in turns]
    path = _write(tmp_path / "a.jsonl", {"image": "a.png", "conversations": messages})
    row = read_rows(path).rows[0]
    assert isinstance(row, Row), row
    assert (row.exchanges, row.picture_turn) == ((("Q", "A"), ("R", "B")), 0)


def test_what_excel_and_windows_write(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("sep=;\r\n;image;answer\r\n0;pictures\\a.png;A, B\r\n1;b.png\r\n")
    source = read_rows(path)
    row, fault = source.rows
    assert isinstance(row, Row), row
    assert (row.line, row.path) == (3, tmp_path / "pictures/a.png")
    assert (fault.line, source.ignored) == (4, {"": 1})
    (tmp_path / "pictures\\a.png").touch()
    row = read_rows(path).rows[0]
    assert isinstance(row, Row), row
    assert row.path == tmp_path / "pictures\\a.png"
