"""An endpoint is asked patiently, and not beyond hope."""

import threading
import time
from email.utils import formatdate

import pytest

from tests.server.site import NAME, running
from tests.train.curation.fake_endpoint import fake_endpoint, refused, said
from tests.ui.fake_chat import FakeChat
from tests.ui.server import fake_config
from tests.waiting import until
from train.curation.endpoint import Endpoint, EndpointSettings
from train.curation.errors import CurationError, RowError, UnansweredError

pytestmark = pytest.mark.load


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with fake_endpoint() as fake:
        yield fake


def ask(url: str, text: str = "P\n\nA text.", key: str = "k", **settings):
    chosen = {"model": "m", "first_pause": 0.01, "tries": 3, "timeout": 60.0} | settings
    with Endpoint(EndpointSettings(url=url, **chosen), key, threading.Event()) as endpoint:
        return endpoint.complete(text)


def test_a_question_is_sent_as_openai_wants_it(fake):
    completion = ask(fake.url, temperature=0.0)
    assert (completion.text, completion.model, completion.tries) == (
        "A text. Mended.",
        "mender-1",
        1,
    )
    assert completion.usage == {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    question = {"role": "user", "content": "P\n\nA text."}
    assert fake.bodies == [{"model": "m", "messages": [question], "temperature": 0.0}]
    assert fake.keys == ["Bearer k"]
    ask(f"{fake.url}/", key="")
    assert "temperature" not in fake.bodies[-1]
    assert fake.keys[-1] == ""


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
def test_what_may_pass_is_tried_again(fake, status):
    fake.answer = lambda text, asked: refused(status) if asked < 3 else said("Better.")
    completion = ask(fake.url)
    assert (completion.text, completion.tries) == ("Better.", 3)
    fake.answer = lambda *_: refused(status, "busy now")
    with pytest.raises(UnansweredError, match=f"^{status}.*busy now, 3 times$"):
        ask(fake.url)


@pytest.mark.parametrize("status", [401, 402, 403, 404, 405])
def test_what_is_hopeless_ends_everything_at_once(fake, status):
    fake.answer = lambda *_: refused(status, "wrong key")
    with pytest.raises(CurationError, match=f"{status}.*wrong key") as failure:
        ask(fake.url.replace("//", "//user:secret@"), key="sk-secret")
    assert "secret" not in str(failure.value)
    assert len(fake.bodies) == 1


def test_an_address_that_has_moved_is_hopeless(fake):
    fake.answer = lambda *_: (308, {"location": "https://host.invalid/v1"}, b"")
    with pytest.raises(CurationError, match=r"308 Permanent Redirect.*Check .*the address"):
        ask(fake.url)
    assert len(fake.bodies) == 1


def test_an_empty_account_is_hopeless_and_not_busy(fake):
    spent = {"error": {"message": "no money", "code": "insufficient_quota"}}
    fake.answer = lambda *_: (429, {}, spent)
    with pytest.raises(CurationError, match="no money"):
        ask(fake.url)
    assert len(fake.bodies) == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (refused(400, "too long"), "400 Bad Request: too long"),
        (refused(418, "tea"), "418"),
        ((200, {}, b"<html>"), "no chat completion"),
        ((200, {}, {"choices": []}), "no chat completion"),
        ((200, {}, {"choices": [{"message": None}]}), "no chat completion"),
        (said(""), "empty"),
        (said(None), "empty"),
        (said("<think>hm</think>  "), "empty"),
        (said("A text", "length"), "cut off"),
        (said("A text", "content_filter"), "withheld"),
    ],
)
def test_what_is_wrong_with_one_question_is_only_its_own(fake, answer, reason):
    fake.answer = lambda *_: answer
    with pytest.raises(RowError, match=reason) as failure:
        ask(fake.url)
    assert not isinstance(failure.value, UnansweredError)
    assert len(fake.bodies) == 1


