"""A folder of numbers that the released code produced, and our model loaded from its files."""

import json
import os
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from minigpt4.checkpoints.files import read_header
from minigpt4.checkpoints.language_files import inspect_language
from minigpt4.checkpoints.loading import load_language, load_picture_side
from minigpt4.checkpoints.plan import Plan, Sources, plan_model
from minigpt4.checkpoints.sizes import Heads
from minigpt4.conversation import Conversation, Prompt, SpecialToken, Text, Turn
from minigpt4.images import load_image, to_pixel_values
from minigpt4.models.language import LanguageModel
from minigpt4.models.minigpt4 import MiniGPT4
from minigpt4.models.presets import EVA_VIT_G, EVA_VIT_G_PATCHES

ACTIVATIONS = 2e-5
"""Absolute tolerance on activations, and on logits of equal inputs.

The worst differences measured on the golden set of this repository, float32 on one thread: ViT
2.9e-6, ln_vision 1.6e-6, Q-Former 1.3e-6, visual tokens 7.2e-7, logits 1.0e-5 (values up to 10):
other orders of summation, nothing more. An epsilon of 1e-6 for 1e-5 in ln_vision shows as 1e-4.
"""
WHOLE_WAY = 5e-5
"""The same on logits when the picture came through our own vision part: measured 1.8e-5."""

FOLDER = Path(os.environ.get("MINIGPT4_GOLDEN", Path(__file__).parents[1] / "golden" / "release"))


@dataclass(frozen=True)
class Golden:
    """One such folder."""

    folder: Path

    @cached_property
    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads((self.folder / "golden.json").read_text("utf-8"))
        return facts

    @cached_property
    def arrays(self) -> dict[str, NDArray[Any]]:
        with np.load(self.folder / "golden.npz") as file:
            return dict(file)

    def tensor(self, name: str) -> torch.Tensor:
        return torch.from_numpy(np.atleast_1d(self.arrays[name])).reshape(self.arrays[name].shape)

    @cached_property
    def heads(self) -> Heads:
        dims = self.facts["dims"]
        qformer = dims.get("qformer") or {}
        return Heads(dims["vit"]["num_heads"], qformer.get("num_attention_heads"))

    def plan(self, image_size: int | None = None, projection: str | None = None) -> Plan:
        return plan_model(
            Sources(
                vision=self.folder / "eva_vit.pth",
                qformer=self.folder / "blip2_pretrained.pth",
                projection=self.folder / (projection or "pretrained_minigpt4.pth"),
                language_model=self.folder / "llama",
            ),
            EVA_VIT_G,
            heads=self.heads,
            image_size=image_size or self.facts["dims"]["image_size"],
        )

    @cached_property
    def language(self) -> LanguageModel:
        return load_language(inspect_language(self.folder / "llama"))

    @cached_property
    def model(self) -> MiniGPT4:
        return self._model(self.plan())

    @cached_property
    def patches_model(self) -> MiniGPT4 | None:
        """The model without a Q-Former, if the folder has a projection for it."""
        width = 4 * self.facts["dims"]["vit"]["embed_dim"]
        for path in sorted(self.folder.rglob("*.pth")):
            projection = read_header(path).tensors.get("llama_proj.weight")
            if projection is not None and projection.shape[1] == width:
                sources = Sources(self.folder / "eva_vit.pth", None, path, self.folder / "llama")
                size = self.facts["dims"]["image_size"]
                return self._model(
                    plan_model(sources, EVA_VIT_G_PATCHES, heads=self.heads, image_size=size)
                )
        return None

    @cached_property
    def conversations(self) -> dict[str, dict[str, Any]]:
        """Every conversation with context embeddings, by the prefix of its arrays."""
        found: dict[str, dict[str, Any]] = {}

        def walk(node: dict[str, Any], path: tuple[str, ...]) -> None:
            if {"steps", "prompt", "segment_ids"} <= node.keys():
                names = ["_".join(path[start:]) for start in range(len(path))]
                known = [name for name in names if f"{name}_context_emb" in self.arrays]
                found.update(dict.fromkeys(known[:1], node))
            for key, value in node.items():
                if isinstance(value, dict):
                    walk(value, (*path, key))

        walk(self.facts, ())
        return found

    def model_of(self, name: str) -> MiniGPT4 | None:
        """The model a conversation was held with: its pictures' length tells which."""
        record = self.conversations[name]
        segments = record["segment_ids"]
        text = sum(len(ids) for ids in segments)
        length = (self.arrays[f"{name}_context_emb"].shape[1] - text) // (len(segments) - 1)
        if length == self.model.queries and "nq" not in name:
            return self.model
        return self.patches_model

    def _model(self, plan: Plan) -> MiniGPT4:
        vision, qformer, projection = load_picture_side(plan)
        return MiniGPT4(plan.preset, vision, qformer, self.language, projection)

    @cached_property
    def pixel_values(self) -> torch.Tensor:
        return self.tensor("pixel_values")

    @cached_property
    def visual_tokens(self) -> dict[str, torch.Tensor]:
        """Visual tokens of every picture by its file name."""
        tokens = self.model.encode_images(self.pixel_values)
        return {image["file"]: row for image, row in zip(self.facts["images"], tokens, strict=True)}

    def pictures(self, size: int) -> torch.Tensor:
        """Pixel values made by our own code from the picture files."""
        return torch.stack(
            [
                to_pixel_values(
                    load_image(self.folder / image["file"]), size, EVA_VIT_G.mean, EVA_VIT_G.std
                )
                for image in self.facts["images"]
            ]
        )

    def file_name(self, index: int) -> str:
        name: str = self.facts["images"][index]["file"]
        return name

    def conversation(self, name: str) -> Conversation:
        return self.conversation_of(self.conversations[name]["steps"])

    def conversation_of(self, steps: list[list[Any]]) -> Conversation:
        """A conversation from the release's calls: img (upload), ask, ans."""
        conversation, waiting = Conversation(), list[str]()
        for kind, value in steps:
            if kind == "img":
                waiting.append(self.file_name(value))
            elif kind == "ask":
                conversation = conversation.with_turn(Turn(value, None, tuple(waiting)))
                waiting = []
            else:
                conversation = conversation.with_answer(value)
        if waiting:
            conversation = conversation.with_turn(Turn("", None, tuple(waiting)))
        return conversation

    def segments(self, prompt: Prompt) -> list[list[int]]:
        """Token ids between the image slots."""
        segments: list[list[int]] = [[]]
        for piece in prompt.pieces:
            if isinstance(piece, SpecialToken):
                language = self.language
                segments[-1].append(language.bos_id if piece.name == "bos" else language.eos_id)
            elif isinstance(piece, Text):
                segments[-1] += self.language.encode(piece.text)
            else:
                segments.append([])
        return segments


@cache
def golden() -> Golden:
    return Golden(FOLDER)


def worst(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """The largest absolute difference, after the shapes are found equal."""
    assert ours.shape == theirs.shape, f"shape {tuple(ours.shape)}, expected {tuple(theirs.shape)}"
    return float((ours - theirs).abs().max())
