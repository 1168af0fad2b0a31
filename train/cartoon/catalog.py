"""Every kind's shapes and the colours of what they are made of."""

import random

from train.cartoon.animals import ANIMALS
from train.cartoon.colors import BLACK, WHITE, Rgb, brightness, mix
from train.cartoon.objects import OBJECTS
from train.cartoon.parts import Shape
from train.cartoon.plants import PLANTS
from train.cartoon.shapes import GEOMETRIC, SKY

SHAPES: dict[str, tuple[Shape, ...]] = {**GEOMETRIC, **SKY, **ANIMALS, **OBJECTS, **PLANTS}
"""Kind -> its variants, the frequent ones more than once. A sign depends on its word."""

MIRRORED = frozenset(
    {"house", "car", "fish", "boat", "moon", "flower", "cloud", "apple", "bird", "cat", "cup",
     "umbrella", "tree", "triangle"}
)  # fmt: skip
"""Kinds that look to the left as often as to the right."""

UPRIGHT = frozenset({"house", "tree", "car", "boat", "cloud", "cup", "cat"})
"""Kinds that lean only a little."""

_FIXED: dict[str, Rgb] = {
    "leaf": (70, 150, 60),
    "stem": (52, 140, 60),
    "glass": (196, 228, 245),
    "frame": (250, 250, 250),
    "tire": (40, 40, 44),
    "hub": (190, 190, 195),
    "eye": (255, 255, 255),
    "pupil": (15, 15, 20),
    "mast": (110, 72, 38),
    "sail": (250, 250, 245),
    "leg": (150, 90, 30),
    "steam": (176, 176, 182),
    "light": (255, 244, 190),
}


def palette(name: str, color: Rgb, rng: random.Random) -> dict[str, Rgb]:
    """Role of a part -> its colour, for a thing of a colour.

    Args:
        name: One of `train.cartoon.scene.COLORS`.
        color: The value chosen for it.
        rng: For what varies.
    """
    dark = brightness(color) < 70
    warm = name in ("orange", "yellow")
    shade = mix(color, WHITE, 0.22) if dark else mix(color, BLACK, 0.1 if warm else 0.22)
    if name in ("white", "gray"):
        shade = mix(color, BLACK, 0.12)
    return {
        **_FIXED,
        "body": color,
        "shade": shade,
        "roof": _roof(name, color, rng),
        "cloth": color if rng.random() < 0.5 else mix(color, WHITE, 0.3),
        "shine": mix(color, WHITE, 0.25 if dark else 0.5),
        "light_band": mix(color, WHITE, 0.35),
        "rib": mix(color, WHITE, 0.4) if dark else mix(color, BLACK, 0.35),
        "detail": mix(color, WHITE, 0.65) if dark else (30, 28, 32),
        "whisker": (120, 120, 124) if dark else (40, 38, 42),
        "ear": (214, 120, 140) if name in ("pink", "white", "red") else mix(
            color, (255, 170, 185), 0.6
        ),
        "trunk": (66, 40, 20) if name == "brown" else (112, 72, 38),
        "door": (205, 170, 120) if name in ("brown", "black", "red") else (96, 60, 36),
        "center": (120, 70, 24) if warm else (255, 214, 40),
        "beak": (190, 90, 20) if warm else (255, 150, 30),
        "pole": (200, 180, 150) if name == "brown" else rng.choice(
            ((90, 60, 36), (70, 70, 76), (130, 130, 136))
        ),
    }  # fmt: skip


def _roof(name: str, color: Rgb, rng: random.Random) -> Rgb:
    if rng.random() < 0.25:
        return rng.choice(((150, 62, 46), (84, 84, 92), (110, 70, 48)))
    if brightness(color) < 50:
        return mix(color, WHITE, 0.28)
    if name in ("orange", "yellow"):
        return mix(color, (180, 75, 0), 0.5)  # mere darkening gives brown and olive
    return mix(color, BLACK, 0.34)
