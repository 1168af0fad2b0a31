"""How the server ends, in a process of its own that is really told to stop."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import httpx
import pytest

from minigpt4.server import shutdown
from minigpt4.server.auth import VARIABLE
from minigpt4.server.shutdown import StopSignals
from tests.ports import free_port
from tests.server.attacker import question, told

ROOT = Path(__file__).parents[2]
SERVE = """
import sys, logging
import minigpt4.build
from tests.ui.fake_chat import FakeChat
minigpt4.build.build_chat = lambda config: FakeChat(word_seconds=0.1, words=120)
from minigpt4.server.app import serve
port, *overrides = sys.argv[1:]
sys.exit(serve("tiny", overrides, port=int(port)))
"""


class Process:
    """A server in a process of its own, and what it says."""

    def __init__(self, *overrides: str, **environment: str) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}/"
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", SERVE, str(port), *overrides],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip())

    def wait_for(self, text: str, seconds: float = 150) -> None:
        deadline = time.monotonic() + seconds
        while not any(text in line for line in self.lines):
            assert time.monotonic() < deadline, self.lines
            assert self.process.poll() is None, self.lines
            time.sleep(0.05)

    def ended(self) -> int:
        code = self.process.wait(60)
        self._reader.join(20)
        return code

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(60)
        self._reader.join(20)
        assert self.process.stderr is not None
        self.process.stderr.close()


@contextlib.contextmanager
def started(*overrides: str, **environment: str) -> Iterator[Process]:
    process = Process(*overrides, **environment)
    try:
        process.wait_for("The model is ready")
        yield process
    finally:
        process.kill()


class Asking:
    """A question on its way; `text` holds all that came back, once `thread` has ended."""

    def __init__(self, web: httpx.Client, text: str) -> None:
        message = question(web, text=text)
        assert web.post("gradio_api/queue/join", json=message).status_code == 200
        self.text = ""
        self.first = threading.Event()
        self.thread = threading.Thread(target=self._read, args=(web, message["session_hash"]))
        self.thread.start()

    def _read(self, web: httpx.Client, session: str) -> None:
        where = {"session_hash": session}
        with web.stream("GET", "gradio_api/queue/data", params=where) as lines:
            for line in lines.iter_lines():
                self.text += f"{line}\n"
                if "word3" in self.text:
                    self.first.set()
                if "process_completed" in line:
                    break


@pytest.mark.slow
@pytest.mark.load
def test_a_running_answer_ends_and_new_questions_are_refused_in_words():
    with started("server.grace_seconds=60") as process:
        with httpx.Client(base_url=process.url, timeout=60, trust_env=False) as web:
            heartbeat = threading.Thread(target=hold_open, args=(process.url,))
            heartbeat.start()
            asking = Asking(web, "long")
            assert asking.first.wait(60)
            process.process.send_signal(signal.SIGTERM)
            process.wait_for("Stopping: 1 question may be answered for 60 s")
            with httpx.Client(base_url=process.url, timeout=60, trust_env=False) as other:
                late = question(other, text="me too")
                other.post("gradio_api/queue/join", json=late)
                assert "being stopped" in told(other, late["session_hash"])
                asked = {"model": "tiny", "messages": [{"role": "user", "content": "me too"}]}
                refused = other.post("v1/chat/completions", json=asked)
                assert refused.status_code == 503
                assert "being stopped" in refused.json()["error"]["message"]
            asking.thread.join(120)
            heartbeat.join(60)
        assert "word119" in asking.text
        assert "ends here" not in asking.text
        assert process.ended() == 128 + signal.SIGTERM
        assert not any("Traceback" in line for line in process.lines), process.lines


@pytest.mark.slow
@pytest.mark.load
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 0)])
def test_an_answer_that_takes_longer_is_cut_short_and_told_so(number, code):
    with started("server.grace_seconds=1") as process:
        with httpx.Client(base_url=process.url, timeout=60, trust_env=False) as web:
            heartbeat = threading.Thread(target=hold_open, args=(process.url,))
            heartbeat.start()
            asking = Asking(web, "long")
            assert asking.first.wait(60)
            process.process.send_signal(number)
            asking.thread.join(60)
            heartbeat.join(60)
        assert process.ended() == code
        assert "The server is being stopped: this answer ends here." in asking.text
        assert "word3" in asking.text
        assert "word119" not in asking.text


def hold_open(url: str) -> None:
    """Be a tab that stays open."""
    with (
        contextlib.suppress(httpx.HTTPError),
        httpx.stream("GET", f"{url}gradio_api/heartbeat/abcdefghijk", timeout=60) as beats,
    ):
        for _ in beats.iter_lines():
            pass


@pytest.mark.slow
@pytest.mark.load
def test_accounts_close_the_page_and_the_programs_and_are_logged_without_secrets():
    password = "open sesame 42"
    accounts = {VARIABLE: f"ann:{password}"}
    with started("server.log=on", "server.log_texts=true", **accounts) as process:
        with httpx.Client(base_url=process.url, timeout=60, trust_env=False) as web:
            closed = ("config", "gradio_api/info", "gradio_api/file=x", "gradio_api/queue/data")
            for path in closed:
                assert web.get(path, params={"session_hash": "abcdefgh"}).status_code == 401, path
            for path in ("gradio_api/queue/join", "gradio_api/call/chat"):
                assert web.post(path, json={"data": []}).status_code == 401, path
            assert (
                web.post("gradio_api/upload", files={"files": ("a.png", b"x")}).status_code == 401
            )
            assert web.get("v1/models").status_code == 401
            assert web.get("v1/models", auth=("ann", password)).status_code == 200
            assert web.get("v1/models", auth=("ann", "wrong")).status_code == 401
            assert web.get("healthz").status_code == 200
            page = web.get("")
            assert page.status_code == 200
            assert "auth_required" in page.text
            assert password not in page.text

            wrong = web.post("login", data={"username": "ann", "password": "wrong"})
            assert wrong.status_code == 400
            right = web.post("login", data={"username": "ann", "password": password})
            assert right.status_code == 200
            assert web.get("config").status_code == 200
            message = question(web, text="Who am I?")
            web.post("gradio_api/queue/join", json=message)
            assert '"success":true' in told(web, message["session_hash"])
            tries = [
                web.post("login", data={"username": "ann", "password": str(each)})
                for each in range(12)
            ]
            assert tries[-1].status_code == 429
            assert "too many attempts" in tries[-1].json()["detail"]
        process.process.send_signal(signal.SIGINT)
        assert process.ended() == 0
        noted: list[dict[str, Any]] = [
            json.loads(line) for line in process.lines if line.startswith("{")
        ]
        answers = [each for each in noted if each["event"] == "answer"]
        assert [(each["question"], each["route"]) for each in answers] == [("Who am I?", "page")]
        assert answers[0]["answer"].endswith("You asked: Who am I?")
        clients = {each["client"] for each in noted}
        assert len(clients) == 1
        assert None not in clients
        assert {"/login", "/gradio_api/queue/join", "/v1/models"} <= {
            each["route"] for each in noted
        }
        text = "\n".join(process.lines)
        for secret in (password, "sesame", message["session_hash"], "127.0.0.1:", "wrong"):
            assert secret not in text.replace(process.url, ""), secret


def test_a_signal_is_noted_and_a_second_one_ends_the_process(monkeypatch):
    ended: list[int] = []
    monkeypatch.setattr(shutdown.os, "_exit", ended.append)
    before = signal.getsignal(signal.SIGTERM)
    with StopSignals() as stop:
        done: Future[None] = Future()
        done.set_result(None)
        assert stop.wait_for(done)
        assert stop.exit_code == 0
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
        assert not stop.wait_for(Future())
        stop.wait()
        assert (stop.received, stop.exit_code) == (signal.SIGTERM, 143)
        stop.leave_if(False)
        assert ended == []
        os.kill(os.getpid(), signal.SIGINT)
        stop.leave_if(True)
        assert ended == [130, 143]
    assert signal.getsignal(signal.SIGTERM) is before


def test_weights_that_cannot_be_loaded_are_told():
    with StopSignals() as stop:
        failed: Future[None] = Future()
        failed.set_exception(ValueError("no weights"))
        with pytest.raises(ValueError, match="no weights"):
            stop.wait_for(failed)
