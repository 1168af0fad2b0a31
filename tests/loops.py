"""Event loops that Gradio leaves unclosed."""

import asyncio
import gc
from contextlib import suppress


def close_loops() -> None:
    """Close the loop that a page has left in this thread, and collect those before it.

    Collected here, they warn here, where that is expected, and not in whatever test runs next. The
    last one is held by its thread until another takes its place: it would warn anywhere.
    """
    with suppress(RuntimeError):  # there is none
        left = asyncio.get_event_loop_policy().get_event_loop()
        if not left.is_running():
            left.close()
            asyncio.set_event_loop(None)
    gc.collect()
