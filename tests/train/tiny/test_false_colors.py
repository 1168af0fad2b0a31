"""Pictures in false colours: hues are turned, grays stay, and held-out pairs are never shown."""

import colorsys
import random

import pytest
import torch

from train.cartoon.colors import brightness, pick_color
from train.cartoon.scene import COLORS, HELD_OUT_PAIRS, Scene, Thing, make_scene
from train.tiny.false_colors import (
    GRAY,
    apply_matrix,
    find_matrix,
    hue_matrix,
    shows_held_out,
    turned,
)


def test_a_turn_of_a_third_sends_red_to_green_and_leaves_grays():
    third = hue_matrix(120)
    assert turned((255, 0, 0), third) == (0, 255, 0)
    assert turned((0, 255, 0), third) == (0, 0, 255)
    assert turned((130, 130, 130), third) == (130, 130, 130)
    assert turned((40, 90, 200), hue_matrix(360)) == (40, 90, 200)


def test_a_picture_is_turned_as_its_values_are():
    picture = torch.tensor([200.0, 60.0, 20.0])[:, None, None].expand(3, 2, 2) / 255
    matrix = hue_matrix(75)
    found = (apply_matrix(picture, matrix)[:, 0, 0] * 255).round().int().tolist()
    assert tuple(found) == turned((200, 60, 20), matrix)


@pytest.mark.parametrize(("color", "kind"), sorted(HELD_OUT_PAIRS))
def test_no_picture_shows_the_colour_that_a_kind_misses(color, kind):
    """Judged by the values that the world draws, not by those that the check looks at."""
    rng = random.Random(f"{color}-{kind}")
    missed = [_hue(pick_color(color, rng)) for _ in range(300)]
    hues = [hue for hue, depth in missed if depth > 0.25]
    shown = 0
    for other in COLORS:
        if other == color:
            continue
        scene = Scene(1, "white", (Thing(kind, other, "large", 0.4, 0.4, 0.2),))
        for _ in range(30):
            matrix = find_matrix(scene, rng)
            if matrix is None:
                continue
            shown += 1
            hue, depth = _hue(turned(pick_color(other, rng), matrix))
            if hues and depth > 0.25:
                assert min(min(abs(hue - each), 360 - abs(hue - each)) for each in hues) > 1
    assert shown > 50


@pytest.mark.parametrize(
    ("color", "kind"), sorted(p for p in HELD_OUT_PAIRS if p[0] in ("black", "white", "gray"))
)
def test_no_picture_without_colour_shows_a_kind_in_the_gray_that_it_misses(color, kind):
    rng = random.Random(f"{color}-{kind}")
    missed = [brightness(pick_color(color, rng)) for _ in range(300)]
    shown = 0
    for other in COLORS:
        scene = Scene(1, "white", (Thing(kind, other, "large", 0.4, 0.4, 0.2),))
        if not shows_held_out(scene, GRAY):
            shown += 1
            for _ in range(100):
                value = turned(pick_color(other, rng), GRAY)
                assert not min(missed) <= value[0] <= max(missed)
    assert shown > 1
    assert shows_held_out(Scene(1, "white", (Thing(kind, color, "large", 0.4, 0.4, 0.2),)), GRAY)


def test_most_pictures_can_be_shown_in_false_colours():
    rng = random.Random(0)
    found = [find_matrix(make_scene(seed), rng) for seed in range(100)]
    assert sum(each is not None for each in found) > 60
    for seed, matrix in enumerate(found):
        assert matrix is None or not shows_held_out(make_scene(seed), matrix)


def _hue(value):
    """Hue in degrees, and how far the channels are apart: dark values have none to speak of."""
    hue, _, _ = colorsys.rgb_to_hsv(*(part / 255 for part in value))
    return 360 * hue, (max(value) - min(value)) / 255
