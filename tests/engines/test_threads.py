"""Engines and the threads they are asked from: what goes wrong there stops nobody for good."""

import gc
import threading

import pytest

from minigpt4.config import GenerationSettings
from minigpt4.engines.generate import GenerateEngine
from tests.engines.asking import ask, batching, prompt, slow_down

LONG = GenerationSettings(temperature=0, max_new_tokens=1500)


@pytest.fixture(params=["batching", "generate"])
def engine(lively_model, request):
    made = batching(lively_model) if request.param == "batching" else GenerateEngine(lively_model)
    yield made
    made.close()


def test_a_thread_that_cannot_start_is_tried_again(engine, monkeypatch):
    def fails(thread):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as full:
        full.setattr(threading.Thread, "start", fails)
        with pytest.raises(RuntimeError, match="can't start"):
            ask(engine, prompt("first"))
    assert engine.statistics().waiting == 0
    said = []
    # Of its own, to fail here instead of waiting for ever.
    asking = threading.Thread(target=lambda: said.append(ask(engine, prompt("next"))), daemon=True)
    asking.start()
    asking.join(60)
    assert said[0].tokens == 12


def test_a_forgotten_answer_may_be_collected_anywhere(engine, monkeypatch):
    """Python collects a cycle in whatever thread it pleases, also in one that holds the lock."""
    slow_down(engine, monkeypatch)
    lock = engine._state if hasattr(engine, "_state") else engine._lock
    stream = engine.stream(prompt("forgotten"), {}, LONG, (), threading.Event())
    next(stream)
    cycle = [stream]
    cycle.append(cycle)
    collected = threading.Event()

    def collect():
        with lock, engine._meter._lock:
            gc.collect()
        collected.set()

    gc.disable()
    try:
        del stream, cycle
        threading.Thread(target=collect, daemon=True).start()
        assert collected.wait(60)
    finally:
        gc.enable()
    assert ask(engine, prompt("next")).tokens == 12
    assert engine.statistics().cancelled == 1


def test_a_thread_that_had_nothing_to_do_is_followed_by_another(lively_model, monkeypatch):
    monkeypatch.setattr("minigpt4.engines.batching._IDLE_SECONDS", 0.01)
    engine = batching(lively_model)
    said = []
    for _ in range(2):
        asking = threading.Thread(
            target=lambda: said.append(ask(engine, prompt("again"))), daemon=True
        )
        asking.start()
        asking.join(60)
        for thread in threading.enumerate():
            if thread.name == "answers":
                thread.join(60)
    assert len(said) == 2
    engine.close()
