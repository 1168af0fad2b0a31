"""`python -m minigpt4 doctor` tells whether a demo would start, fast and without loading it."""

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from minigpt4 import cli, doctor
from minigpt4.checkpoints.native import ProjectionRecord, save_part, save_projection
from minigpt4.doctor import Gpu, examine
from minigpt4.models.minigpt4 import MiniGPT4
from tests.conftest import SMALLER

ROOT = Path(__file__).parents[1]
RELEASE = ROOT / "tests" / "golden" / "release"
MODEL: dict[str, Any] = {
    "preset": "eva_vit_g",
    "prompt_format": "vicuna_v0",
    "vision": str(RELEASE / "eva_vit.pth"),
    "qformer": str(RELEASE / "blip2_pretrained.pth"),
    "language_model": str(RELEASE / "llama"),
    "projection": str(RELEASE / "pretrained_minigpt4.pth"),
    "image_size": 56,
    "vision_heads": 4,
    "qformer_heads": 4,
}
SECONDS = 3.0


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
    monkeypatch.setattr(doctor, "PRESETS", {"smaller": SMALLER})
    language = tmp_path / "language"
    shutil.copytree(tokenizer_folder, language)
    tiny_model.language.model.save_pretrained(language)
    for part in ("vision", "qformer"):
        save_part(tmp_path / part, getattr(tiny_model, part), part, preset="smaller")  # type: ignore[arg-type]
    record = ProjectionRecord(preset="smaller", prompt_format="tiny", stage=2, step=9, frozen="0")
    save_projection(tmp_path / "projection", tiny_model.projection, record)
    parts = ("vision", "qformer", "projection")
    for part in parts:
        (tmp_path / part).rename(tmp_path / f"{part}.safetensors")
    model = {part: str(tmp_path / f"{part}.safetensors") for part in parts}
    model |= {"preset": "smaller", "prompt_format": "tiny", "language_model": str(language)}
    path = tmp_path / "own.yaml"
    path.write_text(yaml.safe_dump({"model": model, "device": "cpu"}))
    return path


def test_our_own_files_are_examined_too(own_config: Path) -> None:
    report = examine(own_config)
    assert report.would_start, str(report)
    told = examine(own_config, ["model.prompt_format=vicuna_v0"])
    assert "was made with prompt_format tiny, and vicuna_v0 is set" in str(told)
    mixed = examine(own_config, [f"model.vision={own_config.parent / 'qformer.safetensors'}"])
    assert "does not say that it is a vision" in str(mixed)


def test_it_is_fast_and_needs_no_torch(config: Path) -> None:
    code = (
        "import sys; from minigpt4.cli import main; code = main(sys.argv[1:]); "
        "assert 'torch' not in sys.modules; sys.exit(code)"
    )
    command = [sys.executable, "-c", code, "doctor", "--cfg-path", str(config)]
    started = time.process_time(), time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert time.perf_counter() - started[1] < SECONDS
