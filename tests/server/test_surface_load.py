"""Too much of anything, sent to the whole server: refused at once, in words, and nothing stays."""

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from minigpt4.server_config import ServerConfig
from minigpt4.ui.app import upload_folder
from tests.server.attacker import (
    CALL,
    JOIN,
    META,
    UPLOAD,
    events_of,
    question,
    raw_answer,
    send,
)
from tests.server.site import running
from tests.ui.server import fake_config
from tests.waiting import until

pytestmark = [pytest.mark.load, pytest.mark.filterwarnings("default")]
REFUSAL_SECONDS = 5.0
"""Far below what work on a hostile body would take, and far above 0.2 s, which is what is wanted."""
GROWTH = 60 * 2**20


def refused_fast(web: httpx.Client, status: int, *arguments: Any, **options: Any) -> httpx.Response:
    """Send a request that must be refused at once; the best of three, for machines are busy."""
    best = float("inf")
    for _ in range(3):
        begun = time.monotonic()
        answer = web.request(*arguments, **options)
        best = min(best, time.monotonic() - begun)
        assert answer.status_code == status, answer.text
    assert best <= REFUSAL_SECONDS
    return answer


def test_a_hundred_megabytes_of_json_are_refused_at_once(web, site):
    for path in (JOIN, CALL, "v1/chat/completions", "gradio_api/cancel", "login"):
        # Nothing of the body is sent: whoever waited for it would say nothing.
        assert declare(web, path, 100 * 2**20) == b"413", path
    # What else the process does may need memory too: the best of three.
    assert any(growth(web) < GROWTH for _ in range(3))
    assert web.get("healthz").status_code == 200


def growth(web: httpx.Client) -> int:
    """Send bodies of 100 MB, and return by how many bytes the process has grown."""
    process = psutil.Process()
    web.get("healthz")
    before = process.memory_info().rss

    def chunks() -> Iterator[bytes]:
        yield b'{"data": ["'
        for _ in range(100):
            yield b"x" * 2**20

    for path in (JOIN, CALL, "gradio_api/cancel"):
        try:
            answer = web.post(path, content=chunks())
            assert answer.status_code == 413
        except (httpx.WriteError, httpx.ReadError):  # cut off in the middle: just as well
            pass
    return process.memory_info().rss - before


def declare(web: httpx.Client, path: str, size: int) -> bytes:
    """Announce a body, send none of it, and return the status that comes back."""
    head = f"POST /{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n"
    head += "Content-Type: application/json\r\n\r\n"
    return raw_answer(web, head).split()[1]


def test_two_hundred_files_are_refused_and_leave_nothing(web):
    before = stray_files()
    files = [("files", (f"{each}.png", b"x" * 100_000)) for each in range(200)]
    try:
        answer = web.post(UPLOAD, files=files)
        assert answer.status_code == 413
        assert "at most 8 files" in answer.json()["detail"]
    except (httpx.WriteError, httpx.ReadError):
        pass
    until(lambda: stray_files() <= before)


def stray_files() -> set[Path]:
    return {path for path in upload_folder().glob("*") if path.is_file()}


def test_an_upload_that_breaks_off_leaves_nothing(web):
    before = stray_files()
    head = b'--cut\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n'
    whole = head + b"x" * 300_000 + b"\r\n" + head.replace(b"a.png", b"b.png") + b"y" * 1_000
    address = (web.base_url.host, web.base_url.port)
    for place in (10, 50, len(head), len(head) + 1, 100_000, len(head) + 300_001, len(whole)):
        with socket.create_connection(address, timeout=60) as connection:
            text = f"POST /{UPLOAD} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000\r\n"
            text += "Content-Type: multipart/form-data; boundary=cut\r\n\r\n"
            connection.sendall(text.encode() + whole[:place])
            time.sleep(0.1)
    until(lambda: stray_files() <= before)
    assert web.get("healthz").status_code == 200


def test_total_size_of_an_upload_is_limited(web, tmp_path):
    before = stray_files()
    files = [("files", (f"{each}.png", b"x" * (15 * 2**20))) for each in range(6)]
    with contextlib.suppress(httpx.WriteError, httpx.ReadError):
        assert web.post(UPLOAD, files=files).status_code == 413
    until(lambda: stray_files() <= before)


def test_messages_that_make_no_sense_are_refused_in_words(web):
    event = events_of(web)[""]
    session = os.urandom(8).hex()
    bodies: list[bytes] = [
        b"",
        b"\xff\xfe\xfa",
        b'{"data": ["\xc3\x28"], "session_hash": "abcdefgh", "fn_index": 0}',
        b'{"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' * 200_000,
        json.dumps({"data": [], "fn_index": 10**9, "session_hash": session}).encode(),
        json.dumps({"data": [], "fn_index": -1, "session_hash": session}).encode(),
        json.dumps({"data": [], "fn_index": str(event), "session_hash": session}).encode(),
        json.dumps({"data": [], "fn_index": event, "session_hash": ""}).encode(),
        json.dumps({"data": [], "fn_index": event, "session_hash": "../../x"}).encode(),
    ]
    for body in bodies:
        answer = web.post(JOIN, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 400, (body[:60], answer.status_code)
        assert "Traceback" not in answer.text
    refused_fast(web, 400, "POST", JOIN, content=bodies[3])
    refused_fast(web, 404, "GET", "monitoring")


def test_wrong_numbers_of_values_hurt_nobody(web, red):
    good = question(web, {"path": red, "meta": META})
    for data in ([], [None], good["data"] * 3, [{"text": None, "files": None}, *good["data"][1:]]):
        answer = send(web, {**good, "data": data, "session_hash": os.urandom(8).hex()})
        assert "Traceback" not in answer
        assert "needed: " not in answer
    good["session_hash"] = os.urandom(8).hex()
    assert "I see red" in send(web, good)


def test_a_crowd_of_one_is_turned_away(tmp_path, chat):
    config = replace(
        fake_config(tmp_path),
        server=ServerConfig(rate_limit="on", questions_per_minute=10, upload_mb_per_minute=1),
    )
    with (
        running(chat, config) as busy,
        httpx.Client(base_url=busy.url, timeout=60, trust_env=False) as web,
    ):
        # A page with all its files is no crowd.
        assert {web.get("theme.css").status_code for _ in range(150)} == {200}
        statuses = [web.post(JOIN, json={"data": []}).status_code for _ in range(6)]
        assert statuses[:5].count(429) == 0
        assert statuses[5] == 429
        answer = refused_fast(web, 429, "POST", JOIN, json={"data": []})
        assert int(answer.headers["retry-after"]) in range(1, 8)
        assert answer.json()["detail"].startswith("You are asking faster than this server answers.")
        # What a client says of itself makes it nobody else.
        for number in range(5):
            headers = {
                "X-Forwarded-For": f"198.51.100.{number}",
                "Forwarded": f"for=192.0.2.{number}",
            }
            assert web.post(JOIN, json={"data": []}, headers=headers).status_code == 429
        assert web.post("v1/chat/completions", json={}).json()["error"]["code"] == "rate_limit"
        assert web.post(UPLOAD, files={"files": ("a.png", b"x" * 1_500_000)}).status_code == 200
        assert web.post(UPLOAD, files={"files": ("a.png", b"x")}).status_code == 429
        assert web.get("healthz").status_code == 200
