"""What a stage starts from: the parts of the model, which of them learn, and on what."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch
from torch import nn

from minigpt4.build import build_frozen_parts, preset_named
from minigpt4.checkpoints.native import ProjectionRecord, fingerprint, load_projection
from minigpt4.config import locate
from minigpt4.models.minigpt4 import MiniGPT4
from minigpt4.prompt_formats import CAPTION, PROMPT_FORMATS, PromptFormat
from train.errors import TrainingError
from train.samples import SampleOf, aligned_sample, caption_sample, read_instructions
from train.settings import ROOT, PartsSettings, TrainSettings


@dataclass(frozen=True, slots=True)
class Stage:
    """What a training stage teaches.

    Attributes:
        prompt_format: How its samples are written down.
        sample_of: Its samples by seed.
    """

    prompt_format: PromptFormat
    sample_of: SampleOf


def caption_stage(settings: TrainSettings) -> Stage:
    """Stage 1: the picture, then a noisy caption of it and a line break; no instruction."""
    return Stage(CAPTION, lambda seed: caption_sample(seed, settings.data, salt=settings.seed))


def alignment_stage(settings: TrainSettings) -> Stage:
    """Stage 2: the template of a chat, with an instruction drawn at random for every sample."""
    instructions = read_instructions(_from_root(settings.data.instructions))
    return Stage(
        PROMPT_FORMATS[settings.model.prompt_format],
        lambda seed: aligned_sample(seed, settings.data, instructions, salt=settings.seed),
    )


STAGES: Mapping[int, Callable[[TrainSettings], Stage]] = MappingProxyType(
    {1: caption_stage, 2: alignment_stage}
)


def load_frozen_parts(parts: PartsSettings) -> tuple[MiniGPT4, str]:
    """Loads everything but the projection, whose weights are left random.

    Returns:
        The model, and the fingerprint of its frozen parts.

    Raises:
        CheckpointError: If a part is missing or does not fit.
        ConfigError: If there is no such preset.
    """
    vision, qformer = locate(parts.vision), locate(parts.qformer)
    folder = locate(parts.language_model)
    model = build_frozen_parts(preset_named(parts.preset), vision, qformer, folder)
    return model, fingerprint(vision, qformer, folder)


def start_projection(model: MiniGPT4, settings: TrainSettings, frozen: str) -> str:
    """Fills the projection with what the stage starts from.

    Args:
        model: Its projection is filled in place.
        settings: `start` names a projection; empty re-initialises it, as stage 1 does.
        frozen: Fingerprint of the model's frozen parts.

    Returns:
        Where it came from, for a person.

    Raises:
        CheckpointError: If the projection to start from is missing or belongs to other parts.
    """
    if not settings.start:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            model.projection.reset_parameters()
        return f"random (seed {settings.seed})"
    record: ProjectionRecord = load_projection(
        locate(settings.start), model.projection, frozen=frozen
    )
    return f"{settings.start} (stage {record.stage}, step {record.step:,})"


def check_frozen(model: MiniGPT4) -> None:
    """Makes sure that the projection alone will learn.

    Raises:
        TrainingError: If any other parameter would get a gradient, the projection would get none,
            or a frozen part is not in eval mode.
    """
    expected = {id(parameter) for parameter in model.projection.parameters()}
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
        problems.append("the projection would not be trained")
    for name, part in frozen_parts(model).items():
        awake = [module for module in part.modules() if module.training]
        if awake:
            problems.append(f"{len(awake)} modules of the {name} are in training mode")
    if problems:
        raise TrainingError(f"Only the projection is trained, but {'; '.join(problems)}.")


def frozen_parts(model: MiniGPT4) -> dict[str, nn.Module]:
    """The parts that no stage trains, by the names a person reads."""
    return {
        "vision encoder": model.vision,
        "Q-Former": model.qformer,
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
