"""The picture world's scenes and sentences: repeatable, true, balanced."""

import random
from collections import Counter

import pytest

from train.cartoon.describe import (
    QUESTION_TYPES,
    ask,
    caption,
    describe,
    dialogue,
    follow_up,
    relation_phrase,
    thing_phrase,
)
from train.cartoon.make import make
from train.cartoon.scene import (
    BACKGROUNDS,
    COLORS,
    HELD_OUT_PAIRS,
    KINDS,
    MAX_THINGS,
    Scene,
    Thing,
    make_scene,
)
from train.cartoon.wordings import (
    BACKGROUND_PHRASES,
    HELD_OUT_WORDINGS,
    NUMBERS,
    PLACE_PHRASES,
    PRONOUN_QUESTIONS,
    QUESTIONS,
)

SCENES = [make_scene(seed) for seed in range(400)]


def test_the_same_seed_gives_the_same_scene_and_texts():
    for seed in range(50):
        assert make_scene(seed) == make_scene(seed)
        texts = [
            (caption(scene, rng), describe(scene, rng), dialogue(scene, rng, 8))
            for scene, rng in [(make_scene(seed), random.Random(seed)) for _ in range(2)]
        ]
        assert texts[0] == texts[1]
    assert len({make_scene(seed) for seed in range(200)}) == 200


def test_scenes_keep_their_bounds():
    for scene in SCENES:
        assert scene.background in BACKGROUNDS
        assert len(scene.things) <= MAX_THINGS
        cells = [thing.cell for thing in scene.things]
        assert cells == sorted(set(cells)), "one thing a cell, in reading order"
        for thing in scene.things:
            assert thing.kind in KINDS
            assert thing.color in COLORS
            assert bool(thing.word) == (thing.kind == "sign")
            assert 0 < thing.x < 1
            assert 0 < thing.y < 1


def test_everything_is_drawn_about_as_often():
    things = [thing for scene in SCENES for thing in scene.things]
    for names, values in (
        (KINDS, [thing.kind for thing in things]),
        (COLORS, [thing.color for thing in things]),
        (BACKGROUNDS, [scene.background for scene in SCENES]),
        (PLACE_PHRASES, [thing.place for thing in things]),
    ):
        counts = Counter(values)
        assert set(counts) == set(names)
        assert min(counts.values()) > 0.6 * len(values) / len(names)
    numbers = Counter(len(scene.things) for scene in SCENES)
    assert all(numbers[number] > 50 for number in range(1, MAX_THINGS + 1))


def test_held_out_pairs_are_never_in_training_and_always_in_their_test():
    assert len(HELD_OUT_PAIRS) == len(KINDS)

    def pairs(scene):
        return {(thing.color, thing.kind) for thing in scene.things}

    assert not any(pairs(make_scene(seed)) & HELD_OUT_PAIRS for seed in range(3000))
    assert all(pairs(make_scene(seed, held_out=True)) & HELD_OUT_PAIRS for seed in range(300))


@pytest.mark.parametrize("bounds", [(0, 0), (10, 0), (3, 4)])
def test_impossible_bounds_are_refused(bounds):
    most, least = bounds
    with pytest.raises(ValueError, match="0 to 9 things"):
        make_scene(0, max_things=most, min_things=least)


def _answers(question_type):
    for seed, scene in enumerate(SCENES):
        exchange = ask(scene, question_type, random.Random(seed))
        if exchange is not None:
            yield scene, exchange


def _one(scene, kind):
    (thing,) = [thing for thing in scene.things if thing.kind == kind]
    return thing


def _named(question, names):
    words = question.rstrip("?.").replace("'s", "").split()
    return next(name for name in names if name in words)


@pytest.mark.parametrize("question_type", ["color", "size"])
def test_attributes_are_true(question_type):
    for scene, exchange in _answers(question_type):
        if exchange.answer.startswith("There is no"):
            kind = exchange.answer.split()[3]
            assert kind not in {thing.kind for thing in scene.things}
        else:
            thing = _one(scene, _named(exchange.question, KINDS))
            value = getattr(thing, question_type)
            assert exchange.answer == f"The {thing.kind} is {value}."


def test_places_are_true():
    for scene, exchange in _answers("where"):
        if not exchange.answer.startswith("There is no"):
            thing = _one(scene, _named(exchange.question, KINDS))
            assert exchange.answer == f"The {thing.kind} is {PLACE_PHRASES[thing.place]}."


