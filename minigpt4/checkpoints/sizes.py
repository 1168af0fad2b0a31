"""Sizes read from weights files, and every tensor that a model of some size must find in them.

Widths, depths and the patch grid follow from the tensors' shapes. What does not, the number of
attention heads, comes from the preset. Nothing here needs torch.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from minigpt4.checkpoints.files import TensorInfo
from minigpt4.checkpoints.release import Offer, of_part
from minigpt4.errors import CheckpointError
from minigpt4.models.presets import (
    PROJECTION_KINDS,
    Preset,
    ProjectionKind,
    QFormerConfig,
    VisionConfig,
)

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Heads:
    """Attention heads, which no weights file tells.

    Attributes:
        vision: Of the vision encoder; None takes the preset's if the widths agree.
        qformer: Of the Q-Former; the same.
    """

    vision: int | None = None
    qformer: int | None = None


def vision_sizes(
    offer: Offer, preset: Preset, *, heads: int | None = None, image_size: int | None = None
) -> VisionConfig:
    """Sizes of the vision encoder a file holds.

    Args:
        offer: The vision file.
        preset: Gives what the file does not tell.
        heads: Attention heads; None takes the preset's.
        image_size: Side of the pictures; None takes the file's own.

    Raises:
        CheckpointError: If the file does not tell its sizes, or heads are unknown.
    """
    shapes = _shapes(offer, "vision")
    prefix = "vision.transformer."
    try:
        width = shapes[f"{prefix}cls_token"][-1]
        patch = shapes[f"{prefix}patch_embed.proj.weight"][-1]
        patches = shapes[f"{prefix}pos_embed"][1] - 1
        hidden = shapes[f"{prefix}blocks.0.mlp.fc1.weight"][0]
    except (KeyError, IndexError):
        raise _sizes_missing(offer, "vision transformer") from None
    grid = math.isqrt(patches)
    if grid * grid != patches or not patch or not width:
        message = (
            f"{offer.header.path.name} has position embeddings for {patches} patches, which are "
            "no square grid."
        )
        raise CheckpointError(message)
    known = preset.vision
    same = known.width == width
    blocks = _depth(shapes, rf"{re.escape(prefix)}blocks\.(\d+)\..+")
    ratio = known.mlp_ratio if int(width * known.mlp_ratio) == hidden else (hidden + 0.5) / width
    # The release runs all blocks of eva_vit_g.pth but the last; Hugging Face's file lacks that one.
    used = blocks
    if offer.layout == "eva_vit":
        used = known.depth if same else max(1, blocks - 1)
    return VisionConfig(
        architecture="eva",
        image_size=image_size or grid * patch,
        patch_size=patch,
        width=width,
        depth=used,
        heads=_heads(offer, "vision", width, known.width, heads or (known.heads if same else None)),
        mlp_ratio=ratio,
    )


def qformer_sizes(offer: Offer, preset: Preset, *, heads: int | None = None) -> QFormerConfig:
    """Sizes of the Q-Former a file holds.

    Raises:
        CheckpointError: If the file does not tell its sizes, or heads are unknown.
    """
    shapes = _shapes(offer, "qformer")
    layer = "qformer.transformer.encoder.layer."
    try:
        _, queries, width = shapes["qformer.query_tokens"]
        intermediate = shapes[f"{layer}0.intermediate_query.dense.weight"][0]
    except (KeyError, ValueError, IndexError):
        raise _sizes_missing(offer, "Q-Former") from None
    crossing = sorted(
        {
            int(match[1])
            for name in shapes
            if (match := re.fullmatch(rf"{re.escape(layer)}(\d+)\.crossattention\..+", name))
        }
    )
    known = preset.qformer
    same = known.width == width and not preset.joined_patches
    depth = _depth(shapes, rf"{re.escape(layer)}(\d+)\..+")
    return QFormerConfig(
        queries=queries,
        width=width,
        depth=depth,
        heads=_heads(
            offer, "qformer", width, known.width, heads or (known.heads if same else None)
        ),
        intermediate=intermediate,
        cross_attention_every=crossing[1] - crossing[0] if len(crossing) > 1 else max(1, depth),
    )


def sized(preset: Preset, vision: VisionConfig, qformer: QFormerConfig | None) -> Preset:
    """A preset with the sizes that were found in files."""
    return replace(preset, vision=vision, qformer=qformer or preset.qformer)


def vision_tensors(config: VisionConfig) -> dict[str, Shape]:
    """Name and shape of every tensor of a vision encoder."""
    width, hidden = config.width, int(config.width * config.mlp_ratio)
    biases: dict[str, Shape] = {"attn.qkv.bias": (3 * width,)}
    if config.architecture == "eva":  # its keys have no bias
        biases = {"attn.q_bias": (width,), "attn.v_bias": (width,)}
    block: dict[str, Shape] = {
        "norm1.weight": (width,),
        "norm1.bias": (width,),
        **biases,
        "attn.qkv.weight": (3 * width, width),
        "attn.proj.weight": (width, width),
        "attn.proj.bias": (width,),
        "norm2.weight": (width,),
        "norm2.bias": (width,),
        "mlp.fc1.weight": (hidden, width),
        "mlp.fc1.bias": (hidden,),
        "mlp.fc2.weight": (width, hidden),
        "mlp.fc2.bias": (width,),
    }
    prefix = "vision.transformer."
    return {
        f"{prefix}cls_token": (1, 1, width),
        f"{prefix}pos_embed": (1, 1 + config.grid**2, width),
        **{f"{prefix}patch_embed.{name}": at for name, at in _patch_stem(config).items()},
        **{
            f"{prefix}blocks.{index}.{name}": shape
            for index in range(config.depth)
            for name, shape in block.items()
        },
        "vision.layer_norm.weight": (width,),
        "vision.layer_norm.bias": (width,),
    }


def _patch_stem(config: VisionConfig) -> dict[str, Shape]:
    """What makes vectors of patches: one convolution, or a `vit`'s several."""
    width, patch = config.width, config.patch_size
    if config.architecture == "eva":
        return {"proj.weight": (width, 3, patch, patch), "proj.bias": (width,)}
    tensors: dict[str, Shape] = {"proj.weight": (width, width, 1, 1), "proj.bias": (width,)}
    read, last = 3, len(config.stem) - 1
    for index, (written, _) in enumerate(config.stem):
        layer = f"backbone.{index}."
        tensors[f"{layer}conv.weight"] = (written, read, 3, 3)
        if index == last:
            tensors[f"{layer}conv.bias"] = (written,)
        else:
            tensors |= _norm(f"{layer}bn", written)
            tensors |= {f"{layer}bn.running_{name}": (written,) for name in ("mean", "var")}
            tensors[f"{layer}bn.num_batches_tracked"] = ()
        read = written
    return tensors


