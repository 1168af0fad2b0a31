"""The reference engine: its queue, and what it keeps of the chats it has read."""

import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
import torch

from minigpt4.config import GenerationSettings
from minigpt4.conversation import Conversation, Prompt, Turn, render
from minigpt4.engines.base import EngineStep
from minigpt4.engines.generate import GenerateEngine, _Answer
from minigpt4.errors import BusyError, EngineError, PromptError
from minigpt4.prompt_formats import PROMPT_FORMATS, TINY
from tests.engines.asking import slow_down
from tests.lively import make_lively
from tests.waiting import until

GREEDY = GenerationSettings(temperature=0, repetition_penalty=1.0, max_new_tokens=24)
LONG = replace(GREEDY, max_new_tokens=1500)


@pytest.fixture
def tiny_model(tiny_model):
    return make_lively(tiny_model)


@pytest.fixture
def engine(tiny_model) -> Iterator[GenerateEngine]:
    engine = GenerateEngine(tiny_model, queue_size=3)
    yield engine
    engine.close()


@pytest.fixture
def taken(monkeypatch) -> list[int]:
    """The ids that any engine generates."""
    ids: list[int] = []
    take = _Answer._take

    def spy(answer: _Answer, token: int) -> None:
        ids.append(token)
        take(answer, token)

    monkeypatch.setattr(_Answer, "_take", spy)
    return ids


@dataclass
class Pictures:
    """Random visual tokens by key."""

    model: torch.nn.Module

    def __getitem__(self, key: str) -> torch.Tensor:
        generator = torch.Generator().manual_seed(sum(key.encode()))
        shape = self.model.queries, self.model.language.width
        return torch.randn(shape, generator=generator)

    def get(self, key: str) -> torch.Tensor:
        return self[key]


def asked(*turns: Turn, form=TINY) -> Prompt:
    return render(Conversation(turns), form)


def run(engine: GenerateEngine, prompt: Prompt, settings=GREEDY, stops=TINY.stop_strings) -> str:
    pictures = Pictures(engine._model)
    steps = list(engine.stream(prompt, pictures, settings, stops, threading.Event()))
    assert [step.finish is None for step in steps] == [True] * (len(steps) - 1) + [False]
    return "".join(step.text for step in steps)


def begin(
    engine: GenerateEngine, words: str, settings=LONG
) -> tuple[Iterator[EngineStep], threading.Event]:
    """A long answer of which the first token is there."""
    cancel = threading.Event()
    stream = engine.stream(asked(Turn(words)), {}, settings, (), cancel)
    while next(stream).tokens == 0:
        pass
    return stream, cancel


@pytest.fixture
def slow(engine, monkeypatch) -> None:
    """A long answer takes fifteen seconds."""
    slow_down(engine, monkeypatch)


def test_a_follow_up_reads_only_what_is_new(engine, tiny_model, monkeypatch):
    first = Turn("What is this?", None, ("red",))
    answer = run(engine, asked(first))
    lengths: list[int] = []
    forward = tiny_model.language.model.model.forward

    def spy(*args, **kwargs):
        embeds, ids = kwargs.get("inputs_embeds"), kwargs.get("input_ids")
        lengths.append((embeds if embeds is not None else ids).shape[1])
        return forward(*args, **kwargs)

    monkeypatch.setattr(tiny_model.language.model.model, "forward", spy)
    history = replace(first, answer=answer)
    prompt = asked(history, Turn("And that?"))
    whole = len(tiny_model.tokenize(prompt).ids)
    run(engine, prompt)
    before = len(tiny_model.tokenize(asked(first)).ids)
    assert lengths[0] <= whole - before
    assert set(lengths[1:]) == {1}
    statistics = engine.statistics()
    assert statistics.prompt_tokens == before + whole
    assert statistics.cached_tokens == whole - lengths[0] >= before


@pytest.mark.parametrize("form", ["tiny", "vicuna_v0"])
@pytest.mark.parametrize("budget", [2**30, 200_000], ids=["ample", "tiny-budget"])
@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_ids_are_those_of_an_engine_that_keeps_nothing(tiny_model, taken, form, budget, penalty):
    """Over chats that go on, are edited, undone and asked again, with pictures at any turn."""
    form = PROMPT_FORMATS[form]
    keeping = GenerateEngine(tiny_model, cache_bytes=budget)
    plain = GenerateEngine(tiny_model, cache_bytes=0)
    rng = random.Random(7)
    chats: list[tuple[Turn, ...]] = [()] * 4
    for step in range(60):
        number = rng.randrange(len(chats))
        turns = chats[number]
        if turns and rng.random() < 0.3:  # undone or edited: some turns are taken back
            turns = turns[: rng.randrange(len(turns))]
        images = (f"picture {rng.randrange(6)}",) if not turns or rng.random() < 0.2 else ()
        question = rng.choice(["What is this?", "And that?", "What color is it?", "Why?"])
        turns = (*turns, Turn(question, None, images))
        seed = step if rng.random() < 0.3 else None
        settings = replace(
            GREEDY,
            temperature=0.9 if seed is not None else 0,
            repetition_penalty=penalty,
            max_new_tokens=rng.randint(1, 20),
            seed=seed,
        )
        found = []
        for engine in (keeping, plain):
            taken.clear()
            text = run(engine, asked(*turns, form=form), settings, form.stop_strings)
            found.append((list(taken), text))
        assert found[0] == found[1], f"step {step}"
        answer = found[0][1].strip()
        chats[number] = (*turns[:-1], replace(turns[-1], answer=answer))
        assert keeping._kept.share <= 1
        if sum(len(turn.question) for turn in turns) > 150:
            chats[number] = ()
    assert plain.statistics().cached_tokens == 0
    kept, read = keeping.statistics().cached_tokens, keeping.statistics().prompt_tokens
    assert kept > read / 2 if budget > 2**20 else kept < read


