"""Where a sign's board and its letters are, and how they are drawn; a title has letters alone."""

import random
from dataclasses import dataclass

from PIL import Image, ImageDraw

from train.cartoon.colors import Rgb, brightness, mix
from train.cartoon.letters import letter_mask
from train.cartoon.parts import soft_box
from train.cartoon.scene import BOARD_MARGIN, Thing

_TALL = 1.4
"""Height of a letter in letter pitches."""
_WIDE = 0.82
"""Width of a letter in letter pitches."""
_ABOVE = 0.34
"""Free board above the letters, and below, in letter pitches."""
_POST = 0.5
"""Length of the post in heights of the board."""
_FREE = 0.011
"""The least distance of a letter from the edge of the canvas."""
_CONTRAST = 110.0
"""The least difference in luminance of ink and board."""
_INKS: tuple[Rgb, ...] = (
    (20, 30, 110), (255, 225, 40), (190, 20, 20), (0, 90, 40), (255, 240, 200), (60, 30, 10),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class LetterBox:
    """Where one letter is, in fractions of the canvas.

    Attributes:
        letter: A capital letter.
        x: Centre of its box.
        y: Centre of its box.
        width: Width of its box.
        height: Height of its box.
    """

    letter: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Board:
    """A sign's board: its centre and half of its sides, in fractions of the canvas."""

    x: float
    y: float
    width: float
    height: float


def sign_board(thing: Thing) -> Board:
    """The board of a sign, moved so far that every letter is inside the canvas."""
    pitch, count = thing.letter_pitch, len(thing.word)
    height = (_TALL + 2 * _ABOVE) * pitch / 2
    width = max(thing.radius, (count * pitch + BOARD_MARGIN) / 2)
    across = (count - 1 + _WIDE) * pitch / 2 + _FREE
    down = _TALL * pitch / 2 + _FREE
    x = min(max(thing.x, across), 1 - across)
    post = _POST if thing.kind == "sign" else 0.0
    y = min(max(thing.y - post * height, down), 1 - down)
    return Board(x, y, width, height)


def sign_layout(thing: Thing) -> tuple[LetterBox, ...]:
    """Where the letters of a sign or a title are, from left to right; nothing for other things."""
    board, pitch = sign_board(thing), thing.letter_pitch
    start = board.x - (len(thing.word) - 1) * pitch / 2
    return tuple(
        LetterBox(letter, start + index * pitch, board.y, _WIDE * pitch, _TALL * pitch)
        for index, letter in enumerate(thing.word)
    )


def draw_sign(
    canvas: Image.Image,
    thing: Thing,
    color: Rgb,
    outline: Rgb,
    edge: float,
    *,
    rng: random.Random,
) -> None:
    """Draws a board on its post, with its word.

    Args:
        canvas: What is drawn on.
        thing: The sign.
        color: Colour of the board.
        outline: Colour of its edge.
        edge: Width of its edge in pixels; 0 for none.
        rng: For what varies.
    """
    side, board = canvas.width, sign_board(thing)
    draw = ImageDraw.Draw(canvas)
    left, right = (board.x - board.width) * side, (board.x + board.width) * side
    top, bottom = (board.y - board.height) * side, (board.y + board.height) * side
    wood = rng.choice(((120, 110, 100), (110, 74, 44), (70, 70, 76)))
    foot = min(bottom + 2 * _POST * board.height * side, side)
    half = max(1.0, rng.uniform(0.05, 0.09) * board.height * side * 2)
    middle = (left + right) / 2
    posts = (middle,) if rng.random() < 0.7 else (
        middle - 0.6 * (middle - left), middle + 0.6 * (middle - left)
    )  # fmt: skip
    for post in posts:
        draw.rectangle((post - half, bottom - 1, post + half, foot), fill=wood)
    corner = rng.choice((0.0, 0.12, 0.3)) * (bottom - top)
    shape = soft_box(left, top, right, bottom, corner)
    draw.polygon(shape, fill=color)
    ink = _ink(color, rng)
    if rng.random() < 0.2:  # a line inside the edge
        gap, thin = 0.02 * side * thing.letter_pitch / 0.1, max(1, round(0.004 * side))
        inner = soft_box(left + gap, top + gap, right - gap, bottom - gap, corner / 2)
        draw.line([*inner, inner[0]], fill=mix(color, ink, 0.7), width=thin)
    if edge:
        width = max(1, round(edge))
        draw.line([*shape, *shape[:2]], fill=outline, width=width)
    draw_letters(canvas, thing, ink, rng)


def draw_letters(canvas: Image.Image, thing: Thing, ink: Rgb, rng: random.Random) -> None:
    """Draws the letters of a sign or a title where `sign_layout` has them."""
    side, draw = canvas.width, ImageDraw.Draw(canvas)
    style = rng.choices(("font", "bold", "strokes", "dots"), (28, 27, 30, 15))[0]
    share = rng.uniform(0.86, 1.0)
    for place in sign_layout(thing):
        mask = letter_mask(
            place.letter,
            style,
            max(4, round(place.width * side)),
            max(5, round(share * place.height * side)),
        )
        corner_x = round(place.x * side - mask.width / 2)
        draw.bitmap((corner_x, round(place.y * side - mask.height / 2)), mask, fill=ink)


def _ink(color: Rgb, rng: random.Random) -> Rgb:
    """A colour that can be read on a board."""
    light = brightness(color)
    if rng.random() < 0.25:
        readable = [each for each in _INKS if abs(brightness(each) - light) >= _CONTRAST]
        if readable:
            return rng.choice(readable)
    both: tuple[Rgb, Rgb] = ((0, 0, 0), (255, 255, 255))
    readable = [each for each in both if abs(brightness(each) - light) >= _CONTRAST]
    return rng.choice(readable) if len(readable) == 1 or rng.random() < 0.3 else max(
        both, key=lambda each: abs(brightness(each) - light)
    )  # fmt: skip
