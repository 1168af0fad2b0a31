"""The guards, before a small application instead of the page: addresses, headers, askers."""

import base64
import hashlib
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from minigpt4.server.guards import is_public, middleware
from minigpt4.server.guards_body import OpenRoutes
from minigpt4.server.guards_headers import SecurityHeaders
from minigpt4.server.guards_origin import KnownNames, KnownPeers
from minigpt4.server.guards_routes import ROUTES, route_of
from minigpt4.server_config import ServerConfig
from tests.server.toy import JOIN, PEER, SMALL, UPLOAD, ask, everything, policy, toy
from tests.ui.server import fake_config

# Which addresses there are


@pytest.mark.parametrize(
    "path",
    [
        *("/monitoring", "/monitoring/summary", "/gradio_api/runs", "/gradio_api/dev/reload"),
        *("/gradio_api/proxy=https://example.org/", "/gradio_api/stream/a/1/2/playlist.m3u8"),
        *("/gradio_api/component_server", "/gradio_api/process_recording", "/gradio_api/token"),
        *("/gradio_api/vibe-edit/", "/gradio_api/vibe-code/", "/gradio_api/deep_link", "/docs"),
        *("/gradio_api/run/chat", "/gradio_api/api/chat", "/openapi.json", "/redoc", "/.env"),
        *("/gradio_api/profiling/traces", "/gradio_api/run-history/buckets", "/gradio_api/mcp/"),
        *("/custom_component/a/b/c/d.js", "/gradio_api/custom_component/1/client/component/x.js"),
        *("/gradio_api/file=https://example.org/x.png", "/gradio_api/file=a/../../etc/passwd"),
        *("/gradio_api/file/etc/passwd", "/assets/../config", "/assets/..", "/static/a/./b", "//"),
        *("/gradio_api/file=", "/gradio_api/heartbeat/a/b", "/v1/../config", "/v1", "/login/x"),
    ],
)
def test_addresses_that_nobody_needs_are_closed(path):
    assert route_of(path, "GET") is None
    assert route_of(path, "POST") is None


def test_closed_addresses_and_wrong_methods_never_reach_the_application():
    app = toy(Middleware(OpenRoutes, sizes=SMALL))
    assert ask(app, "GET", "/monitoring").status_code == 404
    assert ask(app, "GET", "/gradio_api/file=%2e%2e/%2e%2e/etc/passwd").status_code == 404
    assert ask(app, "POST", "/config").status_code == 405
    assert ask(app, "GET", JOIN).status_code == 405
    assert ask(app, "GET", "/config").json()["path"] == "/config"
    for path in ("/", "/assets/index-a_b.js", "/gradio_api/file=/cache/ab/x.png", "/healthz"):
        assert ask(app, "GET", path).status_code == 200, path
    assert len({route.name for route in ROUTES}) == len(ROUTES)


# What browsers are told


PAGE = (
    b"<html><script>window.a = 1;</script><script type='module' src='./x.js'></script>"
    b"<SCRIPT data-x>\n two \n</SCRIPT></html>"
)


async def html(_request: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        yield PAGE[:40]
        yield PAGE[40:]

    response = HTMLResponse(PAGE)
    response.body_iterator = parts()
    return response


def test_the_page_runs_its_own_scripts_and_no_others():
    app = Starlette(
        routes=[Route("/", html), Route("/{path:path}", everything)],
        middleware=[Middleware(SecurityHeaders, frame_ancestors=("https://example.org",))],
    )
    answer = ask(app, "GET", "/", headers={"accept-encoding": "gzip, br"})
    assert answer.content == PAGE
    told = policy(answer)
    digests = [hashlib.sha256(each).digest() for each in (b"window.a = 1;", b"\n two \n")]
    named = [f"'sha256-{base64.b64encode(each).decode()}'" for each in digests]
    assert told["script-src"] == ["'self'", "'unsafe-eval'", *named]
    assert told["frame-ancestors"] == ["'self'", "https://example.org"]
    foreign = [source for sources in told.values() for source in sources if "//" in source]
    assert foreign == ["https://example.org"]
    assert "*" not in answer.headers["content-security-policy"]
    file = policy(ask(app, "GET", "/gradio_api/file=/x.svg"))
    assert (file["default-src"], file["sandbox"]) == (["'none'"], [])
    assert "'unsafe-eval'" in policy(ask(app, "GET", "/assets/worker.js"))["script-src"]


def test_every_answer_has_the_headers_refusals_too(tmp_path):
    app = toy(*middleware(fake_config(tmp_path), "127.0.0.1"))
    for path, status in (("/config", 200), ("/monitoring", 404)):
        answer = ask(app, "GET", path, headers={"host": "localhost"})
        assert answer.status_code == status
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert "camera=(self)" in answer.headers["permissions-policy"]
        assert "frame-ancestors 'self'" in answer.headers["content-security-policy"]


# Who asks, and whom


def test_only_a_known_proxy_says_who_the_client_is():
    app = toy(Middleware(KnownPeers, proxies=("10.0.0.0/8", "::1")))
    said = {
        "x-forwarded-for": "198.51.100.1, 192.0.2.9",
        "x-forwarded-host": "evil.test",
        "x-forwarded-proto": "https",
        "forwarded": "for=198.51.100.1",
        "x-real-ip": "198.51.100.1",
    }
    direct = ask(app, "GET", "/config", headers=said).json()
    assert direct["client"] == PEER
    assert not set(said) & set(direct["headers"])
    # What the client itself wrote stands before what the proxy saw, and is not believed.
    proxied = ask(app, "GET", "/config", peer="10.1.2.3", headers=said).json()
    assert proxied["client"] == "192.0.2.9"
    assert proxied["headers"]["x-forwarded-host"] == "evil.test"
    assert (
        ask(toy(Middleware(KnownPeers)), "GET", "/config", peer="127.0.0.1", headers=said).json()[
            "client"
        ]
        == "127.0.0.1"
    )


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *((name, 200) for name in ("localhost", "127.0.0.1:7860", "[::1]:7860", "chat.Test")),
        *((name, 200) for name in ("a.example.org", "x.localhost")),
        *((name, 421) for name in ("evil.test", "127.0.0.1.evil.test", "example.org", "", "a:b:c")),
        *(
            (name, 421)
            for name in ("localhost@evil.test", "localhost:99999", "evil.test/localhost")
        ),
    ],
)
def test_a_server_answers_to_its_own_names_only(host, status):
    names = ("localhost", "127.0.0.1", "::1", "*.localhost", "chat.test", "*.example.org")
    app = toy(Middleware(KnownNames, hosts=names))
    assert ask(app, "GET", "/config", headers={"host": host}).status_code == status


