"""Questions said loosely still ask the same, and never use a wording that is held out."""

import random
import re

import pytest

from train.cartoon.asking import dialogue
from train.cartoon.casual import AFTERWORDS, CLOSERS, OPENERS, casual, unmarked
from train.cartoon.scene import make_scene
from train.cartoon.wordings import HELD_OUT_WORDINGS, PRONOUN_QUESTIONS, QUESTIONS


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z{}_]+", text.lower().replace("'", ""))


@pytest.mark.parametrize("question_type", QUESTIONS)
def test_every_word_of_the_question_is_still_there_in_its_order(question_type):
    rng = random.Random(question_type)
    for question in QUESTIONS[question_type]:
        for _ in range(30):
            said = iter(_words(casual(question, rng)))
            assert all(word in said for word in _words(question))


def test_no_wording_that_is_held_out_is_ever_said():
    rng = random.Random(0)
    tables = [*QUESTIONS.values(), *PRONOUN_QUESTIONS.values()]
    held_out = {tuple(_words(each)) for table in tables for each in table[-HELD_OUT_WORDINGS:]}
    for table in tables:
        for question in table[:-HELD_OUT_WORDINGS]:
            said = {tuple(_words(casual(question, rng))) for _ in range(100)}
            assert not said & held_out
            for opener in ("", *OPENERS):
                for closer in ("", *CLOSERS):
                    for after in ("", *AFTERWORDS):
                        assert tuple(_words(f"{opener} {question}{closer} {after}")) not in held_out


def test_questions_come_in_many_forms_and_some_unchanged():
    rng = random.Random(0)
    said = [casual("What color is the cat?", rng) for _ in range(1000)]
    assert len(set(said)) > 200
    assert 50 < said.count("What color is the cat?") < 300
    assert 300 < sum(each == each.lower() for each in said) < 600
    assert 200 < sum(each[-1] not in "?!." for each in said) < 500
    assert any(each.startswith("Hi, what") for each in said)


def test_a_dialogue_says_as_many_questions_loosely_as_it_is_told():
    asked = {
        share: [
            each
            for seed in range(40)
            for each in dialogue(make_scene(seed), random.Random(seed), 6, casual_share=share)
        ]
        for share in (0.0, 1.0)
    }
    lower = {
        share: sum(each.question == each.question.lower() for each in exchanges)
        for share, exchanges in asked.items()
    }
    assert lower[0.0] == 0
    assert lower[1.0] > 0.3 * len(asked[1.0])
    talk = [each.question for each in asked[1.0] if each.question_type == "chat"]
    assert talk
    assert all(said == unmarked(said) for said in talk)
    assert {each.answer[0].isupper() or each.answer[0] == "<" for each in asked[1.0]} == {True}
