"""What a projection may be: the paper's one linear layer, or three of them, which it tried too."""

from typing import TypeAlias

import torch
from torch import nn

from minigpt4.models.presets import ProjectionKind


class ThreeLayers(nn.Module):
    """Three linear layers with a GELU between each two, in place of the one.

    The widths go from the query output's to the language model's in the first layer and stay there.
    The paper does not say what stood between its layers; with nothing there they would compute what
    one layer can.

    Source: Zhu et al., 2023, the ablation with a three-layer projection.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.first = nn.Linear(in_features, out_features)
        self.second = nn.Linear(out_features, out_features)
        self.third = nn.Linear(out_features, out_features)

    def forward(self, query_output: torch.Tensor) -> torch.Tensor:
        """Makes visual tokens `(..., D)` of query output `(..., Dq)`."""
        hidden = nn.functional.gelu(self.first(query_output))
        hidden = nn.functional.gelu(self.second(hidden))
        tokens: torch.Tensor = self.third(hidden)
        return tokens

    def reset_parameters(self) -> None:
        """Draws new random weights, as a linear layer does."""
        for layer in (self.first, self.second, self.third):
            layer.reset_parameters()


ProjectionLayer: TypeAlias = nn.Linear | ThreeLayers
"""From the width Dq of the query output, `in_features`, to D of the language model."""
_LAYERS: dict[ProjectionKind, type[ProjectionLayer]] = {
    "linear": nn.Linear,
    "three_layers": ThreeLayers,
}


def new_projection(kind: ProjectionKind, query_width: int, language_width: int) -> ProjectionLayer:
    """A projection with random weights, in float32.

    Args:
        kind: What it is made of.
        query_width: Width Dq of the query output.
        language_width: Width D of the language model.
    """
    return _LAYERS[kind](query_width, language_width)


def kind_of(projection: ProjectionLayer) -> ProjectionKind:
    """What a projection is made of."""
    return "three_layers" if isinstance(projection, ThreeLayers) else "linear"


def weight_of(projection: ProjectionLayer) -> torch.Tensor:
    """One of its weights, which tells the device and the precision of all."""
    return next(projection.parameters())
