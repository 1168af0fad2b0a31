"""Pictures that repeat themselves: walls, cloth, pages, mazes, charts, scribbles."""

import math
import random
from collections.abc import Callable

from PIL import Image, ImageDraw

from train.cartoon.colors import BLACK, WHITE, Rgb, mix
from train.cartoon.noise import (
    BILINEAR,
    any_color,
    blob,
    clouds,
    dull_color,
    grain,
    lit,
    ramp,
    stretched,
    tinted,
)
from train.cartoon.parts import Point


def bricks(rng: random.Random, side: int) -> Image.Image:
    """A wall or a floor of blocks."""
    base = dull_color(rng, 0.25, 0.8)
    picture = Image.new("RGB", (side, side), mix(base, rng.choice((BLACK, WHITE)), 0.5))
    draw = ImageDraw.Draw(picture)
    high = side / rng.uniform(4, 16)
    wide = high * rng.uniform(1, 3)
    gap, offset = max(1.0, 0.1 * high), rng.choice((0.0, 0.5))
    row = 0
    while row * high < side:
        x = -wide * rng.random() - wide * offset * (row % 2)
        while x < side:
            color = mix(base, rng.choice((BLACK, WHITE)), rng.uniform(0, 0.25))
            draw.rectangle((x, row * high, x + wide - gap, row * high + high - gap), fill=color)
            x += wide
        row += 1
    return lit(rng, picture, rng.uniform(0.4, 0.9))


def cloth(rng: random.Random, side: int) -> Image.Image:
    """Woven or knitted threads, checks and stripes."""
    first, second = dull_color(rng), dull_color(rng)
    small = Image.new("RGB", (16, 16), first)
    draw = ImageDraw.Draw(small)
    for _ in range(rng.randint(1, 3)):
        left, top = rng.randrange(14), rng.randrange(14)
        color = mix(first, second, rng.uniform(0.3, 1))
        draw.rectangle((left, 0, left + rng.randint(0, 4), 16), fill=color)
        if rng.random() < 0.6:
            draw.rectangle((0, top, 16, top + rng.randint(0, 4)), fill=mix(color, second, 0.4))
    period = rng.choice((8, 12, 16, 24, 32, 48))
    tile = small.resize((period, period), BILINEAR)
    picture = _tiled(tile, side)
    if rng.random() < 0.5:
        picture = picture.rotate(rng.uniform(-40, 40), BILINEAR, fillcolor=first)
    return lit(rng, picture, rng.uniform(0.3, 0.9))


def _tiled(tile: Image.Image, side: int) -> Image.Image:
    picture = Image.new("RGB", (side, side))
    for top in range(0, side, tile.height):
        for left in range(0, side, tile.width):
            picture.paste(tile, (left, top))
    return picture


def wood(rng: random.Random, side: int) -> Image.Image:
    """Long grain, as of boards, water or hair."""
    colors = ramp(rng)
    across, along = rng.randint(16, 64), rng.randint(2, 5)
    field = Image.blend(
        grain(rng, along, across).resize((side, side), BILINEAR),
        grain(rng, 2 * along, 2 * across).resize((side, side), BILINEAR),
        0.4,
    )
    if rng.random() < 0.5:
        field = field.transpose(Image.Transpose.ROTATE_90)
    return lit(rng, tinted(stretched(field), colors), rng.uniform(0.2, 0.6))


def pebbles(rng: random.Random, side: int) -> Image.Image:
    """Gravel, coins, beans: the same thing many times, each with its light and shadow."""
    base, ground = dull_color(rng, 0.3, 0.9), dull_color(rng, 0.1, 0.5)
    picture = Image.new("RGB", (side, side), ground)
    draw = ImageDraw.Draw(picture)
    step = side / rng.choice((3, 5, 7, 9))
    loose = rng.uniform(0.0, 0.6) * step
    count = round(side / step) + 1
    rough = rng.choice((0.05, 0.3))
    for row in range(count):
        for column in range(count):
            x = (column + 0.5 * (row % 2)) * step + rng.uniform(-loose, loose)
            y = row * step + rng.uniform(-loose, loose)
            reach = step * rng.uniform(0.34, 0.52)
            color = mix(base, dull_color(rng), rng.uniform(0, 0.3))
            shadow = (x - reach, y - 0.8 * reach, x + 1.2 * reach, y + 1.2 * reach)
            draw.ellipse(shadow, fill=mix(ground, BLACK, 0.6))
            draw.polygon(
                blob(rng, x, y, reach, 0.9 * reach, rough=rough), fill=mix(color, BLACK, 0.2)
            )
            draw.ellipse(
                (x - 0.7 * reach, y - 0.7 * reach, x + 0.3 * reach, y + 0.3 * reach), color
            )
    return lit(rng, picture, rng.uniform(0.4, 0.9))