def test_odd_answers_are_told_or_taken(fake):
    fake.answer = lambda *_: (200, {"content-encoding": "gzip"}, b"no gzip")
    with pytest.raises(UnansweredError, match=r"no answer \(DecodingError\), 3 times"):
        ask(fake.url)
    choice = {"message": {"content": "Fine."}}
    fake.answer = lambda *_: (200, {}, {"choices": [choice], "usage": "none"})
    assert (ask(fake.url).text, ask(fake.url).usage) == ("Fine.", {})


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("  A text.\n", "A text."),
        ('"A text."', "A text."),
        ('"A" and "B"', '"A" and "B"'),
        ("```\nA text.\n```", "A text."),
        ("<think>\nShort\n</think>\nA text.", "A text."),
    ],
)
def test_only_the_text_is_taken(fake, written, text):
    fake.answer = lambda *_: said(written)
    assert ask(fake.url).text == text


@pytest.mark.parametrize(
    "headers",
    [
        {"retry_after": "0.3"},
        {"retry_after_ms": "300"},
        {"retry_after": lambda: formatdate(time.time() + 1.4, usegmt=True)},
    ],
)
def test_everybody_waits_as_long_as_the_server_says(fake, headers):
    told = threading.Event()
    times = []

    def answer(text, asked):
        times.append(time.monotonic())
        if text == "first" and asked == 1:
            told.set()
            # A time of day is in whole seconds, and is told now: a machine may be slow until here.
            named = {name: each() if callable(each) else each for name, each in headers.items()}
            return refused(429, **named)
        return said("Better.")

    fake.answer = answer
    settings = EndpointSettings(url=fake.url, model="m", first_pause=0.001, timeout=60)
    with Endpoint(settings, "", threading.Event()) as endpoint:
        first = threading.Thread(target=endpoint.complete, args=("first",))
        first.start()
        assert told.wait(60)
        until(lambda: endpoint._pace._paused_until)  # the answer is read
        endpoint.complete("second")
        first.join()
    assert len(times) == 3
    assert min(times[1:]) - times[0] >= 0.25


def test_a_server_that_wants_hours_is_left(fake):
    fake.answer = lambda *_: refused(429, "daily limit", retry_after="7200")
    with pytest.raises(CurationError, match=r"come back in 7,200 s.*daily limit"):
        ask(fake.url)


def test_no_more_are_asked_a_minute_than_may_be(fake):
    settings = EndpointSettings(url=fake.url, model="m", per_minute=600)
    with Endpoint(settings, "", threading.Event()) as endpoint:
        begun = time.monotonic()
        threads = [threading.Thread(target=endpoint.complete, args=(str(n),)) for n in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert time.monotonic() - begun >= 0.5


def test_nobody_there_is_told_after_all_tries(fake):
    with pytest.raises(UnansweredError, match=r"no answer \(ConnectError\), 3 times"):
        ask("http://127.0.0.1:9/v1")


def test_a_stop_ends_a_wait_at_once(fake):
    fake.answer = lambda *_: refused(500)
    stop = threading.Event()
    settings = EndpointSettings(url=fake.url, model="m", first_pause=300)
    with Endpoint(settings, "", stop) as endpoint:
        threading.Timer(0.2, stop.set).start()
        begun = time.monotonic()
        with pytest.raises(RowError, match="stopped"):
            endpoint.complete("x")
        assert time.monotonic() - begun < 100


@pytest.mark.filterwarnings("default")  # Gradio's own threads warn about pandas
def test_our_own_server_is_such_an_endpoint(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    config = fake_config(tmp_path)
    with running(FakeChat(0.001), config, keys=["secret"]) as site:
        completion = ask(f"{site.url}v1", "Correct this.\n\nA dog runs.", "secret", model=NAME)
        assert "A dog runs." in completion.text
        assert completion.model == NAME
        assert completion.usage["completion_tokens"] > 0
        with pytest.raises(CurationError, match="401"):
            ask(f"{site.url}v1", key="wrong", model=NAME)
        with pytest.raises(CurationError, match="404"):
            ask(f"{site.url}v1", key="secret", model="gpt-unknown")
