"""The composition root: the one place where a configuration becomes objects."""

import logging
import math
from collections.abc import Mapping
from pathlib import Path

import torch
from transformers.utils.logging import disable_progress_bar

from minigpt4.chat import Chat
from minigpt4.checkpoints.configured import (
    check_own_parts,
    check_settings,
    fetch_parts,
    plan_paths,
)
from minigpt4.checkpoints.loading import load_language, load_picture_side
from minigpt4.checkpoints.memory import available_memory, check_fits, in_gib
from minigpt4.checkpoints.native import load_part, load_projection
from minigpt4.config import Config, check_files
from minigpt4.engines.generate import GenerateEngine
from minigpt4.errors import ConfigError
from minigpt4.models.language import check_quantization, load_language_model
from minigpt4.models.minigpt4 import MiniGPT4
from minigpt4.models.presets import Preset, preset_named
from minigpt4.models.qformer import QFormer
from minigpt4.models.vision import VisionEncoder
from minigpt4.prompt_formats import PROMPT_FORMATS

logger = logging.getLogger(__name__)

_PRECISIONS = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def build_chat(config: Config) -> Chat:
    """Loads the model of a configuration and everything a chat with it needs.

    Raises:
        ConfigError: If a file is missing or the device is not there.
        CheckpointError: If weights do not fit each other.
    """
    model = build_model(config)
    limits = config.limits
    longest = int(model.language.model.config.max_position_embeddings)
    return Chat(
        model,
        GenerateEngine(model),
        PROMPT_FORMATS[config.model.prompt_format],
        context_tokens=min(limits.max_context_tokens or longest, longest),
        max_pictures=limits.max_pictures,
        max_question_characters=limits.max_question_characters,
    )


def build_model(config: Config) -> MiniGPT4:
    """Loads the whole model of a configuration, in eval mode, on its device.

    Raises:
        ConfigError: If a file is missing or the device is not there.
        CheckpointError: If weights do not fit each other.
    """
    check_files(config)
    device = choose_device(config.device)
    dtype = choose_dtype(config.precision, device)
    preset = preset_named(config.model.preset)
    check_settings(config, preset, on_gpu=device.type == "cuda")
    check_quantization(config.quantize, device)  # before anything is fetched
    paths = fetch_parts(config, preset)
    if preset.vision.architecture == "eva":
        return build_released_model(config, preset, paths, device, dtype)
    for warning in check_own_parts(config, preset, paths):
        logger.warning("%s", warning)
    model = build_frozen_parts(
        preset,
        paths["model.vision"],
        paths["model.qformer"],
        paths["model.language_model"],
        dtype=dtype,
    )
    # The projection stays in float32, as the release has it: it is small, and it was trained so.
    load_projection(paths["model.projection"], model.projection)
    return model.to(device).eval()


def build_released_model(
    config: Config,
    preset: Preset,
    paths: Mapping[str, Path],
    device: torch.device,
    dtype: torch.dtype,
) -> MiniGPT4:
    """Loads a model of the release's size and layouts, part by part and straight to its device.

    Raises:
        ConfigError: If a setting does not fit, or the model does not fit into memory.
        CheckpointError: If weights cannot be used or do not fit each other.
    """
    plan = plan_paths(config, preset, paths)
    on_gpu = device.type == "cuda"
    needed = check_fits(
        plan,
        str(dtype).removeprefix("torch."),
        config.quantize,
        _free_memory(device, spread=config.spread),
        on_gpu=on_gpu,
        context=config.limits.max_context_tokens,
    )
    logger.info("Loading %s of weights; %s in all", in_gib(needed.weights), in_gib(needed.total))
    for warning in plan.warnings:
        logger.warning("%s", warning)
    vision, reader, projection = load_picture_side(plan, device=device, dtype=dtype)
    if config.quantize == "none" and not config.spread:
        language = load_language(plan.language, device=device, dtype=dtype)
    else:
        language = load_language_model(
            plan.language.folder,
            dtype,
            device=device,
            quantize=config.quantize,
            spread=config.spread,
        )
    return MiniGPT4(plan.preset, vision, reader, language, projection).eval()


def _free_memory(device: torch.device, *, spread: bool) -> float:
    """Bytes that are free where the model is to go."""
    if device.type != "cuda":
        return available_memory() or math.inf
    devices = range(torch.cuda.device_count()) if spread else [device]
    return float(sum(torch.cuda.mem_get_info(each)[0] for each in devices))


def build_frozen_parts(
    preset: Preset,
    vision_file: Path,
    qformer_file: Path,
    language_folder: Path,
    *,
    dtype: torch.dtype = torch.float32,
) -> MiniGPT4:
    """Loads everything but the projection, whose weights are left random.

    Raises:
        CheckpointError: If a part is missing or does not fit.
    """
    vision = VisionEncoder(preset.vision)
    load_part(vision_file, vision, "vision", preset=preset.name)
    qformer = QFormer(preset.qformer, preset.vision.width)
    load_part(qformer_file, qformer, "qformer", preset=preset.name)
    disable_progress_bar()  # type: ignore[no-untyped-call] # over before it is seen
    language = load_language_model(language_folder, dtype)
    return MiniGPT4(preset, vision.to(dtype), qformer.to(dtype), language)


def choose_device(name: str) -> torch.device:
    """The device of a name; `auto` takes a GPU where there is one.

    Raises:
        ConfigError: If this machine lacks the device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    device = torch.device(name)
    gpus = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= gpus:
        raise ConfigError(
            [f"device: {name!r} given; this machine has {gpus} CUDA devices. Use cpu."]
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError(["device: 'mps' given; this machine has no Apple GPU. Use cpu."])
    return device


def choose_dtype(precision: str, device: torch.device) -> torch.dtype:
    """What the frozen parts are held in; `auto` is bfloat16 where the device computes in it."""
    if precision != "auto":
        return _PRECISIONS[precision]
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.float16
    return torch.float16 if device.type == "mps" else torch.bfloat16
