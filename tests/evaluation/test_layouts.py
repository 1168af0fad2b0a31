"""Every published layout, in miniature: what is asked, what is true, and what is refused."""

import json
from argparse import Namespace
from pathlib import Path

import pytest

from minigpt4.errors import ConfigError
from minigpt4.evaluation.answering import write_questions
from minigpt4.evaluation.files import PictureFolder, is_lines, read_rows
from minigpt4.evaluation.items import Data
from minigpt4.evaluation.layouts import read_captions, read_chair, read_failures, read_pope
from minigpt4.evaluation.objects import read_objects
from minigpt4.evaluation.tasks import read
from minigpt4.evaluation.vqa_layouts import read_vqa
from tests.evaluation.data import (
    SYNONYMS,
    aokvqa,
    coco,
    draw,
    gqa,
    vqa_v2,
    write_json,
    write_lines,
)


@pytest.fixture
def pictures(tmp_path: Path) -> PictureFolder:
    names = ("COCO_val2014_000000000042.png", "000000000007.png", "n5.png", "2405722.png")
    return PictureFolder(draw(tmp_path / "pictures", *names))


def told(data: Data) -> list[tuple]:
    return [(item.key, item.picture.name, item.question, item.group) for item in data.items]


def test_vqa_v2(tmp_path: Path, pictures: PictureFolder) -> None:
    questions, annotations = vqa_v2(tmp_path)
    data = read_vqa(questions, pictures, annotations=annotations)
    assert told(data) == [
        ("42000", "COCO_val2014_000000000042.png", "What color is it?", "other"),
        ("42001", "COCO_val2014_000000000042.png", "Is it big?", "yes/no"),
        ("7000", "000000000007.png", "How many are there?", "number"),
    ]
    assert data.items[0].references == ("red",) * 3 + ("blue",) * 7
    assert {item.rule for item in data.items} == {"ten"}
    assert data.bad == (("entry 4", "question_id 7001 has no answers among the annotations."),)
    with pytest.raises(ConfigError, match="Give --annotations FILE"):
        read_vqa(questions, pictures)


def test_gqa(tmp_path: Path, pictures: PictureFolder) -> None:
    data = read_vqa(gqa(tmp_path), pictures)
    assert told(data) == [
        ("201", "n5.png", "What color is the boat?", "query"),
        ("202", "2405722.png", "Is there a cat?", "verify"),
    ]
    assert [(item.references, item.rule) for item in data.items] == [
        (("red",), "one"),
        (("no",), "one"),
    ]


def test_aokvqa(tmp_path: Path, pictures: PictureFolder) -> None:
    path = aokvqa(tmp_path)
    direct = read_vqa(path, pictures)
    assert [(item.key, item.rule, len(item.references)) for item in direct.items] == [
        ("easy", "three", 10)
    ]
    assert direct.notes[0].startswith("1 questions that A-OKVQA marks as difficult")
    offered = read_vqa(path, pictures, multiple_choice=True)
    assert [item.question for item in offered.items] == [
        "What is it for? Options: tennis, table tennis, golf, chess.",
        "Why? Options: fun, rain, work, food.",
    ]
    assert [item.references for item in offered.items] == [("table tennis",), ("fun",)]


def test_own_questions(tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / "own.jsonl",
        [
            {"image": "a.png", "question": "What?", "answers": ["boat"], "type": "what"},
            "{half",
            {"image": "a.png", "question": "What?", "answers": []},
            {"image": "a.png", "question": "What?", "answers": ["a"] * 10, "id": "x"},
        ],
    )
    data = read_vqa(path, PictureFolder(tmp_path))
    assert [(item.key, item.rule) for item in data.items] == [("1", "one"), ("x", "ten")]
    assert [place for place, _ in data.bad] == ["line 2", "line 3"]


