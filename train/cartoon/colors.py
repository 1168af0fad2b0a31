"""Names of colours -> values, and arithmetic with values."""

import colorsys
import math
import random
from functools import cache

Rgb = tuple[int, int, int]

BLACK: Rgb = (0, 0, 0)
WHITE: Rgb = (255, 255, 255)

# Values as other people's programs use them: pure ones, and those that CSS gives a name.
PURE_COLORS: dict[str, tuple[Rgb, ...]] = {
    "red": ((255, 0, 0), (220, 20, 20), (237, 28, 36)),
    "orange": ((255, 165, 0), (255, 140, 0), (255, 127, 39)),
    "yellow": ((255, 255, 0), (255, 215, 0), (255, 242, 0)),
    "green": ((0, 128, 0), (0, 255, 0), (34, 139, 34), (50, 205, 50), (0, 100, 0)),
    "blue": ((0, 0, 255), (0, 0, 128), (30, 144, 255), (65, 105, 225), (100, 180, 240)),
    "purple": ((128, 0, 128), (148, 0, 211), (138, 43, 226), (163, 73, 164)),
    "pink": ((255, 192, 203), (255, 105, 180), (255, 174, 201), (255, 20, 147)),
    "brown": ((139, 69, 19), (101, 67, 33), (150, 75, 0), (128, 70, 27)),
    "black": ((0, 0, 0), (0, 0, 0), (20, 20, 20)),
    "white": ((255, 255, 255), (255, 255, 255), (250, 250, 250)),
    "gray": ((128, 128, 128), (128, 128, 128), (150, 150, 150), (105, 105, 105)),
}
# Hue in degrees, saturation and value: the lowest and the highest of each.
_RANGES: dict[str, tuple[float, float, float, float, float, float]] = {
    "red": (-7, 7, 0.8, 1.0, 0.7, 1.0),
    "orange": (23, 38, 0.84, 1.0, 0.94, 1.0),
    "yellow": (48, 61, 0.66, 1.0, 0.93, 1.0),
    "green": (92, 156, 0.5, 1.0, 0.42, 0.9),
    "blue": (203, 243, 0.6, 1.0, 0.5, 1.0),
    "purple": (265, 300, 0.5, 1.0, 0.42, 0.8),
    "pink": (322, 350, 0.24, 0.58, 0.96, 1.0),
    "brown": (17, 31, 0.58, 0.88, 0.34, 0.56),
    "black": (0, 360, 0.0, 0.2, 0.02, 0.13),
    "white": (0, 360, 0.0, 0.015, 0.965, 1.0),
    "gray": (0, 360, 0.0, 0.04, 0.42, 0.62),
}

_COLORLESS = 0.25
"""A colour whose saturation stays below this has no hue to speak of."""


def pick_color(name: str, rng: random.Random) -> Rgb:
    """A value that people call by a name of `train.cartoon.scene.COLORS`."""
    if rng.random() < 0.3:
        return rng.choice(PURE_COLORS[name])
    low_hue, high_hue, low_depth, high_depth, low_value, high_value = _RANGES[name]
    hue = rng.uniform(low_hue, high_hue) / 360 % 1
    depth, value = rng.uniform(low_depth, high_depth), rng.uniform(low_value, high_value)
    red, green, blue = colorsys.hsv_to_rgb(hue, depth, value)
    return (round(255 * red), round(255 * green), round(255 * blue))


@cache
def shades(name: str) -> tuple[Rgb, ...]:
    """Values that stand for all that `pick_color` gives for a name; hues are 8 degrees apart."""
    low_hue, high_hue, low_depth, high_depth, low_value, high_value = _RANGES[name]
    depth, value = (low_depth + high_depth) / 2, (low_value + high_value) / 2
    steps = max(1, math.ceil((high_hue - low_hue) / 8)) if high_depth > _COLORLESS else 0
    hues = [low_hue + (high_hue - low_hue) * step / max(1, steps) for step in range(steps + 1)]
    turned = (colorsys.hsv_to_rgb(hue / 360 % 1, depth, value) for hue in hues)
    plain = tuple((round(255 * r), round(255 * g), round(255 * b)) for r, g, b in turned)
    return (*plain, *PURE_COLORS[name])


def mix(color: Rgb, other: Rgb, share: float) -> Rgb:
    """A colour with a share of another in it."""
    return (
        round(color[0] + (other[0] - color[0]) * share),
        round(color[1] + (other[1] - color[1]) * share),
        round(color[2] + (other[2] - color[2]) * share),
    )


def brightness(color: Rgb) -> float:
    """Luminance, 0 to 255."""
    return 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]


def distance(color: Rgb, other: Rgb) -> float:
    """How far apart two colours are, 0 to 442."""
    return math.dist(color, other)
