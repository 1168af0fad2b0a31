"""Pictures in false colours: all hues turned by one angle, so that shapes come in every colour.

Every kind misses one colour in training, and an eye learns from that which kinds a colour rules
out. In false colours a kind is seen in colours that no drawing has, but never in the one that it
misses: pairs that are held out stay held out.
"""

import colorsys
import math
import random
from functools import cache

import torch

from train.cartoon.colors import Rgb, brightness, shades
from train.cartoon.scene import HELD_OUT_PAIRS, Scene

Matrix = tuple[tuple[float, float, float], ...]

GRAY: Matrix = ((0.299, 0.587, 0.114),) * 3
"""What takes the colour out of a picture."""

_TRIES = 8
_APART = 12.0
"""Degrees that a turned hue keeps from the hues of the colour that a kind misses."""
_NEARLY = 25.0
"""The same for how bright black, white and gray are, of 255."""
_COLORLESS = 0.2
"""Saturation below which a colour has no hue to speak of."""
_MISSED = {kind: color for color, kind in HELD_OUT_PAIRS}


def find_matrix(scene: Scene, rng: random.Random) -> Matrix | None:
    """A matrix that turns the hues of a scene's picture, or None where none was found.

    Args:
        scene: What the picture shows.
        rng: Where the angle comes from.
    """
    for _ in range(_TRIES):
        matrix = hue_matrix(rng.uniform(30, 330))
        if not shows_held_out(scene, matrix):
            return matrix
    return None


def hue_matrix(degrees: float) -> Matrix:
    """What turns RGB values about the axis of grays; grays stay as they are."""
    angle = math.radians(degrees)
    along, off = (1 - math.cos(angle)) / 3, math.sin(angle) / math.sqrt(3)
    same = math.cos(angle) + along
    return (
        (same, along - off, along + off),
        (along + off, same, along - off),
        (along - off, along + off, same),
    )


def shows_held_out(scene: Scene, matrix: Matrix) -> bool:
    """Whether a thing would come near the one colour that training never draws its kind in."""
    return any(
        _near(turned(value, matrix), _MISSED[thing.kind])
        for thing in scene.things
        if thing.kind in _MISSED
        for value in shades(thing.color)
    )


def turned(value: Rgb, matrix: Matrix) -> Rgb:
    """One colour value behind a matrix, within 0 to 255."""
    red, green, blue = (
        min(255, max(0, round(sum(a * b for a, b in zip(row, value, strict=True)))))
        for row in matrix
    )
    return (red, green, blue)


def apply_matrix(values: torch.Tensor, matrix: Matrix) -> torch.Tensor:
    """A picture `(3, S, S)` with values from 0 to 1 behind a matrix, clipped to that range."""
    return torch.einsum("ij,jhw->ihw", values.new_tensor(matrix), values).clamp(0, 1)


def _near(value: Rgb, missed: str) -> bool:
    hue, depth = _hue(value)
    hues = _hues(missed)
    if not hues:  # black, white, gray: what tells them apart is how bright they are
        lights = [brightness(each) for each in shades(missed)]
        near = min(lights) - _NEARLY <= brightness(value) <= max(lights) + _NEARLY
        return near and depth < _COLORLESS
    if depth < _COLORLESS:
        return False
    return any(min(abs(hue - each), 360 - abs(hue - each)) < _APART for each in hues)


def _hue(value: Rgb) -> tuple[float, float]:
    """Hue in degrees, and saturation."""
    hue, depth, _ = colorsys.rgb_to_hsv(*(part / 255 for part in value))
    return 360 * hue, depth


@cache
def _hues(color: str) -> tuple[float, ...]:
    """The hues that a colour is drawn in; none of black, white and gray."""
    found = (_hue(value) for value in shades(color))
    return tuple(hue for hue, depth in found if depth >= _COLORLESS)