def test_existence_is_true_and_balanced():
    for question_type in ("exists", "exists_color"):
        yes = no = 0
        for scene, exchange in _answers(question_type):
            words = exchange.answer.rstrip(".").split()
            kind = words[-1]
            there = [thing for thing in scene.things if thing.kind == kind]
            if question_type == "exists_color":
                there = [thing for thing in there if thing.color == words[-2]]
            assert bool(there) == (words[0] == "Yes,")
            yes, no = yes + bool(there), no + (not there)
        assert 0.4 < yes / (yes + no) < 0.6


def test_counts_are_true():
    for scene, exchange in _answers("count"):
        number = NUMBERS.index(exchange.answer.split()[2])
        found = [
            thing
            for thing in scene.things
            if exchange.answer.rstrip(".").split()[3].startswith(thing.kind)
        ]
        assert len(found) == number
    for scene, exchange in _answers("count_color"):
        _, _, number, color, _ = exchange.answer.split()
        assert sum(thing.color == color for thing in scene.things) == NUMBERS.index(number)
    for scene, exchange in _answers("total"):
        assert NUMBERS.index(exchange.answer.split()[2]) == len(scene.things)


def test_places_asked_about_hold_what_is_said():
    for scene, exchange in _answers("at_place"):
        (place,) = [
            name
            for name, phrase in PLACE_PHRASES.items()
            if exchange.answer.endswith(f" {phrase}.")
        ]
        there = [thing for thing in scene.things if thing.place == place]
        said = thing_phrase(there[0]) if there else "nothing"
        assert exchange.answer == f"There is {said} {PLACE_PHRASES[place]}."


@pytest.mark.parametrize(
    ("cells", "phrase"),
    [
        ((0, 8), "above and to the left of"),
        ((8, 0), "below and to the right of"),
        ((1, 7), "above"),
        ((5, 3), "to the right of"),
        ((6, 2), "below and to the left of"),
    ],
)
def test_relations(cells, phrase):
    first, second = (
        Thing("car", "red", "small", (cell % 3) / 3 + 0.1, (cell // 3) / 3 + 0.1, 0.1)
        for cell in cells
    )
    assert relation_phrase(first, second) == phrase


def test_follow_ups_mean_the_thing_before():
    asked = 0
    for scene, exchange in _answers("where"):
        then = follow_up(scene, exchange, random.Random(scene.seed))
        if then is None:
            continue
        asked += 1
        thing = _one(scene, exchange.kind)
        assert thing.kind not in then.question
        assert then.answer.startswith(f"The {thing.kind} is ")
    assert asked > 100


def test_a_description_names_everything_once():
    for scene in SCENES[:100]:
        text = describe(scene, random.Random(0)).lower()
        assert BACKGROUND_PHRASES[scene.background] in text
        for thing in scene.things:
            assert thing_phrase(thing).lower() in text
            assert PLACE_PHRASES[thing.place] in text
        number = len(scene.things)
        assert text.count(" there is ") == (number + 1) // 2
        assert text.count(" is in ") + text.count(" is at ") + text.count(" is on ") == number // 2


def test_every_question_has_six_wordings_and_two_held_out():
    for wordings in (*QUESTIONS.values(), *PRONOUN_QUESTIONS.values()):
        assert len(set(wordings)) >= 6 + HELD_OUT_WORDINGS
    for question_type in QUESTION_TYPES:
        training, test = set(), set()
        for scene in SCENES[:150]:
            for seed in range(3):
                for held_out, asked in ((False, training), (True, test)):
                    exchange = ask(scene, question_type, random.Random(seed), held_out=held_out)
                    if exchange:
                        asked.add(exchange.question)
        assert test
        assert not training & test


def test_make_writes_pictures_and_their_texts(tmp_path):
    make(tmp_path, 7, 3, 64)
    lines = (tmp_path / "scenes.jsonl").read_text().splitlines()
    assert len(lines) == 3
    assert sorted(path.name for path in tmp_path.glob("*.png")) == ["7.png", "8.png", "9.png"]


def test_an_empty_scene_can_be_talked_about():
    scene = Scene(seed=0, background="white", things=())
    assert "no objects" in describe(scene, random.Random(0))
    assert caption(scene, random.Random(0)).startswith(("an empty", "stock", "a drawing", "image"))
    assert dialogue(scene, random.Random(0), 10)
