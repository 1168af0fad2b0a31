"""Capital letters as masks: of dots, of strokes, and of Pillow's own font."""

from functools import cache, lru_cache

from PIL import Image, ImageDraw, ImageFont, features

from train.cartoon.parts import Point

LETTER_STYLES = ("font", "bold", "strokes", "dots")
_LARGE = 96
"""Font size from which letters are reduced."""

# Rows from the top; three dots wide, or five where three do not tell a letter from another.
DOTS = {
    "A": ("010", "101", "111", "101", "101"),
    "B": ("110", "101", "110", "101", "110"),
    "C": ("111", "100", "100", "100", "111"),
    "D": ("110", "101", "101", "101", "110"),
    "E": ("111", "100", "110", "100", "111"),
    "F": ("111", "100", "110", "100", "100"),
    "G": ("111", "100", "101", "101", "111"),
    "H": ("101", "101", "111", "101", "101"),
    "I": ("111", "010", "010", "010", "111"),
    "J": ("001", "001", "001", "101", "111"),
    "K": ("101", "101", "110", "101", "101"),
    "L": ("100", "100", "100", "100", "111"),
    "M": ("10001", "11011", "10101", "10001", "10001"),
    "N": ("10001", "11001", "10101", "10011", "10001"),
    "O": ("111", "101", "101", "101", "111"),
    "P": ("111", "101", "111", "100", "100"),
    "Q": ("01110", "10001", "10101", "10010", "01101"),
    "R": ("111", "101", "110", "101", "101"),
    "S": ("111", "100", "111", "001", "111"),
    "T": ("111", "010", "010", "010", "010"),
    "U": ("101", "101", "101", "101", "111"),
    "V": ("101", "101", "101", "101", "010"),
    "W": ("10001", "10001", "10101", "11011", "10001"),
    "X": ("101", "101", "010", "101", "101"),
    "Y": ("101", "101", "010", "010", "010"),
    "Z": ("111", "001", "010", "100", "111"),
}
_BOWL = ((0, 0), (1.4, 0), (2, 0.5), (2, 1.5), (1.4, 2), (0, 2))
_ROUND = ((0.6, 0), (1.4, 0), (2, 0.7), (2, 3.3), (1.4, 4), (0.6, 4), (0, 3.3), (0, 0.7), (0.6, 0))
# Lines on a grid 2 wide and 4 high.
STROKES: dict[str, tuple[tuple[Point, ...], ...]] = {
    "A": (((0, 4), (1, 0), (2, 4)), ((0.35, 2.6), (1.65, 2.6))),
    "B": (((0, 2), *_BOWL, (1.4, 2), (2, 2.5), (2, 3.5), (1.4, 4), (0, 4), (0, 0)),),
    "C": (((2, 0.6), (1.4, 0), (0.6, 0), (0, 0.7), (0, 3.3), (0.6, 4), (1.4, 4), (2, 3.4)),),
    "D": (((0, 0), (1.2, 0), (2, 0.9), (2, 3.1), (1.2, 4), (0, 4), (0, 0)),),
    "E": (((2, 0), (0, 0), (0, 4), (2, 4)), ((0, 2), (1.6, 2))),
    "F": (((2, 0), (0, 0), (0, 4)), ((0, 2), (1.6, 2))),
    "G": (((2, 0.6), (1.4, 0), (0.6, 0), (0, 0.7), (0, 3.3), (0.6, 4), (1.4, 4), (2, 3.4), (2, 2.2),
           (1.1, 2.2)),),
    "H": (((0, 0), (0, 4)), ((2, 0), (2, 4)), ((0, 2), (2, 2))),
    "I": (((0.3, 0), (1.7, 0)), ((1, 0), (1, 4)), ((0.3, 4), (1.7, 4))),
    "J": (((2, 0), (2, 3.3), (1.4, 4), (0.6, 4), (0, 3.3)),),
    "K": (((0, 0), (0, 4)), ((2, 0), (0, 2.2)), ((0.6, 1.6), (2, 4))),
    "L": (((0, 0), (0, 4), (2, 4)),),
    "M": (((0, 4), (0, 0), (1, 2.4), (2, 0), (2, 4)),),
    "N": (((0, 4), (0, 0), (2, 4), (2, 0)),),
    "O": (_ROUND,),
    "P": (((0, 4), (0, 0), (1.5, 0), (2, 0.5), (2, 1.6), (1.5, 2.1), (0, 2.1)),),
    "Q": (_ROUND, ((1.1, 2.9), (2, 4))),
    "R": (((0, 4), (0, 0), (1.5, 0), (2, 0.5), (2, 1.6), (1.5, 2.1), (0, 2.1)), ((1, 2.1), (2, 4))),
    "S": (((2, 0.5), (1.5, 0), (0.5, 0), (0, 0.5), (0, 1.5), (0.5, 2), (1.5, 2), (2, 2.5), (2, 3.5),
           (1.5, 4), (0.5, 4), (0, 3.5)),),
    "T": (((0, 0), (2, 0)), ((1, 0), (1, 4))),
    "U": (((0, 0), (0, 3.3), (0.6, 4), (1.4, 4), (2, 3.3), (2, 0)),),
    "V": (((0, 0), (1, 4), (2, 0)),),
    "W": (((0, 0), (0.4, 4), (1, 1.4), (1.6, 4), (2, 0)),),
    "X": (((0, 0), (2, 4)), ((2, 0), (0, 4))),
    "Y": (((0, 0), (1, 2), (2, 0)), ((1, 2), (1, 4))),
    "Z": (((0, 0), (2, 0), (0, 4), (2, 4)),),
}  # fmt: skip


