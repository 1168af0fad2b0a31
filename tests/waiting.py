"""How tests wait for what another thread or process brings about."""

import time
from collections.abc import Callable

SECONDS = 60.0
"""How long a thing may take on a loaded machine that takes no time on another one."""


def until(happened: Callable[[], object], seconds: float = SECONDS) -> None:
    """Wait until something has happened; fail if it does not."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain"
        time.sleep(0.005)
