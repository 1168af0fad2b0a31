"""The guards, before a small application instead of the page: bodies and messages."""

import asyncio
import json
import tracemalloc
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.middleware import Middleware

from minigpt4.server.guards_body import OpenRoutes
from minigpt4.server.guards_headers import SecurityHeaders
from minigpt4.server.guards_payload import MOST_DEPTH, CheckedMessages
from tests.server.toy import (
    CHAT,
    JOIN,
    SMALL,
    UPLOAD,
    ask,
    pieces,
    run_raw,
    toy,
)

# How long a body may be


@pytest.mark.parametrize("path", [JOIN, CHAT, "/login", "/config"])
def test_a_long_body_is_refused_with_and_without_its_length(path):
    app = toy(Middleware(OpenRoutes, sizes=SMALL))
    method = "GET" if path == "/config" else "POST"
    for content in (b"x" * 10_000, pieces(100)):
        answer = ask(app, method, path, content=content)
        assert answer.status_code == 413
        assert "more than one request may bring" in answer.text
        assert answer.headers["connection"] == "close"
    error = ask(app, "POST", CHAT, content=b"x" * 10_000).json()["error"]
    assert error["code"] == "too_large"


def test_a_body_within_the_limit_arrives_whole():
    app = toy(Middleware(OpenRoutes, sizes=SMALL))
    assert ask(app, "POST", CHAT, content=pieces(20)).json()["bytes"] == 2_000
    assert ask(app, "POST", CHAT, content=pieces(21)).status_code == 413


@pytest.mark.parametrize("length", ["-1", "1e3", "100000000000000000000000", "0x10", "²"])
def test_a_length_that_is_none_is_refused(length):
    scope = {"type": "http", "method": "POST", "path": JOIN, "headers": []}
    scope["headers"] = [(b"content-length", length.encode("latin-1"))]
    assert run_raw(OpenRoutes(toy(), SMALL), scope, [])[0] == 413


def test_a_length_that_lies_changes_nothing():
    scope = {"type": "http", "method": "POST", "path": JOIN}
    scope["headers"] = [(b"content-length", b"10")]
    chunk = {"type": "http.request", "body": b"x" * 400, "more_body": True}
    status, read = run_raw(OpenRoutes(toy(), SMALL), scope, [chunk] * 50)
    assert status == 413
    assert read == 3


def test_a_body_that_drips_is_given_up():
    app = OpenRoutes(toy(), SMALL, seconds=0.1)
    scope = {"type": "http", "method": "POST", "path": JOIN, "headers": []}
    chunk = {"type": "http.request", "body": b"{", "more_body": True}
    assert run_raw(app, scope, [chunk]) == (408, 1)


def test_a_huge_body_takes_no_memory():
    app = toy(Middleware(OpenRoutes, sizes=replace(SMALL, json=2**20)))
    tracemalloc.start()
    answer = ask(app, "POST", JOIN, content=pieces(100, 2**20))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert answer.status_code == 413
    assert peak < 12 * 2**20


def test_files_of_one_upload_are_counted():
    app = toy(Middleware(OpenRoutes, sizes=replace(SMALL, upload=100_000)))

    def status(count: int) -> int:
        files = [("files", (f"{each}.png", b"--" * 20)) for each in range(count)]
        return ask(app, "POST", UPLOAD, files=files).status_code

    assert [status(1), status(8), status(9), status(200)] == [200, 200, 413, 413]


def test_parts_are_counted_wherever_the_body_is_cut():
    form = b"".join(b"--cut\r\nName: %d\r\n\r\nx\r\n" % each for each in range(9)) + b"--cut--\r\n"
    headers = {"content-type": "multipart/form-data; boundary=cut"}
    app = toy(Middleware(OpenRoutes, sizes=replace(SMALL, upload=100_000)))

    async def cut(size: int) -> AsyncIterator[bytes]:
        for place in range(0, len(form), size):
            yield form[place : place + size]

    eight = form.replace(b"--cut\r\nName: 8\r\n\r\nx\r\n", b"")
    assert ask(app, "POST", UPLOAD, content=eight, headers=headers).status_code == 200
    for size in (1, 2, 3, 4, 5, 7, 11, 1_000):
        assert ask(app, "POST", UPLOAD, content=cut(size), headers=headers).status_code == 413