@lru_cache(maxsize=8192)
def letter_mask(letter: str, style: str, width: int, height: int) -> Image.Image:
    """A letter in white on black, `height` pixels high and at most `width` wide.

    Args:
        letter: A capital letter.
        style: One of `LETTER_STYLES`; without FreeType, the font's are strokes.
        width: The most pixels across.
        height: Pixels from top to bottom.
    """
    if style == "dots":
        return _dotted(letter, width, height)
    if style == "strokes" or not _has_font():
        return _stroked(letter, width, height)
    large = _large_letter(letter, bold=style == "bold")
    across = min(round(large.width * height / large.height), width)
    return large.resize((max(across, 2), height), Image.Resampling.BOX)


@cache
def _has_font() -> bool:
    return features.check("freetype2") is True


@cache
def _large_letter(letter: str, *, bold: bool) -> Image.Image:
    font = ImageFont.load_default(_LARGE)
    mask = Image.new("L", (2 * _LARGE, 2 * _LARGE))
    draw = ImageDraw.Draw(mask)
    draw.text((_LARGE // 2, _LARGE // 4), letter, fill=255, font=font, stroke_width=3 * bold)
    return mask.crop(mask.getbbox())


def _dotted(letter: str, width: int, height: int) -> Image.Image:
    mask = Image.new("L", (width, height))
    draw = ImageDraw.Draw(mask)
    rows = DOTS[letter]
    across, down = width / len(rows[0]), height / len(rows)
    for row, line in enumerate(rows):
        for column, dot in enumerate(line):
            if dot == "1":
                left, right = round(column * across), round((column + 1) * across) - 1
                draw.rectangle((left, round(row * down), right, round((row + 1) * down) - 1), 255)
    return mask


def _stroked(letter: str, width: int, height: int) -> Image.Image:
    mask = Image.new("L", (width, height))
    draw = ImageDraw.Draw(mask)
    thick = max(2, round(0.2 * width))
    across, down, half = (width - thick) / 2, (height - thick) / 4, (thick - 1) / 2
    for stroke in STROKES[letter]:
        points = [(half + u * across, half + v * down) for u, v in stroke]
        draw.line(points, fill=255, width=thick)
        for x, y in points:
            draw.ellipse((x - half, y - half, x + half, y + half), fill=255)
    return mask
