"""Stage 0: the parts that the paper takes ready-made, at tiny size and from nothing.

    python -m train.tiny.stage0 --output runs/tiny/parts [--only language|vision|bridge]

1. A tokenizer and a language model, on the picture world's sentences.
2. A vision encoder and a Q-Former, on its drawings; they do not need the language model, so the two
   run side by side.
3. The eye once more, as a whole through a throwaway projection onto what the language model reads,
   then the Q-Former through it into the frozen language model itself.

What comes out are the parts that the settings of stages 1 and 2 name under `model`. The same
command goes on where an earlier run in the same folder stopped.
"""

import argparse
import hashlib
import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import nn

from minigpt4.models.language import load_language_model
from train.errors import TrainingError
from train.tiny import eye_run
from train.tiny.bridge import BridgeSettings, seen_through, train_bridge
from train.tiny.eye import Eye, EyeSettings, save_parts
from train.tiny.eye_scores import held_out, score
from train.tiny.fitting import FittingSettings, fit_eye
from train.tiny.language import LanguageSettings, gate, train_language
from train.tiny.lessons import Lessons
from train.tiny.processes import (
    is_first_process,
    join_processes,
    process_count,
    wait_for_all,
)
from train.tiny.steps import load_weights
from train.tiny.tokenizer import train_tokenizer

logger = logging.getLogger(__name__)

Part: TypeAlias = Literal["language", "vision", "bridge"]
"""What stage 0 makes, in this order; `vision` is the vision encoder with the Q-Former."""
PARTS: tuple[Part, ...] = get_args(Part)


