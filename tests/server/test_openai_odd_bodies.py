"""Bodies that nobody meant: whatever is done to a right one, the answer is an answer or a reason."""

import copy
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from minigpt4.server.api_keys import ApiKeys
from minigpt4.server.openai_routes import openai_app
from minigpt4.ui.worker import ModelWorker
from tests.ui.fake_chat import FakeChat
from tests.ui.server import fake_config

BODIES = 300
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGA"
    "WjR9awAAAABJRU5ErkJggg=="
)
RIGHT: dict[str, Any] = {
    "model": "tiny",
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is it?"},
                {"type": "image_url", "image_url": {"url": PIXEL}},
            ],
        },
        {"role": "assistant", "content": "A point."},
        {"role": "user", "content": "And now?"},
    ],
    "stream": False,
    "stop": ["x"],
    "temperature": 0.5,
    "top_p": 0.9,
    "max_tokens": 20,
    "seed": 1,
    "n": 1,
}
NAMES = ("tools", "logprobs", "user", "num_beams", "max_completion_tokens", "\ud800", "a" * 3000)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 1.5, 1e308, float("nan"), float("inf"), 10**30),
    *("", "x", "tiny", "\ud800", "\0", "a" * 5000, "user", "system", "data:,", "https://x/"),
    *([], {}, [[]], [{}], [None], ["\ud800"], {"a": 1}),
    *({"type": "text"}, {"type": "image_url", "image_url": PIXEL}),
)


@pytest.fixture
def http(tmp_path) -> Iterator[TestClient]:
    worker = ModelWorker(lambda: FakeChat(word_seconds=0))
    worker.start().result()
    yield TestClient(openai_app(worker, fake_config(tmp_path), "tiny", ApiKeys()))
    worker.close()


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of everything inside."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in inner:
        yield (*path, key)
        if isinstance(each, dict | list):
            yield from places(each, (*path, key))


def spoilt(chance: random.Random) -> dict[str, Any]:
    """Change a right body in one to three places."""
    body = copy.deepcopy(RIGHT)
    for _ in range(chance.randint(1, 3)):
        *way, last = chance.choice(list(places(body)))
        at: Any = body
        for key in way:
            at = at[key]
        what, value = chance.random(), copy.deepcopy(chance.choice(VALUES))
        if what < 0.6:
            at[last] = value
        elif what < 0.75:
            del at[last]
        elif isinstance(at, dict):
            at[chance.choice(NAMES)] = value
        else:
            at.insert(chance.randint(0, len(at)), value)
        if not body:
            return body
    return body


def test_every_body_gets_an_answer_or_a_reason(http: TestClient) -> None:
    chance = random.Random(0)
    answered = 0
    for _ in range(BODIES):
        text = json.dumps(spoilt(chance))
        if chance.random() < 0.05:
            text = text[: chance.randint(0, len(text))]
        answer = http.post(
            "/chat/completions", content=text, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code in (200, 400, 404), text[:500]
        if answer.status_code == 200:
            answered += 1
            continue
        error = answer.json()["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        assert error["message"].strip()
        assert len(answer.content) < 4000
    assert 0 < answered < BODIES
