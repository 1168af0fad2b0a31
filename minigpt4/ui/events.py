"""What the parts of the page do: Gradio's events on one side, `PageHandlers` on the other."""

from collections.abc import AsyncIterator
from typing import Any

import gradio as gr

from minigpt4.config import Config
from minigpt4.ui.handlers import PageHandlers, SavedAs
from minigpt4.ui.layout import Parts, default_values
from minigpt4.ui.views import Composer, View, chat_messages, notice_html, status_html

REFUSED_BY_US = 8
"""Events beyond our own queue that Gradio lets in, to be refused in our words rather than its."""

Updates = AsyncIterator[list[Any]]


def admitted(config: Config) -> int:
    """Return how many questions Gradio lets in at a time.

    The engine has the queue, so that is as many as it writes and holds, and a few more.
    """
    return config.engine.max_answers + config.limits.queue_size + REFUSED_BY_US


def wire(
    blocks: gr.Blocks, parts: Parts, handlers: PageHandlers, config: Config
) -> tuple[Any, ...]:
    """Bind every event of the page; called within its ``gr.Blocks``.

    Returns:
        The events that change what was said, for what follows it.
    """
    events = _Events(handlers)
    shown, fields, choices = parts.shown, parts.settings, parts.choices
    hidden: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    model = {"concurrency_id": "model", "concurrency_limit": admitted(config)}
    asking = {**hidden, **model, "outputs": shown}
    quick = {**hidden, "concurrency_limit": None}
    asked = (
        parts.composer.submit(events.submit, [parts.composer, *choices], **asking),
        parts.chat.example_select(events.example, choices, **asking),
        parts.chat.retry(events.retry, choices, **asking),
        parts.chat.edit(events.edit, choices, **asking),
    )
    for event in asked:
        event.failure(events.refused, None, shown, **quick)
    changes = (
        *asked,
        parts.chat.undo(events.undo, None, shown, **quick),
        parts.chat.clear(events.new_chat, None, shown, **quick),
        parts.new_chat.click(events.new_chat, None, shown, **quick),
        parts.chat.option_select(events.keep, None, shown, **quick),
    )
    if config.page.feedback_file:
        parts.chat.like(events.rate, None, parts.notice, **quick)
    for button, save in (
        (parts.save_page, events.save_page),
        (parts.save_markdown, events.save_markdown),
    ):
        button.click(save, None, [parts.saved, parts.notice], **quick).success(
            None, parts.saved, None, js="(file) => window.pageSave(file)", api_visibility="private"
        )
    parts.look.click(events.look, None, parts.status, **quick)
    parts.composer.stop(events.stop, None, None, **quick)
    parts.reset.click(events.reset, None, fields, **quick)
    parts.theme.click(None, None, None, js="() => window.pageTheme()", api_visibility="private")
    blocks.load(events.load, None, shown, **quick)
    blocks.unload(events.unload)
    return changes


def updates(view: View) -> list[Any]:
    """Turn a view into updates of the chat, the composer, the status pill and the notice."""
    return [
        gr.skip() if view.turns is None else chat_messages(view.turns),
        gr.skip() if view.composer is None else _composer_update(view.composer),
        gr.skip() if view.status is None else status_html(view.status),
        gr.skip() if view.notice is None else notice_html(view.notice),
    ]


class _Events:
    """Event functions; Gradio reads from their annotations what to pass."""

    def __init__(self, handlers: PageHandlers) -> None:
        self._handlers = handlers

    async def load(self) -> Updates:
        async for update in _updates(self._handlers.load()):
            yield update

    async def submit(
        self, request: gr.Request, value: dict[str, Any], *settings: object
    ) -> Updates:
        text, files = value.get("text") or "", value.get("files") or []
        async for update in _updates(self._handlers.ask(_tab(request), text, files, settings)):
            yield update

    async def example(
        self, request: gr.Request, chosen: gr.SelectData, *settings: object
    ) -> Updates:
        async for update in _updates(
            self._handlers.example(_tab(request), _flat(chosen.index), settings)
        ):
            yield update

    async def retry(self, request: gr.Request, chosen: gr.RetryData, *settings: object) -> Updates:
        async for update in _updates(
            self._handlers.retry(_tab(request), _flat(chosen.index), settings)
        ):
            yield update

    async def edit(self, request: gr.Request, chosen: gr.EditData, *settings: object) -> Updates:
        text = chosen.value if isinstance(chosen.value, str) else ""
        index = _flat(chosen.index)
        async for update in _updates(self._handlers.edit(_tab(request), index, text, settings)):
            yield update

    async def undo(self, request: gr.Request, chosen: gr.UndoData) -> list[Any]:
        return updates(await self._handlers.undo(_tab(request), _flat(chosen.index)))

    async def new_chat(self, request: gr.Request) -> list[Any]:
        return updates(await self._handlers.new_chat(_tab(request)))

    async def keep(self, request: gr.Request, chosen: gr.SelectData) -> list[Any]:
        label = chosen.value if isinstance(chosen.value, str) else ""
        return updates(await self._handlers.keep(_tab(request), _flat(chosen.index), label))

    async def rate(self, request: gr.Request, opinion: gr.LikeData) -> str:
        index = _flat(opinion.index)
        return notice_html(await self._handlers.rate(_tab(request), index, opinion.liked))

    async def save_page(self, request: gr.Request) -> list[Any]:
        return self._saved(request, "html")

    async def save_markdown(self, request: gr.Request) -> list[Any]:
        return self._saved(request, "markdown")

    def _saved(self, request: gr.Request, kind: SavedAs) -> list[Any]:
        file, notice = self._handlers.save(_tab(request), kind)
        return [file and str(file), notice_html(notice)]

    async def look(self, request: gr.Request) -> Any:  # noqa: ANN401 - Gradio's "nothing new"
        return updates(self._handlers.look(_tab(request)))[2]

    async def stop(self, request: gr.Request) -> None:
        self._handlers.stop(_tab(request))

    async def refused(self) -> list[Any]:
        return updates(self._handlers.refused())

    async def reset(self) -> list[Any]:
        return list(default_values(self._handlers.table))

    async def unload(self, request: gr.Request) -> None:
        self._handlers.close(_tab(request))


async def _updates(views: AsyncIterator[View]) -> Updates:
    """Turn views into updates, and end with one in which nothing is new.

    Gradio sends the last update of an event once more when the event has ended. By then another
    event may have changed the page: an answer that was stopped would come back into a new chat.
    """
    async for view in views:
        yield updates(view)
    yield updates(View())


def _composer_update(composer: Composer) -> dict[str, Any]:
    buttons = {"submit_btn": not composer.answering, "stop_btn": composer.answering}
    value = {"value": {"text": composer.text, "files": list(composer.files)}}
    update: dict[str, Any] = gr.update(**buttons, **({} if composer.text is None else value))
    return update


def _tab(request: gr.Request) -> str:
    return request.session_hash or ""


def _flat(index: object) -> int:
    return index if isinstance(index, int) and not isinstance(index, bool) else -1
