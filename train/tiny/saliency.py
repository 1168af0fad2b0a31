"""Ways to say from where on a picture a word came, to be measured against each other.

All of them multiply two things: how much of a word comes from each visual token (`LANGUAGE`), and
from where each visual token comes (`PICTURE`). They are worked out from the attention weights that
transformers itself returns, and from their gradients: code that `minigpt4.looking` has no part in.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch

from minigpt4.conversation import Prompt
from minigpt4.models.minigpt4 import MiniGPT4
from minigpt4.models.qformer import QFormer


@dataclass(frozen=True, slots=True, eq=False)
class Traced:
    """What one forward and one backward pass left behind; gradients are of the word's logits.

    Attributes:
        attention: Of the language model `(L, H, T, T)`, and its gradient.
        attention_gradient: The same shape.
        rows: Positions that predict the word's tokens.
        columns: Positions of the visual tokens.
        visual_gradient: Of the visual tokens `(Q, D)`.
        own: Self-attention of the Q-Former `(L', H', Q, Q)`, and its gradient.
        own_gradient: The same shape.
        cross: Cross-attention of the Q-Former `(L', H', Q, N)`, and its gradient.
        cross_gradient: The same shape.
    """

    attention: torch.Tensor
    attention_gradient: torch.Tensor
    rows: list[int]
    columns: slice
    visual_gradient: torch.Tensor
    own: torch.Tensor
    own_gradient: torch.Tensor
    cross: torch.Tensor
    cross_gradient: torch.Tensor


class Tracer:
    """Runs a model with attention weights kept.

    The model is switched to the implementation that returns them, so it must be nobody else's.
    """

    def __init__(self, model: MiniGPT4) -> None:
        """Switches the model.

        Raises:
            TypeError: If it has no Q-Former.
        """
        if not isinstance(model.qformer, QFormer):
            raise TypeError("A model without a Q-Former has no cross-attention to trace.")
        self._model = model
        self._qformer = model.qformer
        self._language: Any = model.language.model
        self._language.set_attn_implementation("eager")
        self._qformer.transformer.set_attn_implementation("eager")

    def trace(
        self, pixel_values: torch.Tensor, prompt: Prompt, ids: Sequence[int], tokens: Sequence[int]
    ) -> Traced:
        """Traces one word of an answer.

        Args:
            pixel_values: `(1, 3, S, S)`; every slot of the prompt is this picture's.
            prompt: Ends where the answer begins; it has one slot.
            ids: The answer.
            tokens: Places of the word's tokens in it.
        """
        model = self._model
        with torch.no_grad():
            features = model.vision(pixel_values)
        queries = self._qformer.query_tokens.detach().clone().requires_grad_()
        seen: Any = self._qformer.transformer(
            query_embeds=queries, encoder_hidden_states=features, output_attentions=True
        )
        visual = model.project(seen.last_hidden_state)
        laid_out = model.tokenize(prompt)
        start = laid_out.slots[0][0]
        columns = slice(start, start + model.queries)
        text = model.language.embed(torch.tensor([[*laid_out.ids, *ids]]))
        embeds = torch.cat([text[:, :start], visual, text[:, columns.stop :]], dim=1)
        read: Any = self._language(inputs_embeds=embeds, use_cache=False, output_attentions=True)
        # transformers counts the cross-attentions among the attentions, too.
        own = [each for each in seen.attentions if each.shape[-1] == model.queries]
        kept = [visual, *read.attentions, *own, *seen.cross_attentions]
        rows = [len(laid_out.ids) - 1 + token for token in tokens]
        chosen = read.logits[0, rows, [ids[token] for token in tokens]].sum()
        gradients = torch.autograd.grad(chosen, kept)
        layers, depth = len(read.attentions), len(own)
        return Traced(
            attention=_stacked(read.attentions),
            attention_gradient=_stacked(gradients[1 : 1 + layers]),
            rows=rows,
            columns=columns,
            visual_gradient=gradients[0][0],
            own=_stacked(own),
            own_gradient=_stacked(gradients[1 + layers : 1 + layers + depth]),
            cross=_stacked(seen.cross_attentions),
            cross_gradient=_stacked(gradients[1 + layers + depth :]),
        )


def _stacked(layers: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.stack([layer[0].detach() for layer in layers])


def _of_layers(traced: Traced, layers: torch.Tensor) -> torch.Tensor:
    """Mean over layers, heads and the word's positions, `(Q,)`."""
    return layers[:, :, traced.rows][..., traced.columns].mean((0, 1, 2))


def _rollout(traced: Traced) -> torch.Tensor:
    """Source: Abnar and Zuidema, 2020, section 3."""
    mixed = torch.eye(traced.attention.shape[-1])
    for layer in traced.attention.mean(1):
        mixed = (layer @ mixed + mixed) / 2
    return mixed[traced.rows][:, traced.columns].mean(0)


def _relevance(traced: Traced) -> torch.Tensor:
    """Source: Chefer et al., 2021, "Generic attention-model explainability", equations 5 and 6."""
    mixed = torch.eye(traced.attention.shape[-1])
    for layer, gradient in zip(traced.attention, traced.attention_gradient, strict=True):
        mixed = mixed + (layer * gradient).clamp(min=0).mean(0) @ mixed
    return mixed[traced.rows][:, traced.columns].mean(0)


def _cross_relevance(traced: Traced) -> torch.Tensor:
    """The same for the Q-Former, equations 5 and 10, without their normalisation."""
    mixed = torch.zeros(traced.cross.shape[-2:])
    for own, own_gradient, cross, cross_gradient in zip(
        traced.own, traced.own_gradient, traced.cross, traced.cross_gradient, strict=True
    ):
        mixed = mixed + (own * own_gradient).clamp(min=0).mean(0) @ mixed
        mixed = mixed + (cross * cross_gradient).clamp(min=0).mean(0)
    return mixed


LANGUAGE: Mapping[str, Callable[[Traced], torch.Tensor]] = MappingProxyType(
    {
        "all tokens alike": lambda traced: torch.ones(traced.cross.shape[2]),
        "last layer": lambda traced: _of_layers(traced, traced.attention[-1:]),
        "mean of layers": lambda traced: _of_layers(traced, traced.attention),
        "rollout": _rollout,
        "rollout, squared": lambda traced: _rollout(traced).square(),
        "relevance (gradients)": _relevance,
        "gradient of the token": lambda traced: traced.visual_gradient.norm(dim=-1),
    }
)
"""How much of a word comes from each visual token `(Q,)`."""

PICTURE: Mapping[str, Callable[[Traced], torch.Tensor]] = MappingProxyType(
    {
        "first cross-attention": lambda traced: traced.cross[0].mean(0),
        "mean cross-attention": lambda traced: traced.cross.mean((0, 1)),
        "last cross-attention": lambda traced: traced.cross[-1].mean(0),
        "last, squared": lambda traced: traced.cross[-1].mean(0).square(),
        "relevance (gradients)": _cross_relevance,
    }
)
"""How much of each visual token comes from each image feature `(Q, N)`."""
