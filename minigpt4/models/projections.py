"""The projections a model can look through: its own, and others trained on the same frozen parts.

A projection is a small file, and everything else is shared. What the frozen eye made of a picture,
the query output, is kept, so that looking through another projection costs one matrix product.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from minigpt4.models.projection_layers import ProjectionLayer, weight_of


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """A projection besides the model's own.

    Attributes:
        label: What people call it.
        layer: From the width of the query output to that of the language model.
        key: Names its weights by their content.
    """

    label: str
    layer: ProjectionLayer
    key: str

    @torch.no_grad()
    def visual_tokens(self, query_output: torch.Tensor) -> torch.Tensor:
        """Visual tokens `(Q, D)`, on the CPU, of a picture's query output `(Q, Dq)`."""
        weight = weight_of(self.layer)
        tokens: torch.Tensor = self.layer(query_output.to(weight.device, weight.dtype))
        return tokens.cpu()

    def picture_key(self, key: str) -> str:
        """Name a picture as it looks through this projection.

        Engines keep what they read of a picture by its key: seen through two projections, one
        picture is two.
        """
        return f"{key}-{self.key}"


def named_projections(layers: Mapping[str, ProjectionLayer]) -> Sequence[Projection]:
    """Names each projection by its weights."""
    return tuple(
        Projection(label, layer.eval().requires_grad_(requires_grad=False), _weights_key(layer))
        for label, layer in layers.items()
    )


def _weights_key(layer: ProjectionLayer) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(layer.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
