"""What a run leaves on disk, and how it goes on from there.

    runs/NAME/
      settings.yaml            what was asked for, every default written out; fit for --config
      checkpoint.safetensors   projection, optimiser, position and settings: all a resume needs
      projection.safetensors   the projection as a demo loads it
      metrics.jsonl            one line a step
      samples.jsonl, samples.md, samples/   answers about held-out pictures
      loss.png
      data.json                of a user's own data: layout, counts, what the rows are; see own_data
      dropped_rows.jsonl       rows of them that could not be used, with line, cause and content

The checkpoint is one file that is replaced as a whole, so a run that is killed at any moment,
also while it saves, leaves a checkpoint that is complete. Lines of a later step than the
checkpoint's are dropped on resume: those steps are done again, with the same result.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
import yaml
from torch import nn

from minigpt4.checkpoints.native import (
    Json,
    ProjectionRecord,
    read_tensors,
    save_projection,
    write_tensors,
)
from minigpt4.errors import CheckpointError
from train.errors import TrainingError
from train.settings import TrainSettings, settings_from


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where a run stands.

    Attributes:
        step: Optimiser steps done.
        smoothed_loss: What the progress bar shows; None before the first step.
        skipped_in_a_row: Steps that were skipped because their loss was no number, up to now.
        seconds: Time spent training.
    """

    step: int = 0
    smoothed_loss: float | None = None
    skipped_in_a_row: int = 0
    seconds: float = 0.0