def test_what_is_of_no_layout_is_refused(tmp_path: Path, pictures: PictureFolder) -> None:
    with pytest.raises(ConfigError, match="no layout that is known"):
        read_vqa(write_json(tmp_path / "a.json", {"rows": []}), pictures)
    with pytest.raises(ConfigError, match="no JSON"):
        read_vqa(write_lines(tmp_path / "b.json", ["{", "so"]), pictures)
    with pytest.raises(ConfigError, match="no such file"):
        read_vqa(tmp_path / "nowhere.json", pictures)
    with pytest.raises(ConfigError, match="has its own answers"):
        read_vqa(gqa(tmp_path), pictures, annotations=tmp_path / "a.json")
    with pytest.raises(ConfigError, match="has no choices"):
        read_vqa(gqa(tmp_path), pictures, multiple_choice=True)


def test_pope(tmp_path: Path) -> None:
    """Its JSONL is called .json, and may have bad rows."""
    row = {"question_id": 1, "image": "COCO_val2014_000000000042.png", "label": "yes"}
    path = write_lines(
        tmp_path / "coco_pope_random.json",
        [
            {**row, "text": "Is there a boat in the image?"},
            {**row, "text": "Is there a cat in the image?", "question_id": 2, "label": "no"},
            {**row, "text": "Is there a dog in the image?", "question_id": 3, "label": "maybe"},
            {"question_id": 4},
            [],
        ],
    )
    data = read_pope(path, PictureFolder(tmp_path))
    assert [(item.key, item.references) for item in data.items] == [("1", ("yes",)), ("2", ("no",))]
    assert data.bad == (
        ("line 3", "\"label\" must be yes or no; 'maybe' given."),
        ("line 4", '"label" must be a text.'),
        ("line 5", "Expected an object."),
    )


def test_chair_of_coco(tmp_path: Path, pictures: PictureFolder) -> None:
    instances, captions = coco(tmp_path)
    (tmp_path / "synonyms.txt").write_text(SYNONYMS)
    objects = read_objects(str(tmp_path / "synonyms.txt"))
    marked = read_chair(instances, pictures, objects)
    assert [item.references for item in marked.items] == [("dog",), ("person",), ()]
    assert "captions" in marked.notes[0]
    both = read_chair(instances, pictures, objects, [captions])
    assert [item.references for item in both.items] == [("dog",), ("hot dog", "person"), ()]
    assert both.notes == ()
    (tmp_path / "less.txt").write_text("cat\n")
    with pytest.raises(ConfigError, match="not in the list of --objects: dog, person"):
        read_chair(instances, pictures, read_objects(str(tmp_path / "less.txt")))
    with pytest.raises(ConfigError, match="no instances of COCO"):
        read_chair(captions, pictures, objects)


def test_own_objects(tmp_path: Path) -> None:
    path = write_lines(
        tmp_path / "own.jsonl",
        [
            {"image": "a.png", "objects": ["Boat", "sun"]},
            {"image": "b.png", "objects": ["unicorn"]},
        ],
    )
    data = read_chair(path, PictureFolder(tmp_path), read_objects("cartoon"))
    assert [(item.key, item.references) for item in data.items] == [("a.png", ("boat", "sun"))]
    assert data.bad == (("line 2", "'unicorn' is no object of the list."),)


def test_captions(tmp_path: Path) -> None:
    _, captions = coco(tmp_path)
    data = read_captions(captions, PictureFolder(tmp_path))
    assert [(item.key, len(item.references)) for item in data.items] == [("1", 1), ("2", 2)]
    assert data.bad == (("picture 3", "It has no captions."),)
    rows = [{"image": "a.png", "caption": "One."}, {"image": "b.png", "captions": ["1", "2"]}]
    own = read_captions(write_lines(tmp_path / "own.jsonl", rows), PictureFolder(tmp_path))
    assert [item.references for item in own.items] == [("One.",), ("1", "2")]


