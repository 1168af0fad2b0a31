"""Circle, square, triangle, star and heart; and in the sky sun, moon and cloud."""

import math
from collections.abc import Sequence

from train.cartoon.parts import (
    Circle,
    Part,
    Points,
    Shape,
    arc,
    box,
    disc,
    ellipse,
    smooth,
    soft_box,
    turned,
    union,
)


def _body(points: Points, *, corners: bool = False) -> Shape:
    return (Part("body", points, corners=corners),)


def _star(rays: int, inner: float, drop: float = 0.0) -> Points:
    points = []
    for index in range(2 * rays):
        angle = math.pi * index / rays
        reach = inner if index % 2 else 1.04
        points.append((reach * math.sin(angle), drop - reach * math.cos(angle)))
    return tuple(points)


def _soft_star() -> Points:
    """A star whose points are blunt, as of biscuit."""
    points = []
    for index in range(5):
        for shift, reach in ((-0.1, 0.98), (0.1, 0.98), (math.pi / 5, 0.54)):
            angle = 2 * math.pi * index / 5 + shift
            points.append((reach * math.sin(angle), 0.05 - reach * math.cos(angle)))
    return tuple(points)


def _heart(waist: float) -> Points:
    points = []
    for index in range(36):
        angle = 2 * math.pi * index / 36
        x = math.sin(angle) ** 3
        y = 13 * math.cos(angle) - 5 * math.cos(2 * angle)
        y -= 2 * math.cos(3 * angle) + math.cos(4 * angle)
        points.append((waist * x, -(y + 2.5) / 15.2))
    return tuple(points)


def _plump_heart() -> Points:
    """Two half discs on a triangle, as fonts draw it."""
    return (
        *arc(-0.48, -0.4, 0.5, 0.5, (155, 350), count=12),
        *arc(0.48, -0.4, 0.5, 0.5, (190, 385), count=12),
        (0.0, 0.95),
    )


def _crescent(bite: float, bite_radius: float, tilt: float) -> Points:
    """A disc with another bitten out of its right side, tilted by radians."""
    count = 18
    tip_x = (bite**2 + 1 - bite_radius**2) / (2 * bite)
    tip = math.acos(tip_x)
    bite_tip = math.acos((tip_x - bite) / bite_radius)
    points = []
    for index in range(count + 1):
        angle = tip + (2 * math.pi - 2 * tip) * index / count
        points.append((math.cos(angle), math.sin(angle)))
    for index in range(1, count):
        angle = 2 * math.pi - bite_tip - (2 * math.pi - 2 * bite_tip) * index / count
        points.append((bite + bite_radius * math.cos(angle), bite_radius * math.sin(angle)))
    tilted = turned(points, tilt)
    across, down = [x for x, _ in tilted], [y for _, y in tilted]
    x, y = (min(across) + max(across)) / 2, (min(down) + max(down)) / 2
    reach = max(max(across) - x, max(down) - y)
    return tuple(((u - x) / reach, (v - y) / reach) for u, v in tilted)


def _wedges(count: int, base: float, spread: float) -> Shape:
    """Triangular rays from `base` outward."""
    rays = []
    for index in range(count):
        turn = 2 * math.pi * index / count
        ray = ((base, -spread), (1.04, 0.0), (base, spread))
        rays.append(Part("body", turned(ray, turn), edge=0.5))
    return tuple(rays)


def _strokes(count: int, start: float, width: float, *, short: float = 1.0) -> Shape:
    """Rays that are lines, every second of them shorter if `short` is below 1."""
    rays = []
    for index in range(count):
        turn = 2 * math.pi * index / count
        end = 1.0 if index % 2 else short
        rays.append(Part("body", turned(((start, 0.0), (end, 0.0)), turn), width=width))
    return tuple(rays)


def _waves(count: int) -> Shape:
    """Rays that bend like flames."""
    rays = []
    for index in range(count):
        turn = 2 * math.pi * index / count
        flame = ((0.5, -0.16), (0.72, -0.2), (0.86, -0.08), (1.04, 0.06), (0.78, 0.1), (0.5, 0.17))
        rays.append(Part("body", turned(flame, turn), edge=0.5))
    return tuple(rays)


def _zigzag(count: int, inner: float) -> Points:
    points = []
    for index in range(2 * count):
        angle = math.pi * index / count
        reach = inner if index % 2 else 1.02
        points.append((reach * math.cos(angle), reach * math.sin(angle)))
    return tuple(points)


