"""From a configuration to a plan: where its files are, and whether they make a model."""

from pathlib import Path

from minigpt4.checkpoints.hub import fetch_all
from minigpt4.checkpoints.plan import Plan, Sources, plan_model
from minigpt4.checkpoints.sizes import Heads
from minigpt4.config import Config
from minigpt4.errors import ConfigError
from minigpt4.models.presets import Preset
from minigpt4.references import Reference, parse_reference

PARTS = ("vision", "qformer", "language_model", "projection")


def references_of(config: Config, preset: Preset) -> dict[str, Reference]:
    """Where a configuration says the parts are, by the names of its settings.

    Raises:
        ConfigError: With every reference that is none, and a Q-Former that is missing or too much.
    """
    problems: list[str] = []
    references: dict[str, Reference] = {}
    for part in PARTS:
        key, text = f"model.{part}", getattr(config.model, part)
        if text:
            try:
                references[key] = parse_reference(text)
            except ConfigError as error:
                problems += [f"{key}: {problem}" for problem in error.problems]
    if bool(config.model.qformer) == bool(preset.joined_patches):
        problems.append(
            f"model.qformer: {config.model.qformer!r} given; preset {preset.name} "
            + ("has no Q-Former, leave it out." if preset.joined_patches else "needs one.")
        )
    if problems:
        raise ConfigError(problems)
    return references


def plan_config(config: Config, preset: Preset) -> Plan:
    """Brings the files of a configuration here and checks them against each other.

    Raises:
        ConfigError: With every file that is missing.
        CheckpointError: If they cannot be used.
    """
    return plan_paths(config, preset, fetch_all(references_of(config, preset)))


def plan_paths(config: Config, preset: Preset, paths: dict[str, Path]) -> Plan:
    """Checks the files of a configuration, which are on this machine, against each other.

    Args:
        config: The configuration.
        preset: The one it names.
        paths: By the names of its settings.

    Raises:
        CheckpointError: If they cannot be used.
    """
    return plan_model(
        Sources(
            vision=paths["model.vision"],
            qformer=paths.get("model.qformer"),
            projection=paths["model.projection"],
            language_model=paths["model.language_model"],
        ),
        preset,
        prompt_format=config.model.prompt_format,
        heads=Heads(config.model.vision_heads, config.model.qformer_heads),
        image_size=config.model.image_size,
    )
