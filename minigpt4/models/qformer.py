"""Frozen Q-Former: a handful of learned queries read the picture."""

import torch
from torch import nn
from transformers import Blip2QFormerConfig, Blip2QFormerModel

from minigpt4.models.presets import QFormerConfig


class QFormer(nn.Module):
    """Turns image features into one vector a query.

    `query_tokens` are learned inputs. In every layer they attend to each other, and in every
    `cross_attention_every`-th layer to the image features.

    Source: Li et al., 2023 (BLIP-2); the release's `Qformer` and `query_tokens`.
    """

    def __init__(self, config: QFormerConfig, image_feature_width: int) -> None:
        super().__init__()
        self.config = config
        self.query_tokens = nn.Parameter(torch.zeros(1, config.queries, config.width))
        nn.init.normal_(self.query_tokens, std=0.02)
        self.transformer = Blip2QFormerModel(
            Blip2QFormerConfig(
                hidden_size=config.width,
                num_hidden_layers=config.depth,
                num_attention_heads=config.heads,
                intermediate_size=config.intermediate,
                cross_attention_frequency=config.cross_attention_every,
                encoder_hidden_size=image_feature_width,
            )
        )

    def forward(self, image_features: torch.Tensor) -> torch.Tensor:
        """Reads pictures.

        Args:
            image_features: `(B, N, Dv)` from the vision encoder.

        Returns:
            Query output `(B, Q, Dq)`.
        """
        queries = self.query_tokens.expand(len(image_features), -1, -1)
        output = self.transformer(
            query_embeds=queries.to(image_features.dtype), encoder_hidden_states=image_features
        )
        hidden: torch.Tensor = output.last_hidden_state
        return hidden
