"""The public endpoint, used as outsiders use it: with Gradio's client and with plain HTTP."""

import asyncio
import contextlib
import io
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from minigpt4.config import LimitsConfig
from minigpt4.errors import ImageError
from minigpt4.ui.api import Answers
from minigpt4.ui.app import upload_folder
from tests.ui.fake_chat import FakeChat
from tests.ui.server import Served, fake_config, plain, served
from tests.waiting import until

pytestmark = [pytest.mark.load, pytest.mark.filterwarnings("default")]

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
META = {"_type": "gradio.FileData"}
QUESTION = "What color is the car?"
ANSWER = f"I see red. You asked: {QUESTION}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    config = fake_config(tmp_path_factory.mktemp("examples"))
    with served(
        FakeChat(at_once=1, waiting=2), replace(config, limits=LimitsConfig(queue_size=2))
    ) as site:
        yield site


@pytest.fixture(scope="module")
def client(site: Served) -> Client:
    return Client(site.url, analytics_enabled=False, verbose=False)


@pytest.fixture(autouse=True)
def rested(site: Served) -> Iterator[None]:
    site.chat.word_seconds = 0.005
    yield
    site.chat.gate.set()
    until(lambda: not site.worker.open_questions)


@pytest.fixture
def red(tmp_path: Path) -> Path:
    return plain(tmp_path / "picture.png", (220, 40, 40))


def until_stopped(site: Served) -> None:
    """Wait until the model is free, and not because it has come to the end of its answer."""
    until(lambda: not site.chat.answering)
    assert site.chat.ends[-1] in ("cancelled", "left")


def examples(language: str) -> list[str]:
    found = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return [code for code in found if "gradio" in code]  # the others are /v1's


def test_the_python_example_of_the_page_runs(site, red, monkeypatch):
    site.chat.word_seconds = 0.1
    monkeypatch.chdir(red.parent)
    (code,) = examples("python")
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        exec(code.replace("http://127.0.0.1:7860", site.url), {})
    parts = told.getvalue().splitlines()[-100:]
    parts = [part for part in parts if part.startswith("I")]
    assert parts[-1] == ANSWER
    assert len(parts) > 2
    assert all(ANSWER.startswith(part) for part in parts)


def test_the_shell_example_of_the_page_runs(site, red):
    if not shutil.which("curl"):
        pytest.skip("No curl on this machine.")
    (code,) = examples("sh")
    script = code.replace("http://127.0.0.1:7860/", site.url)
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=red.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f'event: complete\ndata: ["{ANSWER}"]' in done.stdout


def test_calls_stand_alone(client, red, tmp_path):
    assert client.predict(handle_file(red), QUESTION, api_name="/chat") == ANSWER
    blue = plain(tmp_path / "blue.png", (40, 80, 220))
    answer = client.predict(handle_file(blue), "And now?", api_name="/chat")
    assert answer == "I see blue. You asked: And now?"


def test_cancel_frees_the_model(client, site, red):
    site.chat.word_seconds = 0.1  # 30 s for the whole answer
    job = client.submit(handle_file(red), "a long one", api_name="/chat")
    until(lambda: "word2" in str(job.outputs()[-1:]))
    job.cancel()
    until_stopped(site)
    site.chat.word_seconds = 0.005
    assert client.predict(handle_file(red), QUESTION, api_name="/chat") == ANSWER


