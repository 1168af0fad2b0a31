"""Caption scores on cases that can be worked out by hand, and the tokens they are made of."""

import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from minigpt4.errors import ConfigError
from minigpt4.evaluation.captions import judge, tokens
from minigpt4.evaluation.failures import causes
from minigpt4.evaluation.failures import judge as judge_failures
from minigpt4.evaluation.items import Answer, Item

# What Stanford's PTBTokenizer makes of each, with the official evaluation's punctuation dropped;
# recorded from pycocoevalcap 1.2 under Java 17.
RECORDED = {
    "A man's dog can't find its t-shirt.": "a man 's dog ca n't find its t-shirt",
    '"Hello," she said; they\'re going to the U.S. in 2014.':
        "hello she said they 're going to the u.s. in 2014",
    "There are 1,000 sheep, 3.5 miles away & counting.":
        "there are 1,000 sheep 3.5 miles away & counting",
    "I cannot see what you're gonna do": "i can not see what you 're gon na do",
    "Two people riding bikes (and a scooter) down the street...":
        "two people riding bikes -lrb- and a scooter -rrb- down the street",
    "mother/daughter walking": "mother/daughter walking",
    "A woman in her 20's holding a $5 bill": "a woman in her 20 's holding a $ 5 bill",
    "the cat is on the mat!!": "the cat is on the mat !!",
}  # fmt: skip


@pytest.mark.parametrize(("caption", "expected"), RECORDED.items())
def test_tokens_are_those_of_the_official_tokeniser(caption: str, expected: str) -> None:
    assert tokens(caption) == expected


def test_a_perfect_caption_has_the_best_score_and_a_foreign_one_none() -> None:
    """Over pictures with no word in common, equal captions are worth 10 and others nothing."""
    truth = {"1": "a red boat sails home", "2": "two small dogs run fast", "3": "one sun sets now"}
    items = [Item(key, Path("x"), "", (text,)) for key, text in truth.items()]
    answers = {key: Answer(f"{text.capitalize()}.") for key, text in truth.items()}
    values = {score.name: score.value for score in judge(items, answers).scores}
    assert values["CIDEr"] == pytest.approx(10)
    assert values["BLEU-4"] == pytest.approx(1)
    judged = judge(items, {**answers, "3": Answer("Nothing like that")})
    assert judged.scores[0].value == pytest.approx(20 / 3)
    assert [judged.verdicts[key].score for key in "123"] == pytest.approx([10, 10, 0])
    assert judged.verdicts["3"].mark == "scored"


def test_bleu_counts_words_that_are_right() -> None:
    """Of 6 words 5 are among the reference's; of 5 pairs 3; no caption is too short."""
    items = [Item("1", Path("x"), "", ("the cat sits on the mat",))]
    answers = {"1": Answer("the cat lies on the mat")}
    values = {score.name: score.value for score in judge(items, answers).scores}
    assert values["BLEU-1"] == pytest.approx(5 / 6)
    assert values["BLEU-2"] == pytest.approx((5 / 6 * 3 / 5) ** 0.5)


def test_a_caption_without_a_word_is_worth_nothing() -> None:
    items = [Item(key, Path("x"), "", (f"a caption number {key}",)) for key in "12"]
    judged = judge(items, {"1": Answer("..."), "2": Answer("a caption number 2")})
    assert judged.verdicts["1"].score == 0


def test_the_packages_are_those_that_are_asked_for_and_pinned() -> None:
    root = Path(__file__).parents[2]
    pinned = (root / "constraints.txt").read_text(encoding="utf-8").split()
    lines = (root / "requirements-evaluation.txt").read_text(encoding="utf-8").splitlines()
    wanted = [Requirement(text) for line in lines if (text := line.partition("#")[0].strip())]
    assert {each.name for each in wanted} == {"py3langid", "pycocoevalcap"}
    for each in wanted:
        assert version(each.name) in each.specifier
        assert f"{each.name}=={version(each.name)}" in pinned


def test_what_is_not_installed_is_named_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocoevalcap.cider.cider", None)
    monkeypatch.setitem(sys.modules, "py3langid", None)
    with pytest.raises(ConfigError, match=r"pip install -r requirements-evaluation\.txt"):
        judge([], {})
    with pytest.raises(ConfigError, match="py3langid: this package is not installed"):
        causes("Is this of five words?", "stop")
    # Before a night of answering.
    with pytest.raises(ConfigError, match="py3langid: this package is not installed"):
        judge_failures([], {})
