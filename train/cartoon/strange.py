"""Pictures that are no drawing of this world, of which nothing should be claimed.

Blank ones, noise, slopes of colour, patterns, and pictures with the statistics of photographs. No
photograph is used.
"""

import random
from collections.abc import Callable

from PIL import Image

from train.cartoon.noise import (
    BICUBIC,
    BILINEAR,
    any_color,
    bell_grain,
    camera,
    dull_color,
    grain,
    lit,
    slope,
)
from train.cartoon.patterns import PATTERNS
from train.cartoon.photographs import PHOTOGRAPHS

_WORKING_SIDE = 112
"""Side in pixels at which patterns and photographs are made, whatever size is asked for."""


def draw_strange(seed: int, size: int) -> Image.Image:
    """The strange picture that belongs to a seed.

    Args:
        seed: Any integer. The same seed and size always give the same pixels.
        size: Side of the square picture in pixels.

    Returns:
        An RGB picture.
    """
    rng = random.Random(f"look-{seed}")
    return rng.choices(_MAKERS, _WEIGHTS)[0](rng, size)


def _blank(rng: random.Random, size: int) -> Image.Image:
    draw = rng.random()
    if draw < 0.4:
        color = (255, 255, 255)
    elif draw < 0.55:
        color = (0, 0, 0)
    else:
        color = any_color(rng) if draw < 0.8 else dull_color(rng)
    return Image.new("RGB", (size, size), color)


def _noise(rng: random.Random, size: int) -> Image.Image:
    """Noise of one grain size, uniform or normal, gray or coloured, weak or strong."""
    make = grain if rng.random() < 0.5 else bell_grain
    mode = rng.choice(("L", "RGB"))
    cells = max(2, round(size / rng.choice((1, 1, 1, 1.5, 2, 3, 4, 8, 16))))
    picture = make(rng, cells, cells, mode).convert("RGB")
    if cells != size:
        way = rng.choice((Image.Resampling.NEAREST, BILINEAR, BICUBIC))
        picture = picture.resize((size, size), way)
    if rng.random() < 0.5:
        ground = Image.new("RGB", picture.size, any_color(rng))
        picture = Image.blend(ground, picture, rng.uniform(0.1, 0.9))
    return picture


def _slope(rng: random.Random, size: int) -> Image.Image:
    pick = any_color if rng.random() < 0.5 else dull_color
    picture = slope(rng, size, pick(rng), pick(rng))
    if rng.random() < 0.4:
        other = slope(rng, size, pick(rng), pick(rng))
        picture = Image.blend(picture, other, rng.uniform(0.3, 0.7))
    return lit(rng, picture, rng.uniform(0, 0.4)) if rng.random() < 0.3 else picture


def _photograph(rng: random.Random, size: int) -> Image.Image:
    picture = camera(rng, rng.choice(PHOTOGRAPHS)(rng, _WORKING_SIDE))
    return picture.resize((size, size), BILINEAR)


def _pattern(rng: random.Random, size: int) -> Image.Image:
    picture = rng.choice(PATTERNS)(rng, _WORKING_SIDE)
    if rng.random() < 0.6:
        picture = camera(rng, picture)
    return picture.resize((size, size), BILINEAR)


_MAKERS: tuple[Callable[[random.Random, int], Image.Image], ...] = (
    _blank, _noise, _slope, _photograph, _pattern,
)  # fmt: skip
_WEIGHTS = (8, 10, 8, 46, 28)