def page(rng: random.Random, side: int) -> Image.Image:
    """Lines of something like print, in columns or around a figure."""
    paper, ink = dull_color(rng, 0.85, 1.0), dull_color(rng, 0.0, 0.35)
    if rng.random() < 0.15:
        paper, ink = ink, paper
    picture = Image.new("RGB", (side, side), paper)
    draw = ImageDraw.Draw(picture)
    columns = rng.choice((1, 1, 2, 3))
    line = rng.uniform(4, 11) * side / 128
    margin = rng.uniform(0.0, 0.1) * side
    room = (side - 2 * margin) / columns
    for column in range(columns):
        left = margin + column * room
        y = margin + line * rng.random()
        while y < side - margin:
            x, end = left, left + 0.94 * room * (1 if rng.random() < 0.85 else rng.random())
            while x < end:
                word = rng.uniform(1, 7) * 0.45 * line
                if line < 7:
                    draw.rectangle((x, y, min(x + word, end), y + 0.45 * line), fill=ink)
                else:
                    _scrawl(draw, (x, y), (min(word, end - x), line), ink, rng)
                x += word + 0.35 * line
            y += line * (1 if rng.random() < 0.9 else 2)
    if rng.random() < 0.4:
        picture = picture.rotate(rng.uniform(-12, 12), BILINEAR, fillcolor=paper)
    return lit(rng, picture, rng.uniform(0, 0.5)) if rng.random() < 0.6 else picture


def _scrawl(
    draw: ImageDraw.ImageDraw, place: Point, sizes: Point, ink: Rgb, rng: random.Random
) -> None:
    """A word of no language: its place, its width and the height of its line."""
    (x, y), (width, line) = place, sizes
    step = 0.28 * line
    points = []
    while width > 0:
        points.append((x, y + 0.55 * line * rng.random()))
        x, width = x + step, width - step
    if len(points) > 1:
        draw.line(points, fill=ink, width=max(1, round(0.1 * line)))


def maze(rng: random.Random, side: int) -> Image.Image:
    """Walls, wires or tiles on a grid."""
    back, ink = (WHITE, BLACK) if rng.random() < 0.4 else (dull_color(rng), any_color(rng))
    picture = Image.new("RGB", (side, side), back)
    draw = ImageDraw.Draw(picture)
    count = rng.choice((6, 8, 12, 16))
    step = side / count
    width = max(1, round(step * rng.uniform(0.08, 0.3)))
    kind = rng.choice(("diagonal", "walls", "checks", "wires"))
    for row in range(count):
        for column in range(count):
            x, y = column * step, row * step
            if kind == "diagonal":
                ends = (x, y, x + step, y + step)
                ends = ends if rng.random() < 0.5 else (x + step, y, x, y + step)
                draw.line(ends, fill=ink, width=width)
            elif kind == "walls":
                ends = (x, y, x + step, y) if rng.random() < 0.5 else (x, y, x, y + step)
                draw.line(ends, fill=ink, width=width)
            elif kind == "checks" and (row + column) % 2:
                draw.rectangle((x, y, x + step - 1, y + step - 1), fill=ink)
            elif kind == "wires" and rng.random() < 0.35:
                reach = step * rng.randint(1, 4)
                draw.line((x, y, x + reach, y), fill=ink, width=width)
                draw.ellipse((x - width, y - width, x + width, y + width), fill=ink)
    return picture