def test_failures_of_a_folder_and_of_a_list(tmp_path: Path) -> None:
    folder = draw(tmp_path / "photos", "b.png", "a.png")
    draw(folder / "more", "c.png")
    (folder / "notes.txt").write_text("no picture")
    data = read_failures(folder, PictureFolder(tmp_path))
    assert [item.key for item in data.items] == ["a.png", "b.png", "more/c.png"]
    listed = write_lines(tmp_path / "some.jsonl", [{"image": "photos/b.png"}, {"image": 3.5}])
    data = read_failures(listed, PictureFolder(tmp_path))
    assert [item.picture for item in data.items] == [folder / "b.png"]
    assert data.bad == (("line 2", '"id" or "image_id" or "image" must be a text.'),)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no picture in this folder"):
        read_failures(tmp_path / "empty", PictureFolder(tmp_path))


def test_two_pictures_of_one_number_are_told(tmp_path: Path) -> None:
    folder = draw(tmp_path, "COCO_train2014_000000000042.png", "COCO_val2014_000000000042.png")
    with pytest.raises(ValueError, match="Two pictures are number 42"):
        PictureFolder(folder).of_id("42")
    assert PictureFolder(folder).of_id("COCO_val2014_000000000042").name.startswith("COCO_val")
    assert not PictureFolder(folder).of_id("43").exists()


def test_whether_a_file_holds_lines_shows_in_it(tmp_path: Path) -> None:
    assert is_lines(write_lines(tmp_path / "a.json", [{"a": 1}, {"a": 2}]))
    assert is_lines(write_lines(tmp_path / "a.jsonl", [{"a": 1}]))
    assert not is_lines(write_json(tmp_path / "b.json", {"a": 1}))
    assert not is_lines(write_lines(tmp_path / "c.json", ["{", '"a": 1}']))
    assert not is_lines(tmp_path / "nowhere.json")


def _given(path: Path, **changes) -> Namespace:
    common = {"task": "pope", "data": path, "images": None, "question": None, "number": None}
    return Namespace(**{**common, "seed": 0, **changes})


def test_items_are_drawn_by_the_seed(tmp_path: Path) -> None:
    rows = [
        {"question_id": number, "image": "a.png", "text": f"Is {number}?", "label": "no"}
        for number in range(40)
    ]
    path = write_lines(tmp_path / "pope.json", rows)
    drawn = [read(_given(path, number=10, seed=seed)) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1]
    assert drawn[0].items != drawn[2].items
    assert len(drawn[0].items) == 10
    assert drawn[0].notes == ("10 of 40 items, drawn at random (seed 0).",)
    keys = [int(item.key) for item in drawn[0].items]
    assert keys == sorted(keys)
    assert read(_given(path, number=40)) == read(_given(path))


def test_the_question_has_a_place_for_each_items_own(tmp_path: Path) -> None:
    row = {"question_id": 1, "image": "a.png", "text": "Is it {so}?", "label": "no"}
    path = write_lines(tmp_path / "pope.json", [row, {**row, "question_id": 2}])
    data = read(_given(path, question="{question} Say yes or no."))
    assert data.items[0].question == "Is it {so}? Say yes or no."
    with pytest.raises(ConfigError, match=r"lacks \{question\}"):
        read(_given(path, question="Is it?"))


def test_items_of_one_id_are_left_out(tmp_path: Path) -> None:
    row = {"question_id": 1, "image": "a.png", "text": "Is it?", "label": "no"}
    path = write_lines(tmp_path / "pope.json", [row, row, {**row, "question_id": 2}])
    data = read(_given(path))
    assert [item.key for item in data.items] == ["2"]
    assert data.bad == (("item 1", "There are several of this id."),)
    with pytest.raises(ConfigError, match=r"nothing to ask in it\. item 1: There are several"):
        read(_given(write_lines(tmp_path / "two.json", [row, row])))