def test_an_edited_turn_leaves_the_other_branch_in_memory(engine, tiny_model):
    first = Turn("What is this?", "It is red.", ("red",))
    one = asked(first, Turn("How large is it, do you think, and why?"))
    other = asked(first, Turn("What else is there to be seen?"))
    run(engine, one)
    run(engine, other)
    cached = engine.statistics().cached_tokens
    again = len(tiny_model.tokenize(one).ids)
    run(engine, one)
    assert engine.statistics().cached_tokens - cached == again - 1


def test_the_same_words_about_another_picture_are_another_prompt(engine):
    red = run(engine, asked(Turn("What is this?", None, ("red",))))
    blue = run(engine, asked(Turn("What is this?", None, ("blue",))))
    assert red != blue
    assert blue == run(GenerateEngine(engine._model), asked(Turn("What is this?", None, ("blue",))))


def test_beams_read_all_and_leave_what_is_kept(engine, tiny_model):
    turn = Turn("What is this?", None, ("red",))
    run(engine, asked(turn))
    beams = replace(GREEDY, num_beams=3)
    text = run(engine, asked(turn), beams)
    assert engine.statistics().cached_tokens == 0
    assert text == run(GenerateEngine(tiny_model), asked(turn), beams)
    run(engine, asked(turn))
    assert engine.statistics().cached_tokens == len(tiny_model.tokenize(asked(turn)).ids) - 1


def test_a_stopped_answer_is_gone_on_from(engine, tiny_model):
    turn = Turn("What is this?", None, ("red",))
    cancel = threading.Event()
    text = ""
    for step in engine.stream(asked(turn), Pictures(tiny_model), LONG, (), cancel):
        text += step.text
        if step.tokens == 5:
            cancel.set()
    follow = asked(replace(turn, answer=text.strip()), Turn("And that?"))
    assert run(engine, follow) == run(GenerateEngine(tiny_model), follow)
    assert engine.statistics().cached_tokens > 0


def test_places_in_the_queue_are_told(engine, slow):
    first, cancel = begin(engine, "one")
    told: dict[int, list[int | None]] = {}

    def wait(number: int) -> None:
        stream = engine.stream(asked(Turn(f"{number}")), {}, GREEDY, (), threading.Event())
        told[number] = [step.ahead for step in stream]

    threads = []
    for number in range(3):
        threads.append(threading.Thread(target=wait, args=(number,)))
        threads[-1].start()
        until(lambda: engine.statistics().waiting == len(threads))
    for _ in range(3):
        with pytest.raises(BusyError, match="Many people"):
            next(engine.stream(asked(Turn("late")), {}, GREEDY, (), threading.Event()))
    shown = engine.statistics()
    assert (shown.running, shown.waiting) == (1, 3)  # they were refused before a place was free
    cancel.set()
    list(first)
    for thread in threads:
        thread.join(60)
    for number in range(3):
        places = [ahead for ahead in told[number] if ahead is not None]
        assert places[0] == number + 1
        assert places == sorted(places, reverse=True)
        assert told[number][len(places) :] == [None] * (len(told[number]) - len(places))
    statistics = engine.statistics()
    assert (statistics.refused, statistics.cancelled, statistics.answered) == (3, 1, 3)
    assert statistics.waiting == 0
    until(lambda: engine.statistics().running == 0)


def test_a_question_that_waits_can_be_stopped_at_once(engine, slow):
    first, _ = begin(engine, "one")
    cancel = threading.Event()
    stream = engine.stream(asked(Turn("two")), {}, GREEDY, (), cancel)
    assert next(stream).ahead == 1
    cancel.set()
    assert [step.finish for step in stream] == ["cancelled"]
    assert engine.statistics().running == 1  # it did not wait for its turn
    first.close()


