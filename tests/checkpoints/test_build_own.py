"""The doctor and the demo say the same about a model of our own files, whatever is set."""

import hashlib
import json
import logging
import shutil
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from minigpt4 import doctor
from minigpt4.build import build_chat
from minigpt4.config import ASSETS, load_config
from minigpt4.doctor import examine
from minigpt4.errors import CheckpointError, ConfigError

CONFIG = Path(__file__).parents[2] / "eval_configs" / "tiny.yaml"
TINY = ASSETS / "tiny"
PROJECTION = "assets:tiny/projection.safetensors"
SHA256 = hashlib.sha256((TINY / "projection.safetensors").read_bytes()).hexdigest()


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_gpus", tuple)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    shutil.copytree(TINY, tmp_path / "tiny")
    return tmp_path / "tiny"


@pytest.mark.parametrize(
    "override",
    ["model.prompt_format=alignment", f"model.projection={PROJECTION}#sha256={SHA256}"],
)
def test_both_would_start(override: str) -> None:
    assert examine(CONFIG, [override, "device=cpu"]).would_start
    build_chat(load_config(CONFIG, [override, "device=cpu"]))


@pytest.mark.parametrize(
    "override",
    [
        f"model.projection={PROJECTION}#sha256={'0' * 64}",
        f"model.language_model=assets:tiny/language#sha256={'0' * 64}",
        "model.qformer=",
        "model.image_size=224",
        "model.vision_heads=4",
        "model.qformer_heads=4",
        "device=cuda",
        "device=mps",
        "quantize=4bit",
        "spread=true",
        "generation.max_new_tokens=2048",
    ],
)
def test_neither_would_start(override: str) -> None:
    refused(override)


def refused(*overrides: str) -> str:
    """What the demo says; the doctor must say it would not start."""
    given = ["device=cpu", *overrides]
    assert not examine(CONFIG, given).would_start
    with pytest.raises((ConfigError, CheckpointError)) as caught:
        build_chat(load_config(CONFIG, given))
    return str(caught.value)


def spoil(path: Path, name: str, *, drop: bool) -> None:
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    state = load_file(path)
    tensor = state.pop(name)
    save_file(state if drop else {**state, name: tensor + 1}, path, metadata)


def test_a_language_model_that_lacks_a_tensor(parts: Path) -> None:
    name = "model.layers.1.mlp.up_proj.weight"
    spoil(parts / "language" / "model.safetensors", name, drop=True)
    assert f"missing: {name} (480, 160)" in refused(f"model.language_model={parts / 'language'}")


def test_a_projection_of_other_parts(parts: Path) -> None:
    spoil(parts / "language" / "model.safetensors", "model.norm.weight", drop=False)
    assert "was trained on other parts" in refused(f"model.language_model={parts / 'language'}")


def test_a_file_of_another_version(parts: Path) -> None:
    path = parts / "qformer.safetensors"
    record = {"part": "qformer", "preset": "tiny", "version": 2}
    save_file(load_file(path), path, {"minigpt4": json.dumps(record)})
    assert "has format version 2" in refused(f"model.qformer={path}")


def test_another_prompt_format_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    said = "was trained with prompt format tiny, and alignment is set"
    override = "model.prompt_format=alignment"
    assert said in str(examine(CONFIG, [override, "device=cpu"]))
    with caplog.at_level(logging.WARNING, "minigpt4"):
        build_chat(load_config(CONFIG, [override, "device=cpu"]))
    assert said in caplog.text


def test_a_part_may_lie_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = tmp_path / "models--owner--name" / "snapshots" / commit
    snapshot.mkdir(parents=True)
    shutil.copy(TINY / "projection.safetensors", snapshot)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    override = f"model.projection=owner/name@{commit}:projection.safetensors"
    assert examine(CONFIG, [override, "device=cpu"]).would_start
    build_chat(load_config(CONFIG, [override, "device=cpu"]))
