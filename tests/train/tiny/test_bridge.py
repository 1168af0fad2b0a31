"""The Q-Former's second lesson and stage 0 as a whole, in two steps each."""

import copy
import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from minigpt4.checkpoints.native import load_part
from minigpt4.conversation import Conversation, Turn, render
from minigpt4.models.language import load_language_model
from minigpt4.models.presets import TINY as TINY_PRESET
from minigpt4.models.qformer import QFormer
from minigpt4.models.vision import VisionEncoder
from minigpt4.prompt_formats import TINY
from tests.train.tiny.conftest import SMALL, steps
from train.cartoon.scene import HELD_OUT_SEEDS, make_scene
from train.errors import TrainingError
from train.tiny import stage0
from train.tiny.bridge import (
    FIRST_SEED,
    Bridge,
    BridgeSettings,
    answer_loss_through,
    slot_starts,
    train_bridge,
)
from train.tiny.evaluate import FIRST_SEED as FIRST_EVALUATED
from train.tiny.eye import Eye, EyeSettings, load_weights, pixel_values, save_eye
from train.tiny.fitting import Fitted, FittingSettings
from train.tiny.language import answer_loss_of, place_slots
from train.tiny.lessons import Lessons

SMALL_PRESET = replace(
    TINY_PRESET,
    vision=replace(TINY_PRESET.vision, depth=1, mlp_ratio=1.0),
    qformer=replace(TINY_PRESET.qformer, depth=1, intermediate=64),
)
EYE = EyeSettings(preset=SMALL_PRESET, held_out_scenes=4, steps=steps(2))
FITTING = FittingSettings(solved_on=8, steps=steps(2))
BRIDGE = BridgeSettings(held_out_scenes=4, questions=1, length=200, steps=steps(2))
THIRD = {"eye": EYE, "fitting": FITTING, "bridge": BRIDGE}


@pytest.fixture
def eye():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return Eye(SMALL_PRESET).eval()


def test_slots_are_placed_as_in_the_language_models_own_training(eye, language):
    lessons = Lessons(language, plain_weight=0.2, length=200)
    rows = lessons.rows(range(8), 4)
    talk = Conversation((Turn("Hello!", "Hello! Ask me about the picture."),))
    bare = (make_scene(0), lessons.tokens(render(talk, TINY)))  # no picture is attached
    rows = [*rows[:3], bare]
    batch = lessons.batch(rows, length=200)
    bridge = Bridge(eye, nn.Linear(SMALL_PRESET.qformer.width, language.width)).eval()
    with torch.no_grad():
        features = eye.vision(pixel_values([scene for scene, _ in rows], SMALL_PRESET))
        found, queries, seen = answer_loss_through(bridge, language)(
            features, batch.ids, slot_starts(batch), batch.labels, batch.weights
        )
        tokens = bridge.projection(eye.qformer(features))
        embeds = place_slots(language, batch, tokens[batch.slot_rows])
        wanted = answer_loss_of(language)(embeds, batch.labels, batch.weights)
    assert slot_starts(batch).tolist()[3] == 200
    # Half of the way is computed in bfloat16 where the processor has it: 8 bits of fraction.
    assert found.item() == pytest.approx(wanted.item(), rel=2e-2)
    assert queries.shape == (4, SMALL_PRESET.qformer.queries, SMALL_PRESET.qformer.width)
    assert torch.allclose(seen, tokens, atol=0.05)


def test_the_bridge_changes_the_qformer_alone(eye, language, output, uncompiled):
    fitted = Fitted(eye, language.width)
    vision, qformer = (copy.deepcopy(part.state_dict()) for part in (eye.vision, eye.qformer))
    words = copy.deepcopy(language.model.state_dict())
    bridge = train_bridge(
        fitted,
        language,
        BRIDGE,
        preset=SMALL_PRESET,
        state=output / "state.pt",
        check=lambda *_: None,
    )
    assert all(each.equal(vision[name]) for name, each in eye.vision.state_dict().items())
    assert all(each.equal(words[name]) for name, each in language.model.state_dict().items())
    assert not eye.qformer.query_tokens.equal(qformer["query_tokens"])
    assert bridge.qformer is eye.qformer


