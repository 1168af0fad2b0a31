"""Frozen vision encoder: a timm transformer and the LayerNorm that BLIP-2 puts behind it."""

from functools import partial

import torch
from timm.layers import HybridEmbed
from timm.layers.pos_embed_sincos import build_sincos2d_pos_embed
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_hybrid import ConvStem
from torch import nn

from minigpt4.models.presets import VisionConfig


class VisionEncoder(nn.Module):
    """Turns pixel values into image features.

    1. timm's transformer gives one vector a patch, plus one for its class token.
    2. `layer_norm` scales them as the Q-Former expects.

    Source: the release's `visual_encoder` and `ln_vision`.
    """

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        self.transformer = _transformer(config)
        # torch's default eps of 1e-5 is the release's; the blocks inside use 1e-6.
        self.layer_norm = nn.LayerNorm(config.width)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Encodes pictures.

        Args:
            pixel_values: `(B, 3, S, S)`, normalised as the preset says.

        Returns:
            Image features `(B, 1 + patches, Dv)`, the class token first.
        """
        features: torch.Tensor = self.transformer.forward_features(pixel_values)
        # The release normalises in float32 whatever the transformer computes in.
        normed = nn.functional.layer_norm(
            features.float(),
            self.layer_norm.normalized_shape,
            self.layer_norm.weight.float(),
            self.layer_norm.bias.float(),
            self.layer_norm.eps,
        )
        return normed.to(features.dtype)


def _transformer(config: VisionConfig) -> Eva | VisionTransformer:
    norm = partial(nn.LayerNorm, eps=1e-6)
    if config.architecture == "eva":
        model = Eva(
            img_size=config.image_size,
            patch_size=config.patch_size,
            embed_dim=config.width,
            depth=config.depth,
            num_heads=config.heads,
            mlp_ratio=config.mlp_ratio,
            qkv_bias=True,
            num_classes=0,
            global_pool="",
            norm_layer=norm,
        )
        # EVA-CLIP's checkpoint has a final norm that BLIP-2 and the release leave out.
        model.norm = nn.Identity()
        return model
    model = VisionTransformer(
        img_size=config.image_size,
        patch_size=config.patch_size,
        embed_dim=config.width,
        depth=config.depth,
        num_heads=config.heads,
        mlp_ratio=config.mlp_ratio,
        num_classes=0,
        global_pool="",
        final_norm=False,  # `VisionEncoder.layer_norm` is the only norm behind the blocks
        norm_layer=norm,
        embed_layer=partial(_conv_stem, config),
    )
    # Positions start as sines and cosines: a small model told where its patches lie learns sooner.
    grid = build_sincos2d_pos_embed([config.grid, config.grid], dim=config.width)
    with torch.no_grad():
        model.pos_embed[0, 1:].copy_(0.5 * grid)
    return model


def _conv_stem(config: VisionConfig, *, img_size: int, **_: object) -> HybridEmbed:
    """Small convolutions down to one vector a patch, where a ViT has one big convolution.

    A small ViT learns several times sooner behind them.

    Source: Xiao et al., 2021, "Early convolutions help transformers see better".
    """
    channels, strides = zip(*config.stem, strict=True)
    stem = ConvStem(
        depth=len(channels),
        channels=channels,
        stride=strides,
        padding=1,
        act_layer=nn.GELU,
    )
    return HybridEmbed(stem, img_size=img_size, embed_dim=config.width)
