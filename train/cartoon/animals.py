"""Animals: cat, bird and fish, each as different people draw it. All look to the left."""

from train.cartoon.parts import Part, Shape, arc, disc, ellipse, smooth

_CAT_FACE: Shape = (
    Part(
        "body",
        ((-0.86, -1.0), (-0.34, -0.5), (0.34, -0.5), (0.86, -1.0),
         *arc(0, 0.16, 0.9, 0.8, (-12, 192), count=18)),
        corners=True,
    ),
    Part("ear", ((-0.76, -0.74), (-0.44, -0.4), (-0.74, -0.26)), edge=0),
    Part("ear", ((0.76, -0.74), (0.44, -0.4), (0.74, -0.26)), edge=0),
    Part("eye", ellipse(-0.36, 0.02, 0.17, 0.19, count=12), edge=0.4),
    Part("eye", ellipse(0.36, 0.02, 0.17, 0.19, count=12), edge=0.4),
    Part("pupil", ellipse(-0.36, 0.02, 0.08, 0.16, count=10), edge=0),
    Part("pupil", ellipse(0.36, 0.02, 0.08, 0.16, count=10), edge=0),
    Part("ear", ((-0.13, 0.32), (0.13, 0.32), (0.0, 0.46)), edge=0),
    Part("detail", ((-0.22, 0.56), (-0.12, 0.64), (0.0, 0.52), (0.12, 0.64), (0.22, 0.56)),
         width=0.06),
    Part("whisker", ((-0.4, 0.42), (-1.0, 0.3)), width=0.05),
    Part("whisker", ((-0.4, 0.54), (-0.98, 0.66)), width=0.05),
    Part("whisker", ((0.4, 0.42), (1.0, 0.3)), width=0.05),
    Part("whisker", ((0.4, 0.54), (0.98, 0.66)), width=0.05),
)  # fmt: skip

_CAT_SITTING: Shape = (
    Part("body", smooth((0.3, 0.86), (0.72, 0.86), (0.9, 0.56), (0.8, 0.2), (0.94, -0.02),
                        closed=False), width=0.17),
    Part("body", smooth((-0.46, 1.0), (-0.4, 0.4), (-0.3, 0.0), (0.06, -0.12), (0.42, 0.22),
                        (0.6, 0.62), (0.5, 0.98), (0.1, 1.0), (-0.2, 1.0))),
    Part("detail", ((-0.16, 0.98), (-0.14, 0.56)), width=0.05),
    Part("body", ((-0.74, -1.0), (-0.46, -0.76), (-0.14, -0.76), (0.12, -1.0),
                  *arc(-0.3, -0.38, 0.46, 0.42, (-15, 195), count=16)), corners=True),
    Part("eye", disc(-0.46, -0.42, 0.1), edge=0.3),
    Part("eye", disc(-0.1, -0.42, 0.1), edge=0.3),
    Part("pupil", disc(-0.46, -0.42, 0.06), edge=0),
    Part("pupil", disc(-0.1, -0.42, 0.06), edge=0),
    Part("ear", ((-0.36, -0.26), (-0.2, -0.26), (-0.28, -0.16)), edge=0),
    Part("whisker", ((-0.44, -0.2), (-0.86, -0.24)), width=0.04),
    Part("whisker", ((-0.12, -0.2), (0.3, -0.24)), width=0.04),
)  # fmt: skip

_CAT_STANDING: Shape = (
    Part("body", smooth((0.66, 0.08), (0.86, -0.2), (0.78, -0.58), (0.94, -0.86), closed=False),
         width=0.15),
    Part("body", ((-0.46, 0.2), (-0.2, 0.2), (-0.24, 0.95), (-0.44, 0.95)), corners=True),
    Part("body", ((0.4, 0.2), (0.74, 0.2), (0.66, 0.95), (0.46, 0.95)), corners=True),
    Part("body", ((-0.2, 0.2), (0.02, 0.2), (-0.02, 0.95), (-0.2, 0.95)), corners=True),
    Part("body", ((0.18, 0.2), (0.4, 0.2), (0.38, 0.95), (0.2, 0.95)), corners=True),
    Part("body", smooth((-0.5, 0.1), (-0.3, -0.2), (0.2, -0.14), (0.64, -0.16), (0.82, 0.16),
                        (0.7, 0.46), (0.1, 0.46), (-0.4, 0.5))),
    Part("body", ((-1.0, -0.86), (-0.76, -0.62), (-0.5, -0.62), (-0.26, -0.86),
                  *arc(-0.62, -0.24, 0.4, 0.38, (-15, 195), count=14)), corners=True),
    Part("eye", disc(-0.78, -0.28, 0.09), edge=0.3),
    Part("eye", disc(-0.46, -0.28, 0.09), edge=0.3),
    Part("pupil", disc(-0.78, -0.28, 0.055), edge=0),
    Part("pupil", disc(-0.46, -0.28, 0.055), edge=0),
    Part("ear", ((-0.7, -0.12), (-0.54, -0.12), (-0.62, -0.02)), edge=0),
)  # fmt: skip

