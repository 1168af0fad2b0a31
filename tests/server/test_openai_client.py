"""`/v1` as programs use it: OpenAI's own client against a server that runs."""

import base64
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import openai
import pytest

from minigpt4.config import GenerationSettings, load_config
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
from tests.server.site import NAME, Site, running
from tests.truth import true_answer
from tests.ui.fake_chat import FakeChat
from tests.ui.server import fake_config
from tests.waiting import until

pytestmark = [pytest.mark.load, pytest.mark.filterwarnings("default")]


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


@pytest.fixture(autouse=True)
def rested(chat: FakeChat, site: Site) -> Iterator[None]:
    chat.word_seconds = 0.002
    yield
    chat.gate.set()
    until(lambda: not site.worker.open_questions)


def test_the_model_is_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [NAME]
    assert client.models.retrieve(NAME).owned_by == "minigpt4"
    with pytest.raises(openai.NotFoundError, match="there is 'tiny'"):
        client.models.retrieve("gpt-4")


def test_text_alone(client: openai.OpenAI) -> None:
    completion = ask(client, user("Hello?"))
    assert said(completion) == "I see no picture. You asked: Hello?"
    assert completion.choices[0].finish_reason == "stop"
    assert completion.model == NAME
    assert completion.usage.prompt_tokens == 2
    assert completion.usage.completion_tokens == 7
    assert completion.usage.total_tokens == 9


def test_pictures_in_their_order(client: openai.OpenAI) -> None:
    parts = (words("Which?"), picture("blue"), words("Really?"), picture("green"))
    assert said(ask(client, user(*parts))) == "I see blue and green. You asked: Which?\nReally?"


def test_earlier_turns_and_their_pictures_count(client: openai.OpenAI) -> None:
    first = ask(client, user(words("What?"), picture("blue")))
    then = ask(
        client,
        user(words("What?"), picture("blue")),
        first.choices[0].message,  # as the client's own guide sends it back
        user(picture("red")),
        user("And now?"),
    )
    assert said(then) == "I see blue and red. You asked: And now?"
    words_said = f"What? {said(first)} And now? None".split()  # the fake counts an open answer too
    assert then.usage.prompt_tokens == len(words_said)


def test_a_conversation_is_only_what_the_client_sends(client: openai.OpenAI) -> None:
    ask(client, user(words("What?"), picture("blue")))
    assert said(ask(client, user("Still?"))) == "I see no picture. You asked: Still?"


def test_a_stream_with_usage(client: openai.OpenAI, chat: FakeChat) -> None:
    chat.word_seconds = 0.05
    chunks = list(
        ask(client, user("one two three"), stream=True, stream_options={"include_usage": True})
    )
    text = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(text) == "I see no picture. You asked: one two three"
    assert sum(map(bool, text)) > 2
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (4, 9)
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_stream_without_usage_has_none(client: openai.OpenAI) -> None:
    chunks = list(ask(client, user("Hello?"), stream=True))
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)


@pytest.mark.parametrize("stop", ["You", ["nothing of it", "You asked"]])
def test_stop_ends_the_answer(client: openai.OpenAI, stop: Any) -> None:
    completion = ask(client, user("Hello?"), stop=stop)
    assert said(completion) == "I see no picture."
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage.completion_tokens == 4


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_the_longest_answer(client: openai.OpenAI, name: str) -> None:
    completion = ask(client, user("Hello?"), **{name: 3})
    assert (said(completion), completion.choices[0].finish_reason) == ("I see no", "length")


def test_settings_reach_the_model(client: openai.OpenAI, chat: FakeChat) -> None:
    extra = {"repetition_penalty": 1.2, "num_beams": 2}
    ask(client, user("?x"), temperature=0.5, top_p=1, seed=7, max_tokens=9, extra_body=extra)
    assert chat.settings[-1] == GenerationSettings(
        temperature=0.5, top_p=1, seed=7, max_new_tokens=9, repetition_penalty=1.2, num_beams=2
    )
    ask(client, user("?x"))
    assert chat.settings[-1] == GenerationSettings(temperature=0.0, max_new_tokens=200)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("question", "told"),
    [("please fail", "out of memory"), ("please crash", "Something went wrong")],
)
def test_failures_of_the_model_are_told_in_words(
    client: openai.OpenAI, question: str, told: str, *, stream: bool
) -> None:
    with pytest.raises(openai.APIError, match=told) as failure:
        list(ask(client, user(question), stream=stream))
    assert "secret" not in str(failure.value)


def test_a_full_queue_is_a_status_of_its_own(client: openai.OpenAI, chat: FakeChat) -> None:
    chat.gate.clear()
    answers: list[str] = []
    asking = [
        threading.Thread(target=lambda n=n: answers.append(said(ask(client, user(f"q{n}")))))
        for n in range(3)
    ]
    for each in asking:
        each.start()
    until(lambda: len(chat._line) == 3)
    for stream in (False, True):
        with pytest.raises(openai.InternalServerError, match="Many people") as refused:
            ask(client, user("me?"), stream=stream)
        assert refused.value.status_code == 503
        assert int(refused.value.response.headers["retry-after"]) > 0
    chat.gate.set()
    for each in asking:
        each.join(60)
    assert sorted(answer[-2:] for answer in answers) == ["q0", "q1", "q2"]


