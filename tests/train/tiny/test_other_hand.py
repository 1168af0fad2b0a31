"""Drawings by another hand: what is written down of them can be asked and judged."""

import json
import random

import pytest

from train.cartoon.asking import ask_to_describe
from train.cartoon.scene import BACKGROUNDS, COLORS, KINDS, MAX_THINGS, SIZES
from train.tiny import judging
from train.tiny.evaluate import questions_about
from train.tiny.other_hand import FOLDER, SETS, drawings


@pytest.mark.parametrize(("name", "number"), [("first", 48), ("second", 32), ("third", 32)])
def test_every_drawing_is_told_in_the_words_of_the_world(name, number):
    found = drawings(name)
    assert len(found) == number
    assert {thing.kind for scene, _ in found for thing in scene.things} == set(KINDS)
    assert {scene.background for scene, _ in found} == set(BACKGROUNDS)
    for scene, picture in found:
        assert picture.mode == "RGB"
        assert 200 < max(picture.size) <= 300
        assert len(scene.things) == len({thing.cell for thing in scene.things}) <= MAX_THINGS
        for thing in scene.things:
            assert (thing.color in COLORS, thing.size in SIZES) == (True, True)
            assert 0 < thing.x < 1
            assert 0 < thing.y < 1
            assert (thing.kind == "sign") == bool(thing.word)


@pytest.mark.parametrize("name", SETS)
def test_every_picture_is_told_about_once(name):
    folder = FOLDER / name
    rows = (folder / "truth.jsonl").read_text(encoding="utf-8").splitlines()
    told = [json.loads(row)["file"] for row in rows]
    assert sorted(told) == sorted(file.name for file in folder.glob("*.png"))


@pytest.mark.parametrize("name", SETS)
def test_true_answers_about_them_are_judged_right(name):
    scenes = [scene for scene, _ in drawings(name)]
    asked = questions_about(scenes, len(scenes))
    assert len(asked) > 10 * len(scenes) - 100
    assert all(judging.is_right(each.question_type, each.answer, each.answer) for each in asked)
    for scene in scenes:
        counts = dict(
            judging.tally(
                scene, ask_to_describe(scene, random.Random(scene.seed)).answer, ended=True
            )
        )
        assert counts["found"] == counts["said"] == counts["there"] == len(scene.things)
