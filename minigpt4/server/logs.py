"""What the server writes down: one line of JSON for each request and each answer.

    {"time": "2026-11-22T14:03:09.514Z", "event": "request", "route": "/gradio_api/upload",
     "method": "POST", "status": 200, "seconds": 0.021, "bytes": 48213, "client": "5f0c1b2a9d3e"}
    {"time": "...", "event": "answer", "route": "page", "client": "5f0c1b2a9d3e", "pictures": 1,
     "prompt_tokens": 61, "tokens": 24, "first_token": 0.31, "seconds": 0.92, "finish": "stop"}

No picture, no text, no name of a file, no key and no address stands in it: a client is a hash that
another start of the server makes anew. Questions and answers do if `server.log_texts` is set.
Files of the page itself and looks at its health are not noted unless they fail. The lines go where
the process's other messages go, to standard error; to keep and rotate them is the host's.
"""

import hashlib
import json
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from minigpt4.errors import MiniGPT4Error
from minigpt4.server.guards_routes import route_of
from minigpt4.server.limits import client_of
from minigpt4.ui.contract import PictureChat
from minigpt4.ui.worker import Job, ModelWorker, Waiting

if TYPE_CHECKING:
    from minigpt4.chat import AnswerPart

_QUIET = frozenset({"/assets", "/static", "/health"})
_SALT = secrets.token_bytes(16)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

log = logging.getLogger(__name__)
_asking: ContextVar[Scope | None] = ContextVar("asking", default=None)
"""The request that a question came with, where its answer is made in the same task."""


def client_hash(scope: Scope) -> str:
    """Return what a client is called in the log."""
    return hashlib.blake2b(client_of(scope).encode(), key=_SALT, digest_size=6).hexdigest()


class RequestLog:
    """Notes every request when its answer has ended.

    Args:
        app: What is noted.
        enabled: Whether anything is.
    """

    def __init__(self, app: ASGIApp, *, enabled: bool = True) -> None:
        self._app = app
        self._enabled = enabled

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and note it."""
        if scope["type"] != "http" or not self._enabled:
            await self._app(scope, receive, send)
            return
        begun, status, received = time.monotonic(), 0, 0
        path = scope["path"]  # a mount changes the scope

        async def heard() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        asking = _asking.set(scope)
        try:
            await self._app(scope, heard, told)
        finally:
            _asking.reset(asking)
            route = route_of(path, scope["method"])
            if route is None or route.name not in _QUIET or status >= 400:
                _write(
                    event="request",
                    route="closed" if route is None else route.name,
                    # What a client makes up is not written down.
                    method=scope["method"] if scope["method"] in _METHODS else "other",
                    status=status,  # 0: the client left before there was one
                    seconds=_rounded(time.monotonic() - begun),
                    bytes=received,
                    client=client_hash(scope),
                )


class LoggedWorker(ModelWorker):
    """Notes every answer, whoever asked.

    Args:
        load: As `ModelWorker` takes it.
        max_waiting: As `ModelWorker` takes it.
        max_answers: As `ModelWorker` takes it.
        page_scope: Tells which request a question of the page came with.
        enabled: Whether anything is noted.
        texts: Whether questions and answers are noted too.
    """

    def __init__(
        self,
        load: Callable[[], PictureChat],
        max_waiting: int,
        max_answers: int,
        *,
        page_scope: Callable[[], Scope | None],
        enabled: bool = True,
        texts: bool = False,
    ) -> None:
        super().__init__(load, max_waiting, max_answers)
        self._page_scope = page_scope
        self._enabled = enabled
        self._texts = texts

    async def answer(self, job: Job) -> AsyncGenerator["Waiting | AnswerPart", None]:
        """Answer as `ModelWorker` does."""
        begun = time.monotonic()
        last: AnswerPart | None = None
        first: float | None = None
        failure = "left"  # the reader went before the end
        try:
            async with aclosing(super().answer(job)) as news:
                async for part in news:
                    if not isinstance(part, Waiting):
                        last = part
                        if first is None and part.tokens:
                            first = time.monotonic() - begun
                    yield part
            failure = "stopped"  # before it began
        except MiniGPT4Error as error:
            failure = type(error).__name__
            raise
        except Exception:
            failure = "crashed"
            raise
        finally:
            if self._enabled:
                self._note(job, last, first, failure, time.monotonic() - begun)

    def _note(
        self, job: Job, last: "AnswerPart | None", first: float | None, failure: str, seconds: float
    ) -> None:
        of_page = self._page_scope()
        scope = _asking.get() if of_page is None else of_page
        route = (
            None
            if scope is None or of_page is not None
            else route_of(scope["path"], scope["method"])
        )
        ended = last is not None and last.finish is not None
        texts: dict[str, Any] = {}
        if self._texts:
            texts = {"question": job.question, "answer": "" if last is None else last.text}
        _write(
            event="answer",
            route="page" if route is None else route.name,
            client=None if scope is None else client_hash(scope),
            pictures=len(job.pictures),
            prompt_tokens=0 if last is None else last.prompt_tokens,
            tokens=0 if last is None else last.tokens,
            first_token=None if first is None else _rounded(first),
            seconds=_rounded(seconds),
            finish=last.finish if ended and last is not None else failure,
            **texts,
        )


def _write(**fields: object) -> None:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    log.info("%s", json.dumps({"time": now, **fields}))


def _rounded(seconds: float) -> float:
    return round(seconds, 4)
