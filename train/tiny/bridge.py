"""Stage 0: the Q-Former learns to speak to the frozen language model, as in BLIP-2's second step.

A throwaway projection carries its output into the image slots, and the answers' loss teaches the
Q-Former alone (and that projection, which is dropped: stage 1 starts from a random one).
"""

import random
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from minigpt4.conversation import Prompt, render
from minigpt4.models.language import LanguageModel
from minigpt4.models.presets import TINY as TINY_PRESET
from minigpt4.models.qformer import QFormer
from minigpt4.models.vision import VisionEncoder
from minigpt4.prompt_formats import TINY
from train.cartoon.describe import ask_to_describe, dialogue
from train.cartoon.scene import Scene, make_scene
from train.embedded.steps import Report, StepSettings, train_steps
from train.tiny.language import (
    LanguageBatches,
    LanguageSettings,
    answer_loss,
    conversation_of,
)
from train.tiny.vision import AttributeHeads, attribute_loss, pixel_values, truth

# Seeds of the other parts of stage 0 start at 0; these are pictures the eye has not seen.
FIRST_SEED = 500_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeSettings:
    """How the Q-Former is fitted to the language model.

    Attributes:
        heads_weight: How much the attribute heads' loss counts beside the answers'; they keep the
            Q-Former from forgetting what it sees while it learns to say it.
        steps: The loop's own settings.
    """

    heads_weight: float = 0.3
    steps: StepSettings = field(
        default_factory=lambda: StepSettings(
            steps=3000,
            batch_size=16,
            learning_rate=6e-4,
            warmup_steps=50,
            weight_decay=0.02,
            check_every=200,
        )
    )


class Bridge(nn.Module):
    """The Q-Former that is trained, with the throwaway projection and heads."""

    def __init__(self, qformer: QFormer, heads: AttributeHeads, language_width: int) -> None:
        super().__init__()
        self.qformer = qformer
        self.heads = heads
        self.projection = nn.Linear(qformer.config.width, language_width)


def train_bridge(
    vision: VisionEncoder,
    bridge: Bridge,
    language: LanguageModel,
    settings: BridgeSettings,
    *,
    state: Path,
    report: Report,
) -> None:
    """Trains the Q-Former of a bridge in place; vision and language model stay as they are."""
    torch.manual_seed(2)
    batches = LanguageBatches(language, LanguageSettings())
    vision.requires_grad_(requires_grad=False).eval()
    language.requires_grad_(requires_grad=False).eval()
    batch_size = settings.steps.batch_size

    def loss(step: int) -> torch.Tensor:
        first = FIRST_SEED + step * batch_size
        scenes = [make_scene(seed) for seed in range(first, first + batch_size)]
        batch = batches.batch([(scene, _prompt(scene)) for scene in scenes])
        with torch.no_grad():
            features = vision(pixel_values(scenes, TINY_PRESET))
        queries = bridge.qformer(features)
        answers = answer_loss(language, batch, bridge.projection(queries))
        named = attribute_loss(bridge.heads(queries), truth(scenes))
        return answers + settings.heads_weight * named

    def check(step: int) -> None:
        report({"step": step})

    bridge.train()
    train_steps(bridge, loss, settings.steps, state, check, title="bridge")
    bridge.eval()


def _prompt(scene: Scene) -> Prompt:
    rng = random.Random(f"bridge-{scene.seed}")
    if rng.random() < 0.3:
        return render(conversation_of([ask_to_describe(scene, rng)]), TINY)
    return render(conversation_of(dialogue(scene, rng, 5)), TINY)
