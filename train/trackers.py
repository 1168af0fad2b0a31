"""Curves of a run in TensorBoard, and in Weights & Biases for those who ask for it.

Both are views of what `metrics.jsonl` and `samples.jsonl` hold, which stay the source of truth. A
run that goes on continues the curves: TensorBoard hides what a killed run wrote after its last
checkpoint; Weights & Biases keeps a run by its id, which lies in the run's folder.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
from PIL import Image

from train.errors import TrainingError
from train.settings import TrainSettings

if TYPE_CHECKING:
    from accelerate import Accelerator

_GROUPS = {
    "loss": "loss/training",
    "held_out_loss": "loss/held out",
    "exact_answers": "held out/exact answers",
    "learning_rate": "training/learning rate",
    "loss_scale": "training/loss scale",
    "samples_per_second": "speed/samples per second",
    "tokens_per_second": "speed/tokens per second",
    "mfu": "speed/share of the peak",
}
"""What a number of the metrics is called in curves; the part before the slash groups them."""


def check_trackers(settings: TrainSettings) -> None:
    """Makes sure that every tracker asked for is installed, before anything is loaded.

    Raises:
        TrainingError: If one is not.
    """
    asked = {"tensorboard": settings.tensorboard, "wandb": bool(settings.wandb)}
    for package, wanted in asked.items():
        if wanted and find_spec(package) is None:
            cure = "set tensorboard=false" if package == "tensorboard" else "leave --wandb out"
            given = getattr(settings, package)
            message = (
                f"{package}: {str(given).lower()} given, and the package {package} is not "
                f"installed. Install it (pip install {package}), or {cure}."
            )
            raise TrainingError(message)


class Trackers:
    """The trackers of a run, through accelerate."""

    def __init__(self, accelerator: "Accelerator", settings: TrainSettings, folder: Path) -> None:
        """Nothing is written before `open`.

        Args:
            accelerator: Its first process writes.
            settings: Which trackers, and what they are told of the run.
            folder: The run's.
        """
        self._accelerator = accelerator
        self._settings = settings
        self._folder = folder

    @contextmanager
    def open(self, step: int) -> Iterator[None]:
        """Begins the curves, or continues them, and closes them at the end, however that comes.

        Args:
            step: Steps done so far; what was written of later ones is hidden.

        Raises:
            TrainingError: If Weights & Biases refuses.
        """
        accelerator = self._accelerator
        if accelerator.is_main_process:
            accelerator.log_with = self._asked(step)
            with _refusals_told():
                accelerator.init_trackers(self._folder.name)
            if not step:
                self._tell_settings()
        try:
            yield
        finally:
            for tracker in accelerator.trackers:
                tracker.finish()
            accelerator.trackers.clear()

    def log(self, numbers: Mapping[str, float | None], step: int) -> None:
        """Adds a point to each curve; None is none."""
        points = {_GROUPS[name]: value for name, value in numbers.items() if value is not None}
        self._accelerator.log(points, step=step)

    def show(self, name: str, picture: Path, step: int) -> None:
        """Adds a picture, which can be followed over the steps."""
        with Image.open(picture) as opened:
            pixels = np.asarray(opened.convert("RGB"))
        for tracker in self._accelerator.trackers:
            kind = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
            tracker.log_images({name: pixels[None]}, step=step, **kind)

    def _asked(self, step: int) -> list[Any]:
        from accelerate.tracking import TensorBoardTracker, WandBTracker  # noqa: PLC0415 - heavy

        trackers: list[Any] = []
        if self._settings.tensorboard:
            later = step + 1 if step else None
            trackers.append(TensorBoardTracker("tensorboard", self._folder, purge_step=later))
        if self._settings.wandb:
            trackers.append(
                WandBTracker(
                    self._settings.wandb,
                    id=_wandb_id(self._folder),
                    resume="allow",
                    name=self._folder.name,
                    dir=str(self._folder),
                )
            )
        return trackers

    def _tell_settings(self) -> None:
        flat = dict(_flat(asdict(self._settings)))
        for tracker in self._accelerator.trackers:
            if tracker.name == "tensorboard":
                rows = "\n".join(f"| {key} | {value} |" for key, value in flat.items())
                tracker.log({"settings": f"| setting | value |\n|--|--|\n{rows}"}, step=0)
            else:
                tracker.store_init_configuration(flat)


@contextmanager
def _refusals_told() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "wandb":
            raise
        message = (
            f"Weights & Biases did not begin a run: {error} Log in (wandb login), set "
            "WANDB_MODE=offline, or leave --wandb out."
        )
        raise TrainingError(message) from error


def _wandb_id(folder: Path) -> str:
    path = folder / "wandb_id"
    if not path.is_file():
        path.write_text(f"{uuid4().hex[:8]}\n", encoding="utf-8")
    return path.read_text(encoding="utf-8").strip()


def _flat(group: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in group.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
