"""A training run that is killed at any moment, also while it saves, ends as if it had not been.

    python -m tests.torture.training 24

Runs are forked from one process that holds the model, killed by SIGKILL, and resumed.
"""

import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from minigpt4.build import build_frozen_parts
from minigpt4.config import ASSETS
from minigpt4.models.presets import preset_named
from minigpt4.prompt_formats import TINY
from tests.torture.promise import Finding, in_fresh_process
from tests.train.test_loop import SETTINGS as SIX_STEPS
from train.loop import Run, new_accelerator, train
from train.run_folder import RunFolder, read_lines
from train.samples import Batches, aligned_sample
from train.settings import CartoonSettings

KILLS = 24
SYNC_SECONDS = 0.01  # a slower disk than this one, so that many a kill falls into a save
SETTINGS = replace(
    SIX_STEPS, schedule=replace(SIX_STEPS.schedule, steps=12), save_every=1, check_every=12
)


def measure(share: float) -> Finding:
    """Kills a share of the full number of runs, and compares what became of them."""
    found = json.loads(in_fresh_process("training", str(max(2, round(KILLS * share)))))
    held = found["equal"] == found["kills"] and found["before_the_end"] >= found["kills"] // 2
    figure = (
        f"{found['equal']} of {found['kills']} killed runs end with the losses and weights of the "
        f"unkilled one; {found['before_the_end']} were killed before their end, "
        f"{found['in_a_save']} of them in a save"
    )
    return Finding(held, figure)


def _in_child(work: Callable[[], None], seconds: float | None = None) -> bool:
    """Runs work in a fork, killed after so many seconds; returns whether it came to its end."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with Path(os.devnull).open("w") as nowhere:  # the progress bar
                os.dup2(nowhere.fileno(), sys.stderr.fileno())
            work()
            code = 0
        finally:
            os._exit(code)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if seconds is None and status != 0:
        raise RuntimeError(f"a run that nobody killed ended with {status}")
    return status == 0


def main(kills: int) -> None:
    """Prints what was found as JSON."""
    torch.set_num_threads(1)  # a fork has no threads but its own
    assets = ASSETS / "tiny"
    model = build_frozen_parts(
        preset_named("tiny"),
        assets / "vision.safetensors",
        assets / "qformer.safetensors",
        assets / "language",
    )
    torch.nn.init.normal_(model.projection.weight, std=0.02, generator=torch.Generator())
    batches = Batches(
        model, TINY, lambda seed: aligned_sample(seed, CartoonSettings(), ("Look at this.",))
    )
    sync = os.fsync

    def slow_sync(handle: int) -> None:
        time.sleep(SYNC_SECONDS)
        sync(handle)

    def work(folder: Path) -> None:
        os.fsync = slow_sync
        run = Run(model, batches, SETTINGS, RunFolder(folder), "f" * 64)
        resume = run.folder.checkpoint.exists()
        if not resume:
            run.folder.begin(SETTINGS)
            run.folder.metrics.unlink(missing_ok=True)
        train(run, new_accelerator(SETTINGS), lambda _step: None, resume=resume)

    def outcome(folder: Path) -> tuple[list[object], bytes]:
        losses = [row["loss"] for row in read_lines(RunFolder(folder).metrics)]
        return losses, RunFolder(folder).projection.read_bytes()

    with tempfile.TemporaryDirectory(prefix="minigpt4-torture-") as root:
        whole = Path(root) / "whole"
        began = time.monotonic()
        _in_child(lambda: work(whole))
        seconds = time.monotonic() - began
        expected = outcome(whole)
        chance = random.Random(3)
        equal = early = saving = 0
        for number in range(kills):
            moment = chance.uniform(0.1, 0.95) * seconds
            for attempt in range(3):  # the machine may be quicker now than when it was measured
                folder = Path(root) / f"{number}-{attempt}"
                ended = _in_child(lambda: work(folder), moment)  # noqa: B023
                if not ended:
                    break
                moment /= 2
            early += not ended
            saving += any(folder.glob(".*.safetensors.*"))
            _in_child(lambda: work(folder))  # noqa: B023
            equal += outcome(folder) == expected and len(expected[0]) == SETTINGS.schedule.steps
    found = {"kills": kills, "equal": equal, "before_the_end": early, "in_a_save": saving}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]))
