"""Writes a part of the synthetic world to a folder, to look at or to train something else on.

    python -m train.cartoon.make runs/world --number 100

gives numbered PNG files and `scenes.jsonl`, a line a picture: its scene, a caption, a description
and a dialogue.
"""

import argparse
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from train.cartoon.asking import dialogue
from train.cartoon.describe import caption, describe
from train.cartoon.draw import draw_scene
from train.cartoon.scene import Scene, make_scene


def record(scene: Scene, picture: str) -> dict[str, Any]:
    """Everything that is said about a scene, ready for JSON.

    Args:
        scene: The scene.
        picture: Name of its picture's file.
    """
    rng = random.Random(scene.seed)
    return {
        "picture": picture,
        "scene": asdict(scene),
        "caption": caption(scene, rng),
        "description": describe(scene),
        "dialogue": [asdict(exchange) for exchange in dialogue(scene, rng, 6)],
    }


def make(folder: Path, first: int, number: int, size: int, *, held_out: bool = False) -> None:
    """Draws the scenes of `number` seeds and writes them down.

    Args:
        folder: Made if missing.
        first: The first seed.
        number: How many.
        size: Side of a picture in pixels.
        held_out: Only scenes with a pair of colour and kind that training never draws.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "scenes.jsonl").open("w", encoding="utf-8") as lines:
        for seed in range(first, first + number):
            scene, name = make_scene(seed, held_out=held_out), f"{seed}.png"
            draw_scene(scene, size).save(folder / name)
            lines.write(json.dumps(record(scene, name)) + "\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Write a part of the synthetic world to a folder.")
    parser.add_argument("folder", type=Path, help="where the pictures and scenes.jsonl go")
    parser.add_argument("--first", type=int, default=0, help="the first seed (%(default)s)")
    parser.add_argument("--number", type=int, default=20, help="how many (%(default)s)")
    parser.add_argument("--size", type=int, default=224, help="side in pixels (%(default)s)")
    parser.add_argument("--held-out", action="store_true", help="only pairs unseen in training")
    given = parser.parse_args(arguments)
    make(given.folder, given.first, given.number, given.size, held_out=given.held_out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
