"""How much one client may ask, who may log in, and what is written down about it."""

import asyncio
import base64
import contextlib
import json
import logging
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.middleware import Middleware
from starlette.responses import JSONResponse

from minigpt4.config import GenerationSettings
from minigpt4.errors import ConfigError, EngineError
from minigpt4.server.api_keys import ApiKeys, KeyGate
from minigpt4.server.auth import VARIABLE, Accounts, Logins
from minigpt4.server.limits import Buckets, Rate, RateLimit, buckets_of, client_of
from minigpt4.server.logs import LoggedWorker, RequestLog, client_hash
from minigpt4.server_config import ServerConfig
from minigpt4.ui.worker import Job
from tests.server.toy import CHAT, JOIN, PEER, UPLOAD, ask, toy
from tests.ui.fake_chat import FakeChat


class Clock:
    """Seconds that only a test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


# Buckets


def test_a_bucket_gives_its_burst_at_once_and_then_its_rate(clock):
    buckets = Buckets({"question": Rate(per_minute=6, burst=3)}, clock)

    def spend(count: int) -> int:
        given = 0
        for _ in range(count):
            if buckets.wait("a", "question") == 0:
                buckets.spend("a", "question")
                given += 1
        return given

    assert spend(10) == 3
    assert buckets.wait("a", "question") == pytest.approx(10)
    clock.now += 9.9
    assert spend(1) == 0
    clock.now += 0.2
    assert spend(2) == 1
    clock.now += 3_600
    assert spend(10) == 3
    assert buckets.wait("b", "question") == 0


def test_debt_is_paid_back(clock):
    buckets = Buckets({"megabytes": Rate(per_minute=60, burst=10)}, clock)
    buckets.spend("a", "megabytes", 100)
    assert buckets.wait("a", "megabytes") == pytest.approx(91)
    clock.now += 91
    assert buckets.wait("a", "megabytes") == 0


def test_only_so_many_clients_are_remembered(clock):
    buckets = Buckets({"other": Rate(60, 5)}, clock, capacity=100)
    for number in range(10_000):
        buckets.spend(f"client {number}", "other")
    assert len(buckets) == 100


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::"),
        ("2001:db8:1:3::1", "2001:db8:1:3::"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::"),
        ("testclient", "testclient"),
        ("", "local"),
    ],
)
def test_a_client_is_an_address_or_a_household(address, client):
    assert client_of({"client": (address, 1)}) == client
    assert client_of({"client": None}) == client_of({}) == "local"


# The middleware


def limited(clock: Clock, **server: Any) -> Any:
    return toy(Middleware(RateLimit, buckets=buckets_of(ServerConfig(**server), clock)))


def test_questions_files_and_pages_have_shares_of_their_own(clock):
    app = limited(clock, questions_per_minute=20, requests_per_minute=1_000)
    assert [ask(app, "POST", JOIN).status_code for _ in range(12)] == [200] * 10 + [429] * 2
    assert {ask(app, "GET", "/assets/a.js").status_code for _ in range(200)} == {200}
    assert ask(app, "POST", CHAT).status_code == 429
    assert ask(app, "POST", JOIN, peer="203.0.113.8").status_code == 200
    refused = ask(app, "POST", JOIN)
    assert refused.headers["retry-after"] == "3"
    words = "You are asking faster than this server answers. Please wait 3 seconds."
    assert refused.json() == {"detail": words}
    error = ask(app, "POST", CHAT).json()["error"]
    assert (error["message"], error["code"]) == (words, "rate_limit")
    clock.now += 3
    assert ask(app, "POST", JOIN).status_code == 200
    assert ask(app, "POST", JOIN).status_code == 429


def test_what_is_sent_counts_by_its_bytes(clock):
    app = limited(clock, upload_mb_per_minute=2)

    async def unmeasured() -> AsyncIterator[bytes]:
        for _ in range(15):
            yield b"x" * 100_000

    assert ask(app, "POST", UPLOAD, content=unmeasured()).status_code == 200
    assert ask(app, "POST", UPLOAD, content=b"x").status_code == 429
    assert ask(app, "GET", "/config").status_code == 200
    clock.now += 31
    assert ask(app, "POST", UPLOAD, content=b"x").status_code == 200


def test_a_family_of_addresses_is_one_client(clock):
    app = limited(clock, questions_per_minute=10)
    statuses = [ask(app, "POST", JOIN, peer=f"2001:db8::{each:x}").status_code for each in range(9)]
    assert statuses == [200] * 5 + [429] * 4


def test_streams_count_once_but_only_so_many_are_open(clock):
    asked = 0

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        nonlocal asked
        asked += 1
        await asyncio.sleep(30)

    guard = RateLimit(endless, buckets_of(ServerConfig(), clock), most_open=3)
    scope = {"type": "http", "method": "GET", "path": "/gradio_api/queue/data", "client": (PEER, 1)}
    told: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        told.append(message)

    async def scene() -> None:
        streams = [asyncio.create_task(guard(scope, None, send)) for _ in range(3)]  # type: ignore[arg-type]
        await asyncio.sleep(0)
        clock.now += 3_600
        await guard(scope, None, send)  # type: ignore[arg-type]
        assert (asked, told[0]["status"]) == (3, 429)
        streams[0].cancel()
        await asyncio.sleep(0)
        again = asyncio.create_task(guard(scope, None, send))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        assert asked == 4
        for each in (*streams, again):
            each.cancel()
        await asyncio.gather(*streams, again, return_exceptions=True)
        assert guard._open == {}

    asyncio.run(scene())


def test_limits_that_are_off_let_everything_through_but_attempts_to_log_in(clock):
    buckets = buckets_of(ServerConfig(questions_per_minute=1), clock)
    app = toy(Middleware(RateLimit, buckets=buckets, enabled=False))
    assert {ask(app, "POST", JOIN).status_code for _ in range(50)} == {200}
    statuses = [ask(app, "POST", "/login").status_code for _ in range(12)]
    assert statuses == [200] * 10 + [429] * 2


# Accounts


def accounts(text: str, *, public: bool = True) -> Accounts:
    return Accounts.from_environment(public=public, environment={VARIABLE: text})


def test_accounts_are_read_from_the_environment():
    assert not Accounts.from_environment(public=True, environment={})
    two = accounts("ann:correct horse, bob:battery:staple")
    assert two
    assert two.admits("ann", "correct horse")
    assert two.admits(" bob ", "battery:staple")
    for name, password in (
        *(("ann", "battery:staple"), ("ann", ""), ("", ""), ("bob", "battery")),
        *(("ANN", "correct horse"), ("ann", "correct horse "), ("\udc80", "\udc80")),
    ):
        assert not two.admits(name, password), (name, password)
    lines = accounts("ann:with, a comma\nbob:another one\n")
    assert lines.admits("ann", "with, a comma")
    assert lines.admits("bob", "another one")
    assert accounts("ann:short", public=False).admits("ann", "short")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "holds no account"),
        (" , ", "holds no account"),
        ("ann", "account 1 is not of the form user:password"),
        (":nobody knows", "account 1 is not of the form"),
        ("ann:", "the password of 'ann' is empty"),
        ("ann:hunter2", "has 7 characters; where others can reach the server it needs 8"),
        ("ann:long enough,ann:long enough", "two accounts of the name 'ann'"),
        ("ann:,bob", "account 2 is not"),
    ],
)
def test_accounts_that_cannot_be_meant_are_refused(text, told):
    with pytest.raises(ConfigError) as caught:
        accounts(text)
    assert told in str(caught.value)
    assert "hunter2" not in str(caught.value)


def basic(name: str, password: str) -> dict[str, str]:
    return {"authorization": f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"}


def test_programs_need_an_account_where_people_do(clock):
    app = toy(
        Middleware(Logins, accounts=accounts("ann:open sesame"), buckets=buckets_of(ServerConfig()))
    )
    refused = ask(app, "POST", CHAT)
    assert refused.status_code == 401
    assert refused.json()["error"]["code"] == "not_logged_in"
    assert ask(app, "POST", CHAT, headers=basic("ann", "open sesame")).status_code == 200
    for wrong in ("Basic x", "Basic ====", "Basic /w==", "Bearer sesame", "basic", b"Basic \xe9"):
        assert ask(app, "POST", CHAT, headers={"authorization": wrong}).status_code == 401
    assert ask(app, "GET", "/healthz").status_code == 200


@pytest.mark.parametrize("way", ["accounts", "keys"])
def test_nobody_may_try_many_passwords_or_keys(clock, way):
    buckets = buckets_of(ServerConfig(), clock)
    known = accounts("ann:open sesame") if way == "accounts" else Accounts()
    guards = [Middleware(Logins, accounts=known, buckets=buckets)]
    if way == "keys":
        guards.append(Middleware(KeyGate, keys=ApiKeys(("key",))))
    app = toy(*guards)
    right = basic("ann", "open sesame") if way == "accounts" else {"authorization": "Bearer key"}
    wrong = basic("ann", "open says me") if way == "accounts" else {"authorization": "Bearer no"}
    for _ in range(30):
        assert ask(app, "POST", CHAT, headers=right).status_code == 200
    statuses = [ask(app, "POST", CHAT, headers=wrong).status_code for _ in range(12)]
    assert statuses == [401] * 10 + [429] * 2
    # Also the right one: who is told which it was has found it.
    assert ask(app, "POST", CHAT, headers=right).status_code == 429
    assert ask(app, "POST", CHAT, headers=right, peer="203.0.113.9").status_code == 200
    clock.now += 60
    assert ask(app, "POST", CHAT, headers=right).status_code == 200


# The log


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "minigpt4.server.logs")
    return lambda: [
        json.loads(record.message)
        for record in caplog.records
        if record.name
        == "minigpt4.server.logs"  # threads of other tests may have ended with a word
    ]


def test_a_request_is_one_line_without_what_is_private(lines):
    app = toy(Middleware(RequestLog))
    ask(
        app,
        "POST",
        f"{JOIN}?session_hash=verysecret",
        content=b"my question",
        headers=basic("a", "b"),
    )
    ask(app, "GET", "/gradio_api/file=/cache/private-name.png")
    ask(app, "GET", "/made/up%0A{}")
    ask(app, "BREW", "/assets/x.js")
    ask(app, "GET", "/assets/x.js")
    ask(app, "GET", "/healthz")
    noted = lines()
    assert [each["route"] for each in noted] == [
        *("/gradio_api/queue/join", "/gradio_api/file", "closed", "/assets")
    ]
    assert noted[0] | {"time": "", "seconds": 0} == {
        "time": "",
        "event": "request",
        "route": "/gradio_api/queue/join",
        "method": "POST",
        "status": 200,
        "seconds": 0,
        "bytes": 11,
        "client": client_hash({"client": (PEER, 1)}),
    }
    assert noted[3]["method"] == "other"
    text = json.dumps(noted)
    for private in ("verysecret", "my question", "private-name", PEER, "Basic", "made"):
        assert private not in text


def test_no_log_no_line(lines):
    ask(toy(Middleware(RequestLog, enabled=False)), "GET", "/config")
    assert lines() == []


def answered(question: str, *, texts: bool = False, leave: bool = False, **options: Any) -> None:
    chat = FakeChat(word_seconds=0.02 if leave else 0.001)
    worker = LoggedWorker(lambda: chat, 4, 4, page_scope=lambda: None, texts=texts, **options)
    worker.start().result(60)

    async def scene() -> None:
        settings = GenerationSettings(max_new_tokens=50)
        parts = worker.answer(Job(None, question, (), settings, threading.Event()))
        with contextlib.suppress(EngineError, RuntimeError):
            async for part in parts:
                if leave and getattr(part, "tokens", 0):
                    break
        await parts.aclose()

    asyncio.run(scene())
    worker.close()


def test_an_answer_is_one_line(lines):
    answered("What is it?")
    (noted,) = lines()
    assert (noted["event"], noted["finish"], noted["route"]) == ("answer", "stop", "page")
    assert noted["tokens"] == 9
    assert 0 < noted["first_token"] <= noted["seconds"]
    assert "What is it?" not in json.dumps(noted)


@pytest.mark.parametrize(
    ("question", "finish"), [("please fail", "EngineError"), ("please crash", "crashed")]
)
def test_an_answer_that_fails_is_noted_as_such(lines, question, finish):
    answered(question)
    (noted,) = lines()
    assert noted["finish"] == finish
    assert "secret" not in json.dumps(noted)


def test_texts_are_noted_only_if_the_host_says_so(lines):
    answered("What is it?", texts=True)
    answered("long", leave=True)
    answered("quiet", enabled=False)
    first, second = lines()
    assert (first["question"], first["answer"]) == (
        "What is it?",
        "I see no picture. You asked: What is it?",
    )
    assert second["finish"] == "left"


def test_an_answer_to_a_program_names_its_route_and_client(lines):
    chat = FakeChat(word_seconds=0.001)
    worker = LoggedWorker(lambda: chat, 4, 4, page_scope=lambda: None)
    worker.start().result(60)

    async def endpoint(scope: Any, receive: Any, send: Any) -> None:
        async for _ in worker.answer(Job(None, "What?", (), GenerationSettings())):
            pass
        await JSONResponse({})(scope, receive, send)

    assert ask(RequestLog(endpoint), "POST", CHAT).status_code == 200
    worker.close()
    answer, request = lines()
    assert (answer["event"], request["event"]) == ("answer", "request")
    assert answer["route"] == request["route"] == "/v1"
    assert answer["client"] == request["client"]


def test_the_settings_of_the_server_are_checked():
    from minigpt4.config import load_config

    for key, value in (
        ("trusted_proxies", "[nonsense]"),
        ("trusted_proxies", "[10.0.0]"),
        ("trusted_proxies", "[10.0.0.0/64]"),
        ("hosts", '["a b"]'),
        ("frame_ancestors", '["javascript:x"]'),
        ("frame_ancestors", '["https://a; script-src *"]'),
        ("rate_limit", "maybe"),
        ("grace_seconds", "-1"),
    ):
        with pytest.raises(ConfigError, match=f"server.{key}"):
            load_config("eval_configs/tiny.yaml", [f"server.{key}={value}"])
    proxies = ["server.trusted_proxies=[10.0.0.0/8, '::1']", "server.hosts=['*.example.org']"]
    assert load_config("eval_configs/tiny.yaml", proxies).server.trusted_proxies[1] == "::1"
