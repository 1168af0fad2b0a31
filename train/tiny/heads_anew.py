"""Gives finished parts their heads back, so that stage 0 can go on with them.

    python -m train.tiny.heads_anew --output runs/tiny/again

The heads that taught the eye are thrown away when it is finished, and the eye's run may be long
gone. This takes vision encoder and Q-Former as they are, fits new heads behind them in about a
minute, and leaves `eye.pt` and `language/` as the third step of stage 0 wants them. The command
that it names goes on from there, with pictures that the embedded model has not seen; who has gone
on once and does so again gives it higher seeds.

Where the preset asks for larger pictures than the parts were made for, the patches' positions are
resized, as the release does for its own; the eye is much worse then until it has gone on.
"""

import argparse
import logging
import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from minigpt4.checkpoints.loading import resize_positions
from minigpt4.checkpoints.native import load_part, read_tensors
from minigpt4.config import ASSETS
from minigpt4.models.presets import Preset
from minigpt4.models.vision import VisionEncoder
from train.tiny.eye import Eye, EyeSettings, head_losses, save_eye, training_batch
from train.tiny.steps import StepSettings, train_steps

logger = logging.getLogger(__name__)

# Apart from what eye (0), bridge (500,000,000), fitting (600,000,000) and runs that went on from
# them have seen.
FIRST_SEED = 790_000_000
_POSITIONS = "transformer.pos_embed"
_NEXT_SEEDS = {"bridge": 520_000_000, "fitting": 750_000_000}


def eye_of(parts: Path, settings: EyeSettings) -> Eye:
    """The eye of a folder with `vision.safetensors` and `qformer.safetensors`, with random heads.

    Raises:
        CheckpointError: If one of them is not there or does not fit.
    """
    torch.manual_seed(4)
    eye, preset = Eye(settings.preset), settings.preset
    file = parts / "vision.safetensors"
    vision = VisionEncoder(replace(preset.vision, image_size=_side_of(file, preset)))
    load_part(file, vision, "vision", preset=preset.name)
    weights = vision.state_dict()
    weights[_POSITIONS] = resize_positions(weights[_POSITIONS], preset.vision.grid)
    eye.vision.load_state_dict(weights)
    load_part(parts / "qformer.safetensors", eye.qformer, "qformer", preset=preset.name)
    return eye


def _side_of(file: Path, preset: Preset) -> int:
    """Side of the pictures that a vision encoder's file was made for."""
    tensors, _ = read_tensors(file, "vision")
    positions = tensors.get(_POSITIONS)
    if positions is None or positions.ndim != 3:
        return preset.vision.image_size  # what is wrong with the file is said where it is loaded
    return math.isqrt(positions.shape[1] - 1) * preset.vision.patch_size


def fit_heads(
    eye: Eye, settings: EyeSettings, state: Path, *, batches: int = 120, rounds: int = 12
) -> float:
    """Trains the heads of an eye in place, and nothing else.

    Args:
        eye: Sees; each picture is looked at once.
        settings: What is shown and asked.
        state: Where the run keeps what it needs to resume.
        batches: How many batches of pictures.
        rounds: How often the heads go over them.

    Returns:
        The mean loss in the end.
    """
    shown = replace(settings, first_seed=FIRST_SEED)
    eye.eval()
    kept = []
    with torch.no_grad():
        for step in range(batches):
            batch = training_batch(step, shown)
            features = eye.vision(batch.values)
            kept.append((features, eye.qformer(features), batch.labels))

    def loss(step: int) -> torch.Tensor:
        losses = head_losses(eye, *kept[step % batches], settings)
        return torch.stack(list(losses.values())).sum()

    steps = StepSettings(
        steps=batches * rounds,
        batch_size=settings.steps.batch_size,
        learning_rate=5e-3,
        warmup_steps=0,
        weight_decay=0.0,
        check_every=batches * rounds,
    )
    heads = nn.ModuleList([eye.query_heads, eye.patch_heads])
    train_steps(heads, loss, steps, state, lambda _: None, title="heads")
    with torch.no_grad():
        return sum(loss(step).item() for step in range(batches)) / batches


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line, writes the folder and prints what to do with it.

    Raises:
        CheckpointError: If a part is not there or does not fit.
    """
    parser = argparse.ArgumentParser(prog="python -m train.tiny.heads_anew", description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="a new folder")
    parser.add_argument(
        "--parts", type=Path, default=ASSETS / "tiny", help="default: the embedded ones"
    )
    parser.add_argument("--batches", type=int, default=120, help="of pictures, for the heads")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of the processor")
    given = parser.parse_args(arguments)
    if given.output.exists():
        parser.error(f"{given.output} is there already; name a folder that is not.")
    torch.set_num_threads(given.threads)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = EyeSettings()
    eye = eye_of(given.parts, settings)
    loss = fit_heads(eye, settings, given.output / "state-heads.pt", batches=given.batches)
    logger.info("The heads' loss is %.3f now.", loss)
    shutil.copytree(given.parts / "language", given.output / "language")
    save_eye(eye, given.output / "eye.pt")
    seeds = " ".join(f"--{name}-first-seed {seed}" for name, seed in _NEXT_SEEDS.items())
    logger.info("python -m train.tiny.stage0 --only bridge --output %s %s", given.output, seeds)


if __name__ == "__main__":
    main()
