"""Trains MiniGPT-4, one stage a run.

    python train/run.py --stage 0   the tiny parts that the paper takes ready-made
    python train/run.py --stage 1   the projection, from random numbers, on captions
    python train/run.py --stage 2   the projection, from stage 1's, in the chat template

With nothing else, stages 1 and 2 train the embedded default on generated pictures, which takes
minutes on a CPU. --data my.jsonl trains it on your own, after a check of every row; --check-data
makes that check alone. Ctrl-C saves and stops; --resume goes on. Stage 0 takes about two hours on 2
cores; run again, it goes on from its last check.
"""

import argparse
import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from train.held_out import Look
    from train.run_folder import RunFolder
    from train.settings import TrainSettings
    from train.stages import Stage
    from train.validation import Checked


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a stage and returns the process's exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    from minigpt4.errors import MiniGPT4Error
    from train.errors import TrainingInterruptedError

    try:
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
    except KeyboardInterrupt:
        return 130
    return 0


def train_parts(options: argparse.Namespace) -> None:
    """Stage 0: tokenizer, language model, vision encoder and Q-Former of the embedded default."""
    from train.errors import TrainingError
    from train.settings import parts_overrides
    from train.tiny.stage0 import run

    if options.config or options.set or options.data or options.check_data:
        message = (
            "Stage 0 takes no --config, no --set and no --data: its settings are its code, and its"
            " pictures are generated."
        )
        raise TrainingError(message)
    output = options.output or Path("runs/stage0")
    run(output)
    say("Go on with stage 1:")
    say(f"  python train/run.py --stage 1 {_overrides(parts_overrides(output))}")


def train_projection(options: argparse.Namespace) -> None:
    """Stages 1 and 2: the projection alone."""
    asked = _asked_settings(options)  # before torch: what is wrong in them is told at once

    if options.check_data:
        checked_data(asked or _stored_settings(options))
        return

    from train.held_out import HeldOut, write_samples
    from train.loop import Run, new_accelerator, train
    from train.own_data import keep_pictures, record_of
    from train.plot import plot_run
    from train.run_folder import RunFolder, read_lines
    from train.samples import Batches
    from train.stages import (
        answer_tokens,
        load_frozen_parts,
        parts_table,
        stage_of,
        start_projection,
    )
    from train.validation import fault_records

    settings = asked or _stored_settings(options)
    folder = RunFolder(_output(options))
    own = checked_data(settings) if settings.own_data.path else None
    accelerator = new_accelerator(settings)
    stage = stage_of(settings, own)
    model, frozen = load_frozen_parts(settings.model)
    came_from = start_projection(model, settings, frozen)
    batches = Batches(
        model, stage.prompt_format, stage.sample_of, answer_tokens(settings) if own else None
    )
    model.to(accelerator.device)
    say(parts_table(model))
    data = "generated pictures" if own is None else str(own.source.path)
    say(f"Projection: {came_from}. Data: {data}. Device: {accelerator.device}.")
    if own is not None:
        say(_epochs(settings, stage))
        say(keep_pictures(batches.query_outputs, own.rows, settings.own_data.keep_mb))
        folder.begin_data(record_of(own), fault_records(own.faults))
    say(f"Everything goes to {folder.path}.")
    if not options.resume:  # a run that goes on keeps what it was begun with
        folder.begin(settings)
    held_out = HeldOut(
        model,
        batches,
        stage.prompt_format,
        asked=stage.asked,
        for_loss=stage.for_loss,
        tokens=settings.check_tokens,
        learned=stage.learned,
    )

    def check(step: int) -> None:
        look = held_out.look()
        write_samples(folder, held_out, look, step)
        looks = {row["step"]: row["held_out_loss"] for row in read_lines(folder.samples)}
        title = f"Stage {settings.stage}: loss of the projection"
        plot_run(folder.loss_curve, read_lines(folder.metrics), sorted(looks.items()), title)
        _say_look(step, look, settings.stage)

    run = Run(model, batches, settings, folder, frozen)
    position = train(run, accelerator, check, resume=options.resume)
    say(f"Done: {position.step:,} steps in {position.seconds / 60:.1f} minutes.")
    _say_losses(folder)
    _say_saved(folder, settings)


def checked_data(settings: "TrainSettings") -> "Checked":
    """Checks a user's own data and tells what was found.

    Raises:
        TrainingError: If training cannot start on them.
    """
    from train.errors import TrainingError
    from train.stages import check_own_data

    checked = check_own_data(settings)
    say("\n".join(checked.lines()))
    if checked.stops:
        raise TrainingError(checked.stops)
    return checked


