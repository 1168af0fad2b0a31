"""Stage 0 in a few steps: it runs, resumes, learns the first things, and saves what stage 1 loads."""

from pathlib import Path

import pytest
import torch

from minigpt4.build import build_chat
from minigpt4.checkpoints.native import load_part
from minigpt4.config import GenerationSettings, load_config
from minigpt4.models.language import load_language_model
from minigpt4.models.presets import TINY
from minigpt4.models.qformer import QFormer
from minigpt4.models.vision import VisionEncoder
from train.cartoon.describe import ATTRIBUTE_WORDS
from train.cartoon.draw import draw_scene
from train.cartoon.scene import Scene, Thing, make_scene
from train.embedded.steps import StepSettings
from train.errors import TrainingError
from train.run import main as run_main
from train.tiny import report, stage0
from train.tiny.bridge import FIRST_SEED as FIRST_BRIDGE_SEED
from train.tiny.bridge import BridgeSettings
from train.tiny.evaluate import FIRST_SEED
from train.tiny.language import (
    HELD_OUT_SEEDS,
    LanguageBatches,
    LanguageSettings,
    gate,
    new_language_model,
    train_language,
)
from train.tiny.slots import QUERIES, FusedSlots, slot_words
from train.tiny.vision import NOTHING, VisionSettings, train_vision, truth

ROOT = Path(__file__).parents[2]


def _steps(number: int, **changes: float) -> StepSettings:
    settings = {
        "steps": number,
        "batch_size": 4,
        "learning_rate": 1e-3,
        "warmup_steps": 2,
        "weight_decay": 0.02,
        "check_every": 2,
    }
    return StepSettings(**{**settings, **changes})


def _language(number: int) -> LanguageSettings:
    return LanguageSettings(width=64, depth=1, heads=2, intermediate=64, steps=_steps(number))


@pytest.fixture
def folder(tokenizer_folder, tmp_path):
    target = tmp_path / "language"
    target.mkdir()
    for file in tokenizer_folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


def test_every_word_that_carries_something_is_one_token(folder):
    language = new_language_model(folder, _language(1))
    split = {word for word in ATTRIBUTE_WORDS if len(language.encode(word)) != 1}
    assert split == set()


def test_a_slot_is_the_sum_of_its_words(folder):
    language = new_language_model(folder, _language(1))
    car = Thing("car", "red", "small", 0.5, 0.5, 0.1)
    scene = Scene(seed=0, background="beach", things=(car,))
    words = slot_words(scene)
    assert len(words) == QUERIES
    assert words[4] == ("small", "red", "car", "center")
    assert words[0] == ("nothing", "top", "left")
    assert words[9] == ("background", "beach")
    slots = FusedSlots(language)
    generator = torch.Generator().manual_seed(0)
    made = slots.embed(slots.ids([scene]), 0.0, generator)[0, 4]
    ids = torch.tensor([language.encode(word)[0] for word in words[4]])
    assert torch.allclose(made, language.embed(ids).sum(dim=0), atol=1e-6)
    noisy = slots.embed(slots.ids([scene]), 0.4, generator)[0, 4]
    assert 0 < (noisy - made).norm() < 2 * made.norm()


def test_language_resumes_bit_equal(folder, tmp_path):
    straight = train_language(folder, _language(6), tmp_path / "a.pt", lambda _: None)
    weights = {name: each.clone() for name, each in straight.state_dict().items()}

    class KilledError(Exception):
        pass

    def kill(scores):
        if scores["step"] == 4:
            raise KilledError

    with pytest.raises(KilledError):
        train_language(folder, _language(6), tmp_path / "b.pt", kill)
    seen = []
    resumed = train_language(folder, _language(6), tmp_path / "b.pt", seen.append)
    # The kill came before step 4 was saved, so the run goes on after step 2.
    assert [scores["step"] for scores in seen] == [4, 6]
    different = [
        name for name, each in resumed.state_dict().items() if not torch.equal(each, weights[name])
    ]
    assert different == []


def test_a_state_of_other_settings_is_refused(folder, tmp_path):
    train_language(folder, _language(2), tmp_path / "state.pt", lambda _: None)
    with pytest.raises(TrainingError, match="begun with other settings"):
        train_language(folder, _language(4), tmp_path / "state.pt", lambda _: None)


def test_no_part_trains_on_a_held_out_seed():
    language, vision, bridge = (
        each.steps for each in (LanguageSettings(), VisionSettings(), BridgeSettings())
    )
    assert language.steps * language.batch_size < HELD_OUT_SEEDS
    assert vision.steps * vision.batch_size < HELD_OUT_SEEDS
    assert FIRST_BRIDGE_SEED + bridge.steps * bridge.batch_size < HELD_OUT_SEEDS < FIRST_SEED


