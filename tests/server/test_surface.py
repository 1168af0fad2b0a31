"""Attacks on the whole server: page, files, uploads, endpoint, `/v1`.

Two canaries watch: a file beside the upload folder whose text must never come back, and a web
server on this machine that must never be asked.
"""

import contextlib
import os
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from gradio_client import Client

from minigpt4.ui.app import upload_folder
from minigpt4.ui.layout import STATIC
from tests.server.attacker import (
    CALL,
    JOIN,
    META,
    SECRET,
    UPLOAD,
    Canary,
    question,
    raw_answer,
    send,
    told,
)
from tests.waiting import until

pytestmark = [pytest.mark.load, pytest.mark.filterwarnings("default")]


def test_an_honest_question_is_answered(web, red):
    assert "I see red. You asked: What?" in send(web, question(web, {"path": red, "meta": META}))


# Files and addresses in messages


def forged(canary: Canary) -> list[Any]:
    uploads = upload_folder()
    out = os.path.relpath(canary.file, uploads)
    return [
        {"path": str(canary.file)},
        {"path": str(canary.file), "meta": META},
        {"path": f"{uploads}/{out}", "meta": META},
        {"path": f"{uploads}/x/../{out}", "meta": META},
        {"path": out, "meta": META},
        {"path": "/etc/passwd", "meta": META, "orig_name": "a.png", "mime_type": "image/png"},
        {"path": "/proc/self/environ", "meta": META},
        {"path": "demo.py", "meta": META},
        {"path": str(uploads), "meta": META},
        {"path": f"{canary.file}\0.png", "meta": META},
        {"path": canary.url},
        {"path": canary.url, "meta": META},
        {"path": canary.url.replace("127.0.0.1", "localhost"), "meta": META},
        {"path": canary.url.replace("127.0.0.1", "2130706433"), "meta": META},
        {"path": canary.url.replace("127.0.0.1", "[::ffff:127.0.0.1]"), "meta": META},
        {"path": canary.url.replace("http:", "http:\\"), "meta": META},
        {"path": f"file://{canary.file}", "meta": META},
        {"path": f"/gradio_api/file={canary.file}", "meta": META},
        {"path": "", "url": canary.url, "meta": META},
        {"url": canary.url, "meta": META},
        {"path": str(canary.file), "url": canary.url, "meta": META, "is_stream": True},
        {
            "type": "component",
            "component": "image",
            "constructor_args": {"value": str(canary.file)},
        },
        str(canary.file),
        canary.url,
        [str(canary.file)],
    ]


@pytest.mark.parametrize("number", range(25))
def test_a_forged_file_is_refused_on_every_way_in(web, chat, canary, number):
    file = forged(canary)[number]
    encoded = chat.encoded
    answers = [send(web, question(web, file))]
    answers += [web.post(CALL, json={"data": [file, "What?"]}).text]
    named = {"picture": file, "question": "What?"}
    answers += [web.post("gradio_api/call/v2/chat", json=named).text]
    edited = {**question(web), "event_data": {"index": 0, "value": {"files": [file]}}}
    answers += [send(web, edited)]
    for answer in answers:
        assert SECRET not in answer
        assert "root:" not in answer
        assert "I see" not in answer
        assert str(canary.file.parent) not in answer
    assert chat.encoded == encoded
    assert canary.asked == []


def test_the_list_of_forged_files_is_the_one_that_is_tried(canary):
    assert len(forged(canary)) == 25


def test_the_python_client_cannot_make_the_server_fetch(site, canary, red):
    client = Client(site.url, verbose=False, analytics_enabled=False)
    try:
        for file in (canary.url, f"https://huggingface.co/{SECRET}.png"):
            with pytest.raises(Exception, match=r"upload|400"):
                client.submit({"path": file, "meta": META}, "What?", api_name="/chat").result(20)
    finally:
        client.close()
    assert canary.asked == []


def test_v1_fetches_and_opens_nothing(web, canary):
    for url in (canary.url, f"file://{canary.file}", str(canary.file), "data:text/plain,x"):
        content = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "?"}]
        body = {"model": "tiny", "messages": [{"role": "user", "content": content}]}
        answer = web.post("v1/chat/completions", json=body)
        assert answer.status_code == 400, answer.text
        assert SECRET not in answer.text
    assert canary.asked == []


# Files by address