def qformer_tensors(config: QFormerConfig, image_feature_width: int) -> dict[str, Shape]:
    """Name and shape of every tensor of a Q-Former."""
    width = config.width
    tensors: dict[str, Shape] = {
        "qformer.query_tokens": (1, config.queries, width),
        "qformer.transformer.layernorm.weight": (width,),
        "qformer.transformer.layernorm.bias": (width,),
    }
    for index in range(config.depth):
        prefix = f"qformer.transformer.encoder.layer.{index}."
        attentions = {"attention": width}
        if index % config.cross_attention_every == 0:
            attentions["crossattention"] = image_feature_width
        for attention, read in attentions.items():
            for name, source in (("query", width), ("key", read), ("value", read)):
                tensors |= _linear(f"{prefix}{attention}.attention.{name}", width, source)
            tensors |= _linear(f"{prefix}{attention}.output.dense", width, width)
            tensors |= _norm(f"{prefix}{attention}.output.LayerNorm", width)
        tensors |= _linear(f"{prefix}intermediate_query.dense", config.intermediate, width)
        tensors |= _linear(f"{prefix}output_query.dense", width, config.intermediate)
        tensors |= _norm(f"{prefix}output_query.LayerNorm", width)
    return tensors


def projection_tensors(
    query_width: int, language_width: int, kind: ProjectionKind = "linear"
) -> dict[str, Shape]:
    """Name and shape of every tensor of a projection."""
    if kind == "linear":
        return _linear("projection", language_width, query_width)
    first, second, third = (f"projection.{name}" for name in ("first", "second", "third"))
    return {
        **_linear(first, language_width, query_width),
        **_linear(second, language_width, language_width),
        **_linear(third, language_width, language_width),
    }


