"""The rules that judge answers, and the evaluation of a small random model."""

import random
from dataclasses import replace

import pytest
import torch
from PIL import Image

from minigpt4.models.minigpt4 import MiniGPT4
from tests.train.tiny.test_bridge import SMALL_PRESET
from train.cartoon import describe as telling
from train.cartoon.asking import QUESTION_TYPES, ask
from train.cartoon.scene import HELD_OUT_PAIRS, Scene, Thing, make_scene, strange_scene
from train.cartoon.wordings import NO_DRAWING
from train.cartoon.words import UNSEEN_SIGN_WORDS
from train.tiny import edges, evaluate, judging
from train.tiny.eye import Eye

CAR = Thing("car", "red", "small", 0.2, 0.2, 0.09)
FISH = Thing("fish", "blue", "large", 0.8, 0.2, 0.18)
SIGN = Thing("sign", "green", "medium", 0.45, 0.8, 0.2, "STOP")
SCENE = Scene(seed=1, background="field", things=(CAR, FISH, SIGN))


@pytest.fixture
def model(language):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        eye = Eye(SMALL_PRESET)
        return MiniGPT4(SMALL_PRESET, eye.vision, eye.qformer, language).eval()


@pytest.mark.parametrize(
    ("question_type", "answer", "concluded"),
    [
        ("count", "I see a red one at the top, so there is one star.", "one"),
        ("count", "I see a red one and a blue one, so there are two stars.", "two"),
        ("count", "There are no stars in this picture.", "no"),
        ("count_color", "I see a star on the left, so there is one red thing.", "one"),
        ("total", "There is nothing in this picture.", "no"),
        ("total", "I see a star.", ""),
        (
            "relation",
            "The a is at the top and the b is on the left, so the a is above the b.",
            "the a is above the b.",
        ),
        ("relation_yes", "The a is at the top, so no, the a is not below the b.", "no"),
        ("compare", "Stars: none. Cars: one at the top. So yes, there are more cars.", "yes"),
        ("exists", "Yes, there is a small red car at the top.", "Yes"),
        ("exists_color", "No, there is no red car in this picture.", "No"),
        ("exists", "There is no car.", ""),
        ("color", "The car is red.", "The car is red."),
    ],
)
def test_conclusions(question_type, answer, concluded):
    assert judging.conclusion(question_type, answer) == concluded


def test_what_was_seen_may_be_wrong_where_the_conclusion_is_not():
    true = "I see a red one at the top, so there is one star."
    assert judging.is_right("count", true.replace("red", "blue"), true)
    assert not judging.is_right("count", true.replace("is one", "are two"), true)
    assert not judging.is_right("color", "The car is blue.", "The car is red.")
    assert not judging.is_right("total", "", "")


def test_every_true_answer_is_right_and_none_is_a_failure():
    for seed in range(1000, 1150):
        scene, rng = make_scene(seed), random.Random(seed)
        for name in QUESTION_TYPES:
            exchange = ask(scene, name, rng)
            if exchange is not None:
                assert judging.is_right(name, exchange.answer, exchange.answer), exchange
                assert not judging.is_failure(exchange.answer, ended=True), exchange


@pytest.mark.parametrize(
    "answer",
    ["The car is", "The car is red. The car is red.", "The qar is red.", "The car is 3 red.", ""],
)
def test_failures(answer):
    assert judging.is_failure(answer, ended=True)


def test_an_answer_without_end_is_a_failure():
    assert not judging.is_failure("The car is red.", ended=True)
    assert judging.is_failure("The car is red.", ended=False)


def _tally(scene, answer, *, ended=True):
    return dict(judging.tally(scene, answer, ended=ended))


def test_the_true_description_has_everything_and_does_not_fail():
    for scene in (SCENE, *(make_scene(seed) for seed in range(200))):
        of = _tally(scene, telling.describe(scene))
        assert of["there"] == of["said"] == of["found"] == of["full_found"] == len(scene.things)
        assert (of["exact"], of["background"], of["failed"], of["hedged"]) == (1, 1, 0, 0), scene


def test_descriptions_are_counted_thing_by_thing():
    answer = (
        "The picture shows the open sea under the sky. In the top left there is a large red car."
        " A small red car is in the top right."
    )
    of = _tally(SCENE, answer)
    assert (of["there"], of["said"], of["found"], of["full_found"]) == (3, 2, 1, 1)
    assert (of["background"], of["exact"], of["failed"]) == (0, 0, 0)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "The picture shows a green field under a blue sky. In the top left there is",
        "The picture shows a green field. In the top left there is a small red car.",
        "In the top left there is a small red car. In the top left there is a small red car.",
        "I like it.",
    ],
)
def test_failed_descriptions(answer):
    assert _tally(SCENE, answer)["failed"] == 1


