"""Seed -> scene: what stands where in one picture of the synthetic world.

A scene is the single source of truth between drawing (`draw.py`) and language (`describe.py`):
the picture and every sentence about it are made from the same value. Coordinates are fractions of
the canvas, x to the right and y downward, so that a scene has no pixel size.
"""

import random
from dataclasses import dataclass

KINDS = (
    "circle", "square", "triangle", "star", "heart", "tree", "house", "car",
    "sun", "cloud", "flower", "fish", "boat", "moon", "sign",
)  # fmt: skip
COLORS = (
    "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white",
)  # fmt: skip
SIZES = ("small", "large")
SIGN_WORDS = ("STOP", "OPEN", "EXIT", "CAFE", "HELLO", "TAXI")
BACKGROUNDS = ("white", "cream", "gray", "field", "beach", "night", "room")
PLACES = (
    "top left", "top", "top right",
    "left", "center", "right",
    "bottom left", "bottom", "bottom right",
)  # fmt: skip
MAX_THINGS = 5

# One colour of every kind is never drawn in training. Scenes with such a pair measure whether the
# model composes what it learned or remembers whole pictures.
HELD_OUT_PAIRS = frozenset(
    (COLORS[(7 * index + 3) % len(COLORS)], kind) for index, kind in enumerate(KINDS)
)


@dataclass(frozen=True, slots=True)
class Thing:
    """One object of a scene.

    Attributes:
        kind: One of `KINDS`.
        color: One of `COLORS`.
        size: One of `SIZES`.
        x: Centre, 0 at the left edge of the canvas and 1 at the right.
        y: Centre, 0 at the top edge of the canvas and 1 at the bottom.
        radius: Half of the larger side, as a fraction of the canvas side.
        word: What a sign says, one of `SIGN_WORDS`; empty for every other kind.
    """

    kind: str
    color: str
    size: str
    x: float
    y: float
    radius: float
    word: str = ""

    @property
    def cell(self) -> int:
        """Which of the nine thirds-by-thirds cells holds the centre, 0 to 8 in reading order."""
        return 3 * min(int(self.y * 3), 2) + min(int(self.x * 3), 2)

    @property
    def place(self) -> str:
        """The cell in words, one of `PLACES`."""
        return PLACES[self.cell]


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything one picture shows.

    Attributes:
        seed: Where the scene came from; drawing takes its small variations from it too.
        background: One of `BACKGROUNDS`.
        things: The objects, in reading order of their cells, at most one a cell.
    """

    seed: int
    background: str
    things: tuple[Thing, ...]


def make_scene(
    seed: int,
    *,
    max_things: int = MAX_THINGS,
    held_out: bool = False,
    min_things: int = 0,
) -> Scene:
    """Makes the scene that belongs to a seed. The same arguments always give the same scene.

    Args:
        seed: Any integer.
        max_things: The most objects, 1 to 9.
        held_out: False never uses a pair of `HELD_OUT_PAIRS`; True uses at least one.
        min_things: The fewest objects; an empty scene is rare unless this forbids it.

    Raises:
        ValueError: If the bounds cannot be met.
    """
    if not 0 <= min_things <= max_things <= len(PLACES) or max_things < 1:
        message = f"a scene holds 0 to 9 things, not {min_things} to {max_things}"
        raise ValueError(message)
    rng = random.Random(f"scene-{seed}-{held_out}")
    background = rng.choice(BACKGROUNDS)
    count = _thing_count(rng, max(min_things, int(held_out)), max_things)
    cells = sorted(rng.sample(range(len(PLACES)), count))
    # Kinds and colours repeat within a picture more often than chance, or counting would nearly
    # always be counting to one.
    palette = rng.sample(COLORS, rng.randint(2, len(COLORS)))
    kinds = rng.sample(KINDS, rng.randint(2, len(KINDS)))
    marked = rng.randrange(count) if held_out else -1
    things = []
    for index, cell in enumerate(cells):
        if index == marked:
            color, kind = rng.choice(sorted(HELD_OUT_PAIRS))
        else:
            color, kind = _seen_pair(rng, palette, kinds)
        things.append(_place(rng, kind, color, cell, alone=count == 1))
    return Scene(seed=seed, background=background, things=tuple(things))


def _thing_count(rng: random.Random, least: int, most: int) -> int:
    if least == 0 and rng.random() < 0.03:
        return 0
    return rng.randint(max(least, 1), most)


def _seen_pair(rng: random.Random, palette: list[str], kinds: list[str]) -> tuple[str, str]:
    while True:
        pair = (rng.choice(palette), rng.choice(kinds))
        if pair not in HELD_OUT_PAIRS:
            return pair
        # A palette and a list of kinds can consist of held-out pairs alone; widening one of them
        # always ends the search.
        palette = list(COLORS)


def _place(rng: random.Random, kind: str, color: str, cell: int, *, alone: bool) -> Thing:
    size = rng.choice(SIZES)
    if size == "small":
        radius = rng.uniform(0.075, 0.105)
    elif alone and rng.random() < 0.5:
        radius = rng.uniform(0.16, 0.34)  # a picture of one big thing, as people draw them
    else:
        radius = rng.uniform(0.145, 0.175)
    row, column = divmod(cell, 3)
    x = _coordinate(rng, column, radius)
    y = _coordinate(rng, row, radius)
    word = rng.choice(SIGN_WORDS) if kind == "sign" else ""
    return Thing(kind=kind, color=color, size=size, x=x, y=y, radius=radius, word=word)


def _coordinate(rng: random.Random, third: int, radius: float) -> float:
    """A centre inside a third of the canvas, near its middle and with the thing on the canvas."""
    low, high = third / 3 + 0.06, (third + 1) / 3 - 0.06
    low = max(low, radius) if third == 0 else low
    high = min(high, 1 - radius) if third == 2 else high
    # A thing too big for an outer third touches the edge instead of leaving the third.
    return rng.uniform(low, high) if low <= high else (low if third == 2 else high)
