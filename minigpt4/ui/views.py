"""What the page shows, as plain values: no Gradio, no model, no files opened.

Handlers yield a `View`; `minigpt4.ui.events` turns it into updates of Gradio components. A field
that is None leaves its part of the page as it is, so a view says only what changes.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

StatusKind = Literal["loading", "waiting", "ready", "answering", "failed"]


@dataclass(frozen=True, slots=True)
class ShownPicture:
    """A picture as the page shows it.

    Attributes:
        path: Our own re-encoded copy, never the uploaded file.
        number: Its place in the chat, counted from 1.
    """

    path: Path
    number: int


@dataclass(frozen=True, slots=True)
class ShownTurn:
    """One question with its pictures, and as much of the answer as there is."""

    question: str
    answer: str | None
    pictures: tuple[ShownPicture, ...] = ()


@dataclass(frozen=True, slots=True)
class Composer:
    """The box that a question is typed into.

    Attributes:
        answering: Whether it shows Stop instead of Send.
        text: New text; None keeps what the user has typed meanwhile.
        files: New attachments, as paths on the server; read only where `text` is given.
    """

    answering: bool
    text: str | None = None
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Status:
    """The pill at the top of the page.

    Attributes:
        kind: Decides the colour of its dot.
        text: The state in a few words.
        model: Name of the model; small screens leave it out.
    """

    kind: StatusKind
    text: str
    model: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """A change of the page; None means "as it was"."""

    turns: tuple[ShownTurn, ...] | None = None
    composer: Composer | None = None
    status: Status | None = None
    notice: str | None = None


def chat_messages(turns: Sequence[ShownTurn]) -> list[dict[str, Any]]:
    """Write turns as messages of a ``gr.Chatbot``.

    Each picture is a message of its own before the question: Gradio drops the picture from a
    message that holds both when its text is edited. Text is escaped, because the Chatbot renders
    HTML even with ``render_markdown=False``.
    """
    messages: list[dict[str, Any]] = []
    for turn in turns:
        for picture in turn.pictures:
            content = {"path": str(picture.path), "alt_text": f"Picture {picture.number}"}
            messages.append({"role": "user", "content": content})
        messages.append(_text_message("user", turn.question))
        if turn.answer is not None:
            messages.append(_text_message("assistant", turn.answer))
    return messages


def turn_of_message(turns: Sequence[ShownTurn], index: int) -> int | None:
    """Find the turn that holds the message with this flat index; None if there is none."""
    first = 0
    for number, turn in enumerate(turns):
        length = len(turn.pictures) + 1 + (turn.answer is not None)
        if first <= index < first + length:
            return number
        first += length
    return None


def status_html(status: Status) -> str:
    """Write the pill."""
    model = f'<span class="model">{html.escape(status.model)}</span>' if status.model else ""
    return (
        f'<div class="pill {status.kind}" role="status">'
        f'<span class="dot" aria-hidden="true"></span>{model}'
        f'<span class="state">{html.escape(status.text)}</span></div>'
    )


def notice_html(notice: str) -> str:
    """Write the line above the composer; an empty notice leaves nothing."""
    return f'<p class="notice" role="alert">{html.escape(notice)}</p>' if notice else ""


def _text_message(role: str, text: str) -> dict[str, Any]:
    # Given as a part, not as a string: Gradio would strip the indentation of a string.
    return {"role": role, "content": [{"type": "text", "text": html.escape(text, quote=False)}]}
