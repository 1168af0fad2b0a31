"""Trains MiniGPT-4, one stage a run.

    python train/run.py --stage 0   the tiny parts that the paper takes ready-made
    python train/run.py --stage 1   the projection, from random numbers, on captions
    python train/run.py --stage 2   the projection, from stage 1's, in the chat template

With nothing else, stages 1 and 2 train the embedded default on generated pictures, which takes
minutes on a CPU. --data my.jsonl trains it on your own, after a check of every row; --check-data
makes that check alone. Ctrl-C saves and stops; --resume goes on. Stage 0 takes about four hours
on 2 cores; run again, it goes on from its last check. --only makes one of its parts.

Several devices share every batch: torchrun --nproc_per_node 4 train/run.py --stage 1, or accelerate
launch; the run is the same, and one begun with four processes can go on with one.
"""

import argparse
import errno
import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from accelerate import Accelerator

    from train.run_folder import RunFolder
    from train.settings import TrainSettings
    from train.stages import Stage
    from train.validation import Checked


def say(text: str) -> None:
    """Writes a line for the person who runs this."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def say_beside_bar(text: str) -> None:
    """The same above a progress bar."""
    from tqdm import tqdm

    tqdm.write(text, file=sys.stdout)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a stage and returns the process's exit code."""
    from train.options import parse, resumes

    options = parse(arguments, __doc__ or "")
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    from minigpt4.errors import MiniGPT4Error
    from train.errors import TrainingInterruptedError

    try:
        options.resume = resumes(options)
        if options.stage == 0:
            train_parts(options)
        else:
            train_projection(options)
    except TrainingInterruptedError as stopped:
        say(str(stopped))
        return stopped.exit_code
    except MiniGPT4Error as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        place = f" for {error.filename}" if error.filename else ""
        sys.stderr.write(
            f"The disk takes no more{place}: {error.strerror}. A checkpoint that was saved is"
            " unchanged. Make room, then go on with --resume auto.\n"
        )
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def train_parts(options: argparse.Namespace) -> None:
    """Stage 0: tokenizer, language model, vision encoder and Q-Former of the embedded default."""
    from train.errors import TrainingError
    from train.settings import parts_overrides
    from train.tiny.bridge import BridgeSettings
    from train.tiny.eye import EyeSettings
    from train.tiny.fitting import FittingSettings
    from train.tiny.language import LanguageSettings
    from train.tiny.larger import larger
    from train.tiny.stage0 import run

    given = options.config, options.set, options.data, options.check_data, options.cache_features
    if any(given):
        message = (
            "Stage 0 takes no --config, no --set, no --data and no --cache-features: its settings"
            " are its code, and its pictures are generated."
        )
        raise TrainingError(message)
    output = options.output or Path("runs/stage0")
    times = options.larger_batches
    run(
        output,
        only=options.only,
        device=options.device,
        language=larger(LanguageSettings(), times),
        eye=larger(EyeSettings(), times),
        fitting=larger(FittingSettings(), times),
        bridge=larger(BridgeSettings(), times),
    )
    if options.only in (None, "bridge"):
        say("Go on with stage 1:")
        say(f"  python train/run.py --stage 1 {_overrides(parts_overrides(output))}")


def train_projection(options: argparse.Namespace) -> None:
    """Stages 1 and 2: the projection alone."""
    from train.options import asked_settings, output_of, stored_settings, with_flags

    asked = asked_settings(options)  # before torch: what is wrong in them is told at once

    if options.check_data:
        check_data(asked or stored_settings(options))
        return

    from accelerate.utils import broadcast_object_list

    from train.frozen import load_frozen_parts, start_projection
    from train.held_out import HeldOut
    from train.look_once import look_once
    from train.looks import Looks
    from train.loop import Run, held_in, new_accelerator, train
    from train.run_folder import RunFolder
    from train.samples import Batches
    from train.settings import data_of
    from train.sharding import check_sharing, loading_device, share_out
    from train.stages import answer_limit, parts_table, stage_of
    from train.trackers import Trackers, check_trackers

    settings = with_flags(asked or stored_settings(options), options)
    check_trackers(settings)
    check_sharing(settings)
    accelerator = new_accelerator(settings)
    leads = accelerator.is_main_process
    # Of several processes the first one speaks and writes, and says where.
    (path,) = broadcast_object_list([output_of(options) if leads else None])
    folder = RunFolder(path)
    own = checked_data(settings, aloud=leads) if settings.own_data.path else None
    stage = stage_of(settings, own)
    model, frozen = load_frozen_parts(
        settings.model, loading_device(accelerator), held_in(settings)
    )
    came_from = start_projection(model, settings, frozen)
    batches = Batches(
        model,
        stage.prompt_format,
        stage.sample_of,
        answer_limit(settings),
        workers=settings.workers,
        tally=stage.web,
    )
    shared = share_out(model, accelerator)
    model.to(accelerator.device)
    tell = say if leads else lambda _text: None
    keeps = look_once(settings, stage, model, batches, accelerator, own=own, say=tell)
    if leads:
        say(parts_table(model))
        say(f"Projection: {came_from}. Data: {data_of(settings)}. Device: {_devices(accelerator)}.")
        say(f"{_epochs(settings, stage)}{keeps}{shared}Everything goes to {folder.path}.")
        begin(folder, settings, own, goes_on=options.resume)
    held_out = HeldOut(
        model,
        batches,
        stage.prompt_format,
        asked=stage.asked,
        for_loss=stage.for_loss,
        tokens=settings.check_tokens,
        learned=stage.learned,
    )

    trackers = Trackers(accelerator, settings, folder.path)
    looks = Looks(held_out, settings, folder, trackers, say_beside_bar if leads else None)
    run = Run(model, batches, settings, folder, frozen)
    position = train(run, accelerator, looks.at, resume=options.resume, trackers=trackers)
    if leads:
        say(f"Done: {position.step:,} steps in {position.seconds / 60:.1f} minutes.")
        _say_read(stage)
        _say_losses(folder)
        _say_saved(folder, settings)
    accelerator.end_training()


