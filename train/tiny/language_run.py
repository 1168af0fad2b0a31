"""Trains the language model alone: `python -m train.tiny.language_run --output FOLDER`."""

import argparse
from dataclasses import replace
from pathlib import Path

from train.cartoon.scene import MAX_THINGS
from train.tiny.language import LanguageSettings
from train.tiny.stage0 import make_language


def main() -> None:
    """Reads the command line and trains, going on from where an earlier run stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="receives language/")
    parser.add_argument("--steps", type=int, default=LanguageSettings().steps.steps)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--first-seed", type=int, default=0, help="of the scenes to learn from")
    parser.add_argument("--warm-start", type=Path, help="weights of an earlier run to begin from")
    parser.add_argument(
        "--even-from",
        type=float,
        default=LanguageSettings().even_from,
        help="share of the run from which on all words weigh the same; 0: from its start",
    )
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    settings = LanguageSettings()
    rate = options.learning_rate or settings.steps.learning_rate
    steps = replace(settings.steps, steps=options.steps, learning_rate=rate)
    settings = replace(
        settings, steps=steps, first_seed=options.first_seed, even_from=options.even_from
    )
    if options.warm_start is not None:  # it has learned small scenes already
        settings = replace(settings, curriculum=((0.0, MAX_THINGS),))
    make_language(options.output, settings, options.threads, warm_start=options.warm_start)


if __name__ == "__main__":
    main()
