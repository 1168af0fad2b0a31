"""Seed -> page sketch: a web page as people draw it on paper, a title above a few elements.

A sketch is a `Scene` like any other: its elements are things, each in a quarter cell of its own.
"""

import random
from dataclasses import dataclass, replace

from train.cartoon.scene import (
    BOARD_MARGIN,
    LETTER_PITCHES,
    PAGE,
    PAGE_KINDS,
    SIZES,
    Scene,
    Thing,
    is_clear,
    quarter_of,
)
from train.cartoon.words import SIGN_WORDS, UNSEEN_SIGN_WORDS

MAX_SKETCHED = 5

_SHORTEST_WORD = 3
_HALF_LETTER = 0.7
"""Half of a letter's height in letter pitches."""
_ELEMENTS = tuple(kind for kind in PAGE_KINDS if kind != "title")
_ROWS = ((0.36, 0.4), (0.59, 0.645), (0.83, 0.89))
"""Where the centres of the rows below the title are."""
_APART = 0.22
"""The least distance of two centres in a row."""
_FREE = 0.012
"""Free paper around an element."""
_WIDTHS = {"button": (0.08, 0.2), "list": (0.1, 0.26), "image": (0.09, 0.34)}
"""Half of an element's width, where there is room."""


@dataclass(frozen=True, slots=True)
class Box:
    """Where an element is drawn: its centre and half of its sides, in fractions of the canvas."""

    x: float
    y: float
    width: float
    height: float


def make_sketch(seed: int, *, max_things: int = MAX_SKETCHED, unseen_words: bool = False) -> Scene:
    """Makes the page sketch that belongs to a seed; the same arguments always give the same one.

    Args:
        seed: Any integer.
        max_things: The most things, the title among them; 2 to 5.
        unseen_words: Whether the title is a word that training never shows.

    Raises:
        ValueError: If there is no sketch of so few or so many things.
    """
    if not 2 <= max_things <= MAX_SKETCHED:
        raise ValueError(f"a page sketch holds 2 to {MAX_SKETCHED} things, not {max_things}")
    rng = random.Random(f"sketch-{seed}-{unseen_words}")
    words = UNSEEN_SIGN_WORDS if unseen_words else SIGN_WORDS
    title = _title(rng, rng.choice([word for word in words if len(word) >= _SHORTEST_WORD]))
    elements = _elements(rng, rng.randint(1, max_things - 1))
    ordered = sorted((title, *elements), key=lambda thing: thing.cell)
    return Scene(seed=seed, background=PAGE, things=tuple(ordered))


def sketch_boxes(scene: Scene) -> tuple[Box, ...]:
    """Where the things of a page sketch are drawn, in their order."""
    return tuple(_box(scene, index) for index in range(len(scene.things)))


def _title(rng: random.Random, word: str) -> Thing:
    size = rng.choice(SIZES)
    pitch = rng.uniform(*LETTER_PITCHES[size])
    half = len(word) * pitch / 2
    reach = half + 0.03 if rng.random() < 0.5 else 0.4  # often in the middle
    x = _clear(rng, reach, 1 - reach)
    y = rng.uniform(_HALF_LETTER * pitch + 0.05, 0.17)
    return Thing("title", "black", size, x, y, half + BOARD_MARGIN / 2, word)


def _elements(rng: random.Random, count: int) -> list[Thing]:
    """Elements in rows, no two in one cell; half of the sketches fill as many rows as they can."""
    spread = rng.sample(range(len(_ROWS)), min(count, len(_ROWS)) if rng.random() < 0.5 else 0)
    rows = [*spread, *(rng.randrange(len(_ROWS)) for _ in range(count - len(spread)))]
    heights = [rng.uniform(*reach) for reach in _ROWS]
    aligned = round(_clear(rng, 0.2, 0.8), 2) if rng.random() < 0.4 else 0.0
    placed: list[Thing] = []
    for row in rows:
        free = _free(heights[row], placed)
        while not free:  # a full row; of three rows one has room for a fourth element
            row = (row + 1) % len(_ROWS)  # noqa: PLW2901
            free = _free(heights[row], placed)
        x = aligned if aligned in free else rng.choice(free)
        placed.append(Thing(rng.choice(_ELEMENTS), "black", "medium", x, heights[row], 0.0))
    return [replace(thing, radius=_half_width(rng, thing, placed)) for thing in placed]


def _free(y: float, placed: list[Thing]) -> list[float]:
    """Where an element has room in a row."""
    beside = [thing.x for thing in placed if _in_one_row(thing.y, y)]
    steps = [step / 100 for step in range(12, 89) if is_clear(step / 100)]
    return [
        x
        for x in steps
        if all(abs(x - each) >= _APART and quarter_of(x) != quarter_of(each) for each in beside)
    ]


def _half_width(rng: random.Random, thing: Thing, placed: list[Thing]) -> float:
    gaps = [
        abs(thing.x - other.x) / 2 - _FREE
        for other in placed
        if other is not thing and _in_one_row(thing.y, other.y)
    ]
    return min(rng.uniform(*_WIDTHS[thing.kind]), thing.x - 0.025, 0.975 - thing.x, *gaps)


def _in_one_row(y: float, other: float) -> bool:
    return abs(y - other) < 0.1


def _clear(rng: random.Random, low: float, high: float) -> float:
    while True:
        value = rng.uniform(low, high)
        if is_clear(value):
            return value


def _box(scene: Scene, index: int) -> Box:
    thing = scene.things[index]
    if thing.word:
        half = len(thing.word) * thing.letter_pitch / 2
        return Box(thing.x, thing.y, half, _HALF_LETTER * thing.letter_pitch)
    rng = random.Random(f"box-{scene.seed}-{index}")
    height = {
        "button": min(max(thing.radius * rng.uniform(0.3, 0.55), 0.035), 0.075),
        "list": rng.uniform(0.08, 0.16),
        "image": thing.radius * rng.uniform(0.6, 1.1),
    }[thing.kind]
    room = [0.975 - thing.y]
    for other in scene.things:
        if other.word:
            room.append(thing.y - other.y - _HALF_LETTER * other.letter_pitch - 0.03)
        elif not _in_one_row(thing.y, other.y):
            room.append(abs(thing.y - other.y) / 2 - _FREE)
    return Box(thing.x, thing.y, thing.radius, min(height, *room))
