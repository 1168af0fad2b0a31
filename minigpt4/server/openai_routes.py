"""`/v1`: chat completions and models as OpenAI's clients ask for them.

A conversation is whatever the client sends; nothing of it stays here. Questions take their places
in the same queue as those of the page.
"""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from minigpt4.config import Config
from minigpt4.server.api_keys import ApiKeys, KeyGate
from minigpt4.server.openai_answers import Answering, Piece
from minigpt4.server.openai_errors import (
    BUSY_SECONDS,
    Refusal,
    RequestError,
    http_error,
    invalid_request,
    refusal_of,
)
from minigpt4.server.openai_pictures import PictureReader
from minigpt4.server.openai_request import AskedTurn, ChatRequest, asked_turns
from minigpt4.ui.worker import EarlierTurn, Job, ModelWorker

WAKE_SECONDS = 0.25
"""How often a question whose answer has not begun looks whether its asker is still there."""
HOLD_SECONDS = 10.0
"""So long a stream keeps its status back: until then an error has a status of its own."""
COMMENT_SECONDS = 10.0
"""How often a stream without news sends a comment, so that proxies do not give it up."""
GONE = 499
"""The status of an answer that nobody waits for any more; nobody reads it either."""


@dataclass(frozen=True, slots=True)
class Completions:
    """Answers chat completions.

    Attributes:
        worker: Owns the model.
        config: Limits and generation settings.
        name: What the model is called here.
        pictures: Reads the pictures of requests.
    """

    worker: ModelWorker
    config: Config
    name: str
    pictures: PictureReader

    async def answer(self, request: Request, asked: ChatRequest) -> Response:
        """Answer a request, whole or as a stream; whoever leaves stops the model."""
        try:
            self._check(asked)
            job = await self._job(asked)
            answering = Answering(self.worker, job)
        except Exception as error:  # noqa: BLE001 - told to the client, logged if it is a bug
            return refusal_of(error).response()
        if asked.stream:
            return await self._stream(request, asked, answering)
        try:
            return await self._whole(request, answering)
        except Exception as error:  # noqa: BLE001 - as above
            return refusal_of(error).response()
        finally:
            await answering.close()

    def _check(self, asked: ChatRequest) -> None:
        """Refuse what needs no model and no picture to be refused."""
        check_model(asked.model, self.name)
        if asked.stream_options is not None and not asked.stream:
            message = "stream_options: only a stream has options; set stream to true."
            raise RequestError(message, param="stream_options")
        match self.worker.load_state:
            case "loading":
                raise _NotReadyError("The model is being loaded. Please ask again soon.")
            case "failed":
                raise _NotReadyError("The model could not be loaded. The server's log says why.")
        self.worker.check_room()  # before its pictures are read

    async def _job(self, asked: ChatRequest) -> Job:
        limits = self.config.limits
        settings = asked.settings(self.config.generation)
        stop_strings = asked.stop_strings
        turns = asked_turns(
            asked.messages,
            max_question_characters=limits.max_question_characters,
            max_pictures=limits.max_pictures,
        )
        pictures = [await self._pictures(turn) for turn in turns]
        earlier = tuple(
            EarlierTurn(turn.question, turn.answer or "", seen)
            for turn, seen in zip(turns[:-1], pictures, strict=False)
        )
        return Job(
            None,
            turns[-1].question,
            pictures[-1],
            settings,
            earlier=earlier,
            stop_strings=stop_strings,
        )

    async def _pictures(self, turn: AskedTurn) -> tuple[Any, ...]:
        # One after the other: a request may bring many, and decoding takes memory.
        return tuple([await self.pictures.read(url, place) for url, place in turn.pictures])

    async def _whole(self, request: Request, answering: Answering) -> Response:
        text = ""
        async with aclosing(answering.pieces(WAKE_SECONDS)) as pieces:
            async for piece in pieces:
                if await request.is_disconnected():
                    return Response(status_code=GONE)
                if piece is None:
                    continue
                text += piece.text
                last = piece
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": last.finish}
        body = self._head("chat.completion") | {"choices": [choice], "usage": _usage(last)}
        return JSONResponse(body | _notice(last))

    async def _stream(self, request: Request, asked: ChatRequest, answering: Answering) -> Response:
        """Begin a stream once the answer has begun, so that what is refused has its status."""
        usage = asked.stream_options is not None and asked.stream_options.include_usage
        pieces = answering.pieces(WAKE_SECONDS)
        begun = time.monotonic()
        try:
            while (first := await anext(pieces)) is None:
                if await request.is_disconnected():
                    await answering.close()
                    return Response(status_code=GONE)
                if time.monotonic() - begun > HOLD_SECONDS:
                    break
        except Exception as error:  # noqa: BLE001 - told to the client, logged if it is a bug
            await answering.close()
            return refusal_of(error).response()
        except asyncio.CancelledError:
            await answering.close()
            raise
        return EventStream(self._events(first, pieces, with_usage=usage), answering)

    async def _events(
        self,
        first: Piece | None,
        pieces: AsyncGenerator[Piece | None, None],
        *,
        with_usage: bool,
    ) -> AsyncIterator[str]:
        head = self._head("chat.completion.chunk")
        # With usage asked for, every chunk has the field, and only the last one a value.
        rest: dict[str, Any] = {"usage": None} if with_usage else {}

        def chunk(delta: dict[str, Any], piece: Piece | None = None) -> str:
            finish = piece.finish if piece is not None else None
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
            return _event(head | {"choices": [choice]} | rest | _notice(piece))

        try:
            yield chunk({"role": "assistant", "content": ""})
            told = time.monotonic()
            piece = first
            while True:
                if piece is not None:
                    told = time.monotonic()
                    if piece.text:
                        yield chunk({"content": piece.text})
                    if piece.finish is not None:
                        yield chunk({}, piece)
                        break
                elif time.monotonic() - told > COMMENT_SECONDS:
                    told = time.monotonic()
                    yield ": waiting\n\n"
                piece = await anext(pieces)
            if with_usage:
                yield _event(head | {"choices": [], "usage": _usage(piece)})
        except Exception as error:  # noqa: BLE001 - the status is out; the stream says it
            yield _event(refusal_of(error).body())
        yield "data: [DONE]\n\n"

    def _head(self, kind: str) -> dict[str, Any]:
        number = f"chatcmpl-{secrets.token_hex(12)}"
        return {"id": number, "object": kind, "created": int(time.time()), "model": self.name}


