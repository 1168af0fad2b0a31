"""The vLLM engine on servers of this machine that say what a real one said, or fail."""

import threading

import pytest
import torch

from minigpt4.config import GenerationSettings
from minigpt4.errors import BusyError, EngineError, NoBeamsError
from minigpt4.models.minigpt4 import MiniGPT4
from tests.engines.asking import Said, at_once
from tests.engines.vllm_record import (
    FORMAT,
    GREEDY,
    STOP,
    WILD,
    recorded,
    recorded_model,
)
from tests.engines.vllm_stub import (
    HALF,
    event,
    hold,
    replay,
    say,
    stream,
    together,
)
from tests.waiting import until

pytestmark = pytest.mark.load


def whole_model() -> MiniGPT4:
    return recorded_model(served=False)


def test_the_recorded_answer_is_the_one_of_generate(connect, server, asked):
    from minigpt4.engines.generate import GenerateEngine

    reference = GenerateEngine(whole_model())
    engine = connect(server)
    try:
        for name, settings, stop in (
            ("answer", GREEDY, FORMAT.stop_strings),
            ("stopped answer", GREEDY, STOP),
            ("short answer", GenerationSettings(temperature=0.0, max_new_tokens=5), ()),
        ):
            server.next.append(replay(name))
            said = say(engine, asked, settings=settings, stop=stop)
            assert said == say(reference, asked, settings=settings, stop=stop), name
    finally:
        reference.close()


def test_the_language_model_itself_is_not_here(served):
    held = sum(weight.numel() for weight in served.language.parameters())
    assert held == 768 * 160  # the embeddings; the whole has 1.4 million
    with pytest.raises(EngineError, match="on a server"):
        served.language.model  # noqa: B018 - reading it is the test


def test_embeddings_are_those_of_the_whole_model(served, asked):
    torch.testing.assert_close(
        served.embed_prompt(*asked), whole_model().embed_prompt(*asked), rtol=0, atol=0
    )


def test_bytes_of_a_wild_answer_are_valid_text(connect, server, asked):
    server.next.append(replay("wild answer"))
    said = say(connect(server), asked, settings=WILD)
    assert "\ufffd" in said.text
    assert said.text.encode().decode() == said.text


def test_a_character_in_several_events_comes_out_whole(connect, server, asked, served):
    first = served.language.tokenizer.convert_tokens_to_ids("<0x00>")
    bytes_of = [first + byte for byte in "é🙂".encode()]
    server.next.append(stream(*[event(each) for each in bytes_of], event(2, finish="stop")))
    steps = list(connect(server).stream(*asked, GREEDY, (), threading.Event()))
    assert [step.text for step in steps if step.text] == ["é", "🙂"]
    assert (steps[-1].finish, steps[-1].tokens) == ("stop", 7)


def test_several_tokens_in_one_event_are_all_taken(connect, server, asked):
    server.next.append(stream(event(297, 347, 541), event(461, 2, finish="stop")))
    assert say(connect(server), asked) == Said("The picture shows three", 5, "stop")


def test_a_stop_string_that_the_server_misses_ends_the_answer_here(connect, server, asked, served):
    ids = served.language.encode("red boat")
    server.next.append(hold(*[event(each) for each in ids]))
    assert say(connect(server), asked, stop=("boat",)) == Said("red ", len(ids), "stop")
    assert server.gone.acquire(timeout=60)


