"""What the eye is asked about a scene while it learns: class labels, and the heads that answer.

The heads are thrown away. Those behind the Q-Former give every query its meaning: queries 0 to 15
one cell each, query 16 the background, queries 17 to 21 one letter of the sign each. Those behind
the vision encoder ask its patches directly, which teaches them much sooner; letters above all.
"""

import string
from collections.abc import Sequence

import torch
from torch import nn

from train.cartoon.scene import (
    BACKGROUNDS,
    CELLS,
    COLORS,
    KINDS,
    LONGEST_WORD,
    PAGE,
    PAGE_KINDS,
    PLACES,
    SIDE_CELLS,
    SIZES,
    Scene,
)
from train.cartoon.signs import sign_layout
from train.tiny.slots import BACKGROUND_QUERY, FIRST_LETTER_QUERY

Labels = dict[str, torch.Tensor]
Logits = dict[str, torch.Tensor]

LETTERS = string.ascii_uppercase
_KIND_CLASSES = (*KINDS, *PAGE_KINDS)
_BACKGROUND_CLASSES = (*BACKGROUNDS, PAGE)
NO_KIND = len(_KIND_CLASSES)  # the class of an empty cell
STRANGE = len(_BACKGROUND_CLASSES)  # the background of what is no drawing
NO_LETTER = len(LETTERS)
NO_RANK = LONGEST_WORD
IGNORED = -100

_SIDES = ("left", "right")
_CELL_CLASSES = {
    "kind": len(_KIND_CLASSES) + 1,
    "color": len(COLORS),
    "size": len(SIZES),
    "third": len(PLACES),
}
_POOLED = ("kind", "color", "size")
"""What patches are asked about the cells; where a cell lies they know from their positions."""
_NOTHING = {
    "kind": (NO_KIND, 0.25),
    "letter": (NO_LETTER, 0.3),
    **{f"{side}_letter": (NO_LETTER, 0.05) for side in _SIDES},
    **{f"{side}_rank": (NO_RANK, 0.05) for side in _SIDES},
}
"""Class of "nothing here" and how much it weighs: most cells and patches hold nothing."""


def labels_of(scenes: Sequence[Scene], grid: int) -> Labels:
    """Class labels of scenes, `IGNORED` where there is nothing to ask.

    Args:
        scenes: What the pictures show.
        grid: Patches along one side.

    Returns:
        `kind`, `color`, `size`, `third` `(B, 16)`, one a cell; `background` `(B,)`; `letter`
        `(B, 5)`; and of each patch's left and right half the letter whose centre lies there and
        its rank in the word: `left_letter`, `left_rank`, `right_letter`, `right_rank`
        `(B, grid * grid)`.
    """
    count = len(scenes)
    labels = {name: torch.full((count, CELLS), IGNORED) for name in _CELL_CLASSES}
    labels["kind"].fill_(NO_KIND)
    for row, scene in enumerate(scenes):
        for thing in scene.things:
            labels["kind"][row, thing.cell] = _KIND_CLASSES.index(thing.kind)
            labels["third"][row, thing.cell] = thing.third
            if not scene.is_page:  # a pen draws a page: its colour and the size tell nothing
                labels["color"][row, thing.cell] = COLORS.index(thing.color)
                labels["size"][row, thing.cell] = SIZES.index(thing.size)
    labels["background"] = torch.tensor(
        [
            STRANGE if scene.strange else _BACKGROUND_CLASSES.index(scene.background)
            for scene in scenes
        ]
    )
    return labels | _letter_labels(scenes, grid)


