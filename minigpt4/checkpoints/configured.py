"""From a configuration to a plan: where its files are, and whether they make a model."""

from collections.abc import Mapping
from pathlib import Path

from minigpt4.checkpoints.files import problem_list, read_header
from minigpt4.checkpoints.fingerprints import check_trained_on, fingerprint
from minigpt4.checkpoints.hub import fetch_all
from minigpt4.checkpoints.language_files import LanguageFiles, inspect_language, weight_problems
from minigpt4.checkpoints.plan import Plan, Sources, format_warnings, plan_model
from minigpt4.checkpoints.release import native_record, read_offer
from minigpt4.checkpoints.sizes import (
    Heads,
    projection_kind,
    projection_tensors,
    qformer_tensors,
    vision_tensors,
)
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
    named = {f"model.{part}": getattr(config.model, part) for part in PARTS}
    for index, other in enumerate(config.model.other_projections):
        named[f"model.other_projections[{index}].weights"] = other.weights
    for key, text in named.items():
        if text:
            try:
                references[key] = reference = parse_reference(text)
            except ConfigError as error:
                problems += [f"{key}: {problem}" for problem in error.problems]
                continue
            if reference.sha256 and key == "model.language_model":
                problems.append(
                    f"{key}: {text!r} given; it is a folder, and #sha256= is the checksum of one "
                    "file. Leave it out."
                )
    if bool(config.model.qformer) == bool(preset.joined_patches):
        problems.append(
            f"model.qformer: {config.model.qformer!r} given; preset {preset.name} "
            + ("has no Q-Former, leave it out." if preset.joined_patches else "needs one.")
        )
    if problems:
        raise ConfigError(problems)
    return references


def fetch_parts(config: Config, preset: Preset) -> dict[str, Path]:
    """Brings the files of a configuration here, whatever its preset.

    Returns:
        Their places, by the names of the settings.

    Raises:
        ConfigError: With every file that is missing.
        CheckpointError: If a file is not the one whose checksum is given.
    """
    return fetch_all(references_of(config, preset))


def check_settings(config: Config, preset: Preset, *, on_gpu: bool) -> None:
    """Makes sure that no setting would be passed over in silence.

    Args:
        config: The configuration.
        preset: The one it names.
        on_gpu: Whether the model goes to a CUDA device.

    Raises:
        ConfigError: With every setting that has no effect here.
    """
    problems = []
    if preset.vision.architecture != "eva":
        settings = {
            "quantize": config.quantize if config.quantize != "none" else None,
            "spread": config.spread or None,
            "model.image_size": config.model.image_size,
            "model.vision_heads": config.model.vision_heads,
            "model.qformer_heads": config.model.qformer_heads,
        }
        problems = [
            f"{key}: {value} given; preset {preset.name} does not take it. Leave it out."
            for key, value in settings.items()
            if value is not None
        ]
    elif config.spread and not on_gpu:
        problems.append(
            "spread: True given; it lays the language model over CUDA devices, and the model does "
            "not go to one. Set spread to false, or device to cuda."
        )
    if problems:
        raise ConfigError(problems)


def plan_paths(config: Config, preset: Preset, paths: Mapping[str, Path]) -> Plan:
    """Checks the files of a configuration, which are on this machine, against each other.

    Args:
        config: The configuration.
        preset: The one it names.
        paths: By the names of its settings.

    Raises:
        ConfigError: If the longest answer does not fit into the language model's context.
        CheckpointError: If they cannot be used.
    """
    plan = plan_model(
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
    _check_answer(config, plan.language)
    _check_fingerprint(paths, native_record(plan.offers["projection"].header))
    return plan


def check_own_parts(config: Config, preset: Preset, paths: Mapping[str, Path]) -> tuple[str, ...]:
    """Checks the files of a model that is none of the released kind, from their headers.

    Args:
        config: The configuration.
        preset: The one it names.
        paths: By the names of its settings.

    Returns:
        What is odd but no reason to stop.

    Raises:
        ConfigError: If the longest answer does not fit into the language model's context.
        CheckpointError: If they cannot be used.
    """
    language = inspect_language(paths["model.language_model"], config.model.prompt_format)
    expected = {"vision": vision_tensors(preset.vision)}
    if not preset.joined_patches:
        expected["qformer"] = qformer_tensors(preset.qformer, preset.vision.width)
    projection = read_header(paths["model.projection"])
    kind = projection_kind(projection.path.name, native_record(projection))
    expected["projection"] = projection_tensors(preset.query_width, language.width, kind)
    problems: list[str] = []
    for part, tensors in expected.items():
        header = read_header(paths[f"model.{part}"])
        offer, record, name = read_offer(header), native_record(header), header.path.name
        if offer is None or record.get("part") != part:
            problems.append(f"{name} does not say that it is a {part}")
            continue
        if part != "projection" and record.get("preset") != preset.parts_name:
            problems.append(f"{name} is of preset {record.get('preset')}, {preset.name} is set")
        shapes = {key.removeprefix(f"{part}."): shape for key, shape in tensors.items()}
        problems += [f"{name}: {said}" for said in weight_problems(header, shapes)]
    if problems:
        raise problem_list("These files do not make a model:", problems)
    _check_answer(config, language)
    record = native_record(projection)
    _check_fingerprint(paths, record)
    return (
        *language.warnings,
        *format_warnings(paths["model.projection"], record, config.model.prompt_format),
    )


def _check_answer(config: Config, language: LanguageFiles) -> None:
    answer = config.generation.max_new_tokens
    if answer >= language.context:
        problem = (
            f"generation.max_new_tokens: {answer} given, which leaves no room for a question in "
            f"the {language.context} tokens that {language.folder.name} reads."
        )
        raise ConfigError([problem])


def _check_fingerprint(paths: Mapping[str, Path], record: Mapping[str, object]) -> None:
    """A projection of the release does not say what it was trained on; ours do."""
    if trained := record.get("frozen"):
        vision = paths["model.vision"]
        reader = paths.get("model.qformer", vision)
        found = fingerprint(vision, reader, paths["model.language_model"])
        check_trained_on(paths["model.projection"], str(trained), found)
