"""What a training run is told: a YAML file and `--set` overrides in, frozen dataclasses out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from minigpt4.models.presets import PRESETS
from minigpt4.prompt_formats import PROMPT_FORMATS
from minigpt4.settings_file import one_of, read_settings, some_text, within
from train.schedule import Schedule

ROOT = Path(__file__).resolve().parent.parent
"""The project's own folder, where `prompts/` and `train/configs/` lie."""
DEFAULT_CONFIGS = {
    1: ROOT / "train/configs/tiny_stage1.yaml",
    2: ROOT / "train/configs/tiny_stage2.yaml",
}

OWN_DATA_CONFIGS = {
    1: ROOT / "train/configs/own_data_stage1.yaml",
    2: ROOT / "train/configs/own_data_stage2.yaml",
}
"""What `--data` takes where no `--config` is given."""

_WEIGHTS = some_text("a path such as assets:tiny/vision.safetensors")


@dataclass(frozen=True, slots=True, kw_only=True)
class PartsSettings:
    """The frozen parts a projection is trained for; the names are those of a demo's `model`."""

    preset: str = field(metadata=one_of(PRESETS))
    """Sizes of the picture side."""
    prompt_format: str = field(metadata=one_of(PROMPT_FORMATS))
    """How stage 2 writes conversations down, and the demo after it."""
    vision: str = field(metadata=_WEIGHTS)
    """Weights of the vision encoder."""
    qformer: str = field(metadata=_WEIGHTS)
    """Weights of the Q-Former."""
    language_model: str = field(metadata=_WEIGHTS)
    """Folder of the language model and its tokeniser."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CartoonSettings:
    """What is drawn from the synthetic world, and what is said about it."""

    max_things: int = field(default=5, metadata=within(1, 9))
    """The most objects of a picture."""
    picture_size: int = field(default=96, metadata=within(32, 1024))
    """Side of a drawn picture in pixels."""
    description_share: float = field(default=0.3, metadata=within(0, 1))
    """Stage 2: how many samples are one description; the others are dialogues."""
    fewest_turns: int = field(default=4, metadata=within(1, 16))
    """Stage 2: questions of a dialogue, at least."""
    most_turns: int = field(default=8, metadata=within(1, 16))
    """Stage 2: questions of a dialogue, at most."""
    instructions: str = field(
        default="prompts/alignment.txt", metadata=some_text("a path such as prompts/alignment.txt")
    )
    """Stage 2: the file of instructions, one a line, drawn at random for every sample."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnDataSettings:
    """A user's own pictures and texts, in place of generated ones."""

    path: str = ""
    """The file or folder, as `--data` gives it; empty for generated pictures."""
    answer_tokens: int | None = field(default=None, metadata=within(2, 100_000))
    """The longest answer with its end; a longer one is cut. None takes the release's: 32 in stage
    1, 160 in stage 2."""
    keep_mb: int = field(default=1024, metadata=within(0, 10_000_000))
    """Memory for what the frozen eye makes of the pictures; where they need more, it looks at every
    picture anew in every step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """One run of stage 1 or 2."""

    stage: int = field(metadata=within(1, 2))
    model: PartsSettings
    schedule: Schedule
    """Steps and learning rates."""
    start: str = ""
    """The projection to start from; empty for a random one."""
    data: CartoonSettings = CartoonSettings()
    own_data: OwnDataSettings = OwnDataSettings()
    seed: int = field(default=0, metadata=within(0, 2**31 - 1))
    """Decides a random projection and every draw of the data."""
    batch_size: int = field(default=16, metadata=within(1, 4096))
    """Samples whose gradient is computed at once."""
    accumulation: int = field(default=1, metadata=within(1, 4096))
    """Batches of an optimiser step. Their gradient is that of one batch of all their samples."""
    weight_decay: float = field(default=0.05, metadata=within(0, 1))
    """AdamW's, on the projection's weight and not on its bias."""
    clip_norm: float = field(default=1.0, metadata=within(0.001, 1000))
    """The longest gradient; a longer one is scaled down to it."""
    device: str = field(default="auto", metadata=one_of(["auto", "cpu"]))
    """auto takes an accelerator where there is one."""
    precision: str = field(default="float32", metadata=one_of(["float32", "bfloat16"]))
    """What the frozen parts compute in; the projection is always held in float32."""
    save_every: int = field(default=100, metadata=within(1, 1_000_000))
    """Steps between two checkpoints."""
    check_every: int = field(default=100, metadata=within(1, 1_000_000))
    """Steps between two looks at held-out pictures."""
    check_samples: int = field(default=32, metadata=within(1, 10_000))
    """Held-out samples whose loss is computed."""
    check_pictures: int = field(default=8, metadata=within(1, 1000))
    """Other held-out pictures, which the model is asked about."""
    check_tokens: int = field(default=120, metadata=within(1, 2000))
    """The longest answer about one of them."""

    @property
    def samples_per_step(self) -> int:
        """Samples an optimiser step learns from."""
        return self.batch_size * self.accumulation


def load_settings(path: Path, overrides: Sequence[str] = ()) -> TrainSettings:
    """Reads the settings of a run.

    Args:
        path: The YAML file.
        overrides: Settings that win over the file's, each as `schedule.steps=200`.

    Raises:
        ConfigError: With every problem of the file and the overrides.
    """
    return read_settings(TrainSettings, path, overrides, _disagreements)


def settings_from(content: Mapping[str, Any]) -> TrainSettings:
    """Settings from what `dataclasses.asdict` made of them.

    Raises:
        TypeError: If one is missing or unknown.
    """
    groups = {
        "model": PartsSettings(**content["model"]),
        "schedule": Schedule(**content["schedule"]),
        "data": CartoonSettings(**content["data"]),
        "own_data": OwnDataSettings(**content["own_data"]),
    }
    return TrainSettings(**{**content, **groups})


def changed_parts(settings: TrainSettings) -> list[str]:
    """The overrides that name every part of a run that is not the embedded default's."""
    default = asdict(load_settings(DEFAULT_CONFIGS[2]).model)
    return [
        f"model.{name}={value}"
        for name, value in asdict(settings.model).items()
        if value != default[name]
    ]


def parts_overrides(folder: Path) -> list[str]:
    """The overrides that train on the parts stage 0 left in a folder."""
    return [
        f"model.vision={folder / 'vision.safetensors'}",
        f"model.qformer={folder / 'qformer.safetensors'}",
        f"model.language_model={folder / 'language'}",
    ]


def _disagreements(settings: TrainSettings) -> Iterator[str]:
    schedule, data = settings.schedule, settings.data
    if schedule.warmup_steps > schedule.steps:
        yield (
            f"schedule.warmup_steps: {schedule.warmup_steps:,} given, and the run has "
            f"{schedule.steps:,} steps; expected no more than those."
        )
    if schedule.final_learning_rate > schedule.learning_rate:
        yield (
            f"schedule.final_learning_rate: {schedule.final_learning_rate} given; expected no more "
            f"than schedule.learning_rate, {schedule.learning_rate}."
        )
    if data.fewest_turns > data.most_turns:
        yield (
            f"data.fewest_turns: {data.fewest_turns} given; expected no more than data.most_turns, "
            f"{data.most_turns}."
        )
