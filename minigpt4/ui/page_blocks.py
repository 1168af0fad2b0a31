"""Gradio's page, with one change to how it tells a browser what is new."""

from typing import Any

import gradio as gr


class PageBlocks(gr.Blocks):  # type: ignore[misc] # gradio is not typed
    """Blocks whose updates of properties reach the browser whole, not as edits of the last ones.

    While an event streams, Gradio sends edits of what it sent before, and its browser side applies
    them to the very object that an earlier message handed on. Where the browser is busy, that
    message has not been used yet: "show Send again" turned into the "nothing new" after it, and the
    page offered Stop for ever. An update that replaces the last one leaves it as it was.
    """

    def handle_streaming_diffs(
        self,
        block_fn: Any,  # noqa: ANN401 - Gradio's own
        data: list[Any],
        *more: Any,  # noqa: ANN401
        **named: Any,  # noqa: ANN401
    ) -> list[Any]:
        """Turn an event's outputs into what is sent; see Gradio's method of this name."""
        whole = list(data)
        sent: list[Any] = super().handle_streaming_diffs(block_fn, data, *more, **named)
        return [
            [["replace", [], value]] if _is_update(value) and _is_edits(edits) else edits
            for value, edits in zip(whole, sent, strict=True)
        ]


def _is_update(value: object) -> bool:
    return isinstance(value, dict) and value.get("__type__") == "update"


def _is_edits(sent: object) -> bool:
    """Whether edits are sent; the first message, and the last, hold values. No edits, no news."""
    return isinstance(sent, list) and sent != []
