"""Trains the eye: `python -m train.tiny.eye_run --output runs/tiny/parts`.

The same command goes on where an earlier run in the same folder stopped.
"""

import argparse
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from train.tiny.eye import Eye, EyeSettings, save_eye, save_parts, train_eye
from train.tiny.eye_scores import held_out, score
from train.tiny.processes import is_first_process, wait_for_all

logger = logging.getLogger(__name__)

_SHARES = ("sign_share", "hard_share", "gray_share", "false_color_share")


def run(output: Path, settings: EyeSettings, warm_start: Path | None = None) -> Eye:
    """Trains the eye and saves it.

    Args:
        output: Receives the run's state, `eye_scores.jsonl`, and at the end `eye.pt`,
            `vision.safetensors` and `qformer.safetensors`.
        settings: Sizes, data and schedule.
        warm_start: File with weights to begin from, if the run has no state yet.

    Raises:
        TrainingError: If the state or the weights do not fit.
    """
    output.mkdir(parents=True, exist_ok=True)
    scenes = held_out(settings.held_out_scenes)
    began = time.monotonic()

    def check(eye: Eye, step: int, losses: dict[str, float]) -> None:
        line = {
            "step": step,
            "minutes": round((time.monotonic() - began) / 60, 1),
            **score(eye, scenes, settings.preset),
            "losses": {name: round(each, 4) for name, each in losses.items()},
        }
        with (output / "eye_scores.jsonl").open("a") as lines:
            lines.write(json.dumps(line) + "\n")
        logger.info("%s", line)

    eye = train_eye(settings, output / "eye_state.pt", check, warm_start)
    if is_first_process():
        save_eye(eye, output / "eye.pt")
        save_parts(eye, output, settings.preset)
    wait_for_all()
    return eye


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line and runs.

    Raises:
        TrainingError: If the state or the weights do not fit.
    """
    default = EyeSettings()
    parser = argparse.ArgumentParser(prog="python -m train.tiny.eye_run", description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder of the run")
    parser.add_argument("--steps", type=int, default=default.steps.steps, help="of the whole run")
    parser.add_argument("--learning-rate", type=float, default=default.steps.learning_rate)
    parser.add_argument("--check-every", type=int, default=default.steps.check_every)
    for name in _SHARES:
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=float, default=getattr(default, name))
    parser.add_argument("--first-seed", type=int, default=0, help="of the pictures to learn from")
    parser.add_argument("--threads", type=int, default=1, help="of the processor")
    parser.add_argument("--warm-start", type=Path, help="weights of an earlier run to begin from")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    steps = replace(
        default.steps,
        steps=chosen.steps,
        learning_rate=chosen.learning_rate,
        check_every=chosen.check_every,
    )
    settings = replace(
        default,
        **{name: getattr(chosen, name) for name in _SHARES},
        first_seed=chosen.first_seed,
        steps=steps,
    )
    run(chosen.output, settings, chosen.warm_start)


if __name__ == "__main__":
    main()
