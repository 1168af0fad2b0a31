"""What shapes are made of: parts in a box from -1 to 1, y downward, and their points."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

Point = tuple[float, float]
Points = tuple[Point, ...]
Circle = tuple[float, float, float]
"""Centre x, centre y and radius."""
_ROUND = 26
"""Points of an ellipse that is large in its shape."""


@dataclass(frozen=True, slots=True)
class Part:
    """One filled region or one thick line of a shape.

    Attributes:
        role: Which colour of the thing it takes; "body" is the colour of the thing itself.
        points: Corners of a polygon, or the points of a line.
        width: Width of a line in units of the shape; 0 for a polygon.
        edge: Thickness of the outline relative to the outline of the thing; 0 draws none.
        corners: True where the outline has corners that need joining.
    """

    role: str
    points: Points
    width: float = 0.0
    edge: float = 1.0
    corners: bool = False


Shape = tuple[Part, ...]
"""The parts of one variant of a kind, in drawing order."""


def turned(points: Sequence[Point], angle: float, x: float = 0.0, y: float = 0.0) -> Points:
    """Points turned by `angle` radians around the origin, then moved."""
    cosine, sine = math.cos(angle), math.sin(angle)
    return tuple((x + u * cosine - v * sine, y + u * sine + v * cosine) for u, v in points)


def ellipse(
    x: float, y: float, width: float, height: float, turn: float = 0.0, *, count: int = _ROUND
) -> Points:
    """Points of an ellipse with half axes `width` and `height`, turned by `turn` radians."""
    angles = [2 * math.pi * index / count for index in range(count)]
    flat = [(width * math.cos(angle), height * math.sin(angle)) for angle in angles]
    return turned(flat, turn, x, y)


def disc(x: float, y: float, radius: float) -> Points:
    """Points of a disc; small ones have fewer."""
    return ellipse(x, y, radius, radius, count=12 if radius < 0.2 else 20)


def arc(x: float, y: float, width: float, height: float, span: Point, *, count: int = 12) -> Points:
    """Points along an ellipse from one angle to another, in degrees; 90 is the lowest point."""
    (start, end), points = span, []
    for index in range(count + 1):
        angle = math.radians(start + (end - start) * index / count)
        points.append((x + width * math.cos(angle), y + height * math.sin(angle)))
    return tuple(points)


def box(left: float, top: float, right: float, bottom: float) -> Points:
    """Corners of an upright rectangle."""
    return ((left, top), (right, top), (right, bottom), (left, bottom))


def soft_box(left: float, top: float, right: float, bottom: float, radius: float) -> Points:
    """An upright rectangle with round corners."""
    return (
        *arc(left + radius, top + radius, radius, radius, (180, 270), count=4),
        *arc(right - radius, top + radius, radius, radius, (270, 360), count=4),
        *arc(right - radius, bottom - radius, radius, radius, (0, 90), count=4),
        *arc(left + radius, bottom - radius, radius, radius, (90, 180), count=4),
    )


def smooth(*points: Point, closed: bool = True, steps: int = 4) -> Points:
    """A smooth curve through points (Catmull-Rom)."""
    count = len(points)
    last = count if closed else count - 1
    out = []
    for index in range(last):
        picks = (index - 1, index, index + 1, index + 2)
        if closed:
            a, b, c, d = (points[pick % count] for pick in picks)
        else:
            a, b, c, d = (points[min(max(pick, 0), count - 1)] for pick in picks)
        for step in range(steps):
            t = step / steps
            out.append((_spline(a[0], b[0], c[0], d[0], t), _spline(a[1], b[1], c[1], d[1], t)))
    if not closed:
        out.append(points[-1])
    return tuple(out)


def _spline(a: float, b: float, c: float, d: float, t: float) -> float:
    slope, bend, twist = c - a, 2 * a - 5 * b + 4 * c - d, 3 * b - a - 3 * c + d
    return b + 0.5 * t * (slope + t * (bend + t * twist))


def wobbled(points: Sequence[Point], reach: float, rng: random.Random) -> list[Point]:
    """Points each moved by up to half of `reach` along both axes: no hand is steady."""
    draw = rng.random
    return [(x + reach * (draw() - 0.5), y + reach * (draw() - 0.5)) for x, y in points]


def union(
    circles: Sequence[Circle], x: float, y: float, *, floor: float = 2.0, count: int = 56
) -> Points:
    """Outline of the union of circles around (x, y), cut off below `floor`.

    The farthest point on each ray from (x, y) is kept, which is the outline as long as every
    circle is seen from there.
    """
    points = []
    for index in range(count):
        angle = 2 * math.pi * index / count
        u, v = math.cos(angle), math.sin(angle)
        reach = 0.0
        for center_x, center_y, radius in circles:
            along = (center_x - x) * u + (center_y - y) * v
            inside = radius**2 - (center_x - x) ** 2 - (center_y - y) ** 2 + along**2
            if inside >= 0:
                reach = max(reach, along + math.sqrt(inside))
        if v > 0:
            reach = min(reach, (floor - y) / v)
        points.append((x + reach * u, y + reach * v))
    return tuple(points)
