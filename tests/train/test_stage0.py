"""Stage 0 in a few steps: it runs, resumes, learns the first things, and saves what stage 1 loads."""

import pytest
import torch

from minigpt4.checkpoints.native import load_part
from minigpt4.models.language import load_language_model
from minigpt4.models.presets import TINY
from minigpt4.models.qformer import QFormer
from minigpt4.models.vision import VisionEncoder
from train.cartoon.describe import ATTRIBUTE_WORDS
from train.cartoon.scene import Scene, Thing, make_scene
from train.tiny import stage0
from train.tiny.bridge import BridgeSettings
from train.tiny.language import (
    LanguageBatches,
    LanguageSettings,
    gate,
    new_language_model,
    train_language,
)
from train.tiny.slots import QUERIES, FusedSlots, slot_words
from train.tiny.steps import StepSettings
from train.tiny.vision import NOTHING, VisionSettings, train_vision, truth


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
