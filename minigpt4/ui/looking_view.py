"""The panel "Where it looks": its place on the page and its events.

Its markup, colours and behaviour are ``static/looking.*``; a script in the browser draws what
`minigpt4.ui.looks.Looks` tells it, so that a press on another word or a turn of the slider asks
nobody.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from minigpt4.ui.looks import Looks, Told

STATIC = Path(__file__).parent / "static"


def looking_panel() -> gr.HTML:
    """Put the panel on the page; called within a ``gr.Blocks``."""
    with gr.Accordion("Where it looks", open=False, elem_id="looking"):
        return gr.HTML(
            value={"kind": "answers", "stamp": 0, "answers": [], "pictures": []},
            html_template=(STATIC / "looking.html").read_text(encoding="utf-8"),
            css_template=(STATIC / "looking.css").read_text(encoding="utf-8"),
            js_on_load=(STATIC / "looking.js").read_text(encoding="utf-8"),
            apply_default_css=False,
            elem_id="looking-panel",
        )


def wire_looking(panel: gr.HTML, looks: Looks, changes: Sequence[Any]) -> None:
    """Bind the panel's events; called within the page's ``gr.Blocks``.

    Args:
        panel: The panel.
        looks: Answers it.
        changes: Events that change what was said, as Gradio returned them.
    """
    events = _Events(looks)
    hidden: dict[str, Any] = {
        "api_visibility": "private",
        "show_progress": "hidden",
        "concurrency_limit": None,
    }
    for change in changes:
        change.then(events.answers, None, panel, **hidden)
    panel.look(events.look, None, panel, **hidden)
    panel.tokens(events.tokens, None, panel, **hidden)


class _Events:
    """Event functions; Gradio reads from their annotations what to pass."""

    def __init__(self, looks: Looks) -> None:
        self._looks = looks

    async def answers(self, request: gr.Request) -> Told:
        return self._looks.answers(_tab(request))

    async def look(self, request: gr.Request, asked: gr.EventData) -> Told:
        return await self._looks.look(_tab(request), _asked(asked, "turn"))

    async def tokens(self, request: gr.Request, asked: gr.EventData) -> Told:
        return await self._looks.tokens(_tab(request), _asked(asked, "picture"))


def _asked(asked: gr.EventData, name: str) -> object:
    """What the script sent along; anybody can send anything."""
    sent = getattr(asked, "_data", None)
    return sent.get(name) if isinstance(sent, dict) else None


def _tab(request: gr.Request) -> str:
    return request.session_hash or ""
