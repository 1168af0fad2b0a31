"""Scores the embedded default, writes its model card and the report on it.

    python -m train.tiny.report [--parts FOLDER] [--photos FOLDER]

writes report.json, scores.json and MODEL_CARD.md beside the weights, docs/tiny-model.md, and plots
and a contact sheet of held-out pictures into docs/pictures. With --from-scores nothing is measured
anew.
"""

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from minigpt4.build import build_frozen_parts
from minigpt4.checkpoints.native import read_projection
from minigpt4.config import ASSETS, load_config
from minigpt4.models.minigpt4 import MiniGPT4
from minigpt4.models.presets import TINY as TINY_PRESET
from minigpt4.models.presets import Preset
from train.tiny import report_tables
from train.tiny.edges import ability_scores, photo_scores, sign_scores, strange_scores
from train.tiny.evaluate import evaluate, evaluate_briefly
from train.tiny.other_hand import other_hand_scores
from train.tiny.report_plots import plot_gate, plot_scores, plot_training
from train.tiny.report_sheet import contact_sheet
from train.tiny.speed import parts_of, speed_of, weights_on_disk

logger = logging.getLogger(__name__)

ROOT = Path(__file__).parents[2]
_TEMPLATES = {
    "MODEL_CARD.md": Path(__file__).with_name("model_card.md"),
    "tiny-model.md": Path(__file__).with_name("tiny_model.md"),
}
_POINTS = 120  # of a curve, as it is kept
_LOGS = {
    "language": ("state-language.jsonl", "scores-language.jsonl", ("mean",)),
    "eye": ("eye_state.jsonl", "eye_scores.jsonl", ("kind", "unseen_pair", "word", "unseen_word")),
    "fitting": ("state-fitting.jsonl", "scores-fitting.jsonl", ("mean", "eye_kind", "eye_word")),
    "bridge": ("state-bridge.jsonl", "scores-bridge.jsonl", ("mean", "eye_kind", "eye_word")),
}
"""By part of stage 0 the file of its loss, that of its scores, and which scores are drawn."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    given = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(given.threads)
    file = given.output / "report.json"
    scores = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    pictures = given.docs / "pictures"
    if not given.from_scores:
        scores = {**scores, **measure(given, pictures)}
    scores |= {key: found for key, found in read_runs(given.runs).items() if found}
    given.output.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
    summary = json.dumps(card_scores(scores), indent=1)
    (given.output / "scores.json").write_text(f"{summary}\n", encoding="utf-8")
    write_report(scores, given.output, given.docs)
    return 0


def card_scores(scores: Mapping[str, Any]) -> dict[str, dict[str, Mapping[str, float]]]:
    """What the card of a saved model shows: stage, measure, and right answers or shares by name."""
    final = scores["stage2"]
    told: dict[str, dict[str, Mapping[str, float]]] = {"stage2": {"number": final["number"]}}
    pairs = ("unseen_pairs", "about_unseen_pairs")
    for measure in ("answers", "blind", *pairs, "unseen_wordings", "loosely"):
        told["stage2"][measure] = {name: of["right"] for name, of in final[measure].items()}
    for measure in ("descriptions", "descriptions_blind", "descriptions_unseen_pairs"):
        told["stage2"][measure] = final[measure]
    if stage1 := scores["paper"].get("stage1"):
        answers = {name: of["right"] for name, of in stage1["answers"].items()}
        told["stage1"] = {"answers": answers, "descriptions": stage1["descriptions"]}
    return told


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m train.tiny.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add: Callable[..., object] = parser.add_argument
    tiny = ASSETS / "tiny"
    add("--parts", type=Path, default=tiny, help="vision, qformer (safetensors) and language/")
    add("--stage2", type=Path, help="projection (default: projection.safetensors of --parts)")
    add("--stage1", type=Path, help="(default: projection_stage1.safetensors of --parts)")
    add("--throwaway", type=Path, help="(default: throwaway.pt of --runs, if there)")
    add(
        "--runs",
        type=Path,
        default=ROOT / "runs" / "tiny" / "parts",
        help="logs of stage 0, if there",
    )
    add("--photos", type=Path, help="folder of photographs; without it the last scores stay")
    add("--config", type=Path, default=ROOT / "eval_configs" / "tiny.yaml", help="for its engine")
    add(
        "--output",
        type=Path,
        default=tiny,
        help="receives report.json, scores.json and MODEL_CARD.md",
    )
    add("--docs", type=Path, default=ROOT / "docs", help="receives tiny-model.md and pictures/")
    add("--scenes", type=int, default=1000, help="held-out scenes (%(default)s)")
    add("--threads", type=int, default=os.cpu_count(), help="of the processor")
    add("--from-scores", action="store_true", help="only write, from the scores of the last time")
    return parser


def measure(given: argparse.Namespace, pictures: Path) -> dict[str, Any]:
    """Everything that is measured on the model, by section of report.json."""
    stage2 = given.stage2 or given.parts / "projection.safetensors"
    model = load_parts(given.parts, stage2)
    number = given.scenes
    fewer, briefly = min(200, number), max(4, number // 4)
    logger.info("speed")
    scores: dict[str, Any] = {
        "model": {**parts_of(model), "files": _files(given.parts, stage2)},
        "speed": speed_of(model, load_config(given.config)),
    }
    pictures.mkdir(parents=True, exist_ok=True)
    contact_sheet(model).save(pictures / "tiny-contact-sheet.png", optimize=True)
    logger.info("abilities, signs, edges")
    scores["abilities"] = ability_scores(model, min(25, number))
    scores["signs"] = sign_scores(model, fewer)
    scores["strange"] = strange_scores(model, fewer)
    scores["other_hand"] = other_hand_scores(model)
    if given.photos is not None:
        scores["photos"] = photo_scores(model, given.photos)
    logger.info("%d scenes", number)
    scores["stage2"] = evaluate(
        model, scenes=number, pairs=min(300, number), wordings=min(200, number)
    )
    logger.info("projections, %d scenes each", briefly)
    scores["paper"] = {"stage2": evaluate_briefly(model, scenes=briefly)}
    stage1 = given.stage1 or given.parts / "projection_stage1.safetensors"
    if stage1.is_file():
        model.projection = load_parts(given.parts, stage1).projection
        scores["paper"]["stage1"] = evaluate_briefly(model, scenes=briefly)
    throwaway = given.throwaway or given.runs / "throwaway.pt"
    if throwaway.is_file():
        model.projection.load_state_dict(torch.load(throwaway, weights_only=True))
        scores["paper"]["throwaway"] = evaluate_briefly(model, scenes=briefly)
    return scores


def load_parts(parts: Path, projection: Path, preset: Preset | None = None) -> MiniGPT4:
    """The whole model of a folder of parts and a projection, in eval mode on the CPU.

    Raises:
        CheckpointError: If something is missing or does not fit.
    """
    preset = preset or TINY_PRESET
    model = build_frozen_parts(
        preset, parts / "vision.safetensors", parts / "qformer.safetensors", parts / "language"
    )
    model.projection = read_projection(projection, preset.query_width, model.language.width)
    return model.eval()


def _files(parts: Path, projection: Path) -> dict[str, int]:
    """Bytes of the files of weights that the shipped model consists of."""
    files = {name: parts / name for name in ("vision.safetensors", "qformer.safetensors")}
    sizes = {name: file.stat().st_size for name, file in files.items()}
    language = {f"language/{name}": s for name, s in weights_on_disk(parts / "language").items()}
    return {**sizes, **language, "projection.safetensors": projection.stat().st_size}


def read_runs(folder: Path) -> dict[str, Any]:
    """The gate's last scores and stage 0's training curves, as far as their files are there."""
    curves = {}
    for name, (losses, checks, keys) in _LOGS.items():
        rows, checked = _rows(folder / losses), _rows(folder / checks)
        if not rows:
            continue
        most = max((row.get("things", 0) for row in checked), default=0)
        last = [row for row in checked if row.get("things", 0) == most]
        curves[name] = {
            "loss": _thinned([[row["step"], row["loss"]] for row in rows]),
            "scores": {
                key: _thinned([[row["step"], row[key]] for row in last if key in row])
                for key in keys
                if any(key in row for row in last)
            },
        }
    gate: dict[str, dict[str, float]] = {}
    for row in _rows(folder / _LOGS["language"][1]):  # the last check of each kind stays
        of = {key: value for key, value in row.items() if key not in {"step", "things", "mean"}}
        gate[f"{row['things']:.0f}"] = {**of, "mean": row["mean"]}
    return {"curves": curves, "gate": gate}


def _rows(file: Path) -> list[dict[str, Any]]:
    """JSON lines of a run, in order of steps; of what a resumed run did twice the later ones."""
    if not file.is_file():
        return []
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line]
    return sorted(
        {(row["step"], row.get("things")): row for row in rows}.values(),
        key=lambda row: row["step"],
    )


def _thinned(points: list[list[float]]) -> list[list[float]]:
    every = -(-len(points) // _POINTS) or 1
    kept = points[::every]
    return kept if not points or kept[-1] == points[-1] else [*kept, points[-1]]


def write_report(scores: Mapping[str, Any], output: Path, docs: Path) -> None:
    """Writes the card, the page and the plots from the scores alone."""
    made = {
        "answers": report_tables.answer_table(scores),
        "descriptions": report_tables.description_table(scores),
        "paper": report_tables.paper_table(scores),
        "abilities": report_tables.ability_table(scores),
        "signs": report_tables.sign_table(scores),
        "other_hand": report_tables.other_hand_table(scores),
        "edges": report_tables.edge_table(scores),
        "size": report_tables.size_table(scores),
        "gate": report_tables.gate_table(scores) if scores.get("gate") else "",
    }
    folders = {"MODEL_CARD.md": output, "tiny-model.md": docs}
    for name, template in _TEMPLATES.items():
        text = template.read_text(encoding="utf-8")
        for key, table in made.items():
            text = text.replace(f"{{{{{key}}}}}", table)
        (folders[name] / name).write_text(text, encoding="utf-8")
    pictures = docs / "pictures"
    plot_scores(pictures / "tiny-scores.png", scores, report_tables.TARGETS)
    if scores.get("curves"):
        plot_training(pictures / "tiny-training.png", scores["curves"])
    if scores.get("gate"):
        plot_gate(pictures / "tiny-gate.png", scores["gate"], report_tables.GATE)


if __name__ == "__main__":
    sys.exit(main())