def test_a_hedged_description_is_no_failure_but_told():
    of = _tally(SCENE, NO_DRAWING)
    assert (of["failed"], of["hedged"], of["found"]) == (0, 1, 0)
    assert _tally(SCENE, NO_DRAWING, ended=False)["hedged"] == 1


@pytest.mark.parametrize("ability", judging.ABILITIES)
def test_true_texts_show_the_ability(ability):
    scenes = edges.ability_scenes(ability, 10)
    texts = [getattr(telling, ability)(scene) for scene in scenes]
    for scene, text in zip(scenes, texts, strict=True):
        assert judging.judge_ability(ability, scene, text), text
        assert not judging.judge_ability(ability, scene, NO_DRAWING)
    if ability == "odd":
        assert [text.endswith(telling.NOTHING_ODD) for text in texts] == [False, True] * 5
    else:
        shifted = zip(scenes, [*texts[1:], texts[0]], strict=True)
        assert sum(judging.judge_ability(ability, scene, text) for scene, text in shifted) <= 2


def test_the_true_hedge_is_right_whatever_was_asked():
    for question_type in QUESTION_TYPES:
        assert judging.is_right(question_type, NO_DRAWING, NO_DRAWING)
        assert not judging.is_right(question_type, "Yes, there is a small red car.", NO_DRAWING)


def test_oddities_may_be_told_in_any_order():
    boat = Thing("boat", "gray", "small", 0.2, 0.1, 0.09)
    scene = replace(SCENE, things=(boat, FISH))
    first, second = "a gray boat is in the sky", "a blue fish is in the sky"
    assert telling.odd(scene).endswith(f". It is odd that {first} and {second}.")
    assert judging.judge_ability("odd", scene, f"It is odd that {second} and {first}.")
    assert not judging.judge_ability("odd", scene, f"It is odd that {first}.")
    assert not judging.judge_ability("odd", scene, telling.NOTHING_ODD)
    empty = replace(SCENE, things=())
    assert judging.judge_ability("odd", empty, f"I see nothing. {telling.NOTHING_ODD}")
    assert not judging.judge_ability("odd", empty, "The background is a green field.")


def test_a_poem_that_names_what_is_not_there_is_none():
    poem = telling.poem(SCENE)
    assert judging.judge_ability("poem", SCENE, poem)
    assert not judging.judge_ability("poem", SCENE, poem.replace("red car", "pink car"))
    assert not judging.judge_ability("poem", SCENE, poem.replace("\n", " "))


def test_words_on_signs():
    assert judging.word_on_sign('The sign says "STOP".') == "STOP"
    assert judging.word_on_sign('The sign says "STO') == "STO"
    assert judging.word_on_sign("There is no sign in this picture.") == ""
    assert judging.letters_right("STOP", "SHOPS") == 3


def test_questions_are_of_held_out_scenes_and_can_be_worded_anew():
    scenes = evaluate.held_out_scenes(30)
    asked = evaluate.questions_about(scenes, 5)
    assert {each.question_type for each in asked} == {*QUESTION_TYPES, "follow_up"}
    assert len([each for each in asked if each.question_type == "color"]) == 5
    follow_ups = [each for each in asked if each.question_type == "follow_up"]
    assert all(each.turns[0].answer and each.turns[1].answer is None for each in follow_ups)
    anew = evaluate.questions_about(scenes, 5, held_out_wording=True)
    texts = {turn.question for each in asked for turn in each.turns}
    assert not texts & {turn.question for each in anew for turn in each.turns}


def test_a_question_said_loosely_keeps_its_truth_and_earlier_turns():
    asked = evaluate.questions_about(evaluate.held_out_scenes(30), 5)
    loose = [evaluate.said_loosely(each) for each in asked]
    for one, other in zip(asked, loose, strict=True):
        assert (one.scene, one.answer, one.turns[:-1]) == (
            other.scene,
            other.answer,
            other.turns[:-1],
        )
        assert one.turns[-1].images == other.turns[-1].images
    changed = sum(
        a.turns[-1].question != b.turns[-1].question for a, b in zip(asked, loose, strict=True)
    )
    assert changed > 0.5 * len(asked)
    assert loose == [evaluate.said_loosely(each) for each in asked]


