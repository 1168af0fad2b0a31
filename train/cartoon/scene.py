"""Seed -> scene: what stands where in one picture of the picture world.

A scene is the single source of truth between drawing (`draw.py`) and language (`asking.py`): the
picture and every sentence about it are made from the same value. Coordinates are fractions of the
canvas, x to the right and y downward, so that a scene has no pixel size.

Places have two grids. People speak of thirds ("top left", "center"); the Q-Former's queries look at
quarters, one of sixteen cells each, so that things may stand close together. No centre lies near a
line of either grid: what no one could tell is not asked. The quarters are not quite even: people
like to put a thing in the very middle, or two at a quarter and three quarters, and there no line
may run.
"""

import bisect
import math
import random
import string
from dataclasses import dataclass, replace

from train.cartoon.words import SIGN_WORDS, UNSEEN_SIGN_WORDS

KINDS = (
    "circle", "square", "triangle", "star", "heart", "tree", "house", "car", "sun", "cloud",
    "flower", "fish", "boat", "moon", "sign", "apple", "bird", "cat", "cup", "umbrella",
)  # fmt: skip
COLORS = (
    "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white", "gray",
)  # fmt: skip
SIZES = ("small", "medium", "large")
PLAIN_BACKGROUNDS = ("white", "cream", "gray")
BACKGROUNDS = (*PLAIN_BACKGROUNDS, "field", "beach", "night", "room", "sea")
PLACES = (
    "top left", "top", "top right",
    "left", "center", "right",
    "bottom left", "bottom", "bottom right",
)  # fmt: skip
# A page sketch is no scene like the others; `train.cartoon.sketch` makes it.
PAGE = "page"
PAGE_KINDS = ("title", "button", "list", "image")
SIDE_CELLS = 4
CELLS = SIDE_CELLS * SIDE_CELLS
CELL_LINES = (0.285, 0.54, 0.775)
MAX_THINGS = 6
HELD_OUT_SEEDS = 1_000_000_000  # training never draws a scene from a seed at or above this
LONGEST_WORD = 5

# Half of a thing's larger side as a fraction of the canvas. The gaps keep the words apart.
RADII = {"small": (0.08, 0.095), "medium": (0.12, 0.14), "large": (0.17, 0.21)}
_LARGEST_ALONE = 0.36
# How far the letters of a sign are apart, which is what makes a sign small or large, and the free
# board at both ends together.
LETTER_PITCHES = {"small": (0.074, 0.08), "medium": (0.088, 0.098), "large": (0.11, 0.125)}
BOARD_MARGIN = 0.05
# No centre is nearer than this to a line between two thirds or two quarters.
_MARGIN = 0.015
_LINES = (1 / 3, 2 / 3, *CELL_LINES)
_MIDDLES = (0.14, 0.44, 0.64, 0.88)
"""A coordinate in every quarter that is clear of all lines."""
# How much two things may hide of each other: their centres are so many summed radii apart.
_CLOSEST = 0.62

# One colour of every kind is never drawn in training. Scenes with such a pair measure whether the
# model composes what it learned or remembers whole pictures.
HELD_OUT_PAIRS = frozenset(
    (COLORS[(7 * index + 3) % len(COLORS)], kind) for index, kind in enumerate(KINDS)
)


