"""The composition root: the one place where a configuration becomes objects."""

import logging
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from transformers.utils.logging import disable_progress_bar

from minigpt4.chat import Chat
from minigpt4.checkpoints.configured import (
    check_own_parts,
    check_settings,
    fetch_parts,
    plan_paths,
)
from minigpt4.checkpoints.embeddings import load_language_input
from minigpt4.checkpoints.language_files import inspect_language
from minigpt4.checkpoints.loading import load_language, load_picture_side
from minigpt4.checkpoints.memory import available_memory, check_fits, in_gib
from minigpt4.checkpoints.native import load_part, read_projection
from minigpt4.checkpoints.others import load_others
from minigpt4.checkpoints.plan import Plan
from minigpt4.config import Config, check_files
from minigpt4.encoder import PictureEncoder
from minigpt4.engines.base import Engine
from minigpt4.engines.batching import new_batching_engine
from minigpt4.engines.generate import CACHE_BYTES, GenerateEngine
from minigpt4.engines.sizing import computes_bfloat16, thread_count
from minigpt4.engines.vllm import VllmEngine
from minigpt4.engines.vllm_wire import server_key
from minigpt4.errors import ConfigError
from minigpt4.models.language import LanguageModel, check_quantization, load_language_model
from minigpt4.models.minigpt4 import MiniGPT4
from minigpt4.models.patches import JoinedPatches
from minigpt4.models.presets import Preset, preset_named
from minigpt4.models.projections import Projection, named_projections
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
    others = build_others(config, model)
    limits = config.limits
    engine, context_tokens = build_engine(config, model)
    return Chat(
        model,
        engine,
        PROMPT_FORMATS[config.model.prompt_format],
        encoder=PictureEncoder(
            model,
            cache_bytes=config.engine.picture_cache_mb * 2**20,
            keep_query_output=bool(others),
        ),
        context_tokens=context_tokens,
        max_pictures=limits.max_pictures,
        max_question_characters=limits.max_question_characters,
        others=others,
    )


def build_engine(config: Config, model: MiniGPT4) -> tuple[Engine, int]:
    """Makes what a configuration wants answers to be written by.

    Returns:
        The engine, and the longest sequence that it reads, answer included.

    Raises:
        ConfigError: If the servers it is to ask are not there, or are not what they should be.
    """
    limits, settings = config.limits, config.engine
    if settings.kind == "vllm":
        servers = VllmEngine(
            model,
            settings.urls,
            places=settings.max_answers,
            queue_size=limits.queue_size,
            context_tokens=limits.max_context_tokens,
            folder=config.model.language_model,
            api_key=server_key(),
        )
        return servers, min(
            limits.max_context_tokens or servers.context_tokens, servers.context_tokens
        )
    longest = int(model.language.model.config.max_position_embeddings)
    context_tokens = min(limits.max_context_tokens or longest, longest)
    if settings.kind == "generate":
        cache_bytes = CACHE_BYTES if settings.cache_mb is None else settings.cache_mb * 2**20
        return GenerateEngine(
            model, queue_size=limits.queue_size, cache_bytes=cache_bytes
        ), context_tokens
    engine = new_batching_engine(
        model,
        free_bytes=_free_memory(model.language.model.device, spread=config.spread),
        context_tokens=context_tokens,
        cache_mb=settings.cache_mb,
        max_answers=settings.max_answers,
        queue_size=limits.queue_size,
        # Nothing is kept of answers with beams: they are rare, and the other cache has the memory.
        beams=GenerateEngine(model, queue_size=limits.queue_size, cache_bytes=0),
    )
    return engine, context_tokens


def build_others(config: Config, model: MiniGPT4) -> Sequence[Projection]:
    """Loads the projections that stand beside the model's own.

    Raises:
        CheckpointError: If one does not fit, or was trained on other frozen parts.
    """
    if not config.model.other_projections:
        return ()
    preset = preset_named(config.model.preset)
    paths = fetch_parts(config, preset)
    return named_projections(load_others(config, preset, paths, model.projection))


