"""POPE: the official reading of an answer, and figures counted by hand."""

from pathlib import Path

import pytest

from minigpt4.evaluation.items import Answer, Item
from minigpt4.evaluation.pope import judge, said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Yes, there is.", "yes"),
        ("No", "no"),
        ("no, there is a dog.", "no"),
        ("There is not a dog here.", "no"),
        ("Yes. There is no doubt.", "yes"),  # the first sentence alone
        ("Nothing like it.", "yes"),  # whole words alone, in three spellings
        ("NO", "yes"),
        ("A dog on a beach", "yes"),
        ("", "yes"),
    ],
)
def test_an_answer_is_read_as_the_official_rule_has_it(text: str, expected: str) -> None:
    assert said(text) == expected


def test_the_figures_are_those_counted_by_hand() -> None:
    """Of 6 true yes 4 are found; of 4 true no 1 gets a yes."""
    rows = [("yes", "Yes.", "random")] * 3 + [("yes", "A dog.", "random")]
    rows += [("yes", "No.", "popular")] * 2
    rows += [("no", "No.", "popular")] * 3 + [("no", "Yes.", "popular")]
    items = [
        Item(str(n), Path("x.png"), "", (true,), group) for n, (true, _, group) in enumerate(rows)
    ]
    answers = {str(n): Answer(text) for n, (_, text, _) in enumerate(rows)}
    judged = judge(items, answers)
    values = {score.name: score.value for score in judged.scores}
    assert values == pytest.approx(
        {
            "accuracy": 7 / 10,
            "precision": 4 / 5,
            "recall": 4 / 6,
            "F1": 2 * (4 / 5) * (4 / 6) / (4 / 5 + 4 / 6),
            "yes-ratio": 5 / 10,
            "neither": 1 / 10,
        }
    )
    groups = {name: score.value for name, score in judged.groups.items()}
    assert groups == {"popular": 3 / 6, "random": 1.0}
    assert judged.verdicts["3"].notes == ("neither yes nor no; taken as yes",)
    assert [judged.verdicts[str(n)].mark for n in (0, 4, 6, 9)] == ["right", "wrong"] * 2


def test_a_model_that_never_says_yes_divides_by_nothing() -> None:
    item = Item("1", Path("x.png"), "", ("no",))
    values = {score.name: score.value for score in judge([item], {"1": Answer("No.")}).scores}
    assert values["precision"] == values["recall"] == values["F1"] == 0
    assert values["accuracy"] == 1
