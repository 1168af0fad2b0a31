"""What `/v1` refuses, and how it says so: by OpenAI's own client."""

import base64
import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import openai
import pytest

from minigpt4.errors import EngineError, NoBeamsError, NoRoomError
from minigpt4.server.openai_errors import refusal_of
from tests.server.asking import (
    LIMITS,
    SETTINGS,
    ask,
    client_of,
    part,
    picture,
    said,
    user,
    words,
)
from tests.server.site import Site, running
from tests.ui.fake_chat import FakeChat
from tests.ui.server import fake_config

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def chat() -> FakeChat:
    return FakeChat(word_seconds=0.002, at_once=2, waiting=1)


@pytest.fixture(scope="module")
def site(chat: FakeChat, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    config = fake_config(tmp_path_factory.mktemp("examples"))
    with running(chat, replace(config, limits=LIMITS, generation=SETTINGS)) as site:
        yield site


@pytest.fixture(scope="module")
def client(site: Site) -> Iterator[openai.OpenAI]:
    with client_of(site) as client:
        yield client


@pytest.mark.load
def test_what_asks_for_nothing_is_accepted(client: openai.OpenAI) -> None:
    nothing: dict[str, Any] = {
        "n": 1,
        "presence_penalty": 0,
        "frequency_penalty": 0.0,
        "logprobs": False,
        "response_format": {"type": "text"},
        "stop": None,
        "seed": None,
        "logit_bias": None,
        "user": "somebody",
        "safety_identifier": "5f0c",
        "prompt_cache_key": "key",
        "parallel_tool_calls": True,
    }
    assert said(ask(client, user("Hello?"), extra_body=nothing))


@pytest.mark.load
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 2),
        ("n", True),
        ("logprobs", True),
        ("presence_penalty", 0.5),
        ("logit_bias", {"5": -100}),
        ("response_format", {"type": "json_object"}),
        ("tools", [{"type": "function", "function": {"name": "f"}}]),
        ("user", 5),
        ("temprature", 0.5),
        ("temperature", 2.5),
        ("temperature", "0.5"),
        ("top_p", 0),
        ("seed", -1),
        ("seed", 2**40),
        ("max_tokens", 0),
        ("max_tokens", 201),
        ("max_completion_tokens", 0),
        ("stop", ["a", "b", "c", "d", "e"]),
        ("stop", [""]),
        ("stream_options", {"include_usage": True}),
        ("messages", []),
        ("messages", "Hello"),
    ],
)
def test_what_is_not_carried_out_is_refused_by_name(
    client: openai.OpenAI, chat: FakeChat, field: str, value: object
) -> None:
    before = len(chat.settings)
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client, user("Hello?"), extra_body={field: value})
    body = refused.value.body
    assert isinstance(body, dict)
    assert body.keys() == {"message", "type", "param", "code"}
    assert (body["type"], body["param"]) == ("invalid_request_error", field)
    assert field in body["message"]
    assert len(chat.settings) == before


@pytest.mark.load
def test_another_model_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="there is 'tiny'") as refused:
        ask(client, model="gpt-4o")
    assert refused.value.code == "model_not_found"


