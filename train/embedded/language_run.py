"""Trains the language model alone: `python -m train.embedded.language_run --output FOLDER`."""

import argparse
import json
import logging
from dataclasses import replace
from pathlib import Path

import torch

from train.embedded.language import LanguageSettings, train_language
from train.embedded.tokenizer import train_tokenizer


def main() -> None:
    """Reads the command line and trains, going on from where an earlier run stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="receives language/")
    parser.add_argument("--steps", type=int, default=LanguageSettings().steps.steps)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(options.threads)
    folder = options.output / "language"
    if not (folder / "tokenizer.model").is_file():
        train_tokenizer(folder)
    settings = LanguageSettings()
    settings = replace(settings, steps=replace(settings.steps, steps=options.steps))
    scores = options.output / "scores-language.jsonl"

    def report(found: dict[str, float]) -> None:
        line = json.dumps({key: round(value, 4) for key, value in found.items()})
        with scores.open("a") as lines:
            lines.write(line + "\n")
        logging.getLogger(__name__).info("language %s", line)

    train_language(folder, settings, options.output / "state-language.pt", report)


if __name__ == "__main__":
    main()
