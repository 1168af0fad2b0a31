"""`/v1` byte by byte: what a client without a library sees."""

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest

from minigpt4.config import GenerationSettings
from minigpt4.errors import CheckpointError, ConfigError
from minigpt4.server import openai_routes
from minigpt4.server.openai_answers import Answering
from minigpt4.server.openai_errors import error_body, refusal_of
from minigpt4.server.openai_routes import EventStream
from minigpt4.ui.worker import Job
from tests.server.site import NAME, Site, running
from tests.ui.fake_chat import FakeChat
from tests.ui.server import fake_config
from tests.waiting import until

pytestmark = pytest.mark.filterwarnings("default")

ASKED = {"model": NAME, "messages": [{"role": "user", "content": "Wie heißt das?"}]}
CHUNK = re.compile(rb"data: (\{.+\})\n\n")


@pytest.fixture(scope="module")
def chat() -> FakeChat:
    return FakeChat(word_seconds=0.002)


@pytest.fixture(scope="module")
def site(chat: FakeChat, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running(chat, fake_config(tmp_path_factory.mktemp("examples"))) as site:
        yield site


@pytest.fixture(scope="module")
def http(site: Site) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=site.url, timeout=60, trust_env=False) as http:
        yield http


def chunks(content: bytes) -> list[dict]:
    """The chunks of a stream, which must be nothing but chunks and its end."""
    assert CHUNK.sub(b"", content) == b"data: [DONE]\n\n"
    return [json.loads(chunk) for chunk in CHUNK.findall(content)]


@pytest.mark.load
def test_a_stream_is_server_sent_events(http: httpx.Client) -> None:
    answer = http.post("v1/chat/completions", json={**ASKED, "stream": True})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-cache"
    assert "heißt".encode() in answer.content  # not escaped
    first, *middle, last = chunks(answer.content)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    for chunk in (first, *middle, last):
        assert chunk.keys() == {"id", "object", "created", "model", "choices"}
        assert chunk["object"] == "chat.completion.chunk"
        assert chunk["choices"][0].keys() == {"index", "delta", "logprobs", "finish_reason"}
    assert last["choices"][0] == {
        "index": 0,
        "delta": {},
        "logprobs": None,
        "finish_reason": "stop",
    }
    text = "".join(chunk["choices"][0]["delta"]["content"] for chunk in middle)
    assert text == "I see no picture. You asked: Wie heißt das?"


@pytest.mark.load
def test_usage_is_the_last_chunk_and_null_before(http: httpx.Client) -> None:
    asked = {**ASKED, "stream": True, "stream_options": {"include_usage": True}}
    *others, last = chunks(http.post("v1/chat/completions", json=asked).content)
    assert [chunk["usage"] for chunk in others] == [None] * len(others)
    assert last["choices"] == []
    assert last["usage"].keys() == {"prompt_tokens", "completion_tokens", "total_tokens"}


@pytest.mark.load
def test_an_error_in_a_stream_that_has_begun(http: httpx.Client, chat: FakeChat) -> None:
    chat.word_seconds = 0.3  # so that it has begun, and is seen to, before it crashes
    answer = http.post(
        "v1/chat/completions",
        json={
            **ASKED,
            "messages": [{"role": "user", "content": "please crash"}],
            "stream": True,
        },
    )
    chat.word_seconds = 0.002
    assert answer.status_code == 200
    *_, last = chunks(answer.content)
    assert last == error_body(
        "Something went wrong while answering. Please ask again.", "server_error"
    )
    assert b"secret" not in answer.content


@pytest.mark.load
@pytest.mark.parametrize(
    ("content", "kind", "told"),
    [
        (b"{", "application/json", "no JSON"),
        (b"[]", "application/json", "no JSON object"),
        (b'{"model": "tiny"}', "application/json", "messages: it is missing"),
        (b"\xff", "application/json", ""),
        (json.dumps(ASKED).encode(), "text/plain", ""),
        (
            b'{"model": "\\ud800", "messages": [{"role": "user", "content": "x"}]}',
            "application/json",
            "",
        ),
        (b'{"\\ud800\\u0000": 1}', "application/json", ""),
        (b'{"' + b"x" * 100_000 + b'": 1, "model": "tiny"}', "application/json", ""),
        (b'{"n": [[[[[[[[1]]]]]]]]}', "application/json", "n: "),
        (b'{"temperature": NaN}', "application/json", ""),
    ],
)
def test_whatever_is_sent_is_answered_in_openais_shape(
    http: httpx.Client, content: bytes, kind: str, told: str
) -> None:
    answer = http.post("v1/chat/completions", content=content, headers={"Content-Type": kind})
    assert 400 <= answer.status_code < 500
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert told in error["message"]
    assert len(answer.content) < 2500


@pytest.mark.load
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "v1/chat/completions", 405),
        ("POST", "v1/completions", 404),
        ("POST", "v1/embeddings", 404),
        ("GET", "v1/models/other", 404),
    ],
)
def test_other_addresses_are_told_in_openais_shape(
    http: httpx.Client, method: str, path: str, status: int
) -> None:
    answer = http.request(method, path)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]


