"""Attention weights of parts that are in use, without touching them.

An engine may be answering with the same model in another thread. So nothing here switches the
attention implementation of a module, hooks into one, or calls one that keeps a state: the layers'
own linear maps and norms are applied to a sequence of our own, and the softmax between them, which
the fast implementations never show, is computed here.
"""

from collections.abc import Iterator
from typing import Any

import torch
from transformers.models.blip_2.modeling_blip_2 import Blip2QFormerAttention
from transformers.models.llama.modeling_llama import LlamaAttention, apply_rotary_pos_emb

from minigpt4.models.language import LanguageModel
from minigpt4.models.patches import JoinedPatches
from minigpt4.models.qformer import QFormer

_WEIGHTS_AT_ONCE = 2**24
"""Attention weights held at a time: heads are taken in groups, so that a long chat needs megabytes
here where all heads of a large model would need gigabytes."""


@torch.no_grad()
def mean_attention(language: LanguageModel, embeds: torch.Tensor) -> Iterator[torch.Tensor]:
    """Who attends to whom in the language model, layer by layer, as the mean over heads.

    Args:
        language: The language model; it is only read.
        embeds: A sequence `(1, T, D)`.

    Yields:
        For each layer, the first one first, `(T, T)` in float32: row t sums to one and says from
        where position t reads.

    Source: transformers' `LlamaAttention` and `LlamaDecoderLayer`.
    """
    decoder: Any = language.model.model
    length = embeds.shape[1]
    hidden = embeds.to(decoder.layers[0].input_layernorm.weight)
    positions = torch.arange(length, device=hidden.device)[None]
    cosine, sine = decoder.rotary_emb(hidden, positions)
    for layer in decoder.layers:
        # A model that is spread over devices moves the sequence along.
        hidden = hidden.to(layer.input_layernorm.weight.device)
        turns = (cosine.to(hidden.device), sine.to(hidden.device))
        read, mean = _causal(layer.self_attn, layer.input_layernorm(hidden), turns)
        yield mean
        hidden = hidden + read
        hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))


def _causal(
    attention: LlamaAttention, hidden: torch.Tensor, turns: tuple[torch.Tensor, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """What a layer's attention adds `(1, T, D)`, and its mean weights `(T, T)`."""
    length = hidden.shape[1]
    queries, keys = apply_rotary_pos_emb(
        _by_head(attention.q_proj(hidden), attention.head_dim),
        _by_head(attention.k_proj(hidden), attention.head_dim),
        *turns,
    )
    values = _by_head(attention.v_proj(hidden), attention.head_dim)
    # Grouped queries: several heads share a key and a value.
    keys, values = (
        each.repeat_interleave(attention.num_key_value_groups, dim=1) for each in (keys, values)
    )
    later = torch.ones(length, length, dtype=torch.bool, device=hidden.device).triu(1)
    mean = torch.zeros(length, length, device=hidden.device)
    read = torch.empty_like(queries)
    heads = queries.shape[1]
    group = max(1, _WEIGHTS_AT_ONCE // length**2)
    for first in range(0, heads, group):
        some = slice(first, first + group)
        scores = queries[:, some] @ keys[:, some].transpose(2, 3) * attention.scaling
        weights = scores.masked_fill(later, -torch.inf).softmax(-1, dtype=torch.float32)
        mean += weights.sum((0, 1)) / heads
        read[:, some] = weights.to(values.dtype) @ values[:, some]
    return attention.o_proj(read.transpose(1, 2).flatten(2)), mean


def rollout(language: LanguageModel, embeds: torch.Tensor, sources: torch.Tensor) -> torch.Tensor:
    """How much of each position comes from each of some earlier ones, through all layers.

    Attention of one layer says little: a word reads positions that have read others before. A
    rollout multiplies the layers, each mixed half and half with the residual connection around it.

    Args:
        language: The language model; it is only read.
        embeds: A sequence `(1, T, D)`.
        sources: Positions `(C,)`.

    Returns:
        `(T, C)` in float32 on the CPU, non-negative; the shares of all T sources would sum to one.

    Source: Abnar and Zuidema, 2020, "Quantifying attention flow in transformers", section 3.
    """
    shares = torch.zeros(embeds.shape[1], len(sources), device=embeds.device)
    shares[sources.to(embeds.device), torch.arange(len(sources), device=embeds.device)] = 1
    for weights in mean_attention(language, embeds):
        here = shares.to(weights.device)
        shares = (weights @ here + here) / 2
    return shares.cpu()


@torch.no_grad()
def patch_attention(reader: QFormer | JoinedPatches, image_features: torch.Tensor) -> torch.Tensor:
    """From which patches each visual token is made.

    For a Q-Former, the mean over the heads of its last cross-attention, from which the query
    output is computed most directly; what it pays to the class token, which is nowhere on the
    picture, is left out. Without a Q-Former, a visual token is made of the patches joined in it.

    Args:
        reader: What makes visual tokens of image features; it is only read.
        image_features: `(1, 1 + patches, Dv)`, the class token first.

    Returns:
        `(Q, patches)` in float32 on the CPU, non-negative; a row sums to at most one.

    Source: transformers' `Blip2QFormerLayer`.
    """
    if isinstance(reader, JoinedPatches):
        joined = reader.config.joined
        return torch.eye(reader.config.queries).repeat_interleave(joined, dim=1) / joined
    transformer: Any = reader.transformer
    layers = list(transformer.encoder.layer)
    last = max(number for number, layer in enumerate(layers) if layer.has_cross_attention)
    dtype = transformer.layernorm.weight.dtype
    features = image_features.to(dtype)
    hidden = transformer.layernorm(reader.query_tokens.to(image_features.dtype).to(dtype))
    for layer in layers[:last]:
        hidden = _attend(layer.attention, hidden, hidden)[0]
        if layer.has_cross_attention:
            hidden = _attend(layer.crossattention, hidden, features)[0]
        hidden = layer.feed_forward_chunk_query(hidden)
    hidden = _attend(layers[last].attention, hidden, hidden)[0]
    weights = _attend(layers[last].crossattention, hidden, features)[1]
    return weights[0].mean(0)[:, 1:].float().cpu()


def _attend(
    block: Blip2QFormerAttention, hidden: torch.Tensor, context: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """One attention of the Q-Former: its output `(1, Q, Dq)` and its weights `(1, heads, Q, N)`."""
    attention = block.attention
    size = attention.attention_head_size
    queries = _by_head(attention.query(hidden), size)
    keys = _by_head(attention.key(context), size)
    values = _by_head(attention.value(context), size)
    weights = (queries @ keys.transpose(2, 3) * size**-0.5).softmax(-1, dtype=torch.float32)
    read = (weights.to(values.dtype) @ values).transpose(1, 2).flatten(2)
    return block.output(read, hidden), weights


def _by_head(states: torch.Tensor, size: int) -> torch.Tensor:
    """`(1, T, heads * size)` as `(1, heads, T, size)`."""
    return states.view(*states.shape[:-1], -1, size).transpose(1, 2)