def test_a_picture_is_not_read_where_its_question_has_no_place(
    client: openai.OpenAI, site: Site, chat: FakeChat, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat.gate.clear()
    first = threading.Thread(target=lambda: ask(client, user("first?")))
    first.start()
    until(lambda: site.worker.open_questions == 1)
    monkeypatch.setattr(site.worker, "_most", 1)
    before = site.worker.refused
    damaged = user(part("data:image/png;base64,!!"), words("second?"))
    with pytest.raises(openai.InternalServerError, match="Many people"):
        ask(client, damaged)
    assert site.worker.refused == before + 1
    chat.gate.set()
    first.join(60)
    until(lambda: site.worker.open_questions == 0)
    with pytest.raises(openai.BadRequestError, match="base64"):
        ask(client, damaged)


def test_two_clients_are_answered_at_once(
    client: openai.OpenAI, site: Site, chat: FakeChat
) -> None:
    chat.gate.clear()
    answers: dict[str, str] = {}

    def talk(colour: str) -> None:
        with client_of(site) as own:
            question = user(words(f"Is it {colour}?"), picture(colour))
            stream = ask(own, question, stream=True)
            answers[colour] = "".join(each.choices[0].delta.content or "" for each in stream)

    both = [threading.Thread(target=talk, args=(colour,)) for colour in ("red", "blue")]
    for each in both:
        each.start()
    until(lambda: chat.answering == 2)
    chat.gate.set()
    for each in both:
        each.join(60)
    assert answers == {
        colour: f"I see {colour}. You asked: Is it {colour}?" for colour in ("red", "blue")
    }


def test_a_client_that_closes_its_stream_frees_the_model(
    client: openai.OpenAI, chat: FakeChat
) -> None:
    chat.word_seconds = 0.02
    stream = ask(client, user("a long one"), stream=True)
    for chunk in stream:
        if "word2" in (chunk.choices[0].delta.content or ""):
            break
    assert chat.answering == 1
    stream.close()
    until(lambda: not chat.answering)
    assert chat.ends[-1] in ("cancelled", "left")


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_gives_up_waiting_frees_the_model(
    client: openai.OpenAI, chat: FakeChat, site: Site, *, stream: bool
) -> None:
    chat.gate.clear()
    with pytest.raises(openai.APITimeoutError):
        ask(client, user("a long one"), stream=stream, timeout=0.5)
    until(lambda: not site.worker.open_questions)  # although the gate stays shut


def test_keys(tmp_path: Any, chat: FakeChat) -> None:
    with running(chat, fake_config(tmp_path), keys=("first-key", "second-key")) as site:
        for key in ("first-key", "second-key"):
            with client_of(site, key) as client:
                assert said(ask(client, user("Hello?")))
        for key in ("third-key", "first-key,second-key", "first-ke"):
            with client_of(site, key) as client:
                with pytest.raises(openai.AuthenticationError) as refused:
                    ask(client, user("Hello?"))
                assert refused.value.code == "invalid_api_key"
                with pytest.raises(openai.AuthenticationError):
                    client.models.list()


def test_a_model_that_is_not_loaded_yet(tmp_path: Any, chat: FakeChat) -> None:
    loaded = threading.Event()
    with running(chat, fake_config(tmp_path), loaded=loaded) as site, client_of(site) as client:
        with pytest.raises(openai.InternalServerError, match="being loaded") as refused:
            ask(client, user("Hello?"))
        assert refused.value.status_code == 503
        assert "retry-after" in refused.value.response.headers
        loaded.set()
        until(lambda: site.worker.load_state == "ready")
        assert said(ask(client, user("Hello?")))


def test_the_embedded_model_answers(tmp_path: Any) -> None:
    """The same picture and question as on the command line; seeds make drawn answers repeatable."""
    from minigpt4.api import CONFIGS
    from minigpt4.build import build_chat
    from minigpt4.config import ASSETS

    config = load_config(CONFIGS / "tiny.yaml", ["device=cpu"])
    content = (ASSETS / "examples" / "harbour.png").read_bytes()
    seen = part(f"data:image/png;base64,{base64.b64encode(content).decode()}")
    with running(build_chat(config), config) as site, client_of(site) as client:
        asked = user(seen, words("What color is the boat?"))
        first = ask(client, asked)
        assert said(first) == true_answer("harbour", "What color is the boat?")
        assert first.usage.completion_tokens > 3
        assert first.usage.prompt_tokens > 22  # as many as that are the picture's
        second = ask(client, asked, first.choices[0].message, user("How big is it?"), stream=True)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in second)
        assert text == true_answer("harbour", "How big is it?", about="boat")
        cut = ask(client, asked, stop=[" red"])
        assert (said(cut), cut.choices[0].finish_reason) == ("The boat is", "stop")
        tell = user(seen, words("Describe this image in detail."))
        drawn = [said(ask(client, tell, temperature=2, seed=seed)) for seed in (1, 1, 2, 3, 4)]
        assert drawn[0] == drawn[1]
        assert len(set(drawn)) > 1
