"""The command line of `train/run.py`, and the settings and the folder that it asks for.

Nothing here imports torch before the command line and the settings file have been checked.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from train.errors import TrainingError

if TYPE_CHECKING:
    from train.settings import TrainSettings


def parse(arguments: Sequence[str] | None, description: str) -> argparse.Namespace:
    """Reads the command line.

    Raises:
        SystemExit: With 2 for wrong usage, with 0 after --help.
    """
    parser = argparse.ArgumentParser(
        prog="python train/run.py",
        description=description,
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
    parser.add_argument(
        "--cache-features",
        nargs="?",
        const="auto",
        metavar="FOLDER",
        help="look at every picture once and keep what the frozen eye sees on disk, for all runs on"
        " the same pictures (default FOLDER: one in runs/features)",
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
        nargs="?",
        const="always",
        choices=("always", "auto"),
        help="go on from the checkpoint in --output (default: the newest runs/stage<N>); auto"
        " begins where there is none, for schedulers that start a killed job again; stage 0 always"
        " goes on",
    )
    parser.add_argument(
        "--only", choices=("language", "vision", "bridge"), help="make one part of stage 0"
    )
    parser.add_argument(
        "--device",
        default="cpu",
        help="what stage 0 runs on, such as cuda (default %(default)s); stages 1 and 2 take an"
        " accelerator where there is one, or --set device=...",
    )
    parser.add_argument(
        "--larger-batches",
        type=int,
        default=1,
        metavar="TIMES",
        help="stage 0 with batches so many times as large, and as many fewer steps",
    )
    parser.add_argument(
        "--wandb",
        nargs="?",
        const="minigpt4",
        metavar="PROJECT",
        help="send the curves to Weights & Biases too (default project: minigpt4); TensorBoard's"
        " are written anyway",
    )
    options = parser.parse_args(arguments)
    if options.stage and (options.only or options.device != "cpu" or options.larger_batches != 1):
        parser.error("--only, --device and --larger-batches are of stage 0.")
    if options.larger_batches < 1:
        parser.error("--larger-batches: 1 or more.")
    options.begins_where_none = options.resume == "auto"
    return options


def with_flags(settings: "TrainSettings", options: argparse.Namespace) -> "TrainSettings":
    """The settings, also those of a run that goes on, with what flags say of them."""
    return settings if options.wandb is None else replace(settings, wandb=options.wandb)


def resumes(options: argparse.Namespace) -> bool:
    """Whether a run goes on; auto does where there is a checkpoint."""
    if options.resume != "auto":
        return options.resume is not None
    from train.run_folder import RunFolder

    output = options.output
    folders = [output] if output is not None else Path("runs").glob(f"stage{options.stage}*")
    return any(RunFolder(each).checkpoint.is_file() for each in folders)


def output_of(options: argparse.Namespace) -> Path:
    """The run's folder: the one asked for, else the newest to resume, else a free one."""
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
    # resume=auto begins anew what was killed before its first checkpoint.
    holds_run = RunFolder(output).metrics.is_file() and not options.begins_where_none
    if not options.resume and holds_run:
        message = (
            f"{output} holds a run already. Add --resume to go on, or choose another --output."
        )
        raise TrainingError(message)
    return output


def asked_settings(options: argparse.Namespace) -> "TrainSettings | None":
    """The settings asked for; None if a run goes on with those it was started with."""
    from train.settings import DEFAULT_CONFIGS, OWN_DATA_CONFIGS, load_settings

    if options.resume and options.config is None and not options.set:
        return None
    defaults = DEFAULT_CONFIGS if options.data is None else OWN_DATA_CONFIGS
    data = [] if options.data is None else [f"own_data.path={options.data}"]
    features = options.cache_features
    cache = [] if features is None else [f"cache_features={features}"]
    settings = load_settings(
        options.config or defaults[options.stage], [*options.set, *data, *cache]
    )
    _check_stage(options, settings)
    if options.check_data and not settings.own_data.path and not settings.shards.sources:
        raise TrainingError("--check-data needs --data: the file or folder to check.")
    return settings


def stored_settings(options: argparse.Namespace) -> "TrainSettings":
    """The settings of the run that goes on."""
    from train.run_folder import RunFolder
    from train.settings import data_of

    folder = RunFolder(output_of(options))
    settings = folder.stored_settings()
    _check_stage(options, settings)
    if options.data is not None and str(options.data) != settings.own_data.path:
        before = data_of(settings)
        message = (
            f"The run in {folder.path} was begun with {before}, and --data is {options.data}. Leave"
            " --data out to go on, or choose another --output."
        )
        raise TrainingError(message)
    features = options.cache_features
    if features is not None and features != settings.cache_features:
        before = settings.cache_features or "no feature cache"
        message = (
            f"The run in {folder.path} was begun with {before}, and --cache-features is {features}."
            " Leave --cache-features out to go on, or choose another --output."
        )
        raise TrainingError(message)
    return settings


def _check_stage(options: argparse.Namespace, settings: "TrainSettings") -> None:
    if settings.stage != options.stage:
        message = f"--stage {options.stage} given, and the settings are for stage {settings.stage}."
        raise TrainingError(message)
