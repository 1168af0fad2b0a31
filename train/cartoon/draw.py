"""Scene -> picture. All variation of how it looks comes from the scene's seed."""

import math
import random
from collections.abc import Sequence
from functools import cache

from PIL import Image, ImageChops, ImageDraw

from train.cartoon.backdrop import draw_backdrop, draw_horizon, look_random
from train.cartoon.catalog import MIRRORED, SHAPES, UPRIGHT, palette
from train.cartoon.colors import Rgb, brightness, distance, mix, pick_color
from train.cartoon.look import Look, disturb, make_look
from train.cartoon.parts import Part, Point, wobbled
from train.cartoon.pen import draw_page
from train.cartoon.scene import PLAIN_BACKGROUNDS, Scene, Thing
from train.cartoon.signs import draw_sign, sign_board
from train.cartoon.strange import draw_strange

_SUPERSAMPLING = 2
_DARK: Rgb = (25, 25, 30)
_LIGHT: Rgb = (236, 238, 242)
_NEAR = 105.0
"""Distance of two colours below which one does not stand out from the other without an outline."""
_THINNEST = 0.0095
"""Width of an outline that a thing needs to be seen, as a fraction of the canvas side."""
_LEAST_PEN = 0.014
"""Width of the pen of a hollow drawing, which has nothing else, as a fraction of the side."""
_FILL = 0.97
"""Size of a shape's box relative to the thing's."""


def draw_scene(scene: Scene, size: int) -> Image.Image:
    """Draws a scene. The same scene and size always give the same pixels.

    Args:
        scene: What to draw; its seed decides the look.
        size: Side of the square picture in pixels.

    Returns:
        An RGB picture.
    """
    if scene.strange:
        return draw_strange(scene.seed, size)
    rng, line, look = _begin(scene)
    side = _SUPERSAMPLING * size
    if scene.is_page:
        return disturb(draw_page(scene, side, rng).reduce(_SUPERSAMPLING), look)
    canvas = draw_backdrop(scene.background, line, side, rng)
    # The large ones first, so that small ones stay seen; a sign last, so that it stays readable.
    for thing in sorted(scene.things, key=lambda each: (each.kind == "sign", -each.radius)):
        _draw_thing(canvas, thing, look, rng, paper=scene.background in PLAIN_BACKGROUNDS)
    return disturb(canvas.reduce(_SUPERSAMPLING), look)


def look_of(scene: Scene) -> Look:
    """The look that `draw_scene` gives a scene's picture; of strange scenes it has none."""
    return _begin(scene)[2]


def _begin(scene: Scene) -> tuple[random.Random, float, Look]:
    """A scene's generator behind its first numbers, and what those decide: horizon and look."""
    rng = look_random(scene)
    line = draw_horizon(scene.background, rng)
    return rng, line, make_look(rng)


def _draw_thing(
    canvas: Image.Image, thing: Thing, look: Look, rng: random.Random, *, paper: bool
) -> None:
    side = canvas.width
    color = pick_color(thing.color, rng)
    behind = _samples(canvas, thing)
    width = look.edge * min(1.0, thing.radius / 0.15)
    outline = _outline(color, behind, look)
    parts = _variant(thing.kind, rng)
    seen = [color, _SAIL] if any(part.role == "sail" for part in parts) else [color]
    if any(distance(a, b) < _NEAR for a in seen for b in behind):
        width = max(width, _THINNEST)
    edge = width * side
    if thing.kind == "sign":
        draw_sign(canvas, thing, color, outline, edge, rng=rng)
        return
    colors = palette(thing.color, color, rng)
    # A pen's line on paper: what it draws has the line's colour, and the paper shows through. With
    # a black pen no one could tell it from a thing of the paper's colour in black outlines.
    hollow = (
        look.style == "hollow"
        and paper
        and thing.color != "black"
        and all(distance(color, each) >= _NEAR for each in behind)
    )
    if hollow:
        edge = max(edge, _LEAST_PEN * side)
    _Pencil(canvas, look, colors, color if hollow else outline, edge, hollow=hollow).draw(
        thing, parts, rng
    )


_SAIL: Rgb = (250, 250, 245)


def _variant(kind: str, rng: random.Random) -> Sequence[Part]:
    if kind == "sign":
        return ()
    return rng.choice(SHAPES[kind])


