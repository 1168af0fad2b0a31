"""Before and after: several projections on the same frozen parts, and one picture seen through each."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

from minigpt4.build import build_chat, build_model, build_others
from minigpt4.chat import Chat
from minigpt4.checkpoints.fingerprints import fingerprint
from minigpt4.checkpoints.native import ProjectionRecord, save_projection
from minigpt4.config import Config, GenerationSettings, check_files, load_config, locate
from minigpt4.errors import CheckpointError, ConfigError, PromptError
from minigpt4.models.projections import named_projections
from tests.checkpoints.test_build_released import config_of
from train.cartoon.describe import describe
from train.cartoon.draw import draw_scene
from train.cartoon.scene import make_scene

CONFIG = Path(__file__).parents[1] / "eval_configs" / "tiny.yaml"
GREEDY = GenerationSettings(temperature=0, max_new_tokens=80, repetition_penalty=1)
HARBOUR = locate("assets:examples/harbour.png")
LONG = "Describe this image in detail."
COLOR = "What color is the boat?"
FROZEN = fingerprint(
    *(locate(f"assets:tiny/{part}") for part in ("vision.safetensors", "qformer.safetensors")),
    locate("assets:tiny/language"),
)


def config_with(weights: object, label: str = "Mine") -> Config:
    return load_config(
        CONFIG,
        ["device=cpu", f"model.other_projections=[{{label: {label}, weights: '{weights}'}}]"],
    )


@pytest.fixture(scope="module")
def chat() -> Iterator[Chat]:
    chat = build_chat(load_config(CONFIG, ["device=cpu"]))
    yield chat
    chat.close()


def last_part(chat: Chat, session, question: str, projection: str | None = None):
    *_, last = chat.stream_answer(session, question, GREEDY, projection=projection)
    return last


def test_stage_one_and_stage_two_answer_differently_about_one_picture(chat):
    # Both describe the examples rightly; of this scene stage 1 sees one fish twice.
    scene = make_scene(9_000_042, min_things=3)
    session = chat.new_session().attach(chat.encode_image(draw_scene(scene, 224)))
    question = "Describe this image in detail."
    before = last_part(chat, session, question, "Stage 1")
    after = last_part(chat, session, question)
    assert after.text == describe(scene)
    assert before.text != after.text
    # Either can be gone on from, through either.
    moon = "What color is the moon?"
    assert last_part(chat, before.session, moon).text == "The moon is orange."
    again = last_part(chat, session, question, "Stage 1")
    assert again.text == before.text
    # An engine that keeps what it read of a picture must not take one for the other.
    assert last_part(chat, session, question).text == after.text


def test_switching_costs_one_matrix_product_and_no_second_look(chat):
    image = chat.encode_image(HARBOUR)
    (other,) = chat._others.values()
    layer = nn.Linear(image.query_output.shape[1], image.visual_tokens.shape[1])
    with safe_open(locate("assets:tiny/projection_stage1.safetensors"), "pt") as file:
        layer.load_state_dict({name: file.get_tensor(name) for name in ("weight", "bias")})
    expected = image.query_output @ layer.weight.T + layer.bias
    torch.testing.assert_close(other.visual_tokens(image.query_output), expected)
    own = chat._model.project(image.query_output)
    torch.testing.assert_close(own.detach(), image.visual_tokens)
    assert not torch.allclose(expected, image.visual_tokens)
    looked = chat.statistics().encoder.encoded
    last_part(chat, chat.new_session().attach(image), "What is this?", "Stage 1")
    assert chat.statistics().encoder.encoded == looked


def test_the_engine_knows_a_picture_by_projection(chat, monkeypatch):
    seen = []
    stream = chat._engine.stream

    def listening(prompt, pictures, *rest):
        seen.append((prompt.image_keys, tuple(pictures)))
        return stream(prompt, pictures, *rest)

    monkeypatch.setattr(chat._engine, "stream", listening)
    image = chat.encode_image(HARBOUR)
    session = chat.new_session().attach(image)
    last = last_part(chat, session, "What is this?", "Stage 1")
    last_part(chat, session, "What is this?")
    (through, tokens), (own, _) = seen
    assert own == (image.key,)
    assert through == tokens
    assert through != own
    assert through[0].startswith(image.key)
    # The session knows the picture by its content alone.
    assert last.session.conversation.image_keys == (image.key,)


def test_keys_follow_the_weights():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        one, two = nn.Linear(3, 4), nn.Linear(3, 4)
    same = nn.Linear(3, 4)
    same.load_state_dict(one.state_dict())
    first, second, third = named_projections({"a": one, "b": two, "c": same})
    assert first.key == third.key
    assert first.key != second.key
    assert not any(weight.requires_grad for weight in first.layer.parameters())


def test_an_unknown_projection_is_refused_in_words(chat):
    with pytest.raises(PromptError, match=r"'Stage 9'.*Stage 1"):
        last_part(chat, chat.new_session(), "What is this?", "Stage 9")


def test_a_chat_without_others_keeps_no_query_output():
    alone = build_chat(load_config(CONFIG, ["device=cpu", "model.other_projections=[]"]))
    try:
        image = alone.encode_image(HARBOUR)
        assert image.query_output is None
    finally:
        alone.close()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"frozen": "0" * 64}, "was trained on other parts"),
        ({"width": 128}, r"expected \(160, 128\)"),
        ({"bad": True}, "not finite"),
    ],
)
def test_another_projection_is_held_to_the_same_checks(tmp_path, change, told):
    own = torch.nn.Linear(128, change.get("width", 160))
    if change.get("bad"):
        own.weight.data[0, 0] = float("nan")
    record = ProjectionRecord(
        preset="tiny", prompt_format="tiny", stage=2, step=1, frozen=change.get("frozen", FROZEN)
    )
    path = tmp_path / "mine.safetensors"
    save_projection(path, own, record)
    with pytest.raises(CheckpointError, match=told) as refused:
        build_chat(config_with(path))
    assert "mine.safetensors" in str(refused.value)


def test_one_that_a_user_trained_is_taken(tmp_path):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        mine = nn.Linear(128, 160)
    record = ProjectionRecord(
        preset="tiny", prompt_format="caption", stage=1, step=1, frozen=FROZEN
    )
    path = tmp_path / "mine.safetensors"
    save_projection(path, mine, record)
    chat = build_chat(config_with(path))
    try:
        session = chat.new_session().attach(chat.encode_image(HARBOUR))
        assert last_part(chat, session, LONG, "Mine").text != last_part(chat, session, LONG).text
    finally:
        chat.close()


def test_the_settings_are_checked_before_anything_is_loaded(tmp_path):
    with pytest.raises(ConfigError, match=r"other_projections\[0\].weights"):
        check_files(config_with(tmp_path / "missing.safetensors"))
    with pytest.raises(ConfigError, match="Give each its own name"):
        config_with("assets:tiny/projection_stage1.safetensors", label="Stage 2")
    with pytest.raises(ConfigError, match="and not Compare"):
        config_with("assets:tiny/projection_stage1.safetensors", label="Compare")
    with pytest.raises(ConfigError, match="1 to 30 characters"):
        config_with("assets:tiny/projection_stage1.safetensors", label="x" * 31)


def test_a_released_projection_stands_beside_another(tmp_path):
    own = build_model(config_of(tmp_path, precision="float32")).projection
    shape = tuple(own.weight.shape)
    state = {"llama_proj.weight": torch.ones(shape), "llama_proj.bias": torch.ones(shape[0])}
    torch.save({"model": state}, tmp_path / "stage1.pth")
    beside = [{"label": "Stage 1", "weights": str(tmp_path / "stage1.pth")}]
    config = config_of(tmp_path, precision="float32", other_projections=beside)
    (other,) = build_others(config, build_model(config))
    assert other.label == "Stage 1"
    assert other.layer.weight.dtype == torch.float32
    assert torch.equal(other.layer.weight, torch.ones(shape))

    state = {"llama_proj.weight": torch.ones(shape[0] + 1, shape[1])}
    torch.save({"model": state}, tmp_path / "stage1.pth")
    with pytest.raises(CheckpointError, match=r"stage1\.pth does not fit"):
        build_others(config, build_model(config))
