"""The whole server, a client of it, and a canary, for attacks."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.server.attacker import SECRET, UPLOAD, Canary
from tests.server.site import Site, running
from tests.ui.fake_chat import FakeChat
from tests.ui.server import fake_config, plain


@pytest.fixture(scope="module")
def canary(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Canary]:
    asked: list[str] = []

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(SECRET.encode())

        do_HEAD = do_POST = do_GET

        def log_message(self, *arguments: Any) -> None:
            pass

    file = tmp_path_factory.mktemp("private") / "secret.png"
    Image.new("RGB", (8, 8), (220, 40, 40)).save(file)
    file.with_suffix(".txt").write_text(SECRET)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield Canary(f"http://127.0.0.1:{server.server_port}/x.png", file, asked)
    server.shutdown()
    thread.join()
    server.server_close()
    assert asked == []


@pytest.fixture(scope="module")
def chat() -> FakeChat:
    return FakeChat()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, chat: FakeChat) -> Iterator[Site]:
    with running(chat, fake_config(tmp_path_factory.mktemp("examples"))) as site:
        yield site


@pytest.fixture
def web(site: Site) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=site.url, timeout=60, trust_env=False) as web:
        yield web


@pytest.fixture
def red(web: httpx.Client, tmp_path: Path) -> str:
    """The path of an uploaded picture."""
    with plain(tmp_path / "red.png", (220, 40, 40)).open("rb") as file:
        return str(web.post(UPLOAD, files={"files": ("red.png", file)}).json()[0])