@dataclass(frozen=True, slots=True)
class Thing:
    """One object of a scene.

    Attributes:
        kind: One of `KINDS`; of `PAGE_KINDS` in a page sketch.
        color: One of `COLORS`.
        size: One of `SIZES`.
        x: Centre, 0 at the left edge of the canvas and 1 at the right.
        y: Centre, 0 at the top edge of the canvas and 1 at the bottom.
        radius: Half of the larger side, as a fraction of the canvas side. A sign's board is
            `2 * radius` wide, with its letters `letter_pitch` apart.
        word: What a sign or a title says, capital letters; empty for every other kind.
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
        """Which of the sixteen quarter cells holds the centre, 0 to 15 in reading order."""
        return SIDE_CELLS * quarter_of(self.y) + quarter_of(self.x)

    @property
    def letter_pitch(self) -> float:
        """Distance of a sign's letters, as a fraction of the canvas side; 0 for other kinds."""
        if not self.word:
            return 0.0
        most = LETTER_PITCHES[self.size][1]
        return min((2 * self.radius - BOARD_MARGIN) / len(self.word), most)

    @property
    def third(self) -> int:
        """Which of the nine thirds holds the centre, 0 to 8 in reading order."""
        return 3 * min(int(self.y * 3), 2) + min(int(self.x * 3), 2)

    @property
    def place(self) -> str:
        """The third in words, one of `PLACES`."""
        return PLACES[self.third]


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything one picture shows.

    Attributes:
        seed: Where the scene came from; drawing takes its small variations from it too.
        background: One of `BACKGROUNDS`; `PAGE` for a page sketch, empty for a strange scene.
        things: The objects, in reading order of their cells, at most one a cell.
        strange: Whether the picture is no drawing of this world: blank, noise, like a photograph.
            It has no background and no things, whatever it shows.
    """

    seed: int
    background: str
    things: tuple[Thing, ...]
    strange: bool = False

    @property
    def has_word(self) -> bool:
        """Whether there are letters to read: on a sign, in a title."""
        return any(thing.word for thing in self.things)

    @property
    def is_page(self) -> bool:
        """Whether the picture is the sketch of a web page."""
        return self.background == PAGE


def strange_scene(seed: int) -> Scene:
    """The scene of a picture that is no drawing; `draw_strange` draws what belongs to the seed."""
    return Scene(seed=seed, background="", things=(), strange=True)


def make_scene(
    seed: int,
    *,
    max_things: int = MAX_THINGS,
    min_things: int = 0,
    held_out: bool = False,
    unseen_words: bool = False,
    any_pairs: bool = False,
) -> Scene:
    """Makes the scene that belongs to a seed. The same arguments always give the same scene.

    Args:
        seed: Any integer.
        max_things: The most objects, 1 to 6.
        min_things: The fewest objects. An empty scene is rare, and never on a plain background:
            that would be a blank picture.
        held_out: False never uses a pair of `HELD_OUT_PAIRS`, unless `any_pairs`; True uses at
            least one.
        unseen_words: True puts up a sign with a word that training never shows.
        any_pairs: True draws colours and kinds as they come. For texts alone: no drawing that
            something learns to see from may show such a scene.

    Raises:
        ValueError: If the bounds cannot be met, or both sorts of pairs are asked for.
    """
    if not 0 <= min_things <= max_things <= MAX_THINGS or max_things < 1:
        message = f"a scene holds 0 to {MAX_THINGS} things, not {min_things} to {max_things}"
        raise ValueError(message)
    if held_out and any_pairs:
        raise ValueError("held_out asks for a held-out pair, any_pairs does not: give one of them")
    rng = random.Random(f"world-{seed}-{held_out}-{unseen_words}")
    count = _thing_count(rng, max(min_things, int(held_out or unseen_words)), max_things)
    background = rng.choice(BACKGROUNDS if count else BACKGROUNDS[len(PLAIN_BACKGROUNDS) :])
    barred = frozenset[tuple[str, str]]() if any_pairs else HELD_OUT_PAIRS
    pairs = _pairs(rng, count, barred, held_out=held_out, sign=unseen_words)
    words = UNSEEN_SIGN_WORDS if unseen_words else SIGN_WORDS
    things: list[Thing] = []
    # The big ones first, for they find the fewest places.
    sizes = sorted((rng.choice(SIZES) for _ in pairs), key=SIZES.index, reverse=True)
    for (color, kind), size in zip(pairs, sizes, strict=True):
        word = rng.choice(words) if kind == "sign" else ""
        radius = _radius(rng, size, word, alone=count == 1)
        x, y = _free_place(rng, radius, things)
        things.append(Thing(kind, color, size, x, y, radius, word))
    ordered = tuple(sorted(things, key=lambda thing: thing.cell))
    return Scene(seed=seed, background=background, things=ordered)


def with_random_word(scene: Scene, rng: random.Random) -> Scene:
    """The scene with letters at random on its sign, never a word that is held out.

    There are few words: who knows them all by sight does not read.
    """
    if not scene.has_word:
        return scene
    things = (
        replace(thing, word=_random_word(len(thing.word), rng)) if thing.word else thing
        for thing in scene.things
    )
    return replace(scene, things=tuple(things))


def _random_word(length: int, rng: random.Random) -> str:
    while True:
        word = "".join(rng.choices(string.ascii_uppercase, k=length))
        if word not in UNSEEN_SIGN_WORDS:
            return word


def _thing_count(rng: random.Random, least: int, most: int) -> int:
    if least == 0 and rng.random() < 0.03:
        return 0
    return rng.randint(max(least, 1), most)


def _pairs(
    rng: random.Random,
    count: int,
    barred: frozenset[tuple[str, str]],
    *,
    held_out: bool,
    sign: bool,
) -> list[tuple[str, str]]:
    """Colours and kinds, at most one of them a sign."""
    # Kinds and colours repeat within a picture more often than chance, or counting would nearly
    # always be counting to one.
    palette = rng.sample(COLORS, rng.randint(2, len(COLORS)))
    kinds = rng.sample(KINDS, rng.randint(2, len(KINDS)))
    pairs: list[tuple[str, str]] = []
    if sign:
        pairs.append((rng.choice([c for c in COLORS if (c, "sign") not in HELD_OUT_PAIRS]), "sign"))
    if held_out and len(pairs) < count:
        allowed = sorted(pair for pair in HELD_OUT_PAIRS if not (sign and pair[1] == "sign"))
        pairs.append(rng.choice(allowed))
    # Reading needs practice: signs are put up more often than their turn among the kinds.
    elif not sign and rng.random() < 0.2 and count:
        pairs.append(_free_pair(rng, palette, ["sign"], barred))
    while len(pairs) < count:
        signed = any(kind == "sign" for _, kind in pairs)
        color, kind = _free_pair(rng, palette, kinds, barred)
        if not (signed and kind == "sign"):
            pairs.append((color, kind))
    rng.shuffle(pairs)
    return pairs


def _free_pair(
    rng: random.Random, palette: list[str], kinds: list[str], barred: frozenset[tuple[str, str]]
) -> tuple[str, str]:
    while True:
        pair = (rng.choice(palette), rng.choice(kinds))
        if pair not in barred:
            return pair
        # A palette and a list of kinds can consist of held-out pairs alone; widening one of them
        # always ends the search.
        palette = list(COLORS)


def _radius(rng: random.Random, size: str, word: str, *, alone: bool) -> float:
    if word:  # as wide as its letters need
        board = len(word) * rng.uniform(*LETTER_PITCHES[size]) + BOARD_MARGIN
        return max(board / 2, RADII[size][0])
    if alone and size == "large" and rng.random() < 0.5:
        return rng.uniform(RADII["large"][1], _LARGEST_ALONE)  # one big thing, as people draw
    return rng.uniform(*RADII[size])


def _free_place(rng: random.Random, radius: float, things: list[Thing]) -> tuple[float, float]:
    """A centre away from the grids' lines, in a cell of its own, not on top of another thing."""
    taken = {thing.cell for thing in things}
    closest = _CLOSEST
    for attempt in range(1, 400):
        x, y = _coordinate(rng, radius), _coordinate(rng, radius)
        here = Thing("circle", "red", "small", x, y, radius)
        near = (
            math.hypot(x - each.x, y - each.y) < closest * (radius + each.radius) for each in things
        )
        if here.cell not in taken and not any(near):
            return x, y
        if attempt % 100 == 0:  # a full picture: nearer is better than never
            closest *= 0.8
    free = [cell for cell in range(CELLS) if cell not in taken]
    row, column = divmod(rng.choice(free), SIDE_CELLS)
    return _MIDDLES[column], _MIDDLES[row]


def _coordinate(rng: random.Random, radius: float) -> float:
    # A thing may touch the edge of the canvas, and hang over it by a little.
    reach = min(0.9 * radius, 0.45)
    while True:
        value = rng.uniform(reach, 1 - reach)
        if is_clear(value):
            return value


def quarter_of(value: float) -> int:
    """Which of the four quarters a coordinate lies in, 0 to 3."""
    return bisect.bisect(CELL_LINES, value)


def is_clear(value: float) -> bool:
    """Whether a coordinate is so far from every line of both grids that its side can be told."""
    return all(abs(value - line) >= _MARGIN for line in _LINES)
