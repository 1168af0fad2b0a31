"""What one answer does to the others: stops, failures, a full queue, a long wait."""

import threading
from functools import partial

import pytest
import torch

from minigpt4.config import GenerationSettings
from minigpt4.engines.blocks import PAGE
from minigpt4.errors import BusyError, EngineError, NoRoomError
from tests.engines.asking import (
    ask,
    at_once,
    batching,
    free_blocks,
    gather,
    picture,
    prompt,
    slow_down,
)
from tests.waiting import until

GREEDY = GenerationSettings(temperature=0, repetition_penalty=1, max_new_tokens=40)


class Watched:
    """A stepper that calls `before` with the shares of every step."""

    def __init__(self, engine, before):
        self._run, self.free = engine._stepper.run, engine._stepper.free
        self._before = before
        engine._stepper = self

    def run(self, shares):
        self._before(shares)
        return self._run(shares)


@pytest.fixture
def engine(lively_model):
    made = batching(lively_model)
    yield made
    made.close()


def begun(engine, asked, settings=GREEDY, cancel=None):
    """An answer of which one token was written."""
    stream = engine.stream(asked, {}, settings, (), cancel or threading.Event())
    while next(stream).tokens == 0:
        pass
    return stream


def test_of_20_answers_10_are_cancelled_and_the_others_are_exact(lively_model):
    engine = batching(lively_model, max_answers=16, queue_size=16)
    asked = [prompt(f"question {number}") for number in range(20)]
    expected = [ask(engine, each, max_new_tokens=40) for each in asked]
    cancels = [threading.Event() for _ in asked]

    def before(shares):
        if any(share.answer.draw.drawn[9:] for share in shares):
            for cancel in cancels[::2]:
                cancel.set()

    Watched(engine, before)
    jobs = [
        partial(ask, engine, each, cancel=cancel, max_new_tokens=40)
        for each, cancel in zip(asked, cancels, strict=True)
    ]
    said = at_once(jobs)
    assert said[1::2] == expected[1::2]
    for each, whole in zip(said[::2], expected[::2], strict=True):
        assert each.finish == "cancelled"
        assert each.tokens < 40
        assert whole.text.startswith(each.text)
    assert free_blocks(engine) == engine._pool.blocks
    assert engine.statistics().cancelled == 10
    engine.close()


def test_a_cancel_ends_the_answer_within_one_step(engine):
    cancel = threading.Event()
    steps = []

    def before(shares):
        steps.append(len(shares))
        if len(steps) == 7:
            cancel.set()

    Watched(engine, before)
    said = ask(engine, prompt("long"), cancel=cancel, max_new_tokens=40)
    assert (said.finish, said.tokens) == ("cancelled", 7)
    assert len(steps) == 7


def test_closing_the_iterator_ends_the_answer(engine, monkeypatch):
    slow_down(engine, monkeypatch)
    stream = begun(engine, prompt("long"), GenerationSettings(temperature=0, max_new_tokens=2000))
    stream.close()
    until(lambda: engine.statistics().running == 0)
    assert free_blocks(engine) == engine._pool.blocks
    assert engine.statistics().generated_tokens < 1000


def test_one_failing_answer_is_told_alone_and_the_others_are_exact(engine):
    asked = [prompt(f"question {number}") for number in range(8)]
    expected = [ask(engine, each) for each in asked]
    bad = prompt("the bad one")
    wrong = tuple(engine._model.tokenize(bad).ids)

    def before(shares):
        for share in shares:
            if tuple(share.answer.ids[: len(wrong)]) == wrong and share.answer.draw.drawn[3:]:
                raise RuntimeError("tensor of the wrong kind in model.py")

    Watched(engine, before)

    def failing():
        with pytest.raises(EngineError, match="failed on this answer") as caught:
            ask(engine, bad)
        return str(caught.value)

    said = at_once([failing, *(partial(ask, engine, each) for each in asked)])
    assert said[1:] == expected
    assert "model.py" not in said[0]
    assert free_blocks(engine) == engine._pool.blocks
    assert (engine.statistics().failed, engine.statistics().answered) == (1, 16)


def test_a_failure_that_passes_is_told_to_nobody(engine):
    pictures = {"1": picture(engine._model, 1)}
    asked = [prompt(f"question {number}", 1, "?") for number in range(6)]
    settings = {"temperature": 1.0, "seed": 3, "repetition_penalty": 1.2}
    expected = [ask(engine, each, pictures, **settings) for each in asked]
    failures = []

    def before(shares):
        if len(shares) > 3 and len(failures) < 2:
            failures.append(len(shares))
            raise torch.OutOfMemoryError

    Watched(engine, before)
    gather(engine, 6)
    assert at_once([partial(ask, engine, each, pictures, **settings) for each in asked]) == expected
    assert len(failures) == 2


