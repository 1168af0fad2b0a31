"""A page sketch as drawn by hand: one pen, paper, lines that are not quite straight."""

import math
import random
from collections.abc import Sequence
from itertools import pairwise

from PIL import Image, ImageDraw

from train.cartoon.backdrop import draw_backdrop
from train.cartoon.colors import Rgb, mix
from train.cartoon.parts import Point, box, disc, smooth, soft_box, wobbled
from train.cartoon.scene import Scene
from train.cartoon.signs import draw_letters
from train.cartoon.sketch import Box, sketch_boxes

_INKS: tuple[Rgb, ...] = (
    (22, 22, 28), (22, 22, 28), (24, 38, 120), (30, 60, 150), (78, 78, 84), (180, 28, 38),
)  # fmt: skip
_RULES: tuple[Rgb, ...] = ((186, 208, 236), (205, 205, 212), (222, 196, 200))


def draw_page(scene: Scene, side: int, rng: random.Random) -> Image.Image:
    """Draws a page sketch on paper.

    Args:
        scene: A page sketch.
        side: Width and height in pixels.
        rng: For what varies.
    """
    canvas = draw_backdrop(rng.choice(("white", "white", "cream")), 1.0, side, rng)
    pen = _Pen(canvas, rng)
    paper = rng.choices(("plain", "rules", "squares", "browser"), (48, 14, 14, 24))[0]
    if paper == "browser":
        pen.browser()
    elif paper != "plain":
        _rule(canvas, rng, squares=paper == "squares")
    for thing, place in zip(scene.things, sketch_boxes(scene), strict=True):
        match thing.kind:
            case "title":
                draw_letters(canvas, thing, pen.ink, rng)
                pen.underline(place)
            case "button":
                pen.button(place)
            case "list":
                pen.list(place)
            case _:
                pen.image(place)
    return canvas


def _rule(canvas: Image.Image, rng: random.Random, *, squares: bool) -> None:
    """Faint rules or squares, as exercise books have them."""
    side, draw = canvas.width, ImageDraw.Draw(canvas)
    color = mix(rng.choice(_RULES), (255, 255, 255), rng.uniform(0, 0.4))
    step, width = rng.uniform(0.05, 0.09) * side, max(1, round(0.004 * side))
    at = rng.uniform(0, step)
    while at < side:
        draw.line((0, at, side, at), fill=color, width=width)
        if squares:
            draw.line((at, 0, at, side), fill=color, width=width)
        at += step


