"""The example of a user's own data: 20 pictures, each described in three short sentences.

python -m train.cartoon.own_example examples/own_data
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from train.cartoon.draw import draw_scene
from train.cartoon.scene import Scene, make_scene
from train.cartoon.wordings import PLACE_PHRASES

ROWS = 20
_FIRST_SEED = 77_000
_SIDE = 224
_COLORS = 64
"""Of the files, which are palette pictures to be small."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes pictures and rows into a folder."""
    parser = argparse.ArgumentParser(
        prog="python -m train.cartoon.own_example", description="Draws the example of own data."
    )
    parser.add_argument("folder", type=Path, help="where the pictures and data.jsonl go")
    folder: Path = parser.parse_args(arguments).folder
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    lines = []
    for number, scene in enumerate(_scenes()):
        name = f"pictures/{scene.things[0].color}-{scene.things[0].kind}.png"
        picture = draw_scene(scene, _SIDE).quantize(_COLORS)
        picture.save(folder / name, optimize=True)
        row = {"image": name, "answer": answer(scene)}
        if number % 2 == 0:  # the others get an instruction drawn for them
            row = {"image": name, "instruction": "What is this?", "answer": answer(scene)}
        lines.append(json.dumps(row))
    (folder / "data.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    sys.stdout.write(f"{len(lines)} rows in {folder}\n")
    return 0


def answer(scene: Scene) -> str:
    """A description in a style that the embedded default does not have: three short sentences."""
    thing = scene.things[0]
    said = (thing.color, thing.size, PLACE_PHRASES[thing.place])
    return " ".join(f"The {thing.kind} is {each}." for each in said)


def _scenes() -> Iterator[Scene]:
    """Scenes of one thing, no two alike in colour and kind, and no sign, whose word has a say."""
    seen: set[tuple[str, str]] = set()
    seed = _FIRST_SEED
    while len(seen) < ROWS:
        scene = make_scene(seed, max_things=1, min_things=1)
        seed += 1
        pair = scene.things[0].color, scene.things[0].kind
        if pair not in seen and scene.things[0].kind != "sign":
            seen.add(pair)
            yield scene


if __name__ == "__main__":
    sys.exit(main())
