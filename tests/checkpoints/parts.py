"""The files of a small released model, to be copied and spoilt."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from minigpt4.checkpoints.loading import load_language, load_picture_side
from minigpt4.checkpoints.plan import Plan, Sources, plan_model
from minigpt4.checkpoints.sizes import Heads
from minigpt4.models.presets import EVA_VIT_G

RELEASE = Path(__file__).parents[1] / "golden" / "release"
MODEL: dict[str, Any] = {
    "preset": "eva_vit_g",
    "prompt_format": "vicuna_v0",
    "vision": str(RELEASE / "eva_vit.pth"),
    "qformer": str(RELEASE / "blip2_pretrained.pth"),
    "language_model": str(RELEASE / "llama"),
    "projection": str(RELEASE / "pretrained_minigpt4.pth"),
    "image_size": 56,
    "vision_heads": 4,
    "qformer_heads": 4,
}
"""The golden model in the release's own files, as a configuration names it."""
HEADS = Heads(4, 4)
MOST_LINES = 10

State = dict[str, torch.Tensor]


def copy_release(folder: Path) -> Sources:
    """Copies of the golden weights that a test may change."""
    for name in ("eva_vit.pth", "blip2_pretrained.pth", "pretrained_minigpt4.pth"):
        shutil.copy(RELEASE / name, folder / name)
    shutil.copytree(RELEASE / "llama", folder / "llama")
    return Sources(
        folder / "eva_vit.pth",
        folder / "blip2_pretrained.pth",
        folder / "pretrained_minigpt4.pth",
        folder / "llama",
    )


def plan(sources: Sources, **options: Any) -> Plan:
    return plan_model(sources, EVA_VIT_G, heads=HEADS, image_size=56, **options)


def load(sources: Sources) -> None:
    made = plan(sources)
    load_picture_side(made)
    load_language(made.language)


def rewrite(path: Path, change: Callable[[State], State]) -> None:
    """Changes the tensors of a file."""
    content: dict[str, Any] = torch.load(path, weights_only=True)
    if "model" in content:
        content["model"] = change(dict(content["model"]))
    else:
        content = change(dict(content))
    torch.save(content, path)
