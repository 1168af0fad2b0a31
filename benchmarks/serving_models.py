"""Models of two sizes with random weights, the same for every peer of the serving benchmark."""

from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile
from typing import Any

import torch
from torch import nn
from transformers import (
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    LlamaConfig,
    LlamaForCausalLM,
)

from minigpt4.build import build_frozen_parts
from minigpt4.checkpoints.native import save_part
from minigpt4.config import ASSETS
from minigpt4.models.minigpt4 import MiniGPT4
from minigpt4.models.presets import Preset, QFormerConfig, VisionConfig
from minigpt4.models.qformer import QFormer
from minigpt4.models.vision import VisionEncoder

TOKENIZER = ASSETS / "tiny" / "language"
"""Which tokenizer does not matter for speed; ids above its own are drawn as any other."""
QUERIES = 32
"""Visual tokens of a picture."""
_NEW_LLAMA: Any = LlamaConfig  # its constructor has no types


@dataclass(frozen=True, slots=True)
class Size:
    """Sizes of a model.

    Attributes:
        name: What the results call it.
        dtype: What the weights are held in.
        width: Of the language model.
        depth: Its layers.
        heads: Its attention heads.
        intermediate: Hidden width of its MLPs.
        vocabulary: Its tokens.
        picture_width: Of ViT and Q-Former, whose depth is `picture_depth`.
        picture_depth: Their layers.
        image_size: Side of the pictures in pixels.
    """

    name: str
    dtype: torch.dtype
    width: int
    depth: int
    heads: int
    intermediate: int
    vocabulary: int = 32_000
    picture_width: int = 768
    picture_depth: int = 12
    image_size: int = 224

    @property
    def preset(self) -> Preset:
        """The picture side: by default a ViT-B and a Q-Former of 12 layers."""
        heads = self.picture_width // 64
        vision = VisionConfig(
            architecture="eva",
            image_size=self.image_size,
            patch_size=16,
            width=self.picture_width,
            depth=self.picture_depth,
            heads=heads,
            mlp_ratio=4.0,
        )
        qformer = QFormerConfig(
            queries=QUERIES,
            width=self.picture_width,
            depth=self.picture_depth,
            heads=heads,
            intermediate=4 * self.picture_width,
            cross_attention_every=2,
        )
        return Preset(name=f"benchmark-{self.name}", vision=vision, qformer=qformer)

    @property
    def language(self) -> LlamaConfig:
        """The language model."""
        config: LlamaConfig = _NEW_LLAMA(
            vocab_size=self.vocabulary,
            hidden_size=self.width,
            num_hidden_layers=self.depth,
            num_attention_heads=self.heads,
            intermediate_size=self.intermediate,
            max_position_embeddings=4096,
            bos_token_id=1,
            eos_token_id=2,
        )
        return config


SIZES = {
    size.name: size
    for size in (
        Size("60M", torch.float32, width=512, depth=8, heads=8, intermediate=1376),
        Size("1B", torch.bfloat16, width=2048, depth=18, heads=16, intermediate=5632),
        Size(
            "quick",
            torch.float32,
            width=64,
            depth=2,
            heads=2,
            intermediate=128,
            vocabulary=1100,  # no fewer than the embedded tokenizer has
            picture_width=64,
            picture_depth=2,
            image_size=32,
        ),
    )
}


def write_model(size: Size, folder: Path) -> None:
    """Writes a model's files, in the layout of this package."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    causal = LlamaForCausalLM(size.language).to(size.dtype)
    with torch.no_grad():
        for weight in causal.parameters():
            if weight.ndim > 1:
                weight.normal_(0, 0.02)
        causal.lm_head.weight[2] = 0  # no answer ends by itself
    causal.save_pretrained(folder / "language")
    for name in ("tokenizer.model", "tokenizer_config.json"):
        copyfile(TOKENIZER / name, folder / "language" / name)
    vision = VisionEncoder(size.preset.vision)
    reader = QFormer(size.preset.qformer, size.preset.vision.width)
    save_part(folder / "vision.safetensors", vision, "vision", preset=size.preset.name)
    save_part(folder / "qformer.safetensors", reader, "qformer", preset=size.preset.name)


def load_model(size: Size, folder: Path) -> MiniGPT4:
    """Loads a model of `write_model` as the demo does."""
    model = build_frozen_parts(
        size.preset,
        folder / "vision.safetensors",
        folder / "qformer.safetensors",
        folder / "language",
        dtype=size.dtype,
    )
    torch.manual_seed(1)
    nn.init.normal_(model.projection.weight, std=0.02)
    return model.eval()


def load_instructblip(size: Size, folder: Path) -> InstructBlipForConditionalGeneration:
    """Transformers' own model of the same sizes, with the same language model."""
    preset = size.preset
    vision: dict[str, Any] = {
        "hidden_size": preset.vision.width,
        "intermediate_size": int(preset.vision.width * preset.vision.mlp_ratio),
        "num_hidden_layers": preset.vision.depth,
        "num_attention_heads": preset.vision.heads,
        "image_size": preset.vision.image_size,
        "patch_size": preset.vision.patch_size,
    }
    qformer: dict[str, Any] = {
        "hidden_size": preset.qformer.width,
        "intermediate_size": preset.qformer.intermediate,
        "num_hidden_layers": preset.qformer.depth,
        "num_attention_heads": preset.qformer.heads,
        "encoder_hidden_size": preset.vision.width,
        "cross_attention_frequency": preset.qformer.cross_attention_every,
    }
    # The language model is loaded below; making it here first would take its time twice.
    text = {**size.language.to_dict(), "num_hidden_layers": 1}
    config = InstructBlipConfig(
        vision_config=vision,
        qformer_config=qformer,
        text_config=text,
        num_query_tokens=QUERIES,
        image_token_index=size.vocabulary - 1,
    )
    torch.manual_seed(0)
    model = InstructBlipForConditionalGeneration(config)
    model.language_model = LlamaForCausalLM.from_pretrained(folder / "language")
    model.config.text_config = model.language_model.config
    return model.to(size.dtype).eval()
