"""The example pictures of the page: scenes composed by hand, drawn by the world's own hand.

python -m train.cartoon.examples minigpt4/assets/examples
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from train.cartoon.draw import draw_scene
from train.cartoon.scene import PAGE, Scene, Thing, strange_scene

EXAMPLES = {
    "harbour": Scene(
        seed=105,
        background="sea",
        things=(
            Thing("sun", "yellow", "medium", 0.18, 0.17, 0.13),
            Thing("cloud", "white", "medium", 0.8, 0.16, 0.13),
            Thing("boat", "red", "large", 0.57, 0.57, 0.2),
            Thing("fish", "orange", "small", 0.2, 0.83, 0.09),
        ),
    ),
    "street": Scene(
        seed=104,
        background="field",
        things=(
            Thing("cloud", "white", "medium", 0.7, 0.15, 0.13),
            Thing("house", "red", "large", 0.22, 0.57, 0.2),
            Thing("sign", "blue", "medium", 0.7, 0.58, 0.21, "CAFE"),
            Thing("car", "purple", "medium", 0.42, 0.83, 0.135),
        ),
    ),
    "night": Scene(
        seed=186,
        background="night",
        things=(
            Thing("star", "white", "medium", 0.17, 0.2, 0.12),
            Thing("moon", "yellow", "large", 0.8, 0.2, 0.18),
            Thing("star", "orange", "medium", 0.45, 0.38, 0.12),
            Thing("tree", "green", "large", 0.2, 0.72, 0.2),
            Thing("star", "pink", "medium", 0.85, 0.62, 0.12),
        ),
    ),
    "garden": Scene(
        seed=104,
        background="cream",
        things=(
            Thing("bird", "blue", "medium", 0.2, 0.2, 0.13),
            Thing("apple", "red", "large", 0.62, 0.42, 0.19),
            Thing("flower", "purple", "medium", 0.18, 0.8, 0.14),
            Thing("apple", "green", "medium", 0.82, 0.82, 0.13),
        ),
    ),
    "sketch": Scene(
        seed=3_000_000_010,
        background=PAGE,
        things=(
            Thing("title", "black", "medium", 0.36, 0.14, 0.265, "HOTEL"),
            Thing("button", "black", "medium", 0.42, 0.385, 0.2),
            Thing("list", "black", "medium", 0.42, 0.63, 0.25),
            Thing("image", "black", "medium", 0.42, 0.86, 0.18),
        ),
    ),
    "mountains": strange_scene(2_000_000_103),
}
"""By the name of the file; the last one is no drawing of the world."""

_COLORS = 192
"""Of the files, which are palette pictures to be small."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Draw the example pictures of the page.")
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("--size", type=int, default=448, help="side in pixels (%(default)s)")
    given = parser.parse_args(arguments)
    given.folder.mkdir(parents=True, exist_ok=True)
    for name, scene in EXAMPLES.items():
        picture = draw_scene(scene, given.size).quantize(_COLORS)
        picture.save(given.folder / f"{name}.png", optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