class EventStream(StreamingResponse):
    """A stream of events that lets go of its answer, however it ends.

    Its generator cannot see to that: a client that has left before the first event leaves a
    generator that never began, and has no end either.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[str], answering: Answering) -> None:
        super().__init__(events, headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        self._answering = answering

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events until they or the client end."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._answering.close()


class _NotReadyError(RequestError):
    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.refusal = Refusal(503, message, "server_error", None, "not_ready", BUSY_SECONDS)


def openai_app(worker: ModelWorker, config: Config, name: str, keys: ApiKeys) -> FastAPI:
    """Build what answers below `/v1`.

    Args:
        worker: Owns the model.
        config: Limits and generation settings.
        name: What the model is called here.
        keys: Who may ask.
    """
    reader = PictureReader(config.limits.max_upload_mb * 2**20, config.server.allow_https_pictures)
    completions = Completions(worker, config, name, reader)
    created = int(time.time())
    model = {"id": name, "object": "model", "created": created, "owned_by": "minigpt4"}
    app = FastAPI(
        openapi_url=None,
        middleware=[Middleware(KeyGate, keys=keys)],
        exception_handlers={
            RequestValidationError: invalid_request,
            HTTPException: http_error,
        },
    )

    @app.get("/models")
    async def models() -> JSONResponse:
        return JSONResponse({"object": "list", "data": [model]})

    @app.get("/models/{wanted:path}")
    async def one_model(wanted: str) -> JSONResponse:
        try:
            check_model(wanted, name)
        except RequestError as error:
            return error.refusal.response()
        return JSONResponse(model)

    @app.post("/chat/completions")
    async def chat_completions(request: Request, asked: ChatRequest) -> Response:
        return await completions.answer(request, asked)

    return app


def check_model(wanted: str, name: str) -> None:
    """Refuse a model that is not the one served here.

    Raises:
        RequestError: It is another.
    """
    if wanted != name:
        message = f"There is no model {wanted[:100]!r} here; there is {name!r}."
        raise RequestError(message, param="model", code="model_not_found", status=404)


def _usage(piece: Piece) -> dict[str, int]:
    return {
        "prompt_tokens": piece.prompt_tokens,
        "completion_tokens": piece.tokens,
        "total_tokens": piece.prompt_tokens + piece.tokens,
    }


def _notice(piece: Piece | None) -> dict[str, str]:
    """Return a field that OpenAI has not: what the asker should know, if there is something."""
    return {"notice": piece.notice} if piece is not None and piece.notice else {}


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False, separators=(',', ':'))}\n\n"
