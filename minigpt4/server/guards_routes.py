"""The addresses that the page and the programs need; every other one is closed.

Gradio answers at many more: monitoring, run history, editing tools, a proxy. A list of what is open
stays right when the next version brings another.
"""

import re
from dataclasses import dataclass
from typing import Literal

Spending = Literal["question", "login", "other"]
"""What a request counts as where a client's requests are counted."""
Body = Literal["none", "json", "form", "upload", "api"]
"""What may come with a request: nothing, Gradio's JSON, a login form, files, or what /v1 takes."""


@dataclass(frozen=True, slots=True)
class Route:
    """One open address, or a family of them.

    Attributes:
        name: As it stands in the log, without what tells people or files apart.
        pattern: What the whole path must match.
        methods: Methods that are let in; HEAD goes with GET, and OPTIONS always.
        spending: What a request counts as.
        body: What may come with it.
    """

    name: str
    pattern: re.Pattern[str]
    methods: frozenset[str] = frozenset({"GET", "HEAD", "OPTIONS"})
    spending: Spending = "other"
    body: Body = "none"


def route_of(path: str, method: str) -> Route | None:
    """Return the route of a decoded path; None if nothing is open there.

    Of two routes with one path, it is the one that the method is let in to.
    """
    found = [route for route in ROUTES if route.pattern.fullmatch(path)]
    return next((route for route in found if method in route.methods), found[0] if found else None)


def speaks_openai(path: str) -> bool:
    """Whether errors at a path are told as OpenAI's API tells them."""
    return path == "/v1" or path.startswith("/v1/")


OPENAI_ADDRESSES = frozenset({"/v1/chat/completions"})
"""What takes a POST below `/v1`: another method is wrong there; elsewhere there is nothing."""


def _get(name: str, pattern: str) -> Route:
    return Route(name, re.compile(pattern))


def _post(name: str, pattern: str, body: Body, spending: Spending = "other") -> Route:
    return Route(name, re.compile(pattern), frozenset({"POST", "OPTIONS"}), spending, body)


_NAME = r"[\w.-]{1,100}"
_FILE = r"(?!\.\.?(?:/|$))(?!.*/\.\.?(?:/|$)).+"
"""A path without steps to its own or an upper folder."""

ROUTES = (
    _get("/", "/"),
    _get("/assets", f"/assets/{_FILE}"),
    _get("/static", f"/static/{_FILE}"),
    _get("/page", r"/(?:config|theme\.css|favicon\.ico|robots\.txt|manifest\.json|login_check)/?"),
    _get("/logout", "/logout"),
    _post("/login", "/login/?", "form", "login"),
    _get("/gradio_api/file", rf"/gradio_api/file=(?!.*://){_FILE}"),
    _get("/gradio_api/heartbeat", rf"/gradio_api/heartbeat/{_NAME}"),
    _get("/gradio_api/queue/data", "/gradio_api/queue/data"),
    _get("/gradio_api/upload_progress", "/gradio_api/upload_progress"),
    _get(
        "/gradio_api/about",
        r"/gradio_api/(?:info|openapi\.json|app_id|startup-events|theme\.css|user|login_check)/?",
    ),
    _get("/gradio_api/call/data", rf"/gradio_api/call/(?:v2/)?chat/{_NAME}"),
    _post("/gradio_api/call", "/gradio_api/call/(?:v2/)?chat/?", "json", "question"),
    _post("/gradio_api/queue/join", "/gradio_api/queue/join", "json", "question"),
    _post("/gradio_api/cancel", "/gradio_api/cancel", "json"),
    _post("/gradio_api/reset", "/gradio_api/reset/?", "json"),
    _post("/gradio_api/upload", "/gradio_api/upload", "upload"),
    _get("/health", "/(?:healthz|readyz|metrics)"),
    _get("/v1/models", f"/v1/models(?:/{_FILE})?"),
    _post("/v1", r"/v1/(?!models)[\w/-]{1,100}", "api", "question"),
)
