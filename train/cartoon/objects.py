"""Things people make: house, car, boat, cup, umbrella, each as different people draw it."""

from train.cartoon.parts import Part, Shape, arc, box, disc, ellipse, smooth, soft_box

_WALLS: Shape = (
    Part("body", box(-0.8, -0.24, 0.8, 1.0), corners=True),
    Part("roof", ((-1.0, -0.22), (0, -0.98), (1.0, -0.22)), corners=True),
)
_CHIMNEY = Part("roof", box(0.36, -0.95, 0.6, -0.4), corners=True)


def _wheels(left: float, right: float, y: float, radius: float) -> Shape:
    return (
        Part("tire", disc(left, y, radius), edge=0.6),
        Part("tire", disc(right, y, radius), edge=0.6),
        Part("hub", disc(left, y, 0.42 * radius), edge=0),
        Part("hub", disc(right, y, 0.42 * radius), edge=0),
    )


_HOUSES: tuple[Shape, ...] = (
    (
        *_WALLS,
        Part("door", box(-0.5, 0.38, -0.12, 1.0), edge=0.6),
        Part("glass", box(0.14, 0.16, 0.54, 0.56), edge=0.6),
        Part("frame", ((0.34, 0.16), (0.34, 0.56)), width=0.05),
        Part("frame", ((0.14, 0.36), (0.54, 0.36)), width=0.05),
    ),
    (
        _CHIMNEY,
        *_WALLS,
        Part("door", box(-0.18, 0.4, 0.18, 1.0), edge=0.6),
        Part("glass", box(-0.62, 0.12, -0.3, 0.44), edge=0.6),
        Part("glass", box(0.3, 0.12, 0.62, 0.44), edge=0.6),
    ),
    (  # tall, two floors, a flat slope
        Part("roof", box(-0.5, -1.0, -0.3, -0.56), corners=True),
        Part("body", box(-0.66, -0.4, 0.66, 1.0), corners=True),
        Part("roof", ((-0.84, -0.38), (-0.5, -0.8), (0.5, -0.8), (0.84, -0.38)), corners=True),
        Part("door", box(-0.16, 0.5, 0.16, 1.0), edge=0.6),
        Part("glass", box(-0.48, -0.2, -0.2, 0.1), edge=0.6),
        Part("glass", box(0.2, -0.2, 0.48, 0.1), edge=0.6),
    ),
    (  # a wide one with its wall up into the gable
        Part("body", ((-0.88, 1.0), (-0.88, -0.02), (0, -0.84), (0.88, -0.02), (0.88, 1.0)),
             corners=True),
        Part("roof", ((-1.04, 0.02), (0.0, -0.98), (1.04, 0.02), (0.9, 0.18), (0, -0.68),
                      (-0.9, 0.18)), corners=True),
        Part("door", box(0.1, 0.36, 0.46, 1.0), edge=0.6),
        Part("glass", box(-0.58, 0.34, -0.16, 0.68), edge=0.6),
        Part("glass", disc(0, -0.2, 0.16), edge=0.6),
    ),
)  # fmt: skip

_CARS: tuple[Shape, ...] = (
    (
        Part("body", (
            (-1.0, 0.0), (-0.95, -0.1), (-0.62, -0.14), (-0.38, -0.6), (-0.28, -0.66),
            (0.32, -0.66), (0.42, -0.6), (0.66, -0.12), (0.96, -0.02), (1.0, 0.08), (1.0, 0.42),
            (0.95, 0.48), (-0.95, 0.48), (-1.0, 0.42)), corners=True),
        Part("glass", ((-0.46, -0.12), (-0.26, -0.5), (-0.04, -0.5), (-0.04, -0.12)), edge=0.6),
        Part("glass", ((0.08, -0.12), (0.08, -0.5), (0.3, -0.5), (0.5, -0.12)), edge=0.6),
        *_wheels(-0.54, 0.54, 0.48, 0.27),
    ),
    (  # round, like a beetle
        Part("body", smooth((-1.0, 0.42), (-0.98, 0.04), (-0.66, -0.14), (-0.4, -0.56),
                            (0.1, -0.72), (0.56, -0.5), (0.8, -0.04), (1.0, 0.2), (1.0, 0.46),
                            (0.4, 0.5), (-0.4, 0.5))),
        Part("glass", smooth((-0.46, -0.14), (-0.3, -0.44), (-0.02, -0.54), (-0.02, -0.14),
                             steps=2), edge=0.6),
        Part("glass", smooth((0.12, -0.14), (0.12, -0.54), (0.4, -0.42), (0.56, -0.14), steps=2),
             edge=0.6),
        Part("light", disc(-0.88, 0.16, 0.09), edge=0.4),
        *_wheels(-0.54, 0.54, 0.48, 0.28),
    ),
    (  # two boxes, as children draw it
        Part("body", ((-0.56, -0.1), (-0.44, -0.62), (0.44, -0.62), (0.56, -0.1)), corners=True),
        Part("body", soft_box(-1.0, -0.14, 1.0, 0.46, 0.14)),
        Part("glass", ((-0.42, -0.16), (-0.34, -0.5), (-0.06, -0.5), (-0.06, -0.16)), edge=0.6),
        Part("glass", ((0.06, -0.16), (0.06, -0.5), (0.34, -0.5), (0.42, -0.16)), edge=0.6),
        Part("light", box(-1.0, 0.02, -0.84, 0.18), edge=0.4),
        *_wheels(-0.52, 0.52, 0.46, 0.26),
    ),
    (  # a van
        Part("body", ((-1.0, 0.04), (-0.76, -0.06), (-0.52, -0.66), (0.96, -0.66), (1.0, -0.6),
                      (1.0, 0.48), (-1.0, 0.48)), corners=True),
        Part("glass", ((-0.6, -0.08), (-0.42, -0.5), (-0.14, -0.5), (-0.14, -0.08)), edge=0.6),
        Part("glass", box(0.02, -0.5, 0.4, -0.08), edge=0.6),
        Part("glass", box(0.52, -0.5, 0.86, -0.08), edge=0.6),
        *_wheels(-0.56, 0.58, 0.48, 0.26),
    ),
)  # fmt: skip

