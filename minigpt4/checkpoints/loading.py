"""Fills a model with the weights of a plan: strictly, and without holding them twice."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import groupby
from typing import Any

import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from minigpt4.checkpoints.files import problem_list
from minigpt4.checkpoints.language_files import LanguageFiles, weight_problems
from minigpt4.checkpoints.plan import Plan
from minigpt4.checkpoints.release import Origin
from minigpt4.checkpoints.tensors import read_tensors
from minigpt4.models.language import LanguageModel, load_tokenizer
from minigpt4.models.patches import JoinedPatches
from minigpt4.models.projection_layers import ProjectionLayer, new_projection
from minigpt4.models.qformer import QFormer
from minigpt4.models.vision import VisionEncoder

_HEAD = "lm_head.weight"
_POSITIONS = "vision.transformer.pos_embed"


def load_picture_side(
    plan: Plan, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> tuple[VisionEncoder, QFormer | JoinedPatches, ProjectionLayer]:
    """Builds the vision encoder, what reads its features, and the projection.

    Modules are made without memory and take the tensors over as they are read, so that loading
    needs one tensor more than the weights themselves. The projection stays in float32, as the
    release has it; one that the plan has no file for gets random weights, to be trained.

    Args:
        plan: What `plan_model` found.
        device: Where the weights go.
        dtype: What the vision encoder and the Q-Former are held in.

    Raises:
        CheckpointError: If a file is damaged or a tensor is not finite; then nothing is loaded.
    """
    preset = plan.preset
    joined = preset.joined_patches
    with torch.device("meta"):
        vision = VisionEncoder(preset.vision)
        qformer = None if joined else QFormer(preset.qformer, preset.vision.width)
        projection = _new_projection(plan)
    if joined:
        # The release leaves this LayerNorm as it is born where there is no Q-Former.
        plain = nn.LayerNorm(preset.vision.width, device=device, dtype=dtype)
        vision.layer_norm = plain
    weights = _read(plan, torch.device(device), dtype)
    _take(vision, "vision.", weights, device, dtype)
    if "projection" in plan.offers:
        _take(projection, "projection.", weights, device, torch.float32)
    else:
        projection = projection.to_empty(device=device)
        projection.reset_parameters()
    if qformer is not None:
        _take(qformer, "qformer.", weights, device, dtype)
    reader = qformer if qformer is not None else JoinedPatches(preset.vision, joined)
    for part in (vision, reader):
        part.requires_grad_(requires_grad=False)
        part.eval()
    return vision, reader, projection.eval()


def load_projection_of(plan: Plan, device: torch.device | str = "cpu") -> ProjectionLayer:
    """Builds the projection of a plan alone, in float32.

    Raises:
        CheckpointError: If its file is damaged or a number is not finite.
    """
    origins = {name: at for name, at in plan.origins.items() if name.startswith("projection.")}
    weights = _read(replace(plan, origins=origins, zeros=()), torch.device(device), torch.float32)
    with torch.device("meta"):
        projection = _new_projection(plan)
    _take(projection, "projection.", weights, device, torch.float32)
    return projection.eval()


def _new_projection(plan: Plan) -> ProjectionLayer:
    return new_projection(plan.projection_kind, plan.preset.query_width, plan.language.width)


def stored_weights(plan: Plan, part: str) -> dict[str, torch.Tensor]:
    """The weights of one part under the names of its module, in the precision of its file.

    Raises:
        CheckpointError: If a file is damaged or a number is not finite.
    """
    prefix = f"{part}."
    origins = {name: at for name, at in plan.origins.items() if name.startswith(prefix)}
    zeros = plan.zeros if part == "vision" else ()
    weights = _read(replace(plan, origins=origins, zeros=zeros), torch.device("cpu"), None)
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items()}


def load_language(
    files: LanguageFiles,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> LanguageModel:
    """Builds the language model of a folder, tensor by tensor.

    transformers maps the files into memory and converts what it reads, and so holds both for a
    while; this does not. Quantising needs `minigpt4.models.language.load_language_model`.

    Args:
        files: What `inspect_language` found.
        device: Where the weights go.
        dtype: What they are held in.

    Raises:
        CheckpointError: If weights are missing, misshapen, unknown or not finite.
    """
    settings: Any = LlamaConfig.from_pretrained(files.folder, local_files_only=True)
    settings.dtype = dtype
    with torch.device("meta"):
        model: Any = LlamaForCausalLM(settings)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if settings.tie_word_embeddings and _HEAD not in files.header.tensors:
        del expected[_HEAD]
    problems = list(weight_problems(files.header, expected))
    if problems:
        raise problem_list(f"The weights in {files.folder.name} cannot be used:", problems)
    state: dict[str, torch.Tensor] = {}
    for name, stored in read_tensors(files.header, expected):
        if not _finite(stored):
            problems.append(f"{name} holds numbers that are not finite")
        state[name] = stored.to(device, dtype, copy=True).contiguous()
    if problems:
        raise problem_list("These weights are damaged; fetch the files again:", problems)
    model.load_state_dict(state, strict=_HEAD in expected, assign=True)
    if _HEAD not in expected:
        model.tie_weights()
    # Its constants are computed, not stored: on the meta device they were not.
    model.model.rotary_emb = LlamaRotaryEmbedding(settings).to(device)
    model.eval().requires_grad_(requires_grad=False)
    return LanguageModel(model, *load_tokenizer(files.folder))


def _finite(tensor: torch.Tensor) -> bool:
    """Whether all numbers are finite; a sum mostly shows it without a mask of the tensor's size."""
    if not tensor.is_floating_point() or bool(tensor.sum(dtype=torch.float32).isfinite()):
        return True
    return bool(tensor.float().isfinite().all())  # large numbers can have a sum that is not


