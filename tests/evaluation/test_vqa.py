"""VQA accuracy: the official comparison of answers, and cases worked out by hand."""

from pathlib import Path

import pytest

from minigpt4.evaluation.items import Answer, Item
from minigpt4.evaluation.vqa import accuracy, chosen, in_a_sentence, judge, leave_one_out
from minigpt4.evaluation.vqa_text import plain, without_punctuation


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Boat.", "boat"),
        ("  a red\n boat\t", "red boat"),
        ("Two dogs", "2 dogs"),
        ("none", "0"),
        ("dont", "don't"),
        ("couldntve", "couldntve"),  # two apostrophes are lost; the table knows one
        ("couldnt've", "couldn't've"),
        ("1,000", "1000"),
        ("red,blue", "red blue"),
        ("red, blue", "red blue"),
        ("1,000 red,blue", "1000 redblue"),  # where digits are grouped, every mark just goes
        ("3.5", "3.5"),
        ("U.S.", "us"),
        ("yes/no", "yes no"),
        ("t-shirt", "t shirt"),
        ("it's 10:30", "it's 10:30"),
        ("", ""),
    ],
)
def test_what_answers_are_compared_by(text: str, expected: str) -> None:
    assert plain(text) == expected


def test_only_punctuation_of_references_is_touched() -> None:
    assert without_punctuation("The red-ish one.") == "The red ish one"


@pytest.mark.parametrize(
    ("same", "expected"),
    [
        (0, 0.0),
        (1, (9 * 1 / 3) / 10),
        (2, (2 * 1 / 3 + 8 * 2 / 3) / 10),
        (3, (3 * 2 / 3 + 7 * 1) / 10),
        (4, 1.0),
        (10, 1.0),
    ],
)
def test_one_person_is_left_out_in_turn(same: int, expected: float) -> None:
    references = ["red"] * same + [f"other {n}" for n in range(10 - same)]
    assert leave_one_out("red", references) == pytest.approx(expected)


def test_references_lose_punctuation_only_where_people_disagree() -> None:
    """It is the official rule: a unanimous "t-shirt" cannot be hit, for the answer loses its mark."""
    assert accuracy("T-shirt", _item(["t-shirt"] * 10, "ten")) == 0
    assert accuracy("T-shirt", _item(["t-shirt"] * 9 + ["shirt"], "ten")) == 1


def test_each_benchmark_has_its_rule() -> None:
    answers = ["ping pong"] * 2 + ["tennis"] * 8
    assert accuracy("Ping pong.", _item(answers, "three")) == pytest.approx(2 / 3)
    assert accuracy("ping pong", _item(answers, "ten")) == pytest.approx(0.6)
    assert accuracy("The red one", _item(["red 1"], "one")) == 1
    assert accuracy("a boat", _item(["boat"], "one")) == 1
    assert accuracy("a ship", _item(["boat"], "one")) == 0


def test_a_choice_is_what_the_answer_names() -> None:
    choices = ("tennis", "table tennis", "golf", "ice hockey")
    assert chosen("golf", choices) == "golf"
    assert chosen("It is for table tennis.", choices) == "table tennis"
    assert chosen("golf or tennis", choices) is None
    assert chosen("chess", choices) is None
    assert chosen("golfing", choices) is None
    item = Item("1", Path("x"), "", ("golf",), rule="choice", choices=choices)
    assert accuracy("They play golf.", item) == 1
    assert accuracy("They play tennis.", item) == 0


def test_an_answer_in_a_sentence_is_a_figure_of_its_own() -> None:
    item = _item(["red"] * 3 + ["blue"] * 7, "ten")
    assert accuracy("The boat is red.", item) == 0
    assert in_a_sentence("The boat is red.", item) == pytest.approx(0.9)
    assert in_a_sentence("The boat is reddish.", item) == 0
    judged = judge([item], {"1": Answer("The boat is red.")})
    assert [(score.name, round(score.value, 4)) for score in judged.scores] == [
        ("accuracy", 0.0),
        ("in a sentence", 0.9),
    ]
    assert judged.verdicts["1"].mark == "wrong"
    assert judged.verdicts["1"].notes == ("says it in a sentence",)


def test_types_of_questions_have_their_own_accuracy() -> None:
    items = [
        Item("1", Path("x"), "", ("red",) * 10, "other", "ten"),
        Item("2", Path("x"), "", ("yes",) * 9 + ("no",), "yes/no", "ten"),
        Item("3", Path("x"), "", ("yes",) * 10, "yes/no", "ten"),
    ]
    answers = {"1": Answer("Red"), "2": Answer("no"), "3": Answer("yes")}
    judged = judge(items, answers)
    assert judged.scores[0].value == pytest.approx((1 + 0.3 + 1) / 3)
    groups = {name: score.value for name, score in judged.groups.items()}
    assert groups == pytest.approx({"other": 1.0, "yes/no": 0.65})
    assert [judged.verdicts[key].mark for key in "123"] == ["right", "partly", "right"]


def _item(references: list[str], rule: str) -> Item:
    return Item("1", Path("x.png"), "", tuple(references), "", rule)
