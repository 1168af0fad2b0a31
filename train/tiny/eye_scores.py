"""How well the eye names scenes it was never trained on."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from minigpt4.models.presets import Preset
from train.cartoon.scene import (
    COLORS,
    HELD_OUT_PAIRS,
    HELD_OUT_SEEDS,
    KINDS,
    Scene,
    make_scene,
    strange_scene,
)
from train.cartoon.sketch import make_sketch
from train.tiny.attributes import IGNORED, NO_KIND, NO_LETTER, STRANGE, labels_of
from train.tiny.eye import Eye, pixel_values

_BATCH = 50
_UNSEEN_PAIRS = torch.tensor(
    [KINDS.index(kind) * len(COLORS) + COLORS.index(color) for color, kind in HELD_OUT_PAIRS]
)
Right = dict[str, list[torch.Tensor]]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What the eye is scored on.

    Attributes:
        scenes: Half with pairs of colour and kind that training has, half with one it never has.
        unseen_words: Scenes whose sign says a word that training never shows.
        strange: No drawings of the world.
        sketches: Page sketches, with words that training has.
    """

    scenes: tuple[Scene, ...]
    unseen_words: tuple[Scene, ...]
    strange: tuple[Scene, ...]
    sketches: tuple[Scene, ...]


def held_out(count: int) -> HeldOut:
    """About `count` scenes, and a quarter more of each: unseen words, strange ones, sketches."""
    seeds = range(HELD_OUT_SEEDS, HELD_OUT_SEEDS + count)
    fewer = seeds[: max(1, count // 4)]
    return HeldOut(
        scenes=tuple(make_scene(seed, held_out=bool(seed % 2)) for seed in seeds),
        unseen_words=tuple(make_scene(seed, unseen_words=True) for seed in fewer),
        strange=tuple(strange_scene(seed) for seed in fewer),
        sketches=tuple(make_sketch(seed) for seed in fewer),
    )


def score(eye: Eye, scenes: HeldOut, preset: Preset) -> dict[str, float]:
    """Shares of right answers behind the Q-Former; only what something was asked about is there.

    `kind`, `color`, `size` and `third` are over occupied cells, `unseen_pair` is the kind over
    things in a colour that training never gave it, `occupied` is over all cells, `letter` over real
    letters, `word` over signs with every letter right and none too many. `strange` is the share of
    strange pictures found to be so, and `drawing` that of drawings not taken for one.
    `sketch_kind` is the kind of the things on page sketches, `sketch_word` their title.
    """
    right = _answers(eye, scenes.scenes, preset)
    unseen = _answers(eye, scenes.unseen_words, preset)
    strange = _answers(eye, scenes.strange, preset)
    right["unseen_word"], right["unseen_letter"] = unseen["word"], unseen["letter"]
    right["strange"] = strange["background"]
    sketched = _answers(eye, scenes.sketches, preset)
    right["sketch_kind"], right["sketch_word"] = sketched["kind"], sketched["word"]
    found = {name: torch.cat(parts).float() for name, parts in right.items()}
    return {name: round(each.mean().item(), 4) for name, each in found.items() if len(each)}


@torch.no_grad()
def _answers(eye: Eye, scenes: Sequence[Scene], preset: Preset) -> Right:
    right: Right = {}
    for first in range(0, len(scenes), _BATCH):
        part = scenes[first : first + _BATCH]
        labels = labels_of(part, preset.vision.grid)
        logits, patches = eye(pixel_values(part, preset))
        found = {name: each.argmax(dim=-1) for name, each in logits.items()}
        there = labels["kind"] != NO_KIND
        same = {name: each == labels[name] for name, each in found.items()}
        pair = labels["kind"] * len(COLORS) + labels["color"].clamp(min=0)
        spelled = labels["letter"] != NO_LETTER
        news = {name: same[name][there] for name in ("kind", "color", "size", "third")}
        news |= {
            "unseen_pair": same["kind"][there & torch.isin(pair, _UNSEEN_PAIRS.to(pair.device))],
            "occupied": ((found["kind"] != NO_KIND) == there).flatten(),
            "background": same["background"],
            "drawing": found["background"] != STRANGE,
            "letter": same["letter"][spelled],
            "word": same["letter"].all(dim=1)[spelled.any(dim=1)],
            "no_word": same["letter"].all(dim=1)[~spelled.any(dim=1)],
        }
        halves = torch.cat([labels["left_letter"], labels["right_letter"]])
        read = torch.cat([patches["left_letter"], patches["right_letter"]]).argmax(dim=-1)
        news["patch_letter"] = (read == halves)[(halves != NO_LETTER) & (halves != IGNORED)]
        for name, each in news.items():
            right.setdefault(name, []).append(each)
    return right
