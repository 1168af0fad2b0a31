"""docs/api.md: its examples of `/v1` run, and its tables tell the truth."""

import contextlib
import io
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from minigpt4 import server
from minigpt4.server.openai_request import ChatRequest
from tests.server.site import Site, running
from tests.ui.fake_chat import COLOURS, FakeChat
from tests.ui.server import fake_config, plain

pytestmark = pytest.mark.filterwarnings("default")

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
ANSWER = "I see red. You asked: What color is the car?"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    chat = FakeChat(word_seconds=0.002)
    with running(chat, fake_config(tmp_path_factory.mktemp("examples"))) as site:
        yield site


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    plain(tmp_path / "picture.png", COLOURS["red"])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def example(language: str, site: Site) -> str:
    found = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    (code,) = [each for each in found if "gradio" not in each]
    assert "http://127.0.0.1:7860/" in code
    return code.replace("http://127.0.0.1:7860/", site.url)


@pytest.mark.load
def test_the_python_example(site: Site, folder: Path) -> None:
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        exec(compile(example("python", site), "docs/api.md", "exec"), {})  # our own page
    first, second = told.getvalue().splitlines()
    assert first == f"{ANSWER} 16"
    assert second == "I see red. You asked: And how big is it?"


@pytest.mark.load
def test_the_shell_example(site: Site, folder: Path) -> None:
    if not shutil.which("curl"):
        pytest.skip("No curl on this machine.")
    done = subprocess.run(
        ["bash", "-euc", example("sh", site)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    models, _, events = done.stdout.partition("data: ")
    assert json.loads(models)["data"][0]["id"] == "tiny"
    chunks = [json.loads(each) for each in events.split("\n\ndata: ") if each[0] == "{"]
    text = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"])
    assert text == ANSWER
    assert chunks[-1]["usage"]["total_tokens"] > 0
    assert done.stdout.endswith("data: [DONE]\n\n")


def test_every_field_that_is_carried_out_is_told() -> None:
    table = PAGE.partition("| field |")[2].partition("\n\n")[0]
    told = set(re.findall(r"`([a-z_]+)(?:\.include_usage)?`", table))
    assert ChatRequest.model_fields.keys() - {"model", "messages"} <= told
    fields = ChatRequest.model_fields.keys() | {"generation"}
    assert told - fields == set()


@pytest.mark.load
def test_every_metric_is_told(site: Site) -> None:
    text = httpx.get(f"{site.url}metrics", trust_env=False).text
    there = set(re.findall(r"^# TYPE (minigpt4_\w+) ", text, re.MULTILINE))
    table = PAGE.partition("| metric |")[2].partition("\n\n")[0]
    told: set[str] = set()
    for line in table.splitlines():
        names = re.findall(r"`(_?[a-z]\w+)(?:\{[\w,]+\})?`", line.split(" | ")[0])
        for name in names:
            # "_waiting" behind "minigpt4_engine_running" is minigpt4_engine_waiting.
            group = "_".join(names[0].split("_")[:2])
            told.add(f"{group}{name}" if name.startswith("_") else name)
    assert {name for name in there if not name.endswith("_created")} <= told
    assert told - there <= {"minigpt4_engine_cache_share"}  # the fake's cache has no bound


def test_every_status_of_a_refusal_is_in_the_table() -> None:
    """What the guards and `/v1` refuse with; a client has to know them all."""
    folder = Path(server.__file__).parent
    files = [*folder.glob("openai_*.py"), *folder.glob("guards*.py"), folder / "limits.py"]
    code = "\n".join(file.read_text(encoding="utf-8") for file in [*files, folder / "api_keys.py"])
    sent = {int(status) for status in re.findall(r"(?:Error|Refusal)\(\s*(\d{3}),", code)}
    told = {int(status) for status in re.findall(r"^\| (\d{3}) \|", PAGE, re.MULTILINE)}
    assert {401, 403, 408, 421, 429, 500} <= sent
    assert sent <= told
