"""What a stage starts from: the parts of the model, which of them learn, and on what."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from minigpt4.config import locate
from minigpt4.models.minigpt4 import MiniGPT4
from minigpt4.models.presets import preset_named
from minigpt4.prompt_formats import CAPTION, PROMPT_FORMATS, PromptFormat
from train.answer_limit import RELEASED_LIMITS
from train.cartoon.scene import HELD_OUT_SEEDS
from train.errors import TrainingError
from train.own_data import OwnData
from train.own_layouts import read_rows
from train.samples import (
    Sample,
    SampleOf,
    aligned_sample,
    caption_sample,
    read_instructions,
    training_seed,
)
from train.settings import ROOT, TrainSettings
from train.validation import Checked, check_rows, limits_of
from train.web_data import WebData


@dataclass(frozen=True, slots=True)
class Stage:
    """What a training stage teaches.

    Attributes:
        prompt_format: How its samples are written down.
        sample_of: Its samples by seed.
        asked: Held-out samples whose first question is put to the model at every look.
        for_loss: Held-out samples whose loss is computed at every look.
        epoch_samples: Samples of an epoch; None for generated pictures, which never come back.
        learned: Samples that steps show, put to the model too at every look.
        web: Where its samples come from, if that is shards.
    """

    prompt_format: PromptFormat
    sample_of: SampleOf
    asked: tuple[Sample, ...]
    for_loss: tuple[Sample, ...]
    epoch_samples: int | None = None
    learned: tuple[Sample, ...] = ()
    web: WebData | None = None


def stage_of(settings: TrainSettings, own: Checked | None = None) -> Stage:
    """The stage that settings ask for.

    Args:
        settings: Which stage, and on what.
        own: A user's own data, checked; None teaches on generated pictures.

    Raises:
        TrainingError: If the instructions of stage 2, or the shards, cannot be read.
    """
    prompt_format, salt = prompt_format_of(settings), settings.seed
    instructions = instructions_of(settings)
    if own is not None:
        data = OwnData(
            own.rows,
            instructions,
            stage=settings.stage,
            seed=settings.seed,
            each_turn=prompt_format.join_text,
        )
        return Stage(
            prompt_format,
            data.sample_of,
            data.held_out[: settings.check_pictures],
            data.held_out[: settings.check_samples],
            data.epoch_samples,
            data.shown,
        )

    if settings.shards.sources:
        web = WebData(settings.shards, stage=settings.stage, seed=settings.seed)
        asked = settings.check_pictures
        kept = web.held_out(asked + settings.check_samples)
        return Stage(prompt_format, web.sample_of, kept[:asked], kept[asked:], web=web)

    def sample_of(seed: int) -> Sample:
        seed = _coming_back(seed, settings)
        if settings.stage == 1:
            return caption_sample(seed, settings.data, salt=salt)
        return aligned_sample(seed, settings.data, instructions, salt=salt)

    pictures = settings.check_pictures
    held_out = [
        sample_of(HELD_OUT_SEEDS + number) for number in range(pictures + settings.check_samples)
    ]
    return Stage(prompt_format, sample_of, tuple(held_out[:pictures]), tuple(held_out[pictures:]))


def _coming_back(seed: int, settings: TrainSettings) -> int:
    """The seed of a sample, where there are so many different ones only; held-out ones stay."""
    samples, first = settings.data.samples, training_seed(settings.stage, 0)
    if samples is None or seed >= HELD_OUT_SEEDS:
        return seed
    return first + (seed - first) % samples


def prompt_format_of(settings: TrainSettings) -> PromptFormat:
    """Stage 1: the picture, then its caption. Stage 2: the template of a chat."""
    return CAPTION if settings.stage == 1 else PROMPT_FORMATS[settings.model.prompt_format]


def instructions_of(settings: TrainSettings) -> tuple[str, ...]:
    """What stage 2 draws an instruction from; stage 1 has none.

    Raises:
        TrainingError: If their file cannot be read.
    """
    if settings.stage == 1:
        return ()
    return read_instructions(_from_root(settings.data.instructions))


def check_own_data(settings: TrainSettings) -> Checked:
    """Reads and checks the data that `own_data.path` names; no weight is loaded for it.

    Raises:
        TrainingError: If they cannot be read at all.
        ConfigError: If there is no such preset.
    """
    limits = limits_of(
        settings.model,
        preset_named(settings.model.preset),
        prompt_format_of(settings),
        answer_tokens(settings),
        instructions_of(settings),
    )
    return check_rows(read_rows(Path(settings.own_data.path).expanduser()), limits)


def answer_limit(settings: TrainSettings) -> int | None:
    """The longest answer of a run; None for generated pictures, whose answers are short."""
    ours = not settings.own_data.path and not settings.shards.sources
    return None if ours else answer_tokens(settings)


def answer_tokens(settings: TrainSettings) -> int:
    """The longest answer of data that we did not make."""
    return settings.own_data.answer_tokens or RELEASED_LIMITS[settings.stage]


def learned_parameters(model: MiniGPT4) -> list[nn.Parameter]:
    """All that a step changes, in one order: the projection's, then the Q-Former's if it learns."""
    return [each for part in model.learned_parts.values() for each in part.parameters()]


def check_frozen(model: MiniGPT4) -> None:
    """Makes sure that what is to learn will, and nothing else.

    Raises:
        TrainingError: If any other parameter would get a gradient, one of these would get none, or
            a part other than the projection is not in eval mode.
    """
    expected = {id(parameter) for parameter in learned_parameters(model)}
    learning = {
        id(parameter): name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }
    extra = [name for key, name in learning.items() if key not in expected]
    problems = (
        [f"{len(extra)} frozen parameters would be trained, first {extra[0]}"] if extra else []
    )
    if not expected <= learning.keys():
        still = (
            name
            for name, part in model.learned_parts.items()
            if not all(each.requires_grad for each in part.parameters())
        )
        problems.append(f"the {' and the '.join(still)} would not be trained")
    for name, part in frozen_parts(model).items():
        awake = [module for module in part.modules() if module.training]
        if awake:
            problems.append(f"{len(awake)} modules of the {name} are in training mode")
    if problems:
        only = " and the ".join(model.learned_parts)
        raise TrainingError(f"Only the {only} is trained, but {'; '.join(problems)}.")


def frozen_parts(model: MiniGPT4) -> dict[str, nn.Module]:
    """The parts but the projection, by the names a person reads.

    All are frozen, or the Q-Former is only kept from dropout.
    """
    return {
        "vision encoder": model.vision,
        "Q-Former" if model.preset.joined_patches == 0 else "joined patches": model.qformer,
        "language model": model.language,
    }


def parts_table(model: MiniGPT4) -> str:
    """A table of the parts, their size, and whether they learn."""
    parts = {**frozen_parts(model), "projection": model.projection}
    lines = [f"{'part':<16} {'parameters':>14}  "]
    for name, part in parts.items():
        parameters = list(part.parameters())
        count = sum(parameter.numel() for parameter in parameters)
        trained = "trained" if any(each.requires_grad for each in parameters) else "frozen"
        lines.append(f"{name:<16} {count:>14,}  {trained}")
    return "\n".join(lines)


def _from_root(reference: str) -> Path:
    """A path from the current directory, or else from the project's folder."""
    path = locate(reference)
    return path if path.exists() else ROOT / path