def shards(rng: random.Random, side: int) -> Image.Image:
    """Angular pieces of many colours, side by side and over one another."""
    bright = rng.random() < 0.4
    picture = Image.new("RGB", (side, side), dull_color(rng))
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.randint(15, 70)):
        x, y, reach = rng.uniform(0, side), rng.uniform(0, side), side * rng.uniform(0.05, 0.3)
        corners = [
            (x + rng.uniform(-reach, reach), y + rng.uniform(-reach, reach))
            for _ in range(rng.randint(3, 5))
        ]
        draw.polygon(corners, fill=any_color(rng) if bright else dull_color(rng))
    return picture


def scribble(rng: random.Random, side: int) -> Image.Image:
    """Loose lines that run all over."""
    back = WHITE if rng.random() < 0.5 else dull_color(rng)
    picture = Image.new("RGB", (side, side), back)
    draw = ImageDraw.Draw(picture)
    ink = dull_color(rng, 0.0, 0.5)
    for _ in range(rng.randint(2, 14)):
        color = ink if rng.random() < 0.6 else any_color(rng)
        x, y, turn = rng.uniform(0, side), rng.uniform(0, side), rng.uniform(0, 6.3)
        bend, points = rng.uniform(-0.6, 0.6), [(x, y)]
        for _ in range(rng.randint(5, 30)):
            turn += bend + rng.uniform(-0.5, 0.5)
            x, y = x + 0.05 * side * math.cos(turn), y + 0.05 * side * math.sin(turn)
            points.append((x, y))
        draw.line(points, fill=color, width=rng.randint(1, 4))
    return picture


def chart(rng: random.Random, side: int) -> Image.Image:
    """Axes, bars, curves, boxes and labels, as of a screen."""
    back, ink = dull_color(rng, 0.85, 1.0), dull_color(rng, 0.0, 0.5)
    picture = Image.new("RGB", (side, side), back)
    draw = ImageDraw.Draw(picture)
    left, low = side * rng.uniform(0.05, 0.2), side * rng.uniform(0.8, 0.95)
    kind = rng.choice(("bars", "curve", "dots", "windows"))
    if kind == "windows":
        for _ in range(rng.randint(3, 8)):
            x, y = rng.uniform(0, 0.8) * side, rng.uniform(0, 0.8) * side
            wide, high = rng.uniform(0.15, 0.7) * side, rng.uniform(0.1, 0.5) * side
            draw.rectangle((x, y, x + wide, y + high), dull_color(rng, 0.5, 1), outline=ink)
            draw.rectangle((x, y, x + wide, y + 0.05 * side), fill=dull_color(rng, 0.2, 0.8))
            for line in range(rng.randint(0, 4)):
                y_line = y + (0.09 + 0.05 * line) * side
                draw.line((x + 3, y_line, x + wide * rng.random(), y_line), fill=ink)
        return picture
    draw.line((left, 0.06 * side, left, low, 0.96 * side, low), fill=ink)
    count = rng.randint(4, 20)
    step = (0.94 * side - left) / count
    color = any_color(rng)
    heights = [rng.uniform(0.05, 0.9) * low for _ in range(count)]
    for index, height in enumerate(heights):
        x, y = left + step * (index + 0.2), low - height
        if kind == "bars":
            draw.rectangle((x, y, x + 0.6 * step, low), fill=color)
        elif kind == "dots":
            draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=color)
    if kind == "curve":
        points = [(left + step * index, low - each) for index, each in enumerate(heights)]
        draw.line(points, fill=color, width=2)
    return picture


def rings(rng: random.Random, side: int) -> Image.Image:
    """Bands around a point or along a direction, sharp or soft."""
    count = rng.randint(4, 14)
    field = clouds(rng, side, cells=2, rough=rng.uniform(0.0, 0.5))
    if rng.random() < 0.6:
        round_field = Image.radial_gradient("L").resize((side, side), BILINEAR)
        field = Image.blend(round_field, field, rng.uniform(0, 0.6))
    sharp = rng.random() < 0.5
    table = []
    for level in range(256):
        wave = math.sin(level / 255 * count * 6.283)
        table.append((255 if wave > 0 else 0) if sharp else round(127.5 + 127.5 * wave))
    return tinted(stretched(field).point(table), ramp(rng, 2))


PATTERNS: tuple[Callable[[random.Random, int], Image.Image], ...] = (
    bricks, cloth, wood, pebbles, page, page, maze, shards, scribble, chart, rings,
)  # fmt: skip
