"""What things stand in front of: plain paper, a field, a beach, a night, a room, the sea."""

import math
import random

from PIL import Image, ImageDraw

from train.cartoon.colors import WHITE, Rgb, mix
from train.cartoon.scene import Scene

_HORIZONS = {"field": (0.45, 0.68), "beach": (0.36, 0.5), "sea": (0.16, 0.32), "room": (0.6, 0.76)}


def look_random(scene: Scene) -> random.Random:
    """The generator of everything that varies in how a scene is drawn."""
    return random.Random(f"look-{scene.seed}")


def horizon(scene: Scene) -> float:
    """Where ground, water or floor begins, as a fraction of the canvas; 1 where there is none."""
    return draw_horizon(scene.background, look_random(scene))


def draw_horizon(background: str, rng: random.Random) -> float:
    """The same from the generator, of which it must be the first draw."""
    share = rng.random()
    low, high = _HORIZONS.get(background, (1.0, 1.0))
    return low + (high - low) * share


def draw_backdrop(background: str, line: float, side: int, rng: random.Random) -> Image.Image:
    """An RGB picture of a background alone.

    Args:
        background: One of `train.cartoon.scene.BACKGROUNDS`.
        line: Its horizon, a fraction of the side.
        side: Width and height in pixels.
        rng: For what else varies.
    """
    return _DRAWERS[background](line, side, rng)


def _plain(color: Rgb, side: int) -> Image.Image:
    return Image.new("RGB", (side, side), color)


def _white(_line: float, side: int, rng: random.Random) -> Image.Image:
    level = 255 if rng.random() < 0.6 else rng.randint(246, 255)
    return _plain((level, level, level), side)


