"""What grows: tree, flower and apple, each as different people draw it."""

import math

from train.cartoon.parts import Part, Points, Shape, arc, box, disc, ellipse, smooth, turned, union


def _ring(count: int, x: float, y: float, reach: float, radius: float) -> Points:
    circles = [
        (
            x + reach * math.sin(2 * math.pi * index / count),
            y - reach * math.cos(2 * math.pi * index / count),
            radius,
        )
        for index in range(count)
    ]
    return union(circles, x, y)


def _petals(count: int, y: float, reach: float, width: float) -> Shape:
    """Long petals, one part each."""
    petals = []
    for index in range(count):
        turn = 2 * math.pi * index / count - math.pi / 2
        petal = [(0.1 * reach + reach * (0.5 + 0.5 * u), width * v) for u, v in _UNIT]
        petals.append(Part("body", turned(petal, turn, 0, y), edge=0.7))
    return tuple(petals)


_UNIT = ellipse(0, 0, 1, 1, count=14)
_STEM: Shape = (
    Part("stem", box(-0.06, 0.1, 0.06, 1.0), edge=0.5),
    Part("stem", ellipse(0.28, 0.7, 0.28, 0.12, -0.5, count=14), edge=0.5),
)
_TWO_LEAVES: Shape = (
    *_STEM,
    Part("stem", ellipse(-0.26, 0.62, 0.26, 0.11, 0.6, count=14), edge=0.5),
)

_TREES: tuple[Shape, ...] = (
    (
        Part("trunk", box(-0.16, 0.2, 0.16, 1.0), corners=True),
        Part("body", _ring(6, 0, -0.3, 0.44, 0.34)),
    ),
    (  # a fir
        Part("trunk", box(-0.15, 0.5, 0.15, 1.0), corners=True),
        Part("body", ((0, -1.0), (0.45, -0.42), (0.25, -0.42), (0.64, 0.08), (0.38, 0.08),
                      (0.82, 0.62), (-0.82, 0.62), (-0.38, 0.08), (-0.64, 0.08), (-0.25, -0.42),
                      (-0.45, -0.42)), corners=True),
    ),
    (  # a lollipop
        Part("trunk", ((-0.12, 0.1), (0.12, 0.1), (0.18, 1.0), (-0.18, 1.0)), corners=True),
        Part("body", ellipse(0, -0.28, 0.74, 0.72)),
    ),
    (  # three crowns
        Part("trunk", ((-0.12, 0.0), (0.12, 0.0), (0.2, 1.0), (-0.2, 1.0)), corners=True),
        Part("trunk", ((0.0, 0.4), (0.42, 0.02)), width=0.12),
        Part("trunk", ((0.0, 0.4), (-0.42, 0.02)), width=0.12),
        Part("body", disc(-0.48, -0.1, 0.46)),
        Part("body", disc(0.48, -0.1, 0.46)),
        Part("body", disc(0, -0.5, 0.5)),
    ),
    (  # a pointed cone
        Part("trunk", box(-0.13, 0.5, 0.13, 1.0), corners=True),
        Part("body", ((0, -1.0), (0.66, 0.6), (-0.66, 0.6)), corners=True),
        Part("shade", ((-0.24, -0.42), (0.24, -0.42), (0.32, -0.22)), edge=0),
        Part("shade", ((-0.44, 0.06), (0.44, 0.06), (0.54, 0.3)), edge=0),
    ),
)  # fmt: skip

_FLOWERS: tuple[Shape, ...] = (
    (*_STEM, Part("body", _ring(5, 0, -0.33, 0.37, 0.33)),
     Part("center", disc(0, -0.33, 0.2), edge=0.6)),
    (*_TWO_LEAVES, Part("body", _ring(6, 0, -0.33, 0.4, 0.3)),
     Part("center", disc(0, -0.33, 0.21), edge=0.6)),
    (*_STEM, *_petals(8, -0.32, 0.6, 0.2), Part("center", disc(0, -0.32, 0.22), edge=0.6)),
    (Part("body", _ring(5, 0, 0, 0.56, 0.46)), Part("center", disc(0, 0, 0.28), edge=0.6)),
    (*_petals(7, 0.0, 0.92, 0.3), Part("center", disc(0, 0, 0.3), edge=0.6)),
    (  # a tulip
        *_TWO_LEAVES,
        Part("body", ((-0.56, -0.92), (-0.26, -0.6), (0, -0.98), (0.26, -0.6), (0.56, -0.92),
                      *arc(0, -0.3, 0.58, 0.54, (0, 180), count=12)), corners=True),
    ),
)  # fmt: skip

_APPLE = smooth(
    (0.0, -0.5), (0.3, -0.66), (0.7, -0.56), (0.92, -0.12), (0.8, 0.42), (0.46, 0.86), (0.2, 0.94),
    (0.0, 0.86), (-0.2, 0.94), (-0.46, 0.86), (-0.8, 0.42), (-0.92, -0.12), (-0.7, -0.56),
    (-0.3, -0.66), steps=3,
)  # fmt: skip
_ROUND_APPLE = smooth(
    (0.0, -0.46), (0.4, -0.64), (0.8, -0.44), (0.94, 0.06), (0.76, 0.6), (0.36, 0.92), (0.0, 0.86),
    (-0.36, 0.92), (-0.76, 0.6), (-0.94, 0.06), (-0.8, -0.44), (-0.4, -0.64), steps=3,
)  # fmt: skip
_APPLES: tuple[Shape, ...] = (
    (
        Part("body", _APPLE),
        Part("trunk", smooth((0.0, -0.46), (0.04, -0.76), (0.16, -0.98), closed=False), width=0.12),
        Part("leaf", smooth((0.1, -0.72), (0.34, -1.0), (0.68, -0.96), (0.44, -0.7), steps=3),
             edge=0.6),
    ),
    (
        Part("body", _ROUND_APPLE),
        Part("trunk", ((0.0, -0.44), (0.06, -0.96)), width=0.13),
        Part("leaf", ellipse(-0.3, -0.8, 0.3, 0.14, 0.35, count=14), edge=0.6),
        Part("shine", ellipse(-0.5, -0.12, 0.12, 0.24, 0.4, count=12), edge=0),
    ),
    (  # without a leaf
        Part("body", _ROUND_APPLE),
        Part("trunk", smooth((0.0, -0.42), (0.02, -0.74), (0.2, -1.0), closed=False), width=0.14),
        Part("rib", arc(0, -0.6, 0.3, 0.2, (30, 150), count=6), width=0.06),
    ),
    (
        Part("body", _APPLE),
        Part("trunk", ((0.0, -0.44), (-0.06, -0.94)), width=0.12),
        Part("leaf", smooth((0.0, -0.6), (0.2, -0.94), (0.62, -0.96), (0.42, -0.62), steps=3),
             edge=0.6),
        Part("shine", ellipse(0.52, -0.2, 0.13, 0.2, -0.5, count=12), edge=0),
    ),
)  # fmt: skip

PLANTS: dict[str, tuple[Shape, ...]] = {"tree": _TREES, "flower": _FLOWERS, "apple": _APPLES}