def test_files_go_to_the_upload_address_only():
    app = toy(Middleware(OpenRoutes, sizes=SMALL))
    files = {"files": ("a.png", b"x")}
    assert ask(app, "POST", JOIN, files=files).status_code == 415
    assert ask(app, "POST", "/login", files=files).status_code == 415
    assert ask(app, "POST", UPLOAD, json={}).status_code == 415
    bare = {"content-type": "multipart/form-data"}
    assert ask(app, "POST", UPLOAD, content=b"x", headers=bare).status_code == 415


def test_a_crash_behind_the_guards_is_told_in_words_without_its_cause(caplog):
    async def broken(_scope: Any, _receive: Any, _send: Any) -> None:
        raise KeyError("/srv/secret/model.bin")

    answer = ask(SecurityHeaders(OpenRoutes(broken, SMALL)), "GET", "/config")
    assert (answer.status_code, answer.headers["x-content-type-options"]) == (500, "nosniff")
    assert answer.json() == {"detail": "Something went wrong on the server. Please try again."}
    assert "model.bin" in caplog.text


def test_sockets_are_refused():
    said: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        said.append(message)

    guard = OpenRoutes(toy(), SMALL)
    asyncio.run(guard({"type": "websocket", "path": "/"}, None, send))  # type: ignore[arg-type]
    assert said == [{"type": "websocket.close", "code": 1008}]


# What messages may hold


@pytest.fixture
def messages(tmp_path: Path) -> Callable[[Any], httpx.Response]:
    uploads = tmp_path / "uploads"
    (uploads / "ab").mkdir(parents=True)
    (uploads / "ab" / "red.png").write_bytes(b"red")
    (tmp_path / "secret.png").write_bytes(b"secret")
    (uploads / "link.png").symlink_to(tmp_path / "secret.png")
    app = toy(Middleware(CheckedMessages, uploads=uploads, events={0, 16}))

    def send(message: Any, path: str = JOIN) -> httpx.Response:
        return ask(app, "POST", path, content=json.dumps(message).encode())

    return send


def asked(*files: Any, text: str = "What?") -> dict[str, Any]:
    return {
        "data": [{"text": text, "files": list(files)}, 0, 0.9, 300, ""],
        "event_data": None,
        "fn_index": 0,
        "trigger_id": 11,
        "session_hash": "qkl2ctdy36h",
    }


def test_what_the_page_sends_passes_unchanged(messages, tmp_path):
    path = str(tmp_path / "uploads/ab/red.png")
    for address in ("http://127.0.0.1:7860", "https://chat.example.org/sub", ""):
        file = {
            "path": path,
            "url": f"{address}/gradio_api/file={path}",
            "orig_name": "red.png",
            "size": 3,
            "mime_type": "image/png",
            "meta": {"_type": "gradio.FileData"},
        }
        message = asked(file)
        answer = messages(message)
        assert answer.status_code == 200
        assert json.loads(answer.json()["body"]) == message
    edit = {"index": 1, "_dispatch_value": [{"type": "text", "text": "x"}], "value": "x"}
    assert messages({**asked(), "event_data": edit}).status_code == 200
    card = {"index": 1, "value": {"text": "What colour?"}}
    assert messages({**asked(), "event_data": card}).status_code == 200
    named = {"picture": {"path": path, "meta": {"_type": "gradio.FileData"}}, "question": "What?"}
    assert messages(named, "/gradio_api/call/v2/chat").status_code == 200


def test_a_question_may_say_anything(messages):
    for text in ("https://example.org/x.png", "/etc/passwd", "path", '{"path": "/etc/passwd"}', ""):
        assert messages(asked(text=text)).status_code == 200