def test_from_nothing_to_an_answer(tmp_path):
    """Stage 0 whole, as `--stage 0` runs it, then the projection, then a chat on what came out."""
    language = LanguageSettings(steps=_steps(2))
    vision = VisionSettings(steps=_steps(2), held_out_scenes=4)
    stage0.run(tmp_path, language, vision, BridgeSettings(steps=_steps(2)))
    parts = [f"model.{part}={tmp_path / part}.safetensors" for part in ("vision", "qformer")]
    parts.append(f"model.language_model={tmp_path / 'language'}")
    for stage, start in ((1, ""), (2, f"start={tmp_path / 'run1' / 'projection.safetensors'}")):
        few = ["schedule.steps=2", "schedule.warmup_steps=1", "batch_size=2", "check_pictures=1"]
        given = [*parts, *few, *([start] if start else [])]
        arguments = ["--stage", str(stage), "--output", str(tmp_path / f"run{stage}")]
        assert run_main([*arguments, "--set", *given]) == 0
    projection = f"model.projection={tmp_path / 'run2' / 'projection.safetensors'}"
    alone = "model.other_projections=[]"  # those of the default demo belong to its own parts
    chat = build_chat(load_config(ROOT / "eval_configs" / "tiny.yaml", [*parts, projection, alone]))
    session = chat.new_session().attach(chat.encode_image(draw_scene(make_scene(0))))
    settings = GenerationSettings(temperature=0, max_new_tokens=5)
    *_, last = chat.stream_answer(session, "What is this?", settings)
    assert last.session is not None


def test_the_report_is_written(tmp_path):
    report.main(["--scenes", "4", "--output", str(tmp_path), "--pictures", str(tmp_path)])
    card = (tmp_path / "MODEL_CARD.md").read_text()
    assert "| color | 4 |" in card
    assert "{{" not in card
    assert (tmp_path / "tiny-contact-sheet.png").is_file()


def test_the_gate_is_not_passed_by_guessing(folder):
    scores = gate(new_language_model(folder, _language(1)), _language(1), 10)
    assert set(scores.values()) == {0.0}


def test_batches_follow_the_curriculum(folder, monkeypatch):
    settings = _language(100)
    batches = LanguageBatches(new_language_model(folder, settings), settings)
    asked = []
    monkeypatch.setattr(
        "train.tiny.language.make_scene",
        lambda seed, max_things: asked.append(max_things) or make_scene(seed),
    )
    for step in (0, 14, 15, 30, 99):
        batches.training(step)
    assert asked[::4] == [2, 2, 3, 5, 5]


def test_truth_of_a_scene():
    things = (
        Thing("sign", "blue", "large", 0.1, 0.1, 0.15, "STOP"),
        Thing("car", "red", "small", 0.9, 0.5, 0.1),
    )
    labels = truth([Scene(seed=0, background="white", things=things)])
    assert labels["kind"][0].tolist() == [14, *[NOTHING] * 4, 7, *[NOTHING] * 3]
    assert labels["word"][0].tolist() == [0, *[-100] * 8]
    assert labels["color"][0, 5] == 0
    assert labels["background"].tolist() == [0]


def test_the_eye_trains_and_the_bridge_saves_parts_that_load(folder, tmp_path):
    language = train_language(folder, _language(2), tmp_path / "language.pt", lambda _: None)
    vision = VisionSettings(steps=_steps(12, batch_size=8), held_out_scenes=8)
    reports = []
    held_out = [make_scene(10_000 + number) for number in range(8)]
    eye = train_vision(vision, tmp_path / "vision.pt", held_out, reports.append)
    assert reports[-1]["step"] == 12
    assert set(reports[-1]) >= {"kind", "color", "size", "background", "occupied"}
    torch.save(eye.state_dict(), tmp_path / "eye.pt")
    frozen = {name: each.clone() for name, each in eye.vision.state_dict().items()}
    queries = eye.qformer.query_tokens.clone()
    stage0.make_bridge(tmp_path, vision, BridgeSettings(steps=_steps(2)))

    loaded = VisionEncoder(TINY.vision)
    load_part(tmp_path / "vision.safetensors", loaded, "vision", preset="tiny")
    changed = [name for name, each in loaded.state_dict().items() if not each.equal(frozen[name])]
    assert changed == [], "the bridge leaves the vision encoder alone"
    qformer = QFormer(TINY.qformer, TINY.vision.width)
    load_part(tmp_path / "qformer.safetensors", qformer, "qformer", preset="tiny")
    assert not qformer.query_tokens.equal(queries)
    again = load_language_model(folder, torch.float32)
    for name, each in again.model.state_dict().items():
        assert each.equal(language.model.state_dict()[name]), name
