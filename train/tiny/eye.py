"""The eye of the embedded default, from nothing: a vision encoder and a Q-Former that name scenes.

Linear heads ask about each scene and are thrown away; see `attributes.py`. Every picture is drawn
when it is needed and seen once.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from minigpt4.checkpoints.native import save_part
from minigpt4.models.presets import TINY as TINY_PRESET
from minigpt4.models.presets import Preset
from minigpt4.models.qformer import QFormer
from minigpt4.models.vision import VisionEncoder
from train.cartoon.draw import draw_scene, look_of
from train.cartoon.mixture import mixed_scene
from train.cartoon.scene import (
    BACKGROUNDS,
    HELD_OUT_SEEDS,
    MAX_THINGS,
    RADII,
    Scene,
    make_scene,
    with_random_word,
)
from train.errors import TrainingError
from train.tiny.attributes import (
    IGNORED,
    Labels,
    Logits,
    PatchHeads,
    QueryHeads,
    attribute_losses,
    labels_of,
)
from train.tiny.compiling import reduced_precision
from train.tiny.false_colors import GRAY, apply_matrix, find_matrix, shows_held_out
from train.tiny.processes import part_of_step
from train.tiny.rough import Change, make_rough
from train.tiny.steps import StepSettings, load_weights, train_steps

CROWDED = 5
HARD_STYLES = ("hollow", "textured")


@dataclass(frozen=True, slots=True, kw_only=True)
class EyeSettings:
    """How the eye is made.

    Attributes:
        preset: Sizes.
        sign_share: Share of the pictures for which a scene with a sign is looked for; the others
            come as they come, some of them with a sign too.
        random_word_share: Share of the signs that say letters at random. There are few words, and
            an eye that knows them all by sight does not read.
        hard_share: Share of the others for which a scene is looked for that is hard to see: with
            `CROWDED` things and more, or in one of `HARD_STYLES`. Most of what the eye gets wrong
            is there.
        alone_share: The same for one big thing and nothing else, which is what people draw first.
            Seen too seldom, its parts are taken for things in the cells around it.
        strange_share: Share of the pictures that are no drawing of the world.
        sketch_share: Share of the pictures that are page sketches.
        gray_share: Share of the pictures that are shown without colour. Every kind misses one
            colour in training; without these the eye learns which kinds a colour rules out.
        false_color_share: Share of the pictures whose hues are turned, for the same reason. Where
            either would show a kind in the colour that it misses, the picture stays as it is.
        rough_share: Share of the others that look as other hands leave them, see `rough.py`.
        letter_weight: Of the queries' letters in the loss.
        patch_weight: Of everything that is asked behind the vision encoder, but letters.
        patch_letter_weight: Of letters and ranks behind the vision encoder.
        first_seed: Seed of the first picture; a run that goes on from weights begins behind theirs.
        held_out_scenes: Scenes it is scored on while it trains.
        steps: The loop's own settings.
    """

    preset: Preset = TINY_PRESET
    sign_share: float = 0.4
    random_word_share: float = 0.5
    hard_share: float = 0.4
    alone_share: float = 0.15
    strange_share: float = 0.06
    sketch_share: float = 0.05
    gray_share: float = 0.25
    false_color_share: float = 0.25
    rough_share: float = 0.3
    letter_weight: float = 1.0
    patch_weight: float = 0.5
    patch_letter_weight: float = 0.5
    first_seed: int = 0
    held_out_scenes: int = 400
    steps: StepSettings = field(
        default_factory=lambda: StepSettings(
            steps=48_000,
            batch_size=32,
            learning_rate=1e-3,
            warmup_steps=300,
            weight_decay=0.02,
            check_every=500,
        )
    )

    def __post_init__(self) -> None:
        """Refuses shares of one draw that together are more than everything.

        Raises:
            TrainingError: If two of them do not fit beside each other.
        """
        for names in (
            ("gray_share", "false_color_share"),
            ("strange_share", "sign_share", "sketch_share"),
            ("hard_share", "alone_share"),
        ):
            shares = {name: getattr(self, name) for name in names}
            if sum(shares.values()) > 1:
                told = ", ".join(f"{name} {share:g}" for name, share in shares.items())
                raise TrainingError(
                    f"{told}: together {sum(shares.values()):g}, and 1 is every picture. Lower one."
                )


class Eye(nn.Module):
    """The vision encoder, the Q-Former, and the heads that teach them."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.vision = VisionEncoder(preset.vision)
        self.qformer = QFormer(preset.qformer, preset.vision.width)
        self.query_heads = QueryHeads(preset.qformer.width)
        self.patch_heads = PatchHeads(preset.vision.width, preset.vision.grid)
        # Plain products and a softmax: torch's fused attention takes several times as long for so
        # few patches, on a CPU and in bfloat16.
        for block in self.vision.transformer.blocks:
            block.attn.fused_attn = False
        self.qformer.transformer.set_attn_implementation("eager")
        self.to(memory_format=torch.channels_last)

    def train(self, mode: bool = True) -> "Eye":  # noqa: FBT001, FBT002 (torch's signature)
        """Sets the mode, but leaves out the Q-Former's dropout: no picture comes twice."""
        super().train(mode)
        self.qformer.eval()
        return self

    def forward(self, values: torch.Tensor) -> tuple[Logits, Logits]:
        """Logits of the heads behind the Q-Former, and of those behind the vision encoder."""
        features = self.vision(values)
        return self.query_heads(self.qformer(features)), self.patch_heads(features)