def projection_ends(kind: ProjectionKind) -> tuple[str, str]:
    """Names of the matrix of a projection that reads the query output, and of the one that writes.

    Each is `(out, in)`; one linear layer does both.
    """
    if kind == "linear":
        return "projection.weight", "projection.weight"
    return "projection.first.weight", "projection.third.weight"


def projection_kind(file: str, record: Mapping[str, object]) -> ProjectionKind:
    """What a projection is made of: one linear layer, unless its file says otherwise.

    Args:
        file: Its name, for a person.
        record: What it says about itself; empty for the release's.

    Raises:
        CheckpointError: If it says what this version does not know.
    """
    said = record.get("kind", "linear")
    for kind in PROJECTION_KINDS:
        if said == kind:
            return kind
    message = (
        f"{file} holds a projection of kind {said!r}, and this MiniGPT-4 knows "
        f"{', '.join(PROJECTION_KINDS)}. Update MiniGPT-4, or choose another projection."
    )
    raise CheckpointError(message)


def language_tensors(config: Mapping[str, int]) -> dict[str, Shape]:
    """Name and shape of every tensor of a Llama.

    Args:
        config: The numbers of its config.json, by their names there.
    """
    width, hidden = config["hidden_size"], config["intermediate_size"]
    heads = config["num_attention_heads"]
    head_width = config.get("head_dim") or width // heads
    asked, read = heads * head_width, (config.get("num_key_value_heads") or heads) * head_width
    linear: dict[str, Shape] = {
        "self_attn.q_proj": (asked, width),
        "self_attn.k_proj": (read, width),
        "self_attn.v_proj": (read, width),
        "self_attn.o_proj": (width, asked),
        "mlp.gate_proj": (hidden, width),
        "mlp.up_proj": (hidden, width),
        "mlp.down_proj": (width, hidden),
    }
    layer: dict[str, Shape] = {
        "input_layernorm.weight": (width,),
        "post_attention_layernorm.weight": (width,),
    }
    for name, shape in linear.items():
        layer[f"{name}.weight"] = shape
        if config.get("attention_bias" if name.startswith("self_attn") else "mlp_bias"):
            layer[f"{name}.bias"] = shape[:1]
    tensors: dict[str, Shape] = {
        "model.embed_tokens.weight": (config["vocab_size"], width),
        "model.norm.weight": (width,),
        **{
            f"model.layers.{index}.{name}": shape
            for index in range(config["num_hidden_layers"])
            for name, shape in layer.items()
        },
    }
    if not config.get("tie_word_embeddings"):
        tensors["lm_head.weight"] = (config["vocab_size"], width)
    return tensors


def stored(offer: Offer, part: str) -> dict[str, TensorInfo]:
    """The tensors of a part by our names, as stored."""
    return {name: origin.info for name, origin in of_part(offer, part)}


def _shapes(offer: Offer, part: str) -> Mapping[str, Shape]:
    return {name: info.shape for name, info in stored(offer, part).items()}


def _depth(shapes: Mapping[str, Shape], pattern: str) -> int:
    found = (re.fullmatch(pattern, name) for name in shapes)
    return 1 + max((int(match[1]) for match in found if match), default=-1)


def _heads(offer: Offer, part: str, width: int, known_width: int, heads: int | None) -> int:
    if heads is None:
        message = (
            f"{offer.header.path.name} holds a {part} part of width {width}, the preset one of "
            f"{known_width}. Its number of attention heads cannot be read from weights: choose the "
            f"preset it belongs to, or set model.{part}_heads."
        )
        raise CheckpointError(message)
    if width % heads:
        message = f"model.{part}_heads: {heads} heads cannot share a width of {width}."
        raise CheckpointError(message)
    return heads


def _sizes_missing(offer: Offer, what: str) -> CheckpointError:
    return CheckpointError(
        f"{offer.header.path.name} lacks the tensors that tell the size of a {what}."
    )


def _linear(name: str, written: int, read: int) -> dict[str, Shape]:
    return {f"{name}.weight": (written, read), f"{name}.bias": (written,)}


def _norm(name: str, width: int) -> dict[str, Shape]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}
