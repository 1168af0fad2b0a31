"""From nothing to an answer: stage 0 as `--stage 0` runs it, then the projection, then a chat."""

from pathlib import Path

import pytest

from minigpt4.build import build_chat
from minigpt4.config import GenerationSettings, load_config
from minigpt4.models.presets import TINY
from tests.train.tiny.conftest import SMALL, steps
from train.cartoon.draw import draw_scene
from train.cartoon.scene import HELD_OUT_SEEDS, make_scene
from train.run import main as run_main
from train.settings import ROOT, parts_overrides
from train.tiny import slots, stage0
from train.tiny.bridge import FIRST_SEED, BridgeSettings
from train.tiny.eye import EyeSettings
from train.tiny.fitting import FIRST_SEED as FIRST_FITTED
from train.tiny.fitting import FittingSettings
from train.tiny.language import LanguageSettings


def test_slots_and_the_preset_count_the_same_queries() -> None:
    assert TINY.qformer.queries == slots.QUERIES


def test_no_part_trains_on_a_held_out_seed() -> None:
    language, eye, fitted, bridge = (
        each.steps
        for each in (LanguageSettings(), EyeSettings(), FittingSettings(), BridgeSettings())
    )
    assert language.steps * language.batch_size < HELD_OUT_SEEDS
    assert eye.steps * eye.batch_size < HELD_OUT_SEEDS
    assert FIRST_FITTED + fitted.steps * fitted.batch_size < HELD_OUT_SEEDS
    assert FIRST_SEED + bridge.steps * bridge.batch_size < FIRST_FITTED - 10_000


@pytest.mark.slow
@pytest.mark.usefixtures("uncompiled")
def test_from_nothing_to_an_answer(output: Path, tmp_path: Path) -> None:
    few = EyeSettings(steps=steps(2), held_out_scenes=4)
    stage0.run(output, only="language", threads=1, language=SMALL)
    stage0.run(output, only="vision", threads=1, eye=few)
    third = {
        "fitting": FittingSettings(steps=steps(2), solved_on=8),
        "bridge": BridgeSettings(length=200, steps=steps(2), held_out_scenes=4, questions=2),
    }
    stage0.run(output, only="bridge", threads=1, eye=few, **third)
    parts = parts_overrides(output)
    for stage, start in ((1, ""), (2, f"start={tmp_path / 'run1' / 'projection.safetensors'}")):
        short = ["schedule.steps=2", "schedule.warmup_steps=1", "batch_size=2", "check_pictures=1"]
        given = [*parts, *short, "check_tokens=4", *([start] if start else [])]
        arguments = ["--stage", str(stage), "--output", str(tmp_path / f"run{stage}")]
        assert run_main([*arguments, "--set", *given]) == 0
    projection = f"model.projection={tmp_path / 'run2' / 'projection.safetensors'}"
    alone = "model.other_projections=[]"  # those of the default demo belong to its own parts
    chat = build_chat(load_config(ROOT / "eval_configs" / "tiny.yaml", [*parts, projection, alone]))
    session = chat.new_session().attach(chat.encode_image(draw_scene(make_scene(0), 224)))
    settings = GenerationSettings(temperature=0, max_new_tokens=5)
    *_, last = chat.stream_answer(session, "What is this?", settings)
    assert last.session is not None
    chat.close()


def test_a_part_of_stage_0_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []
    monkeypatch.setattr(stage0, "run", lambda output, **given: asked.append((output, given)))
    assert run_main(["--stage", "0", "--only", "vision", "--output", str(tmp_path)]) == 0
    assert asked[0][0] == tmp_path
    assert asked[0][1]["only"] == "vision"
    many = ["--device", "cuda", "--larger-batches", "4"]
    assert run_main(["--stage", "0", *many, "--output", str(tmp_path)]) == 0
    plain, larger = (given["language"].steps for _, given in asked)
    assert asked[1][1]["device"] == "cuda"
    assert larger.steps * larger.batch_size == plain.steps * plain.batch_size
    assert larger.learning_rate == 2 * plain.learning_rate
    with pytest.raises(SystemExit):
        run_main(["--stage", "1", "--only", "vision"])
