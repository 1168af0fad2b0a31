"""What the page shows, as plain values: no Gradio, no model, no files opened.

Handlers yield a `View`; `minigpt4.ui.events` turns it into updates of Gradio components. A field
that is None leaves its part of the page as it is, so a view says only what changes.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from minigpt4.ui.web_pages import find_pages

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
class ShownSide:
    """One of several answers to a question: what one projection lets the model see.

    Attributes:
        label: What people call the projection.
        text: As much of the answer as there is.
        kept: Whether the chat goes on with this answer.
    """

    label: str
    text: str
    kept: bool


@dataclass(frozen=True, slots=True)
class ShownTurn:
    """One question with its pictures, and as much of the answer as there is.

    Attributes:
        question: What was asked.
        answer: What the chat goes on with; None while there is none.
        pictures: Those of this question.
        sides: The answers by projection, where that is worth a word: there are several, or one of
            another projection than the model's own.
        finished: Whether nothing more is being written.
    """

    question: str
    answer: str | None
    pictures: tuple[ShownPicture, ...] = ()
    sides: tuple[ShownSide, ...] = ()
    finished: bool = True


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
        more: What else is worth knowing at a glance; small screens leave it out too.
        details: Names and values that are shown when the pill is pressed.
        opened: Whether they are shown already.
    """

    kind: StatusKind
    text: str
    model: str = ""
    more: str = ""
    details: tuple[tuple[str, str], ...] = ()
    opened: bool = False


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
        messages.append(_message("user", _escaped(turn.question)))
        if turn.sides:
            messages.append(_sides_message(turn, choose=turn.finished and turn is turns[-1]))
        elif turn.answer is not None:
            messages.append(_answer_message(turn.answer, finished=turn.finished))
    return messages


def turn_of_message(turns: Sequence[ShownTurn], index: int) -> int | None:
    """Find the turn that holds the message with this flat index; None if there is none."""
    first = 0
    for number, turn in enumerate(turns):
        length = len(turn.pictures) + 1 + (turn.answer is not None or bool(turn.sides))
        if first <= index < first + length:
            return number
        first += length
    return None


def status_html(status: Status) -> str:
    """Write the pill; with details it opens when it is pressed."""
    model = f'<span class="model">{html.escape(status.model)}</span>' if status.model else ""
    more = f'<span class="more"> · {html.escape(status.more)}</span>' if status.more else ""
    # The dot and the words; a screen reader tells the words when they change.
    said = (
        f'<span class="dot" aria-hidden="true"></span>{model}'
        f'<span class="state" role="status">{html.escape(status.text)}{more}</span>'
    )
    if not status.details:
        return f'<div class="pill {status.kind}">{said}</div>'
    rows = "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd></div>"
        for name, value in status.details
    )
    opened = " open" if status.opened else ""
    return (
        f'<details class="about-pill"{opened}><summary class="pill {status.kind}">{said}</summary>'
        f"<dl>{rows}</dl></details>"
    )


def notice_html(notice: str) -> str:
    """Write the line above the composer; an empty notice leaves nothing."""
    return f'<p class="notice" role="alert">{html.escape(notice)}</p>' if notice else ""


def _sides_message(turn: ShownTurn, *, choose: bool) -> dict[str, Any]:
    """Write the answers of several projections beside each other, as one message.

    The markup is ours; what was said in it is escaped.

    Args:
        turn: Whose answers.
        choose: Whether the chat can still go on with another one.
    """
    several = len(turn.sides) > 1
    written = []
    for side in turn.sides:
        said, buttons = _said(side.text, finished=turn.finished)
        written.append(
            f'<div class="side{" kept" if several and side.kept else ""}">'
            f'<h3>{html.escape(side.label)}</h3><p class="said">{said}</p>{buttons}</div>'
        )
    message = _message("assistant", f'<div class="sides">{"".join(written)}</div>')
    if several and choose:
        message["options"] = [
            {"value": side.label, "label": f"Go on with {side.label}"}
            for side in turn.sides
            if not side.kept
        ]
    return message


def _answer_message(answer: str, *, finished: bool) -> dict[str, Any]:
    said, buttons = _said(answer, finished=finished)
    return _message("assistant", f'<div class="wrote">{said}{buttons}</div>' if buttons else said)


def _said(text: str, *, finished: bool) -> tuple[str, str]:
    """Escape what a model said; the web pages in it are marked, and have a button each.

    The buttons hold no text, so that all text of an answer is the model's; ``page.js`` names them.
    """
    pages = find_pages(text) if finished else ()
    said, at = "", 0
    for begin, end in pages:
        before, page = text[at:begin], text[begin:end]
        said += f'{_escaped(before)}<span class="web-page">{_escaped(page)}</span>'
        at = end
    buttons = '<button type="button" class="show-page"></button>' * len(pages)
    return said + _escaped(text[at:]), buttons and f'<div class="offers">{buttons}</div>'


def _escaped(text: str) -> str:
    return html.escape(text, quote=False)


def _message(role: str, markup: str) -> dict[str, Any]:
    # Given as a part, not as a string: Gradio would strip the indentation of a string.
    return {"role": role, "content": [{"type": "text", "text": markup}]}
