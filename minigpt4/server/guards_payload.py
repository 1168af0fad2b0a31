"""What the page's JSON may hold: text, numbers, and files that were uploaded here before.

Gradio turns every file of a message into one of its own before our code sees it. So a message is
read here first, with the parser that reads it again later: a file that is not in the upload folder,
an address of another server, or a component with arguments of its own ends the request. Questions
are text and may say anything.
"""

import json
import os
from collections.abc import Container, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from minigpt4.server.guards_refusal import RefusedError
from minigpt4.server.guards_routes import route_of

MOST_DEPTH = 24
"""Levels of lists and objects in each other; the page uses 6."""
MOST_VALUES = 5_000
LEAST_SESSION = 6
"""Characters of a session's name. Whoever knows it can read along, so it must not be guessable;
browsers draw 11 at random."""

NOT_JSON = "This request cannot be read. Please reload the page."
NOT_UPLOADED = "Please upload the picture. Files and addresses of other places are not opened."
STRANGE = "This request holds what this page does not send. Please reload the page."


class CheckedMessages:
    """Refuses messages to the page that hold more than text, numbers and uploaded files.

    Args:
        app: What is guarded.
        uploads: The folder of uploaded files; None if there is none, and every file is refused.
        events: Numbers of the page's events; None lets every number through.
    """

    def __init__(
        self, app: ASGIApp, uploads: Path | None, events: Container[object] | None = None
    ) -> None:
        self._app = app
        self._uploads = None if uploads is None else os.path.realpath(uploads)
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a message through, or refuse it."""
        route = route_of(scope["path"], scope["method"]) if scope["type"] == "http" else None
        if route is None or route.body != "json" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        body = await _whole(receive)
        if body is None:  # the client has gone
            return
        try:
            self._check(body)
        except RefusedError as refused:
            await refused.answer(scope, receive, send)
            return
        read = False

        async def again() -> Message:
            nonlocal read
            if read:
                return await receive()
            read = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, again, send)

    def _check(self, body: bytes) -> None:
        try:
            message = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise RefusedError(400, NOT_JSON, "not_json") from error
        if not isinstance(message, dict):
            raise RefusedError(400, NOT_JSON, "not_json")
        session = message.get("session_hash")
        if session is not None and not _is_name(session):
            raise RefusedError(
                400,
                f"A session's name has {LEAST_SESSION} to 100 letters and digits, drawn at random.",
                "bad_session",
            )
        event = message.get("fn_index")
        if event is not None and (
            type(event) is not int or (self._events is not None and event not in self._events)
        ):
            raise RefusedError(400, STRANGE, "unknown_event")
        for each in _objects(message):
            self._check_object(each)

    def _check_object(self, content: dict[str, object]) -> None:
        if "constructor_args" in content or content.get("type") == "component":
            raise RefusedError(400, STRANGE, "component")
        files = content.get("files")
        if files is not None and not (
            isinstance(files, list) and all(isinstance(each, dict) for each in files)
        ):
            raise RefusedError(400, NOT_UPLOADED, "not_uploaded")
        path = content.get("path")
        if path is not None and not self._uploaded(path):
            raise RefusedError(400, NOT_UPLOADED, "not_uploaded")
        url = content.get("url")
        if url is not None and not self._uploaded(_served_file(url)):
            raise RefusedError(400, NOT_UPLOADED, "not_uploaded")
        if content.get("is_stream") or (path is None and content.get("meta") is not None):
            raise RefusedError(400, STRANGE, "stream")

    def _uploaded(self, path: object) -> bool:
        if not isinstance(path, str) or self._uploads is None or not Path(path).is_absolute():
            return False
        try:
            real = os.path.realpath(path)
        except ValueError:  # a NUL in it
            return False
        return real.startswith(self._uploads + os.sep)


def _served_file(url: object) -> str | None:
    """Return the file that one of our own addresses stands for."""
    if not isinstance(url, str):
        return None
    try:
        _, found, path = urlsplit(url).path.partition("/gradio_api/file=")
    except ValueError:
        return None
    return unquote(path) if found else None


def _is_name(text: object) -> bool:
    return (
        isinstance(text, str)
        and LEAST_SESSION <= len(text) <= 100
        and all(letter.isascii() and (letter.isalnum() or letter in "-_") for letter in text)
    )


def _objects(message: dict[str, object]) -> Iterator[dict[str, object]]:
    """Yield every object of a message, whatever it is in.

    Raises:
        RefusedError: It is too deep or holds too much.
    """
    waiting: list[tuple[object, int]] = [(message, 1)]
    values = 0
    while waiting:
        content, depth = waiting.pop()
        if isinstance(content, dict):
            yield content
            inner = list(content.values())
        elif isinstance(content, list):
            inner = content
        else:
            continue
        values += len(inner)
        if depth > MOST_DEPTH or values > MOST_VALUES:
            raise RefusedError(400, STRANGE, "too_deep")
        waiting += [(each, depth + 1) for each in inner]


async def _whole(receive: Receive) -> bytes | None:
    """Read a body, whose length has been limited before; None if it does not come whole."""
    chunks: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(chunks)