def test_no_address_leads_out_of_the_served_folders(web, canary):
    steps = os.path.relpath(canary.file, upload_folder())
    text = str(canary.file.with_suffix(".txt"))
    paths = [
        *(
            f"gradio_api/file={path}"
            for path in (canary.file, text, "/etc/passwd", "/proc/self/environ")
        ),
        *(
            f"gradio_api/file={path}"
            for path in (steps, f"{upload_folder()}/{steps}", "demo.py", ".env")
        ),
        *(
            f"gradio_api/file={path}"
            for path in (canary.url, f"//{canary.url[7:]}", f"file://{text}")
        ),
        *(f"gradio_api/file=%2e%2e/%2e%2e{text}", f"gradio_api/file=..%2f..%2f..{text}"),
        *(
            f"gradio_api/file={text}%00.png",
            f"gradio_api/file={text}/.",
            f"gradio_api/file=.{text}",
        ),
        *(f"gradio_api/proxy={canary.url}", f"gradio_api/file/{text}", f"file={text}"),
        *(f"assets/..{text}", f"assets/%2e%2e/%2e%2e/{text}", f"static/..%2f..%2f{text}"),
        *(f"assets/{text}", f"assets//{text}", f"svelte/../{text}", f"favicon.ico/../{text}"),
        f"gradio_api/stream/x/1/2/playlist-file?{text}",
        f"custom_component/x/client/component/..%2f..%2f{text}",
        f"gradio_api/custom_component/x/client/component/..%2f..%2f{text}",
    ]
    assert len(paths) > 20
    for path in paths:
        answer = web.get(path)
        assert answer.status_code in (400, 403, 404), path
        assert SECRET not in answer.text
    # As httpx will not send them: a path goes out as it stands here.
    for path in (f"/gradio_api/file=/a/../../..{text}", f"/assets/../../..{text}", f"/..{text}"):
        raw = raw_answer(
            web, f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        assert raw.startswith(b"HTTP/1.1 404"), path
        assert SECRET.encode() not in raw
    assert canary.asked == []


def test_no_answer_says_where_the_program_lies(web):
    lies = [str(STATIC.parents[2]), str(Path.cwd())]
    addresses = ["", "config", "theme.css", "manifest.json", "favicon.ico", "gradio_api/info"]
    shown = {each for each in paths_in(web.get("config").json()) if each.startswith("/")}
    assert {Path(each).name for each in shown} >= {"icon.png", "example-1.png"}
    addresses += [f"gradio_api/file={path}" for path in shown]
    for address in addresses:
        answer = web.get(address)
        assert answer.status_code == 200, address
        assert not any(place in answer.text for place in lies), address
    assert not any(place in path for path in shown for place in lies)
    for file in (STATIC / "icon.png", STATIC / "page.js"):
        assert web.get(f"gradio_api/file={file}").status_code == 403


def paths_in(content: object) -> list[str]:
    """Return the paths of all files that the page's configuration names."""
    if isinstance(content, dict):
        found = [content["path"]] if isinstance(content.get("path"), str) else []
        return found + [path for each in content.values() for path in paths_in(each)]
    if isinstance(content, list):
        return [path for each in content for path in paths_in(each)]
    return []


def test_only_the_public_endpoint_is_called_by_name(web):
    asked = web.post("gradio_api/call/nothing", json={"data": []})
    assert (asked.status_code, asked.json()) == (404, {"detail": "There is nothing here."})


def test_what_a_browser_could_run_comes_as_a_file(web, tmp_path):
    for name, content in (
        ("a.html", b"<script>fetch('/')</script>"),
        ("a.svg", b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"),
        ("a.js", b"alert(1)"),
    ):
        path = web.post(UPLOAD, files={"files": (name, content)}).json()[0]
        answer = web.get(f"gradio_api/file={path}")
        assert answer.headers["content-disposition"].startswith("attachment"), name
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in answer.headers["content-security-policy"]
        assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_names_of_uploads_cannot_leave_the_folder(web):
    uploads = upload_folder().resolve()
    for name in (
        "../../evil.png",
        "..\\..\\evil.png",
        "/etc/evil.png",
        "a/../../evil.png",
        "\0",
        "..",
    ):
        answer = web.post(UPLOAD, files={"files": (name, b"x")})
        if answer.status_code == 200:
            (path,) = answer.json()
            assert Path(path).resolve().is_relative_to(uploads)
            assert Path(path).name not in ("..", "evil.png") or Path(path).parent.parent == uploads
        else:
            assert answer.status_code == 400


# What is open, and to whom


def test_what_nobody_needs_is_off(web):
    for path in (
        *("monitoring", "monitoring/summary", "gradio_api/runs", "docs", "redoc", "openapi.json"),
        *("gradio_api/run-history/buckets", "gradio_api/run-history/records", "gradio_api/token"),
        *("gradio_api/vibe-code", "gradio_api/profiling/summary", "gradio_api/dev/reload"),
        *("gradio_api/mcp/", "gradio_api/mcp/sse", "gradio_api/deep_link"),
    ):
        assert web.get(path).status_code == 404, path
    for path in (
        *("gradio_api/vibe-edit/", "gradio_api/undo-vibe-edit/", "gradio_api/vibe-code/"),
        *("gradio_api/component_server", "gradio_api/process_recording", "gradio_api/stream/x"),
        *("gradio_api/run-history/connect", "gradio_api/run/chat", "gradio_api/api/chat"),
    ):
        assert web.post(path, json={"data": []}).status_code == 404, path
    assert set(web.get("gradio_api/info").json()["named_endpoints"]) == {"/chat"}


@pytest.mark.parametrize(
    "origin", ["null", "https://evil.test", "http://127.0.0.1.evil.test", "http://localhost:1"]
)
def test_another_web_site_can_neither_read_nor_write(web, origin):
    headers = {"Origin": origin}
    plain_text = {**headers, "Content-Type": "text/plain"}
    answers = [
        web.get("config", headers=headers),
        web.post(UPLOAD, files={"files": ("a.png", b"x")}, headers=headers),
        web.post(JOIN, content=b"{}", headers=plain_text),
        web.post("v1/chat/completions", content=b"{}", headers=plain_text),
        web.get("v1/models", headers=headers),
    ]
    assert [answer.status_code for answer in answers] == [403] * 5
    assert all(SECRET not in answer.text for answer in answers)
    if "localhost" not in origin:  # Gradio lets pages of this machine ask whether they may ask
        asks = {"Access-Control-Request-Method": "POST"}
        answers.append(web.options(JOIN, headers={**headers, **asks}))
        assert all("access-control-allow-origin" not in answer.headers for answer in answers)


def test_another_name_gets_nothing(web):
    for host in ("evil.test", "127.0.0.1.evil.test", "localhost.evil.test:80"):
        answer = web.get("config", headers={"Host": host})
        assert answer.status_code == 421
    # What a proxy might say is not believed: no address of the page leads elsewhere.
    said = {
        "X-Forwarded-Host": "evil.test",
        "X-Forwarded-Proto": "https",
        "Forwarded": "host=evil.test",
    }
    for path in ("", "config"):
        answer = web.get(path, headers=said)
        assert answer.status_code == 200
        assert "evil.test" not in answer.text


def test_metrics_do_not_go_out_through_a_proxy_on_this_machine(web):
    assert web.get("metrics").status_code == 200
    for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Forwarded-Host"):
        assert web.get("metrics", headers={name: "localhost"}).status_code == 403, name


# Sessions of others


def test_the_session_of_another_is_neither_stopped_nor_read(web, chat, site):
    mine = question(web, text="a long one")
    heard: list[str] = []
    reader = threading.Thread(target=lambda: heard.append(told(web, mine["session_hash"])))
    chat.gate.clear()  # the answer waits for the end of the attacks, unless one stops it
    try:
        event = web.post(JOIN, json=mine).json()["event_id"]
        reader.start()
        until(lambda: chat.answering == 1)
        with httpx.Client(base_url=site.url, timeout=60, trust_env=False) as other:
            for session in ("", "0", "1", "null", "*", mine["session_hash"][:-1], "../", "%"):
                for stop in ("", "0", event[:-1], "*"):
                    body = {"session_hash": session, "fn_index": mine["fn_index"], "event_id": stop}
                    other.post("gradio_api/cancel", json=body)
                assert "word" not in read_as(other, session)
            assert chat.answering == 1
            # The number of an event is drawn anew each time, by a generator made for secrets.
            second = other.post(JOIN, json=question(other)).json()["event_id"]
            assert len(event) >= 32
            assert sum(a == b for a, b in zip(event, second, strict=True)) < 20
    finally:
        chat.gate.set()
    reader.join(100)
    assert "word5" in heard[0]
    assert "word250" in heard[0]  # to the end


def read_as(other: httpx.Client, session: str) -> str:
    """Return what the server tells somebody who gives this as the name of a session."""
    text = ""
    params = {"session_hash": session}
    asked = other.stream("GET", "gradio_api/queue/data", params=params, timeout=2)
    # Nothing comes, or the stream breaks off.
    with contextlib.suppress(httpx.ReadTimeout, httpx.RemoteProtocolError), asked as told:
        for line in told.iter_lines():
            text += line
    return text


def test_history_that_a_client_makes_up_is_not_read(web, chat):
    message = question(web, text="And now?")
    lie = [{"role": "user", "content": [{"type": "text", "text": SECRET}]}]
    message["event_data"] = {"index": 0, "value": SECRET, "previous_value": SECRET}
    message["chatbot"] = lie
    answer = send(web, message)
    assert chat.answers[-1:] == ["I see no picture. You asked: And now?"]
    assert SECRET not in answer
