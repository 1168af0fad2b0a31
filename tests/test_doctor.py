"""`python -m minigpt4 doctor` tells whether a demo would start, fast and without loading it."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from minigpt4 import cli, doctor
from minigpt4.checkpoints.fingerprints import fingerprint
from minigpt4.checkpoints.native import ProjectionRecord, save_part, save_projection
from minigpt4.doctor import Gpu, examine
from minigpt4.models import presets
from minigpt4.models.minigpt4 import MiniGPT4
from tests.checkpoints.parts import MODEL, RELEASE
from tests.conftest import SMALLER

ROOT = Path(__file__).parents[1]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "demo.yaml"
    path.write_text(yaml.safe_dump({"model": MODEL, "device": "cpu"}))
    return path


def test_a_whole_model_would_start(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--cfg-path", str(config)]) == 0
    text = capsys.readouterr().out
    for said in ("The demo would start.", "F16", "projection 32 to 48", "needs about", "torch"):
        assert said in text


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("model.vision=weights/eva_vit_g.pth", "storage.googleapis.com"),
        (f"model.projection={RELEASE / 'eva_vit.pth'}", "holds no projection"),
        ("model.qformer=", "needs one"),
        ("model.preset=eva_vit_h", "it is one of"),
        ("model.prompt_formt=tiny", "no such setting"),
        ("device=cuda", "no CUDA device was found"),
        ("quantize=4bit", "bitsandbytes|CUDA device only"),
    ],
)
def test_what_keeps_it_from_starting_is_said(
    override: str, said: str, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_gpus", tuple)
    report = examine(config, [override])
    assert not report.would_start
    assert any(part in str(report) for part in said.split("|"))


def test_everything_missing_is_told_at_once() -> None:
    report = examine(ROOT / "eval_configs" / "minigpt4_vicuna_7b.yaml")
    missing = [finding.what for finding in report.findings if finding.state == "wrong"]
    assert {"vision", "qformer", "language_model", "projection"} <= set(missing)


def test_a_gpu_that_is_too_small_is_told_with_what_would_fit(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_gpus", lambda: (Gpu("Small", 10_000_000),))
    report = examine(config, ["device=cuda"])
    assert "this GPU has 9.5 MiB free" in str(report)
    monkeypatch.setattr(doctor, "_gpus", lambda: (Gpu("Big", 2**34),))
    assert examine(config, ["device=cuda"]).would_start
    assert not examine(config, ["device=cuda:1"]).would_start


@pytest.fixture
def own_config(
    tiny_model: MiniGPT4, tokenizer_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A model of our own files, as training writes them."""
    monkeypatch.setattr(presets, "PRESETS", {"smaller": SMALLER})
    language = tmp_path / "language"
    shutil.copytree(tokenizer_folder, language)
    tiny_model.language.model.save_pretrained(language)
    for part in ("vision", "qformer"):
        save_part(tmp_path / part, getattr(tiny_model, part), part, preset="smaller")  # type: ignore[arg-type]
        (tmp_path / part).rename(tmp_path / f"{part}.safetensors")
    vision, qformer, projection = (
        tmp_path / f"{part}.safetensors" for part in ("vision", "qformer", "projection")
    )
    frozen = fingerprint(vision, qformer, language)
    record = ProjectionRecord(
        preset="smaller", prompt_format="tiny", stage=2, step=9, frozen=frozen
    )
    save_projection(projection, tiny_model.projection, record)
    model = {path.stem: str(path) for path in (vision, qformer, projection)}
    model |= {"preset": "smaller", "prompt_format": "tiny", "language_model": str(language)}
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump({"model": model, "device": "cpu"}))
    return path