def pixel_values(
    scenes: Sequence[Scene], preset: Preset, changes: Mapping[int, Change] | None = None
) -> torch.Tensor:
    """Draws scenes at the size the vision encoder reads: `(B, 3, S, S)`.

    Args:
        scenes: What to draw.
        preset: Sizes, mean and deviation of the colours.
        changes: For some of the scenes, by their index, what their pictures go through.
    """
    size = preset.vision.image_size
    drawn = np.stack([np.asarray(draw_scene(scene, size)) for scene in scenes])
    values = (
        torch.from_numpy(drawn).to(torch.get_default_device()).permute(0, 3, 1, 2).float() / 255
    )
    for row, change in (changes or {}).items():
        values[row] = change(values[row])
    mean, std = torch.tensor(preset.mean), torch.tensor(preset.std)
    return (values - mean[:, None, None]) / std[:, None, None]


def training_scene(number: int, settings: EyeSettings) -> Scene:
    """The scene of the n-th picture of training, the same for the same number."""
    rng = random.Random(f"eye-{number}")
    kind = rng.random()
    scene = mixed_scene(
        number, kind, strange_share=settings.strange_share, sketch_share=settings.sketch_share
    )
    if scene.strange:
        return scene
    if kind < settings.strange_share + settings.sign_share:
        while not scene.has_word:
            scene = _another(rng)
    elif not scene.is_page:
        draw = rng.random()
        if draw < settings.hard_share:
            while not _is_hard(scene):
                scene = _another(rng)
        elif draw < settings.hard_share + settings.alone_share:
            while not _is_one_big_thing(scene):
                scene = _another(rng, most=1)
    if rng.random() < settings.random_word_share:
        scene = with_random_word(scene, rng)
    return scene


