"""The pointing game: its questions, its scores, and what docs/looking.md says of them."""

import json
import re
from pathlib import Path

import pytest
import torch

from minigpt4.build import build_model
from minigpt4.config import ASSETS, load_config
from train.cartoon.scene import HELD_OUT_SEEDS, Scene, Thing
from train.cartoon.signs import sign_layout
from train.tiny.pointing import CHOSEN, Probe, box, compare, main, probes, score, word_scores
from train.tiny.saliency import LANGUAGE, PICTURE

ROOT = Path(__file__).parents[2]
THINGS = (
    Thing("car", "red", "small", 0.25, 0.25, 0.1),
    Thing("sun", "yellow", "large", 0.75, 0.6, 0.2),
    Thing("sign", "white", "large", 0.5, 0.9, 0.28, "EXIT"),
)
PROBE = Probe(Scene(1, "white", THINGS), THINGS[0], "What color is the car?", "color")


def test_boxes_are_in_pixels_and_end_at_the_edge():
    assert box(THINGS[0]) == (slice(19, 45), slice(19, 45))
    corner = Thing("car", "red", "small", 0.05, 0.98, 0.1)
    assert box(corner) == (slice(113, 128), slice(0, 19))


def test_a_sign_s_box_is_its_board_with_all_letters():
    rows, columns = box(THINGS[2])
    for letter in sign_layout(THINGS[2]):
        assert rows.start <= 128 * letter.y < rows.stop
        assert columns.start <= 128 * letter.x < columns.stop


def test_a_map_on_the_thing_scores_and_one_beside_it_does_not():
    heat = torch.zeros(8, 8)
    heat[2, 2] = 1.0  # around pixel 32 of the tiny model's stem
    on = score(heat, PROBE)
    assert (on.hit, on.best) == (True, True)
    beside = score(heat.flip(0, 1), PROBE)
    assert (beside.hit, beside.best, beside.inside) == (False, False, 0)
    even = score(torch.full((8, 8), 1 / 64), PROBE)
    assert even.inside == pytest.approx(26 * 26 / 128**2, abs=1e-4)
    assert on.inside > 4 * even.inside


@pytest.mark.parametrize(
    ("question_type", "answer", "expected"),
    [
        ("color", "The car is red.", {"name": ("car", 4), "property": ("red", 11)}),
        ("color", "The car is blue.", {"name": ("car", 4)}),
        ("where", "The car is in the top left.", {"name": ("car", 4), "property": ("left", 22)}),
        ("size", "I do not know.", {}),
        (
            "describe",
            "There is a red sun. A red car is there.",
            {"name": ("car", 26), "property": ("red", 22)},
        ),
    ],
)
def test_words_are_those_of_the_thing(question_type, answer, expected):
    probe = Probe(PROBE.scene, PROBE.thing, PROBE.question, question_type)
    found = {kind: (word.text, word.start) for kind, word in probe.words(answer)}
    assert found == expected


def test_questions_are_about_one_thing_of_unseen_scenes():
    asked = probes(HELD_OUT_SEEDS + 300_000, 40)
    assert [probe.question_type for probe in asked[:4]] == ["color", "size", "where", "describe"]
    assert len({probe.scene.seed for probe in asked}) == 40
    for probe in asked:
        assert probe.scene.seed >= HELD_OUT_SEEDS
        assert [thing.kind for thing in probe.scene.things].count(probe.thing.kind) == 1
        assert probe.question_type == "describe" or probe.thing.kind in probe.question


@pytest.mark.slow
def test_the_page_s_maps_are_the_chosen_way_and_point_far_above_chance():
    """Worked out twice: beside the model, and from what transformers returns."""
    model = build_model(load_config(ROOT / "eval_configs" / "tiny.yaml", ["device=cpu"]))
    asked = probes(HELD_OUT_SEEDS + 300_000, 12)
    shown = word_scores(model, asked)["all"]
    ways = compare(model, asked[:1], asked)["reported"]
    assert len(ways) == len(LANGUAGE) * len(PICTURE)
    (chosen,) = [way for way in ways if (way["language"], way["picture"]) == CHOSEN]
    assert {name: chosen[name] for name in shown} == pytest.approx(shown, abs=1e-3)
    assert shown["inside"] > 4 * shown["chance_inside"]
    assert shown["hit"] > 0.6


