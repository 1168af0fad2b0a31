"""What the tests of looking share: a model in miniature, and transformers' own attention weights."""

import copy

import torch
from PIL import Image
from torch import nn
from transformers import LlamaForCausalLM

from minigpt4.conversation import Conversation, Turn
from minigpt4.images import to_pixel_values
from minigpt4.looking.look import Looking
from minigpt4.models.language import LanguageModel
from minigpt4.models.minigpt4 import MiniGPT4
from minigpt4.models.presets import Preset, QFormerConfig, VisionConfig
from minigpt4.models.qformer import QFormer
from minigpt4.prompt_formats import TINY as FORMAT

PRESET = Preset(
    name="looked at",
    vision=VisionConfig(
        architecture="vit", image_size=64, patch_size=16, width=32, depth=1, heads=2, mlp_ratio=2.0
    ),
    # Like the released one, it ends with a layer that does not look at the picture.
    qformer=QFormerConfig(
        queries=5, width=32, depth=4, heads=2, intermediate=64, cross_attention_every=2
    ),
)
ANSWER = "The image shows a naïvely unpurpled car, and a sun."
CLOSE = {"atol": 1e-6, "rtol": 1e-4}
"""The same sums in another order, in float32."""


def far_from_even(part: nn.Module) -> None:
    """Weights so large that attention is not spread over everything."""
    for weight in part.parameters():
        if weight.dim() > 1:
            nn.init.normal_(weight, std=0.3)


def picture(number: int, size: tuple[int, int] = (90, 60)) -> Image.Image:
    noise = torch.Generator().manual_seed(number)
    content = torch.randint(0, 256, (8 * 8 * 3,), generator=noise, dtype=torch.uint8)
    return Image.frombytes("RGB", (8, 8), content.numpy().tobytes()).resize(size)


def seen(model: MiniGPT4, image: Image.Image) -> torch.Tensor:
    preset = model.preset
    values = to_pixel_values(image, preset.vision.image_size, preset.mean, preset.std)
    return model.encode_images(values[None])[0]


def said(*keys: str, answer: str = ANSWER) -> Conversation:
    return Conversation((Turn("What is this?", answer, keys),))


def looking(model: MiniGPT4, context: int = 800, prompt_format=FORMAT) -> Looking:
    return Looking(model, prompt_format, context)


def eager(language: LanguageModel) -> LlamaForCausalLM:
    """A copy that returns its attention weights."""
    other = copy.deepcopy(language.model)
    other.set_attn_implementation("eager")
    return other


def reference_rollout(language: LanguageModel, embeds: torch.Tensor) -> torch.Tensor:
    """Every position from every position, `(T, T)`, from the weights transformers returns."""
    with torch.no_grad():
        layers = eager(language)(inputs_embeds=embeds, output_attentions=True).attentions
    whole = torch.eye(embeds.shape[1])
    for layer in layers:
        whole = (0.5 * layer[0].mean(0) + 0.5 * torch.eye(embeds.shape[1])) @ whole
    return whole


def reference_patches(qformer: QFormer, features: torch.Tensor) -> torch.Tensor:
    other = copy.deepcopy(qformer)
    other.transformer.set_attn_implementation("eager")
    with torch.no_grad():
        output = other.transformer(
            query_embeds=other.query_tokens,
            encoder_hidden_states=features,
            output_attentions=True,
        )
    return output.cross_attentions[-1][0].mean(0)[:, 1:]
