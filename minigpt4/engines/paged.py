"""The KV cache in blocks, and attention that reads it: many sequences in one forward pass.

The tokens of all sequences stand behind one another in one row `(1, T)`. Everything in the language
model but attention treats positions alone, so it needs no padding and no mask; attention is ours
(`attend`), registered with transformers under a name of its own.

Shapes: T tokens of a step, H heads, Hk heads of keys and values, E width of a head, S positions of
the cache, L positions of a sequence.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, LlamaConfig

from minigpt4.engines.blocks import PAGE

ATTENTION = "minigpt4_paged"
"""Name under which transformers finds `attend`."""
_COPY_BYTES = 256 * 1024
"""On a CPU, from this size on, reading the keys of each sequence in place costs less than gathering
them all into one padded tensor; below, the calls cost more than the copy."""


class PagedKV:
    """Keys and values of all layers, `(Hk, S, E)` each."""

    def __init__(
        self,
        config: LlamaConfig,
        blocks: int,
        dtype: torch.dtype,
        devices: Sequence[torch.device],
    ) -> None:
        """Sets the memory aside; a CPU hands it out when it is first written.

        Args:
            config: The language model's.
            blocks: How many blocks; one more stands in front of them.
            dtype: What keys and values are held in.
            devices: Where each layer computes.
        """
        shape = (_key_heads(config), (blocks + 1) * PAGE, _head_width(config))
        self.layers: list[tuple[torch.Tensor, torch.Tensor]] = []
        for device in devices:
            keys = torch.empty(shape, dtype=dtype, device=device)
            values = torch.empty(shape, dtype=dtype, device=device)
            # Padding reads block 0; masked or not, what is no number would spread from there.
            keys[:, :PAGE] = 0
            values[:, :PAGE] = 0
            self.layers.append((keys, values))


def cache_dtype(computed: torch.dtype, device: torch.device) -> torch.dtype:
    """What keys and values are held in.

    On a CPU always float32: one token reads 1,000 others nine times as fast as in bfloat16, whose
    attention kernel is made for many tokens at a time. It costs twice the memory.
    """
    return torch.float32 if device.type == "cpu" else computed


def bytes_per_token(config: LlamaConfig, dtype: torch.dtype) -> int:
    """Memory of one position in all layers."""
    width = _key_heads(config) * _head_width(config)
    return 2 * int(config.num_hidden_layers or 0) * width * dtype.itemsize


@dataclass(frozen=True, slots=True)
class Span:
    """Neighbouring positions of one sequence that a step runs.

    Attributes:
        start: The first one's position; what stands before it is in the cache.
        count: How many.
        blocks: The sequence's blocks.
        adjacent: They lie behind one another.
    """

    start: int
    count: int
    blocks: Sequence[int]
    adjacent: bool

    @property
    def end(self) -> int:
        """Length of the sequence after the step."""
        return self.start + self.count

    def places(self) -> list[int]:
        """Where the new positions stand in the cache."""
        return [
            self.blocks[position // PAGE] * PAGE + position % PAGE
            for position in range(self.start, self.end)
        ]


@dataclass(frozen=True, slots=True)
class _Together:
    """Sequences of one new token each, read as one padded batch.

    Attributes:
        count: How many.
        places: `(count * L,)`, where their positions stand in the cache.
        mask: `(count, 1, 1, L)`, which of them there are.
    """

    count: int
    places: torch.Tensor
    mask: torch.Tensor


@dataclass(frozen=True, slots=True)
class _Alone:
    """A sequence that is read by itself.

    Attributes:
        first: Its first new token in the row.
        count: Its new tokens.
        places: `(L,)`, where its positions stand in the cache, or the slice of them.
        mask: `(count, L)`; None if the new tokens are all there is, or only one.
        causal: Whether the new tokens are all there is.
    """

    first: int
    count: int
    places: torch.Tensor | slice
    mask: torch.Tensor | None
    causal: bool


class Plan:
    """What attention does in one step: where to write, and what each sequence reads."""

    def __init__(self, cache: PagedKV, spans: Sequence[Span]) -> None:
        """Lays out a step.

        Args:
            cache: Keys and values.
            spans: What the row consists of. Those of one token that has a past come first.
        """
        self._cache = cache
        keys, _ = cache.layers[0]
        self._device = keys.device
        single = 0
        while single < len(spans) and spans[single].count == 1 and spans[single].start:
            single += 1
        read = sum(span.end for span in spans[:single]) * keys.shape[0] * keys.shape[2]
        in_place = keys.device.type == "cpu" and read * keys.itemsize >= single * _COPY_BYTES
        grouped = 0 if single <= 1 or in_place else single
        places = [place for span in spans for place in span.places()]
        written: torch.Tensor | slice = torch.tensor(places, device=self._device)
        if places[-1] - places[0] == len(places) - 1 and len(spans) == 1:
            written = slice(places[0], places[-1] + 1)
        self._steps: dict[torch.device, _Layout] = {
            self._device: _Layout(
                written, self._together(spans[:grouped]), self._alone(spans, grouped)
            )
        }

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scaling: float,
    ) -> torch.Tensor:
        """Writes the new keys and values of a layer and lets every sequence read its own.

        Args:
            layer: Its number.
            query: `(1, H, T, E)`.
            key: `(1, Hk, T, E)`.
            value: `(1, Hk, T, E)`.
            scaling: Of the products.

        Returns:
            `(1, T, H, E)`.
        """
        layout = self._on(query.device)
        keys, values = self._cache.layers[layer]
        computed = query.dtype
        query, key, value = (each.to(keys.dtype) for each in (query, key, value))
        if isinstance(layout.written, slice):
            keys[:, layout.written] = key[0]
            values[:, layout.written] = value[0]
        else:
            keys.index_copy_(1, layout.written, key[0])
            values.index_copy_(1, layout.written, value[0])
        grouped_query = query.shape[1] != key.shape[1]
        parts = []
        if (group := layout.together) is not None:
            heads, _, width = keys.shape
            shape = (heads, group.count, -1, width)
            read = scaled_dot_product_attention(
                query[0, :, : group.count].transpose(0, 1).unsqueeze(2),
                keys.index_select(1, group.places).view(shape).transpose(0, 1),
                values.index_select(1, group.places).view(shape).transpose(0, 1),
                attn_mask=group.mask,
                scale=scaling,
                enable_gqa=grouped_query,
            )
            parts.append(read.transpose(1, 2).transpose(0, 1))
        for span in layout.alone:
            read = scaled_dot_product_attention(
                query[:, :, span.first : span.first + span.count],
                keys[None, :, span.places],
                values[None, :, span.places],
                attn_mask=span.mask,
                is_causal=span.causal,
                scale=scaling,
                enable_gqa=grouped_query,
            )
            parts.append(read.transpose(1, 2))
        read = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        return read.to(computed)

    def _together(self, spans: Sequence[Span]) -> _Together | None:
        if not spans:
            return None
        pages = max(-(-span.end // PAGE) for span in spans)
        # Past its end a row reads block 0, and so do rows that are shorter than the longest.
        table = [[*span.blocks[:pages], *[0] * (pages - len(span.blocks))] for span in spans]
        offsets = torch.arange(PAGE, device=self._device)
        places = torch.tensor(table, device=self._device)[:, :, None] * PAGE + offsets
        ends = torch.tensor([span.end for span in spans], device=self._device)
        positions = torch.arange(pages * PAGE, device=self._device)
        there = positions < ends[:, None]
        # A block that is reserved but not yet written may hold what is no number.
        places = places.view(len(spans), -1).masked_fill(~there, 0)
        return _Together(len(spans), places.flatten(), there[:, None, None])

    def _alone(self, spans: Sequence[Span], grouped: int) -> tuple[_Alone, ...]:
        alone, first = [], grouped
        for span in spans[grouped:]:
            mask = None
            if span.start and span.count > 1:
                positions = torch.arange(span.end, device=self._device)
                mask = positions <= positions[span.start :, None]
            causal = not span.start and span.count > 1
            alone.append(_Alone(first, span.count, self._places(span), mask, causal))
            first += span.count
        return tuple(alone)

    def _places(self, span: Span) -> torch.Tensor | slice:
        if span.adjacent:
            first = span.blocks[0] * PAGE
            return slice(first, first + span.end)
        blocks = torch.tensor(span.blocks[: -(-span.end // PAGE)], device=self._device)
        offsets = torch.arange(PAGE, device=self._device)
        return (blocks[:, None] * PAGE + offsets).flatten()[: span.end]

    def _on(self, device: torch.device) -> "_Layout":
        """The layout where a layer computes: with `spread`, layers stand on several devices."""
        if device not in self._steps:
            self._steps[device] = self._steps[self._device].to(device)
        return self._steps[device]


@dataclass(frozen=True, slots=True)
class _Layout:
    written: torch.Tensor | slice
    together: _Together | None
    alone: tuple[_Alone, ...]

    def to(self, device: torch.device) -> "_Layout":
        """The same on another device."""
        written = self.written
        return _Layout(
            written if isinstance(written, slice) else written.to(device),
            None if self.together is None else _moved(self.together, device),
            tuple(_moved(span, device) for span in self.alone),
        )


def _moved(part: Any, device: torch.device) -> Any:  # noqa: ANN401 - either kind of part
    values = (getattr(part, field.name) for field in fields(part))
    return type(part)(
        *(value.to(device) if isinstance(value, torch.Tensor) else value for value in values)
    )


def attend(
    module: Any,  # noqa: ANN401 - any of transformers' attention layers
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    plan: Plan,
    scaling: float,
    **_: object,
) -> tuple[torch.Tensor, None]:
    """Transformers' interface to `Plan.attend`; transformers makes no mask for it."""
    del attention_mask
    return plan.attend(module.layer_idx, query, key, value, scaling), None


AttentionInterface.register(ATTENTION, attend)


def _key_heads(config: LlamaConfig) -> int:
    return int(config.num_key_value_heads or config.num_attention_heads)


def _head_width(config: LlamaConfig) -> int:
    width = getattr(config, "head_dim", None)
    return int(width or config.hidden_size // config.num_attention_heads)