@pytest.mark.slow
def test_the_command_writes_figures_and_a_picture(tmp_path):
    assert main(["--scenes", "4", "--output", str(tmp_path)]) == 0
    figures = json.loads((tmp_path / "looking.json").read_text())
    assert figures["scenes"] == 4
    assert set(figures) == {
        "scenes", "chosen", "words", "vocabulary", "examples", "development", "reported",
    }  # fmt: skip
    assert (tmp_path / "pictures" / "looking.png").stat().st_size < 300_000


def test_the_page_tells_the_figures_that_were_measured():
    text = (ROOT / "docs" / "looking.md").read_text(encoding="utf-8")
    figures = json.loads((ROOT / "docs" / "looking.json").read_text(encoding="utf-8"))
    assert tuple(figures["chosen"].values()) == CHOSEN
    cells = [
        [cell.strip(" *") for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    rows = {cell[0]: cell[1:] for cell in cells}
    for name, group in (("all", "all"), ("names", "name"), ("properties", "property")):
        row = figures["words"][group]
        shares = [f"{100 * row[key]:.1f} %" for key in ("inside", "hit", "best")]
        assert rows[name] == [str(row["number"]), *shares]
    row = figures["words"]["all"]
    assert rows["chance"][1:] == [
        f"{100 * row[key]:.1f} %" for key in ("chance_inside", "chance_inside", "chance_best")
    ]
    assert f"{100 * row['possible_hit']:.1f} %" in rows["the most a map of 6 x 6 can"]
    told = {
        "rollout, squared; last cross-attention, squared": ("rollout, squared", "last, squared"),
        "rollout, squared; relevance (gradients)": ("rollout, squared", "relevance (gradients)"),
        "rollout, squared; last cross-attention": ("rollout, squared", "last cross-attention"),
        "rollout; last cross-attention": ("rollout", "last cross-attention"),
        "gradient of the visual token; last cross-attention": (
            "gradient of the token",
            "last cross-attention",
        ),
        "mean attention of all layers; last cross-attention": (
            "mean of layers",
            "last cross-attention",
        ),
        "attention of the last layer; last cross-attention": (
            "last layer",
            "last cross-attention",
        ),
        "relevance (gradients; Chefer et al., 2021); relevance": (
            "relevance (gradients)",
            "relevance (gradients)",
        ),
        "all visual tokens alike; last cross-attention": (
            "all tokens alike",
            "last cross-attention",
        ),
    }
    ways = {(way["language"], way["picture"]): way for way in figures["reported"]}
    shown = {f"{cell[0]}; {cell[1]}": cell[2:] for cell in cells if len(cell) == 5}
    for name, way in told.items():
        expected = [f"{100 * ways[way][key]:.1f} %" for key in ("inside", "hit", "best")]
        assert shown[name] == expected, name
    best = max(figures["development"], key=lambda way: way["inside"] + way["hit"])
    assert (best["language"], best["picture"]) == CHOSEN, "chosen where it was not reported"
    words = figures["vocabulary"]
    assert f"{100 * words['there']:.1f} % are in the drawing" in text
    assert f"({words['named']} words; chance {100 * words['chance']:.1f} %)" in text
    assert f"({figures['development'][0]['number']} words)" in text


@pytest.mark.slow
def test_the_example_of_the_page_runs(monkeypatch, capsys):
    text = (ROOT / "docs" / "looking.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(ASSETS / "examples")
    exec(compile(example, "docs/looking.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == ["The", "boat", "is", "red"]
    assert "boat" in lines[-1]