def test_the_third_step_fits_the_eye_and_leaves_the_language_model(
    eye, language, output, uncompiled
):
    save_eye(eye, output / "eye.pt")
    language.model.save_pretrained(output / "language")
    stage0.run(output, only="bridge", threads=1, **THIRD)
    vision = VisionEncoder(SMALL_PRESET.vision)
    load_part(output / "vision.safetensors", vision, "vision", preset=SMALL_PRESET.name)
    before = eye.vision.state_dict()
    assert not all(each.equal(before[name]) for name, each in vision.state_dict().items())
    qformer = QFormer(SMALL_PRESET.qformer, SMALL_PRESET.vision.width)
    load_part(output / "qformer.safetensors", qformer, "qformer", preset=SMALL_PRESET.name)
    assert not qformer.query_tokens.equal(eye.qformer.query_tokens)
    again = load_language_model(output / "language", torch.float32).model.state_dict()
    assert all(each.equal(again[name]) for name, each in language.model.state_dict().items())
    thrown = torch.load(output / "throwaway.pt", weights_only=True)
    assert thrown["weight"].shape == (language.width, SMALL_PRESET.qformer.width)
    for title in ("fitting", "bridge"):
        (line,) = (output / f"scores-{title}.jsonl").read_text().splitlines()
        assert {"step", "mean", "count", "describe", "eye_kind"} <= json.loads(line).keys()


def test_a_killed_bridge_goes_on_where_it_stood(eye, language, output, uncompiled, monkeypatch):
    save_eye(eye, output / "eye.pt")
    language.model.save_pretrained(output / "language")
    four = THIRD | {"bridge": replace(BRIDGE, steps=steps(4))}
    stage0.run(output, only="bridge", threads=1, **four)
    straight = (output / "qformer.safetensors").read_bytes()
    for name in ("state-bridge.pt", "state-fitting.pt", "qformer.safetensors"):
        (output / name).unlink()

    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    # After the fitting and the bridge's state of step 2 are written, before that of step 4 is.
    real, calls = stage0.score, []

    def dies_the_third_time(*given):
        calls.append(1)
        return kill() if len(calls) == 3 else real(*given)

    monkeypatch.setattr(stage0, "score", dies_the_third_time)
    with pytest.raises(KeyboardInterrupt):
        stage0.run(output, only="bridge", threads=1, **four)
    assert (output / "state-bridge.pt").is_file()
    stage0.run(output, only="bridge", threads=1, **four)
    assert (output / "qformer.safetensors").read_bytes() == straight


def test_states_of_other_parts_are_refused(eye, language, output, uncompiled):
    save_eye(eye, output / "eye.pt")
    language.model.save_pretrained(output / "language")
    stage0.run(output, only="bridge", threads=1, **THIRD)
    stage0.run(output, only="bridge", threads=1, **THIRD)  # the same: nothing is left to do
    save_eye(Eye(SMALL_PRESET), output / "eye.pt")
    with pytest.raises(TrainingError, match=r"state-fitting.pt and state-bridge.pt .* Remove them"):
        stage0.run(output, only="bridge", threads=1, **THIRD)
    (output / "state-fitting.pt").unlink()
    with pytest.raises(TrainingError, match=r"state-bridge.pt .* another eye"):
        stage0.run(output, only="bridge", threads=1, **THIRD)
    (output / "state-bridge.pt").unlink()
    stage0.run(output, only="bridge", threads=1, **THIRD)


def test_the_bridge_says_what_it_lacks(output):
    with pytest.raises(TrainingError, match=r"needs .*eye\.pt, which is not there"):
        stage0.run(output, only="bridge", threads=1)


def test_one_part_alone_is_made(output, uncompiled, monkeypatch):
    monkeypatch.setattr("train.tiny.language.gate", lambda *_, **__: {"color": 0.5})
    stage0.run(output, only="language", threads=1, language=SMALL)
    assert (output / "language" / "model.safetensors").is_file()
    assert not (output / "eye.pt").exists()
    stage0.run(output, only="vision", threads=1, eye=EYE)
    loaded = Eye(SMALL_PRESET)
    load_weights(loaded, output / "eye.pt")
    assert not (output / "throwaway.pt").exists()


def test_the_command_gives_each_part_its_steps(monkeypatch, tmp_path):
    given = {}
    monkeypatch.setattr(stage0, "run", lambda output, **kwargs: given.update(kwargs))
    arguments = ["--output", str(tmp_path), "--only", "vision", "--threads", "1"]
    stage0.main([*arguments, "--eye-steps", "7", "--bridge-steps", "9", "--fitting-steps", "8"])
    assert given["only"] == "vision"
    assert given["threads"] == 1
    assert [given[name].steps.steps for name in ("eye", "fitting", "bridge")] == [7, 8, 9]
    assert given["language"] == type(given["language"])()


def test_no_part_trains_on_a_held_out_seed():
    bridge = BridgeSettings().steps
    assert FIRST_SEED + bridge.steps * bridge.batch_size < HELD_OUT_SEEDS < FIRST_EVALUATED
