"""Scenes: what the picture world promises about what stands where."""

import math
from collections import Counter

import pytest

from train.cartoon.scene import (
    BACKGROUNDS,
    CELL_LINES,
    COLORS,
    HELD_OUT_PAIRS,
    KINDS,
    LONGEST_WORD,
    MAX_THINGS,
    PLACES,
    PLAIN_BACKGROUNDS,
    SIZES,
    Thing,
    make_scene,
    strange_scene,
)
from train.cartoon.words import SIGN_WORDS, UNSEEN_SIGN_WORDS

SCENES = [make_scene(seed) for seed in range(3000)]
THINGS = [thing for scene in SCENES for thing in scene.things]


def test_the_world_is_as_large_as_promised():
    assert len(KINDS) == len(set(KINDS)) == 20
    assert len(COLORS) == len(set(COLORS)) == 11
    assert len(SIZES) == 3
    assert len(BACKGROUNDS) == 8
    assert {len(scene.things) for scene in SCENES} == set(range(7))
    assert {thing.kind for thing in THINGS} == set(KINDS)
    assert {thing.color for thing in THINGS} == set(COLORS)
    assert {thing.size for thing in THINGS} == set(SIZES)
    assert {scene.background for scene in SCENES} == set(BACKGROUNDS)


def test_words_can_be_read_letter_by_letter():
    assert len(set(SIGN_WORDS)) == len(SIGN_WORDS) >= 140
    for word in (*SIGN_WORDS, *UNSEEN_SIGN_WORDS):
        assert word.isascii()
        assert word.isalpha()
        assert word == word.upper()
        assert 2 <= len(word) <= LONGEST_WORD
    # A held-out word holds only letters that training has shown, and is no training word.
    assert not set(UNSEEN_SIGN_WORDS) & set(SIGN_WORDS)
    assert set("".join(UNSEEN_SIGN_WORDS)) <= set("".join(SIGN_WORDS))
    assert set("".join(SIGN_WORDS)) == set("ABCDEFGHIJKLMNOPQRSTUVWXYZ")


@pytest.mark.parametrize("options", [{}, {"held_out": True}, {"unseen_words": True}])
def test_a_seed_is_a_scene(options):
    for seed in range(50):
        assert make_scene(seed, **options) == make_scene(seed, **options)
    assert len({make_scene(seed, **options) for seed in range(50)}) == 50


def test_training_never_shows_what_is_held_out():
    assert len(HELD_OUT_PAIRS) == len(KINDS)
    assert {kind for _, kind in HELD_OUT_PAIRS} == set(KINDS)
    assert not any((thing.color, thing.kind) in HELD_OUT_PAIRS for thing in THINGS)
    assert not any(thing.word in UNSEEN_SIGN_WORDS for thing in THINGS)


def test_held_out_scenes_show_what_training_never_shows():
    for seed in range(300):
        scene = make_scene(seed, held_out=True)
        assert any((thing.color, thing.kind) in HELD_OUT_PAIRS for thing in scene.things)
        words = [thing.word for thing in make_scene(seed, unseen_words=True).things if thing.word]
        assert len(words) == 1
        assert words[0] in UNSEEN_SIGN_WORDS


def test_both_held_out_at_once():
    for seed in range(100):
        scene = make_scene(seed, held_out=True, unseen_words=True, min_things=2)
        assert any((thing.color, thing.kind) in HELD_OUT_PAIRS for thing in scene.things)
        assert any(thing.word in UNSEEN_SIGN_WORDS for thing in scene.things)


def test_bounds_are_kept():
    for seed in range(200):
        assert 2 <= len(make_scene(seed, min_things=2, max_things=3).things) <= 3
    for bounds in ((3, 2), (0, 7), (-1, 3), (0, 0)):
        with pytest.raises(ValueError, match="0 to 6 things"):
            make_scene(0, min_things=bounds[0], max_things=bounds[1])


def test_an_empty_scene_is_no_blank_picture():
    empty = [scene for scene in SCENES if not scene.things]
    assert empty
    assert not any(scene.background in PLAIN_BACKGROUNDS for scene in empty)


def test_a_cell_holds_one_thing_and_things_come_in_reading_order():
    for scene in SCENES:
        cells = [thing.cell for thing in scene.things]
        assert cells == sorted(set(cells))


def test_no_centre_lies_where_nobody_could_tell_its_place():
    lines = [1 / 3, 2 / 3, *CELL_LINES]
    for thing in THINGS:
        assert all(abs(each - line) > 0.0149 for each in (thing.x, thing.y) for line in lines)
        assert 0 < thing.x < 1
        assert 0 < thing.y < 1


def test_places_are_free_within_a_cell():
    spread = [thing.x for thing in THINGS if thing.cell % 4 == 1]
    assert max(spread) - min(spread) > 0.18
    assert {thing.place for thing in THINGS} == set(PLACES)


def test_cells_and_thirds():
    corner = Thing("car", "red", "small", 0.1, 0.95, 0.08)
    assert (corner.cell, corner.third, corner.place) == (12, 6, "bottom left")
    low = Thing("car", "red", "small", 0.45, 0.6, 0.08)
    assert (low.cell, low.third, low.place) == (9, 4, "center")
    edge = Thing("car", "red", "small", 1.0, 1.0, 0.08)
    assert (edge.cell, edge.third) == (15, 8)


def test_things_overlap_but_do_not_hide_each_other():
    overlapping, hidden = 0, 0
    for scene in SCENES:
        for index, thing in enumerate(scene.things):
            for other in scene.things[index + 1 :]:
                distance = math.hypot(thing.x - other.x, thing.y - other.y)
                overlapping += distance < thing.radius + other.radius
                hidden += distance < 0.3 * (thing.radius + other.radius)
    assert overlapping > 500
    assert hidden < 0.002 * len(THINGS)


def test_sizes_do_not_run_into_each_other():
    radii = {size: [t.radius for t in THINGS if t.size == size and not t.word] for size in SIZES}
    assert max(radii["small"]) < 0.85 * min(radii["medium"])
    assert max(radii["medium"]) < 0.85 * min(radii["large"])
    assert max(radii["large"]) > 0.3  # one big thing, alone on its picture
    pitches = {
        size: [t.letter_pitch for t in THINGS if t.size == size and t.word] for size in SIZES
    }
    assert max(pitches["small"]) < min(pitches["medium"])
    assert max(pitches["medium"]) < min(pitches["large"])
    assert min(pitches["small"]) > 0.06


def test_at_most_one_sign_and_signs_alone_have_words():
    shown = Counter()
    for scene in SCENES:
        signs = [thing for thing in scene.things if thing.kind == "sign"]
        assert len(signs) <= 1
        assert all(thing.word for thing in signs)
        shown.update(thing.word for thing in signs)
        assert not any(thing.word for thing in scene.things if thing.kind != "sign")
    assert 0.2 < shown.total() / len(SCENES) < 0.45
    assert len(shown) > 130


def test_repetition_is_common_enough_to_count():
    repeated = sum(
        max(Counter(thing.kind for thing in scene.things).values(), default=0) > 1
        for scene in SCENES
    )
    assert repeated > 0.2 * len(SCENES)
    assert MAX_THINGS == 6


def test_a_strange_scene_has_nothing_to_tell():
    scene = strange_scene(3)
    assert scene.strange
    assert not scene.things
    assert not scene.background
    assert not any(each.strange for each in SCENES)