def test_any_character_may_stand_in_a_line_of_json(tmp_path: Path) -> None:
    """Separators of Unicode end no line; our own answers are written with such characters."""
    text = "one\u2028two\u2029three\x85four"
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"text": text}, ensure_ascii=False) + "\n\n{}\n", encoding="utf-8")
    assert list(read_rows(path)) == [("line 1", {"text": text}), ("line 3", {})]


def test_two_pictures_of_one_name_are_told(tmp_path: Path) -> None:
    draw(tmp_path / "a", "n5.jpg")
    draw(tmp_path / "b", "n5.jpg")
    with pytest.raises(ValueError, match=r"n5: a/n5\.jpg, b/n5\.jpg"):
        PictureFolder(tmp_path).of_id("n5")


def test_instances_are_no_captions(tmp_path: Path, pictures: PictureFolder) -> None:
    instances, _ = coco(tmp_path)
    with pytest.raises(ConfigError, match="annotations, entry 1: expected 'caption'"):
        read_captions(instances, pictures)
    (tmp_path / "synonyms.txt").write_text(SYNONYMS)
    objects = read_objects(str(tmp_path / "synonyms.txt"))
    with pytest.raises(ConfigError, match="expected 'caption'"):
        read_chair(instances, pictures, objects, [instances])


def test_people_who_said_nothing_and_questions_without_answers(
    tmp_path: Path, pictures: PictureFolder
) -> None:
    asked = [{"question_id": n, "image_id": 42, "question": "What?"} for n in range(5)]
    said = [["red", "", "red"], [{"answer": "red"}, {"answer": None}], [7], [""], None]
    told = [{"question_id": n, "answers": each} for n, each in enumerate(said)]
    questions = write_json(tmp_path / "q.json", {"questions": asked})
    annotations = write_json(
        tmp_path / "a.json", {"annotations": [{**told[0], "answer_type": None}, *told[1:]]}
    )
    data = read_vqa(questions, pictures, annotations=annotations)
    assert [(item.key, item.references, item.group) for item in data.items] == [
        ("0", ("red", "", "red"), "")
    ]
    assert [place for place, _ in data.bad] == [f"entry {n}" for n in range(2, 6)]
    row = {**asked[0], "direct_answers": []}
    data = read_vqa(write_json(tmp_path / "direct.json", [row]), pictures)
    assert data.bad == (("entry 1", '"direct_answers" must hold at least one answer.'),)


def test_fields_of_coco_that_are_missing_or_null(tmp_path: Path, pictures: PictureFolder) -> None:
    whole = {
        "images": [{"id": 1}],
        "annotations": [{"image_id": 1, "category_id": 1, "caption": None}],
        "categories": [{"id": 1, "name": "boat"}],
    }
    with pytest.raises(ConfigError, match="annotations, entry 1: expected 'caption'"):
        read_captions(write_json(tmp_path / "a.json", whole), pictures)
    for categories in ([{"id": 1}], [{"name": "boat"}], [{"id": [], "name": "boat"}], ["boat"]):
        path = write_json(tmp_path / "a.json", {**whole, "categories": categories})
        with pytest.raises(ConfigError, match=r"no instances of COCO: .* of id and name"):
            read_chair(path, pictures, read_objects("cartoon"))
    for annotation in ({"image_id": 1}, {"image_id": 1, "category_id": []}):
        path = write_json(tmp_path / "a.json", {**whole, "annotations": [annotation]})
        with pytest.raises(ConfigError, match="annotations, entry 1: expected 'category_id'"):
            read_chair(path, pictures, read_objects("cartoon"))


def test_half_a_character_stops_nothing(tmp_path: Path) -> None:
    row = {"question_id": 1, "image": "a.png", "text": "Is it \ud83d?", "label": "no"}
    data = read_pope(
        write_lines(tmp_path / "a.jsonl", [{**row, "category": None}]),
        PictureFolder(draw(tmp_path, "a.png")),
    )
    assert data.items[0].group == ""
    path = write_questions(data.items, tmp_path / "out")
    assert "Is it ?" in path.read_text(encoding="utf-8")
