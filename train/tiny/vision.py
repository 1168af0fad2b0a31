"""Stage 0: a tiny vision encoder and Q-Former from nothing, on drawings of the synthetic world.

They learn to name what a scene holds: query i of the Q-Former is asked about cell i of the canvas,
the last query about the background. Two sets of linear heads ask, one behind the Q-Former and one
behind the vision encoder's own patches; both are thrown away.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from minigpt4.models.presets import TINY, Preset
from minigpt4.models.qformer import QFormer
from minigpt4.models.vision import VisionEncoder
from train.cartoon.draw import draw_scene
from train.cartoon.scene import (
    BACKGROUNDS,
    COLORS,
    KINDS,
    PLACES,
    SIGN_WORDS,
    SIZES,
    Scene,
    make_scene,
)
from train.embedded.steps import Report, StepSettings, train_steps
from train.tiny.slots import BACKGROUND_QUERY

NOTHING = len(KINDS)  # the class of an empty cell
_IGNORED = -100
_LUMINANCE = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
_ATTRIBUTES = {
    "kind": len(KINDS) + 1,
    "color": len(COLORS),
    "size": len(SIZES),
    "word": len(SIGN_WORDS),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionSettings:
    """How the tiny vision part is made.

    Attributes:
        preset: Sizes.
        held_out_scenes: Scenes it is scored on while it trains.
        gray_share: Share of the pictures that are shown without colour. Every kind misses one
            colour in training; without these the eye learns which kinds a colour rules out, and
            takes a pair it has never seen for another kind.
        steps: The loop's own settings.
    """

    preset: Preset = TINY
    held_out_scenes: int = 400
    gray_share: float = 0.3
    steps: StepSettings = field(
        default_factory=lambda: StepSettings(
            steps=33_000,
            batch_size=16,
            learning_rate=1e-3,
            warmup_steps=300,
            weight_decay=0.02,
            check_every=1000,
        )
    )


def pixel_values(scenes: Sequence[Scene], preset: Preset, gray: int = 0) -> torch.Tensor:
    """Draws scenes at the size the vision encoder reads: `(B, 3, S, S)`.

    Args:
        scenes: What to draw.
        preset: Sizes, mean and deviation of the colours.
        gray: The first so many are drawn without colour.
    """
    size = preset.vision.image_size
    drawn = np.stack([np.asarray(draw_scene(scene, size)) for scene in scenes])
    values = torch.from_numpy(drawn).permute(0, 3, 1, 2).float() / 255
    values[:gray] = (values[:gray] * _LUMINANCE).sum(dim=1, keepdim=True)
    mean, std = torch.tensor(preset.mean), torch.tensor(preset.std)
    return (values - mean[:, None, None]) / std[:, None, None]


def truth(scenes: Sequence[Scene]) -> dict[str, torch.Tensor]:
    """Class labels: `kind`, `color`, `size`, `word` `(B, 9)` and `background` `(B,)`."""
    labels = {name: torch.full((len(scenes), len(PLACES)), _IGNORED) for name in _ATTRIBUTES}
    labels["kind"].fill_(NOTHING)
    for row, scene in enumerate(scenes):
        for thing in scene.things:
            labels["kind"][row, thing.cell] = KINDS.index(thing.kind)
            labels["color"][row, thing.cell] = COLORS.index(thing.color)
            labels["size"][row, thing.cell] = SIZES.index(thing.size)
            if thing.word:
                labels["word"][row, thing.cell] = SIGN_WORDS.index(thing.word)
    labels["background"] = torch.tensor([BACKGROUNDS.index(scene.background) for scene in scenes])
    return labels


class AttributeHeads(nn.Module):
    """Linear questions to one vector a cell and one for the background."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cells = nn.ModuleDict(
            {name: nn.Linear(width, classes) for name, classes in _ATTRIBUTES.items()}
        )
        self.background = nn.Linear(width, len(BACKGROUNDS))

    def forward(self, seen: torch.Tensor) -> dict[str, torch.Tensor]:
        """Logits by attribute of `(B, 10, width)`: nine cells, then the background."""
        logits = {name: head(seen[:, :BACKGROUND_QUERY]) for name, head in self.cells.items()}
        return {**logits, "background": self.background(seen[:, BACKGROUND_QUERY])}