_CAT_FRONT: Shape = (
    Part("body", smooth((0.3, 0.9), (0.7, 0.92), (0.94, 0.66), (0.88, 0.3), closed=False),
         width=0.17),
    Part("body", smooth((-0.26, 0.0), (0.26, 0.0), (0.5, 0.5), (0.56, 0.86), (0.4, 1.0),
                        (-0.4, 1.0), (-0.56, 0.86), (-0.5, 0.5))),
    Part("detail", ((-0.13, 1.0), (-0.13, 0.62)), width=0.05),
    Part("detail", ((0.13, 1.0), (0.13, 0.62)), width=0.05),
    Part("body", ((-0.58, -1.0), (-0.24, -0.7), (0.24, -0.7), (0.58, -1.0),
                  *arc(0, -0.3, 0.6, 0.48, (-15, 195), count=16)), corners=True),
    Part("eye", disc(-0.24, -0.36, 0.13), edge=0.3),
    Part("eye", disc(0.24, -0.36, 0.13), edge=0.3),
    Part("pupil", disc(-0.24, -0.36, 0.075), edge=0),
    Part("pupil", disc(0.24, -0.36, 0.075), edge=0),
    Part("ear", ((-0.1, -0.16), (0.1, -0.16), (0, -0.06)), edge=0),
    Part("whisker", ((-0.26, -0.08), (-0.8, -0.16)), width=0.04),
    Part("whisker", ((-0.26, -0.02), (-0.78, 0.06)), width=0.04),
    Part("whisker", ((0.26, -0.08), (0.8, -0.16)), width=0.04),
    Part("whisker", ((0.26, -0.02), (0.78, 0.06)), width=0.04),
)  # fmt: skip

_BIRD_PERCHED: Shape = (
    Part("leg", ((-0.1, 0.5), (-0.14, 0.98)), width=0.08),
    Part("leg", ((0.14, 0.5), (0.14, 0.98)), width=0.08),
    Part("beak", ((-0.72, -0.66), (-1.04, -0.46), (-0.7, -0.4)), edge=0.6),
    Part("body", smooth((-0.5, -0.94), (-0.2, -0.86), (-0.02, -0.5), (0.4, -0.3), (1.0, 0.2),
                        (0.98, 0.36), (0.5, 0.4), (0.1, 0.66), (-0.34, 0.56), (-0.62, 0.2),
                        (-0.66, -0.2), (-0.8, -0.56), (-0.74, -0.82))),
    Part("shade", smooth((-0.2, -0.1), (0.3, -0.16), (0.86, 0.22), (0.3, 0.34), (-0.1, 0.24)),
         edge=0.6),
    Part("eye", disc(-0.5, -0.6, 0.13), edge=0.3),
    Part("pupil", disc(-0.52, -0.6, 0.075), edge=0),
)  # fmt: skip

_BIRD_FLYING: Shape = (
    Part("shade", ((0.0, -0.02), (0.06, -0.9), (0.5, -0.5), (0.5, 0.0)), corners=True, edge=0.8),
    Part("beak", ((-0.8, -0.2), (-1.06, -0.06), (-0.78, 0.06)), edge=0.6),
    Part("body", ((0.5, -0.1), (1.04, -0.34), (0.9, 0.0), (1.04, 0.26), (0.5, 0.2)), corners=True),
    Part("body", smooth((-0.88, -0.1), (-0.62, -0.36), (-0.3, -0.22), (0.2, -0.2), (0.7, -0.04),
                        (0.6, 0.16), (0.1, 0.36), (-0.4, 0.3), (-0.78, 0.14))),
    Part("body", smooth((-0.3, -0.1), (-0.1, -0.6), (0.36, -1.0), (0.4, -0.56), (0.36, -0.04),
                        (0.0, 0.06))),
    Part("eye", disc(-0.6, -0.12, 0.1), edge=0.3),
    Part("pupil", disc(-0.62, -0.12, 0.06), edge=0),
)  # fmt: skip

_BIRD_ROUND: Shape = (
    Part("leg", ((-0.16, 0.6), (-0.2, 0.98), (-0.36, 0.98)), width=0.08),
    Part("leg", ((0.16, 0.6), (0.12, 0.98), (-0.04, 0.98)), width=0.08),
    Part("body", ((0.4, -0.1), (1.04, -0.5), (0.98, 0.0), (0.5, 0.4)), corners=True),
    Part("beak", ((-0.66, -0.42), (-1.04, -0.2), (-0.66, -0.06)), edge=0.6),
    Part("body", ellipse(-0.06, -0.06, 0.72, 0.74)),
    Part("shade", smooth((0.0, -0.06), (0.44, -0.1), (0.62, 0.08), (0.36, 0.4), (0.08, 0.3)),
         edge=0.6),
    Part("eye", disc(-0.4, -0.34, 0.15), edge=0.3),
    Part("pupil", disc(-0.43, -0.34, 0.085), edge=0),
)  # fmt: skip

