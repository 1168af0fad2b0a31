"""A small cache changes nothing but time, and nothing grows."""

import gc
import resource
import weakref
from functools import partial
from pathlib import Path

import pytest
import torch

from minigpt4.engines.blocks import PAGE
from minigpt4.engines.paged import bytes_per_token
from tests.engines.asking import ask, at_once, batching, free_blocks, picture, prompt
from tests.waiting import until


def chat(engine, number, pictures, turns=4):
    pieces, said = [f"chat {number} about", number], []
    for turn in range(turns):
        pieces.append(f" turn {turn} of many?")
        said.append(ask(engine, prompt(*pieces), pictures, max_new_tokens=20).text)
        pieces.append(said[-1])
    return said


@pytest.mark.parametrize("blocks", [14, 20, 40])
def test_eviction_changes_nothing(lively_model, blocks):
    pictures = {str(number): picture(lively_model, number) for number in range(8)}
    roomy, tight = batching(lively_model), batching(lively_model, blocks=blocks)
    expected = [chat(roomy, number, pictures) for number in range(8)]
    # More at once than there is room for: some wait, all come through, and nothing is mixed up.
    assert at_once([partial(chat, tight, number, pictures) for number in range(8)]) == expected
    assert free_blocks(tight) == blocks
    assert roomy.statistics().cached_tokens > tight.statistics().cached_tokens
    roomy.close()
    tight.close()


def test_a_chat_whose_cache_went_to_others_goes_on(lively_model):
    engine = batching(lively_model, blocks=30)
    first = prompt("word " * 60, " and?")
    said = ask(engine, first)
    for number in range(6):
        ask(engine, prompt(f"{number} ", "other " * 60))
    before = engine.statistics()
    assert ask(engine, first) == said
    assert engine.statistics().cached_tokens == before.cached_tokens
    assert ask(engine, first) == said
    assert engine.statistics().cached_tokens > before.cached_tokens
    engine.close()


def test_a_question_waits_while_others_hold_the_cache(lively_model):
    engine = batching(lively_model, blocks=10, max_answers=8)
    expected = [ask(engine, prompt(f"question {number}"), max_new_tokens=90) for number in range(5)]
    running = []
    step = engine._stepper.run

    def run(shares):
        running.append(len(shares))
        return step(shares)

    engine._stepper.run = run
    jobs = [
        partial(ask, engine, prompt(f"question {number}"), max_new_tokens=90) for number in range(5)
    ]
    assert at_once(jobs) == expected
    assert max(running) == 1  # each sets 6 or 7 of the 10 blocks aside
    engine.close()


def test_no_picture_is_held_once_its_answer_is_over(lively_model):
    engine = batching(lively_model)
    held = picture(lively_model, 1)
    watch = weakref.ref(held)
    ask(engine, prompt(1, "what?"), {"1": held})
    del held

    def gone() -> bool:
        gc.collect()
        return watch() is None

    until(gone)  # the engine's thread is still in the last step when the answer has come
    engine.close()


def resident():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


@pytest.mark.load
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's /proc")
def test_500_turns_do_not_grow(lively_model):
    engine = batching(lively_model, cache_mb=8)

    def turns(start, count):
        for number in range(start, start + count):
            asked = prompt(f"turn {number}", number, "what?")
            ask(engine, asked, {str(number): picture(lively_model, number)}, max_new_tokens=4)

    def growth(start) -> float:
        gc.collect()
        before = resident()
        turns(start, 500)
        gc.collect()
        return resident() - before

    turns(0, 60)
    # What is lost at each turn is lost again by the next ones; what else the process needs is not.
    assert any(growth(start) <= 50 for start in (60, 560, 1060))
    assert len(engine._pool._known) <= engine._pool.blocks
    engine.close()


def test_statistics_tell_what_the_cache_holds(lively_model):
    engine = batching(lively_model, blocks=100)
    assert engine.statistics().cache_share == 0
    said = ask(engine, prompt("word " * 70), max_new_tokens=4)
    length = len(lively_model.tokenize(prompt("word " * 70)).ids) + said.tokens - 1
    assert engine.statistics().cache_share == pytest.approx(length // PAGE / 100)
    shown = engine.statistics()
    assert (shown.answered, shown.running, shown.waiting, shown.generated_tokens) == (
        1,
        0,
        0,
        said.tokens,
    )
    assert sum(shown.first_token_counts) == 1
    assert shown.prompt_tokens == length - said.tokens + 1
    engine.close()


def test_the_cache_takes_the_memory_it_was_given(lively_model):
    engine = batching(lively_model, cache_mb=3)
    taken = sum(each.nbytes for layer in engine._stepper._cache.layers for each in layer)
    page = PAGE * bytes_per_token(lively_model.language.model.config, torch.float32)
    assert 3 * 2**20 - page <= taken <= 3 * 2**20 + page
    engine.close()


def test_close_gives_the_cache_back(lively_model):
    engine = batching(lively_model)
    ask(engine, prompt("word " * 70))
    watch = weakref.ref(engine._stepper._cache.layers[0][0])
    engine.close()
    gc.collect()
    assert watch() is None
    assert engine.statistics().cache_share == 0


def test_nothing_is_remembered_that_was_not_run(lively_model):
    asked = prompt("word " * 20)
    length = len(lively_model.tokenize(asked).ids)
    for tokens in range(1, PAGE + 2):  # the last token is never run, wherever it stands in a block
        engine = batching(lively_model, blocks=100)
        said = ask(engine, asked, max_new_tokens=tokens)
        assert engine._pool.remembered == (length + said.tokens - 1) // PAGE
        engine.close()
