"""Trains every arm as `train/run.py` does and scores it after every stage; goes on where it was.

OUTPUT/plan.json                 what all arms here were trained and scored with
OUTPUT/features/                 what the frozen eye saw; may be deleted
OUTPUT/base/seed0/stage1/        a run's folder, and besides:
  scores.json                    what the model of this stage answers; the arm's stage is done
  cpu_seconds.jsonl              CPU seconds spent training it, a line a start
"""

import json
import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minigpt4.build import build_model
from minigpt4.checkpoints.fingerprints import fingerprint
from minigpt4.checkpoints.native import Json, write_file
from minigpt4.config import load_config, locate
from minigpt4.models.minigpt4 import MiniGPT4
from train import run
from train.ablation.arms import BASE, Arm, Plan
from train.errors import TrainingError
from train.run_folder import RunFolder, append_lines, read_lines
from train.settings import ROOT, as_saved, demo_parts
from train.tiny.evaluate import (
    Asked,
    answers_to,
    description_scores,
    held_out_scenes,
    questions_about,
    scores_of,
)

logger = logging.getLogger(__name__)

_DEMO = ROOT / "eval_configs" / "tiny.yaml"
_DIGITS = 12


def begin(plan: Plan) -> None:
    """Makes the folder, or sees to it that what it holds was made with the same plan.

    Raises:
        TrainingError: If it was begun with other parts, steps or scenes.
    """
    path, now = plan.output / "plan.json", _made_with(plan)
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        changed = [
            f"  {key}: {before.get(key)} then, {now[key]} now"
            for key in now
            if before.get(key) != now[key]
        ]
        if changed:
            lines = "\n".join(changed)
            message = (
                f"The arms in {plan.output} were trained otherwise:\n{lines}\n"
                "Give the same again to go on, or choose another --output."
            )
            raise TrainingError(message)
    _write_json(path, now)


def train_and_score(plan: Plan) -> int:
    """Does whatever is still to be done.

    Returns:
        0, or the exit code of the stage that was stopped or failed.

    Raises:
        TrainingError: If the folder holds something else.
    """
    begin(plan)
    todo = [(arm, seed) for seed in plan.seeds for arm in plan.arms]
    for number, (arm, seed) in enumerate(todo, start=1):
        for stage in arm.stages:
            if _scores(plan.folder(arm, seed, stage)).is_file():
                continue
            where = f"{number} of {len(todo)}, {arm.title}, seed {seed}, stage {stage}"
            logger.info("\nArm %s", where)
            code = _train(plan, arm, seed, stage)
            if code:
                return code
            _score(plan, arm, seed, stage)
    return 0


def _train(plan: Plan, arm: Arm, seed: int, stage: int) -> int:
    folder = plan.folder(arm, seed, stage)
    arguments = ["--stage", str(stage), "--config", str(plan.config(arm, stage))]
    arguments += ["--output", str(folder.path), "--resume", "auto"]
    if _shares_looks(plan, arm, seed, stage):
        arguments += ["--cache-features", str(plan.output / "features" / f"stage{stage}")]
    started = time.process_time()
    try:
        return run.main([*arguments, "--set", *plan.overrides(arm, seed, stage)])
    finally:
        spent = time.process_time() - started
        folder.path.mkdir(parents=True, exist_ok=True)
        append_lines(folder.path / "cpu_seconds.jsonl", [{"seconds": round(spent, 1)}])


def _shares_looks(plan: Plan, arm: Arm, seed: int, stage: int) -> bool:
    """Whether other arms look at the same pictures with the same eye."""
    settings = plan.settings(arm, seed, stage)
    return bool(settings.model.qformer) and not settings.qformer_rate and not settings.data.samples


def _score(plan: Plan, arm: Arm, seed: int, stage: int) -> None:
    """Asks the model that a stage left, loaded as a demo loads it."""
    folder, settings = plan.folder(arm, seed, stage), plan.settings(arm, seed, stage)
    parts = demo_parts(as_saved(settings, folder.qformer)) or ["model.other_projections=[]"]
    overrides = [f"model.projection={folder.projection}", *parts, "device=cpu"]
    logger.info("Asking about %d pictures", plan.scenes)
    model = build_model(load_config(_DEMO, overrides))
    scenes = held_out_scenes(plan.scenes)
    asked = questions_about(scenes, plan.scenes)
    scores: dict[str, Json] = {
        "asked": dict(Counter(each.question_type for each in asked)),
        "answers": _exact(model, asked),
        "descriptions": dict(description_scores(model, scenes)),
        "visual_tokens": model.queries,
        "learned": sum(
            weight.numel()
            for name in _learned(folder)
            for weight in getattr(model, name).parameters()
        ),
    }
    if arm.name == BASE:
        scores["blind"] = _exact(model, asked, blind=True)
    _write_json(_scores(folder), scores)


def _exact(model: MiniGPT4, asked: Sequence[Asked], *, blind: bool = False) -> dict[str, Json]:
    found = scores_of(asked, answers_to(model, asked, blind=blind))
    return {name: each["exact"] for name, each in found.items()}


def _learned(folder: RunFolder) -> tuple[str, ...]:
    return ("projection", "qformer") if folder.qformer.is_file() else ("projection",)


def results(plan: Plan) -> dict[str, Any]:
    """All scores there are, for the page and the plots."""
    arms = []
    for arm in plan.arms:
        seeds: dict[str, Any] = {}
        for seed in plan.seeds:
            stages = {
                f"stage{stage}": json.loads(path.read_text(encoding="utf-8"))
                for stage in arm.stages
                if (path := _scores(plan.folder(arm, seed, stage))).is_file()
            }
            if len(stages) == len(arm.stages):
                seeds[str(seed)] = {**stages, "cpu_seconds": _cpu_seconds(plan, arm, seed)}
        if seeds:
            arms.append({"name": arm.name, "title": arm.title, "data": arm.data, "seeds": seeds})
    return {"made_with": _made_with(plan), "arms": arms}


def _cpu_seconds(plan: Plan, arm: Arm, seed: int) -> float:
    folders = [plan.folder(arm, seed, stage).path for stage in arm.stages]
    rows = [row for folder in folders for row in read_lines(folder / "cpu_seconds.jsonl")]
    return round(sum(float(row["seconds"]) for row in rows), 1)


def _made_with(plan: Plan) -> dict[str, Any]:
    base = plan.arms[0]
    first, second = (plan.settings(base, plan.seeds[0], stage) for stage in (1, 2))
    model = first.model
    parts = (locate(each) for each in (model.vision, model.qformer, model.language_model))
    return {
        "parts": fingerprint(*parts)[:_DIGITS],
        "preset": model.preset,
        "stage1_steps": first.schedule.steps,
        "stage2_steps": second.schedule.steps,
        "samples_a_step": first.samples_per_step,
        "scenes": plan.scenes,
    }


def _scores(folder: RunFolder) -> Path:
    return folder.path / "scores.json"


def _write_json(path: Path, content: Mapping[str, Json]) -> None:
    write_file(path, f"{json.dumps(content, indent=1)}\n".encode())
