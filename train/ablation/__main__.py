"""The paper's ablations on the embedded default: `make ablation`."""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from minigpt4.checkpoints.native import write_file
from minigpt4.errors import MiniGPT4Error
from train.ablation.arms import BASE, Plan, arms_of
from train.ablation.experiment import results, train_and_score
from train.ablation.page import page
from train.ablation.plots import plot
from train.errors import TrainingError
from train.settings import ROOT

_FRACTIONS = (0.0, 0.1, 0.3)


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains, scores and writes the page; returns the process's exit code."""
    given = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        if not given.page_only:
            plan = _plan(given)
            code = train_and_score(plan)
            if code:
                return code
            _write(given.docs / "ablations.json", f"{json.dumps(results(plan), indent=1)}\n")
        _write_page(given.docs)
    except MiniGPT4Error as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _plan(given: argparse.Namespace) -> Plan:
    arms = arms_of(given.fractions)
    known = [arm.name for arm in arms]
    unknown = sorted(set(given.only) - set(known))
    if unknown:
        raise TrainingError(f"--only: no arm {', '.join(unknown)}; there are {', '.join(known)}.")
    # Everything is compared with the base, so it is always there.
    return Plan(
        output=given.output,
        arms=tuple(arm for arm in arms if not given.only or arm.name in {BASE, *given.only}),
        parts=given.parts,
        steps_scale=given.steps_scale,
        seeds=tuple(given.seeds),
        scenes=given.scenes,
        device=given.device,
    )


def _write_page(docs: Path) -> None:
    path = docs / "ablations.json"
    if not path.is_file():
        raise TrainingError(f"There is no {path} to write a page from. Leave --page-only out.")
    found = json.loads(path.read_text(encoding="utf-8"))
    pictures = docs / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    for theme in ("light", "dark"):
        plot(pictures / f"ablations-{theme}.png", found, theme)
    _write(docs / "ablations.md", page(found))


def _write(path: Path, text: str) -> None:
    write_file(path, text.encode())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m train.ablation",
        description="Train the paper's ablations on the embedded default's parts, score each after"
        " both stages, and write docs/ablations.md. Run again, it goes on where it was.",
    )
    parser.add_argument("--output", type=Path, default=Path("runs/ablation"), help="(%(default)s)")
    parser.add_argument("--parts", type=Path, help="folder of stage 0 (the embedded default's)")
    parser.add_argument(
        "--steps-scale", type=float, default=1.0, help="so many times the steps (%(default)s)"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of every arm (0)")
    parser.add_argument("--scenes", type=int, default=100, help="held-out pictures (%(default)s)")
    parser.add_argument(
        "--fractions", type=float, nargs="*", default=_FRACTIONS, metavar="SHARE",
        help="shares of stage 1's data besides all of it (0 0.1 0.3)",
    )  # fmt: skip
    parser.add_argument("--only", nargs="+", default=[], metavar="ARM", help="besides the base")
    parser.add_argument("--device", choices=("auto", "cpu"), default="auto", help="(%(default)s)")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="page and pictures")
    parser.add_argument("--page-only", action="store_true", help="from the scores of the last time")
    return parser


if __name__ == "__main__":
    sys.exit(main())
