"""How long a request may be, how long it may take, and of how many files it may consist.

Bytes are counted as they come, so a request without a length, or with a wrong one, ends at the same
place. The answer is sent at once; what the client still sends is not read.
"""

import asyncio
import logging
import time
from dataclasses import dataclass

from python_multipart.multipart import parse_options_header
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from minigpt4.config import Config
from minigpt4.server.guards_refusal import RefusedError
from minigpt4.server.guards_routes import OPENAI_ADDRESSES, Body, route_of

CRASHED = "Something went wrong on the server. Please try again."
MEGABYTE = 2**20
FILES_AT_ONCE = 8
"""Files of one upload."""
LARGEST_AT_ONCE = 4
"""Files of the full size that fit into one upload."""
JSON_BYTES = MEGABYTE
"""The page sends questions and settings as JSON; pictures are uploaded before."""
FORM_BYTES = 16 * 1024
BODY_SECONDS = 300
"""So long a body may take; a picture of 20 MB needs 0.6 Mbit/s."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BodySizes:
    """The largest body of each kind, in bytes."""

    upload: int
    api: int
    json: int = JSON_BYTES
    form: int = FORM_BYTES
    none: int = FORM_BYTES

    @classmethod
    def of(cls, config: Config) -> "BodySizes":
        """Read them from a configuration."""
        files = LARGEST_AT_ONCE * config.limits.max_upload_mb
        return cls(files * MEGABYTE + JSON_BYTES, config.server.max_request_mb * MEGABYTE)

    def largest(self, body: Body) -> int:
        """Return the size of a kind."""
        sizes = {"upload": self.upload, "api": self.api, "json": self.json, "form": self.form}
        return sizes.get(body, self.none)


class OpenRoutes:
    """Closes every address that nobody needs, and ends bodies that are too long, slow or many.

    Args:
        app: What is guarded.
        sizes: The largest bodies.
        seconds: So long a body may take.
    """

    def __init__(self, app: ASGIApp, sizes: BodySizes, seconds: float = BODY_SECONDS) -> None:
        self._app = app
        self._sizes = sizes
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        try:
            counted = self._counted(scope, receive)
        except RefusedError as refused:
            await refused.answer(scope, receive, send)
            return
        await counted.run(self._app, scope, send)

    def _counted(self, scope: Scope, receive: Receive) -> "_CountedBody":
        route = route_of(scope["path"], scope["method"])
        if route is None:
            raise RefusedError(404, "There is nothing here.", "unknown_url")
        if scope["method"] not in route.methods:
            if route.name == "/v1" and scope["path"] not in OPENAI_ADDRESSES:
                raise RefusedError(404, "There is nothing here.", "unknown_url")
            raise RefusedError(405, "This address is used in another way.", "unknown_method")
        largest = self._sizes.largest(route.body)
        headers = Headers(scope=scope)
        boundary = b""
        kind, options = parse_options_header(headers.get("content-type"))
        if route.body == "upload":
            boundary = options.get(b"boundary", b"")
            if kind != b"multipart/form-data" or not boundary:
                raise RefusedError(415, "Files are sent as multipart/form-data.", "not_supported")
        elif kind.startswith(b"multipart/"):
            raise RefusedError(415, "Files are not sent to this address.", "not_supported")
        declared = headers.get("content-length", "0")
        if not declared.isascii() or not declared.isdigit() or int(declared[:20]) > largest:
            raise too_large(largest)
        return _CountedBody(receive, largest, boundary, self._seconds)


def too_large(largest: int) -> RefusedError:
    """Say that a request is too large."""
    size = f"{largest // MEGABYTE} MB" if largest >= MEGABYTE else f"{largest // 1024} kB"
    message = f"This is more than one request may bring; the limit is {size}."
    return RefusedError(413, message, "too_large")


class _CountedBody:
    """The body of one request on its way in, and the answer in case it is cut off."""

    def __init__(self, receive: Receive, largest: int, boundary: bytes, seconds: float) -> None:
        self._receive = receive
        self._largest = largest
        self._delimiter = b"--" + boundary if boundary else b""
        self._deadline = time.monotonic() + seconds
        self._bytes = 0
        self._parts = 0
        self._tail = b""
        self._whole = False
        self._refused: RefusedError | None = None

    async def run(self, app: ASGIApp, scope: Scope, send: Send) -> None:
        """Let the application answer; its answer to a body that was cut off is not used."""
        started = False

        async def unless_refused(message: Message) -> None:
            nonlocal started
            if self._refused is None:
                started = True
                await send(message)

        try:
            await app(scope, self._counting, unless_refused)
        except Exception as error:
            if started and isinstance(error.__cause__, HTTPException):
                # Gradio begins a stream before it looks whether there is such a session.
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            elif started:
                raise
            elif self._refused is None:
                log.exception("A request could not be answered.")
                self._refused = RefusedError(500, CRASHED, "crashed")
        if self._refused is not None and not started:
            await self._refused.answer(scope, self._receive, send)

    async def _counting(self) -> Message:
        if self._whole:
            return await self._receive()
        if self._refused is not None:
            return {"type": "http.disconnect"}
        try:
            async with asyncio.timeout(max(0, self._deadline - time.monotonic())):
                message = await self._receive()
            if message["type"] == "http.request":
                self._count(message.get("body", b""))
                self._whole = not message.get("more_body", False)
        except TimeoutError:
            self._refused = RefusedError(
                408, "The request took too long to arrive. Please try again.", "too_slow"
            )
        except RefusedError as refused:
            self._refused = refused
        if self._refused is not None or message["type"] == "http.disconnect":
            return self._broken()
        return message

    def _count(self, chunk: bytes) -> None:
        self._bytes += len(chunk)
        if self._bytes > self._largest:
            raise too_large(self._largest)
        if self._delimiter:
            seen = self._tail + chunk
            self._parts += seen.count(self._delimiter)
            # A delimiter that is cut in two is found with the next chunk, and none twice.
            self._tail = seen[1 - len(self._delimiter) :]
            if self._parts > FILES_AT_ONCE + 1:
                raise RefusedError(
                    413, f"Please send at most {FILES_AT_ONCE} files at a time.", "too_many_files"
                )

    def _broken(self) -> Message:
        """Return what makes the reader of an upload fail, and so delete what it has written."""
        if not self._delimiter:
            return {"type": "http.disconnect"}
        self._whole = True
        # A part with a header that none can be, wherever in a part the client stopped.
        wrong = b"\r\n\r\n\r\n" + self._delimiter + b"\r\n\0\r\n\r\n"
        return {"type": "http.request", "body": wrong, "more_body": False}
