"""Projections besides a model's own, held to the same checks: before and after, side by side."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from minigpt4.checkpoints.configured import check_own_parts, plan_paths
from minigpt4.checkpoints.loading import load_projection_of
from minigpt4.checkpoints.native import read_projection
from minigpt4.config import Config
from minigpt4.models.presets import Preset
from minigpt4.models.projection_layers import ProjectionLayer, weight_of


def other_setting(index: int) -> str:
    """Return the name of the setting that says where another projection is."""
    return f"model.other_projections[{index}].weights"


def load_others(
    config: Config,
    preset: Preset,
    paths: Mapping[str, Path],
    own: ProjectionLayer,
) -> dict[str, ProjectionLayer]:
    """Loads the projections that stand beside the model's own, onto its device and in float32.

    Args:
        config: The configuration.
        preset: The one it names.
        paths: Files by the names of the settings.
        own: The model's projection; the others have its widths, and may be of another kind.

    Returns:
        Them by label, in the configuration's order.

    Raises:
        CheckpointError: If one is damaged, or was trained on other frozen parts.
    """
    device = weight_of(own).device
    layers: dict[str, ProjectionLayer] = {}
    for index, other in enumerate(config.model.other_projections):
        path = paths[other_setting(index)]
        # A model with this projection for its own must stand the same checks. What those would
        # only warn of, another prompt format, is what a comparison wants to see.
        swapped = replace(config, model=replace(config.model, projection=other.weights))
        files = {**paths, "model.projection": path}
        if preset.vision.architecture == "eva":
            layers[other.label] = load_projection_of(plan_paths(swapped, preset, files), device)
            continue
        check_own_parts(swapped, preset, files)
        layer = read_projection(path, own.in_features, own.out_features)
        layers[other.label] = layer.to(device)
    return layers