def _cream(_line: float, side: int, rng: random.Random) -> Image.Image:
    shift = rng.randint(-10, 8)
    return _plain((252 + shift // 4, 241 + shift // 2, 208 + shift), side)


def _gray(_line: float, side: int, rng: random.Random) -> Image.Image:
    level = rng.randint(160, 208)
    return _plain((level, level, level + rng.randint(-3, 3)), side)


def _sky(rng: random.Random) -> tuple[Rgb, Rgb]:
    """Colours above and at the horizon."""
    top = rng.choice(((135, 206, 235), (150, 200, 245), (168, 214, 245), (120, 180, 240)))
    if rng.random() < 0.5:
        return top, top
    return top, mix(top, WHITE, rng.uniform(0.3, 0.7))


def _fade(canvas: Image.Image, top: float, bottom: float, first: Rgb, last: Rgb) -> None:
    """Fills a band, from one colour above to another below."""
    side = canvas.width
    start, end = round(top * side), round(bottom * side)
    if first == last or end - start < 2:
        canvas.paste(first, (0, start, side, end))
        return
    strip = Image.frombytes("RGB", (1, 2), bytes((*first, *last)))
    column = strip.resize((1, end - start), Image.Resampling.BILINEAR, box=(0, 0.5, 1, 1.5))
    canvas.paste(column.resize((side, end - start), Image.Resampling.NEAREST), (0, start))


def _jitter(color: Rgb, rng: random.Random, reach: int = 10) -> Rgb:
    shift = rng.randint(-reach, reach)
    return (
        min(max(color[0] + shift, 0), 255),
        min(max(color[1] + shift, 0), 255),
        min(max(color[2] + shift, 0), 255),
    )


def _hills(
    draw: ImageDraw.ImageDraw, line: float, height: float, color: Rgb, rng: random.Random
) -> None:
    """A ridge that rises from the horizon."""
    side = draw.im.size[0] if draw.im is not None else 0
    phase, waves = rng.uniform(0, 6.3), rng.uniform(3, 9)
    ridge = []
    for step in range(17):
        x = step / 16
        rise = height * (0.55 + 0.45 * math.sin(phase + waves * x))
        ridge.append((x * side, (line - rise) * side))
    draw.polygon([*ridge, (side, line * side + 1), (0, line * side + 1)], fill=color)


def _field(line: float, side: int, rng: random.Random) -> Image.Image:
    canvas = Image.new("RGB", (side, side))
    top, low = _sky(rng)
    _fade(canvas, 0, line, top, low)
    grass = _jitter(
        rng.choice(((134, 196, 96), (110, 180, 80), (150, 205, 110), (96, 168, 84))), rng
    )
    near = mix(grass, (40, 90, 30), 0.25) if rng.random() < 0.5 else grass
    _fade(canvas, line, 1, grass, near)
    draw = ImageDraw.Draw(canvas)
    kind = rng.random()
    if kind < 0.3:
        _hills(draw, line, rng.uniform(0.06, 0.14), mix(grass, (90, 140, 120), 0.45), rng)
    elif kind < 0.6:
        _hills(draw, line + 0.02, rng.uniform(0.02, 0.06), grass, rng)
    if rng.random() < 0.5:
        blade = mix(near, (20, 70, 20), 0.35)
        height = 0.03 * side
        for _ in range(rng.randint(5, 14)):
            x, y = rng.random() * side, (line + 0.06 + (0.92 - line) * rng.random()) * side
            tuft = (x - height / 2, y - height, x, y, x + height / 2, y - height)
            draw.line(tuft, fill=blade, width=max(1, side // 120))
    return canvas


def _beach(line: float, side: int, rng: random.Random) -> Image.Image:
    canvas = Image.new("RGB", (side, side))
    top, low = _sky(rng)
    shore = line + rng.uniform(0.14, 0.24)
    _fade(canvas, 0, line, top, low)
    water = _jitter(rng.choice(((74, 158, 205), (60, 140, 200), (64, 176, 196))), rng)
    _fade(canvas, line, min(shore + 0.1, 1), water, mix(water, WHITE, 0.3))
    sand = _jitter(rng.choice(((240, 220, 164), (236, 208, 150), (244, 228, 184))), rng, 6)
    draw = ImageDraw.Draw(canvas)
    slope, swing = rng.uniform(-0.05, 0.05), rng.uniform(0, 0.015)
    phase = rng.uniform(0, 6.3)
    edge = [
        (x * side / 12, (shore + slope * (x / 6 - 1) + swing * math.sin(phase + x)) * side)
        for x in range(13)
    ]
    draw.polygon([*edge, (side, side), (0, side)], fill=sand)
    draw.line(edge, fill=mix(water, WHITE, 0.75), width=max(1, side // 70))
    if rng.random() < 0.5:
        dark = mix(sand, (120, 90, 40), 0.35)
        for _ in range(rng.randint(8, 24)):
            x, y = rng.random() * side, (shore + 0.08 + (0.9 - shore) * rng.random()) * side
            draw.ellipse((x, y, x + side // 90, y + side // 120), fill=dark)
    return canvas


def _sea(line: float, side: int, rng: random.Random) -> Image.Image:
    canvas = Image.new("RGB", (side, side))
    top, low = _sky(rng)
    _fade(canvas, 0, line, mix(top, WHITE, 0.2), mix(low, WHITE, 0.35))
    water = rng.choice(((44, 116, 184), (34, 98, 160), (40, 132, 170), (52, 120, 200)))
    water = _jitter(water, rng)
    deep = mix(water, (8, 30, 80), rng.uniform(0.2, 0.55)) if rng.random() < 0.6 else water
    _fade(canvas, line, 1, water, deep)
    draw = ImageDraw.Draw(canvas)
    foam = mix(water, WHITE, rng.uniform(0.3, 0.6))
    width = max(1, side // rng.choice((64, 96, 128)))
    if rng.random() < 0.5:  # rows of waves across the whole picture
        rows, waves = rng.randint(4, 7), rng.randint(4, 9)
        swing = rng.uniform(0.008, 0.016) * side
        for row in range(rows):
            y = (line + (1 - line) * (row + 0.4) / rows) * side
            phase = rng.uniform(0, 6.3)
            points = [
                (side * step / 32, y + swing * math.sin(phase + waves * 0.196 * step))
                for step in range(33)
            ]
            draw.line(points, fill=foam, width=width)
    else:  # single crests
        reach = rng.uniform(0.03, 0.06) * side
        for _ in range(rng.randint(10, 20)):
            x, y = rng.random() * side, (line + 0.04 + (0.94 - line) * rng.random()) * side
            draw.arc((x - reach, y, x, y + reach), 200, 340, fill=foam, width=width)
            draw.arc((x, y, x + reach, y + reach), 200, 340, fill=foam, width=width)
    return canvas


def _night(_line: float, side: int, rng: random.Random) -> Image.Image:
    canvas = Image.new("RGB", (side, side))
    sky = _jitter(rng.choice(((20, 26, 68), (14, 16, 44), (28, 22, 66), (10, 12, 26))), rng, 5)
    low = mix(sky, rng.choice(((60, 60, 130), (90, 50, 110), (40, 80, 130))), rng.uniform(0, 0.6))
    _fade(canvas, 0, 1, sky, low if rng.random() < 0.5 else sky)
    draw = ImageDraw.Draw(canvas)
    dot = side / 96
    for _ in range(rng.randint(10, 30)):
        x, y = rng.random() * side, rng.random() * side
        level, radius = rng.randint(140, 245), dot * rng.choice((0.3, 0.4, 0.6))
        box = (x - radius, y - radius, x + radius, y + radius)
        draw.ellipse(box, fill=(level, level, level - rng.choice((0, 0, 30))))
    if rng.random() < 0.4:
        ground = mix(sky, rng.choice(((0, 0, 0), (30, 60, 40), (70, 80, 110))), 0.55)
        _hills(draw, 1.0, rng.uniform(0.12, 0.26), ground, rng)
    return canvas


def _room(line: float, side: int, rng: random.Random) -> Image.Image:
    canvas = Image.new("RGB", (side, side))
    wall = _jitter(
        rng.choice(((226, 214, 200), (208, 220, 222), (222, 222, 204), (230, 206, 206),
                    (200, 212, 226))), rng, 8,
    )  # fmt: skip
    wood = _jitter(
        rng.choice(((190, 144, 98), (168, 120, 76), (206, 164, 120), (150, 110, 80))), rng
    )
    canvas.paste(wall, (0, 0, side, side))
    draw = ImageDraw.Draw(canvas)
    if rng.random() < 0.3:  # wallpaper
        stripe = mix(wall, WHITE, 0.3) if rng.random() < 0.5 else mix(wall, (90, 80, 80), 0.12)
        count = rng.randint(5, 12)
        for index in range(count):
            left = side * (index + 0.25) / count
            draw.rectangle((left, 0, left + side / count / 2, line * side), fill=stripe)
    _fade(canvas, line, 1, wood, mix(wood, (60, 30, 10), 0.2) if rng.random() < 0.5 else wood)
    seam = mix(wood, (40, 20, 10), 0.3)
    width, top = max(1, side // 130), line * side
    if rng.random() < 0.6:  # boards towards the reader
        middle = rng.uniform(0.3, 0.7)
        for index in range(-6, 7):
            near, far = middle + 0.26 * index, middle + 0.15 * index
            draw.line((far * side, top, near * side, side), fill=seam, width=width)
    else:  # boards along the wall
        for share in (0.2, 0.44, 0.72):
            y = top + share * (side - top)
            draw.line((0, y, side, y), fill=seam, width=width)
    if rng.random() < 0.75:
        board = rng.choice(((245, 242, 236), mix(wood, (40, 20, 10), 0.4)))
        draw.line((0, top, side, top), fill=board, width=max(2, side // 40))
    return canvas


_DRAWERS = {
    "white": _white,
    "cream": _cream,
    "gray": _gray,
    "field": _field,
    "beach": _beach,
    "night": _night,
    "room": _room,
    "sea": _sea,
}
