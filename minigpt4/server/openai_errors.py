"""What went wrong, told as OpenAI's API tells it: a status and `{"error": {...}}`."""

import logging
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from minigpt4.conversation import clean_text
from minigpt4.errors import (
    BusyError,
    ContextOverflowError,
    EngineError,
    ImageError,
    MiniGPT4Error,
    NoBeamsError,
    NoRoomError,
    PromptError,
)

CRASHED = "Something went wrong while answering. Please ask again."
BUSY_SECONDS = 5
"""When to ask again after a full queue; an answer takes about that long."""
TOO_LONG = "context_length_exceeded"
"""OpenAI's code of what will not fit, however often it is asked."""

logger = logging.getLogger(__name__)

_MOST_CHARACTERS = 500
# pydantic's name of a problem -> what is said instead of its own words.
_PLAIN = {
    "missing": "it is missing.",
    "json_invalid": "The body is no JSON.",
    "too_short": "expected at least one.",
    "list_type": "expected a list.",
    "union_tag_invalid": "a part is of type text or image_url.",
    "union_tag_not_found": "a part has a type, text or image_url.",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error on its way to a client.

    Attributes:
        status: HTTP status.
        message: One or more sentences for people, without a path of the server.
        kind: OpenAI's `type`, such as ``invalid_request_error``.
        param: The field that is to blame; None for none.
        code: A short name that does not change between versions; None for none.
        retry_after: Seconds after which the same request may succeed; None if it will not.
    """

    status: int
    message: str
    kind: str = "invalid_request_error"
    param: str | None = None
    code: str | None = None
    retry_after: int | None = None

    def response(self) -> JSONResponse:
        """Write it down as a whole response."""
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(self.body(), self.status, headers)

    def body(self) -> dict[str, Any]:
        """Return what stands in the response, or in an event of a stream that has begun."""
        return error_body(self.message, self.kind, self.param, self.code)


class RequestError(MiniGPT4Error):
    """A request that cannot be carried out as it is."""

    def __init__(
        self, message: str, *, param: str | None = None, code: str | None = None, status: int = 400
    ) -> None:
        super().__init__(message)
        self.refusal = Refusal(status, message, param=param, code=code)


def error_body(
    message: str, kind: str, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """Return an error as OpenAI's clients read it."""
    # What a client sent may stand in both: it can be long, and it can be no text at all.
    message = clean_text(message)[:_MOST_CHARACTERS]
    param = None if param is None else clean_text(param)[:_MOST_CHARACTERS]
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def refusal_of(error: Exception) -> Refusal:
    """Return what a client is told of an error; the log gets what a client must not see."""
    match error:
        case RequestError():
            return error.refusal
        case BusyError():
            return Refusal(503, str(error), "server_error", None, "busy", BUSY_SECONDS)
        case PromptError() | NoRoomError():
            code = TOO_LONG if isinstance(error, ContextOverflowError | NoRoomError) else None
            return Refusal(400, str(error), param="messages", code=code)
        case NoBeamsError():
            return Refusal(400, str(error), param="num_beams", code="unsupported_value")
        case ImageError():
            status = 413 if error.code == "too_many_bytes" else 400
            return Refusal(status, str(error), param="messages", code=error.code)
        case EngineError():
            message = str(error)
        case _:
            logger.error("A request could not be answered.", exc_info=error)
            message = CRASHED
    return Refusal(500, message, "server_error")


async def invalid_request(request: Request, error: Exception) -> Response:
    """Answer a body that is not as it should be; FastAPI calls it."""
    if not isinstance(error, RequestValidationError):
        raise error
    first = error.errors()[0]
    kind = first["type"]
    sent = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not sent.endswith("json") and len(first["loc"]) == 1:
        # FastAPI reads no other body; curl by itself calls everything a form.
        message = "Send the body as JSON, with the header Content-Type: application/json."
        return Refusal(415, message, code="unsupported_media_type").response()
    # Behind "body", damaged JSON has the number of its first wrong character.
    broken = kind == "json_invalid"
    param = "" if broken else first.get("ctx", {}).get("param") or _path(first["loc"])
    name = f"{param}: " if param else ""
    if kind == "extra_forbidden":
        message = f"{param} is not supported by this server. Leave it out."
        return Refusal(400, message, param=param, code="unsupported_parameter").response()
    if kind == "missing" and not name:
        told = "The body is empty."
    elif kind.endswith("_attributes_type"):
        told = "expected an object." if name else "The body is no JSON object."
    else:
        told = _PLAIN.get(kind, f"{first['msg']}.")
    return Refusal(400, f"{name}{told}", param=param or None, code=kind).response()


async def http_error(request: Request, error: Exception) -> Response:
    """Answer an unknown address or a wrong method; Starlette calls it."""
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code not in (404, 405):
        # FastAPI's word for a body that it cannot read, such as one of a thousand lists in lists.
        return Refusal(error.status_code, "The body cannot be read.", code="unreadable").response()
    message = f"There is no {request.method} {request.url.path} here. See docs/api.md."
    return Refusal(error.status_code, message, code="unknown_url").response()


def _path(location: tuple[int | str, ...]) -> str:
    """Write a place in the body as ``messages[0].content``."""
    text = ""
    # "body" comes first, and behind the number of a part its type, which is not in the way there.
    for before, step in pairwise(location):
        if isinstance(step, int):
            text += f"[{step}]"
        elif not (isinstance(before, int) and text.endswith(f".content[{before}]")):
            text += f".{step}" if text else step
    return text
