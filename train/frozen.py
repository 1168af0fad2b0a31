"""What a run begins with: the frozen parts, and what is to learn."""

from pathlib import Path

import torch

from minigpt4.build import build_frozen_parts, build_planned
from minigpt4.checkpoints.fingerprints import fingerprint
from minigpt4.checkpoints.loading import load_projection_of
from minigpt4.checkpoints.native import load_projection
from minigpt4.checkpoints.plan import Plan, Sources, plan_model
from minigpt4.checkpoints.sizes import Heads
from minigpt4.config import locate
from minigpt4.models.minigpt4 import MiniGPT4
from minigpt4.models.presets import preset_named
from minigpt4.models.projection_layers import kind_of, new_projection
from train.errors import TrainingError
from train.settings import PartsSettings, TrainSettings

_OURS = ".safetensors"


def load_frozen_parts(
    parts: PartsSettings,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> tuple[MiniGPT4, str]:
    """Loads everything but the projection, whose weights are left random.

    Args:
        parts: Where they are: our own files, or those of the release and its parents.
        device: Where released parts go, straight from their files; ours follow with the model.
        dtype: What released parts are held in; ours, which are small, stay in float32.

    Returns:
        The model, and the fingerprint of its frozen parts.

    Raises:
        CheckpointError: If a part is missing or does not fit.
        ConfigError: If there is no such preset, or `quantize` does not work here.
        TrainingError: If a setting has no effect on these parts.
    """
    vision, folder = locate(parts.vision), locate(parts.language_model)
    reader = locate(parts.qformer) if parts.qformer else None
    preset = preset_named(parts.preset)
    if preset.vision.architecture == "eva":
        plan = _plan(parts, None)
        model = build_planned(
            plan, device=device or torch.device("cpu"), dtype=dtype, quantize=parts.quantize
        )
    else:
        _check_ours(parts)
        model = build_frozen_parts(preset, vision, reader, folder)
    model.freeze()
    return model, fingerprint(vision, reader or vision, folder)


def start_projection(model: MiniGPT4, settings: TrainSettings, frozen: str) -> str:
    """Says what learns, and fills the projection with what the stage starts from.

    Args:
        model: Gets the projection that is asked for, filled.
        settings: `start` names a projection, ours or the release's; empty re-initialises it, as
            stage 1 does.
        frozen: Fingerprint of the model's frozen parts.

    Returns:
        Where it came from, for a person.

    Raises:
        CheckpointError: If the projection to start from is missing, of another kind, or belongs to
            other parts.
        TrainingError: If the Q-Former is to learn and cannot.
    """
    _choose_learned(model, settings)
    if not settings.start:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            _reset(model)
        return f"random (seed {settings.seed})"
    path = locate(settings.start)
    if path.suffix != _OURS and model.preset.vision.architecture == "eva":
        released = load_projection_of(_plan(settings.model, path))
        if kind_of(released) != settings.projection:
            message = (
                f"start: {settings.start} holds one linear layer, and projection: "
                f"{settings.projection} is asked for. Set projection to {kind_of(released)}."
            )
            raise TrainingError(message)
        model.projection.load_state_dict(released.state_dict())
        return f"{settings.start} (the release's)"
    record = load_projection(path, model.projection, frozen=frozen)
    return f"{settings.start} (stage {record.stage}, step {record.step:,})"


def _choose_learned(model: MiniGPT4, settings: TrainSettings) -> None:
    """Gives the model the projection that is asked for, and lets the Q-Former learn or not."""
    if kind_of(model.projection) != settings.projection:
        widths = model.projection.in_features, model.projection.out_features
        model.projection = new_projection(settings.projection, *widths).to(model.device)
    if not settings.qformer_rate:
        model.freeze()
        return
    parts = settings.model
    if not parts.qformer:
        message = (
            f"qformer_rate: {settings.qformer_rate} given, and preset {parts.preset} has no "
            "Q-Former that could learn. Set it to 0, or choose a preset with one."
        )
        raise TrainingError(message)
    if model.preset.vision.architecture == "eva" and locate(parts.qformer).suffix != _OURS:
        message = (
            f"qformer_rate: {settings.qformer_rate} given. A Q-Former that learns is saved in our "
            f"own format, and {parts.qformer} also holds the vision encoder's LayerNorm, which "
            "would be left behind. Write the parts in our format first, with `python -m minigpt4 "
            "save FOLDER`, and set model.vision and model.qformer to the files in FOLDER."
        )
        raise TrainingError(message)
    model.qformer.float()  # in half precision small steps would be lost
    model.freeze(but_qformer=True)


def _reset(model: MiniGPT4) -> None:
    """New random weights, drawn on the CPU: the same ones wherever the projection lives."""
    old = model.projection
    fresh = new_projection(kind_of(old), old.in_features, old.out_features)
    old.load_state_dict(fresh.state_dict())


def _plan(parts: PartsSettings, projection: Path | None) -> Plan:
    return plan_model(
        Sources(
            vision=locate(parts.vision),
            qformer=locate(parts.qformer) if parts.qformer else None,
            projection=projection,
            language_model=locate(parts.language_model),
        ),
        preset_named(parts.preset),
        prompt_format=parts.prompt_format,
        heads=Heads(parts.vision_heads, parts.qformer_heads),
        image_size=parts.image_size,
    )


def _check_ours(parts: PartsSettings) -> None:
    """Makes sure that no setting would be passed over in silence."""
    given = {
        "image_size": parts.image_size,
        "vision_heads": parts.vision_heads,
        "qformer_heads": parts.qformer_heads,
        "quantize": None if parts.quantize == "none" else parts.quantize,
    }
    problems = [f"model.{key}: {value}" for key, value in given.items() if value is not None]
    needed = not preset_named(parts.preset).joined_patches
    if needed and not parts.qformer:
        raise TrainingError(f"model.qformer: preset {parts.preset} needs one.")
    if parts.qformer and not needed:
        message = (
            f"model.qformer: {parts.qformer} given, and preset {parts.preset} has none. Leave it "
            "empty."
        )
        raise TrainingError(message)
    if problems:
        message = f"{', '.join(problems)} given; preset {parts.preset} does not take it."
        raise TrainingError(message)
