"""A small application behind guards, and ways to ask it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from minigpt4.server.guards_body import BodySizes

JOIN, UPLOAD, CHAT = "/gradio_api/queue/join", "/gradio_api/upload", "/v1/chat/completions"
PEER = "203.0.113.7"
SMALL = BodySizes(upload=4_000, api=2_000, json=1_000, form=100, none=100)


async def everything(request: Request) -> Response:
    """Says what arrived."""
    body = await request.body()
    return JSONResponse(
        {
            "path": request.url.path,
            "bytes": len(body),
            "client": request.client.host if request.client else None,
            "headers": dict(request.headers),
            "body": body.decode(errors="replace")[:2_000],
        }
    )


def toy(*guards: Middleware) -> Starlette:
    methods = ["GET", "POST", "PUT", "DELETE", "OPTIONS"]
    return Starlette(
        routes=[Route("/{path:path}", everything, methods=methods)], middleware=list(guards)
    )


def ask(app: Any, method: str, path: str, peer: str = PEER, **options: Any) -> httpx.Response:
    async def once() -> httpx.Response:
        transport = httpx.ASGITransport(app, client=(peer, 4711))
        async with httpx.AsyncClient(transport=transport, base_url="http://chat.test") as client:
            return await client.request(method, path, **options)

    return asyncio.run(once())


async def pieces(count: int, size: int = 100) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"x" * size


def run_raw(app: Any, scope: dict[str, Any], messages: list[dict[str, Any]]) -> tuple[int, int]:
    """Return the status, and how many messages of the client were read."""
    begin: dict[str, Any] = {"http_version": "1.1", "query_string": b"", "client": (PEER, 1)}
    read = 0
    told: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        nonlocal read
        if read >= len(messages):
            await asyncio.sleep(30)
        read += 1
        return messages[read - 1]

    async def send(message: dict[str, Any]) -> None:
        told.append(message)

    path = {"raw_path": b"", "root_path": "", "scheme": "http", "server": ("chat.test", 80)}
    asyncio.run(app({**begin, **path, **scope}, receive, send))
    starts = [message for message in told if message["type"] == "http.response.start"]
    assert len(starts) == 1
    return starts[0]["status"], read


def policy(answer: httpx.Response) -> dict[str, list[str]]:
    text = answer.headers["content-security-policy"]
    return {
        name: rest.split()
        for name, _, rest in (each.strip().partition(" ") for each in text.split(";"))
    }
