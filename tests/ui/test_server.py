"""What the server gives away, and what it refuses: attacks that need no browser."""

import time
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import httpx
import pytest

from minigpt4.ui.app import launch_options
from tests.ui.fake_chat import FakeChat
from tests.ui.server import Served, fake_config, plain, served

pytestmark = pytest.mark.filterwarnings("default")

HIDDEN = "do-not-tell-anybody"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    config = fake_config(tmp_path_factory.mktemp("examples"))
    with served(FakeChat(), config) as site:
        yield site


@pytest.fixture
def http(site: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=site.url, timeout=60, trust_env=False) as http:
        yield http


def submit(http: httpx.Client, text: str, files: list[object], session: str) -> str:
    """Send a question as the browser does, and return every event that comes back."""
    config = http.get("config").json()
    names = {part["id"]: part["type"] for part in config["components"]}
    event = next(
        each
        for each in config["dependencies"]
        if each["inputs"] and names[each["inputs"][0]] == "multimodaltextbox"
    )
    values = [{"text": text, "files": files}, 0.0, 0.9, 50, 1.0, 1, "", "Stage 2"]
    joined = http.post(
        "gradio_api/queue/join",
        json={"data": values, "fn_index": event["id"], "session_hash": session},
    )
    if joined.status_code != 200:
        return joined.text
    told = ""
    deadline = time.monotonic() + 100
    with http.stream("GET", "gradio_api/queue/data", params={"session_hash": session}) as events:
        for line in events.iter_lines():
            told += line + "\n"
            if "process_completed" in line or time.monotonic() > deadline:
                break
    return told


def upload(http: httpx.Client, path: Path) -> str:
    with path.open("rb") as file:
        answer = http.post("gradio_api/upload", files={"files": (path.name, file)})
    return str(answer.json()[0])


def as_upload(path: str) -> dict[str, object]:
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


@pytest.mark.load
def test_a_question_without_a_browser(http, tmp_path):
    path = upload(http, plain(tmp_path / "red.png", (220, 40, 40)))
    told = submit(http, "What?", [as_upload(path)], "honest")
    assert "I see red. You asked: What?" in told


@pytest.mark.load
@pytest.mark.parametrize("with_meta", [True, False])
def test_files_of_the_server_cannot_be_had(http, site, tmp_path, with_meta):
    secret = plain(tmp_path / "secret.png", (1, 2, 3))
    for path in (str(secret), "/etc/passwd", "minigpt4/ui/app.py", "../../etc/passwd"):
        encoded = site.chat.encoded
        file = as_upload(path) if with_meta else {"path": path}
        told = submit(http, "What?", [file], f"thief-{hash(path)}")
        assert "root:" not in told
        assert "I see" not in told
        assert site.chat.encoded == encoded
    for path in (secret, "/etc/passwd", Path(__file__), "../demo.py", "%2e%2e/demo.py"):
        answer = http.get(f"gradio_api/file={path}")
        assert answer.status_code in (403, 404), path


@pytest.mark.load
def test_only_the_endpoint_is_public(http):
    info = http.get("gradio_api/info")
    named = info.json().get("named_endpoints", {}) if info.status_code == 200 else {}
    assert set(named) == {"/chat"}
    assert http.get("monitoring").status_code in (403, 404, 405)
    config = http.get("config").json()
    public = [each for each in config["dependencies"] if each.get("api_visibility") == "public"]
    assert [each["api_name"] for each in public] == ["chat"]
    assert config.get("analytics_enabled") is False


@pytest.mark.load
def test_a_foreign_site_may_not_ask(http):
    answer = http.get("config", headers={"Origin": "https://example.org"})
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.load
def test_large_files_are_refused(http, tmp_path):
    path = tmp_path / "large.png"
    path.write_bytes(b"\0" * (21 * 2**20))
    with path.open("rb") as file:
        answer = http.post("gradio_api/upload", files={"files": ("large.png", file)})
    assert answer.status_code == 413


def test_launch_options_are_known_to_gradio(tmp_path):
    options = launch_options(fake_config(tmp_path))
    known = gr.Blocks.launch.__code__.co_varnames
    assert set(options) <= set(known)
    assert options["allowed_paths"] == []
    assert not any(options[name] for name in ("show_error", "run_history", "enable_monitoring"))


@pytest.mark.load
def test_the_queue_cannot_be_skipped(http, site, tmp_path):
    path = upload(http, plain(tmp_path / "red.png", (220, 40, 40)))
    asked = len(site.chat.settings)
    dependencies = http.get("config").json()["dependencies"]
    values = {
        "submit": [
            {"text": "What?", "files": [as_upload(path)]},
            0.0,
            0.9,
            50,
            1.0,
            1,
            "",
            "Stage 2",
        ],
        "chat": [as_upload(path), "What?"],
    }
    names = {each["api_name"]: each["id"] for each in dependencies if each["api_name"]}
    assert "chat" in names
    for name, number in names.items():
        data = values.get(name, [])
        for route in (f"run/{name}", f"api/{name}", "run/predict", "api/predict"):
            body = {"data": data, "fn_index": number, "session_hash": "thief"}
            answer = http.post(f"gradio_api/{route}", json=body)
            assert answer.status_code >= 400, (route, answer.text[:200])
    assert len(site.chat.settings) == asked


@pytest.mark.load
def test_helpers_are_private(http):
    dependencies = http.get("config").json()["dependencies"]
    visible = {each["api_name"]: each["api_visibility"] for each in dependencies}
    assert visible.pop("chat") == "public"
    assert set(visible.values()) <= {"private"}
    info = http.get("gradio_api/info").json()
    assert list(info["named_endpoints"]) == ["/chat"]