def _another(rng: random.Random, most: int = MAX_THINGS) -> Scene:
    """A scene from the upper half of the seeds, where the plain numbers of the eye never come."""
    return make_scene(rng.randrange(HELD_OUT_SEEDS // 2, HELD_OUT_SEEDS), max_things=most)


def _is_hard(scene: Scene) -> bool:
    return len(scene.things) >= CROWDED or look_of(scene).style in HARD_STYLES


def _is_one_big_thing(scene: Scene) -> bool:
    return len(scene.things) == 1 and scene.things[0].radius > RADII["large"][1]


@dataclass(frozen=True, slots=True)
class EyeBatch:
    """The pictures of one step.

    Attributes:
        scenes: What they show.
        values: Pixel values `(B, 3, S, S)`.
        labels: What the heads are asked.
        untrue: `(B,)`, which are shown without colour or in false ones.
    """

    scenes: tuple[Scene, ...]
    values: torch.Tensor
    labels: Labels
    untrue: torch.Tensor


def training_batch(step: int, settings: EyeSettings) -> EyeBatch:
    """The pictures of a step that fall to this process; they depend on nothing else."""
    seeds = part_of_step(step, settings.steps.batch_size, settings.first_seed)
    scenes = tuple(training_scene(seed, settings) for seed in seeds)
    labels = labels_of(scenes, settings.preset.vision.grid)
    rng = random.Random(f"gray-{seeds.start}")
    changes: dict[int, Change] = {}
    untrue = torch.zeros(len(scenes), dtype=torch.bool)
    for row, scene in enumerate(scenes):
        draw, matrix = rng.random(), None
        if draw < settings.gray_share:
            matrix = None if shows_held_out(scene, GRAY) else GRAY
        elif draw < settings.gray_share + settings.false_color_share:
            matrix = find_matrix(scene, rng)
        elif rng.random() < settings.rough_share:
            changes[row] = make_rough(rng, fine=scene.has_word)
        if matrix is not None:
            changes[row] = partial(apply_matrix, matrix=matrix)
            untrue[row] = True
    labels["color"][untrue] = IGNORED
    # Plain backgrounds are one without colour, and who learns that blue grass is a field takes the
    # sea for one. Pages and what is no drawing stay what they are.
    world = labels["background"] < len(BACKGROUNDS)
    labels["background"][untrue & world] = IGNORED
    return EyeBatch(scenes, pixel_values(scenes, settings.preset, changes), labels, untrue)


def eye_losses(
    eye: Eye, batch: EyeBatch, settings: EyeSettings
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """What the heads get wrong, and the query output that they were asked about.

    Returns:
        The weighted parts of the loss by name, those behind the vision encoder beginning `patch_`,
        and `(B, Q, Dq)`.
    """
    with reduced_precision():
        features = eye.vision(batch.values)
        queries = eye.qformer(features)
    return head_losses(eye, features, queries, batch.labels, settings), queries.float()


def head_losses(
    eye: Eye,
    features: torch.Tensor,
    queries: torch.Tensor,
    labels: Labels,
    settings: EyeSettings,
) -> dict[str, torch.Tensor]:
    """What the heads get wrong about image features `(B, N, Dv)` and query output `(B, Q, Dq)`.

    Returns:
        The weighted parts of the loss by name, those behind the vision encoder beginning `patch_`.
    """
    with reduced_precision():
        asked, patches = eye.query_heads(queries), eye.patch_heads(features)
    losses = attribute_losses(asked, labels)
    losses["letter"] = settings.letter_weight * losses["letter"]
    for name, loss in attribute_losses(patches, labels).items():
        on_letters = name.endswith(("_letter", "_rank"))
        weight = settings.patch_letter_weight if on_letters else settings.patch_weight
        losses[f"patch_{name}"] = weight * loss
    return losses


def train_eye(
    settings: EyeSettings,
    state: Path,
    check: Callable[[Eye, int, dict[str, float]], None],
    warm_start: Path | None = None,
) -> Eye:
    """Trains the eye and gives it back with its heads; see `Eye`.

    Args:
        settings: Sizes, data and schedule.
        state: Where the run keeps what it needs to resume.
        check: Called now and then with the eye in evaluation mode, the steps done, and the mean of
            every part of the loss since the check before.
        warm_start: File with weights to begin from, if the run has no state yet.

    Raises:
        TrainingError: If the state or the weights do not fit.
    """
    torch.manual_seed(0)
    eye = Eye(settings.preset)
    if warm_start is not None and not state.is_file():
        load_weights(eye, warm_start)
    sums: dict[str, torch.Tensor] = {}
    count = 0

    def loss_of(step: int) -> torch.Tensor:
        nonlocal count
        losses, _ = eye_losses(eye, training_batch(step, settings), settings)
        for name, loss in losses.items():
            sums[name] = sums.get(name, torch.zeros(())) + loss.detach()
        count += 1
        return torch.stack(list(losses.values())).sum()

    def check_now(step: int) -> None:
        nonlocal count
        eye.eval()
        check(eye, step, {name: each.item() / count for name, each in sums.items()})
        eye.train()
        sums.clear()
        count = 0

    eye.train()
    train_steps(eye, loss_of, settings.steps, state, check_now, title="eye")
    eye.eval()
    return eye


def save_eye(eye: Eye, file: Path) -> None:
    """Writes the eye with its heads, as `load_weights` reads it."""
    partial = file.with_suffix(".partial")
    torch.save({"module": eye.state_dict()}, partial)
    partial.replace(file)


def save_parts(eye: Eye, folder: Path, preset: Preset = TINY_PRESET) -> None:
    """Writes `vision.safetensors` and `qformer.safetensors`, without heads.

    Raises:
        CheckpointError: If a file cannot be written.
    """
    save_part(folder / "vision.safetensors", eye.vision, "vision", preset=preset.name)
    save_part(folder / "qformer.safetensors", eye.qformer, "qformer", preset=preset.name)
