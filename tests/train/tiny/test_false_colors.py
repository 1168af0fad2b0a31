"""Pictures in false colours: hues are turned, grays stay, and held-out pairs are never shown."""

import colorsys
import random

import pytest
import torch

from train.cartoon.scene import HELD_OUT_PAIRS, Scene, Thing, make_scene
from train.tiny.false_colors import apply, false_colors, hue_matrix, shows_held_out, turned


def test_a_turn_of_a_third_sends_red_to_green_and_leaves_grays():
    third = hue_matrix(120)
    assert turned((255, 0, 0), third) == (0, 255, 0)
    assert turned((0, 255, 0), third) == (0, 0, 255)
    assert turned((130, 130, 130), third) == (130, 130, 130)
    assert turned((40, 90, 200), hue_matrix(360)) == (40, 90, 200)


def test_a_picture_is_turned_as_its_values_are():
    picture = torch.tensor([200.0, 60.0, 20.0])[:, None, None].expand(3, 2, 2) / 255
    matrix = hue_matrix(75)
    found = (apply(picture, matrix)[:, 0, 0] * 255).round().int().tolist()
    assert tuple(found) == turned((200, 60, 20), matrix)


@pytest.mark.parametrize(
    ("color", "kind"),
    sorted(pair for pair in HELD_OUT_PAIRS if pair[0] in ("red", "green", "blue")),
)
def test_no_turn_shows_the_colour_that_a_kind_misses(color, kind):
    rng = random.Random(0)
    middles = {"red": 0.0, "green": 120.0, "blue": 225.0}
    found = 0
    for other in ("red", "yellow", "green", "blue", "purple"):
        if other == color:
            continue
        scene = Scene(1, "white", (Thing(kind, other, "large", 0.4, 0.4, 0.2),))
        for _ in range(60):
            matrix = false_colors(scene, rng)
            if matrix is None:
                continue
            found += 1
            start = {"yellow": (255, 255, 0), "purple": (128, 0, 128)}.get(other)
            start = start or tuple(255 * (name == other) for name in ("red", "green", "blue"))
            hue = 360 * colorsys.rgb_to_hsv(*turned(start, matrix))[0]
            off = abs(hue - middles[color])
            assert min(off, 360 - off) > 20
    assert found > 100


def test_most_pictures_can_be_shown_in_false_colours():
    rng = random.Random(0)
    found = [false_colors(make_scene(seed), rng) for seed in range(100)]
    assert sum(each is not None for each in found) > 70
    for seed, matrix in enumerate(found):
        assert matrix is None or not shows_held_out(make_scene(seed), matrix)
