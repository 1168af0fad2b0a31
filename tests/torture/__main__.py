"""Measures every promise of SECURITY.md and prints one table.

make torture                  everything, in full
make torture SHARE=0.1        a tenth of the repeated work
"""

import argparse
import sys
import time

from tests.torture import chats, pictures, supply, texts, training
from tests.torture.promise import Promise, by_tests

PROMISES = (
    Promise(
        "any bytes as a picture: one clean sentence or a right picture",
        "150 files + 30,000 mutations, <= 2 s, <= 300 MB, bombs <= 50 ms",
        pictures.measure,
    ),
    Promise(
        "the model sees what the person sees",
        "EXIF 1-8, alpha, tRNS, 16 bit, CMYK, LA, MPO, first frame",
        by_tests("tests/test_images.py"),
    ),
    Promise("text never becomes structure", "40 strings, 0 special ids", texts.measure),
    Promise(
        "properties hold for made-up input",
        "no counterexample",
        by_tests("tests/test_properties.py"),
    ),
    Promise("no cross-talk", "32 sessions x 5 turns", chats.measured("cross_talk")),
    Promise("stopping frees the model", "<= 1 s", chats.measured("cancelling")),
    Promise("back-pressure", "refused in <= 200 ms", chats.measured("full_queue")),
    Promise("no growth", "500 turns, 200 sessions: <= +50 MB", chats.measured("growth")),
    Promise(
        "a failing step hurts one chat only",
        "told in words, next <= 5 s",
        chats.measured("failing_step"),
    ),
    Promise(
        "disconnects and closed tabs free the model; output is text",
        "in a real browser",
        by_tests("tests/ui/test_browser.py", "tests/server/test_surface_browser.py"),
    ),
    Promise(
        "files of the server stay there; bodies and rates limited",
        "0 canary hits",
        by_tests("tests/server"),
    ),
    Promise(
        "weights run no code; right weights or refusal",
        "0 executions",
        by_tests(
            "tests/checkpoints/test_faults.py",
            "tests/checkpoints/test_hostile_files.py",
            "tests/checkpoints/test_native.py",
        ),
    ),
    Promise("training survives kill -9", "24 of 24 equal", training.measure),
    Promise(
        "training survives SIGTERM, a full disk, NaN, broken rows",
        "exact counts",
        by_tests("tests/train/test_loop.py", "tests/train/test_own_data.py"),
    ),
    Promise("supply chain", "every package by hash, licences listed", supply.measure),
)


def main() -> int:
    """Prints a line for each promise; 1 if one does not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture")
    parser.add_argument("--share", type=float, default=1.0, help="of the repeated work, 0 to 1")
    parser.add_argument("--only", default="", help="promises with this in their name")
    given = parser.parse_args()
    broken = 0
    print("| promise | bar | measured | holds | seconds |")
    print("|--|--|--|--|--|")
    for promise in PROMISES:
        if given.only not in promise.name:
            continue
        began = time.monotonic()
        try:
            finding = promise.measure(given.share)
            held, figure = finding.held, finding.figure
        except Exception as error:  # noqa: BLE001 - one broken measurement must not hide the others
            held, figure = False, f"{type(error).__name__}: {error}".replace("\n", " ")[-200:]
        broken += not held
        cells = (promise.name, promise.bar, figure, "yes" if held else "NO")
        print(f"| {' | '.join(cells)} | {time.monotonic() - began:.0f} |", flush=True)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
