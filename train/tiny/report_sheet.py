"""A contact sheet: held-out pictures with questions and answers, right and wrong ones marked."""

import random
import textwrap
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from minigpt4.models.minigpt4 import MiniGPT4
from train.cartoon.asking import QUESTION_TYPES, ask
from train.cartoon.describe import describe
from train.cartoon.draw import draw_scene
from train.cartoon.scene import Scene, make_scene, strange_scene
from train.tiny.evaluate import FIRST_SEED, ask_each, see_scenes
from train.tiny.judging import is_right

_FIRST = FIRST_SEED + 50_000
_COLUMNS = 3
_WIDTH, _PICTURE, _LINE, _MARGIN = 620, 192, 16, 8
_CHARACTERS = 60
_RIGHT, _WRONG, _NOTE = "#14532d", "#c1121f", "#666666"


@dataclass(frozen=True, slots=True)
class _Row:
    scene: Scene
    question: str
    truth: str
    question_type: str


def sheet_scenes(number: int) -> list[Scene]:
    """Held-out scenes: every third has an unseen pair, and the last twelfth is strange."""
    strange = number // 12
    drawn = [
        make_scene(_FIRST + index, held_out=index % 3 == 2) for index in range(number - strange)
    ]
    return [*drawn, *(strange_scene(_FIRST + index) for index in range(strange))]


def contact_sheet(model: MiniGPT4, number: int = 24, asked: int = 4) -> Image.Image:
    """Asks and draws.

    Args:
        model: Answers.
        number: How many pictures.
        asked: Questions a picture, besides a description.
    """
    scenes = sheet_scenes(number)
    seen = see_scenes(model, scenes)
    rows = [row for scene in scenes for row in _rows(scene, asked)]
    answers = ask_each(model, [row.question for row in rows], [seen[row.scene] for row in rows])
    texts: dict[Scene, list[tuple[str, str]]] = {scene: [] for scene in scenes}
    for row, answer in zip(rows, answers, strict=True):
        right = is_right(row.question_type, answer.text, row.truth)
        shown = f"{'RIGHT' if right else 'WRONG'}  {row.question} \u00bb {answer.text}"
        if not right:
            shown += f" [{row.truth}]"
        color = _RIGHT if right else _WRONG
        texts[row.scene] += [(line, color) for line in textwrap.wrap(shown, _CHARACTERS)]
        texts[row.scene].append(("", color))
    return _drawn(texts)


def _rows(scene: Scene, asked: int) -> list[_Row]:
    rng = random.Random(scene.seed)
    rows = [_Row(scene, "Describe this image in detail.", describe(scene), "describe")]
    for name in rng.sample(QUESTION_TYPES, len(QUESTION_TYPES)):
        exchange = ask(scene, name, rng)
        if exchange is not None and len(rows) <= asked:
            rows.append(_Row(scene, exchange.question, exchange.answer, name))
    return rows


def _drawn(texts: dict[Scene, list[tuple[str, str]]]) -> Image.Image:
    scenes = list(texts)
    rows = [scenes[first : first + _COLUMNS] for first in range(0, len(scenes), _COLUMNS)]
    heights = [
        max(_PICTURE + 24, *(_LINE * len(texts[scene]) for scene in row)) + 2 * _MARGIN
        for row in rows
    ]
    sheet = Image.new("RGB", (_WIDTH * _COLUMNS, sum(heights)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    top = _MARGIN
    for number, (row, height) in enumerate(zip(rows, heights, strict=True)):
        for column, scene in enumerate(row):
            left = _WIDTH * column + _MARGIN
            sheet.paste(draw_scene(scene, _PICTURE), (left, top))
            note = "no drawing of this world" if scene.strange else ""
            if not note and (number * _COLUMNS + column) % 3 == 2:
                note = "has an unseen pair"
            draw.text((left, top + _PICTURE + 4), note, font=font, fill=_NOTE)
            for line, (text, color) in enumerate(texts[scene]):
                place = (left + _PICTURE + 8, top + _LINE * line)
                draw.text(place, text, font=font, fill=color)
        top += height
    return sheet