_SMILE: Shape = (
    Part("detail", disc(-0.2, -0.12, 0.07), edge=0),
    Part("detail", disc(0.2, -0.12, 0.07), edge=0),
    Part("detail", arc(0, 0.03, 0.27, 0.22, (20, 160), count=6), width=0.07),
)

_BASE: tuple[Circle, ...] = ((-0.4, 1.1, 0.8), (0.0, 1.1, 0.9), (0.4, 1.1, 0.8))


def _cloud(circles: Sequence[Circle], floor: float) -> Points:
    """Bumps on a flat floor."""
    return union((*circles, *_BASE), 0, 0.2, floor=floor)


GEOMETRIC: dict[str, tuple[Shape, ...]] = {
    "circle": (_body(ellipse(0, 0, 0.98, 0.98, count=36)),),
    "square": (
        _body(box(-0.88, -0.88, 0.88, 0.88), corners=True),
        _body(box(-0.92, -0.92, 0.92, 0.92), corners=True),
        _body(soft_box(-0.9, -0.9, 0.9, 0.9, 0.16)),
    ),
    "triangle": (
        _body(((0, -0.95), (1.0, 0.82), (-1.0, 0.82)), corners=True),
        _body(((0, -1.0), (0.86, 0.9), (-0.86, 0.9)), corners=True),
        _body(((0, -0.8), (1.02, 0.72), (-1.02, 0.72)), corners=True),
        _body(((-0.2, -0.95), (0.95, 0.85), (-0.95, 0.85)), corners=True),
    ),
    "star": (
        _body(_star(5, 0.44, 0.08), corners=True),
        _body(_star(5, 0.4, 0.08), corners=True),
        _body(_star(5, 0.52, 0.08), corners=True),
        _body(_soft_star()),
        _body(_star(5, 0.46, 0.08), corners=True),
        _body(_star(6, 0.56), corners=True),
        _body(_star(4, 0.4), corners=True),
    ),
    "heart": (
        _body(_heart(0.98)),
        _body(_plump_heart()),
        _body(_heart(0.86)),
    ),
}  # fmt: skip

SKY: dict[str, tuple[Shape, ...]] = {
    "sun": (
        (*_wedges(10, 0.56, 0.16), Part("body", disc(0, 0, 0.58))),
        (*_wedges(8, 0.66, 0.17), Part("body", disc(0, 0, 0.55))),
        (*_wedges(12, 0.6, 0.13), Part("body", disc(0, 0, 0.6)), *_SMILE),
        (*_strokes(8, 0.68, 0.13), Part("body", disc(0, 0, 0.55))),
        (*_strokes(12, 0.7, 0.1, short=0.9), Part("body", disc(0, 0, 0.58))),
        (*_waves(9), Part("body", disc(0, 0, 0.57))),
        _body(_zigzag(11, 0.64), corners=True),
    ),
    "moon": (
        _body(_crescent(0.5, 0.82, -0.3)),
        _body(_crescent(0.42, 0.86, 0.2)),
        _body(_crescent(0.62, 0.84, 0.0)),
        _body(_crescent(0.5, 0.95, -0.45)),
    ),
    "cloud": (
        _body(_cloud(((-0.63, 0.17, 0.35), (-0.22, -0.2, 0.44), (0.32, -0.08, 0.38),
                      (0.68, 0.22, 0.3)), 0.52)),
        _body(_cloud(((-0.68, 0.2, 0.3), (-0.36, -0.12, 0.36), (0.2, -0.24, 0.42),
                      (0.64, 0.14, 0.36)), 0.5)),
        _body(_cloud(((-0.6, 0.16, 0.36), (0.02, -0.18, 0.5), (0.62, 0.16, 0.36)), 0.52)),
        _body(smooth((-0.95, 0.2), (-0.72, -0.16), (-0.5, -0.16), (-0.3, -0.5), (0.12, -0.54),
                     (0.34, -0.24), (0.62, -0.3), (0.78, -0.02), (0.98, 0.2), (0.8, 0.5),
                     (0.5, 0.46), (0.2, 0.6), (-0.2, 0.5), (-0.5, 0.58), (-0.84, 0.5), steps=3)),
        _body(union(((-0.62, 0.1, 0.34), (-0.28, -0.22, 0.36), (0.2, -0.26, 0.4),
                     (0.64, 0.02, 0.34), (0.3, 0.26, 0.36), (-0.26, 0.28, 0.36)), 0, 0)),
    ),
}  # fmt: skip