_BIRD_SPREAD: Shape = (
    Part("body", smooth((-0.16, 0.0), (-0.5, -0.44), (-1.04, -0.5), (-0.9, -0.1), (-0.6, 0.22),
                        (-0.16, 0.34))),
    Part("body", smooth((0.16, 0.0), (0.5, -0.44), (1.04, -0.5), (0.9, -0.1), (0.6, 0.22),
                        (0.16, 0.34))),
    Part("body", ((-0.14, 0.4), (-0.34, 0.9), (0.0, 0.78), (0.34, 0.9), (0.14, 0.4)),
         corners=True),
    Part("body", ellipse(0, 0.06, 0.27, 0.56)),
    Part("beak", ((-0.12, -0.36), (0.12, -0.36), (0.0, -0.1)), edge=0.5),
    Part("pupil", disc(-0.13, -0.34, 0.06), edge=0),
    Part("pupil", disc(0.13, -0.34, 0.06), edge=0),
)  # fmt: skip

_FISH_PLAIN: Shape = (
    Part("body", ((0.36, 0.0), (1.0, -0.52), (0.86, 0.0), (1.0, 0.52)), corners=True),
    Part("body", ((-0.3, -0.4), (0.2, -0.72), (0.35, -0.3)), corners=True),
    Part("body", ellipse(-0.22, 0, 0.78, 0.52)),
    Part("shade", ((-0.1, 0.06), (0.26, -0.08), (0.26, 0.24)), edge=0.5),
    Part("eye", disc(-0.6, -0.14, 0.14), edge=0.4),
    Part("pupil", disc(-0.62, -0.14, 0.08), edge=0),
)  # fmt: skip

_FISH_DRAWN: Shape = (  # one line that crosses itself, as children draw it
    Part("body", (*arc(-0.24, 0, 0.76, 0.5, (40, 320), count=22), (0.5, -0.12), (1.0, -0.5),
                  (0.92, 0.0), (1.0, 0.5), (0.5, 0.12))),
    Part("detail", arc(-0.62, 0, 0.3, 0.36, (-65, 65), count=8), width=0.06),
    Part("detail", disc(-0.66, -0.16, 0.09), edge=0),
)  # fmt: skip

_FISH_TALL: Shape = (
    Part("body", ((0.4, 0.0), (0.98, -0.46), (0.98, 0.46)), corners=True),
    Part("body", smooth((-0.5, -0.4), (0.0, -0.98), (0.5, -0.86), (0.3, -0.2))),
    Part("body", smooth((-0.4, 0.4), (0.0, 0.92), (0.44, 0.8), (0.3, 0.2))),
    Part("body", ellipse(-0.2, 0, 0.76, 0.66)),
    Part("shade", ((-0.16, -0.6), (0.06, -0.6), (0.06, 0.6), (-0.16, 0.6)), edge=0),
    Part("eye", disc(-0.58, -0.16, 0.14), edge=0.4),
    Part("pupil", disc(-0.6, -0.16, 0.08), edge=0),
    Part("detail", ((-0.94, 0.16), (-0.7, 0.22)), width=0.06),
)  # fmt: skip

_FISH_LONG: Shape = (
    Part("body", smooth((-0.1, -0.24), (0.12, -0.56), (0.4, -0.5), (0.3, -0.2))),
    Part("body", smooth((0.0, 0.24), (0.16, 0.52), (0.36, 0.46), (0.3, 0.2))),
    Part("body", (*smooth((-1.0, 0.04), (-0.7, -0.3), (-0.2, -0.38), (0.3, -0.24), (0.62, -0.08),
                          closed=False), (1.0, -0.44), (0.9, 0.02), (1.0, 0.44),
                  *smooth((0.62, 0.1), (0.3, 0.24), (-0.2, 0.36), (-0.7, 0.3), (-1.0, 0.04),
                          closed=False))),
    Part("detail", arc(-0.6, 0, 0.18, 0.28, (-70, 70), count=6), width=0.05),
    Part("eye", disc(-0.68, -0.08, 0.1), edge=0.4),
    Part("pupil", disc(-0.7, -0.08, 0.06), edge=0),
)  # fmt: skip

ANIMALS: dict[str, tuple[Shape, ...]] = {
    "cat": (_CAT_FACE, _CAT_SITTING, _CAT_STANDING, _CAT_FRONT, _CAT_FACE),
    "bird": (_BIRD_PERCHED, _BIRD_FLYING, _BIRD_ROUND, _BIRD_PERCHED, _BIRD_SPREAD),
    "fish": (_FISH_PLAIN, _FISH_DRAWN, _FISH_TALL, _FISH_LONG),
}
