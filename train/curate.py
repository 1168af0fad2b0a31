"""Makes the data of stage 2 out of pictures: describe, repair, filter, review, export.

python train/curate.py --help
"""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one step and returns the process's exit code."""
    from train.curation.options import parse

    given = parse(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")

    from minigpt4.commands import exit_code_of
    from train.curation.steps import COMMANDS

    return exit_code_of(lambda: COMMANDS[given.command](given))


if __name__ == "__main__":
    # Python puts train/ first; `minigpt4` and `train` are found from the project's folder, and no
    # file in train/ may shadow a library.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    sys.exit(main())
