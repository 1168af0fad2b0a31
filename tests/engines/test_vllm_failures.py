"""Servers that die, fall silent, come back, or are not what they should be."""

import threading

import pytest

from minigpt4.engines.vllm_server import Timeouts
from minigpt4.errors import BusyError, ConfigError, EngineError
from tests.engines.asking import at_once
from tests.engines.vllm_record import (
    FORMAT,
    GREEDY,
    recorded,
)
from tests.engines.vllm_stub import (
    HALF,
    StubServer,
    die,
    event,
    hold,
    refuse,
    replay,
    say,
    stream,
    together,
)
from tests.ports import free_port
from tests.waiting import until

pytestmark = pytest.mark.load


def test_death_before_the_first_token_brings_another_server(connect, server, other, asked):
    for failure in (die(), die("data: {}\n\n"), refuse(500), refuse(503), refuse(404), stream()):
        engine = connect(server, other)
        server.next.append(failure)
        other.next.append(failure)
        # Whichever is asked first fails; the other one's failure stays for its own turn.
        failing, working = sorted((server, other), key=lambda each: each is not server)
        working.next.clear()
        before = len(failing.asked), len(working.asked)
        assert say(engine, asked).finish == "stop"
        assert (len(failing.asked), len(working.asked)) == (before[0] + 1, before[1] + 1)
        engine.close()


def test_a_server_that_reports_an_error_at_once_is_left_for_another(connect, server, other, asked):
    server.next.append(stream('data: {"error": {"message": "EngineDeadError"}}\n\n'))
    assert say(connect(server, other), asked).finish == "stop"
    assert len(other.asked) == 1


def test_death_after_the_first_token_is_told(connect, server, other, asked):
    engine = connect(server, other)
    server.next.append(die(*HALF))
    shown = []
    with pytest.raises(EngineError, match="broke off") as caught:
        shown.extend(engine.stream(*asked, GREEDY, FORMAT.stop_strings, threading.Event()))
    assert "".join(step.text for step in shown) == "The picture"
    assert server.url not in str(caught.value)
    assert other.asked == []
    assert engine.statistics().failed == 1
    assert say(engine, asked).finish == "stop"


def test_a_stream_that_ends_too_early_is_no_answer(connect, server, asked):
    server.next.append(stream(*HALF))
    with pytest.raises(EngineError, match="broke off"):
        say(connect(server), asked)


def test_a_broken_connection_alone_turns_nobody_away(connect, server, asked):
    engine = connect(server)
    server.next.append(die())
    with pytest.raises(EngineError):
        say(engine, asked)
    assert say(engine, asked).finish == "stop"  # waits until the server was looked at again


def test_a_session_survives_a_server_that_dies(connect, server, served):
    from minigpt4.chat import Chat
    from minigpt4.encoder import PictureEncoder

    encoder = PictureEncoder(served)
    chat = Chat(served, connect(server), FORMAT, encoder=encoder, context_tokens=2048)
    try:
        session = chat.new_session()
        server.next.append(die(*HALF))
        with pytest.raises(EngineError):
            list(chat.stream_answer(session, "What is it?", GREEDY))
        assert session.conversation.turns == ()
        *_, last = chat.stream_answer(session, "What is it?", GREEDY)
        assert last.session is not None
    finally:
        encoder.close()


def test_no_server_left_is_told_in_words(connect, server, asked):
    engine = connect(server)
    server.next.append(die())
    server.health = 503
    with pytest.raises(EngineError, match="try again in a minute") as caught:
        say(engine, asked)
    assert not isinstance(caught.value, BusyError)
    assert server.url not in str(caught.value)
    assert "works" not in engine.health()[0]


def test_a_refused_request_is_told_and_not_tried_elsewhere(connect, server, other, asked, caplog):
    engine = connect(server, other)
    server.next.append(replay("too long"))
    with pytest.raises(EngineError, match="refused this question") as caught:
        say(engine, asked)
    assert "2048" in caplog.text  # the server's own words, for the host
    assert "2048" not in str(caught.value)
    assert other.asked == []
    assert engine.health()[0].endswith("works; answers it is writing: 0")


def test_a_silent_server_is_given_up(connect, server, other, asked):
    engine = connect(server, other, timeouts=Timeouts(silence=2.0))
    server.next.append(hold())
    assert say(engine, asked).finish == "stop"
    assert len(other.asked) == 1
    engine = connect(server, timeouts=Timeouts(silence=2.0))
    server.next.append(hold(*HALF))
    with pytest.raises(EngineError, match="broke off"):
        say(engine, asked)


