"""The example pictures of the page: scenes composed by hand, drawn by the world's own hand.

python -m train.cartoon.examples minigpt4/assets/examples
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from train.cartoon.draw import draw_scene
from train.cartoon.scene import Scene, Thing

EXAMPLES = {
    "harbour": Scene(
        seed=4242,
        background="beach",
        things=(
            Thing("sun", "yellow", "large", 0.17, 0.17, 0.15),
            Thing("cloud", "white", "small", 0.83, 0.16, 0.1),
            Thing("boat", "red", "large", 0.5, 0.5, 0.16),
            Thing("fish", "orange", "small", 0.18, 0.83, 0.09),
        ),
    ),
    "street": Scene(
        seed=4246,
        background="field",
        things=(
            Thing("cloud", "white", "large", 0.2, 0.17, 0.15),
            Thing("sign", "blue", "small", 0.83, 0.5, 0.1, "CAFE"),
            Thing("house", "orange", "large", 0.22, 0.78, 0.16),
            Thing("car", "purple", "small", 0.58, 0.82, 0.1),
        ),
    ),
    "night": Scene(
        seed=4244,
        background="night",
        things=(
            Thing("star", "white", "small", 0.2, 0.18, 0.09),
            Thing("moon", "yellow", "large", 0.8, 0.2, 0.15),
            Thing("star", "red", "small", 0.5, 0.5, 0.09),
            Thing("tree", "green", "large", 0.2, 0.8, 0.16),
        ),
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Draw the example pictures of the page.")
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("--size", type=int, default=448, help="side in pixels (%(default)s)")
    given = parser.parse_args(arguments)
    given.folder.mkdir(parents=True, exist_ok=True)
    for name, scene in EXAMPLES.items():
        draw_scene(scene, given.size).save(given.folder / f"{name}.png", optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
