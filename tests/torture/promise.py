"""What a promise of SECURITY.md is to this folder: a bar, and a way to measure where we stand."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


SLACK = "TORTURE_SLACK"
"""Names the variable that says how many times its seconds a promise may take."""


def allowed(seconds: float) -> float:
    """What a promise of so many seconds may take: just that, but more in tests beside others."""
    return seconds * float(os.environ.get(SLACK, "1"))


@dataclass(frozen=True)
class Finding:
    """What a measurement found.

    Attributes:
        held: Whether the promise was kept.
        figure: What was measured, in a few words.
    """

    held: bool
    figure: str


@dataclass(frozen=True)
class Promise:
    """A promise that is measured.

    Attributes:
        name: In a few words.
        bar: What must hold.
        measure: Measures it; the argument says how much of the full amount of work to do, 0 to 1.
    """

    name: str
    bar: str
    measure: Callable[[float], Finding]


def by_tests(*selected: str) -> Callable[[float], Finding]:
    """Measures a promise by tests that say it in full: all pass, and none is skipped.

    Args:
        selected: Files or test ids, as pytest takes them.
    """

    def measure(share: float) -> Finding:
        del share  # a test is as long as it is
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *selected]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        lines = done.stdout.strip().splitlines() or ["nothing was printed"]
        held = done.returncode == 0 and "passed" in lines[-1] and "skipped" not in lines[-1]
        return Finding(held, lines[-1].strip("= ").partition(" in ")[0])

    return measure


def in_fresh_process(module: str, *arguments: str) -> str:
    """Runs a module of this folder by itself, so that its memory is its own; returns its output."""
    command = [sys.executable, "-m", f"tests.torture.{module}", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{module} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout
