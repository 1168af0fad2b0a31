"""A server that speaks as much of OpenAI's API as repair asks for, and does what a test says."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, dict[str, str], object]
"""Status, headers, content."""


def said(text: str | None, finish: str = "stop", model: str = "mender-1") -> Answer:
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": finish}
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10, "details": {}}
    return 200, {}, {"model": model, "choices": [choice], "usage": usage}


def refused(status: int, message: str = "no", **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, named, {"error": {"message": message, "code": "code"}}


class Fake:
    """What was asked, and what is answered.

    Attributes:
        answer: From the text to repair, and how often it was asked for, to the answer.
        bodies: What was sent, in order.
        keys: The Authorization headers.
        most: The most requests at a time.
    """

    def __init__(self) -> None:
        self.answer: Callable[[str, int], Answer] = lambda text, _: said(f"{text} Mended.")
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.most = 0
        self.url = ""
        self._now = 0
        self._lock = threading.Lock()

    def texts(self) -> list[str]:
        return [body["messages"][0]["content"].rpartition("\n\n")[2] for body in self.bodies]

    def take(self, body: dict[str, Any], key: str) -> Answer:
        with self._lock:
            self.bodies.append(body)
            self.keys.append(key)
            text = self.texts()[-1]
            asked = self.texts().count(text)
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            return self.answer(text, asked)
        finally:
            with self._lock:
                self._now -= 1


@contextmanager
def fake_endpoint() -> Iterator[Fake]:
    fake = Fake()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if self.path != "/v1/chat/completions":
                status, headers, content = refused(404, "no such address")
            else:
                status, headers, content = fake.take(body, self.headers.get("authorization", ""))
            sent = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
