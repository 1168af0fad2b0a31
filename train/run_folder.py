"""What a run leaves on disk, and how it goes on from there.

    runs/NAME/
      settings.yaml            what was asked for, every default written out; fit for --config
      checkpoint.safetensors   projection, optimiser, position and settings: all a resume needs
      projection.safetensors   the projection as a demo loads it
      qformer.safetensors      the Q-Former that belongs to it, if it learned too
      metrics.jsonl            one line a step
      samples.jsonl, samples.md, samples/   answers about held-out pictures
      sheet.html, sheets/      the same to look at: one page, and a picture of every look
      loss.png
      tensorboard/             curves and sheets for TensorBoard
      wandb/, wandb_id         the same for Weights & Biases, where it was asked for
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

from minigpt4.checkpoints.fingerprints import fingerprint
from minigpt4.checkpoints.native import (
    Json,
    ProjectionRecord,
    save_part,
    save_projection,
    write_file,
)
from minigpt4.config import locate
from minigpt4.errors import CheckpointError
from minigpt4.models.presets import preset_named
from minigpt4.models.projection_layers import ProjectionLayer
from train.checkpoint_file import check_room, read_checkpoint, size_of, write_checkpoint
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
        loss_scale: In float16, what the loss is multiplied by against underflow.
        loss_scale_steps: Steps since it last changed.
    """

    step: int = 0
    smoothed_loss: float | None = None
    skipped_in_a_row: int = 0
    seconds: float = 0.0
    loss_scale: float | None = None
    loss_scale_steps: int = 0


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
    def qformer(self) -> Path:
        """The Q-Former that belongs to the projection, where it learned too."""
        return self.path / "qformer.safetensors"

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
    def sheet(self) -> Path:
        """The same to look at, as a page that stands by itself."""
        return self.path / "sheet.html"

    def sheet_of(self, step: int) -> Path:
        """The same of one look, as a picture."""
        return self.path / "sheets" / f"{step:07}.png"

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
        """Makes the folder, clears it of a run that was killed early, and writes the settings down.

        A run that was killed before its first checkpoint has nothing to go on from.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        if self.metrics.is_file() or self.samples.is_file():
            for left in ("metrics.jsonl", "samples.jsonl", "wandb_id", "samples/*.png",
                         "sheets/*.png", "tensorboard/events.*"):  # fmt: skip
                for path in self.path.glob(left):
                    path.unlink()
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
        _, header = read_checkpoint(self.checkpoint)
        return self._settings_in(header)

    def _settings_in(self, header: Mapping[str, Json]) -> TrainSettings:
        try:
            return settings_from(cast(dict[str, Any], header["settings"]))
        except (KeyError, TypeError) as error:
            message = f"{self.checkpoint} was written by another version of train/run.py: {error}"
            raise CheckpointError(message) from error

    def save(
        self,
        learned: Mapping[str, nn.Module],
        optimizer: torch.optim.Optimizer,
        position: Position,
        settings: TrainSettings,
        frozen: str,
    ) -> None:
        """Writes the checkpoint, and for the demo what learned.

        Raises:
            CheckpointError: If there is no room; the checkpoint before is unchanged.
        """
        state = optimizer.state_dict()["state"]
        tensors = {
            f"{part}.{name}": each
            for part, module in learned.items()
            for name, each in module.state_dict().items()
        }
        for index, slots in state.items():
            tensors |= {f"optimizer.{index}.{name}": each for name, each in slots.items()}
        header: dict[str, Json] = {
            "position": cast(Json, asdict(position)),
            "settings": cast(Json, asdict(settings)),
            "frozen": frozen,
        }
        for_demo = sum(size_of(module.state_dict()) for module in learned.values())
        check_room(self.path, size_of(tensors) + for_demo)
        record = ProjectionRecord(
            preset=settings.model.preset,
            prompt_format=settings.model.prompt_format if settings.stage == 2 else "caption",
            stage=settings.stage,
            step=position.step,
            frozen=self._save_qformer(learned, settings) or frozen,
        )
        projection = cast(ProjectionLayer, learned["projection"])
        # The checkpoint last: a run killed between the two does the steps since the checkpoint
        # before again, and writes both. The other way round, one killed at its very end would keep
        # an older projection for good.
        save_projection(self.projection, projection, record)
        write_checkpoint(self.checkpoint, tensors, header)

    def resume(
        self,
        learned: Mapping[str, nn.Module],
        optimizer: torch.optim.Optimizer,
        settings: TrainSettings,
        frozen: str,
    ) -> Position:
        """Fills what learns and its optimiser from the checkpoint, and says where the run stands.

        Raises:
            CheckpointError: If there is no checkpoint, or it is damaged.
            TrainingError: If the run was started with other settings or other parts.
        """
        tensors, header = read_checkpoint(self.checkpoint)
        self._check_same(header, settings, frozen)
        weights: dict[str, dict[str, torch.Tensor]] = {part: {} for part in learned}
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in tensors.items():
            owner, _, rest = name.partition(".")
            if owner in weights:
                weights[owner][rest] = tensor
            else:
                index, _, slot = rest.partition(".")
                state.setdefault(int(index), {})[slot] = tensor
        try:
            for part, module in learned.items():
                module.load_state_dict(weights[part])
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": state, "param_groups": groups})
            position = Position(**cast(dict[str, Any], header["position"]))
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise CheckpointError(f"{self.checkpoint} is damaged: {error}") from error
        return position

    def drop_after(self, step: int) -> None:
        """Drops what was written after the checkpoint; one process does it.

        A look at the checkpoint's own step that was not finished is dropped too.

        Raises:
            CheckpointError: If there is no room; nothing is lost then.
        """
        _keep_lines(self.metrics, step)
        _keep_lines(self.samples, step if self.looked_at(step) else step - 1)
        for sheet in self.sheet_of(step).parent.glob("[0-9]*.png"):
            if sheet > self.sheet_of(step):  # their names have leading zeros
                sheet.unlink(missing_ok=True)

    def looked_at(self, step: int) -> bool:
        """Whether a look after so many steps came to its end."""
        return self.sheet_of(step).is_file()

    def _save_qformer(self, learned: Mapping[str, nn.Module], settings: TrainSettings) -> str:
        """Writes a Q-Former that learns; the fingerprint of the parts as they are with it."""
        if "qformer" not in learned:
            return ""
        parts = settings.model
        name = preset_named(parts.preset).parts_name
        save_part(self.qformer, learned["qformer"], "qformer", preset=name)
        return fingerprint(locate(parts.vision), self.qformer, locate(parts.language_model))

    def _check_same(self, header: Mapping[str, Json], settings: TrainSettings, frozen: str) -> None:
        # A run of an older version has no word of newer settings; their defaults are what it did.
        before, now = (
            _flat(json.loads(json.dumps(asdict(each))))  # JSON knows no tuples
            for each in (self._settings_in(header), settings)
        )
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
    {
        "save_every",
        "check_every",
        "check_samples",
        "check_pictures",
        "check_tokens",
        "device",
        "workers",
        "tensorboard",
        "wandb",
        "peak_tflops",
    }
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
    # Answers may hold characters as they are that `splitlines` takes for the end of a line.
    *lines, _cut_off = path.read_text(encoding="utf-8", errors="replace").split("\n")
    return [json.loads(line) for line in lines]


def _keep_lines(path: Path, step: int) -> None:
    rows = [row for row in read_lines(path) if row["step"] <= step]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_file(path, text.encode())  # whole or not at all: a kill here must not cost the history


def _flat(group: Mapping[str, Json], prefix: str = "") -> dict[str, Json]:
    flat: dict[str, Json] = {}
    for name, value in group.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat
