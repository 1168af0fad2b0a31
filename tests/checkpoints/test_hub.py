"""Files of the hub: fetched once from a hub of our own, resumed, whole, and offline ever after."""

import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from minigpt4.checkpoints.hub import folder_patterns
from minigpt4.errors import ConfigError
from minigpt4.references import parse_reference, published_at

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REFERENCE = f"owner/name@{COMMIT}:pretrained_minigpt4.pth"
CHILD = """
import sys
from minigpt4.checkpoints.hub import fetch_all
from minigpt4.errors import MiniGPT4Error
from minigpt4.references import parse_reference
try:
    print(fetch_all({"model.projection": parse_reference(sys.argv[1])})["model.projection"])
except MiniGPT4Error as error:
    print("refused:", error)
"""


class Hub(http.server.BaseHTTPRequestHandler):
    """A hub of one file, whose first download breaks off in the middle."""

    content = bytes(range(251)) * 100_000  # more than two of the pieces downloads are written in
    ranges: list[str]

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        if not self.path.endswith(f"{COMMIT}/pretrained_minigpt4.pth"):
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.end_headers()
            return
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").split("-")[0]) if asked else 0
        self.send_response(206 if asked else 200)
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", '"1234"')
        self.send_header("Content-Length", str(len(self.content) - start))
        if asked:
            last = len(self.content) - 1
            self.send_header("Content-Range", f"bytes {start}-{last}/{len(self.content)}")
        self.end_headers()
        if body:
            self.ranges.append(asked or "")
            whole = self.content[start:]
            self.wfile.write(whole[: len(whole) // 2] if len(self.ranges) == 1 else whole)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def hub() -> Iterator[http.server.ThreadingHTTPServer]:
    Hub.ranges = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def fetched(reference: str, cache: Path, port: int, *, offline: bool = False) -> str:
    environment = {
        **os.environ,
        "HF_ENDPOINT": f"http://127.0.0.1:{port}",
        "HF_HOME": str(cache),
        "HF_HUB_CACHE": str(cache / "hub"),
        "HF_HUB_OFFLINE": "1" if offline else "0",
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
    }
    done = subprocess.run(
        [sys.executable, "-c", CHILD, reference],
        env=environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.load
def test_a_download_resumes_and_is_there_for_ever(
    hub: http.server.ThreadingHTTPServer, tmp_path: Path
) -> None:
    port = hub.server_address[1]
    path = Path(fetched(REFERENCE, tmp_path, port))
    assert path.read_bytes() == Hub.content
    first, second = Hub.ranges
    assert first == ""
    assert second.startswith("bytes=")
    again = fetched(REFERENCE, tmp_path, 9, offline=True)  # nothing listens there
    assert Path(again) == path
    assert len(Hub.ranges) == 2


@pytest.mark.load
def test_a_file_the_hub_does_not_have_is_a_sentence(
    hub: http.server.ThreadingHTTPServer, tmp_path: Path
) -> None:
    reference = f"owner/name@{COMMIT}:other.pth"
    said = fetched(reference, tmp_path, hub.server_address[1])
    assert said.startswith("refused: model.projection: ")
    assert "has no such file at this commit" in said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("weights/eva_vit_g.pth", ("", "", False)),
        (f"owner/name@{COMMIT}:a/b.pth", ("owner/name", "a/b.pth", False)),
        (f"owner/name@{COMMIT}", ("owner/name", "", False)),
        (f"spaces/owner/name@{COMMIT}:b.pth", ("owner/name", "b.pth", True)),
    ],
)
def test_references(text: str, expected: tuple[str, str, bool]) -> None:
    reference = parse_reference(text)
    assert (reference.repository, reference.file, reference.space) == expected
    if not expected[0] or expected[1]:
        assert parse_reference(f"{text}#sha256={'A' * 64}").sha256 == "a" * 64


def test_a_whole_repository_has_no_checksum() -> None:
    with pytest.raises(ConfigError, match="a whole repository has no sha256"):
        parse_reference(f"owner/name@{COMMIT}#sha256={'a' * 64}")


@pytest.mark.parametrize("revision", ["main", "v1.0", COMMIT[:7]])
def test_a_revision_that_can_change_is_refused(revision: str) -> None:
    with pytest.raises(ConfigError, match="is no commit"):
        parse_reference(f"owner/name@{revision}:file.pth")


def test_weights_that_a_repository_holds_twice_are_fetched_once() -> None:
    both = ["config.json", "model-00001-of-00002.safetensors", "pytorch_model-00001-of-00002.bin"]
    assert folder_patterns(both) == ["*.json", "*.model", "model*.safetensors"]
    assert folder_patterns(both[::2]) == ["*.json", "*.model", "pytorch_model*.bin"]


def test_every_file_of_our_configurations_has_a_place() -> None:
    import yaml

    for path in (Path(__file__).parents[2] / "eval_configs").glob("minigpt4_*.yaml"):
        model = yaml.safe_load(path.read_text("utf-8"))["model"]
        for part in ("vision", "qformer", "language_model", "projection"):
            if part in model:
                assert published_at(Path(model[part]).name), model[part]