_HULL = ((-1.0, 0.3), (1.0, 0.3), (0.66, 0.96), (-0.62, 0.96))
_BOATS: tuple[Shape, ...] = (
    (
        Part("mast", box(-0.06, -1.0, 0.06, 0.4), edge=0.5),
        Part("sail", ((0.12, -0.92), (0.8, 0.14), (0.12, 0.14)), edge=0.8, corners=True),
        Part("sail", ((-0.12, -0.7), (-0.12, 0.14), (-0.6, 0.14)), edge=0.8, corners=True),
        Part("body", ((-1.0, 0.26), (1.0, 0.26), (0.7, 0.96), (-0.66, 0.96)), corners=True),
    ),
    (
        Part("mast", box(-0.06, -1.0, 0.06, 0.36), edge=0.5),
        Part("cloth", ((0.06, -0.96), (0.84, 0.12), (0.06, 0.12)), edge=0.8, corners=True),
        Part("body", _HULL, corners=True),
    ),
    (  # one big sail, a round hull
        Part("mast", box(-0.05, -0.98, 0.05, 0.4), edge=0.5),
        Part("cloth", smooth((-0.02, -0.9), (0.5, -0.5), (0.74, 0.12), (0.3, 0.16), (-0.02, 0.14),
                             steps=3), edge=0.8),
        Part("cloth", ((-0.14, -0.76), (-0.14, 0.12), (-0.66, 0.12)), edge=0.8, corners=True),
        Part("body", ((-1.0, 0.28), *arc(0, 0.28, 1.0, 0.66, (0, 180), count=14)), corners=True),
    ),
    (  # a rowing boat with a flag
        Part("mast", box(-0.06, -0.86, 0.06, 0.2), edge=0.4),
        Part("body", ((0.06, -0.86), (0.62, -0.66), (0.06, -0.44)), edge=0.7, corners=True),
        Part("body", ((-1.04, -0.06), *smooth((-0.6, 0.14), (0.0, 0.18), (0.6, 0.14),
             closed=False), (1.04, -0.06), *smooth((0.7, 0.6), (0.0, 0.74), (-0.7, 0.6),
             closed=False))),
        Part("shade", ((-0.86, 0.24), *smooth((-0.5, 0.36), (0.0, 0.4), (0.5, 0.36),
             closed=False), (0.86, 0.24), (0.8, 0.36), *smooth((0.5, 0.48), (0.0, 0.52),
             (-0.5, 0.48), closed=False), (-0.8, 0.36)), edge=0),
    ),
    (  # a steamer
        Part("shade", box(0.1, -0.86, 0.38, -0.2), corners=True),
        Part("body", box(-0.5, -0.3, 0.6, 0.24), corners=True),
        Part("glass", disc(-0.24, -0.04, 0.12), edge=0.5),
        Part("glass", disc(0.08, -0.04, 0.12), edge=0.5),
        Part("glass", disc(0.4, -0.04, 0.12), edge=0.5),
        Part("body", ((-1.04, 0.1), (-0.8, 0.22), (0.98, 0.22), (0.76, 0.86), (-0.7, 0.86)),
             corners=True),
    ),
)  # fmt: skip

_STEAM: Shape = (
    Part("steam", smooth((-0.3, -0.62), (-0.4, -0.76), (-0.24, -0.88), (-0.32, -1.0),
                         closed=False), width=0.06),
    Part("steam", smooth((0.06, -0.62), (-0.04, -0.76), (0.12, -0.88), (0.04, -1.0),
                         closed=False), width=0.06),
)  # fmt: skip

