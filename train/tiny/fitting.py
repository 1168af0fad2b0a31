"""Stage 0: the eye learns to say what it sees as slots, which the language model already reads.

The language model has learned from fused slots (see `slots.py`). Before the two meet, the eye is
taught to come as near to them as it can through a throwaway projection, beside the heads'
questions. That needs no language model in the loop, and what is seen stays apart by word: a colour
that an eye never saw on a kind is the colour's vector added to the kind's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from minigpt4.models.language import LanguageModel
from minigpt4.models.presets import Preset
from train.cartoon.scene import COLORS, Scene, make_scene
from train.cartoon.sketch import make_sketch
from train.tiny.attributes import IGNORED
from train.tiny.eye import Eye, EyeBatch, EyeSettings, eye_losses, pixel_values, training_batch
from train.tiny.slots import BACKGROUND_QUERY, FusedSlots
from train.tiny.steps import StepSettings, train_steps

# Plain seeds of the eye's own training start at 0, those of the bridge at 500,000,000.
FIRST_SEED = 600_000_000

_BATCH = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class FittingSettings:
    """How the eye is fitted to the slots.

    Attributes:
        slot_weight: How much a slot's squared error counts beside the heads' questions.
        sketch_share: Share of the pictures that are page sketches.
        first_seed: Seed of the first picture; a run that goes on from others begins behind theirs.
        solved_on: Pictures on which the projection is solved for before the first step.
        steps: The loop's own settings.
    """

    slot_weight: float = 1.0
    sketch_share: float = 0.08
    first_seed: int = FIRST_SEED
    solved_on: int = 1600
    steps: StepSettings = field(
        default_factory=lambda: StepSettings(
            steps=22_000,
            batch_size=32,
            learning_rate=8e-4,
            warmup_steps=200,
            weight_decay=0.02,
            check_every=2000,
        )
    )


class Fitted(nn.Module):
    """An eye with the projection whose output stands in the slots."""

    def __init__(self, eye: Eye, language_width: int) -> None:
        super().__init__()
        self.eye = eye
        self.projection = nn.Linear(eye.qformer.config.width, language_width)


def fit_eye(
    eye: Eye,
    language: LanguageModel,
    settings: FittingSettings,
    eye_settings: EyeSettings,
    *,
    state: Path,
    check: Callable[[Fitted, int], None],
) -> Fitted:
    """Trains an eye in place, and a projection from nothing; the language model stays as it is.

    Args:
        eye: Sees.
        language: Its embeddings are what slots are made of.
        settings: Schedule.
        eye_settings: What is shown and asked, as in the eye's own training.
        state: Where the run keeps what it needs to resume.
        check: Called now and then with what is trained and the steps done.
    """
    torch.manual_seed(3)
    fitted, slots = Fitted(eye, language.width), FusedSlots(language)
    shown = replace(
        eye_settings,
        sketch_share=settings.sketch_share,
        first_seed=settings.first_seed,
        steps=settings.steps,
    )
    eye.eval()
    if not state.is_file():
        sketches = round(settings.sketch_share * settings.solved_on)
        scenes = [
            (make_sketch if number < sketches else make_scene)(settings.first_seed - 1 - number)
            for number in range(settings.solved_on)
        ]
        solve_projection(eye, fitted.projection, slots, scenes, eye_settings.preset)
    basis = color_basis(language)

    def loss(step: int) -> torch.Tensor:
        batch = training_batch(step, shown)
        losses, queries = eye_losses(eye, batch, shown)
        with torch.no_grad():
            wanted = slots.embed(slots.ids(batch.scenes))
        error = slot_error(fitted.projection(queries), wanted, batch, basis)
        return torch.stack(list(losses.values())).sum() + settings.slot_weight * error

    def check_now(step: int) -> None:
        eye.eval()
        check(fitted, step)
        eye.train()

    eye.train()
    train_steps(fitted, loss, settings.steps, state, check_now, title="fitting")
    eye.eval()
    return fitted


def slot_error(
    tokens: torch.Tensor, slots: torch.Tensor, batch: EyeBatch, basis: torch.Tensor
) -> torch.Tensor:
    """Mean squared distance of visual tokens `(B, Q, D)` from slots.

    Of a picture in untrue colours nothing counts that is a matter of colour: neither what lies
    along `basis` `(D, C)` nor its background.
    """
    off = tokens - slots
    colorless = off - (off @ basis) @ basis.T
    off = torch.where(batch.untrue[:, None, None], colorless, off)
    each = off.square().sum(dim=-1)
    counted = torch.ones_like(each)
    counted[:, BACKGROUND_QUERY] = (batch.labels["background"] != IGNORED).to(each.dtype)
    return (each * counted).sum() / counted.sum()


def color_basis(language: LanguageModel) -> torch.Tensor:
    """Orthonormal vectors `(D, C)` that span the embeddings of the colours."""
    ids = torch.tensor([language.encode(color) for color in COLORS])
    with torch.no_grad():
        embeddings = language.embed(ids).flatten(0, 1)
    basis: torch.Tensor = torch.linalg.qr(embeddings.T).Q
    return basis


@torch.no_grad()
def solve_projection(
    eye: Eye, projection: nn.Linear, slots: FusedSlots, scenes: Sequence[Scene], preset: Preset
) -> None:
    """Sets a projection so that the query output comes nearest to fused slots (least squares)."""
    width = projection.in_features + 1
    products = torch.zeros(width, width, dtype=torch.float64)
    targets = torch.zeros(width, projection.out_features, dtype=torch.float64)
    for first in range(0, len(scenes), _BATCH):
        part = scenes[first : first + _BATCH]
        queries = eye.qformer(eye.vision(pixel_values(part, preset))).flatten(0, 1).double()
        inputs = torch.cat([queries, torch.ones(len(queries), 1)], dim=1)
        wanted = slots.embed(slots.ids(part))
        products += inputs.T @ inputs
        targets += inputs.T @ wanted.flatten(0, 1).double()
    ridge = 1e-4 * products.diagonal().mean() * torch.eye(width)
    found = torch.linalg.solve(products + ridge, targets).float()
    projection.weight.copy_(found[:-1].T)
    projection.bias.copy_(found[-1])
