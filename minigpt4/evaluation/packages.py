"""Packages that only evaluations need, and the sentence for who lacks them."""

import importlib
from types import ModuleType

from minigpt4.errors import ConfigError

REQUIREMENTS = "requirements-evaluation.txt"


def needed(module: str) -> ModuleType:
    """A module of an optional package.

    Raises:
        ConfigError: If it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        problem = f"{package}: this package is not installed, and the evaluation needs it."
        raise ConfigError([f"{problem} Run: pip install -r {REQUIREMENTS}"]) from error
