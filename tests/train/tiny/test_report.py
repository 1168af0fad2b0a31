"""The report on a small random model: every file is written, and again from the scores alone."""

import json

import pytest
import torch
from PIL import Image
from torch import nn

from minigpt4.checkpoints.native import ProjectionRecord, save_projection
from tests.train.tiny.test_bridge import SMALL_PRESET
from train.cartoon.asking import QUESTION_TYPES
from train.tiny import evaluate, report, report_tables
from train.tiny.eye import Eye, save_parts

LOGS = {
    "state-language.jsonl": [{"step": n, "loss": 3 / (n + 1)} for n in range(500)],
    "scores-language.jsonl": [
        {"step": step, "things": things, "mean": 0.5, "color": 0.6, "count": 0.4}
        for step in (2, 4, 4)
        for things in (4, 6)
    ],
    "eye_state.jsonl": [{"step": n, "loss": 9.0} for n in range(3)],
    "eye_scores.jsonl": [{"step": 2, "kind": 0.9, "word": 0.1, "losses": {"kind": 1.0}}],
}


@pytest.fixture
def parts(tmp_path, language):
    """A folder as stage 0 and the projections leave it."""
    folder = tmp_path / "parts"
    torch.manual_seed(5)
    save_parts(Eye(SMALL_PRESET), folder, SMALL_PRESET)
    language.model.save_pretrained(folder / "language")
    for stage, name in ((2, "projection"), (1, "projection_stage1")):
        record = ProjectionRecord(
            preset=SMALL_PRESET.name, prompt_format="tiny", stage=stage, step=1, frozen=""
        )
        layer = nn.Linear(SMALL_PRESET.qformer.width, language.width)
        save_projection(folder / f"{name}.safetensors", layer, record)
    torch.save(layer.state_dict(), folder / "throwaway.pt")
    for name, rows in LOGS.items():
        (folder / name).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return folder


def test_the_report_is_written(parts, tmp_path, world_tokenizer, monkeypatch):
    for name in ("tokenizer.model", "tokenizer_config.json"):
        (parts / "language" / name).write_bytes((world_tokenizer / name).read_bytes())
    monkeypatch.setattr(report, "TINY_PRESET", SMALL_PRESET)
    monkeypatch.setattr(evaluate, "LONGEST_ANSWER", 3)
    monkeypatch.setattr(
        report, "speed_of", lambda *_: {"threads": 2, "first_token_ms": 5, "tokens_per_second": 9}
    )
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.new("RGB", (9, 9), "red").save(photos / "a.png")
    output, docs = tmp_path / "output", tmp_path / "docs"
    places = ["--output", str(output), "--docs", str(docs), "--runs", str(parts), "--threads", "1"]
    report.main(["--parts", str(parts), *places, "--scenes", "4", "--photos", str(photos)])
    scores = json.loads((output / "report.json").read_text())
    card = json.loads((output / "scores.json").read_text())
    right = {name: of["right"] for name, of in scores["stage2"]["answers"].items()}
    assert card["stage2"]["answers"] == right
    assert card["stage1"].keys() == {"answers", "descriptions"}
    numbers = [each for of in card.values() for rows in of.values() for each in rows.values()]
    assert {type(each) for each in numbers} == {int, float}  # as the card of a saved model reads
    assert scores["paper"].keys() == {"stage2", "stage1", "throwaway"}
    assert scores["photos"]["number"] == 1
    assert [of["number"] for of in scores["other_hand"].values()] == [48, 32, 32]
    assert len(scores["curves"]["language"]["loss"]) <= 121
    assert scores["gate"] == {
        things: {"mean": 0.5, "color": 0.6, "count": 0.4} for things in ("4", "6")
    }
    files = [output / "MODEL_CARD.md", docs / "tiny-model.md"]
    plots = ("scores", "training", "gate", "contact-sheet")
    files += [docs / "pictures" / f"tiny-{name}.png" for name in plots]
    first = [file.read_bytes() for file in files]
    for text in first[:2]:
        assert b"{{" not in text
        assert b"| at place | 4 |" in text
    for file in files[:-1]:
        file.unlink()
    report.main([*places, "--from-scores", "--runs", str(tmp_path / "none")])
    assert [file.read_bytes() for file in files[:2]] == first[:2]
    assert all(file.is_file() for file in files)


def test_targets_are_of_types_that_are_asked():
    assert report_tables.TARGETS.keys() <= set(QUESTION_TYPES)


def _scores(right):
    return {"color": {"exact": right, "right": right}, "poem": {"exact": 0.0, "right": 1.0}}


def test_targets_are_met_or_missed():
    sets = ("answers", "blind", "unseen_pairs", "blind_unseen_pairs", "unseen_wordings", "loosely")
    final = {name: _scores(0.5) for name in sets}
    final |= {"answers": _scores(0.97), "about_unseen_pairs": {}, "number": {"color": 9, "poem": 8}}
    table = report_tables.answer_table({"stage2": final}).splitlines()
    assert table[2].startswith("| color | 9 | 96% met | 97.0% | 97.0% | 50.0% |")
    assert table[3].startswith("| poem | 8 |  | 0.0% | 100.0% |")
    assert table[4].startswith("| **mean** |  |  | 48.5% | 98.5% | 75.0% |")
    final["answers"] = _scores(0.95)
    assert "96% missed" in report_tables.answer_table({"stage2": final})


def test_the_projection_is_compared_with_the_one_thrown_away():
    described = {"recall": 0.9, "precision": 0.8, "failures": 0.1}
    paper = {
        name: {"answers": {"color": {"exact": 0.1, "right": right}}, "failures": 0.2,
               "descriptions": described}
        for name, right in (("throwaway", 0.8), ("stage1", 0.4), ("stage2", 0.76))
    }  # fmt: skip
    rows = report_tables.paper_table({"paper": paper}).splitlines()[2:]
    assert [row.split("|")[3].strip() for row in rows] == ["100.0%", "50.0%", "95.0%"]


def test_what_a_resumed_run_wrote_twice_counts_once(tmp_path):
    rows = [{"step": 0, "loss": 1.0}, {"step": 20, "loss": 9.0}, {"step": 20, "loss": 2.0}]
    (tmp_path / "eye_state.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    found = report.read_runs(tmp_path)
    assert found["curves"]["eye"]["loss"] == [[0, 1.0], [20, 2.0]]
    assert found["gate"] == {}
