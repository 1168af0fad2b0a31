"""What is sent to a vLLM server is what a real one took, and its answers are understood."""

import json
import math

import pytest
import torch

from minigpt4.config import GenerationSettings
from minigpt4.engines import vllm_wire
from minigpt4.engines.vllm_wire import (
    RequestRefusedError,
    ServerFailedError,
    WrongServerError,
    answer_request,
    read_event,
    read_models,
    read_probe,
    refusal,
    same_weights,
    with_model,
)
from minigpt4.errors import EngineError
from minigpt4.models.minigpt4 import MiniGPT4
from tests.engines.vllm_record import (
    recorded,
    recorded_model,
    recorded_question,
    requests,
    without_numbers,
)

ANSWERS = ("answer", "wild answer", "short answer", "stopped answer")


@pytest.fixture(scope="module")
def model() -> MiniGPT4:
    return recorded_model()


def chunks(name):
    lines = recorded()[name]["body"].splitlines()
    return [chunk for line in lines if (chunk := read_event(line)) is not None]


def body(name):
    return recorded()[name]["body"].encode()


def test_the_records_are_of_the_server_that_the_documents_name():
    assert json.loads(body("/version")) == {"version": "0.32.0"}


def test_what_is_sent_today_is_what_the_real_server_took(model):
    for name, (route, request) in requests(model, recorded_question()).items():
        kept = recorded()[name]
        sent = without_numbers(json.loads(with_model(request, "tiny")))
        assert kept["path"] == route, name
        for one, other in zip(means(sent), means(kept["request"]), strict=True):
            # Rows of a picture went through the eye, whose sums differ by machine.
            assert one == pytest.approx(other, abs=2e-3), name
        assert sent == kept["request"], name


def means(request):
    """Takes the rows' means out of a request."""
    parts = [part for message in request.get("messages", ()) for part in message["content"]]
    return [part["data"].pop("row_means") for part in parts]


@pytest.mark.parametrize("name", ANSWERS)
def test_recorded_streams_hold_all_their_tokens(name):
    *parts, usage = chunks(name)
    told = json.loads(recorded()[name]["body"].split("data: ")[-2])["usage"]
    assert sum(len(part.tokens) for part in parts) == told["completion_tokens"] > 0
    assert usage.usage == (told["prompt_tokens"], 0)
    assert [part.finish for part in parts[:-1]] == [None] * (len(parts) - 1)
    assert parts[-1].finish == ("length" if name == "short answer" else "stop")


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("too long", RequestRefusedError, "maximum context length is 2048"),
        ("too wide", RequestRefusedError, "hidden_size 64 does not match"),
        ("without embeddings", RequestRefusedError, "--enable-prompt-embeds"),
        ("without a key", WrongServerError, "MINIGPT4_VLLM_API_KEY"),
        ("another model", ServerFailedError, "`another` does not exist"),
    ],
)
def test_recorded_refusals_become_words(name, kind, words):
    error = refusal(recorded()[name]["status"], body(name))
    assert type(error) is kind
    assert words in str(error)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_a_busy_or_broken_server_is_no_refusal(status):
    assert type(refusal(status, b"<html>")) is ServerFailedError


def test_the_models_name_and_length_are_read():
    assert read_models(body("/v1/models")) == ("tiny", 2048)
    with pytest.raises(WrongServerError, match="no vLLM server"):
        read_models(b'{"object": "list", "data": []}')


def test_recorded_probes_agree_and_others_do_not():
    by_ids, by_embeds = (read_probe(body(f"probe by {kind}")) for kind in ("ids", "embeds"))
    assert by_ids.prompt_tokens == by_embeds.prompt_tokens == 4
    assert same_weights(by_ids, by_embeds)
    best = max(by_ids.likeliest, key=by_ids.likeliest.get)
    for off in (
        {best: by_ids.likeliest[best] - 0.6},
        {"token_id:7": -0.1},
    ):
        other = vllm_wire.Probe(4, {**by_ids.likeliest, **off})
        assert not same_weights(by_ids, other)
    close = vllm_wire.Probe(4, {token: value - 0.1 for token, value in by_ids.likeliest.items()})
    assert same_weights(by_ids, close)


@pytest.mark.parametrize(
    "line",
    [
        "data: {",
        "data: []",
        'data: {"choices": [{"token_ids": ["x"]}]}',
        'data: {"choices": [{"token_ids": [1], "finish_reason": "abort"}]}',
        'data: {"error": {"message": "the engine died"}}',
        'data: {"error": "Unauthorized"}',
    ],
)
def test_what_is_no_answer_is_a_failure_of_the_server(line):
    with pytest.raises(ServerFailedError):
        read_event(line)


@pytest.mark.parametrize("line", ["", ": ping", "event: x", "data: [DONE]"])
def test_lines_that_say_nothing_are_passed_over(line):
    assert read_event(line) is None


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_never_sent(number):
    embeds = torch.zeros(3, 8)
    embeds[1, 2] = number
    with pytest.raises(EngineError, match="not finite"):
        answer_request(embeds, GenerationSettings(), (), 2)


def test_nothing_that_changes_an_answer_is_left_to_the_servers_defaults():
    settings = GenerationSettings(temperature=0.7, top_p=0.8, repetition_penalty=1.3, seed=5)
    sent = answer_request(torch.zeros(3, 8), settings, ("###", ""), 2)
    assert {key: sent[key] for key in sent if key != "messages"} == {
        "max_tokens": 300,
        "temperature": 0.7,
        "top_p": 0.8,
        "top_k": -1,
        "min_p": 0.0,
        "repetition_penalty": 1.3,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "seed": 5,
        "stop": ["###"],
        "ignore_eos": True,
        "stop_token_ids": [2],
        "return_token_ids": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_embeddings_travel_alone_and_in_their_own_precision(dtype):
    table = torch.randn(1000, 8).to(dtype)
    sent = vllm_wire.encode_embeds(table[3:6])  # a view of a large tensor
    told = without_numbers({"messages": [{"content": [{"data": sent}]}]})
    assert told["messages"][0]["content"][0]["data"]["shape"] == [3, 8]
    assert told["messages"][0]["content"][0]["data"]["dtype"] == str(dtype)
    assert len(sent) < 4000
