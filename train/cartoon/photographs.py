"""Pictures that are like photographs at a glance and show nothing that has a name here."""

import math
import random
from collections.abc import Callable
from itertools import pairwise

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from train.cartoon.colors import BLACK, WHITE, mix
from train.cartoon.noise import (
    BILINEAR,
    any_color,
    blob,
    clouds,
    dull_color,
    grain,
    lay,
    lit,
    ramp,
    slope,
    stretched,
    tinted,
)
from train.cartoon.parts import Point


def plasma(rng: random.Random, side: int) -> Image.Image:
    """Clouds of colour."""
    if rng.random() < 0.5:
        field = stretched(clouds(rng, side, cells=rng.choice((1, 2, 3, 6)),
                                 rough=rng.uniform(0.3, 0.95)))  # fmt: skip
        return tinted(field, ramp(rng, rng.choice((2, 3, 4))))
    field = clouds(rng, side, cells=rng.choice((1, 2, 4)), rough=rng.uniform(0.3, 0.9), mode="RGB")
    gray = stretched(clouds(rng, side, cells=2, rough=0.6))
    return Image.blend(field, Image.merge("RGB", (gray, gray, gray)), rng.uniform(0.2, 0.8))


def heap(rng: random.Random, side: int) -> Image.Image:
    """Soft things of any form, one before the other, in one light."""
    picture = slope(rng, side, dull_color(rng), dull_color(rng))
    count = rng.randint(4, 16)
    for index in range(count):
        reach = side * rng.uniform(0.08, 0.4) * (1 - 0.5 * index / count)
        x, y = rng.uniform(0, side), rng.uniform(0, side)
        color = dull_color(rng) if rng.random() < 0.85 else any_color(rng)
        outline = blob(rng, x, y, reach, reach * rng.uniform(0.3, 1), rough=rng.uniform(0.1, 0.5))
        lay(picture, outline, color, rng.choice((0.5, 2.0, 6.0, 14.0)))
    return lit(rng, picture, rng.uniform(0.4, 0.95))


def _ridge(rng: random.Random, side: int, level: float, swing: float) -> list[Point]:
    """A fractal line across the picture, by halving."""
    heights = [level + rng.uniform(-swing, swing) for _ in range(3)]
    while len(heights) < 33:
        swing *= 0.55
        finer = []
        for left, right in pairwise(heights):
            finer += [left, (left + right) / 2 + rng.uniform(-swing, swing)]
        heights = [*finer, heights[-1]]
    step = side / (len(heights) - 1)
    return [(index * step, height * side) for index, height in enumerate(heights)]


def landscape(rng: random.Random, side: int) -> Image.Image:
    """Ridge before ridge under a cloudy sky, the near ones darker and rougher."""
    sky, haze = dull_color(rng, 0.5, 1.0), dull_color(rng, 0.6, 0.95)
    picture = tinted(stretched(clouds(rng, side, cells=2, rough=0.55)), (sky, mix(sky, WHITE, 0.6)))
    land = dull_color(rng, 0.1, 0.5)
    rows = rng.randint(2, 5)
    level = rng.uniform(0.3, 0.6)
    for row in range(rows):
        share = (row + 1) / rows
        ridge = _ridge(rng, side, level, rng.uniform(0.03, 0.16))
        color = mix(haze, land, 0.3 + 0.7 * share)
        ground = tinted(
            clouds(rng, side, cells=4, rough=0.9),
            (mix(color, BLACK, 0.8), mix(color, WHITE, 0.4)),
        )
        mask = Image.new("L", (side, side))
        ImageDraw.Draw(mask).polygon([*ridge, (side, side), (0, side)], fill=255)
        picture.paste(ground, (0, 0), mask)
        level += rng.uniform(0.08, 0.2)
    return picture