def build_model(config: Config) -> MiniGPT4:
    """Loads the whole model of a configuration, in eval mode, on its device.

    Raises:
        ConfigError: If a file is missing or the device is not there.
        CheckpointError: If weights do not fit each other.
    """
    check_files(config)
    torch.set_num_threads(thread_count())
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
        paths.get("model.qformer"),
        paths["model.language_model"],
        dtype=dtype,
        served=config.engine.kind == "vllm",
    )
    # The projection stays in float32, as the release has it: it is small, and it was trained so.
    model.projection = read_projection(
        paths["model.projection"], preset.query_width, model.language.width
    )
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
        served=config.engine.kind == "vllm",
    )
    logger.info("Loading %s of weights; %s in all", in_gib(needed.weights), in_gib(needed.total))
    for warning in plan.warnings:
        logger.warning("%s", warning)
    return build_planned(
        plan,
        device=device,
        dtype=dtype,
        quantize=config.quantize,
        spread=config.spread,
        served=config.engine.kind == "vllm",
    )


def build_planned(
    plan: Plan,
    *,
    device: torch.device,
    dtype: torch.dtype,
    quantize: Literal["none", "8bit", "4bit"] = "none",
    spread: bool = False,
    served: bool = False,
) -> MiniGPT4:
    """Loads the model of a plan; a projection that the plan has no file for is random.

    Args:
        plan: Which tensor of which file goes where.
        device: Where everything goes.
        dtype: What the frozen parts are held in; the projection is held in float32.
        quantize: Holds the language model in fewer bits.
        spread: Lays the language model over all CUDA devices.
        served: Of the language model the embeddings alone are needed; servers have the rest.

    Raises:
        CheckpointError: If a file is damaged.
        ConfigError: If `quantize` is asked for where it does not work.
    """
    vision, reader, projection = load_picture_side(plan, device=device, dtype=dtype)
    language: LanguageModel
    if served:
        language = load_language_input(plan.language, device=device, dtype=dtype)
    elif quantize == "none" and not spread:
        language = load_language(plan.language, device=device, dtype=dtype)
    else:
        language = load_language_model(
            plan.language.folder, dtype, device=device, quantize=quantize, spread=spread
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
    qformer_file: Path | None,
    language_folder: Path,
    *,
    dtype: torch.dtype = torch.float32,
    served: bool = False,
) -> MiniGPT4:
    """Loads everything but the projection, whose weights are left random.

    Args:
        preset: Sizes of the picture side.
        vision_file: Weights of the vision part.
        qformer_file: Weights of the Q-Former; None for a preset without one.
        language_folder: The language model.
        dtype: What they are held in.
        served: A server runs the language model; only its embeddings are loaded.

    Raises:
        CheckpointError: If a part is missing or does not fit.
    """
    vision = VisionEncoder(preset.vision)
    load_part(vision_file, vision, "vision", preset=preset.parts_name)
    qformer: QFormer | JoinedPatches
    if qformer_file is None:
        qformer = JoinedPatches(preset.vision, preset.joined_patches)
    else:
        qformer = QFormer(preset.qformer, preset.vision.width)
        load_part(qformer_file, qformer, "qformer", preset=preset.parts_name)
    disable_progress_bar()  # type: ignore[no-untyped-call] # over before it is seen
    language = (
        load_language_input(inspect_language(language_folder), dtype=dtype)
        if served
        else load_language_model(language_folder, dtype)
    )
    return MiniGPT4(preset, vision.to(dtype), qformer.to(dtype), language)


def choose_device(name: str) -> torch.device:
    """The device of a name; `auto` takes a GPU where there is one, under torchrun one a process.

    Raises:
        ConfigError: If this machine lacks the device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            rank = os.environ.get("LOCAL_RANK", "")
            own = int(rank) % torch.cuda.device_count() if rank.isdecimal() else None
            return torch.device("cuda") if own is None else torch.device("cuda", own)
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
    if device.type == "cpu":
        return torch.bfloat16 if computes_bfloat16() else torch.float32
    if device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.float16
    return torch.float16 if device.type == "mps" else torch.bfloat16