def begin(
    folder: "RunFolder", settings: "TrainSettings", own: "Checked | None", *, goes_on: bool
) -> None:
    """Writes down what a run begins with; one that goes on keeps what it was begun with."""
    from train.own_data import record_of
    from train.validation import fault_records

    if own is not None:
        folder.begin_data(record_of(own), fault_records(own.faults))
    if not goes_on:
        folder.begin(settings)


def check_data(settings: "TrainSettings") -> None:
    """Checks data without training: a user's own rows, or every sample of every shard.

    Raises:
        TrainingError: If training cannot start on them.
    """
    from train.web_data import WebData

    if not settings.shards.sources:
        checked_data(settings)
        return
    for line in WebData(settings.shards, stage=settings.stage, seed=settings.seed).check():
        say(line)


def _devices(accelerator: "Accelerator") -> str:
    """Where a run computes."""
    processes = accelerator.num_processes
    return (
        f"{accelerator.device}, {processes} processes" if processes > 1 else f"{accelerator.device}"
    )


def checked_data(settings: "TrainSettings", *, aloud: bool = True) -> "Checked":
    """Checks a user's own data and tells what was found.

    Raises:
        TrainingError: If training cannot start on them.
    """
    from train.errors import TrainingError
    from train.stages import check_own_data

    checked = check_own_data(settings)
    if aloud:
        say("\n".join(checked.lines()))
    if checked.stops:
        raise TrainingError(checked.stops)
    return checked


def _epochs(settings: "TrainSettings", stage: "Stage") -> str:
    if stage.epoch_samples is None:
        return ""
    rows, samples = stage.epoch_samples, settings.schedule.steps * settings.samples_per_step
    return (
        f"{rows:,} samples to learn from, {len(stage.for_loss)} held out; "
        f"{settings.schedule.steps:,} steps of {settings.samples_per_step} are "
        f"{samples / rows:,.1f} epochs.\n"
    )


def _say_read(stage: "Stage") -> None:
    if stage.web is not None:
        say(f"  {stage.web.said()}")


def _say_losses(folder: "RunFolder") -> None:
    """The loss at both ends of the run: of what it learned from, and of what was held out."""
    from train.run_folder import read_lines

    losses = [row["loss"] for row in read_lines(folder.metrics) if row["loss"] is not None]
    looks = [row["held_out_loss"] for row in read_lines(folder.samples)]
    if not losses or not looks:
        return
    few = min(10, len(losses))
    first, last = sum(losses[:few]) / few, sum(losses[-few:]) / few
    say(f"  loss of the first {few} steps {first:.3f}, of the last {few} {last:.3f}")
    say(f"  held-out loss {looks[0]:.3f} at the first look, {looks[-1]:.3f} at the last")


def _say_saved(folder: "RunFolder", settings: "TrainSettings") -> None:
    from train.settings import as_saved, changed_learning, changed_parts, demo_parts

    settings = as_saved(settings, folder.qformer)
    for path, what in (
        (folder.projection, "the projection"),
        (folder.checkpoint, "all that --resume needs"),
        (folder.sheet, "answers about held-out pictures, look by look"),
        (folder.loss_curve, "the loss curve"),
    ):
        say(f"  {path}  {what}")
    if settings.stage == 1:
        start = [f"start={folder.projection}", *changed_parts(settings)]
        start += changed_learning(settings)
        say("Go on with stage 2:")
        own = settings.own_data.path
        data = f"--data {shlex.quote(own)} " if own else ""
        say(f"  python train/run.py --stage 2 {data}{_overrides(start)}")
    else:
        projection = [f"model.projection={folder.projection}", *demo_parts(settings)]
        say("Talk to it:")
        say(f"  python demo.py {_overrides(projection)}")


def _overrides(settings: Sequence[str]) -> str:
    return " ".join(f"--set {shlex.quote(each)}" for each in settings)


if __name__ == "__main__":
    # Python puts train/ first; `minigpt4` and `train` are found from the project's folder, and no
    # file in train/ may shadow a library.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    sys.exit(main())