_CUPS: tuple[Shape, ...] = (
    (  # a mug
        Part("body", arc(0.5, 0.06, 0.44, 0.42, (-80, 80), count=12), width=0.17),
        Part("body", soft_box(-0.84, -0.8, 0.5, 0.86, 0.1)),
        Part("shade", ellipse(-0.17, -0.76, 0.66, 0.15, count=20), edge=0.7),
    ),
    (  # a tea cup on a saucer
        Part("body", arc(0.58, 0.0, 0.36, 0.3, (-90, 100), count=12), width=0.15),
        Part("shade", ellipse(-0.08, 0.74, 0.92, 0.17, count=22), edge=0.8),
        Part("body", ((-0.76, -0.5), (0.62, -0.5),
                      *arc(-0.07, -0.4, 0.69, 1.08, (8, 172), count=16))),
        Part("shade", ellipse(-0.07, -0.5, 0.69, 0.14, count=20), edge=0.7),
    ),
    (  # a steaming mug without a seen rim
        *_STEAM,
        Part("body", arc(0.42, 0.2, 0.44, 0.36, (-90, 90), count=12), width=0.17),
        Part("body", ((-0.82, -0.46), (0.54, -0.46), (0.44, 0.84), (0.3, 0.96), (-0.58, 0.96),
                      (-0.72, 0.84)), corners=True),
        Part("light_band", box(-0.78, -0.3, 0.5, -0.16), edge=0),
    ),
    (  # a round cup
        Part("body", arc(0.56, 0.0, 0.38, 0.36, (-90, 90), count=12), width=0.16),
        Part("body", ((-0.84, -0.66), (0.66, -0.66),
                      *arc(-0.09, -0.2, 0.75, 0.96, (0, 180), count=16))),
        Part("shade", box(-0.5, 0.72, 0.32, 0.9), edge=0.6),
        Part("shade", ellipse(-0.09, -0.66, 0.75, 0.16, count=20), edge=0.7),
    ),
)  # fmt: skip


def _canopy(top: float, rim: float, scallops: int, dip: float) -> tuple[tuple[float, float], ...]:
    """A half dome from `top` to `rim` whose lower edge has `scallops` arches."""
    wide = 2.0 / scallops
    lower: list[tuple[float, float]] = []
    for index in range(scallops):
        middle = 1.0 - wide * (index + 0.5)
        lower.extend(arc(middle, rim, wide / 2, dip, (0, -180), count=6)[1:])
    return (*arc(0, rim, 1.0, rim - top, (180, 360), count=18), *lower)


_HANDLE = (*((0.0, 0.0), (0.0, 0.78)), *arc(-0.17, 0.78, 0.17, 0.2, (0, 180), count=6)[1:])
_UMBRELLAS: tuple[Shape, ...] = (
    (
        Part("pole", ((0.0, -1.0), (0.0, -0.8)), width=0.08),
        Part("pole", _HANDLE, width=0.1),
        Part("body", _canopy(-0.88, 0.12, 4, 0.16)),
        Part("rib", smooth((0, -0.86), (-0.34, -0.5), (-0.5, 0.1), closed=False), width=0.04),
        Part("rib", ((0, -0.86), (0, 0.1)), width=0.04),
        Part("rib", smooth((0, -0.86), (0.34, -0.5), (0.5, 0.1), closed=False), width=0.04),
    ),
    (  # gores in two shades
        Part("pole", ((0.0, -1.0), (0.0, -0.8)), width=0.08),
        Part("pole", _HANDLE, width=0.1),
        Part("body", _canopy(-0.88, 0.1, 3, 0.13)),
        Part("shade", (*smooth((0, -0.86), (-0.24, -0.46), (-0.34, 0.06), closed=False),
                       *arc(0, 0.1, 0.33, 0.12, (200, 340), count=5),
                       *smooth((0.34, 0.06), (0.24, -0.46), (0, -0.86), closed=False)), edge=0),
    ),
    (  # a plain half disc
        Part("pole", (*((0.0, 0.0), (0.0, 0.74)),
                      *arc(0.18, 0.74, 0.18, 0.22, (180, 0), count=6)[1:]),
             width=0.11),
        Part("body", arc(0, 0.04, 1.0, 0.94, (180, 360), count=22), corners=True),
    ),
    (  # seen a little from the side
        Part("pole", _HANDLE, width=0.1),
        Part("body", _canopy(-0.76, 0.16, 5, 0.12)),
        Part("pole", ((0.0, -0.98), (0.0, -0.74)), width=0.09),
        Part("rib", smooth((0, -0.74), (-0.14, -0.4), (-0.2, 0.1), closed=False), width=0.04),
        Part("rib", smooth((0, -0.74), (0.14, -0.4), (0.2, 0.1), closed=False), width=0.04),
    ),
)  # fmt: skip

OBJECTS: dict[str, tuple[Shape, ...]] = {
    "house": _HOUSES,
    "car": _CARS,
    "boat": _BOATS,
    "cup": _CUPS,
    "umbrella": _UMBRELLAS,
}
