"""Scene -> picture. All variation of the look comes from the scene's seed."""

import colorsys
import math
import random
from functools import lru_cache

from PIL import Image, ImageDraw

from train.cartoon.scene import Scene, Thing
from train.cartoon.shapes import (
    LETTERS,
    MIRRORED,
    SHAPES,
    STROKES,
    UPRIGHT,
    Part,
    Point,
)

Rgb = tuple[int, int, int]
Band = tuple[float, float, Rgb]
"""Top, bottom and colour of a horizontal stripe of the background, as fractions of the canvas."""

# Pure values, as another program's drawing would use them.
PURE_COLORS: dict[str, Rgb] = {
    "red": (255, 0, 0),
    "orange": (255, 150, 0),
    "yellow": (255, 255, 0),
    "green": (0, 160, 0),
    "blue": (0, 0, 255),
    "purple": (128, 0, 160),
    "pink": (255, 150, 190),
    "brown": (130, 70, 25),
    "black": (0, 0, 0),
    "white": (255, 255, 255),
}
# Hue in degrees, saturation and value: the lowest and the highest of each.
_RANGES: dict[str, tuple[float, float, float, float, float, float]] = {
    "red": (-5, 5, 0.82, 1.0, 0.82, 1.0),
    "orange": (25, 38, 0.88, 1.0, 0.96, 1.0),
    "yellow": (51, 60, 0.72, 1.0, 0.96, 1.0),
    "green": (105, 142, 0.62, 1.0, 0.5, 0.85),
    "blue": (213, 241, 0.72, 1.0, 0.68, 1.0),
    "purple": (268, 293, 0.62, 1.0, 0.5, 0.75),
    "pink": (325, 346, 0.28, 0.52, 0.97, 1.0),
    "brown": (19, 29, 0.62, 0.82, 0.38, 0.54),
    "black": (0, 360, 0.0, 0.2, 0.03, 0.13),
    "white": (0, 360, 0.0, 0.015, 0.97, 1.0),
}
_SHINES = {"circle": (-0.4, -0.42, 0.2), "heart": (-0.45, -0.36, 0.17), "sun": (-0.2, -0.22, 0.12)}
"""Centre and radius of the bright spot on kinds that may have one."""
_SUPERSAMPLING = 4
_DARK, _LIGHT = (25, 25, 30), (232, 234, 240)
_CONTRAST = 130.0
"""Distance of two colours from which one stands out from the other without an outline."""


def draw_scene(scene: Scene, size: int = 96) -> Image.Image:
    """Draws a scene. The same scene and size always give the same pixels.

    Args:
        scene: What to draw; its seed decides the style.
        size: Side of the square picture in pixels.

    Returns:
        An RGB picture.
    """
    rng = random.Random(f"draw-{scene.seed}")
    side = size * _SUPERSAMPLING
    bands = _bands(scene.background, rng)
    canvas = Image.new("RGB", (side, side), bands[0][2])
    draw = ImageDraw.Draw(canvas)
    _draw_background(draw, scene.background, bands, side, rng)
    thickness = rng.uniform(0.008, 0.022)
    plain = rng.random() < 0.35
    shaded = rng.random() < 0.25
    tinted = rng.random() < 0.3
    for thing in scene.things:
        color = _jitter(thing.color, rng)
        behind = [
            band[2]
            for band in bands
            if band[0] < thing.y + thing.radius and band[1] > thing.y - thing.radius
        ]
        width = max(thickness * min(1.0, thing.radius / 0.13), 0.0085) * side
        look = _Look(thing, color, behind, width, plain=plain, tinted=tinted)
        if thing.kind == "sign":
            _draw_sign(draw, thing, look, side)
        else:
            _draw_shape(draw, thing, look, side, rng, shaded=shaded)
    picture = canvas.reduce(_SUPERSAMPLING)
    if rng.random() < 0.15:
        noise = Image.frombytes("RGB", picture.size, rng.randbytes(3 * size * size))
        picture = Image.blend(picture, noise, rng.uniform(0.01, 0.05))
    return picture