def test_after_a_failure_the_next_question_is_answered(engine):
    expected = ask(engine, prompt("next"))
    calls = []

    def before(shares):
        calls.append(shares)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    Watched(engine, before)
    with pytest.raises(EngineError, match="ran out of memory on this answer"):
        ask(engine, prompt("first"))
    assert ask(engine, prompt("next")) == expected


def test_an_answer_whose_numbers_run_out_is_told_so(engine):
    broken = torch.full((engine._model.queries, engine._model.language.width), float("nan"))
    good = [partial(ask, engine, prompt(f"question {number}")) for number in range(4)]
    expected = [job() for job in good]

    def failing():
        with pytest.raises(EngineError, match="out of range"):
            ask(engine, prompt("what is", 1, "?"), {"1": broken})

    assert at_once([*good, failing])[:-1] == expected
    assert ask(engine, prompt("what is", 1, "?"), {"1": picture(engine._model, 1)}).tokens == 12


def test_a_failure_of_the_thread_itself_leaves_nobody_waiting(engine, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(type(engine._pool), "record", lambda *_: 1 / 0)
        with pytest.raises(EngineError):
            ask(engine, prompt("first"))
    assert ask(engine, prompt("next")).tokens == 12
    assert free_blocks(engine) == engine._pool.blocks


def test_a_full_queue_refuses_at_once_and_tells_the_places(lively_model):
    engine = batching(lively_model, max_answers=2, queue_size=3)
    gate = threading.Event()
    Watched(engine, lambda shares: len(shares) == 2 and gate.wait(100))
    running = [
        threading.Thread(target=ask, args=(engine, prompt(f"run {number}"))) for number in range(2)
    ]
    for thread in running:
        thread.start()
    until(lambda: engine.statistics().running == 2)
    waiting = [
        engine.stream(prompt(f"wait {number}"), {}, GREEDY, (), threading.Event())
        for number in range(3)
    ]
    assert [next(stream).ahead for stream in waiting] == [1, 2, 3]
    assert engine.statistics().waiting == 3
    with pytest.raises(BusyError):  # and nothing moves that it could have waited for
        ask(engine, prompt("one too many"))
    waiting[0].close()
    gate.set()
    for thread in running:
        thread.join()
    steps = [list(stream) for stream in waiting[1:]]
    places = [[step.ahead for step in each if step.ahead is not None] for each in steps]
    assert places[0] in ([1], [])  # both places may become free in the same step
    assert places[1] in ([2], [2, 1])
    assert [each[-1].tokens for each in steps] == [40, 40]
    assert engine.statistics().refused == 1
    assert engine.statistics().cancelled == 1
    engine.close()


def test_a_cancelled_question_leaves_the_queue(lively_model, monkeypatch):
    engine = batching(lively_model, max_answers=1, queue_size=3)
    slow_down(engine, monkeypatch)
    long = begun(engine, prompt("long"), GenerationSettings(temperature=0, max_new_tokens=1500))
    cancel = threading.Event()
    stream = engine.stream(prompt("wait"), {}, GREEDY, (), cancel)
    assert next(stream).ahead == 1
    cancel.set()
    assert next(stream).finish == "cancelled"
    assert engine.statistics().running == 1
    long.close()
    engine.close()


def test_a_long_answer_does_not_hold_up_short_ones(lively_model, monkeypatch):
    engine = batching(lively_model, max_answers=4)
    slow_down(engine, monkeypatch)
    long = begun(engine, prompt("long"), GenerationSettings(temperature=0, max_new_tokens=1500))
    said = at_once([partial(ask, engine, prompt(f"short {number}")) for number in range(12)])
    assert [each.tokens for each in said] == [12] * 12
    assert engine.statistics().running == 1  # the long one goes on
    # 12 answers of 12 tokens by threes: 48 steps, and some for their prompts.
    assert engine.statistics().generated_tokens - 12 * 12 < 600
    long.close()
    engine.close()


def test_a_long_prompt_is_read_beside_the_answers_in_small_pieces(engine, monkeypatch):
    slow_down(engine, monkeypatch)
    beside = []

    def before(shares):
        if any(share.answer.draw.drawn for share in shares) and any(
            share.count > 1 for share in shares
        ):
            beside.append(sum(share.count for share in shares if share.count > 1))

    Watched(engine, before)
    stream = begun(engine, prompt("short"), GenerationSettings(temperature=0, max_new_tokens=1500))
    ask(engine, prompt("word " * 700), max_new_tokens=2)
    stream.close()
    assert len(beside) > 5
    assert max(beside) <= 128


def test_short_prompts_come_first_and_long_ones_still_come(engine):
    said, steps = [], []
    gate = threading.Event()
    stream = begun(engine, prompt("short"), GenerationSettings(temperature=0, max_new_tokens=1500))

    def before(shares):
        gate.wait(100)
        counts = {share.answer: share.count for share in shares}
        reading = [answer for answer in engine._running if not answer.draw.drawn]
        if len(reading) > 1:
            oldest = reading[0]
            steps.append((counts.get(oldest, 0), len(oldest.ids) - oldest.read))

    Watched(engine, before)

    def asked(words):
        ask(engine, prompt("word " * words), max_new_tokens=1)
        said.append(words)

    threads = [threading.Thread(target=asked, args=(words,)) for words in (600, 500, 100, 90, 80)]
    for count, thread in enumerate(threads, start=2):
        thread.start()
        until(lambda count=count: sum(_counts(engine)) == count)
    gate.set()
    for thread in threads:
        thread.join()
    stream.close()
    assert set(said[:3]) == {80, 90, 100}
    assert len(steps) > 3
    for read, rest in steps:
        assert read >= min(64, rest)  # the oldest always gets half of the 128


def test_what_cannot_ever_fit_is_refused_in_words(lively_model):
    engine = batching(lively_model, blocks=8)
    with pytest.raises(
        NoRoomError, match=r"answer of 300 tokens need room for 30\d tokens, .* room for 128"
    ):
        ask(engine, prompt("hello"), max_new_tokens=300)
    assert ask(engine, prompt("hello"), max_new_tokens=100).tokens == 100
    engine.close()


def test_close_ends_what_is_written_and_what_waits(lively_model, monkeypatch):
    engine = batching(lively_model, max_answers=1)
    slow_down(engine, monkeypatch)
    running = begun(engine, prompt("long"), GenerationSettings(temperature=0, max_new_tokens=1500))
    waiting = engine.stream(prompt("wait"), {}, GREEDY, (), threading.Event())
    assert next(waiting).ahead == 1
    engine.close()
    assert list(running)[-1].finish == "cancelled"
    assert list(waiting)[-1].finish == "cancelled"
    assert free_blocks(engine) == engine._pool.blocks
    with pytest.raises(EngineError, match="put away"):
        ask(engine, prompt("late"))
    engine.close()


def test_what_led_to_no_token_is_read_anew(engine):
    asked, pictures = prompt("word " * 600, 1, "and?"), {"1": picture(engine._model, 1)}
    run, steps, spoilt_once = engine._stepper.run, [], []

    def spoilt(shares):
        logits = run(shares)
        steps.append(shares)
        if shares[0].writes and not spoilt_once:  # a fault of the moment, in all that was read
            spoilt_once.append(True)
            for layer in engine._stepper._cache.layers:
                for each in layer:
                    each[:, PAGE:] = float("nan")
            logits = logits * float("nan")
        return logits

    engine._stepper.run = spoilt
    with pytest.raises(EngineError, match="out of range"):
        ask(engine, asked, pictures)
    assert len(steps) > 1  # a part of the prompt led to no token, nor to a failure
    fresh = batching(engine._model)
    assert ask(engine, asked, pictures) == ask(fresh, asked, pictures)
    fresh.close()


def test_after_a_failure_those_who_wrote_come_before_those_who_wait(lively_model):
    engine = batching(lively_model, blocks=14, max_answers=4)  # room for two at a time
    ended, failed = [], []

    def before(shares):
        if len(shares) == 2 and engine.statistics().waiting == 3 and not failed:
            failed.append(True)
            raise RuntimeError

    Watched(engine, before)
    gate = threading.Event()
    run = engine._stepper._run
    engine._stepper._run = lambda shares: (gate.wait(100), run(shares))[1]

    def asks(number):
        ask(engine, prompt(f"question {number}"), max_new_tokens=90)
        ended.append(number)

    threads = [threading.Thread(target=asks, args=(number,)) for number in range(5)]
    for count, thread in enumerate(threads, start=1):
        thread.start()
        until(lambda count=count: sum(_counts(engine)) == count)
    gate.set()
    for thread in threads:
        thread.join(60)
    assert failed
    assert set(ended[:2]) == {0, 1}
    assert len(ended) == 5
    engine.close()


def _counts(engine):
    shown = engine.statistics()
    return shown.running, shown.waiting
