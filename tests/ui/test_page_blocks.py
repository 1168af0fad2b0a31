"""What a busy browser is told: it takes messages in long after they have come."""

import copy
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import gradio as gr

from minigpt4.ui.page_blocks import PageBlocks

SEND = {"__type__": "update", "submit_btn": True, "stop_btn": False}
STOP = {"__type__": "update", "submit_btn": False, "stop_btn": True, "value": {"text": ""}}
NOTHING = {"__type__": "update"}
VIEWS = [
    ["a", STOP, NOTHING],
    ["ab", NOTHING, "Answering"],
    ["abc", SEND, "Ready"],
    [NOTHING, NOTHING, NOTHING],
]


def messages(kind: type[gr.Blocks]) -> list[list[Any]]:
    """What Gradio sends for the views of one event."""
    blocks = object.__new__(kind)  # a whole page leaves event loops open, and is not needed
    blocks.pending_diff_streams = defaultdict(dict)
    event = SimpleNamespace(outputs=[object()] * 3)
    sent = []
    for view in VIEWS:
        edits = blocks.handle_streaming_diffs(event, copy.deepcopy(view), "tab", "run", final=False)
        sent.append(copy.deepcopy(edits))
    return [*sent, blocks.handle_streaming_diffs(event, [None] * 3, "tab", "run", final=True)]


def applied(value: Any, edits: list[Any]) -> Any:
    """Edits applied to a value in place, as Gradio's browser side does."""
    for action, path, new in edits:
        if not path:
            value = value + new if action == "append" else new
            continue
        at = value
        for step in path[:-1]:
            at = at[step]
        if action == "delete":
            del at[path[-1]]
        else:
            at[path[-1]] = new
    return value


def taken_late(sent: list[list[Any]]) -> list[list[Any]]:
    """What the page gets to see if every message has come before the first is used."""
    last = sent[0]
    seen = [list(last)]
    for message in sent[1:-1]:
        last = [applied(value, edits) for value, edits in zip(last, message, strict=True)]
        seen.append(last)
    return seen


def test_an_update_is_the_same_however_late_it_is_used() -> None:
    assert taken_late(messages(PageBlocks)) == VIEWS


def test_gradio_alone_loses_one() -> None:
    """When this fails, Gradio has mended it, and `PageBlocks` can go."""
    assert taken_late(messages(gr.Blocks)) != VIEWS


def test_the_last_message_holds_values() -> None:
    assert messages(PageBlocks)[-1] == VIEWS[-1]


def test_texts_still_travel_as_what_is_new() -> None:
    assert messages(PageBlocks)[1][0] == [["append", [], "b"]]