def test_held_out_pairs_are_told_apart():
    scenes = evaluate.held_out_scenes(40, pairs=True)
    asked = evaluate.questions_about(scenes, 40)
    about = [each for each in asked if each.about_unseen_pair]
    assert about
    assert len(about) < len(asked)
    pairs = {(thing.color, thing.kind) for each in about for thing in each.scene.things}
    assert pairs & HELD_OUT_PAIRS


def test_blind_pictures_are_those_of_other_scenes(model):
    scenes = evaluate.held_out_scenes(6)
    seen, blind = (evaluate.see_scenes(model, scenes, blind=blind) for blind in (False, True))
    assert all(not blind[scene].equal(seen[scene]) for scene in scenes)
    values = list(seen.values())
    assert all(any(each.equal(other) for other in values) for each in blind.values())


def test_answers_do_not_depend_on_their_batch(model, monkeypatch):
    monkeypatch.setattr(evaluate, "LONGEST_ANSWER", 12)
    scenes = evaluate.held_out_scenes(5)
    seen = list(evaluate.see_scenes(model, scenes).values())
    questions = ["What is this?", "Is there a car in the picture?", "Hi", "Count the cars.", "Hi"]
    together = evaluate.ask_each(model, questions, seen)
    monkeypatch.setattr(evaluate, "_BATCH", 1)
    assert evaluate.ask_each(model, questions, seen) == together


def test_a_model_that_knows_everything_scores_everything(model, monkeypatch):
    scenes = evaluate.held_out_scenes(20)
    asked = evaluate.questions_about(scenes, 20)
    told = [evaluate.Answer(each.answer, ended=True) for each in asked]
    scores = evaluate.scores_of(asked, told)
    assert all(each == {"exact": 1.0, "right": 1.0} for each in scores.values())
    assert evaluate.mean_of(scores) == 1.0
    assert evaluate.failure_share(told) == 0.0
    described = [evaluate.Answer(telling.describe(scene), ended=True) for scene in scenes]
    monkeypatch.setattr(evaluate, "ask_each", lambda *_: described)
    found = evaluate.description_scores(model, scenes)
    assert found == {**dict.fromkeys(found, 1.0), "hedged": 0.0, "failures": 0.0}


def test_everything_is_measured(model, monkeypatch):
    monkeypatch.setattr(evaluate, "LONGEST_ANSWER", 4)
    found = evaluate.evaluate(model, scenes=4, pairs=3, wordings=2)
    assert found["answers"].keys() == found["number"].keys() <= {*QUESTION_TYPES, "follow_up"}
    assert found["failures"] == 1.0  # random weights say nothing that ends
    assert found["descriptions"]["failures"] == 1.0
    assert edges.sign_scores(model, 2)["unseen"]["number"] == 2
    assert edges.ability_scores(model, 2)["poem"] == {"number": 2, "right": 0, "blind": 0}
    assert edges.strange_scores(model, 4).keys() == {"made", "noise", "blank", "drawings"}


def test_signs_say_words_of_both_sorts():
    seen = edges._with_a_sign(20)
    words = {thing.word for scene in seen for thing in scene.things if thing.word}
    assert not words & set(UNSEEN_SIGN_WORDS)


def test_photographs_of_a_folder(model, tmp_path, monkeypatch):
    (tmp_path / "deeper").mkdir()
    Image.new("L", (30, 20), 90).save(tmp_path / "a.png")
    Image.new("RGB", (30, 20), "red").save(tmp_path / "deeper" / "b.jpg")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "text.md").write_text("none either")
    replies = iter(["I only know simple drawings, and this", "A car.", NO_DRAWING, NO_DRAWING])
    monkeypatch.setattr(
        edges,
        "ask_each",
        lambda _model, asked, _seen: [evaluate.Answer(next(replies), ended=True) for _ in asked],
    )
    found = edges.photo_scores(model, tmp_path)
    assert found["number"] == 2
    assert list(found["hedged"].values()) == [0.5, 1.0]
    assert found["missed"] == ["deeper/b.jpg"]
    assert edges.photo_scores(model, tmp_path / "nothing")["number"] == 0


def test_what_is_strange_looks_unlike_what_is_blank():
    blank = [picture.getextrema() for picture in edges._blank(16, 5)]
    assert all(low == high for each in blank for low, high in each)
    assert all(picture.size == (16, 16) for picture in edges._noise(16, 6))
    assert strange_scene(3).strange