def test_whoever_does_not_read_holds_up_nobody(engine):
    unread = [begin(engine, "one", replace(LONG, max_new_tokens=400))[0]]
    waiting = engine.stream(
        asked(Turn("two")), {}, replace(GREEDY, max_new_tokens=300), (), threading.Event()
    )
    unread += [waiting]
    next(waiting)
    assert run(engine, asked(Turn("three")))  # or it would wait for ever
    assert sum(step.tokens > 0 for step in unread[0]) > 1  # and nothing of it is lost


@pytest.mark.parametrize("how", ["close", "cancel"])
def test_an_unwanted_answer_frees_the_model(engine, slow, how):
    stream, cancel = begin(engine, "one")
    if how == "close":
        stream.close()
    else:
        cancel.set()
        assert list(stream)[-1].finish == "cancelled"
    until(lambda: engine.statistics().running == 0)
    assert engine.statistics().cancelled == 1
    assert engine.statistics().generated_tokens < LONG.max_new_tokens / 2


def test_closing_ends_everything(engine, slow, tiny_model):
    first, _ = begin(engine, "one")
    second = engine.stream(asked(Turn("two")), {}, GREEDY, (), threading.Event())
    next(second)
    thread = engine._thread
    engine.close()
    assert engine.statistics().generated_tokens < LONG.max_new_tokens / 2
    assert not thread.is_alive()
    assert list(first)[-1].finish == "cancelled"
    assert list(second)[-1] == EngineStep("", 0, "cancelled")
    assert engine._kept.share == 0
    with pytest.raises(EngineError, match="put away"):
        next(engine.stream(asked(Turn("three")), {}, GREEDY, (), threading.Event()))
    assert engine._thread is None


@pytest.mark.parametrize("error", [RuntimeError("/secret"), torch.OutOfMemoryError("at 0x7f")])
def test_a_failure_is_of_one_answer(engine, tiny_model, monkeypatch, error):
    turn = Turn("What is this?", None, ("red",))
    expected = run(engine, asked(turn))
    forward = tiny_model.language.model.model.forward
    calls = 0

    def fail(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == 3:
            raise error
        return forward(*args, **kwargs)

    monkeypatch.setattr(tiny_model.language.model.model, "forward", fail)
    with pytest.raises(EngineError) as told:
        run(engine, asked(turn))
    assert "secret" not in str(told.value)
    assert run(engine, asked(turn)) == expected
    assert engine.statistics().failed == 1
    if isinstance(error, torch.OutOfMemoryError):
        # What was kept has made room.
        assert engine.statistics().cached_tokens == len(tiny_model.tokenize(asked(turn)).ids) - 1


def test_a_picture_that_is_missing_is_told_as_it_is(engine):
    with pytest.raises(PromptError, match="missing"):
        list(engine.stream(asked(Turn("What?", None, ("red",))), {}, GREEDY, (), threading.Event()))


def test_statistics_count(engine):
    run(engine, asked(Turn("one")), replace(GREEDY, max_new_tokens=7), ())
    statistics = engine.statistics()
    assert statistics.generated_tokens <= 7
    assert statistics.answered == 1
    assert sum(statistics.first_token_counts) == 1
    assert statistics.first_token_sum > 0
    assert 0 < statistics.cache_share < 1
    assert statistics.batch_size == 1


def test_a_picture_under_the_key_of_another_is_another(engine, tiny_model):
    turn = asked(Turn("What is this?", None, ("red",)))
    plain = GenerateEngine(tiny_model, cache_bytes=0)

    def said(made: GenerateEngine, picture: str) -> str:
        pictures = {"red": Pictures(tiny_model)[picture]}
        steps = made.stream(turn, pictures, GREEDY, (), threading.Event())
        return "".join(step.text for step in steps)

    shown = ["red", "blue", "red"]
    texts = [said(engine, picture) for picture in shown]
    assert texts == [said(plain, picture) for picture in shown]
    assert texts[0] != texts[1]


def test_who_closes_while_waiting_makes_room(engine, slow):
    first, _ = begin(engine, "one")
    waiting = [
        engine.stream(asked(Turn(f"{number}")), {}, GREEDY, (), threading.Event())
        for number in range(3)
    ]
    assert [next(stream).ahead for stream in waiting] == [1, 2, 3]
    waiting[0].close()
    fourth = engine.stream(asked(Turn("four")), {}, GREEDY, (), threading.Event())
    assert next(fourth).ahead == 3
    assert next(waiting[1]).ahead == 1
    assert engine.statistics().cancelled == 1
    for stream in (first, fourth, *waiting):
        stream.close()


def test_a_seed_does_not_decide_the_answers_after_it(engine):
    draw = replace(GREEDY, temperature=1.0, top_p=1.0, max_new_tokens=20)
    after = []
    for _ in range(2):
        run(engine, asked(Turn("one")), replace(draw, seed=5), ())
        after.append(run(engine, asked(Turn("two")), draw, ()))
    assert after[0] != after[1]