class _Look:
    """Colours and outline of one thing."""

    __slots__ = ("edge", "outline", "palette")

    def __init__(
        self,
        thing: Thing,
        color: Rgb,
        behind: list[Rgb],
        width: float,
        *,
        plain: bool,
        tinted: bool,
    ) -> None:
        dark = _brightness(color) < 50
        self.palette: dict[str, Rgb] = {
            "body": color,
            "roof": _roof(color, thing.color),
            "shine": _mix(color, (255, 255, 255), 0.3),
            "trunk": (101, 62, 28) if thing.color != "brown" else (66, 38, 16),
            "door": (92, 58, 34) if thing.color not in ("brown", "black") else (205, 170, 120),
            "glass": (190, 226, 245),
            "tire": (40, 40, 44),
            "hub": (190, 190, 195),
            "center": (110, 66, 22) if thing.color in ("yellow", "orange") else (255, 214, 40),
            "stem": (52, 140, 60),
            "eye": (255, 255, 255),
            "pupil": (15, 15, 20),
            "mast": (110, 72, 38),
            "sail": (250, 250, 245),
            "post": (120, 110, 100),
        }
        outline = _DARK
        if tinted and not dark and thing.color != "white":
            outline = _mix(color, (0, 0, 0), 0.65)
        dim = min(map(_brightness, behind)) < 60
        near = min(_distance(color, other) for other in behind) < 195
        if dim and near and _brightness(color) < 108:
            outline = _LIGHT  # a dark outline would sink into the night together with the thing
        seen = [color, self.palette["sail"]] if thing.kind == "boat" else [color]
        clear = all(_distance(a, b) > _CONTRAST for a in seen for b in behind)
        clear = clear and not (dim and near)
        self.outline = outline
        self.edge = 0.0 if plain and clear else width


def _draw_shape(
    draw: ImageDraw.ImageDraw,
    thing: Thing,
    look: _Look,
    side: int,
    rng: random.Random,
    *,
    shaded: bool,
) -> None:
    lean = 4.0 if thing.kind in UPRIGHT else 10.0
    turn = math.radians(rng.uniform(-lean, lean))
    ratio = rng.uniform(0.9, 1.1)
    scale = 0.97 * thing.radius * side
    across, down = scale * min(ratio, 1.0), scale * min(1 / ratio, 1.0)
    if thing.kind in MIRRORED and rng.random() < 0.5:
        across = -across
    cosine, sine = math.cos(turn), math.sin(turn)
    a, b, x = across * cosine, -down * sine, thing.x * side
    c, d, y = across * sine, down * cosine, thing.y * side
    variants = SHAPES[thing.kind]
    parts = variants[rng.randrange(len(variants))]
    for part in parts:
        points = [(x + a * u + b * v, y + c * u + d * v) for u, v in part.points]
        _fill(draw, part, points, scale, look)
    if shaded and thing.kind in _SHINES:
        left, above, reach = _SHINES[thing.kind]
        _disc(draw, (x + left * scale, y + above * scale), reach * scale, look.palette["shine"])


def _fill(
    draw: ImageDraw.ImageDraw, part: Part, points: list[Point], scale: float, look: _Look
) -> None:
    color = look.palette[part.role]
    width = round(look.edge * part.edge)
    if part.radius:
        _disc(draw, points[0], part.radius * scale, color)
        if width:
            (x, y), reach = points[0], part.radius * scale + width / 2
            box = (x - reach, y - reach, x + reach, y + reach)
            draw.ellipse(box, outline=look.outline, width=width)
        return
    draw.polygon(points, fill=color)
    if width:
        draw.line([*points, points[0]], fill=look.outline, width=width)
        if width > (2 if part.corners else 8):  # the joints of a thick line show gaps
            for point in points:
                _disc(draw, point, width / 2 - 0.5, look.outline)


def _disc(draw: ImageDraw.ImageDraw, center: Point, radius: float, color: Rgb | int) -> None:
    x, y = center
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)


def _draw_sign(draw: ImageDraw.ImageDraw, thing: Thing, look: _Look, side: int) -> None:
    """Draws a board on a post, wide enough that its letters can be read."""
    cells = 4 * len(thing.word) - 1
    reach = max(1.12 * thing.radius, (cells + 4) / 192) * side
    x = min(max(thing.x * side, reach), side - reach)
    y, radius = thing.y * side, thing.radius * side
    unit = 2 * max(1, int((2 * reach - 0.02 * side) / (cells + 1) / 2))
    height = max(1.15 * radius, (5 + 2.4) * unit)
    top = y - radius
    bottom = top + height
    post = 0.1 * radius
    board = [(x - reach, top), (x + reach, top), (x + reach, bottom), (x - reach, bottom)]
    pole = [(x - post, bottom), (x + post, bottom), (x + post, y + radius), (x - post, y + radius)]
    _fill(draw, Part("post", (), edge=0.5), pole, radius, look)
    _fill(draw, Part("body", (), corners=True), board, radius, look)
    ink = (0, 0, 0) if _brightness(look.palette["body"]) > 125 else (255, 255, 255)
    letters = _word_mask(thing.word, unit)
    left, above = x - letters.width / 2, (top + bottom) / 2 - letters.height / 2
    # Whole pixels of the reduced picture keep thin letters sharp.
    step = _SUPERSAMPLING
    place = (step * round(left / step), step * round(above / step))
    draw.bitmap(place, letters, fill=ink)


