"""CHAIR: which objects a text names, and figures counted by hand."""

from pathlib import Path

import pytest

from minigpt4.errors import ConfigError
from minigpt4.evaluation.chair import judge
from minigpt4.evaluation.items import Answer, Item
from minigpt4.evaluation.objects import read_objects
from tests.evaluation.data import SYNONYMS
from train.cartoon.scene import KINDS


@pytest.fixture
def objects(tmp_path: Path):
    path = tmp_path / "synonyms.txt"
    path.write_text(SYNONYMS, encoding="utf-8")
    return read_objects(str(path))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("A man and a puppy.", ["person", "dog"]),
        ("Two men, three women and some children", ["person"] * 3),
        ("Puppies! Buses!", ["dog", "bus"]),
        ("hot dogs and a dog", ["hot dog", "dog"]),
        ("two wine glasses", ["wine glass"]),
        ("a baby dog", ["dog"]),  # no person
        ("a baby with a dog", ["person", "dog"]),
        ("a toilet seat", ["toilet"]),  # no chair
        ("a bow tie", ["tie"]),
        ("the home plate", []),
        ("a doghouse and a glass of wine", []),
    ],
)
def test_a_text_names_objects(objects, text: str, named: list[str]) -> None:
    assert [name for _, name in objects.mentions(text)] == named


def test_the_figures_are_those_counted_by_hand(objects) -> None:
    """Six mentions, two of what is not there, in one of three answers; 3 of 4 objects are named."""
    items = [
        Item("1", Path("x"), "", ("dog", "person")),
        Item("2", Path("x"), "", ("bus", "tie")),
        Item("3", Path("x"), "", ()),
    ]
    answers = {
        "1": Answer("A man, a dog, two chairs and a toilet."),
        "2": Answer("A bus beside a bus."),
        "3": Answer("Nothing at all."),
    }
    judged = judge(items, answers, objects)
    values = {score.name: score.value for score in judged.scores}
    words = (9 + 5 + 3) / 3
    expected = {"CHAIRi": 2 / 6, "CHAIRs": 1 / 3, "coverage": 3 / 4, "words": words}
    assert values == pytest.approx(expected)
    assert judged.verdicts["1"].notes == ("chairs (chair): not there", "toilet: not there")
    assert [judged.verdicts[key].mark for key in "123"] == ["wrong", "right", "right"]


def test_the_built_in_list_knows_the_picture_world() -> None:
    assert set(KINDS) <= set(read_objects("cartoon").names)
    mentions = read_objects("cartoon").mentions("Two fish, three stars and a sign that says TAXI.")
    assert [name for _, name in mentions] == ["fish", "star", "sign"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [("", "holds no objects"), ("dog, pet\ncat, pet\n", "'pet' stands for dog and cat")],
)
def test_a_list_that_is_none_is_refused(tmp_path: Path, content: str, problem: str) -> None:
    path = tmp_path / "list.txt"
    path.write_text(content)
    with pytest.raises(ConfigError, match=problem):
        read_objects(str(path))
    with pytest.raises(ConfigError, match=r"Give a list of objects, or cartoon\."):
        read_objects(str(tmp_path / "nowhere.txt"))


def test_a_word_with_a_hyphen_is_known(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("shirt, t-shirt\n", encoding="utf-8")
    objects = read_objects(str(path))
    assert objects.mentions("Two T-shirts and a t shirt") == [
        ("t shirts", "shirt"),
        ("t shirt", "shirt"),
    ]
