"""One look of a run as a picture: cards with a held-out picture, the answer and the true answer."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import matplotlib as mpl
from PIL import Image, ImageDraw, ImageFont, ImageOps

Span: TypeAlias = tuple[str, bool]
"""A word, and whether the other text has it too."""
_PAPER, _CARD, _EDGE = "#f6f7f9", "#ffffff", "#e4e7ec"
_INK, _LIGHT_INK, _SHARED, _SHARED_PAPER = "#1f2430", "#667085", "#0b6b43", "#dcf5e7"
_COLUMNS, _CARD_WIDTH, _GAP, _PADDING, _PICTURE = 2, 600, 18, 16, 168
_LINE = 1.4
"""Height of a line over the size of its letters."""
_MOST_LINES = 9


@dataclass(frozen=True, slots=True)
class Card:
    """One picture with what is said of it.

    Attributes:
        picture: Its file.
        question: Empty in stage 1.
        answer: The model's, word by word.
        truth: The true answer, word by word.
    """

    picture: Path
    question: str
    answer: Sequence[Span]
    truth: Sequence[Span]


@dataclass(frozen=True, slots=True)
class _Text:
    """Lines of words in one size."""

    lines: list[list[Span]]
    font: ImageFont.FreeTypeFont
    color: str

    @property
    def height(self) -> int:
        return round(len(self.lines) * self.font.size * _LINE)

    def draw(self, draw: ImageDraw.ImageDraw, left: int, top: int) -> None:
        space = self.font.getlength(" ")
        for number, line in enumerate(self.lines):
            x, y = float(left), top + number * self.font.size * _LINE
            for place, (word, shared) in enumerate(line):
                width = self.font.getlength(word)
                joins = place + 1 < len(line) and shared and line[place + 1][1]
                if shared:
                    right = x + width + (space if joins else 0)
                    box = (x - 2, y - 1, right + 2, y + self.font.size * 1.25)
                    draw.rectangle(box, fill=_SHARED_PAPER)
                draw.text((x, y), word, _SHARED if shared else self.color, self.font)
                x += width + space


def draw_picture(title: str, figures: str, cards: Sequence[Card]) -> bytes:
    """Draws a look.

    Args:
        title: Stands above on the left.
        figures: Stands above on the right.
        cards: One a picture.

    Returns:
        A PNG file.
    """
    made = [_drawn(card) for card in cards]
    rows = [made[start : start + _COLUMNS] for start in range(0, len(made), _COLUMNS)]
    heights = [max(card.height for card in row) for row in rows]
    width = _COLUMNS * _CARD_WIDTH + (_COLUMNS + 1) * _GAP
    top = 64
    sheet = Image.new("RGB", (width, top + sum(heights) + _GAP * len(rows)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((_GAP, 20), title, _INK, _font(20, bold=True))
    font = _font(16)
    draw.text((width - _GAP - font.getlength(figures), 23), figures, _LIGHT_INK, font)
    for row, height in zip(rows, heights, strict=True):
        for column, card in enumerate(row):
            left = _GAP + column * (_CARD_WIDTH + _GAP)
            box = (left, top, left + _CARD_WIDTH, top + height)
            draw.rounded_rectangle(box, 10, fill=_CARD, outline=_EDGE)
            sheet.paste(card, (left + 1, top + 1), _inside(card.size))
        top += height + _GAP
    content = io.BytesIO()
    sheet.save(content, "PNG", optimize=True)
    return content.getvalue()


def _drawn(card: Card) -> Image.Image:
    room = _CARD_WIDTH - _PICTURE - 3 * _PADDING
    texts = [
        _wrapped([(word, False) for word in card.question.split()], _font(15, bold=True), room),
        _wrapped(card.answer or [("(nothing)", False)], _font(16), room),
        _wrapped([("true:", False), *card.truth], _font(13), room, _LIGHT_INK),
    ]
    texts = [each for each in texts if each.lines]
    height = sum(each.height + 8 for each in texts) - 8
    image = Image.new("RGB", (_CARD_WIDTH - 2, max(height, _PICTURE) + 2 * _PADDING - 2), _CARD)
    with Image.open(card.picture) as opened:
        picture = ImageOps.contain(opened.convert("RGB"), (_PICTURE, _PICTURE))
    image.paste(picture, (_PADDING + (_PICTURE - picture.width) // 2, _PADDING))
    draw, top = ImageDraw.Draw(image), _PADDING
    for text in texts:
        text.draw(draw, _PICTURE + 2 * _PADDING, top)
        top += text.height + 8
    return image


def _wrapped(
    words: Sequence[Span], font: ImageFont.FreeTypeFont, room: int, color: str = _INK
) -> _Text:
    lines: list[list[Span]] = []
    used, space = 0.0, font.getlength(" ")
    for word, shared in words:
        shown = _shortened(word, font, room)
        width = font.getlength(shown)
        if not lines or used + space + width > room:
            if len(lines) == _MOST_LINES:
                lines[-1][-1] = ("...", False)
                break
            lines.append([])
            used = -space
        lines[-1].append((shown, shared))
        used += space + width
    return _Text(lines, font, color)


def _shortened(word: str, font: ImageFont.FreeTypeFont, room: int) -> str:
    while font.getlength(word) > room:
        word = f"{word[: 2 * len(word) // 3]}..."
    return word


def _inside(size: tuple[int, int]) -> Image.Image:
    """A mask with round corners."""
    mask = Image.new("L", size, 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, size[0] - 1, size[1] - 1), 9, fill=255)
    return mask


def _font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(mpl.get_data_path()) / "fonts" / "ttf" / name), size)