def say(text: str) -> None:
    """Writes a line for the person who runs this."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python train/run.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--stage", type=int, choices=(0, 1, 2), required=True, help="what to train")
    parser.add_argument(
        "--config", type=Path, help="settings (default: train/configs/tiny_stage<N>.yaml)"
    )
    parser.add_argument(
        "--data",
        type=Path,
        help="your own pictures and texts: a .jsonl, .json or .csv file, or a folder with one; see"
        " docs/training.md (config: train/configs/own_data_stage<N>.yaml)",
    )
    parser.add_argument("--check-data", action="store_true", help="check --data, and train nothing")
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="settings that win over the file's, such as schedule.steps=200",
    )
    parser.add_argument(
        "--output", type=Path, help="folder of the run (default: the next free runs/stage<N>)"
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on from the checkpoint in --output (default: the newest runs/stage<N>); stage 0"
        " always does",
    )
    return parser


def _output(options: argparse.Namespace) -> Path:
    """The run's folder: the one asked for, else the newest to resume, else a free one."""
    from train.errors import TrainingError
    from train.run_folder import RunFolder

    name = f"stage{options.stage}"
    if options.output is None and options.resume:
        candidates = [RunFolder(path) for path in Path("runs").glob(f"{name}*")]
        begun = [each for each in candidates if each.checkpoint.is_file()]
        if not begun:
            raise TrainingError(f"There is no run of stage {options.stage} in runs/ to resume.")
        return max(begun, key=lambda each: each.checkpoint.stat().st_mtime).path
    if options.output is None:
        number = 1
        path = Path("runs") / name
        while path.exists():
            number += 1
            path = Path("runs") / f"{name}-{number}"
        return path
    output: Path = options.output
    if not options.resume and RunFolder(output).metrics.is_file():
        message = (
            f"{output} holds a run already. Add --resume to go on, or choose another --output."
        )
        raise TrainingError(message)
    return output


def _asked_settings(options: argparse.Namespace) -> "TrainSettings | None":
    """The settings asked for; None if a run goes on with those it was started with."""
    from train.errors import TrainingError
    from train.settings import DEFAULT_CONFIGS, OWN_DATA_CONFIGS, load_settings

    if options.resume and options.config is None and not options.set:
        return None
    defaults = DEFAULT_CONFIGS if options.data is None else OWN_DATA_CONFIGS
    data = [] if options.data is None else [f"own_data.path={options.data}"]
    settings = load_settings(options.config or defaults[options.stage], [*options.set, *data])
    _check_stage(options, settings)
    if options.check_data and not settings.own_data.path:
        raise TrainingError("--check-data needs --data: the file or folder to check.")
    return settings


def _stored_settings(options: argparse.Namespace) -> "TrainSettings":
    """The settings of the run that goes on."""
    from train.errors import TrainingError
    from train.run_folder import RunFolder

    folder = RunFolder(_output(options))
    settings = folder.stored_settings()
    _check_stage(options, settings)
    if options.data is not None and str(options.data) != settings.own_data.path:
        before = settings.own_data.path or "generated pictures"
        message = (
            f"The run in {folder.path} was begun with {before}, and --data is {options.data}. Leave"
            " --data out to go on, or choose another --output."
        )
        raise TrainingError(message)
    return settings


def _check_stage(options: argparse.Namespace, settings: "TrainSettings") -> None:
    from train.errors import TrainingError

    if settings.stage != options.stage:
        message = f"--stage {options.stage} given, and the settings are for stage {settings.stage}."
        raise TrainingError(message)


def _say_look(step: int, look: "Look", stage: int) -> None:
    from tqdm import tqdm

    answer = look.answers[0]
    shown = answer if len(answer) <= 100 else f"{answer[:100]}..."
    asked, learned = len(look.answers), len(look.learned_answers)
    line = f"step {step:>6,}  held-out loss {look.loss:.3f}"
    if stage > 1:  # a caption is one of many that would be right
        line += f", {look.right} of {asked} answers exact"
    if learned:
        line += f" (of pictures learned from, {look.learned_right} of {learned})"
    tqdm.write(f"{line}: {shown!r}", file=sys.stdout)


def _epochs(settings: "TrainSettings", stage: "Stage") -> str:
    rows, samples = stage.epoch_samples or 1, settings.schedule.steps * settings.samples_per_step
    return (
        f"{rows:,} samples to learn from, {len(stage.for_loss)} held out; "
        f"{settings.schedule.steps:,} steps of {settings.samples_per_step} are "
        f"{samples / rows:,.1f} epochs."
    )


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
    from train.settings import changed_parts

    for path, what in (
        (folder.projection, "the projection"),
        (folder.checkpoint, "all that --resume needs"),
        (folder.samples_page, "answers about held-out pictures, look by look"),
        (folder.loss_curve, "the loss curve"),
    ):
        say(f"  {path}  {what}")
    if settings.stage == 1:
        start = [f"start={folder.projection}", *changed_parts(settings)]
        say("Go on with stage 2:")
        own = settings.own_data.path
        data = f"--data {shlex.quote(own)} " if own else ""
        say(f"  python train/run.py --stage 2 {data}{_overrides(start)}")
    else:
        projection = [f"model.projection={folder.projection}", *changed_parts(settings)]
        say("Talk to it:")
        say(f"  python demo.py {_overrides(projection)}")


def _overrides(settings: Sequence[str]) -> str:
    return " ".join(f"--set {shlex.quote(each)}" for each in settings)


if __name__ == "__main__":
    # Python puts train/ first; `minigpt4` and `train` are found from the project's folder, and no
    # file in train/ may shadow a library.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    sys.exit(main())