@pytest.mark.load
@pytest.mark.parametrize(
    ("messages", "param", "told"),
    [
        ([{"role": "system", "content": "Be brief."}, user("?x")], "messages[0]", "no system"),
        ([{"role": "developer", "content": "Be brief."}], "messages[0]", "no developer"),
        ([{"role": "tool", "content": "5"}], "messages[0]", "no tools"),
        ([{"role": "nobody", "content": "5"}], "messages[0].role", "'user' or 'assistant'"),
        ([{"role": "assistant", "content": "Hi."}, user("?x")], "messages[0]", "user message is"),
        ([user("?x"), {"role": "assistant", "content": "Hi."}], "messages", "must be the user's"),
        ([{"role": "user"}], "messages[0].content", "missing"),
        ([{"role": "user", "content": 5}], "messages[0].content", "expected a list"),
        ([{"role": "user", "content": "Hi.", "nmae": "x"}], "messages[0].nmae", "not supported"),
        ([user({"type": "input_audio"})], "messages[0].content[0]", "text or image_url"),
        ([user(words("?x"), {"type": "text"})], "messages[0].content[1].text", "missing"),
        ([user(part("data:,", detail="high"))], "messages[0].content[0].image_url.detail", "'low'"),
        ([user("  ")], "messages", "type a question"),
        ([user("x" * 101)], "messages", "the limit is 100"),
        ([user(picture())], "messages", "type a question"),
        ([user(words("?x"), *[picture()] * 4)], "messages", "4 pictures given; the limit is 3"),
        ([user(words("?x"), part("data:,x"))], "messages[0].content[1]", "data:image/png;base64"),
        (
            [user(words("?x"), part("data:image/png;base64,!!"))],
            "messages[0].content[1]",
            "base64 is damaged",
        ),
        (
            [user(words("?x"), part("data:image/png;base64,aGFsbG8="))],
            "messages[0].content[1]",
            "JPEG, PNG",
        ),
        (
            [user(words("?x"), part("https://example.org/a.png"))],
            "messages[0].content[1]",
            "fetches no pictures",
        ),
        (
            [user(words("?x"), part("file:///etc/passwd"))],
            "messages[0].content[1]",
            "is a data: URL",
        ),
        ([user(words("?x"), part("/etc/passwd"))], "messages[0].content[1]", "is a data: URL"),
    ],
)
def test_wrong_messages_are_refused_with_their_place(
    client: openai.OpenAI, messages: list[Any], param: str, told: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        ask(client, *messages)
    body = refused.value.body
    assert isinstance(body, dict)
    assert body["param"] == param
    assert told in body["message"]


@pytest.mark.load
def test_addresses_are_fetched_where_the_host_allows_it_and_never_from_inside(
    tmp_path: Any, chat: FakeChat
) -> None:
    """Whoever listens here would be asked over TLS by a server that fetched it."""
    config = fake_config(tmp_path)
    server = replace(config.server, allow_https_pictures=True)
    with (
        socket.create_server(("127.0.0.1", 0)) as inner,
        running(chat, replace(config, server=server)) as site,
        client_of(site) as client,
    ):
        inner.settimeout(0.2)
        port = inner.getsockname()[1]
        for host in (f"127.0.0.1:{port}", "127.0.0.1", f"localhost:{port}", "localhost", "[::1]"):
            with pytest.raises(openai.BadRequestError, match="is not fetched") as refused:
                ask(client, user(words("?x"), part(f"https://{host}/a.png")))
            assert refused.value.code == "address_refused"
        with pytest.raises(TimeoutError):
            inner.accept()


def test_what_never_fits_is_no_failure_of_the_server() -> None:
    """A client that got a 5xx would ask the same again, and again."""
    told = refusal_of(NoRoomError("This chat is too long."))
    assert (told.status, told.code, told.param) == (400, "context_length_exceeded", "messages")
    assert told.message == "This chat is too long."
    told = refusal_of(NoBeamsError("Set beams to 1."))
    assert (told.status, told.param) == (400, "num_beams")
    assert refusal_of(EngineError("The model failed.")).status == 500


@pytest.mark.load
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "chat/completions", 405),
        ("GET", "completions", 404),
        ("DELETE", "nothing/here", 404),
        ("POST", "completions", 404),
        ("POST", "models", 405),
    ],
)
def test_an_unknown_address_is_unknown_by_any_method(
    site: Site, method: str, path: str, status: int
) -> None:
    told = httpx.request(method, f"{site.url}v1/{path}", json={})
    assert told.status_code == status
    assert told.json()["error"]["code"] == ("unknown_url" if status == 404 else "unknown_method")


@pytest.mark.load
def test_a_picture_that_is_too_large(client: openai.OpenAI) -> None:
    large = base64.b64encode(bytes(2**20 + 1)).decode()
    with pytest.raises(openai.APIStatusError, match="larger than 1 MB") as refused:
        ask(client, user(words("?x"), part(f"data:image/png;base64,{large}")))
    assert (refused.value.status_code, refused.value.code) == (413, "too_many_bytes")