def _samples(canvas: Image.Image, thing: Thing) -> list[Rgb]:
    """Colours that a thing will stand on, near its rim."""
    side = canvas.width
    if thing.kind == "sign":
        board = sign_board(thing)
        x, y, across, down = board.x, board.y, board.width, board.height
    else:
        x, y, across, down = thing.x, thing.y, 0.8 * thing.radius, 0.8 * thing.radius
    colors = []
    for u, v in _RIM:
        column = min(max(int((x + u * across) * side), 0), side - 1)
        row = min(max(int((y + v * down) * side), 0), side - 1)
        pixel = canvas.getpixel((column, row))
        if isinstance(pixel, tuple):
            colors.append((pixel[0], pixel[1], pixel[2]))
    return colors


_RIM = ((-1.0, 0.0), (1.0, 0.0), (0.0, -1.0), (0.0, 1.0), (-0.7, -0.7), (0.7, 0.7))


def _outline(color: Rgb, behind: list[Rgb], look: Look) -> Rgb:
    """A colour that parts a thing from what it stands on."""
    outline = mix(color, (0, 0, 0), 0.6) if look.tinted and min(color) < 225 else _DARK
    if brightness(color) > 60 and brightness(min(behind, key=brightness)) > 60:
        return outline  # a dark line shows on both
    if all(distance(color, other) >= _NEAR for other in behind):
        return outline if brightness(color) > 60 else _DARK
    return max(
        (_DARK, _LIGHT), key=lambda ink: min(distance(ink, each) for each in (color, *behind))
    )