def test_two_threads_may_close_it_at_once(connect, server):
    engine = connect(server)
    together = threading.Barrier(8)

    def close() -> None:
        together.wait()
        engine.close()

    threads = [threading.Thread(target=close, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not any(thread.is_alive() for thread in threads)


def test_cancelling_closes_the_connection_at_once(connect, server, asked):
    server.next.append(hold(*HALF))
    engine, cancel = connect(server), threading.Event()
    steps = engine.stream(*asked, GREEDY, FORMAT.stop_strings, cancel)
    assert [next(steps).text, next(steps).text] == ["The", " picture"]
    cancel.set()  # nothing more comes from the server, by which it could be noticed later
    *_, last = steps
    assert (last.finish, last.tokens) == ("cancelled", 2)
    assert server.gone.acquire(timeout=60)
    assert engine.statistics().cancelled == 1


def test_cancelling_before_the_first_token_works_too(connect, server, asked):
    server.next.append(hold())
    engine, cancel = connect(server), threading.Event()
    threading.Timer(0.2, cancel.set).start()
    assert say(engine, asked, cancel) == Said("", 0, "cancelled")
    assert server.gone.acquire(timeout=60)


def test_closing_the_iterator_closes_the_connection_at_once(connect, server, asked):
    server.next.append(hold(*HALF))
    engine = connect(server)
    steps = engine.stream(*asked, GREEDY, FORMAT.stop_strings, threading.Event())
    next(steps)
    steps.close()
    assert server.gone.acquire(timeout=60)
    until(lambda: engine.statistics().running == 0)
    assert engine.statistics().cancelled == 1


def test_closing_the_engine_ends_what_is_being_written(connect, server, asked):
    server.next.append(hold(*HALF))
    engine = connect(server)
    steps = engine.stream(*asked, GREEDY, FORMAT.stop_strings, threading.Event())
    next(steps)
    engine.close()
    *_, last = steps
    assert last.finish == "cancelled"
    assert server.gone.acquire(timeout=60)
    with pytest.raises(EngineError):
        say(engine, asked)


def test_the_least_busy_server_is_asked(connect, server, other, asked):
    server.usual = other.usual = together(6, stream(event(297), event(2, finish="stop")))
    engine = connect(server, other, places=8)
    at_once([lambda: say(engine, asked)] * 6)
    assert (server.most, other.most) == (3, 3)


def test_more_questions_than_places_wait_in_order_and_are_told_so(connect, server, asked):
    engine = connect(server, places=1, queue_size=2)
    server.next.extend([hold(*HALF), hold(*HALF)])
    first, second, third = (
        engine.stream(*asked, GREEDY, FORMAT.stop_strings, threading.Event()) for _ in range(3)
    )
    next(first)
    assert (next(second).ahead, next(third).ahead) == (0, 1)
    assert engine.statistics().waiting == 2
    with pytest.raises(BusyError):
        next(engine.stream(*asked, GREEDY, (), threading.Event()))
    first.close()
    assert next(second).ahead is None
    assert next(third).ahead == 0
    assert next(second).text == "The"
    second.close()
    assert [step.finish for step in third][-1] == "stop"
    counts = engine.statistics()
    assert (counts.answered, counts.cancelled, counts.refused) == (1, 2, 1)
    assert (counts.running, counts.waiting) == (0, 0)


def test_a_question_that_waits_can_be_taken_back(connect, server, asked):
    engine = connect(server, places=1)
    server.next.append(hold(*HALF))
    first = engine.stream(*asked, GREEDY, FORMAT.stop_strings, threading.Event())
    next(first)
    cancel = threading.Event()
    second = engine.stream(*asked, GREEDY, FORMAT.stop_strings, cancel)
    assert next(second).ahead == 0
    cancel.set()
    assert [step.finish for step in second] == ["cancelled"]
    assert len(server.asked) == 1
    first.close()


def test_answers_side_by_side_do_not_mix(connect, server, other, asked, served):
    words = [served.language.encode(text) for text in ("red boat", "a large sun", "two birds")]
    lock, turn = threading.Lock(), iter(range(10_000))

    def act(handler):
        with lock:
            ids = words[next(turn) % len(words)]
        stream(*[event(each) for each in ids], event(2, finish="stop"), pause=0.01)(handler)

    server.usual = other.usual = act
    engine = connect(server, other, places=8, queue_size=64)
    answers = at_once([lambda: say(engine, asked).text] * 30)
    assert sorted(answers) == sorted(["red boat", "a large sun", "two birds"] * 10)
    assert engine.statistics().answered == 30


def test_an_answer_whose_end_was_seen_is_no_cancelled_one(connect, server, asked):
    engine = connect(server)
    steps = engine.stream(*asked, GREEDY, FORMAT.stop_strings, threading.Event())
    while next(steps).finish is None:
        pass
    steps.close()
    assert (engine.statistics().answered, engine.statistics().cancelled) == (1, 0)


def test_statistics_count_what_happened(connect, server, asked):
    engine = connect(server)
    say(engine, asked)
    counts = engine.statistics()
    told = next(line for line in recorded()["answer"]["body"].splitlines() if '"usage"' in line)
    assert '"prompt_tokens":33' in told
    assert (counts.prompt_tokens, counts.cached_tokens) == (33, 0)
    assert counts.generated_tokens == 55
    assert sum(counts.first_token_counts) == 1
    assert counts.first_token_sum > 0


def test_beams_are_refused_with_the_cure(connect, server, asked):
    engine = connect(server)
    with pytest.raises(NoBeamsError, match="Set beams to 1"):
        say(engine, asked, settings=GenerationSettings(num_beams=3))
    assert server.asked == []


def test_a_picture_with_a_number_that_is_not_finite_never_leaves(connect, server, asked):
    prompt, pictures = asked
    broken = {key: value * float("nan") for key, value in pictures.items()}
    engine = connect(server)
    with pytest.raises(EngineError, match="another picture"):
        say(engine, (prompt, broken))
    assert server.asked == []
    assert engine.statistics().failed == 1
    assert engine.statistics().running == 0


def test_the_key_goes_along_and_is_not_logged(connect, server, asked, caplog):
    caplog.set_level("DEBUG")
    say(connect(server, api_key="secret-key"), asked)
    assert set(server.keys) == {"Bearer secret-key"}
    assert "secret-key" not in caplog.text


def test_an_address_may_end_as_openais_clients_want_it(connect, server, asked):
    assert say(connect(f"{server.url}/v1/"), asked).finish == "stop"