def test_a_forwarded_name_must_be_a_known_one_too():
    app = toy(Middleware(KnownNames, hosts=("chat.test",)))
    for named, status in (("chat.test", 200), ("evil.test", 421), ("chat.test, evil.test", 421)):
        answer = ask(app, "GET", "/config", headers={"x-forwarded-host": named})
        assert answer.status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "http://chat.test"}, 200),
        ({"origin": "http://chat.test:80"}, 200),
        ({"origin": "https://chat.test", "x-forwarded-host": "chat.test:443"}, 200),
        ({"origin": "https://other.test", "sec-fetch-site": "same-origin"}, 200),
        ({"origin": "https://chat.test"}, 200),
        ({"origin": "https://chat.test:80"}, 403),
        ({"origin": "http://chat.test:8080"}, 403),
        ({"origin": "http://evil.test"}, 403),
        ({"origin": "http://chat.test.evil.test"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": ""}, 403),
        ({"origin": "file://"}, 403),
        ({"origin": "http://[::1"}, 403),
        ({"origin": b"http://\xe2\x84\x80"}, 403),
        ({"origin": "http://chat.test", "sec-fetch-site": "cross-site"}, 403),
        ({"origin": "http://chat.test", "sec-fetch-site": "same-site"}, 403),
    ],
)
def test_another_web_site_may_not_use_this_one(headers, status):
    app = toy(Middleware(KnownNames))
    for method in ("GET", "POST", "OPTIONS"):
        assert ask(app, method, UPLOAD, headers=headers).status_code == status


@pytest.mark.parametrize(
    ("host", "public"),
    [
        *((host, False) for host in ("127.0.0.1", "127.8.8.8", "localhost", "::1", "[::1]")),
        *((host, True) for host in ("0.0.0.0", "::", "192.168.1.5", "chat.example.org", "")),
    ],
)
def test_who_can_reach_a_server(host, public):
    assert is_public(host) is public
    assert is_public(host, shared=True)


def test_guards_are_on_where_others_can_reach_the_server(tmp_path):
    config = replace(
        fake_config(tmp_path), server=ServerConfig(requests_per_minute=100, questions_per_minute=5)
    )
    body = {"headers": {"host": "localhost"}, "json": {"data": []}}

    def statuses(host: str, **options: Any) -> set[int]:
        app = toy(*middleware(config, host, **options))
        return {ask(app, "POST", JOIN, **body).status_code for _ in range(8)}

    assert statuses("127.0.0.1") == {200}
    assert statuses("0.0.0.0") == {200, 429}
    assert statuses("127.0.0.1", shared=True) == {200, 429}
    # Other names than this machine's: only where others can reach the server.
    assert ask(toy(*middleware(config, "127.0.0.1")), "GET", "/config").status_code == 421
    assert ask(toy(*middleware(config, "0.0.0.0")), "GET", "/config").status_code == 200


def test_a_space_is_shown_by_the_hub_and_reached_through_its_proxies(tmp_path, monkeypatch):
    config = fake_config(tmp_path)
    said = {"x-forwarded-for": "198.51.100.9"}

    def answer() -> httpx.Response:
        app = toy(*middleware(config, "0.0.0.0"))
        return ask(app, "GET", "/config", peer="10.16.4.2", headers=said)

    monkeypatch.delenv("SPACE_ID", raising=False)
    assert policy(answer())["frame-ancestors"] == ["'self'"]
    assert answer().json()["client"] == "10.16.4.2"
    monkeypatch.setenv("SPACE_ID", "somebody/minigpt4")
    assert policy(answer())["frame-ancestors"] == ["'self'", "https://huggingface.co"]
    assert answer().json()["client"] == "198.51.100.9"


def test_uvicorn_does_not_believe_its_neighbours(tmp_path, monkeypatch):
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    middleware(fake_config(tmp_path), "127.0.0.1")
    assert os.environ["FORWARDED_ALLOW_IPS"] == ""
