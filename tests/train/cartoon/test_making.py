"""What is made of the picture world for people: a folder of it, the page's pictures, own data."""

import json
from pathlib import Path

from PIL import Image, ImageChops, ImageStat

from minigpt4.config import ASSETS
from train.cartoon import own_example
from train.cartoon.draw import draw_scene
from train.cartoon.examples import EXAMPLES
from train.cartoon.examples import main as draw_examples
from train.cartoon.make import main as make
from train.cartoon.scene import (
    HELD_OUT_PAIRS,
    HELD_OUT_SEEDS,
    LETTER_PITCHES,
    RADII,
    is_clear,
    make_scene,
)
from train.settings import ROOT


def test_a_folder_of_the_world(tmp_path: Path) -> None:
    given = [str(tmp_path), "--first", "7", "--number", "3", "--size", "64"]
    assert make(given) == 0
    rows = [json.loads(line) for line in (tmp_path / "scenes.jsonl").read_text().splitlines()]
    assert [row["scene"]["seed"] for row in rows] == [7, 8, 9]
    assert {"caption", "description", "dialogue"} <= set(rows[0])
    for row in rows:
        drawn = Image.open(tmp_path / row["picture"])
        scene = make_scene(row["scene"]["seed"])
        assert drawn.tobytes() == draw_scene(scene, 64).tobytes()


def test_the_page_s_pictures_are_of_the_world_and_new_to_the_model() -> None:
    drawn = [scene for scene in EXAMPLES.values() if not scene.strange and not scene.is_page]
    assert len(drawn) == len(EXAMPLES) - 2
    assert all(scene.seed >= HELD_OUT_SEEDS for scene in EXAMPLES.values() if scene not in drawn)
    for scene in drawn:
        cells = [thing.cell for thing in scene.things]
        assert cells == sorted(set(cells)), "one thing a cell, in reading order"
        for thing in scene.things:
            assert (thing.color, thing.kind) not in HELD_OUT_PAIRS
            assert all(is_clear(at) for at in (thing.x, thing.y))
            least, most = LETTER_PITCHES[thing.size] if thing.word else RADII[thing.size]
            assert least - 1e-9 <= (thing.letter_pitch or thing.radius) <= most + 1e-9


def test_the_page_s_pictures_are_those_of_the_code(tmp_path: Path) -> None:
    draw_examples([str(tmp_path)])
    for name in EXAMPLES:
        shipped, made = (
            Image.open(folder / f"{name}.png").convert("RGB")
            for folder in (ASSETS / "examples", tmp_path)
        )
        # A look may have been a JPEG file, which not every machine rounds alike.
        assert max(ImageStat.Stat(ImageChops.difference(shipped, made)).mean) < 1, name


def test_own_data_is_made_and_lies_there(tmp_path: Path) -> None:
    assert own_example.main([str(tmp_path)]) == 0
    shipped = (ROOT / "examples/own_data/data.jsonl").read_text(encoding="utf-8")
    assert (tmp_path / "data.jsonl").read_text(encoding="utf-8") == shipped
    for row in map(json.loads, shipped.splitlines()):
        assert (ROOT / "examples/own_data" / row["image"]).is_file()
        assert row["answer"].count(".") == 3