def _letter_labels(scenes: Sequence[Scene], grid: int) -> Labels:
    letters = torch.full((len(scenes), LONGEST_WORD), NO_LETTER)
    halves = torch.full((len(scenes), grid, 2 * grid), NO_LETTER)
    ranks = torch.full((len(scenes), grid, 2 * grid), NO_RANK)
    for row, scene in enumerate(scenes):
        for thing in scene.things:
            if not thing.word:
                continue
            nearest: dict[tuple[int, int], float] = {}
            for rank, box in enumerate(sign_layout(thing)):
                letter = LETTERS.index(box.letter)
                letters[row, rank] = letter
                down = min(int(box.y * grid), grid - 1)
                across = min(int(box.x * 2 * grid), 2 * grid - 1)
                off = abs(box.x * 2 * grid - across - 0.5)
                if off < nearest.get((down, across), 1.0):
                    nearest[down, across] = off
                    halves[row, down, across] = letter
                    ranks[row, down, across] = rank
    labels = {"letter": letters}
    for side, name in enumerate(_SIDES):
        labels[f"{name}_letter"] = halves[:, :, side::2].flatten(1)
        labels[f"{name}_rank"] = ranks[:, :, side::2].flatten(1)
    return labels


class QueryHeads(nn.Module):
    """Linear questions to the query output."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cells = nn.ModuleDict(
            {name: nn.Linear(width, classes) for name, classes in _CELL_CLASSES.items()}
        )
        self.background = nn.Linear(width, len(_BACKGROUND_CLASSES) + 1)
        self.letter = nn.Linear(width, len(LETTERS) + 1)

    def forward(self, seen: torch.Tensor) -> Logits:
        """Logits by attribute of the query output `(B, 22, Dq)`."""
        cells = seen[:, :CELLS]
        return {
            **{name: head(cells) for name, head in self.cells.items()},
            "background": self.background(seen[:, BACKGROUND_QUERY]),
            "letter": self.letter(seen[:, FIRST_LETTER_QUERY:]),
        }


class PatchHeads(nn.Module):
    """Linear questions to the image features.

    Patches are asked what letter lies in their left and right halves, and which of the word it is,
    so that a query has only to pick its own. Pooled to cells they are asked what stands there. The
    class token is asked about the background.
    """

    def __init__(self, width: int, grid: int) -> None:
        super().__init__()
        self.cells = nn.ModuleDict(
            {name: nn.Linear(width, _CELL_CLASSES[name]) for name in _POOLED}
        )
        self.background = nn.Linear(width, len(_BACKGROUND_CLASSES) + 1)
        classes = {"letter": len(LETTERS) + 1, "rank": LONGEST_WORD + 1}
        self.halves = nn.ModuleDict(
            {
                f"{side}_{name}": nn.Linear(width, number)
                for side in _SIDES
                for name, number in classes.items()
            }
        )
        self._grid = grid

    def forward(self, features: torch.Tensor) -> Logits:
        """Logits by attribute of image features `(B, 1 + patches, Dv)`."""
        patches = features[:, 1:]
        square = patches.reshape(len(patches), self._grid, self._grid, -1).permute(0, 3, 1, 2)
        pooled = nn.functional.adaptive_avg_pool2d(square, SIDE_CELLS)
        cells = pooled.flatten(2).transpose(1, 2)
        return {
            **{name: head(cells) for name, head in self.cells.items()},
            "background": self.background(features[:, 0]),
            **{name: head(patches) for name, head in self.halves.items()},
        }


def attribute_losses(logits: Logits, labels: Labels) -> dict[str, torch.Tensor]:
    """Mean cross entropy by attribute, over what is asked; 0 where nothing is."""
    return {name: _mean_loss(name, each, labels[name]) for name, each in logits.items()}


def _mean_loss(name: str, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    classes = logits.shape[-1]
    weights = torch.ones(classes)
    if name in _NOTHING:
        nothing, weight = _NOTHING[name]
        weights[nothing] = weight
    wanted = labels.flatten()
    asked = wanted != IGNORED
    total = weights[wanted[asked]].sum()
    loss = nn.functional.cross_entropy(
        logits.flatten(0, -2).float(), wanted, weights, ignore_index=IGNORED, reduction="sum"
    )
    return loss / total.clamp(min=1e-3)