@pytest.mark.load
def test_the_page_is_on_the_same_port(http: httpx.Client) -> None:
    assert "MiniGPT-4" in http.get("").text


@pytest.mark.load
def test_a_client_that_hangs_up_in_the_middle_frees_the_model(
    http: httpx.Client, chat: FakeChat, site: Site
) -> None:
    chat.word_seconds = 0.02
    asked = {**ASKED, "messages": [{"role": "user", "content": "a long one"}], "stream": True}
    with http.stream("POST", "v1/chat/completions", json=asked) as answer:
        assert any("word2" in line for line in answer.iter_lines())
    until(lambda: not site.worker.open_questions)
    assert chat.ends[-1] in ("cancelled", "left")
    chat.word_seconds = 0.002


@pytest.mark.load
def test_a_stream_that_waits_long_is_kept_alive(
    http: httpx.Client, chat: FakeChat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its status goes out before the answer begins, and comments follow for the proxies."""
    monkeypatch.setattr(openai_routes, "HOLD_SECONDS", 0.1)
    monkeypatch.setattr(openai_routes, "COMMENT_SECONDS", 0.1)
    chat.gate.clear()
    try:
        with http.stream("POST", "v1/chat/completions", json={**ASKED, "stream": True}) as answer:
            lines = answer.iter_lines()
            assert next(lines).startswith("data: {")
            assert [next(lines) for _ in range(4)] == ["", ": waiting", "", ": waiting"]
            chat.gate.set()
            rest = "\n".join(lines)
    finally:
        chat.gate.set()
    assert "Wie heißt das?" in rest
    assert rest.endswith("data: [DONE]\n")


@pytest.mark.load
def test_v1_can_be_left_out(tmp_path, chat: FakeChat) -> None:
    config = fake_config(tmp_path)
    closed = replace(config, server=replace(config.server, openai=False))
    with running(chat, closed) as site, httpx.Client(timeout=60, trust_env=False) as http:
        assert http.post(f"{site.url}v1/chat/completions", json=ASKED).status_code in (404, 405)
        assert http.get(f"{site.url}healthz").status_code == 200


@pytest.mark.parametrize(
    "error",
    [
        ConfigError(["model.vision: no /srv/weights/vision.pth"]),
        CheckpointError("/srv/weights/vision.pth does not fit"),
        OSError(28, "No space left", "/srv/cache"),
    ],
)
def test_what_names_files_is_not_told(error: Exception) -> None:
    refusal = refusal_of(error)
    assert refusal.status == 500
    assert "/srv" not in refusal.message


class Never:
    """A worker that is never done; `closed` says whether its answer was let go."""

    closed = False

    async def answer(self, _job: Job):
        try:
            await asyncio.sleep(60)
            yield None
        finally:
            self.closed = True


def test_a_client_that_left_before_the_first_event_frees_the_model() -> None:
    """Such a stream's generator never begins, and so cannot clean up."""

    async def leave() -> tuple[bool, bool, list[object]]:
        worker, job = Never(), Job(None, "?", (), GenerationSettings())
        answering = Answering(worker, job)  # type: ignore[arg-type]
        await asyncio.sleep(0)  # the answer has begun
        sent: list[object] = []

        async def events():
            sent.append("begun")
            yield "data: {}"

        async def gone() -> dict[str, str]:
            return {"type": "http.disconnect"}

        async def blocked(_message: object) -> None:
            await asyncio.sleep(60)

        scope = {"type": "http", "asgi": {"spec_version": "2.3"}}
        async with asyncio.timeout(30):
            await EventStream(events(), answering)(scope, gone, blocked)
        return worker.closed, job.cancel.is_set(), sent

    assert asyncio.run(leave()) == (True, True, [])


def test_an_answer_that_is_left_waits_for_nobody() -> None:
    """Closing an answer that has not begun lets go of the worker."""

    async def leave() -> tuple[bool, bool]:
        worker, job = Never(), Job(None, "?", (), GenerationSettings())
        answering = Answering(worker, job)  # type: ignore[arg-type]
        async for piece in answering.pieces(0.01):
            assert piece is None
            break
        await answering.close()
        return worker.closed, job.cancel.is_set()

    assert asyncio.run(leave()) == (True, True)


@pytest.mark.load
@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", None])
def test_a_body_of_another_type_is_told_so(http: httpx.Client, kind: str | None) -> None:
    headers = {} if kind is None else {"content-type": kind}
    content = json.dumps(ASKED).encode()
    answer = http.post("v1/chat/completions", content=content, headers=headers)
    assert answer.status_code == 415
    assert "Content-Type: application/json" in answer.json()["error"]["message"]


@pytest.mark.load
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "The body is no JSON."),
        ("", "The body is empty."),
        ("[]", "The body is no JSON object."),
        (f"{'[' * 100_000}{']' * 100_000}", "The body cannot be read."),
    ],
)
def test_a_body_that_is_no_request_has_no_field_to_blame(
    http: httpx.Client, content: str, said: str
) -> None:
    headers = {"content-type": "application/json"}
    answer = http.post("v1/chat/completions", content=content.encode(), headers=headers)
    error = answer.json()["error"]
    assert (answer.status_code, error["message"], error["param"]) == (400, said, None)