class _Pen:
    """Draws elements with one ink and one unsteady hand."""

    __slots__ = ("_draw", "_reach", "_rng", "_side", "_twice", "_width", "ink")

    def __init__(self, canvas: Image.Image, rng: random.Random) -> None:
        self.ink = rng.choice(_INKS)
        self._draw, self._side, self._rng = ImageDraw.Draw(canvas), canvas.width, rng
        self._width = max(1, round(rng.uniform(0.009, 0.018) * self._side))
        self._reach = rng.uniform(0.004, 0.018)
        self._twice = rng.random() < 0.2

    def underline(self, place: Box) -> None:
        """Perhaps a line or two below the title."""
        lines = self._rng.choices((0, 1, 2), (55, 35, 10))[0]
        for line in range(lines):
            y = place.y + place.height + 0.014 + 0.018 * line
            self._line([(place.x - place.width, y), (place.x + place.width, y)])

    def button(self, place: Box) -> None:
        """A box with round corners and something like a word in it."""
        corner = place.height * self._rng.choice((0.45, 0.7, 0.98))
        self._closed(soft_box(*_sides(place), corner), cuts=1)
        half = place.width * self._rng.uniform(0.4, 0.62)
        ends = (place.x - half, place.x + half)
        if self._rng.random() < 0.65:
            self._squiggle(ends, place.y, 0.35 * place.height)
        else:
            self._line([(ends[0], place.y), (ends[1], place.y)])

    def list(self, place: Box) -> None:
        """Bullets, each with a line."""
        most = 4 if place.height > 0.1 else 3
        rows = self._rng.randint(2, most)
        step = 2 * place.height / rows
        radius = min(0.25 * step, 0.02) * self._rng.uniform(0.8, 1.1)
        bullet = self._rng.choice(("dot", "dot", "ring", "dash", "square"))
        wavy = self._rng.random() < 0.35
        left, _, right, _ = _sides(place)
        for row in range(rows):
            y = place.y - place.height + (row + 0.5) * step
            self._bullet(bullet, left + radius, y, radius)
            ends = (left + 4 * radius, right - self._rng.uniform(0, 0.5) * place.width)
            if wavy:
                self._squiggle(ends, y, 0.18 * step)
            else:
                self._line([(ends[0], y), (ends[1], y)])

    def image(self, place: Box) -> None:
        """A box with a cross in it, or with mountains and a sun."""
        left, top, right, bottom = _sides(place)
        self._closed(box(left, top, right, bottom))
        if self._rng.random() < 0.5:
            self._line([(left, top), (right, bottom)])
            self._line([(left, bottom), (right, top)])
            return
        across, down = right - left, bottom - top
        peaks = ((0.0, 0.85), (0.32, 0.35), (0.55, 0.7), (0.72, 0.5), (1.0, 0.9))
        flip = self._rng.random() < 0.5
        ridge = [(left + u * across, top + v * down) for u, v in peaks]
        sun = (left + 0.74 * across, top + 0.24 * down)
        if flip:
            ridge = [(left + right - x, y) for x, y in ridge]
            sun = (left + right - sun[0], sun[1])
        self._line(ridge)
        self._closed(disc(*sun, 0.11 * min(across, down)), cuts=1)

    def browser(self) -> None:
        """The frame of a browser: a bar with three dots above the page."""
        bar = self._rng.uniform(0.038, 0.046)
        self._closed(box(0.012, 0.012, 0.988, 0.988))
        self._line([(0.012, bar), (0.988, bar)])
        for index in range(3):
            self._bullet("dot", 0.035 + 0.03 * index, 0.5 * (0.012 + bar), 0.007)

    def _bullet(self, kind: str, x: float, y: float, radius: float) -> None:
        match kind:
            case "dot":
                points = [
                    (each[0] * self._side, each[1] * self._side) for each in disc(x, y, radius)
                ]
                self._draw.polygon(points, fill=self.ink)
            case "ring":
                self._closed(disc(x, y, radius), cuts=1)
            case "dash":
                self._line([(x - radius, y), (x + radius, y)])
            case _:
                self._closed(box(x - radius, y - radius, x + radius, y + radius), cuts=1)

    def _squiggle(self, ends: tuple[float, float], y: float, height: float) -> None:
        left, right = ends
        waves = max(2.0, (right - left) / 0.05)
        steps = round(6 * waves)
        rise = [height * math.sin(2 * math.pi * waves * step / steps) for step in range(steps + 1)]
        points = [(left + (right - left) * n / steps, y + each) for n, each in enumerate(rise)]
        self._stroke(wobbled(points, 0.25 * self._reach, self._rng))

    def _closed(self, points: Sequence[Point], *, cuts: int = 3) -> None:
        self._line([*points, points[0]], cuts=cuts)

    def _line(self, points: Sequence[Point], *, cuts: int = 3) -> None:
        """A line by hand: every edge is cut, and each cut a little off."""
        cut = [
            (x + (u - x) * part / cuts, y + (v - y) * part / cuts)
            for (x, y), (u, v) in pairwise(points)
            for part in range(cuts)
        ]
        extent = max(max(axis) - min(axis) for axis in zip(*points, strict=True))
        reach = min(self._reach, 0.15 * extent)  # what is small is drawn with care
        for _ in range(2 if self._twice else 1):
            moved = wobbled([*cut, points[-1]], reach, self._rng)
            self._stroke(smooth(*moved, closed=False))

    def _stroke(self, points: Sequence[Point]) -> None:
        line = [(x * self._side, y * self._side) for x, y in points]
        self._draw.line(line, fill=self.ink, width=self._width, joint="curve")


def _sides(place: Box) -> tuple[float, float, float, float]:
    """Left, top, right and bottom."""
    return (
        place.x - place.width, place.y - place.height,
        place.x + place.width, place.y + place.height,
    )  # fmt: skip