def test_our_own_files_are_examined_too(own_config: Path) -> None:
    report = examine(own_config)
    assert report.would_start, str(report)
    told = examine(own_config, ["model.prompt_format=alignment"])
    assert told.would_start
    assert "was trained with prompt format tiny, and alignment is set" in str(told)
    mixed = examine(own_config, [f"model.vision={own_config.parent / 'qformer.safetensors'}"])
    assert "does not say that it is a vision" in str(mixed)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("device=cuda", "no CUDA device was found"),
        ("device=cuda:3", "no CUDA device was found"),
        ("quantize=8bit", "quantize: 8bit given; preset smaller does not take it"),
        ("spread=true", "spread: True given; preset smaller does not take it"),
        ("model.image_size=64", "model.image_size: 64 given; preset smaller does not take it"),
        ("model.vision_heads=2", "model.vision_heads: 2 given"),
        ("generation.max_new_tokens=2048", "the 2048 tokens that language reads"),
        ("generation.max_new_tokens=4096", "generation.max_new_tokens: 4096 given"),
    ],
)
def test_settings_count_for_our_own_files_too(
    override: str, said: str, own_config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_gpus", tuple)
    report = examine(own_config, [override])
    assert not report.would_start
    assert said in str(report)


def test_a_projection_of_other_parts_would_not_start(own_config: Path) -> None:
    tokenizer = own_config.parent / "language" / "tokenizer.model"
    other = own_config.parent / "other"
    shutil.copytree(tokenizer.parent, other)
    state = load_file(other / "model.safetensors")
    state["model.norm.weight"] += 1
    save_file(state, other / "model.safetensors", {"format": "pt"})
    report = examine(own_config, [f"model.language_model={other}"])
    assert not report.would_start
    assert "was trained on other parts" in str(report)


@pytest.mark.parametrize("part", ["language", "vision", "qformer"])
def test_a_part_that_lacks_a_tensor_would_not_start(part: str, own_config: Path) -> None:
    folder = own_config.parent
    path, name = {
        "language": (
            folder / "language" / "model.safetensors",
            "model.layers.1.mlp.up_proj.weight",
        ),
        "vision": (folder / "vision.safetensors", "transformer.pos_embed"),
        "qformer": (folder / "qformer.safetensors", "query_tokens"),
    }[part]
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    state = load_file(path)
    del state[name]
    save_file(state, path, metadata)
    report = examine(own_config)
    assert not report.would_start
    assert f"missing: {name}" in str(report)


def test_the_checksum_of_a_small_file_is_compared(own_config: Path) -> None:
    place = own_config.parent / "projection.safetensors"
    report = examine(own_config, [f"model.projection={place}#sha256={'0' * 64}"])
    assert not report.would_start
    assert "its sha256 is" in str(report)
    sha256 = hashlib.sha256(place.read_bytes()).hexdigest()
    assert examine(own_config, [f"model.projection={place}#sha256={sha256}"]).would_start
    folder = own_config.parent / "language"
    report = examine(own_config, [f"model.language_model={folder}#sha256={'0' * 64}"])
    assert "it is a folder" in str(report)


def test_a_projection_of_ours_on_released_parts(config: Path, tmp_path: Path) -> None:
    path = tmp_path / "projection.safetensors"
    record = ProjectionRecord(
        preset="eva_vit_g", prompt_format="vicuna_v0", stage=2, step=1, frozen="0" * 64
    )
    save_projection(path, torch.nn.Linear(32, 48), record)
    report = examine(config, [f"model.projection={path}"])
    assert not report.would_start
    assert "was trained on other parts" in str(report)


def test_spread_without_a_gpu_would_not_start(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_gpus", tuple)
    report = examine(config, ["spread=true"])
    assert not report.would_start
    assert "spread: True given; it lays the language model over CUDA devices" in str(report)


def test_it_needs_no_torch(config: Path) -> None:
    code = (
        "import sys; from minigpt4.cli import main; code = main(sys.argv[1:]); "
        "assert 'torch' not in sys.modules; sys.exit(code)"
    )
    command = [sys.executable, "-c", code, "doctor", "--cfg-path", str(config)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