def test_a_program_that_is_killed_frees_the_model(site, red):
    site.chat.word_seconds = 0.1  # 30 s for the whole answer
    (code,) = examples("python")
    code = code.replace("http://127.0.0.1:7860", site.url).replace(QUESTION, "a long one")
    command = [sys.executable, "-u", "-c", code]
    with subprocess.Popen(command, cwd=red.parent, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert any("word2" in line for line in program.stdout)
        program.kill()
    until_stopped(site)


def test_a_listener_that_leaves_frees_the_model(site, red):
    site.chat.word_seconds = 0.1  # 30 s for the whole answer
    with httpx.Client(base_url=f"{site.url}gradio_api", timeout=60, trust_env=False) as http:
        with red.open("rb") as file:
            (path,) = http.post("upload", files={"files": (red.name, file)}).json()
        asked = http.post("call/chat", json={"data": [{"path": path, "meta": META}, "a long one"]})
        with http.stream("GET", f"call/chat/{asked.json()['event_id']}") as events:
            assert any("word2" in line for line in events.iter_lines())
    until_stopped(site)


def test_the_queue_has_its_limit_for_programs_too(client, site, red):
    site.chat.gate.clear()
    jobs = [client.submit(handle_file(red), f"question {n}", api_name="/chat") for n in range(3)]
    until(lambda: site.worker.open_questions == 3)
    with pytest.raises(AppError, match="Many people"):
        client.predict(handle_file(red), "me?", api_name="/chat")
    site.chat.gate.set()
    assert sorted(job.result(timeout=60)[-10:] for job in jobs) == [
        f"question {number}" for number in range(3)
    ]


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ("  ", "Please type a question"),
        ("please fail", "out of memory"),
        ("silent", "without a word"),
        ("please crash", "Something went wrong"),
    ],
)
def test_what_cannot_be_answered_is_told(client, red, question, told):
    with pytest.raises(AppError, match=told) as failure:
        client.predict(handle_file(red), question, api_name="/chat")
    assert "secret" not in str(failure.value)


def test_what_is_no_picture_is_told(client, tmp_path):
    broken = tmp_path / "notes.png"
    broken.write_text("no picture")
    with pytest.raises(AppError):
        client.predict(handle_file(broken), QUESTION, api_name="/chat")


def call(site: Served, picture: object, question: object = QUESTION) -> str:
    with httpx.Client(base_url=site.url, timeout=60, trust_env=False) as http:
        asked = http.post("gradio_api/call/chat", json={"data": [picture, question]})
        assert asked.status_code == 200
        return http.get(f"gradio_api/call/chat/{asked.json()['event_id']}").text


@pytest.mark.parametrize(
    "extra", [{}, {"meta": META}, {"meta": META, "is_stream": True}], ids=["bare", "meta", "stream"]
)
def test_only_uploads_are_read(site, red, extra):
    encoded = site.chat.encoded
    answers = Answers(site.worker, upload_folder(), site.config.generation)
    for path in (str(red), "/etc/passwd", "../../etc/passwd", "minigpt4/ui/app.py", "", "a\0b"):
        picture = {"path": path, **extra}
        with httpx.Client(base_url=site.url, timeout=60, trust_env=False) as http:
            refused = http.post("gradio_api/call/chat", json={"data": [picture, QUESTION]})
        assert refused.status_code == 400
        assert refused.json()["detail"].startswith("Please upload the picture.") or extra
        # The endpoint itself reads nothing else either, whatever comes to it.
        with pytest.raises(ImageError):
            asyncio.run(anext(answers.stream(picture, QUESTION)))
    assert site.chat.encoded == encoded


@pytest.mark.parametrize("picture", [None, "picture.png", [], {}, {"path": None}, 7])
def test_nonsense_is_refused_in_words(site, picture):
    assert "Please upload the picture." in call(site, picture)


@pytest.mark.parametrize("question", [None, 7, [], {}])
def test_a_question_is_text(site, question):
    assert "Please type a question." in call(site, None, question)


def test_the_endpoint_describes_itself(site):
    info = httpx.get(f"{site.url}gradio_api/info", trust_env=False).json()
    assert list(info["named_endpoints"]) == ["/chat"]
    assert info["unnamed_endpoints"] == {}
    chat = info["named_endpoints"]["/chat"]
    assert [each["parameter_name"] for each in chat["parameters"]] == ["picture", "question"]
    assert "Answer a question about a picture" in chat["description"]
