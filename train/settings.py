"""What a training run is told: a YAML file and `--set` overrides in, frozen dataclasses out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from minigpt4.models.presets import PRESETS, ProjectionKind
from minigpt4.prompt_formats import PROMPT_FORMATS
from minigpt4.settings_file import matching, one_of, read_settings, some_text, within
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
    qformer: str = field(
        default="",
        metadata=matching(
            r"(.*\S.*)?", "a path such as assets:tiny/qformer.safetensors, or nothing"
        ),
    )
    """Weights of the Q-Former; empty for a preset without one."""
    language_model: str = field(metadata=_WEIGHTS)
    """Folder of the language model and its tokeniser."""
    image_size: int | None = field(default=None, metadata=within(14, 2048))
    """Side of the square pictures in pixels; None takes what the vision part was trained on."""
    vision_heads: int | None = field(default=None, metadata=within(1, 256))
    """Attention heads of a vision part that is not of the preset's width."""
    qformer_heads: int | None = field(default=None, metadata=within(1, 256))
    """The same of the Q-Former."""
    quantize: Literal["none", "8bit", "4bit"] = "none"
    """Holds the language model in fewer bits, on a CUDA device; gradients pass through it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CartoonSettings:
    """What is drawn from the synthetic world, and what is said about it."""

    max_things: int = field(default=6, metadata=within(1, 6))
    """The most objects of a picture."""
    strange_share: float = field(default=0.04, metadata=within(0, 1))
    """Share of the pictures that are no drawing of the world, about which nothing is claimed."""
    sketch_share: float = field(default=0.05, metadata=within(0, 1))
    """Share of the pictures that are page sketches, to be written as web pages."""
    random_word_share: float = field(default=0.5, metadata=within(0, 1))
    """Share of signs and titles that say letters at random, which are read, not known by sight."""
    picture_size: int = field(default=128, metadata=within(32, 1024))
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
    samples: int | None = field(default=None, metadata=within(1, 100_000_000))
    """How many different samples there are before the first comes back; None for no end of them."""


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
class ShardSource:
    """Shards of one origin."""

    urls: str = field(metadata=some_text("shards such as cc_sbu/{00000..01255}.tar"))
    """A path or address with a brace pattern; several are joined by ::."""
    share: int = field(default=1, metadata=within(1, 10_000))
    """How many samples are drawn here for every `share` of the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardsSettings:
    """Pictures and captions in tar shards, as img2dataset writes them; stage 1."""

    sources: tuple[ShardSource, ...] = ()
    """Mixed by their shares; none for other data."""
    cache: str = field(default="runs/shards", metadata=some_text("a folder such as runs/shards"))
    """Where shards from elsewhere are kept."""
    most_lost: float = field(default=0.01, metadata=within(0, 1))
    """Share of the samples that may be unusable; beyond it the run stops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSettings:
    """One run of stage 1 or 2."""

    stage: int = field(metadata=within(1, 2))
    model: PartsSettings
    schedule: Schedule
    """Steps and learning rates."""
    start: str = ""
    """The projection to start from; empty for a random one."""
    projection: ProjectionKind = "linear"
    """What the projection is made of; the paper has one linear layer, and three in an ablation."""
    qformer_rate: float = field(default=0.0, metadata=within(0, 1))
    """Above 0 the Q-Former learns too, at so many times the projection's learning rate; the paper
    has it frozen, and trained in an ablation."""
    data: CartoonSettings = CartoonSettings()
    own_data: OwnDataSettings = OwnDataSettings()
    shards: ShardsSettings = ShardsSettings()
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
    cache_features: str = ""
    """Folder for what the frozen eye makes of the pictures, looked at once for all runs; auto
    names one in runs/features, and empty keeps nothing on disk. `--cache-features` sets it."""
    workers: int = field(default=0, metadata=within(0, 256))
    """Processes beside each training process that draw, read and decode pictures ahead of time."""
    device: str = field(default="auto", metadata=one_of(["auto", "cpu"]))
    """auto takes an accelerator where there is one."""
    precision: str = field(default="float32", metadata=one_of(["float32", "bfloat16", "float16"]))
    """What the frozen parts compute in; the projection is always held in float32. float16, for
    devices without bfloat16, scales the loss and works on such devices only."""
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
    tensorboard: bool = True
    """Writes curves for TensorBoard to the run's folder."""
    wandb: str = ""
    """Project of Weights & Biases that gets them too, as `--wandb` gives it; empty for none."""
    peak_tflops: float | None = field(default=None, metadata=within(0.001, 1_000_000))
    """What a device can do at most, in TFLOP/s; None takes the data sheet's, where it is known."""

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
        "shards": _shards(content["shards"]),
    }
    return TrainSettings(**{**content, **groups})


def _shards(content: Mapping[str, Any]) -> ShardsSettings:
    sources = tuple(ShardSource(**each) for each in content["sources"])
    return ShardsSettings(**{**content, "sources": sources})


def changed_parts(settings: TrainSettings) -> list[str]:
    """The overrides that name every part of a run that is not the embedded default's."""
    default = asdict(load_settings(DEFAULT_CONFIGS[2]).model)
    return [
        f"model.{name}={value}"
        for name, value in asdict(settings.model).items()
        if value != default[name]
    ]


def as_saved(settings: TrainSettings, qformer: Path) -> TrainSettings:
    """The settings with the parts that a run leaves: a Q-Former that learned lies at `qformer`."""
    if not settings.qformer_rate:
        return settings
    return replace(settings, model=replace(settings.model, qformer=str(qformer)))


def changed_learning(settings: TrainSettings) -> list[str]:
    """The overrides that name what else learns than the paper's one linear layer."""
    changed = {
        "projection": settings.projection != "linear",
        "qformer_rate": settings.qformer_rate != 0,
    }
    return [f"{name}={getattr(settings, name)}" for name, is_so in changed.items() if is_so]


def demo_parts(settings: TrainSettings) -> list[str]:
    """The same for the default demo.

    That offers another projection of its own parts, which fits no others.
    """
    changed = [
        part.removeprefix("model.") if part.startswith("model.quantize=") else part
        for part in changed_parts(settings)
    ]
    return [*changed, "model.other_projections=[]"] if changed else []


def data_of(settings: TrainSettings) -> str:
    """What a run learns from, for a person."""
    shards = ", ".join(source.urls for source in settings.shards.sources)
    return settings.own_data.path or shards or "generated pictures"


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
    if settings.shards.sources and settings.stage != 1:
        yield f"shards.sources: given for stage {settings.stage}; captions are for stage 1."
    if settings.shards.sources and settings.own_data.path:
        yield f"shards.sources: given, and own_data.path {settings.own_data.path}; expected one."
    if data.fewest_turns > data.most_turns:
        yield (
            f"data.fewest_turns: {data.fewest_turns} given; expected no more than data.most_turns, "
            f"{data.most_turns}."
        )
