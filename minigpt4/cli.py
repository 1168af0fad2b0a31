"""The commands of `python -m minigpt4`."""

import argparse
import sys
from collections.abc import Sequence

from minigpt4.doctor import examine


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        0 if it went well; for `doctor`, 1 if the demo would not start.
    """
    given = _parser().parse_args(arguments)
    report = examine(given.cfg_path, given.overrides)
    sys.stdout.write(f"{report}\n")
    return 0 if report.would_start else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m minigpt4", description="MiniGPT-4")
    commands = parser.add_subparsers(required=True, metavar="command")
    doctor = commands.add_parser(
        "doctor",
        help="say whether a demo would start",
        description=(
            "Look at every part a configuration names, without loading any: what is there, whether "
            "the parts belong together, the memory they need. Exits with 1 if the demo would not "
            "start."
        ),
    )
    doctor.add_argument(
        "--cfg-path", default="eval_configs/tiny.yaml", metavar="FILE", help="the configuration"
    )
    doctor.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting that wins over the file's; may be given several times",
    )
    return parser