@lru_cache(maxsize=256)
def _word_mask(word: str, unit: int) -> Image.Image:
    """Draws a word in letters of 3 by 5 units with gaps of one unit, white on black."""
    width, height = (4 * len(word) - 1) * unit, 5 * unit
    mask = Image.new("L", (width, height))
    draw = ImageDraw.Draw(mask)
    for index, letter in enumerate(word):
        left = 4 * index * unit
        if unit < 6:
            for row, line in enumerate(LETTERS[letter]):
                for column, dot in enumerate(line):
                    if dot == "1":
                        x, y = left + column * unit, row * unit
                        draw.rectangle((x, y, x + unit - 1, y + unit - 1), fill=255)
            continue
        for stroke in STROKES[letter]:
            points = [(left + (u + 0.5) * unit, (v + 0.5) * unit) for u, v in stroke]
            draw.line(points, fill=255, width=unit)
            for point in points:
                _disc(draw, point, unit / 2 - 0.5, 255)
    return mask


def _bands(background: str, rng: random.Random) -> list[Band]:
    """Makes the horizontal stripes of a background, from the top."""
    shift = rng.randint(-8, 8)
    if background == "white":
        level = 255 if rng.random() < 0.5 else rng.randint(248, 255)
        return [(0, 1, (level, level, level))]
    if background == "cream":
        return [(0, 1, (252 + shift // 4, 241 + shift // 2, 208 + shift))]
    if background == "gray":
        level = 178 + 2 * shift
        return [(0, 1, (level, level, level + rng.randint(-3, 3)))]
    if background == "night":
        return [(0, 1, (20 + shift // 2, 26 + shift // 2, 68 + shift))]
    sky = (168 + shift, 214 + shift // 2, 245)
    if background == "field":
        horizon = rng.uniform(0.5, 0.7)
        return [(0, horizon, sky), (horizon, 1, (134 + shift, 196 + shift, 96))]
    if background == "beach":
        sea = rng.uniform(0.4, 0.52)
        sand = rng.uniform(0.66, 0.76)
        water = (74 + shift, 158 + shift, 205)
        return [(0, sea, sky), (sea, sand, water), (sand, 1, (240, 220 + shift // 2, 164 + shift))]
    floor = rng.uniform(0.62, 0.76)
    wall = rng.choice(((226, 214, 200), (208, 220, 222), (222, 222, 204)))
    wood = (190 + shift, 144 + shift, 98 + shift)
    return [(0, floor, wall), (floor, 1, wood)]


def _draw_background(
    draw: ImageDraw.ImageDraw, background: str, bands: list[Band], side: int, rng: random.Random
) -> None:
    for top, bottom, color in bands[1:]:
        draw.rectangle((0, top * side, side, bottom * side), fill=color)
    if background == "night":
        dot = side / 96
        for _ in range(rng.randint(8, 22)):
            x, y = rng.random() * side, rng.random() * side
            level = rng.randint(140, 230)
            _disc(draw, (x, y), dot * rng.choice((0.35, 0.6)), (level, level, level))
    elif background == "room":
        top, _, wood = bands[1]
        seam = _mix(wood, (0, 0, 0), 0.22)
        width = max(1, side // 130)
        middle = rng.uniform(0.3, 0.7)
        for index in range(-6, 7):
            near, far = middle + 0.26 * index, middle + 0.15 * index
            line = (far * side, top * side, near * side, side)
            draw.line(line, fill=seam, width=width)
        draw.line((0, top * side, side, top * side), fill=(245, 242, 236), width=4 * width)


def _jitter(name: str, rng: random.Random) -> Rgb:
    if rng.random() < 0.2:
        return PURE_COLORS[name]
    low_hue, high_hue, low_depth, high_depth, low_value, high_value = _RANGES[name]
    hue = rng.uniform(low_hue, high_hue) / 360 % 1
    depth, value = rng.uniform(low_depth, high_depth), rng.uniform(low_value, high_value)
    red, green, blue = colorsys.hsv_to_rgb(hue, depth, value)
    return (round(255 * red), round(255 * green), round(255 * blue))


def _roof(color: Rgb, name: str) -> Rgb:
    if name == "black":
        return _mix(color, (255, 255, 255), 0.3)
    if name in ("orange", "yellow"):
        return _mix(color, (180, 75, 0), 0.5)  # mere darkening gives brown and olive
    return _mix(color, (0, 0, 0), 0.34)


def _mix(color: Rgb, other: Rgb, share: float) -> Rgb:
    return (
        round(color[0] + (other[0] - color[0]) * share),
        round(color[1] + (other[1] - color[1]) * share),
        round(color[2] + (other[2] - color[2]) * share),
    )


def _brightness(color: Rgb) -> float:
    return 0.3 * color[0] + 0.59 * color[1] + 0.11 * color[2]


def _distance(color: Rgb, other: Rgb) -> float:
    return math.dist(color, other)
