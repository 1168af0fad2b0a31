"""Which server gets which question."""

import threading
import time
from contextlib import ExitStack

import pytest

from minigpt4.engines import replicas as module
from minigpt4.engines.replicas import Replicas
from minigpt4.errors import BusyError, EngineError

URLS = ("http://one", "http://two", "http://three")


def replicas(count=3, *, places=6, queue_size=4, patience=0.0) -> Replicas:
    made = Replicas(URLS[:count], places=places, queue_size=queue_size, patience=patience)
    for each in made.all:
        made.works(each, "tiny")
    return made


def test_places_are_spread_evenly():
    made = replicas()
    with ExitStack() as stack:
        given = [stack.enter_context(made.place()).replica for _ in range(6)]
        assert [each.running for each in made.all] == [2, 2, 2]
        assert set(given[:3]) == set(made.all)
        assert made.counts() == (6, 0)
    assert [each.running for each in made.all] == [0, 0, 0]


def test_a_freed_place_goes_to_who_waited_longest():
    made = replicas(1, places=1)
    with ExitStack() as holding:
        holding.enter_context(made.place())
        with made.place() as second, made.place() as third:
            assert (made.ahead(second, 0), made.ahead(third, 0)) == (0, 1)
            holding.close()
            assert (made.ahead(second, 0), made.ahead(third, 0)) == (None, 0)
    assert made.counts() == (0, 0)


def test_waiting_ends_as_soon_as_a_place_is_free():
    made = replicas(1, places=1)
    with ExitStack() as holding:
        holding.enter_context(made.place())
        with made.place() as waiting:
            threading.Timer(0.1, holding.close).start()
            started = time.monotonic()
            assert made.ahead(waiting, 100) is None
            assert time.monotonic() - started < 50


def test_the_queue_has_an_end_and_a_refusal_leaves_nothing():
    made = replicas(1, places=1, queue_size=2)
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(made.place())
        for _ in range(3):
            with pytest.raises(BusyError), made.place():
                pass
        assert made.counts() == (1, 2)
    assert made.counts() == (0, 0)


def test_a_server_in_trouble_gets_nothing_until_it_works():
    made = replicas(2)
    made.fails(made.all[0], "it is silent")
    with ExitStack() as stack:
        given = [stack.enter_context(made.place()) for _ in range(3)]
        assert [each.replica for each in given] == [made.all[1]] * 3
        made.works(made.all[0], "tiny")
        later = [stack.enter_context(made.place()) for _ in range(3)]
        assert [each.replica for each in later] == [made.all[0]] * 3


@pytest.fixture
def clock(monkeypatch):
    """Seconds that only a test moves."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_without_a_server_questions_wait_a_moment_and_are_then_turned_away(clock):
    made = replicas(1, patience=0.3)
    made.fails(made.all[0], "it is silent")
    with made.place() as place:
        assert made.ahead(place, 0) == 0
        clock[0] += 0.29
        assert made.ahead(place, 0) == 0
        clock[0] += 0.02
        with pytest.raises(EngineError, match="try again in a minute"):
            made.ahead(place, 0)
    made.works(made.all[0], "tiny")
    with made.place() as place:
        assert made.ahead(place, 0) is None


def test_servers_never_seen_to_work_count_as_none(clock):
    made = Replicas(URLS, places=1, queue_size=1, patience=0.0)
    for each in made.all:
        made.fails(each, "no server at this address")
    with made.place() as place:
        clock[0] += 0.01
        with pytest.raises(EngineError):
            made.ahead(place, 0)


def test_moving_takes_the_least_busy_of_the_others_even_if_all_places_are_taken():
    made = replicas(3, places=3)
    with made.place() as one, made.place() as two, made.place() as three:
        held = {one.replica, two.replica, three.replica}
        assert held == set(made.all)
        left = one.replica
        made.fails(left, "it died")
        assert made.move(one, {left})
        assert one.replica not in (None, left)
        assert left.running == 0
        assert sorted(each.running for each in made.all) == [0, 1, 2]
        assert not made.move(one, set(made.all))
    assert [each.running for each in made.all] == [0, 0, 0]


def test_a_place_that_was_given_back_is_not_moved():
    made = replicas(2)
    with made.place() as place:
        pass
    assert not made.move(place, set())
    assert [each.running for each in made.all] == [0, 0]


def test_words_say_how_each_server_is(caplog):
    caplog.set_level("INFO")
    made = replicas(2)
    made.fails(made.all[1], "it was silent for too long")
    made.fails(made.all[1], "it was silent for too long")
    with made.place():
        assert made.words() == (
            "http://one: works; answers it is writing: 1",
            "http://two: it was silent for too long",
        )
    # A change is logged once.
    assert [line for line in caplog.messages if "silent" in line] == [
        "Model server http://two is not asked: it was silent for too long"
    ]


def test_many_threads_never_exceed_the_places():
    made = replicas(3, places=5, queue_size=100)
    lock, running, most, used = threading.Lock(), 0, 0, set()
    full = threading.Event()  # until all places are taken at the same time, nobody gives one back

    def job():
        nonlocal running, most
        for _ in range(20):
            with made.place() as place:
                while made.ahead(place, 0.05) is not None:
                    pass
                with lock:
                    running += 1
                    most = max(most, running)
                    used.add(place.replica)
                    if running >= 5:
                        full.set()
                full.wait(60)
                time.sleep(0.0005)
                with lock:
                    running -= 1

    threads = [threading.Thread(target=job) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 5
    assert used == set(made.all)
    assert made.counts() == (0, 0)