def figure(rng: random.Random, side: int) -> Image.Image:
    """Something like a head and shoulders before something."""
    picture = heap(rng, side) if rng.random() < 0.5 else plasma(rng, side)
    skin = rng.choice(((224, 180, 150), (190, 140, 110), (120, 80, 60), (240, 205, 180)))
    skin = mix(skin, dull_color(rng), rng.uniform(0, 0.4))
    x, y, reach = side * rng.uniform(0.3, 0.7), side * rng.uniform(0.25, 0.5), side * 0.16
    reach *= rng.uniform(0.7, 1.7)
    hair, cloth = dull_color(rng, 0.05, 0.6), dull_color(rng)
    soft = rng.choice((0.5, 1.5, 3.0))
    body = blob(rng, x, y + 3.0 * reach, 2.4 * reach, 1.9 * reach, rough=0.12)
    lay(picture, body, cloth, soft)
    lay(picture, blob(rng, x, y - 0.15 * reach, 1.15 * reach, 1.3 * reach, rough=0.15), hair, soft)
    lay(picture, blob(rng, x, y + 0.1 * reach, 0.85 * reach, 1.05 * reach, rough=0.06), skin, soft)
    dark = mix(skin, BLACK, 0.5)
    for u, v, wide in ((-0.35, -0.05, 0.2), (0.35, -0.05, 0.2), (0.0, 0.3, 0.12), (0.0, 0.62, 0.3)):
        spot = blob(rng, x + u * reach, y + v * reach, wide * reach, 0.12 * reach, rough=0.2)
        lay(picture, spot, dark, 2.0)
    return lit(rng, picture, rng.uniform(0.3, 0.8))


def silhouettes(rng: random.Random, side: int) -> Image.Image:
    """Dark figures with thin legs and poles on a pale ground."""
    pale = dull_color(rng, 0.6, 0.95)
    picture = slope(rng, side, pale, dull_color(rng, 0.5, 0.95))
    ground = side * rng.uniform(0.55, 0.8)
    lay(
        picture,
        [(0, ground), (side, ground), (side, side), (0, side)],
        dull_color(rng, 0.3, 0.7),
        3,
    )
    dark = dull_color(rng, 0.02, 0.2)
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.randint(1, 4)):
        x, y = side * rng.uniform(0.15, 0.85), ground - side * rng.uniform(-0.1, 0.3)
        reach = side * rng.uniform(0.06, 0.2)
        for _ in range(3):
            corner = (x + reach * rng.uniform(-0.8, 0.8), y + reach * rng.uniform(-1.2, 0.8))
            wide, high = reach * rng.uniform(0.2, 0.8), reach * rng.uniform(0.3, 1.2)
            draw.polygon(blob(rng, *corner, wide, high, rough=0.3), fill=dark)
        for _ in range(rng.randint(0, 4)):
            end = (x + reach * rng.uniform(-1.6, 1.6), y + reach * rng.uniform(1, 2.4))
            draw.line((x, y, *end), fill=dark, width=rng.randint(1, 3))
    return lit(rng, picture, rng.uniform(0.3, 0.7))


def town(rng: random.Random, side: int) -> Image.Image:
    """Blocks with rows of openings, some of them in perspective."""
    picture = slope(rng, side, dull_color(rng, 0.5, 1.0), dull_color(rng, 0.3, 0.9))
    draw = ImageDraw.Draw(picture)
    for _ in range(rng.randint(3, 9)):
        left, width = side * rng.uniform(-0.1, 0.9), side * rng.uniform(0.12, 0.4)
        top, lean = side * rng.uniform(0.1, 0.6), side * rng.uniform(-0.12, 0.12)
        wall = dull_color(rng, 0.2, 0.8)
        corners = [(left, top), (left + width, top + lean), (left + width, side), (left, side)]
        draw.polygon(corners, fill=wall)
        hole = mix(wall, BLACK if rng.random() < 0.7 else WHITE, rng.uniform(0.3, 0.7))
        rows, columns = rng.randint(2, 7), rng.randint(2, 6)
        for row in range(rows):
            for column in range(columns):
                u, v = (column + 0.2) / columns, (row + 0.3) / rows
                x, y = left + width * u, top + lean * u + (side - top) * v * 0.9
                draw.rectangle(
                    (x, y, x + 0.5 * width / columns, y + 0.4 * (side - top) / rows), hole
                )
    return lit(rng, picture, rng.uniform(0.3, 0.8))


