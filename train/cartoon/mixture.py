"""Seed -> scene of any sort: mostly things, sometimes no drawing, sometimes a page sketch."""

from train.cartoon.scene import MAX_THINGS, Scene, make_scene, strange_scene
from train.cartoon.sketch import MAX_SKETCHED, make_sketch


def mixed_scene(
    seed: int,
    draw: float,
    *,
    strange_share: float,
    sketch_share: float,
    max_things: int = MAX_THINGS,
    max_sketched: int = MAX_SKETCHED,
    any_pairs: bool = False,
) -> Scene:
    """The scene of a seed, its sort decided by a number that the caller drew.

    Args:
        seed: Where the scene comes from.
        draw: From 0 to 1; the lowest are strange, the highest page sketches.
        strange_share: How many are no drawing of the world.
        sketch_share: How many are page sketches.
        max_things: The most things of a scene that is neither.
        max_sketched: The most things of a page sketch.
        any_pairs: Whether colours and kinds come as they like; for texts alone, see `make_scene`.
    """
    if draw < strange_share:
        return strange_scene(seed)
    if draw >= 1 - sketch_share:
        return make_sketch(seed, max_things=max_sketched)
    return make_scene(seed, max_things=max_things, any_pairs=any_pairs)
