"""Which descriptions count as failed, and the rate of failures."""

from pathlib import Path

import pytest

from minigpt4.evaluation.failures import CAUSES, causes, judge
from minigpt4.evaluation.items import Answer, Item

SOUND = [
    "The image shows a boat on the sea. A man stands on it, and the sun sets behind him.",
    "A red boat.",
    "Yes!",
    'He says: "Stop."',
    "It was very, very, very good, and so on and so on until the evening.",
    "There is a large red star at the top left. There is a large red star at the bottom left.",
    "The café has a façade with naïve paintings of the Côte d'Azur in it.",
]
FAILED = {
    "": ("empty",),
    " ... ": ("empty",),
    "The image shows a boat on the": ("no end",),
    "A dog runs on the beach. A cat sleeps. A dog runs on the beach.": ("repetition",),
    "There are good good good good things to see here.": ("repetition",),
    "We see the sea and the sky the sea and the sky the sea and the sky.": ("repetition",),
    "He laughs: hahahahahahahahahahahahahaha.": ("repetition",),
    "Das Bild zeigt ein rotes Boot auf dem Wasser und einen Mann.": ("not English",),
    "这张图片显示了一艘船。.": ("not English",),
    "The image 图片是 shows a boat.": ("not English",),
    "asdf qwer lkj zxcv poiu mnb vvv.": ("not English",),
    "el barco es rojo el barco es rojo el barco es rojo": ("no end", "repetition", "not English"),
}


@pytest.mark.parametrize("text", SOUND)
def test_a_sound_answer_does_not_fail(text: str) -> None:
    assert causes(text, "stop") == ()


@pytest.mark.parametrize(("text", "expected"), FAILED.items())
def test_a_failed_answer_fails_for_its_reason(text: str, expected: tuple[str, ...]) -> None:
    assert causes(text, "stop") == expected


def test_an_answer_that_grew_to_the_limit_has_no_end() -> None:
    assert causes("A red boat.", "length") == ("no end",)
    assert causes("A red boat.", None) == ()


def test_a_refrain_is_told_from_a_loop_by_how_often_it_comes() -> None:
    twice = "the sea and the sky the sea and the sky"
    assert causes(f"We see {twice}.", "stop") == ()
    assert causes(f"We see {twice} the sea and the sky.", "stop") == ("repetition",)


def test_the_rate_counts_answers_and_causes() -> None:
    texts = ["A red boat.", "", "no end here", "a loop a loop a loop"]
    items = [Item(str(number), Path("x.png"), "") for number in range(4)]
    answers = {item.key: Answer(text) for item, text in zip(items, texts, strict=True)}
    judged = judge(items, answers)
    values = {score.name: score.value for score in judged.scores}
    assert values["failed"] == 3 / 4
    assert [values[cause] for cause in CAUSES] == [1 / 4, 2 / 4, 1 / 4, 0]
    assert values["words"] == pytest.approx((3 + 0 + 3 + 6) / 4)
    assert [judged.verdicts[str(n)].mark for n in range(4)] == ["right", "wrong", "wrong", "wrong"]
    assert judged.verdicts["3"].notes == ("no end", "repetition")
    # Wilson's interval of 3 in 4, worked out by hand.
    failed = judged.scores[0]
    assert (failed.low, failed.high) == pytest.approx((0.3006, 0.9544), abs=1e-4)
