"""Stage 0: the Q-Former learns to speak to the frozen language model, as in BLIP-2's second step.

The throwaway projection that the eye was fitted through (see `fitting.py`) carries its output into
the image slots, and the answers' loss teaches the Q-Former alone (and that projection, which is
dropped: stage 1 starts from a random one).
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from minigpt4.models.language import LanguageModel
from minigpt4.models.presets import Preset
from train.cartoon.scene import MAX_THINGS, Scene
from train.tiny.attributes import attribute_losses, labels_of
from train.tiny.compiling import compiled, reduced_precision
from train.tiny.eye import Eye, pixel_values
from train.tiny.fitting import Fitted
from train.tiny.language import answer_loss_of
from train.tiny.lessons import LanguageBatch, Lessons
from train.tiny.processes import part_of_step
from train.tiny.rough import rough_changes
from train.tiny.slots import QUERIES
from train.tiny.steps import StepSettings, train_steps

# Plain seeds of eye and language model start at 0, those of the fitting at 600,000,000.
FIRST_SEED = 500_000_000

AnswerLoss = Callable[
    [torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor],
    tuple[torch.Tensor, torch.Tensor, torch.Tensor],
]


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeSettings:
    """How the Q-Former is fitted to the language model.

    Attributes:
        heads_weight: How much the attribute heads' loss counts beside the answers'; they keep the
            Q-Former from forgetting what it sees while it learns to say it.
        slot_weight: How much the distance from the fused slots counts, for the same reason.
        strange_share: Share of the pictures that are no drawing of the world.
        sketch_share: Share of the pictures that are page sketches.
        rough_share: Share of the pictures that look as other hands leave them, see `rough.py`.
        first_seed: Seed of the first picture; a run that goes on from others begins behind theirs.
        length: Tokens of a row.
        plain_weight: Loss weight of words that carry nothing seen, against 1 for those that do.
        held_out_scenes: Scenes it is scored on while it trains.
        questions: Held-out questions of every type that it is asked while it trains.
        steps: The loop's own settings.
    """

    heads_weight: float = 0.3
    slot_weight: float = 0.3
    strange_share: float = 0.05
    sketch_share: float = 0.1
    rough_share: float = 0.2
    first_seed: int = FIRST_SEED
    length: int = 256
    plain_weight: float = 1.0
    held_out_scenes: int = 200
    questions: int = 60
    steps: StepSettings = field(
        default_factory=lambda: StepSettings(
            steps=10_500,
            batch_size=16,
            learning_rate=8e-4,
            warmup_steps=100,
            weight_decay=0.02,
            check_every=2625,
        )
    )


class Bridge(nn.Module):
    """The Q-Former that is trained, with the throwaway projection and the eye's heads."""

    def __init__(self, eye: Eye, projection: nn.Linear) -> None:
        super().__init__()
        self.qformer = eye.qformer
        self.heads = eye.query_heads
        self.projection = projection


def train_bridge(
    fitted: Fitted,
    language: LanguageModel,
    settings: BridgeSettings,
    *,
    preset: Preset,
    state: Path,
    check: Callable[[Bridge, int], None],
) -> Bridge:
    """Trains the Q-Former of an eye in place; vision and language model stay as they are.

    Args:
        fitted: The eye, which sees, and the projection that it was fitted through.
        language: Answers.
        settings: Data and schedule.
        preset: The eye's sizes.
        state: Where the run keeps what it needs to resume.
        check: Called now and then with the bridge and the steps done.

    Returns:
        The bridge, whose projection nothing else will use.
    """
    torch.manual_seed(2)
    eye = fitted.eye
    bridge = Bridge(eye, fitted.projection)
    lessons = Lessons(language, plain_weight=settings.plain_weight, length=settings.length)
    eye.vision.requires_grad_(requires_grad=False)
    language.requires_grad_(requires_grad=False)
    # In evaluation mode throughout: no picture comes twice, and without dropout less is computed.
    for part in (eye, bridge, language):
        part.eval()
    language.model.set_attn_implementation("eager")  # in training faster than the fused kernel
    vision, answer_loss = compiled(eye.vision), compiled(answer_loss_through(bridge, language))
    batch_size = settings.steps.batch_size

    def loss(step: int) -> torch.Tensor:
        seeds = part_of_step(step, batch_size, settings.first_seed)
        rows = lessons.rows(
            seeds,
            MAX_THINGS,
            strange_share=settings.strange_share,
            sketch_share=settings.sketch_share,
        )
        scenes = [scene for scene, _ in rows]
        changes = rough_changes(scenes, settings.rough_share, random.Random(f"rough-{seeds.start}"))
        batch = lessons.batch(rows, length=settings.length)
        with torch.no_grad(), reduced_precision():
            features = vision(pixel_values(scenes, preset, changes)).float()
            wanted = lessons.slots.embed(lessons.slots.ids(scenes))
        answers, queries, tokens = answer_loss(
            features, batch.ids, slot_starts(batch), batch.labels, batch.weights
        )
        labels = labels_of(scenes, preset.vision.grid)
        named = torch.stack(list(attribute_losses(bridge.heads(queries), labels).values())).sum()
        off = (tokens - wanted).square().sum(dim=-1).mean()
        return answers + settings.heads_weight * named + settings.slot_weight * off

    train_steps(
        bridge, loss, settings.steps, state, lambda step: check(bridge, step), title="bridge"
    )
    return bridge


def answer_loss_through(bridge: Bridge, language: LanguageModel) -> AnswerLoss:
    """The answers' loss as a function that can be compiled, its shapes the same in every step.

    Returns:
        Takes image features `(B, N, Dv)`, token ids `(B, T)`, where each row's slot starts `(B,)`,
        labels and weights `(B, T)`; gives the loss, the query output `(B, Q, Dq)` and the visual
        tokens `(B, Q, D)`.
    """
    loss_of = answer_loss_of(language)

    def loss(
        features: torch.Tensor,
        ids: torch.Tensor,
        starts: torch.Tensor,
        labels: torch.Tensor,
        weights: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        with reduced_precision():
            queries = bridge.qformer(features)
            tokens = bridge.projection(queries).float()
        columns = torch.arange(ids.shape[1]) - starts[:, None]
        inside = (columns >= 0) & (columns < QUERIES)
        at = columns.clamp(0, QUERIES - 1)[..., None].expand(-1, -1, tokens.shape[-1])
        embeds = torch.where(inside[..., None], tokens.gather(1, at), language.embed(ids))
        return loss_of(embeds, labels, weights), queries.float(), tokens

    return loss


def slot_starts(batch: LanguageBatch) -> torch.Tensor:
    """Where the slot of each row starts `(B,)`; behind the row's end where it has none."""
    starts = torch.full((len(batch.ids),), batch.ids.shape[1])
    starts[batch.slot_rows] = batch.slot_starts
    return starts


def seen_through(
    eye: Eye, projection: nn.Module, preset: Preset
) -> Callable[[Sequence[Scene]], torch.Tensor]:
    """What gives visual tokens `(B, Q, D)` of scenes: drawn, looked at and projected."""

    def see(scenes: Sequence[Scene]) -> torch.Tensor:
        tokens: torch.Tensor = projection(eye.qformer(eye.vision(pixel_values(scenes, preset))))
        return tokens

    return see