def table(rng: random.Random, side: int) -> Image.Image:
    """Rounded things with light and shadow on a surface of wood or cloth."""
    line = rng.uniform(0.0, 0.5)
    near, far = dull_color(rng, 0.2, 0.7), dull_color(rng, 0.1, 0.9)
    grainy = grain(rng, 4, 48).resize((side, side), BILINEAR)
    picture = tinted(grainy, (mix(near, BLACK, 0.3), mix(near, WHITE, 0.2)))
    lay(picture, [(0, 0), (side, 0), (side, line * side), (0, line * side)], far, 4)
    for _ in range(rng.randint(1, 5)):
        x, y = side * rng.uniform(0.15, 0.85), side * rng.uniform(0.3, 0.85)
        wide = side * rng.uniform(0.08, 0.28)
        high = wide * rng.uniform(0.35, 1.0)
        color = dull_color(rng, 0.2, 0.95)
        lay(picture, blob(rng, x + 0.3 * wide, y + 0.3 * high, 1.1 * wide, high, rough=0.1),
            mix(near, BLACK, 0.6), 6)  # fmt: skip
        lay(picture, _oval(x, y, wide, high), mix(color, BLACK, 0.3), 1.5)
        lay(picture, _oval(x - 0.1 * wide, y - 0.12 * high, 0.75 * wide, 0.72 * high), color, 6)
        if rng.random() < 0.6:
            inner = dull_color(rng, 0.05, 0.5)
            lay(picture, _oval(x, y - 0.1 * high, 0.7 * wide, 0.6 * high), inner, 1.5)
        lay(picture, _oval(x - 0.3 * wide, y - 0.4 * high, 0.18 * wide, 0.12 * high), WHITE, 3)
    return lit(rng, picture, rng.uniform(0.2, 0.7))


def _oval(x: float, y: float, wide: float, high: float) -> list[Point]:
    return [
        (x + wide * math.cos(math.pi * step / 10), y + high * math.sin(math.pi * step / 10))
        for step in range(20)
    ]


def lights(rng: random.Random, side: int) -> Image.Image:
    """Discs of light out of focus, or smudges of light in the dark."""
    dark = dull_color(rng, 0.0, 0.3)
    picture = tinted(stretched(clouds(rng, side, cells=2, rough=0.4)), (BLACK, dark))
    layer = Image.new("RGB", (side, side))
    draw = ImageDraw.Draw(layer)
    largest = rng.choice((1.0, 2.0, 5.0, 12.0))
    for _ in range(rng.randint(30, 140) if largest < 4 else rng.randint(8, 40)):
        x, y = rng.uniform(0, side), rng.uniform(0, side)
        wide = largest * rng.uniform(0.3, 1.2) ** 2
        high = wide * rng.choice((1.0, 1.0, rng.uniform(0.3, 1)))
        color = mix(dull_color(rng, 0.3, 1.0), any_color(rng), rng.uniform(0, 0.5))
        draw.ellipse((x - wide, y - high, x + wide, y + high), fill=color)
    glow = layer.reduce(4).resize((side, side), BILINEAR)
    if rng.random() < 0.5:
        layer = layer.filter(ImageFilter.BoxBlur(rng.uniform(0.5, 2)))
    return ImageChops.screen(picture, ImageChops.screen(layer, glow))


def tissue(rng: random.Random, side: int) -> Image.Image:
    """Cells under a microscope: dark grains in pale, stained matter."""
    stain = rng.choice(((150, 100, 160), (160, 110, 80), (90, 110, 170), (200, 120, 150)))
    pale = mix(stain, WHITE, rng.uniform(0.5, 0.85))
    picture = tinted(
        stretched(clouds(rng, side, cells=rng.choice((3, 6)), rough=0.8)),
        (mix(stain, BLACK, 0.1), pale, mix(pale, WHITE, 0.5)),
    )
    draw = ImageDraw.Draw(picture)
    core = mix(stain, BLACK, rng.uniform(0.2, 0.6))
    reach = side * rng.uniform(0.012, 0.04)
    for _ in range(rng.randint(25, 80)):
        x, y = rng.uniform(0, side), rng.uniform(0, side)
        wide, high = reach * rng.uniform(0.6, 1.4), reach * rng.uniform(0.5, 1.2)
        color = mix(core, stain, rng.random() * 0.6)
        draw.ellipse((x - wide, y - high, x + wide, y + high), fill=color)
    return picture.filter(ImageFilter.BoxBlur(0.8))


def vessels(rng: random.Random, side: int) -> Image.Image:
    """A lit round field with branching lines, as of an eye."""
    base = rng.choice(((200, 90, 40), (170, 70, 50), (120, 120, 120), (210, 130, 80)))
    disc = Image.new("RGB", (side, side), (rng.randint(0, 12),) * 3)
    lay(disc, _oval(side / 2, side / 2, 0.48 * side, 0.48 * side), base, 1.0)
    draw = ImageDraw.Draw(disc)
    x, y = side * rng.uniform(0.25, 0.75), side * rng.uniform(0.4, 0.6)
    dark = mix(base, (90, 0, 0), 0.6)
    for _ in range(rng.randint(6, 14)):
        turn, u, v = rng.uniform(0, 6.3), x, y
        points = [(u, v)]
        for _ in range(10):
            turn += rng.uniform(-0.5, 0.5)
            u, v = u + 0.05 * side * math.cos(turn), v + 0.05 * side * math.sin(turn)
            points.append((u, v))
        draw.line(points, fill=dark, width=rng.randint(1, 2))
    lay(disc, _oval(x, y, 0.06 * side, 0.07 * side), mix(base, (255, 240, 180), 0.7), 2.5)
    return lit(rng, disc, 0.5)


