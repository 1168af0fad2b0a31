"""Sizes of the parts, by name. A preset holds numbers only; weights come from a configuration."""

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from minigpt4.errors import ConfigError

ProjectionKind: TypeAlias = Literal["linear", "three_layers"]
"""What a projection is made of. It is no size: every preset may have either."""
PROJECTION_KINDS: tuple[ProjectionKind, ...] = ("linear", "three_layers")

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True, slots=True)
class VisionConfig:
    """Size of the vision encoder.

    Attributes:
        architecture: `eva` is EVA-CLIP's ViT with a plain patch stem and an un-normed output;
            `vit` is a plain timm ViT behind a convolutional stem, which learns from few pictures.
        image_size: Side S of the square pixel values.
        patch_size: Side of a patch in pixels; S must be a multiple.
        width: Width Dv of an image feature.
        depth: Number of transformer blocks that are run.
        heads: Attention heads.
        mlp_ratio: Hidden width of a block's MLP over `width`.
        stem_repeats: Further convolutions of a `vit`'s stem, which keep the picture's side, behind
            each that halves it but the first and the last. Small shapes are told apart there.
    """

    architecture: Literal["eva", "vit"]
    image_size: int
    patch_size: int
    width: int
    depth: int
    heads: int
    mlp_ratio: float
    stem_repeats: int = 0

    @property
    def grid(self) -> int:
        """Patches along one side."""
        return self.image_size // self.patch_size

    @property
    def stem(self) -> tuple[tuple[int, int], ...]:
        """Channels behind each convolution of a `vit`'s stem, and its stride."""
        halvings = self.patch_size.bit_length() - 1
        convolutions: list[tuple[int, int]] = []
        for stage in range(halvings):
            channels = max(24, self.width >> (halvings - 1 - stage))
            convolutions.append((channels, 2))
            if 0 < stage < halvings - 1:
                convolutions += [(channels, 1)] * self.stem_repeats
        return tuple(convolutions)


@dataclass(frozen=True, slots=True)
class QFormerConfig:
    """Size of the Q-Former.

    Attributes:
        queries: Number Q of query tokens, which is the number of visual tokens a picture takes.
        width: Width Dq of a query token.
        depth: Number of layers.
        heads: Attention heads.
        intermediate: Hidden width of a layer's MLP.
        cross_attention_every: Layers 0, n, 2n, ... also attend to the image features.
    """

    queries: int
    width: int
    depth: int
    heads: int
    intermediate: int
    cross_attention_every: int


@dataclass(frozen=True, slots=True)
class Preset:
    """Sizes of the picture side. The language model's sizes stand in its own folder.

    Attributes:
        name: What a configuration calls it.
        vision: The vision encoder.
        qformer: The Q-Former.
        mean: Of a picture's red, green and blue, subtracted from pixel values.
        std: Of the same, which they are then divided by.
        joined_patches: Above 0 there is no Q-Former: so many neighbouring patches are joined, and
            `qformer` means nothing.
        parts: Name of the preset whose vision part it reads, where that is another.
    """

    name: str
    vision: VisionConfig
    qformer: QFormerConfig
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD
    joined_patches: int = 0
    parts: str = ""

    @property
    def query_width(self) -> int:
        """Width Dq of the query output, which the projection reads."""
        joined = self.joined_patches
        return self.vision.width * joined if joined else self.qformer.width

    @property
    def parts_name(self) -> str:
        """Name of the preset that the files of its parts say."""
        return self.parts or self.name


TINY = Preset(
    name="tiny",
    vision=VisionConfig(
        architecture="vit",
        image_size=128,
        patch_size=16,
        width=128,
        depth=6,
        heads=4,
        mlp_ratio=4.0,
        stem_repeats=2,
    ),
    qformer=QFormerConfig(
        queries=22, width=128, depth=2, heads=4, intermediate=512, cross_attention_every=1
    ),
)

# Source: the release's create_eva_vit_g (39 of the file's 40 blocks are run) and BLIP-2's Q-Former
# (BERT base, cross-attention in every second layer, 32 queries).
EVA_VIT_G = Preset(
    name="eva_vit_g",
    vision=VisionConfig(
        architecture="eva",
        image_size=224,
        patch_size=14,
        width=1408,
        depth=39,
        heads=16,
        mlp_ratio=4.3637,
    ),
    qformer=QFormerConfig(
        queries=32, width=768, depth=12, heads=12, intermediate=3072, cross_attention_every=2
    ),
)

# Source: the release's Llama-2 configuration, where has_qformer is false.
EVA_VIT_G_PATCHES = replace(EVA_VIT_G, name="eva_vit_g_patches", joined_patches=4)

# The paper's ablation without a Q-Former, on the tiny parts. A picture has so few patches here that
# none are joined.
TINY_PATCHES = replace(TINY, name="tiny_patches", joined_patches=1, parts=TINY.name)

PRESETS = {preset.name: preset for preset in (TINY, TINY_PATCHES, EVA_VIT_G, EVA_VIT_G_PATCHES)}


def preset_named(name: str) -> Preset:
    """The preset of a name.

    Raises:
        ConfigError: If there is none.
    """
    if name not in PRESETS:
        raise ConfigError([f"model.preset: {name!r} given; it is one of {', '.join(PRESETS)}."])
    return PRESETS[name]