def resize_positions(positions: torch.Tensor, grid: int) -> torch.Tensor:
    """Position embeddings for another picture size.

    Args:
        positions: `(1, 1 + g * g, Dv)`, the class token's first, which stays as it is.
        grid: Patches along one side that are wanted.

    Returns:
        `(1, 1 + grid * grid, Dv)`.

    Source: interpolate_pos_embed in the release's eva_vit.py.
    """
    old = math.isqrt(positions.shape[1] - 1)
    if old == grid:
        return positions
    width = positions.shape[-1]
    patches = positions[:, 1:].float().reshape(1, old, old, width).permute(0, 3, 1, 2)
    resized = nn.functional.interpolate(
        patches, size=(grid, grid), mode="bicubic", align_corners=False
    )
    flat = resized.permute(0, 2, 3, 1).reshape(1, grid * grid, width)
    return torch.cat([positions[:, :1], flat.to(positions.dtype)], dim=1)


def _read(plan: Plan, device: torch.device, dtype: torch.dtype | None) -> dict[str, torch.Tensor]:
    """All weights of a plan by our names, each converted as soon as it is read; None keeps it."""
    weights: dict[str, torch.Tensor] = {}
    broken: list[str] = []
    for origin, names, stored in _tensors(plan):
        if not _finite(stored):
            bad = int((~torch.isfinite(stored.float())).sum())
            file = origin.header.path.name
            broken.append(f"{file}: {origin.name} holds {bad:,} numbers that are not finite")
            continue
        for name, third in names.items():
            tensor = stored if third is None else stored.chunk(3)[third]
            if not name:
                if tensor.any():
                    broken.append(f"{origin.name}: the bias of its keys is not zero")
                continue
            if name == _POSITIONS:
                tensor = resize_positions(tensor.float(), plan.preset.vision.grid)
            target = torch.float32 if name.startswith("projection.") else dtype
            weights[name] = tensor.to(device, target or tensor.dtype, copy=True).contiguous()
    if broken:
        raise problem_list("These weights are damaged; fetch the files again:", broken)
    return weights


def _tensors(plan: Plan) -> Iterator[tuple[Origin, Mapping[str, int | None], torch.Tensor]]:
    """Every stored tensor once, with our names of it and which third each takes."""
    wanted = [(name, origin) for name, origin in plan.origins.items()]
    wanted += [("", zero) for zero in plan.zeros]
    wanted.sort(key=lambda item: str(item[1].header.path))
    for _, group in groupby(wanted, key=lambda item: item[1].header.path):
        yield from _of_one_file(list(group))


def _of_one_file(
    wanted: Iterable[tuple[str, Origin]],
) -> Iterator[tuple[Origin, Mapping[str, int | None], torch.Tensor]]:
    names: dict[str, dict[str, int | None]] = {}
    origins: dict[str, Origin] = {}
    for name, origin in wanted:
        names.setdefault(origin.name, {})[name] = origin.third
        origins[origin.name] = origin
    header = next(iter(origins.values())).header
    for stored, tensor in read_tensors(header, names):
        yield origins[stored], names[stored], tensor


def _take(
    module: nn.Module,
    prefix: str,
    weights: dict[str, torch.Tensor],
    device: torch.device | str,
    dtype: torch.dtype,
) -> None:
    """Gives a module its weights, moving them out of the dictionary."""
    own = {name: weights.pop(name) for name in list(weights) if name.startswith(prefix)}
    state = {name.removeprefix(prefix): tensor for name, tensor in own.items()}
    state = {**_already_there(module), **state}
    module.load_state_dict(state, strict=True, assign=True)
    for owner in module.modules():
        for name, buffer in owner.named_buffers(recurse=False):
            if buffer.is_meta:  # the only ones are timm's key biases, which are zero
                setattr(owner, name, torch.zeros(buffer.shape, device=device, dtype=dtype))


def _already_there(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in module.state_dict().items() if not tensor.is_meta}
