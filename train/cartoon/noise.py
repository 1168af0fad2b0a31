"""What strange pictures are made of: noise, clouds, slopes, and the way of a camera."""

import colorsys
import io
import math
import random
from collections.abc import Sequence
from functools import cache

from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter

from train.cartoon.colors import Rgb, mix
from train.cartoon.parts import Point

BILINEAR = Image.Resampling.BILINEAR
BICUBIC = Image.Resampling.BICUBIC
Maker = tuple[Image.Image, random.Random]


def grain(rng: random.Random, width: int, height: int, mode: str = "L") -> Image.Image:
    """Uniform noise, a value a pixel and channel."""
    channels = 3 if mode == "RGB" else 1
    return Image.frombytes(mode, (width, height), rng.randbytes(channels * width * height))


def bell_grain(rng: random.Random, width: int, height: int, mode: str = "L") -> Image.Image:
    """Noise of nearly normal distribution around the middle, 32 levels wide."""
    first, second, third, fourth = (grain(rng, width, height, mode) for _ in range(4))
    return Image.blend(Image.blend(first, second, 0.5), Image.blend(third, fourth, 0.5), 0.5)


def clouds(
    rng: random.Random, side: int, *, cells: int = 2, rough: float = 0.5, mode: str = "L"
) -> Image.Image:
    """Noise of many sizes, the large ones strongest, as in photographs: a 1/f spectrum.

    Args:
        rng: Where it comes from.
        side: Width and height in pixels.
        cells: How many patches the largest noise has across.
        rough: How strong each halving of the patches is, against the one before.
        mode: "L" or "RGB".
    """
    field = grain(rng, cells + 1, cells + 1, mode).resize((side, side), BICUBIC)
    weight, total = 1.0, 1.0
    while cells * 2 < side:
        cells *= 2
        weight *= rough
        total += weight
        if weight / total < 0.015:
            break
        octave = grain(rng, cells + 1, cells + 1, mode).resize((side, side), BILINEAR)
        field = Image.blend(field, octave, weight / total)
    return field


def stretched(gray: Image.Image, low: float = 0.01) -> Image.Image:
    """The same with its levels spread over the whole range."""
    counts = gray.histogram()
    spare = low * gray.width * gray.height
    first, last, seen = 0, 255, 0.0
    while first < 254 and (seen := seen + counts[first]) <= spare:
        first += 1
    seen = 0.0
    while last > first + 1 and (seen := seen + counts[last]) <= spare:
        last -= 1
    factor = 255 / (last - first)
    table = [min(max(round((level - first) * factor), 0), 255) for level in range(256)]
    return gray.point(table)


def tinted(gray: Image.Image, colors: Sequence[Rgb]) -> Image.Image:
    """Levels -> colours, from the first for black to the last for white."""
    bands = [gray.point(_table(tuple(color[band] for color in colors))) for band in range(3)]
    return Image.merge("RGB", bands)


def _table(values: tuple[int, ...]) -> list[int]:
    steps = len(values) - 1
    table = []
    for level in range(256):
        place = level * steps / 255
        index = min(int(place), steps - 1)
        share = place - index
        table.append(round(values[index] + (values[index + 1] - values[index]) * share))
    return table


def slope(rng: random.Random, side: int, first: Rgb, last: Rgb) -> Image.Image:
    """A gradient in any direction, straight or round."""
    if rng.random() < 0.3:
        x, y = rng.uniform(-40, 40), rng.uniform(-40, 40)
        zoom = rng.uniform(0.7, 1.5)
        box = (64 + x - 64 * zoom, 64 + y - 64 * zoom, 64 + x + 64 * zoom, 64 + y + 64 * zoom)
        level = _round_slope().transform((side, side), Image.Transform.EXTENT, box, BILINEAR)
    else:
        turn = rng.uniform(0, 2 * math.pi)
        u, v = 0.5 * math.cos(turn), 0.5 * math.sin(turn)
        # Four corners of a plane, which a bilinear enlargement fills in.
        corners = [255 * (0.5 + u * p + v * q) for q in (-0.5, 0.5) for p in (-0.5, 0.5)]
        low, high = min(corners), max(corners)
        data = bytes(round(255 * (each - low) / (high - low)) for each in corners)
        box = (0.5, 0.5, 1.5, 1.5)
        level = Image.frombytes("L", (2, 2), data).resize((side, side), BILINEAR, box=box)
    return tinted(level, (first, last))


@cache
def _round_slope() -> Image.Image:
    return Image.radial_gradient("L").reduce(2)