class _Pencil:
    """Draws the parts of one thing."""

    __slots__ = ("_canvas", "_draw", "_edge", "_hollow", "_look", "_outline", "_palette")

    def __init__(
        self,
        canvas: Image.Image,
        look: Look,
        colors: dict[str, Rgb],
        outline: Rgb,
        edge: float,
        *,
        hollow: bool,
    ) -> None:
        self._canvas, self._look, self._hollow = canvas, look, hollow
        self._draw = ImageDraw.Draw(canvas)
        self._palette, self._outline, self._edge = colors, outline, edge

    def draw(self, thing: Thing, parts: Sequence[Part], rng: random.Random) -> None:
        """Draws a shape's parts where the thing is."""
        side = self._canvas.width
        scale = _FILL * thing.radius * side
        a, b, c, d = _matrix(thing.kind, self._look, scale, rng)
        x, y = thing.x * side, thing.y * side
        wobble = 0.035 * scale if self._look.style == "sketchy" else 0.0
        covered = self._look.style in ("shaded", "textured")
        for part in parts:
            points = [(x + a * u + b * v, y + c * u + d * v) for u, v in part.points]
            if wobble:
                points = wobbled(points, min(wobble, 0.02 * side), rng)
            if part.width:
                self._line(part, points, scale)
                continue
            if self._hollow and part.edge:
                self._contour(part, points, rng)
                continue
            self._draw.polygon(points, fill=self._palette[part.role])
            if covered and part.role in ("body", "cloth"):
                self._cover(points, rng, least=0.3 * scale)
            if self._edge and part.edge:
                self._contour(part, points, rng)

    def _line(self, part: Part, points: list[Point], scale: float) -> None:
        width = max(1, round(part.width * scale))
        if self._edge and part.role == "body":
            rim = width + 2 * max(1, round(min(0.8 * self._edge, 0.25 * width)))
            self._draw.line(points, fill=self._outline, width=rim)
            self._dots(points[:: len(points) - 1], rim / 2, self._outline)
        color = self._palette[part.role]
        self._draw.line(points, fill=color, width=width)
        if width > 3:
            self._dots(points, (width - 1) / 2, color)

    def _contour(self, part: Part, points: list[Point], rng: random.Random) -> None:
        width = max(1, round(self._edge * part.edge))
        closed = [*points, points[0], points[1]]
        self._draw.line(closed, fill=self._outline, width=width)
        if width > (2 if part.corners else 6):  # the joints of a thick line show gaps
            self._dots(points, (width - 1) / 2, self._outline)
        if self._look.style == "sketchy" and part.role == "body":
            again = wobbled(closed, 1.1 * self._edge, rng)
            self._draw.line(again, fill=self._outline, width=max(1, width // 2))

    def _dots(self, points: list[Point], radius: float, color: Rgb) -> None:
        ellipse = self._draw.ellipse
        for x, y in points:
            ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)

    def _cover(self, points: list[Point], rng: random.Random, *, least: float) -> None:
        """Lays light and shadow, or a texture, over a region that is not tiny."""
        left, right = min(x for x, _ in points), max(x for x, _ in points)
        top, bottom = min(y for _, y in points), max(y for _, y in points)
        width, height = int(right - left) + 1, int(bottom - top) + 1
        if width < least or height < least:
            return
        region = Image.new("L", (width, height))
        place = (int(left), int(top))
        moved = [(x - place[0], y - place[1]) for x, y in points]
        ImageDraw.Draw(region).polygon(moved, fill=255)
        pale = min(self._palette["body"]) > 225
        dark = brightness(self._palette["body"]) < 40
        if self._look.style == "shaded":
            shadow = _slope(upward=False).resize((width, height))
            shine = _slope(upward=True).resize((width, height))
            if not dark:
                share = 0.3 if pale else 0.8
                self._lay((0, 0, 0), place, ImageChops.multiply(region, shadow), share)
            if not pale:
                share = 0.35 if dark else 0.8
                self._lay((255, 255, 255), place, ImageChops.multiply(region, shine), share)
            return
        tile = _texture(rng.choice(_TEXTURES))
        span = tile.width - max(width, height)
        if span > 0:
            corner = (rng.randrange(span), rng.randrange(span))
            tile = tile.crop((*corner, corner[0] + width, corner[1] + height))
        else:
            tile = tile.resize((width, height))
        ink = (255, 255, 255) if dark or (rng.random() < 0.5 and not pale) else (0, 0, 0)
        self._lay(ink, place, ImageChops.multiply(region, tile), 0.5 if pale or dark else 0.9)

    def _lay(self, ink: Rgb, place: tuple[int, int], mask: Image.Image, share: float) -> None:
        mask = mask.point([round(share * level) for level in range(256)])
        self._canvas.paste(ink, place, mask)


def _matrix(
    kind: str, look: Look, scale: float, rng: random.Random
) -> tuple[float, float, float, float]:
    """Unit shape -> pixels: mirrored, turned, sheared and stretched."""
    lean = look.lean * (0.35 if kind in UPRIGHT else 1.0)
    turn = math.radians(rng.uniform(-lean, lean))
    across = down = scale
    if rng.random() < 0.5:
        ratio = rng.uniform(0.88, 1.13)
        across, down = scale * min(ratio, 1.0), scale * min(1 / ratio, 1.0)
    if rng.random() < 0.5 and kind in MIRRORED:
        across = -across
    cosine, sine = math.cos(turn), math.sin(turn)
    a, b, c, d = across * cosine, -down * sine, across * sine, down * cosine
    wide, high = look.stretch
    return wide * (a + look.shear * c), wide * (b + look.shear * d), high * c, high * d


@cache
def _slope(*, upward: bool) -> Image.Image:
    """A mask that fades: strongest at the bottom, or (`upward`) at the top."""
    slope = Image.linear_gradient("L")
    if upward:  # the light comes from one side
        slope = slope.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        slope = slope.rotate(-20, Image.Resampling.BILINEAR).crop((44, 44, 212, 212))
        return slope.point([max(0, level - 90) * 110 // 165 for level in range(256)])
    return slope.point([max(0, level - 70) * 120 // 185 for level in range(256)])


_TEXTURES = ("hatch", "stripes", "dots", "grain", "crayon")
_TILE = 512


@cache
def _texture(name: str) -> Image.Image:
    """A large mask of a texture, from which pieces are cut."""
    tile = Image.new("L", (_TILE, _TILE))
    draw = ImageDraw.Draw(tile)
    rng = random.Random(f"texture-{name}")
    if name == "hatch":
        for start in range(-_TILE, _TILE, 6):
            draw.line((start, _TILE, start + _TILE, 0), fill=70, width=2)
    elif name == "stripes":
        for start in range(0, _TILE, 10):
            draw.rectangle((0, start, _TILE, start + 3), fill=56)
    elif name == "dots":
        for row in range(0, _TILE, 8):
            for column in range(row // 8 % 2 * 4, _TILE, 8):
                draw.ellipse((column, row, column + 3, row + 3), fill=80)
    elif name == "grain":
        noise = Image.frombytes("L", (_TILE // 2, _TILE // 2), rng.randbytes(_TILE * _TILE // 4))
        return noise.resize((_TILE, _TILE)).point([level * 90 // 255 for level in range(256)])
    else:  # crayon: long uneven strokes
        for _ in range(1500):
            x, y = rng.uniform(-60, _TILE), rng.uniform(0, _TILE)
            reach = rng.uniform(30, 90)
            draw.line((x, y, x + reach, y - 0.6 * reach), fill=rng.randint(30, 90), width=2)
    return tile
