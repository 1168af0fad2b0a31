"""Unit shapes of every kind, as tables of polygons and discs in a box from -1 to 1.

y points downward, as on a canvas. `draw.py` turns, stretches and colours the parts; a part names
its colour by a role ("body" is the colour of the thing itself).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

Point = tuple[float, float]
Circle = tuple[float, float, float]
"""Centre x, centre y and radius."""


@dataclass(frozen=True, slots=True)
class Part:
    """One filled region of a shape.

    Attributes:
        role: Which colour of the thing fills the region.
        points: Corners of a polygon, or the centre alone of a disc.
        radius: Radius of a disc; 0 for a polygon.
        edge: Thickness of the outline relative to the outline of the thing; 0 draws none.
        corners: True where the outline has corners that need joining.
    """

    role: str
    points: tuple[Point, ...]
    radius: float = 0.0
    edge: float = 1.0
    corners: bool = False


def _ellipse(
    x: float, y: float, width: float, height: float, *, turn: float = 0.0, count: int = 44
) -> tuple[Point, ...]:
    """Points of an ellipse with half axes `width` and `height`, turned by `turn` radians."""
    cosine, sine = math.cos(turn), math.sin(turn)
    points = []
    for index in range(count):
        angle = 2 * math.pi * index / count
        u, v = width * math.cos(angle), height * math.sin(angle)
        points.append((x + u * cosine - v * sine, y + u * sine + v * cosine))
    return tuple(points)


def _box(left: float, top: float, right: float, bottom: float) -> tuple[Point, ...]:
    return ((left, top), (right, top), (right, bottom), (left, bottom))


def _union(
    circles: Sequence[Circle], x: float, y: float, *, floor: float = 2.0, count: int = 72
) -> tuple[Point, ...]:
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


def _star() -> tuple[Point, ...]:
    points = []
    for index in range(10):
        angle = math.pi * index / 5
        reach = 0.46 if index % 2 else 1.05
        points.append((reach * math.sin(angle), 0.08 - reach * math.cos(angle)))
    return tuple(points)


def _heart() -> tuple[Point, ...]:
    points = []
    for index in range(44):
        angle = 2 * math.pi * index / 44
        x = 16 * math.sin(angle) ** 3
        y = 13 * math.cos(angle) - 5 * math.cos(2 * angle)
        y -= 2 * math.cos(3 * angle) + math.cos(4 * angle)
        points.append((x / 16.5, -(y + 2.5) / 15.2))
    return tuple(points)


def _crescent() -> tuple[Point, ...]:
    """A disc with a smaller disc bitten out of its right side, tilted a little."""
    bite, bite_radius, count = 0.5, 0.82, 24
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
    cosine, sine = math.cos(0.3), math.sin(0.3)
    turned = [(x + 0.2, y) for x, y in points]
    return tuple((x * cosine + y * sine, y * cosine - x * sine) for x, y in turned)


def _sun(*, count: int, reach: float, base: float, spread: float) -> tuple[Part, ...]:
    """Wedge rays from `base` to 1 around a disc of radius `reach`."""
    rays = []
    for index in range(count):
        angle = 2 * math.pi * index / count
        left, right = angle - spread, angle + spread
        ray = (
            (base * math.cos(left), base * math.sin(left)),
            (1.04 * math.cos(angle), 1.04 * math.sin(angle)),
            (base * math.cos(right), base * math.sin(right)),
        )
        rays.append(Part("body", ray, edge=0.7))
    return (*rays, Part("body", _ellipse(0, 0, reach, reach)))


def _flower(petals: int, reach: float, radius: float) -> tuple[Part, ...]:
    y = -0.33
    circles = [
        (
            reach * math.sin(2 * math.pi * index / petals),
            y - reach * math.cos(2 * math.pi * index / petals),
            radius,
        )
        for index in range(petals)
    ]
    return (
        Part("stem", _box(-0.06, 0.1, 0.06, 1.0), edge=0.5),
        Part("stem", _ellipse(0.3, 0.68, 0.3, 0.12, turn=-0.5, count=16), edge=0.5),
        Part("body", _union(circles, 0, y)),
        Part("center", ((0, y),), radius=0.2, edge=0.6),
    )


_CLOUD = _union(
    ((-0.63, 0.17, 0.35), (-0.22, -0.2, 0.44), (0.32, -0.08, 0.38), (0.68, 0.22, 0.3),
     (-0.4, 1.1, 0.8), (0.0, 1.1, 0.9), (0.4, 1.1, 0.8)),
    0,
    0.2,
    floor=0.52,
)  # fmt: skip
_WIDE_CLOUD = _union(
    ((-0.68, 0.2, 0.3), (-0.36, -0.12, 0.36), (0.2, -0.24, 0.42), (0.64, 0.14, 0.36),
     (-0.4, 1.1, 0.8), (0.0, 1.1, 0.9), (0.4, 1.1, 0.8)),
    0,
    0.2,
    floor=0.5,
)  # fmt: skip
_CROWN = _union(
    (
        (0, -0.68, 0.34),
        (0.42, -0.48, 0.34),
        (0.46, -0.06, 0.34),
        (0, 0.08, 0.36),
        (-0.46, -0.06, 0.34),
        (-0.42, -0.48, 0.34),
    ),
    0,
    -0.3,
)
_FIR = (
    (0, -1.0), (0.45, -0.42), (0.25, -0.42), (0.64, 0.08), (0.38, 0.08), (0.82, 0.6),
    (-0.82, 0.6), (-0.38, 0.08), (-0.64, 0.08), (-0.25, -0.42), (-0.45, -0.42),
)  # fmt: skip
_CAR = (
    (-1.0, 0.0), (-0.95, -0.1), (-0.62, -0.14), (-0.38, -0.6), (-0.28, -0.66), (0.32, -0.66),
    (0.42, -0.6), (0.66, -0.12), (0.96, -0.02), (1.0, 0.08), (1.0, 0.42), (0.95, 0.48),
    (-0.95, 0.48), (-1.0, 0.42),
)  # fmt: skip
_HOUSE = (
    Part("body", _box(-0.8, -0.26, 0.8, 1.0), corners=True),
    Part("roof", ((-1.0, -0.24), (0, -0.98), (1.0, -0.24)), corners=True),
)

SHAPES: dict[str, tuple[tuple[Part, ...], ...]] = {
    "circle": ((Part("body", _ellipse(0, 0, 0.98, 0.98)),),),
    "square": ((Part("body", _box(-0.88, -0.88, 0.88, 0.88), corners=True),),),
    "triangle": (
        (Part("body", ((0, -0.95), (1.0, 0.82), (-1.0, 0.82)), corners=True),),
    ),
    "star": ((Part("body", _star(), corners=True),),),
    "heart": ((Part("body", _heart()),),),
    "tree": (
        (
            Part("trunk", _box(-0.17, 0.2, 0.17, 1.0), corners=True),
            Part("body", _CROWN),
        ),
        (
            Part("trunk", _box(-0.16, 0.5, 0.16, 1.0), corners=True),
            Part("body", _FIR, corners=True),
        ),
    ),
    "house": (
        (
            *_HOUSE,
            Part("door", _box(-0.5, 0.38, -0.1, 1.0), edge=0.6),
            Part("glass", _box(0.16, 0.16, 0.54, 0.54), edge=0.6),
        ),
        (
            *_HOUSE,
            Part("door", _box(-0.18, 0.42, 0.18, 1.0), edge=0.6),
            Part("glass", _box(-0.6, 0.14, -0.3, 0.46), edge=0.6),
            Part("glass", _box(0.3, 0.14, 0.6, 0.46), edge=0.6),
        ),
    ),
    "car": (
        (
            Part("body", _CAR, corners=True),
            Part("glass", ((-0.46, -0.12), (-0.26, -0.5), (-0.04, -0.5), (-0.04, -0.12)), edge=0.6),
            Part("glass", ((0.08, -0.12), (0.08, -0.5), (0.3, -0.5), (0.5, -0.12)), edge=0.6),
            Part("tire", ((-0.54, 0.48),), radius=0.27, edge=0.6),
            Part("tire", ((0.54, 0.48),), radius=0.27, edge=0.6),
            Part("hub", ((-0.54, 0.48),), radius=0.12, edge=0),
            Part("hub", ((0.54, 0.48),), radius=0.12, edge=0),
        ),
    ),
    "sun": (
        _sun(count=10, reach=0.58, base=0.5, spread=0.26),
        _sun(count=8, reach=0.54, base=0.66, spread=0.22),
        _sun(count=12, reach=0.6, base=0.54, spread=0.2),
    ),
    "cloud": ((Part("body", _CLOUD),), (Part("body", _WIDE_CLOUD),)),
    "flower": (_flower(5, 0.37, 0.33), _flower(6, 0.4, 0.3)),
    "fish": (
        (
            Part("body", ((0.4, 0.0), (1.0, -0.52), (0.86, 0.0), (1.0, 0.52)), corners=True),
            Part("body", ((-0.3, -0.4), (0.2, -0.72), (0.35, -0.3)), corners=True),
            Part("body", _ellipse(-0.22, 0, 0.78, 0.54)),
            Part("eye", ((-0.58, -0.14),), radius=0.15, edge=0.5),
            Part("pupil", ((-0.6, -0.14),), radius=0.08, edge=0),
        ),
    ),
    "boat": (
        (
            Part("mast", _box(-0.06, -1.0, 0.06, 0.36), edge=0.5),
            Part("sail", ((0.12, -0.92), (0.84, 0.12), (0.12, 0.12)), edge=0.8, corners=True),
            Part("sail", ((-0.12, -0.7), (-0.12, 0.12), (-0.66, 0.12)), edge=0.8, corners=True),
            Part("body", ((-1.0, 0.28), (1.0, 0.28), (0.66, 0.94), (-0.62, 0.94)), corners=True),
        ),
        (
            Part("mast", _box(-0.06, -1.0, 0.06, 0.36), edge=0.5),
            Part("sail", ((0.06, -0.96), (0.8, 0.08), (0.06, 0.08)), edge=0.8, corners=True),
            Part("body", ((-1.0, 0.22), (1.0, 0.22), (0.66, 0.94), (-0.62, 0.94)), corners=True),
        ),
    ),
    "moon": ((Part("body", _crescent()),),),
}  # fmt: skip
"""Kind -> its variants, each a tuple of parts in drawing order. A sign depends on its word."""

MIRRORED = frozenset({"house", "car", "fish", "boat", "moon", "flower", "cloud"})
"""Kinds that look to the left as often as to the right."""

UPRIGHT = frozenset({"house", "tree", "car", "boat", "cloud"})
"""Kinds that lean only a little."""

# Letters on a grid of 3 by 5 points, rows from the top.
LETTERS = {
    "A": ("010", "101", "111", "101", "101"),
    "C": ("111", "100", "100", "100", "111"),
    "E": ("111", "100", "110", "100", "111"),
    "F": ("111", "100", "110", "100", "100"),
    "H": ("101", "101", "111", "101", "101"),
    "I": ("111", "010", "010", "010", "111"),
    "L": ("100", "100", "100", "100", "111"),
    "N": ("111", "101", "101", "101", "101"),
    "O": ("111", "101", "101", "101", "111"),
    "P": ("111", "101", "111", "100", "100"),
    "S": ("111", "100", "111", "001", "111"),
    "T": ("111", "010", "010", "010", "010"),
    "X": ("101", "101", "010", "101", "101"),
}
STROKES: dict[str, tuple[tuple[Point, ...], ...]] = {
    "A": (((0, 4), (0, 1.4), (1, 0), (2, 1.4), (2, 4)), ((0, 2.6), (2, 2.6))),
    "C": (((2, 0), (0.5, 0), (0, 0.6), (0, 3.4), (0.5, 4), (2, 4)),),
    "E": (((2, 0), (0, 0), (0, 4), (2, 4)), ((0, 2), (1.6, 2))),
    "F": (((2, 0), (0, 0), (0, 4)), ((0, 2), (1.6, 2))),
    "H": (((0, 0), (0, 4)), ((2, 0), (2, 4)), ((0, 2), (2, 2))),
    "I": (((0, 0), (2, 0)), ((1, 0), (1, 4)), ((0, 4), (2, 4))),
    "L": (((0, 0), (0, 4), (2, 4)),),
    "N": (((0, 4), (0, 0), (2, 4), (2, 0)),),
    "O": (((0.6, 0), (1.4, 0), (2, 0.6), (2, 3.4), (1.4, 4), (0.6, 4), (0, 3.4), (0, 0.6),
           (0.6, 0)),),
    "P": (((0, 4), (0, 0), (1.5, 0), (2, 0.5), (2, 1.6), (1.5, 2.1), (0, 2.1)),),
    "S": (((2, 0), (0.5, 0), (0, 0.5), (0, 1.5), (0.5, 2), (1.5, 2), (2, 2.5), (2, 3.5), (1.5, 4),
           (0, 4)),),
    "T": (((0, 0), (2, 0)), ((1, 0), (1, 4))),
    "X": (((0, 0), (2, 4)), ((2, 0), (0, 4))),
}  # fmt: skip
