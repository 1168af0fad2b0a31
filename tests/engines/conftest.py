"""Models for tests of engines, and vLLM servers that are imitated."""

from collections.abc import Iterator

import pytest
import torch

from minigpt4.engines.vllm import VllmEngine
from minigpt4.models.minigpt4 import MiniGPT4
from tests.engines.vllm_record import recorded_model, recorded_question
from tests.engines.vllm_stub import StubServer


@pytest.fixture
def lively_model(tiny_model: MiniGPT4) -> MiniGPT4:
    """The small model with larger random weights: what it says depends on all that it has read.

    With a new model's weights, and the embeddings for its output head, it says the last word again.
    """
    causal = tiny_model.language.model
    chance = torch.Generator().manual_seed(6)
    causal.lm_head.weight = torch.nn.Parameter(torch.empty_like(causal.lm_head.weight))
    with torch.no_grad():
        for weight in causal.parameters():
            if weight.ndim > 1:
                weight.normal_(0, 0.25, generator=chance)
    tiny_model.freeze()
    return tiny_model


@pytest.fixture(scope="module")
def served() -> MiniGPT4:
    return recorded_model()


@pytest.fixture(scope="module")
def asked():
    return recorded_question()


@pytest.fixture
def server() -> Iterator[StubServer]:
    stub = StubServer()
    yield stub
    stub.close()


@pytest.fixture
def other() -> Iterator[StubServer]:
    stub = StubServer()
    yield stub
    stub.close()


@pytest.fixture
def connect(served):
    """Makes engines that are closed at the end."""
    made = []

    def connected(*servers: StubServer | str, **settings) -> VllmEngine:
        urls = [each if isinstance(each, str) else each.url for each in servers]
        given = {"context_tokens": 2048, "folder": "tiny/language", "check_seconds": 0.1}
        engine = VllmEngine(served, urls, **{**given, **settings})
        made.append(engine)
        return engine

    yield connected
    for engine in made:
        engine.close()
