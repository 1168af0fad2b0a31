"""A configuration with vLLM servers: what it may say, what is loaded, what the doctor finds."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from minigpt4 import doctor
from minigpt4.build import build_chat
from minigpt4.checkpoints.embeddings import load_language_input
from minigpt4.checkpoints.language_files import inspect_language
from minigpt4.config import ASSETS, GenerationSettings, load_config
from minigpt4.engines.vllm import VllmEngine
from minigpt4.errors import CheckpointError, ConfigError, EngineError
from minigpt4.models.language import load_language_model
from tests.engines.vllm_stub import StubServer, event, stream

ROOT = Path(__file__).parents[2]
SERVED = ROOT / "eval_configs/tiny_vllm.yaml"
LANGUAGE = ASSETS / "tiny/language"
GREEDY = GenerationSettings(temperature=0.0, max_new_tokens=80)


@pytest.fixture
def server() -> Iterator[StubServer]:
    stub = StubServer()
    yield stub
    stub.close()


def told(path: Path | str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    return str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["engine.urls=[]"], "engine.urls: none given"),
        (["engine.urls=[localhost:8000]"], "http://127.0.0.1:8000"),
        (["engine.urls=[ftp://host]"], "http://127.0.0.1:8000"),
        (["engine.urls=[http://a, http://a]"], "Name each server once"),
        (["generation.num_beams=3"], "vLLM servers follow one answer at a time"),
        (["quantize=4bit"], "the servers hold the language model"),
        (["spread=true"], "the servers hold the language model"),
        (["engine.kind=batching"], "engine.kind batching does not ask"),
    ],
)
def test_what_servers_cannot_follow_is_told_before_anything_is_loaded(overrides, words):
    assert words in told(SERVED, *overrides)


@pytest.mark.load
def test_a_chat_is_built_without_the_language_model(server, monkeypatch):
    monkeypatch.setenv("MINIGPT4_VLLM_API_KEY", "a-key")
    config = load_config(SERVED, [f"engine.urls=[{server.url}]", "device=cpu"])
    monkeypatch.setattr("minigpt4.build.load_language_model", None)  # it is not called
    chat = build_chat(config)
    try:
        words = chat._model.language.encode("The picture shows a boat.###")
        server.usual = stream(event(*words[:-1]), event(words[-1], finish="stop"))
        session = chat.new_session().attach(chat.encode_image(ASSETS / "examples/harbour.png"))
        *_, last = chat.stream_answer(session, "Describe this picture in detail.", GREEDY)
        assert last.text == "The picture shows a boat."
        assert set(server.keys) == {"Bearer a-key"}
        assert isinstance(chat._engine, VllmEngine)
    finally:
        chat.close()


@pytest.mark.load
def test_no_server_is_told_with_its_address(server):
    server.close()
    config = load_config(SERVED, [f"engine.urls=[{server.url}]", "device=cpu"])
    with pytest.raises(ConfigError, match="no server at this address"):
        build_chat(config)


def test_the_input_side_is_the_same_as_that_of_the_whole_model():
    whole = load_language_model(LANGUAGE, torch.float32)
    part = load_language_input(inspect_language(LANGUAGE))
    ids = torch.tensor([[1, 5, 300, 1023]])
    torch.testing.assert_close(part.embed(ids), whole.embed(ids), rtol=0, atol=0)
    assert part.width == whole.width == 160
    assert (part.bos_id, part.eos_id) == (whole.bos_id, whole.eos_id)
    assert part.encode("a red boat") == whole.encode("a red boat")
    ids = part.encode("The picture")
    assert part.decode(ids) == whole.decode(ids) == "The picture"
    assert not any(weight.requires_grad for weight in part.parameters())
    with pytest.raises(EngineError):
        part.model  # noqa: B018 - reading it is the test


def test_embeddings_may_be_held_in_16_bits():
    part = load_language_input(inspect_language(LANGUAGE), dtype=torch.bfloat16)
    assert part.embed(torch.tensor([3])).dtype == torch.bfloat16


def test_damaged_embeddings_are_refused(tmp_path):
    folder = tmp_path / "language"
    shutil.copytree(LANGUAGE, folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.embed_tokens.weight"][5, 7] = float("nan")
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="not finite"):
        load_language_input(inspect_language(folder))


def test_a_folder_whose_tensors_do_not_fit_is_refused_though_one_alone_is_read(tmp_path):
    folder = tmp_path / "language"
    shutil.copytree(LANGUAGE, folder)
    weights = load_file(folder / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"model\.norm\.weight"):
        load_language_input(inspect_language(folder))


def found(*overrides: str) -> dict[str, doctor.Finding]:
    return {each.what: each for each in doctor.examine(SERVED, overrides).findings}


@pytest.mark.load
def test_the_doctor_says_whether_the_servers_are_there(server):
    other = StubServer()
    urls = f"engine.urls=[{server.url}, {other.url}/v1]"
    try:
        assert found(f"engine.urls=[{server.url}]")["vLLM server"].state == "ok"
        both = found(urls)
        assert {both[f"vLLM server {number}"].state for number in (1, 2)} == {"ok"}
        other.health = 503
        assert found(urls)["vLLM server 2"].state == "warning"
        server.health = 503
        assert found(urls)["vLLM server 1"].state == "wrong"
    finally:
        other.close()
    assert not doctor.examine(SERVED, [f"engine.urls=[{other.url}]"]).would_start