class Eye(nn.Module):
    """The vision encoder, the Q-Former, and the heads that teach them."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.vision = VisionEncoder(preset.vision)
        self.qformer = QFormer(preset.qformer, preset.vision.width)
        self.patch_heads = AttributeHeads(preset.vision.width)
        self.query_heads = AttributeHeads(preset.qformer.width)
        self._grid = preset.vision.grid

    def forward(self, values: torch.Tensor) -> list[dict[str, torch.Tensor]]:
        """Logits of both sets of heads, the Q-Former's first."""
        features = self.vision(values)
        patches = features[:, 1:].unflatten(1, (self._grid, self._grid)).permute(0, 3, 1, 2)
        cells = nn.functional.adaptive_avg_pool2d(patches, 3).flatten(2).transpose(1, 2)
        # The class token, which stands first, is asked about the background.
        return [
            self.query_heads(self.qformer(features)),
            self.patch_heads(torch.cat([cells, features[:, :1]], dim=1)),
        ]


def attribute_loss(
    logits: dict[str, torch.Tensor], labels: dict[str, torch.Tensor]
) -> torch.Tensor:
    """Sum over the attributes of the mean cross entropy where the attribute is asked about."""
    total = torch.zeros(())
    for name, each in logits.items():
        wanted = labels[name].flatten()
        if (wanted != _IGNORED).any():
            total = total + nn.functional.cross_entropy(
                each.flatten(0, -2), wanted, ignore_index=_IGNORED
            )
    return total


@torch.no_grad()
def score(eye: Eye, scenes: Sequence[Scene], preset: Preset) -> dict[str, float]:
    """Share of right classes by attribute, behind the Q-Former, over occupied cells.

    `occupied` is the share of cells rightly called empty or not.
    """
    right: dict[str, list[torch.Tensor]] = {}
    for first in range(0, len(scenes), 50):
        part = scenes[first : first + 50]
        labels = truth(part)
        logits = eye(pixel_values(part, preset))[0]
        for name, each in logits.items():
            wanted, found = labels[name], each.argmax(dim=-1)
            asked = (wanted != _IGNORED) & (wanted != NOTHING if name == "kind" else True)
            right.setdefault(name, []).append((found == wanted)[asked])
        empty = labels["kind"] == NOTHING
        occupied = (logits["kind"].argmax(dim=-1) == NOTHING) == empty
        right.setdefault("occupied", []).append(occupied.flatten())
    return {name: torch.cat(parts).float().mean().item() for name, parts in right.items()}


def train_vision(
    settings: VisionSettings,
    state: Path,
    held_out: Sequence[Scene],
    report: Report,
) -> Eye:
    """Trains the eye and gives it back with its heads; see `Eye`.

    Args:
        settings: Sizes and schedule.
        state: Where the run keeps what it needs to resume.
        held_out: Scenes to score on while it runs.
        report: Called with the scores.
    """
    torch.manual_seed(0)
    eye = Eye(settings.preset)
    batch_size = settings.steps.batch_size

    def loss(step: int) -> torch.Tensor:
        first = step * batch_size
        scenes = [make_scene(seed) for seed in range(first, first + batch_size)]
        labels = truth(scenes)
        gray = round(settings.gray_share * batch_size)
        labels["color"][:gray] = _IGNORED
        labels["background"][:gray] = _IGNORED  # white and cream are one without colour
        asked, patches = eye(pixel_values(scenes, settings.preset, gray))
        return attribute_loss(asked, labels) + 0.5 * attribute_loss(patches, labels)

    def check(step: int) -> None:
        eye.eval()
        report({"step": step, **score(eye, held_out, settings.preset)})
        eye.train()

    eye.train()
    train_steps(eye, loss, settings.steps, state, check, title="vision", line=1)
    eye.eval()
    return eye