def test_a_server_that_comes_back_is_asked_again(connect, server, other, asked):
    engine = connect(server, other)
    server.health = 503
    until(lambda: "503" in engine.health()[0])
    for _ in range(3):
        say(engine, asked)
    assert (len(server.asked), len(other.asked)) == (0, 3)
    server.health = 200
    until(lambda: "works" in engine.health()[0])
    jobs = [lambda: say(engine, asked)] * 4
    server.usual = other.usual = together(4, stream(event(297), event(2, finish="stop")))
    assert len(at_once(jobs)) == 4
    assert len(server.asked) == 2


def test_a_server_that_dies_and_is_started_anew_is_found(connect, asked):
    server = StubServer(port := free_port())
    engine = connect(server, patience=0.5)
    server.close()
    until(lambda: "no server at this address" in engine.health()[0])
    with pytest.raises(EngineError, match="try again in a minute"):
        say(engine, asked)
    again = StubServer(port)
    try:
        until(lambda: "works" in engine.health()[0])
        assert say(engine, asked).finish == "stop"
    finally:
        again.close()


def test_a_server_that_comes_back_with_another_model_is_not_asked(connect, server, other, asked):
    engine = connect(server, other)
    server.health = 503
    until(lambda: "503" in engine.health()[0])
    server.probe = server.probe.replace("token_id:461", "token_id:17")
    server.health = 200
    until(lambda: "other weights" in engine.health()[0])
    say(engine, asked)
    assert server.asked == []


# Servers that are not what the configuration wants, at the start.


def refused(connect, *servers, **settings) -> str:
    with pytest.raises(ConfigError) as caught:
        connect(*servers, **settings)
    return str(caught.value)


def test_no_server_at_all(connect, server):
    server.close()
    said = refused(connect, server)
    assert server.url in said
    assert "no server at this address" in said


def test_one_server_of_two_is_enough_to_start(connect, server, other, asked, caplog):
    server.close()
    engine = connect(server, other)
    assert server.url in caplog.text
    assert say(engine, asked).finish == "stop"


def test_a_server_without_embeddings(connect, server):
    server.probe, server.probe_status = recorded()["without embeddings"]["body"], 400
    said = refused(connect, server)
    assert "--enable-prompt-embeds" in said
    assert "--chat-template '{{ messages[0][\"content\"] }}'" in said


def test_a_server_of_another_width(connect, server):
    server.probe, server.probe_status = recorded()["too wide"]["body"], 400
    assert "hidden_size 64 does not match the model's hidden_size 160" in refused(connect, server)


def test_a_server_that_wants_a_key(connect, server):
    server.probe, server.probe_status = recorded()["without a key"]["body"], 401
    assert "MINIGPT4_VLLM_API_KEY" in refused(connect, server)


def test_a_server_with_other_weights(connect, server, other):
    server.probe = server.probe.replace("token_id:461", "token_id:17")
    said = refused(connect, server, other)  # although the other one is right
    assert "other weights" in said
    assert "tiny/language" in said
    assert other.url not in said


def test_a_server_whose_template_adds_tokens(connect, server):
    server.probe = server.probe.replace('"prompt_tokens":4', '"prompt_tokens":9')
    said = refused(connect, server)
    assert "reads 9 tokens where 4 were sent" in said
    assert "--chat-template" in said


def test_a_server_that_reads_too_little(connect, server):
    said = refused(connect, server, context_tokens=4096)
    assert "reads 2048 tokens" in said
    assert "--max-model-len 4096" in said


def test_an_address_that_is_none(connect):
    assert "it is no address" in refused(connect, "http://[::1")
    until(no_thread_is_left)


def test_what_is_no_vllm_server(connect, server):
    server.models = '{"data": []}'
    assert "no vLLM server" in refused(connect, server)


def test_the_shortest_of_the_servers_decides_how_long_chats_get(connect, server, other):
    other.models = other.models.replace("2048", "1024")
    assert connect(server, other, context_tokens=None).context_tokens == 1024


def test_a_refused_start_leaves_no_thread(connect, server):
    server.models = '{"data": []}'
    refused(connect, server)
    until(no_thread_is_left)


def no_thread_is_left() -> bool:
    return "vllm" not in [each.name for each in threading.enumerate()]