def surface(rng: random.Random, side: int) -> Image.Image:
    """Cratered or stony ground in a low light."""
    gray = rng.randint(80, 170)
    color = mix((gray, gray, gray), dull_color(rng), rng.uniform(0, 0.5))
    picture = tinted(
        stretched(clouds(rng, side, cells=3, rough=0.8)),
        (mix(color, BLACK, 0.6), mix(color, WHITE, 0.3)),
    )
    draw = ImageDraw.Draw(picture)
    dark, pale = mix(color, BLACK, 0.6), mix(color, WHITE, 0.5)
    for _ in range(rng.randint(6, 40)):
        x, y = rng.uniform(0, side), rng.uniform(0, side)
        reach = side * 0.01 * rng.uniform(1, 3.2) ** 2
        box = (x - reach, y - reach, x + reach, y + reach)
        width = max(1, round(0.25 * reach))
        draw.arc(box, 30, 200, fill=pale, width=width)
        draw.arc(box, 210, 380, fill=dark, width=width)
    return picture.filter(ImageFilter.BoxBlur(rng.uniform(0.4, 1.2)))


def pelt(rng: random.Random, side: int) -> Image.Image:
    """Fur, grass or feathers: short strokes that run with each other."""
    colors = ramp(rng, 6)[1:]
    picture = tinted(stretched(clouds(rng, side, cells=3, rough=0.5)), (colors[0], colors[-1]))
    draw = ImageDraw.Draw(picture)
    lean, swing = rng.uniform(0, 6.3), rng.uniform(0.2, 1.0)
    length, width = side * rng.uniform(0.04, 0.14), rng.choice((1, 1, 2))
    for _ in range(260):
        x, y = rng.uniform(0, side), rng.uniform(0, side)
        turn = lean + swing * math.sin(0.05 * x + lean) + rng.uniform(-0.3, 0.3)
        end = (x + length * math.cos(turn), y + length * math.sin(turn))
        draw.line((x, y, *end), fill=rng.choice(colors), width=width)
    return lit(rng, picture, rng.uniform(0.3, 0.8))


def column(rng: random.Random, side: int) -> Image.Image:
    """Something upright and bright, with smoke and a frame beside it."""
    picture = slope(rng, side, dull_color(rng, 0.2, 0.9), dull_color(rng, 0.2, 0.9))
    smoke = tinted(stretched(clouds(rng, side, cells=3, rough=0.6)), ((90, 90, 90), WHITE))
    mask = Image.linear_gradient("L").resize((side, side))
    picture.paste(smoke, (0, 0), ImageChops.multiply(mask, smoke.convert("L")))
    draw = ImageDraw.Draw(picture)
    frame = dull_color(rng, 0.1, 0.5)
    x = side * rng.uniform(0.2, 0.8)
    for step in range(10):
        y = side * (0.1 + 0.09 * step)
        draw.line((x, y, x + 0.1 * side, y + 0.09 * side), fill=frame)
        draw.line((x + 0.1 * side, y, x, y + 0.09 * side), fill=frame)
    x, half = side * rng.uniform(0.3, 0.7), side * rng.uniform(0.03, 0.08)
    top, foot = side * rng.uniform(0.05, 0.3), side * rng.uniform(0.7, 1.0)
    color = dull_color(rng, 0.6, 1.0)
    lay(picture, [(x, top - 2 * half), (x + half, top), (x + half, foot), (x - half, foot),
                  (x - half, top)], color, 1.0)  # fmt: skip
    lay(picture, [(x + 0.3 * half, top), (x + half, top), (x + half, foot), (x + 0.3 * half, foot)],
        mix(color, BLACK, 0.4), 2.0)  # fmt: skip
    return lit(rng, picture, rng.uniform(0.3, 0.8))


PHOTOGRAPHS: tuple[Callable[[random.Random, int], Image.Image], ...] = (
    plasma, heap, heap, landscape, figure, figure, silhouettes, town, table, table, lights, tissue,
    vessels, surface, pelt, column,
)  # fmt: skip