def any_color(rng: random.Random) -> Rgb:
    """Any colour at all."""
    return (rng.randrange(256), rng.randrange(256), rng.randrange(256))


def dull_color(rng: random.Random, low: float = 0.1, high: float = 0.9) -> Rgb:
    """A colour as of photographs: rarely deep, of a brightness between two bounds."""
    hue = rng.choice((rng.random(), rng.gauss(0.08, 0.04) % 1, rng.gauss(0.58, 0.05) % 1))
    depth = min(abs(rng.gauss(0, 0.42)), 0.95)
    parts = colorsys.hsv_to_rgb(hue, depth, rng.uniform(low, high))
    return (round(255 * parts[0]), round(255 * parts[1]), round(255 * parts[2]))


def blob(
    rng: random.Random, x: float, y: float, width: float, height: float, *, rough: float = 0.3
) -> list[Point]:
    """Points of an uneven closed curve."""
    phases = [rng.uniform(0, 6.3) for _ in range(4)]
    turn = rng.uniform(0, 6.3)
    points = []
    for index in range(20):
        angle = math.pi * index / 10
        swing = sum(
            math.sin((order + 1) * angle + phase) / (order + 1)
            for order, phase in enumerate(phases)
        )
        reach = 1 + rough * swing
        u, v = width * reach * math.cos(angle), height * reach * math.sin(angle)
        points.append((x + u * math.cos(turn) - v * math.sin(turn),
                       y + u * math.sin(turn) + v * math.cos(turn)))  # fmt: skip
    return points


def lay(picture: Image.Image, points: Sequence[Point], color: Rgb, soft: float) -> None:
    """Fills a region whose rim is `soft` pixels wide."""
    side = picture.width
    if soft < 0.8:
        ImageDraw.Draw(picture).polygon(list(points), fill=color)
        return
    factor = min(max(soft, 1.0), side / 6)
    small = max(6, round(side / factor))
    mask = Image.new("L", (2 * small, 2 * small))
    scale = 2 * small / side
    ImageDraw.Draw(mask).polygon([(x * scale, y * scale) for x, y in points], fill=255)
    picture.paste(color, (0, 0), mask.reduce(2).resize((side, side), BICUBIC))


def lit(rng: random.Random, picture: Image.Image, strength: float) -> Image.Image:
    """Lays an uneven light and a texture over a picture."""
    side = picture.width
    field = stretched(clouds(rng, side, cells=rng.choice((2, 3, 5)), rough=rng.uniform(0.5, 0.9)))
    lift = rng.randint(0, 70)
    field = field.point([lift + level * (255 - lift) // 255 for level in range(256)])
    light = Image.merge("RGB", (field, field, field))
    return Image.blend(picture, ImageChops.overlay(picture, light), strength)


def camera(rng: random.Random, picture: Image.Image) -> Image.Image:
    """What a camera does: faint colours, dark corners, softness, grain, a JPEG file."""
    side = picture.width
    if rng.random() < 0.12:
        picture = picture.convert("L").convert("RGB")
    elif rng.random() < 0.4:
        picture = ImageEnhance.Color(picture).enhance(rng.uniform(0.3, 1.1))
    if rng.random() < 0.3:
        dark = ImageChops.invert(_round_slope()).resize((side, side), BILINEAR)
        dark = dark.point([min(255, 110 + level) for level in range(256)])
        picture = ImageChops.multiply(picture, Image.merge("RGB", (dark, dark, dark)))
    if rng.random() < 0.25:
        middle = Image.new("RGB", picture.size, dull_color(rng, 0.3, 0.7))
        picture = Image.blend(middle, picture, rng.uniform(0.5, 0.9))
    if rng.random() < 0.25:
        picture = picture.filter(ImageFilter.BoxBlur(rng.uniform(0.4, 2.5)))
    if rng.random() < 0.5:
        mode = "L" if rng.random() < 0.5 else "RGB"
        dust = grain(rng, side, side, mode).convert("RGB")
        picture = Image.blend(picture, dust, rng.uniform(0.02, 0.16))
    if rng.random() < 0.15:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=rng.randint(15, 60))
        picture = Image.open(file, formats=("JPEG",)).convert("RGB")
    return picture


def ramp(rng: random.Random, count: int = 3) -> list[Rgb]:
    """Colours from dark to light that belong together."""
    base, other = dull_color(rng), dull_color(rng)
    colors = []
    for index in range(count):
        share = index / (count - 1)
        shade = mix(base, other, share)
        target = (0, 0, 0) if share < 0.5 else (255, 255, 255)
        colors.append(mix(shade, target, 1.6 * abs(share - 0.5)))
    return colors