FILES: list[Any] = [
    *({"path": path} for path in ("/etc/passwd", "demo.py", "../../etc/passwd", "", ".", "/")),
    *({"path": f"{{uploads}}{path}"} for path in ("", "/", "/..", "/../secret.png", "/link.png")),
    *({"path": "{uploads}/ab/../../secret.png"}, {"path": "{uploads}-other/x.png"}),
    *({"path": path} for path in ("http://127.0.0.1:1/x", "https://huggingface.co/x.png")),
    *({"path": path} for path in ("file:///etc/passwd", "//host/share", "\\\\host\\share")),
    *({"path": path} for path in (["/etc/passwd"], {"path": "/etc/passwd"}, 7, True, "/a\0b")),
    {"path": "{uploads}/ab/red.png", "url": "http://127.0.0.1:1/x.png"},
    {"path": "{uploads}/ab/red.png", "url": "https://huggingface.co/gradio_api/file=/etc/passwd"},
    {"path": "{uploads}/ab/red.png", "url": "/gradio_api/file=%2fetc%2fpasswd"},
    {"path": "{uploads}/ab/red.png", "url": ["http://127.0.0.1:1/x.png"]},
    {"path": "{uploads}/ab/red.png", "is_stream": True},
    {"url": "http://127.0.0.1:1/x.png", "meta": {"_type": "gradio.FileData"}},
    {"meta": {"_type": "gradio.FileData"}},
    {"a": [{"b": {"path": "/etc/passwd"}}]},
    {"type": "component", "component": "Image", "constructor_args": {"value": "x.png"}},
    {"component": "Image", "constructor_args": {}},
    "https://huggingface.co/x.png",
    ["/etc/passwd"],
    None,
]


@pytest.mark.parametrize("file", FILES, ids=lambda file: json.dumps(file)[:60])
def test_no_other_file_passes(messages, tmp_path, file):
    text = json.dumps(file).replace("{uploads}", str(tmp_path / "uploads"))
    answer = messages(asked(json.loads(text)))
    assert answer.status_code == 400
    assert str(tmp_path) not in answer.text
    assert "etc" not in answer.text


def test_a_file_is_found_wherever_it_is_hidden(messages):
    bad = {"path": "/etc/passwd"}
    for message in (
        {"data": [bad]},
        {**asked(), "event_data": {"value": {"files": [bad]}}},
        {**asked(), "more": [[[bad]]]},
        {"picture": bad},
    ):
        for path in (JOIN, "/gradio_api/call/chat", "/gradio_api/call/v2/chat"):
            assert messages(message, path).status_code == 400


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"7",
        b'"x"',
        b"null",
        b"\xff\xfe\x00",
        b'{"data": ["\xc3\x28"]}',
        b'{"a":' * 100_000,
        b"[" * 500_000,
        b'{"data":' + b"[" * (MOST_DEPTH + 1) + b"]" * (MOST_DEPTH + 1) + b"}",
        b'{"data":[' + b"1," * 6_000 + b"1]}",
        b"data=1&fn_index=0",
        '{"data": [{"path": "/etc/passwd"}]}'.encode("utf-16"),
    ],
    ids=lambda body: repr(body[:20]),
)
def test_bodies_that_are_no_message_are_refused(tmp_path, body):
    app = toy(Middleware(CheckedMessages, uploads=tmp_path))
    assert ask(app, "POST", JOIN, content=body).status_code == 400


@pytest.mark.parametrize("session", ["", "1", "abc", "a" * 101, "a b c d e", "../../etc", 7, ["x"]])
def test_a_session_that_can_be_guessed_is_refused(messages, session):
    assert messages({**asked(), "session_hash": session}).status_code == 400


@pytest.mark.parametrize("event", [1, -1, 10**30, "0", 0.0, True, [0], {}])
def test_an_event_that_the_page_does_not_have_is_refused(messages, event):
    assert messages({**asked(), "fn_index": event}).status_code == 400
