"""A small HTTP server on this machine that says what a vLLM server said, and fails when told to."""

import json
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from minigpt4.engines.vllm_wire import ANSWER_ROUTE, IDS_ROUTE
from tests.engines.asking import Said
from tests.engines.vllm_record import FORMAT, GREEDY, recorded

Act = Callable[["Handler"], None]


def events(name: str = "answer") -> list[str]:
    """The events of a recorded stream, each as it was sent."""
    return [f"{event}\n\n" for event in recorded()[name]["body"].split("\n\n") if event]


def event(*tokens: int, finish: str | None = None) -> str:
    """An event of our own with the shape of the recorded ones."""
    choice = {"index": 0, "delta": {"content": "?"}, "finish_reason": finish, "token_ids": tokens}
    return f"data: {json.dumps({'id': 'x', 'choices': [choice]})}\n\n"


HALF = (event(297), event(347))
"""The first events of an answer: The picture."""


def replay(name: str) -> Act:
    """Answers as the real server did."""
    return lambda handler: handler.replay(name)


def stream(*parts: str, pause: float = 0.0) -> Act:
    """Sends parts of a stream to its proper end."""

    def act(handler: "Handler") -> None:
        handler.begin()
        for part in parts:
            handler.part(part)
            time.sleep(pause)
        handler.part("data: [DONE]\n\n")
        handler.end()

    return act


def together(count: int, act: Act) -> Act:
    """Does something once so many are asked for it at the same time."""
    meeting = threading.Barrier(count, timeout=60)

    def met(handler: "Handler") -> None:
        meeting.wait()
        act(handler)

    return met


def hold(*parts: str) -> Act:
    """Sends parts of a stream, and then nothing until the client goes."""

    def act(handler: "Handler") -> None:
        handler.begin()
        for part in parts:
            handler.part(part)
        handler.wait_for_client_to_go()

    return act


def die(*parts: str) -> Act:
    """Sends parts of a stream, and then the connection breaks."""

    def act(handler: "Handler") -> None:
        if parts:
            handler.begin()
        for part in parts:
            handler.part(part)
        handler.drop()

    return act


def refuse(status: int, body: str = '{"error":{"message":"no"}}') -> Act:
    """Answers with a status."""
    return lambda handler: handler.whole(status, "application/json", body)


class StubServer(ThreadingHTTPServer):
    """Says what a real server said, or what a test wants next.

    Attributes:
        next: What it does with the next questions; when that is used up, `usual`.
        usual: What it does with a question.
        health: The status of /health.
        probe: The answer to the probe by embeddings, the recorded one at first.
        probe_status: Its status.
        models: The body of /v1/models.
        asked: All requests for answers, as JSON.
        keys: The Authorization headers that came.
        gone: Clients that closed their connection in the middle of an answer.
        running: Answers on their way.
        most: The most of them at a time.
    """

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.next: deque[Act] = deque()
        self.usual: Act = replay("answer")
        self.health = 200
        self.probe = recorded()["probe by embeds"]["body"]
        self.probe_status = 200
        self.models = recorded()["/v1/models"]["body"]
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.gone = threading.Semaphore(0)
        self.lock = threading.Lock()
        self.running = 0
        self.most = 0
        self.closing = threading.Event()
        self.connections: list[socket.socket] = []
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def close(self) -> None:
        if not self.closing.is_set():
            self.closing.set()
            self.shutdown()
            for connection in self.connections:  # those that are kept alive too
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._thread.join()
            self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go are part of the tests."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: StubServer

    def setup(self) -> None:
        super().setup()
        self.server.connections.append(self.connection)

    def do_GET(self) -> None:
        self.server.keys.append(self.headers.get("Authorization"))
        if self.path == "/health":
            self.whole(self.server.health, "", "")
        elif self.path == "/v1/models":
            self.whole(200, "application/json", self.server.models)
        else:
            self.whole(404, "application/json", "{}")

    def do_POST(self) -> None:
        self.server.keys.append(self.headers.get("Authorization"))
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == IDS_ROUTE:
            self.replay("probe by ids")
        elif self.path == ANSWER_ROUTE and not request.get("stream"):
            self.whole(self.server.probe_status, "application/json", self.server.probe)
        elif self.path == ANSWER_ROUTE:
            self.answer(request)
        else:
            self.whole(404, "application/json", "{}")

    def answer(self, request: dict[str, Any]) -> None:
        server = self.server
        with server.lock:
            server.asked.append(request)
            server.running += 1
            server.most = max(server.most, server.running)
            act = server.next.popleft() if server.next else server.usual
        try:
            act(self)
        finally:
            with server.lock:
                server.running -= 1

    def replay(self, name: str) -> None:
        kept = recorded()[name]
        if kept["content_type"].startswith("text/event-stream"):
            stream(*events(name)[:-1])(self)  # `stream` adds the end
        else:
            self.whole(kept["status"], kept["content_type"], kept["body"])

    def whole(self, status: int, content_type: str, body: str) -> None:
        content = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def begin(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def part(self, text: str) -> None:
        content = text.encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
        self.wfile.flush()

    def end(self) -> None:
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def drop(self) -> None:
        self.close_connection = True
        with suppress(OSError):  # the client may be gone
            self.connection.shutdown(socket.SHUT_RDWR)

    def wait_for_client_to_go(self) -> None:
        while not self.server.closing.is_set():
            readable, _, _ = select.select([self.connection], [], [], 0.02)
            if readable and not self.connection.recv(1):
                self.server.gone.release()
                break
        self.drop()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def say(engine, asked, cancel=None, settings=GREEDY, stop=FORMAT.stop_strings) -> Said:
    steps = list(engine.stream(*asked, settings, stop, cancel or threading.Event()))
    assert [step.finish for step in steps[:-1]] == [None] * (len(steps) - 1)
    return Said("".join(step.text for step in steps), steps[-1].tokens, steps[-1].finish)
