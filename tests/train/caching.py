"""What tests of the feature cache share."""

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from minigpt4.models.minigpt4 import MiniGPT4
from train import feature_cache
from train.look_once import look_once
from train.query_outputs import QueryOutputs
from train.samples import Batches
from train.settings import TrainSettings
from train.stages import Stage, check_own_data, stage_of
from train.validation import Checked


def prepared(
    model: MiniGPT4, settings: TrainSettings, *, on: Accelerator | None = None
) -> tuple[str, Batches, Stage]:
    """What `train/run.py` does up to the first step."""
    own: Checked | None = check_own_data(settings) if settings.own_data.path else None
    stage = stage_of(settings, own)
    batches = Batches(
        model, stage.prompt_format, stage.sample_of, workers=settings.workers, tally=stage.web
    )
    said: list[str] = []
    accelerator = on or Accelerator(cpu=True)
    line = look_once(settings, stage, model, batches, accelerator, own=own, say=said.append)
    return "".join([*said, line]), batches, stage


def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of all pictures that are looked at from here on."""
    looked: list[str] = []
    look = QueryOutputs.look

    def counted(self: QueryOutputs, values: Any) -> dict[str, torch.Tensor]:
        looked.extend(values)
        return look(self, values)

    monkeypatch.setattr(QueryOutputs, "look", counted)
    return looked


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def small_parts(monkeypatch: pytest.MonkeyPatch, rows: int = 2) -> None:
    monkeypatch.setattr(feature_cache, "_MOST_ROWS", rows)