def run(
    output: Path,
    *,
    only: Part | None = None,
    threads: int = 0,
    device: str = "cpu",
    language: LanguageSettings | None = None,
    eye: EyeSettings | None = None,
    fitting: FittingSettings | None = None,
    bridge: BridgeSettings | None = None,
) -> None:
    """Makes the parts, going on from where an earlier run in the same folder stopped.

    Args:
        output: Receives vision.safetensors, qformer.safetensors, language/ and the runs' states.
        only: Makes one part and leaves the others as they are.
        threads: Of the processor; 0 takes what torch takes. Language model and eye, made side by
            side, share them; so do processes that a launcher started, see `processes.py`, and they
            make one after the other.
        device: What the parts are trained on: cpu, cuda.
        language: Sizes, data and schedule of the language model.
        eye: Those of the vision encoder and the Q-Former.
        fitting: Those of the third step's first half.
        bridge: Those of its second half.

    Raises:
        TrainingError: If a run was begun with other settings, or the bridge lacks a part.
    """
    language, eye = language or LanguageSettings(), eye or EyeSettings()
    fitting, bridge = fitting or FittingSettings(), bridge or BridgeSettings()
    join_processes(device)
    threads = max(1, (threads or torch.get_num_threads()) // process_count())
    output.mkdir(parents=True, exist_ok=True)
    if only is None and process_count() > 1:
        make_language(output, language, threads, device)
        make_eye(output, eye, threads, device)
    elif only is None:
        share = max(1, threads // 2)
        # Started afresh, not forked: a forked child inherits torch's threads in an unknown state.
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            jobs = (
                pool.submit(make_language, output, language, share, device),
                pool.submit(make_eye, output, eye, share, device),
            )
            for job in jobs:
                job.result()
    if only == "language":
        make_language(output, language, threads, device)
    elif only == "vision":
        make_eye(output, eye, threads, device)
    else:
        make_bridge(output, eye, fitting, bridge, threads=threads, device=device)


def make_language(
    output: Path,
    settings: LanguageSettings,
    threads: int,
    device: str = "cpu",
    warm_start: Path | None = None,
) -> None:
    """Trains tokenizer and language model into `language/`, from weights where some are given."""
    _begin(threads, device)
    folder = output / "language"
    if not (folder / "tokenizer.model").is_file() and is_first_process():
        train_tokenizer(folder)
    wait_for_all()
    report = reporter(output, "language")
    train_language(folder, settings, output / "state-language.pt", report, warm_start)


def make_eye(output: Path, settings: EyeSettings, threads: int, device: str = "cpu") -> None:
    """Trains vision encoder and Q-Former into `eye.pt`."""
    _begin(threads, device)
    eye_run.run(output, settings)


def make_bridge(
    output: Path,
    eye_settings: EyeSettings,
    fitting: FittingSettings,
    bridging: BridgeSettings,
    *,
    threads: int,
    device: str = "cpu",
) -> None:
    """Runs the third step on what the first two left in the folder, and saves the parts.

    Raises:
        TrainingError: If one of the two is not there.
    """
    _begin(threads, device)
    for needed in (output / "eye.pt", output / "language" / "model.safetensors"):
        if not needed.is_file():
            raise TrainingError(
                f"The bridge needs {needed}, which is not there. Finish --only language and --only"
                " vision first."
            )
    if is_first_process():
        _same_inputs(output)
    wait_for_all()
    preset = eye_settings.preset
    eye = Eye(preset)
    load_weights(eye, output / "eye.pt")
    language = load_language_model(output / "language", torch.float32, device=torch.device(device))
    lessons = Lessons(language, plain_weight=bridging.plain_weight, length=bridging.length)
    scenes = held_out(bridging.held_out_scenes)
    reports = {title: reporter(output, title) for title in ("fitting", "bridge")}

    def check(projection: nn.Module, step: int, title: str) -> None:
        see = seen_through(eye, projection, preset)
        answered = gate(language, lessons, bridging.questions, see=see)
        mean = sum(answered.values()) / len(answered)
        named = {f"eye_{name}": each for name, each in score(eye, scenes, preset).items()}
        reports[title]({"step": step, "mean": mean, **answered, **named})

    fitted = fit_eye(
        eye,
        language,
        fitting,
        eye_settings,
        state=output / "state-fitting.pt",
        check=lambda fitted, step: check(fitted.projection, step, "fitting"),
    )
    bridge = train_bridge(
        fitted,
        language,
        bridging,
        preset=preset,
        state=output / "state-bridge.pt",
        check=lambda bridge, step: check(bridge.projection, step, "bridge"),
    )
    if is_first_process():
        torch.save(bridge.projection.state_dict(), output / "throwaway.pt")
        save_parts(eye, output, preset)


def _same_inputs(output: Path) -> None:
    """Writes down which eye and language model the third step began with, or compares.

    Its states hold a whole eye: going on with them would drop one that was trained since.

    Raises:
        TrainingError: If there are states of other parts.
    """
    file, states = output / "bridge-inputs.json", ("state-fitting.pt", "state-bridge.pt")
    begun = [name for name in states if (output / name).is_file()]
    inputs = {
        name: hashlib.sha256((output / name).read_bytes()).hexdigest()
        for name in ("eye.pt", "language/model.safetensors")
    }
    known = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
    if begun and (known != inputs or begun[0] != states[0]):
        raise TrainingError(
            f"{' and '.join(begun)} in {output} were begun with another eye or language model than"
            " the ones there now. Remove them to fit these anew, or choose another --output."
        )
    file.write_text(json.dumps(inputs, indent=1) + "\n", encoding="utf-8")


def reporter(output: Path, name: str) -> Callable[[Mapping[str, float]], None]:
    """What adds scores to a file of JSON lines in a folder, and logs them."""
    file = output / f"scores-{name}.jsonl"

    def report(scores: Mapping[str, float]) -> None:
        line = json.dumps({key: round(value, 4) for key, value in scores.items()})
        with file.open("a", encoding="utf-8") as lines:
            lines.write(f"{line}\n")
        logger.info("%s %s", name, line)

    return report


def _begin(threads: int, device: str) -> None:
    torch.set_default_device(device)
    torch.set_num_threads(threads)
    logging.basicConfig(level=logging.INFO, format="%(message)s")


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line and runs.

    Raises:
        TrainingError: If a run was begun with other settings, or the bridge lacks a part.
    """
    language, eye, bridge = LanguageSettings(), EyeSettings(), BridgeSettings()
    fitting = FittingSettings()
    parser = argparse.ArgumentParser(
        prog="python -m train.tiny.stage0",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--output", type=Path, required=True, help="folder of the run")
    parser.add_argument("--only", choices=PARTS, help="make one part, leave the others")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of the processor")
    settings: dict[str, Any] = {
        "language": language,
        "eye": eye,
        "fitting": fitting,
        "bridge": bridge,
    }
    for name, of in settings.items():
        parser.add_argument(f"--{name}-steps", type=int, default=of.steps.steps)
        parser.add_argument(f"--{name}-first-seed", type=int, default=of.first_seed)
    chosen = parser.parse_args(arguments)
    given = {
        name: replace(
            of,
            steps=replace(of.steps, steps=getattr(chosen, f"{name}_steps")),
            first_seed=getattr(chosen, f"{name}_first_seed"),
        )
        for name, of in settings.items()
    }
    run(chosen.output, only=chosen.only, threads=chosen.threads, **given)


if __name__ == "__main__":
    main()
