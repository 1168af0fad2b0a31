"""Pictures as other hands and other programs leave them, for the eye's lessons alone.

The picture world draws cleanly and spoils a little (`train.cartoon.look`). What it never has is
a coarse raster, paint that runs, few tones, another screen's brightness. The eye that sees some of
each depends less on how this world is drawn; no held-out picture is changed.
"""

import random
from collections.abc import Callable, Sequence

import torch
from torch.nn import functional

from train.cartoon.scene import Scene

Change = Callable[[torch.Tensor], torch.Tensor]
"""Takes a picture `(3, S, S)` with values from 0 to 1 and gives one like it."""


def rough_changes(scenes: Sequence[Scene], share: float, rng: random.Random) -> dict[int, Change]:
    """A change for some of the scenes, by their index.

    Args:
        scenes: What the pictures show; letters on them stay readable.
        share: How many are changed.
        rng: Chooses which, and how.
    """
    return {
        row: make_rough(rng, fine=scene.has_word)
        for row, scene in enumerate(scenes)
        if rng.random() < share
    }


def make_rough(rng: random.Random, *, fine: bool = False) -> Change:
    """One or two changes, drawn at random, as one.

    Args:
        rng: Chooses them.
        fine: Whether letters must stay readable.
    """
    chosen = rng.sample(_CHANGES, rng.choice((1, 1, 2)))
    changes = [make(rng, fine=fine) for make in chosen]

    def change(values: torch.Tensor) -> torch.Tensor:
        for each in changes:
            values = each(values)
        return values.clamp(0, 1)

    return change


def pixelated(rng: random.Random, *, fine: bool = False) -> Change:
    """A coarse raster: squares of two or three pixels, two where letters must stay readable."""
    side = 2 if fine else rng.choice((2, 3))

    def change(values: torch.Tensor) -> torch.Tensor:
        size = values.shape[-1]
        # A raster that does not fit is cut off at the edge.
        coarse = functional.avg_pool2d(values[None], side, ceil_mode=True, count_include_pad=False)
        return functional.interpolate(coarse, scale_factor=side)[0, :, :size, :size]

    return change


def blotched(rng: random.Random, *, fine: bool = False) -> Change:  # noqa: ARG001 - one signature
    """Paint that lies on unevenly: smooth patches that are a little lighter or darker."""
    patches, depth = rng.choice((5, 9, 16, 24)), rng.uniform(0.03, 0.09)
    seed = rng.getrandbits(31)

    def change(values: torch.Tensor) -> torch.Tensor:
        generator = torch.Generator("cpu").manual_seed(seed)
        noise = torch.randn(1, 1, patches, patches, generator=generator, device="cpu")
        uneven = functional.interpolate(
            noise.to(values.device), values.shape[-2:], mode="bilinear", align_corners=False
        )
        return values * (1 + depth * uneven[0])

    return change


def posterized(rng: random.Random, *, fine: bool = False) -> Change:  # noqa: ARG001
    """Few tones, as in a small palette."""
    tones = rng.randint(5, 10)
    return lambda values: (values * tones).round() / tones


def brightened(rng: random.Random, *, fine: bool = False) -> Change:  # noqa: ARG001
    """Another screen: lighter or darker in the middle tones."""
    gamma = rng.uniform(0.75, 1.3)
    return lambda values: values.clamp(min=0) ** gamma


_CHANGES = (pixelated, blotched, posterized, brightened)
