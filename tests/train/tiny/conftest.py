"""A language model of the picture world in miniature, with random weights and a real tokenizer."""

import shutil
from pathlib import Path

import pytest
import torch

from minigpt4.models.language import LanguageModel
from train.tiny.language import LanguageSettings, new_language_model
from train.tiny.steps import StepSettings
from train.tiny.tokenizer import train_tokenizer


def steps(number: int, **changes: float) -> StepSettings:
    """A schedule of so many steps."""
    settings = {
        "steps": number,
        "batch_size": 4,
        "learning_rate": 1e-3,
        "warmup_steps": 2,
        "weight_decay": 0.02,
        "check_every": 2,
    }
    return StepSettings(**{**settings, **changes})


SMALL = LanguageSettings(width=64, depth=1, heads=2, intermediate=64, length=200, steps=steps(2))


@pytest.fixture(scope="session")
def world_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The picture world's tokenizer, trained on fewer scenes than the shipped one."""
    folder = tmp_path_factory.mktemp("world") / "language"
    train_tokenizer(folder, scenes=300)
    return folder


@pytest.fixture
def language(world_tokenizer: Path) -> LanguageModel:
    """The same random weights in every test."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return new_language_model(world_tokenizer, SMALL).eval()


@pytest.fixture
def output(world_tokenizer: Path, tmp_path: Path) -> Path:
    """A run's folder that has a tokenizer already."""
    shutil.copytree(world_tokenizer, tmp_path / "run" / "language")
    return tmp_path / "run"


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps are over long before a compiler is."""
    for name in ("language", "bridge", "eye"):
        monkeypatch.setattr(f"train.tiny.{name}.compiled", lambda each: each, raising=False)