class RunFolder:
    """The files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def checkpoint(self) -> Path:
        """What a resume reads."""
        return self.path / "checkpoint.safetensors"

    @property
    def projection(self) -> Path:
        """What a demo reads."""
        return self.path / "projection.safetensors"

    @property
    def metrics(self) -> Path:
        """Loss, learning rate and speed, a line a step."""
        return self.path / "metrics.jsonl"

    @property
    def samples(self) -> Path:
        """Answers about held-out pictures, a line each."""
        return self.path / "samples.jsonl"

    @property
    def samples_page(self) -> Path:
        """The same for reading."""
        return self.path / "samples.md"

    @property
    def loss_curve(self) -> Path:
        """A picture of the metrics."""
        return self.path / "loss.png"

    @property
    def data(self) -> Path:
        """What a user's own data were when the run began."""
        return self.path / "data.json"

    @property
    def dropped_rows(self) -> Path:
        """Rows of them that could not be used, a line each."""
        return self.path / "dropped_rows.jsonl"

    def begin(self, settings: TrainSettings) -> None:
        """Makes the folder and writes the settings down."""
        self.path.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(asdict(settings), sort_keys=False)
        (self.path / "settings.yaml").write_text(text, encoding="utf-8")

    def begin_data(self, record: Mapping[str, Json], dropped: Iterable[Mapping[str, Json]]) -> None:
        """Writes down what a user's own data are, or checks that they are still the same.

        Raises:
            TrainingError: If a run that goes on was begun with other rows.
        """
        if self.checkpoint.is_file() and self.data.is_file():
            before = json.loads(self.data.read_text(encoding="utf-8"))
            if before["fingerprint"] != record["fingerprint"]:
                message = (
                    f"The run in {self.path} was begun with {before['usable']:,} other rows of "
                    f"{before['path']}; {record['usable']:,} are usable now. Restore the data, or "
                    "choose another --output."
                )
                raise TrainingError(message)
        self.path.mkdir(parents=True, exist_ok=True)
        text = json.dumps(record, indent=2, ensure_ascii=False)
        self.data.write_text(f"{text}\n", encoding="utf-8")
        self.dropped_rows.unlink(missing_ok=True)
        append_lines(self.dropped_rows, dropped)

    def stored_settings(self) -> TrainSettings:
        """The settings the run was started with.

        Raises:
            CheckpointError: If there is no checkpoint, or it is another version's.
        """
        _, header = read_tensors(self.checkpoint, "checkpoint")
        try:
            return settings_from(cast(dict[str, Any], header["settings"]))
        except (KeyError, TypeError) as error:
            message = f"{self.checkpoint} was written by another version of train/run.py: {error}"
            raise CheckpointError(message) from error

    def save(
        self,
        projection: nn.Linear,
        optimizer: torch.optim.Optimizer,
        position: Position,
        settings: TrainSettings,
        frozen: str,
    ) -> None:
        """Writes the checkpoint, and the projection for the demo.

        Raises:
            CheckpointError: If there is no room; the checkpoint before is unchanged.
        """
        state = optimizer.state_dict()["state"]
        tensors = {f"projection.{name}": each for name, each in projection.state_dict().items()}
        for index, slots in state.items():
            tensors |= {f"optimizer.{index}.{name}": each for name, each in slots.items()}
        header: dict[str, Json] = {
            "part": "checkpoint",
            "position": cast(Json, asdict(position)),
            "settings": cast(Json, asdict(settings)),
            "frozen": frozen,
        }
        write_tensors(self.checkpoint, tensors, header)
        record = ProjectionRecord(
            preset=settings.model.preset,
            prompt_format=settings.model.prompt_format if settings.stage == 2 else "caption",
            stage=settings.stage,
            step=position.step,
            frozen=frozen,
        )
        save_projection(self.projection, projection, record)

    def resume(
        self,
        projection: nn.Linear,
        optimizer: torch.optim.Optimizer,
        settings: TrainSettings,
        frozen: str,
    ) -> Position:
        """Fills projection and optimiser from the checkpoint, and says where the run stands.

        Raises:
            CheckpointError: If there is no checkpoint, or it is damaged.
            TrainingError: If the run was started with other settings or other parts.
        """
        tensors, header = read_tensors(self.checkpoint, "checkpoint")
        self._check_same(header, settings, frozen)
        weights: dict[str, torch.Tensor] = {}
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in tensors.items():
            owner, _, rest = name.partition(".")
            if owner == "projection":
                weights[rest] = tensor
            else:
                index, _, slot = rest.partition(".")
                state.setdefault(int(index), {})[slot] = tensor
        try:
            projection.load_state_dict(weights)
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": state, "param_groups": groups})
            position = Position(**cast(dict[str, Any], header["position"]))
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise CheckpointError(f"{self.checkpoint} is damaged: {error}") from error
        for lines in (self.metrics, self.samples):
            _drop_lines_after(lines, position.step)
        return position

    def _check_same(self, header: Mapping[str, Json], settings: TrainSettings, frozen: str) -> None:
        before = _flat(cast(dict[str, Json], header["settings"]))
        now = _flat(cast(dict[str, Json], asdict(settings)))
        changed = [
            f"{key}: {before.get(key)!r} then, {now.get(key)!r} now"
            for key in sorted(before.keys() | now.keys())
            if before.get(key) != now.get(key) and key not in _MAY_CHANGE
        ]
        if header["frozen"] != frozen:
            changed.append("the frozen parts: their files have other content now")
        if changed:
            lines = "\n".join(f"  {line}" for line in changed)
            message = (
                f"The run in {self.path} was started with other settings:\n{lines}\n"
                "Resume with the settings it was started with, or choose another --output."
            )
            raise TrainingError(message)


_MAY_CHANGE = frozenset(
    {"save_every", "check_every", "check_samples", "check_pictures", "check_tokens", "device"}
)
"""Settings that do not change what a run learns."""


def append_lines(path: Path, rows: Iterable[Mapping[str, Json]]) -> None:
    """Adds rows to a file of JSON lines."""
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of JSON lines; a last line that was cut off is left out."""
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _drop_lines_after(path: Path, step: int) -> None:
    rows = [row for row in read_lines(path) if row["step"] <= step]
    path.unlink(missing_ok=True)
    append_lines(path, rows)


def _flat(group: Mapping[str, Json], prefix: str = "") -> dict[str, Json]:
    flat: dict[str, Json] = {}
    for name, value in group.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
