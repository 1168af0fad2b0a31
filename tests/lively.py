"""A model with random weights that has something to say.

As it comes, its head is tied to its embeddings, and it repeats the last word it read; and all
pictures look nearly alike to it. Answers that are mixed up would be the same.
"""

import torch
from torch import nn

from minigpt4.models.minigpt4 import MiniGPT4


def make_lively(model: MiniGPT4) -> MiniGPT4:
    """Give the model a head of its own, and larger weights to its picture side."""
    generator = torch.Generator().manual_seed(9)
    head = model.language.model.lm_head
    drawn = torch.randn(head.weight.shape, generator=generator) * 0.3
    head.weight = nn.Parameter(drawn, requires_grad=False)
    with torch.no_grad():
        for layer in model.language.model.model.layers:
            layer.self_attn.v_proj.weight.mul_(6)  # the picture is a small part of what it reads
        for part in (model.vision, model.qformer):
            for weight in part.parameters():
                if weight.ndim > 1:
                    weight.mul_(8)
        weight = torch.randn(model.projection.weight.shape, generator=generator)
        model.projection.weight.copy_(weight)
    return model
