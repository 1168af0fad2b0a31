"""Which request an event of the page came with."""

from collections.abc import MutableMapping
from typing import Any

from gradio.context import LocalContext


def event_scope() -> MutableMapping[str, Any] | None:
    """Return the ASGI scope of the request behind the event that is being handled; None if none."""
    request = LocalContext.request.get(None)
    inner = getattr(request, "request", None)
    return getattr(inner, "scope", None)
