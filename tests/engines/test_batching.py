"""The batching engine says what plain `generate` says, alone and in company."""

import threading
from functools import partial

import pytest
import torch
from transformers import LlamaForCausalLM

from minigpt4.config import GenerationSettings
from minigpt4.engines.blocks import PAGE
from minigpt4.engines.generate import GenerateEngine
from minigpt4.errors import EngineError, PromptError
from tests.engines.asking import ask, at_once, batching, free_blocks, gather, picture, prompt

WORDS = [
    "a",
    "red",
    "circle",
    "left",
    "of",
    "the",
    "small",
    "blue",
    "square",
    "under",
    "two",
    "green",
    "stars",
    "on",
    "sand",
]


@pytest.fixture
def reference(lively_model):
    return GenerateEngine(lively_model, cache_bytes=0)


@pytest.fixture
def engine(lively_model, reference):
    made = batching(lively_model, beams=reference)
    yield made
    made.close()


def questions(model, count):
    """Prompts of many lengths, some with one picture, some with two, some with none."""
    asked = []
    for number in range(count):
        words = " ".join(
            WORDS[(number * 5 + place) % len(WORDS)] for place in range(1 + number * 7 % 45)
        )
        pieces = [words, f" picture {number}?"]
        keys = [number, number + 1000][: number % 3]
        for key in keys:
            pieces.insert(1, key)
        asked.append((prompt(*pieces), {str(key): picture(model, key) for key in keys}))
    return asked


def test_alone_it_says_what_generate_says(lively_model, engine, reference):
    asked = questions(lively_model, 12)
    expected = [ask(reference, *each) for each in asked]
    assert [ask(engine, *each) for each in asked] == expected
    assert len({said.text for said in expected}) > 9  # the questions are told apart


@pytest.mark.parametrize("penalty", [1.0, 1.3])
def test_in_company_it_says_what_generate_says(lively_model, engine, reference, penalty):
    asked = questions(lively_model, 16)
    settings = [
        {"max_new_tokens": 5 + number * 3, "repetition_penalty": penalty} for number in range(16)
    ]
    expected = [ask(reference, *each, **kept) for each, kept in zip(asked, settings, strict=True)]
    jobs = [partial(ask, engine, *each, **kept) for each, kept in zip(asked, settings, strict=True)]
    steps = gather(engine, len(jobs))
    assert at_once(jobs) == expected
    assert max(steps) > 2


def test_a_long_prompt_is_read_in_pieces_beside_others(lively_model, engine, reference):
    long = prompt(" ".join(WORDS * 70), 1, " and?")
    pictures = {"1": picture(lively_model, 1)}
    assert len(lively_model.tokenize(long).ids) > 1000
    expected = [ask(reference, long, pictures), ask(reference, prompt("hello"), max_new_tokens=60)]
    jobs = [
        partial(ask, engine, long, pictures),
        partial(ask, engine, prompt("hello"), max_new_tokens=60),
    ]
    assert at_once(jobs) == expected


def test_the_next_turn_reads_only_what_is_new(lively_model, engine, reference):
    pictures = {"1": picture(lively_model, 1)}
    pieces = [1, " ".join(WORDS * 8)]
    for turn in range(5):
        pieces.append(f" and turn {turn}?")
        before = engine.statistics()
        said = ask(engine, prompt(*pieces), pictures)
        assert said == ask(reference, prompt(*pieces), pictures)
        after = engine.statistics()
        pieces.append(said.text)
        if turn:
            new = (
                after.prompt_tokens
                - before.prompt_tokens
                - (after.cached_tokens - before.cached_tokens)
            )
            assert new < 60
            assert after.cached_tokens - before.cached_tokens > 100


def test_a_picture_under_the_key_of_another_is_another(lively_model, engine, reference):
    asked = prompt(" ".join(WORDS * 3), 1, " ".join(WORDS * 3))
    one, two = picture(lively_model, 1), picture(lively_model, 2)
    said = [ask(engine, asked, {"1": each}, max_new_tokens=20) for each in (one, two, one)]
    assert said == [
        ask(reference, asked, {"1": each}, max_new_tokens=20) for each in (one, two, one)
    ]
    assert said[0] != said[1]


def test_the_same_picture_in_another_chat_is_not_read_again(lively_model, engine):
    ask(engine, prompt(*["look"] * 20, 1, " what?"), {"1": picture(lively_model, 1)})
    before = engine.statistics().cached_tokens
    ask(engine, prompt(*["look"] * 20, 2, " where?"), {"2": picture(lively_model, 1)})
    assert engine.statistics().cached_tokens - before >= 16


def test_32_chats_of_5_turns_with_their_own_pictures_do_not_mix(lively_model, engine):
    def chat(made, number):
        pieces, said = [f"chat {number}", number], []
        for turn in range(5):
            pieces.append(f" turn {turn}?")
            said.append(ask(made, prompt(*pieces), pictures, max_new_tokens=6).text)
            pieces.append(said[-1])
        return said

    pictures = {str(number): picture(lively_model, number) for number in range(32)}
    alone = batching(lively_model)
    expected = [chat(alone, number) for number in range(32)]
    alone.close()
    together = batching(lively_model, max_answers=16, queue_size=32)
    assert at_once([partial(chat, together, number) for number in range(32)]) == expected
    assert free_blocks(together) == together._pool.blocks
    together.close()
    assert len({tuple(said) for said in expected}) == 32


def test_a_stop_string_ends_the_answer_where_generate_ends_it(lively_model, engine, reference):
    whole = ask(engine, prompt("say"), max_new_tokens=40).text
    stop = whole[len(whole) // 2 :][:3]
    said = ask(engine, prompt("say"), stop=[stop], max_new_tokens=40)
    assert said == ask(reference, prompt("say"), stop=[stop], max_new_tokens=40)
    assert said.finish == "stop"
    assert said.text == whole[: whole.index(stop)]


def test_the_end_symbol_ends_the_answer(lively_model, engine, reference):
    with torch.no_grad():
        lively_model.language.model.lm_head.weight[lively_model.language.eos_id] *= 3
    asked = [
        ask(made, prompt(f"say {word}"))
        for word in WORDS
        for made in (batching(lively_model), reference)
    ]
    assert asked[::2] == asked[1::2]
    assert {said.finish for said in asked} == {"stop", "length"}


def test_a_seed_repeats_itself_alone_and_in_company(lively_model, engine):
    draw = {"temperature": 1.0, "top_p": 0.95, "max_new_tokens": 25}
    alone = [ask(engine, prompt("draw"), seed=seed, **draw) for seed in range(6)]
    others = [partial(ask, engine, *each, temperature=1.0) for each in questions(lively_model, 8)]
    jobs = [partial(ask, engine, prompt("draw"), seed=seed, **draw) for seed in range(6)]
    assert at_once([*jobs, *others])[:6] == alone
    assert len({said.text for said in alone}) == 6


def test_drawn_answers_are_distributed_as_those_of_generate(lively_model, engine, reference):
    draw = {"temperature": 1.0, "top_p": 0.5, "max_new_tokens": 1}
    count = 250
    asked = prompt(1, " say")
    pictures = {"1": picture(lively_model, 9)}
    ours = [ask(engine, asked, pictures, seed=seed, **draw).text for seed in range(count)]
    theirs = [ask(reference, asked, pictures, seed=seed, **draw).text for seed in range(count)]
    words = set(ours) | set(theirs)
    assert 2 <= len(words) < 40
    for word in words:
        # Two shares of 250 each differ by at most 4 standard deviations, 1.5 % even for a rare word.
        shares = ours.count(word) / count, theirs.count(word) / count
        spread = (2 * max(shares) * (1 - min(shares)) / count) ** 0.5
        assert abs(shares[0] - shares[1]) <= 4 * spread + 0.015, word


@pytest.mark.parametrize("copied", [0, 2**60])
def test_read_in_place_or_gathered_it_is_the_same(
    lively_model, engine, reference, monkeypatch, copied
):
    monkeypatch.setattr("minigpt4.engines.paged._COPY_BYTES", copied)
    asked = questions(lively_model, 8)
    expected = [ask(reference, *each) for each in asked]
    assert at_once([partial(ask, engine, *each) for each in asked]) == expected


def test_blocks_that_lie_apart_are_read_as_one_text(lively_model, reference):
    engine = batching(lively_model, blocks=240)
    held = [engine._pool.reserve([number], 1) for number in range(240)]
    for lease in held:
        if lease.blocks[0] % 2:
            engine._pool.release(lease)
    assert not engine._pool.reserve([], 20).adjacent
    asked = questions(lively_model, 8)
    expected = [ask(reference, *each) for each in asked]
    assert [ask(engine, *each) for each in asked] == expected
    assert at_once([partial(ask, engine, *each) for each in asked]) == expected
    engine.close()


def test_memory_that_was_never_written_spoils_nothing(lively_model, engine, reference):
    for layer in engine._stepper._cache.layers:
        for each in layer:
            each[:, PAGE:] = float("nan")
    asked = questions(lively_model, 8)
    expected = [ask(reference, *each) for each in asked]
    assert at_once([partial(ask, engine, *each) for each in asked]) == expected


def test_a_prompt_that_ends_with_a_picture(lively_model, engine, reference):
    pictures = {"1": picture(lively_model, 1)}
    for words in range(1, 18):
        asked = prompt("sand " * words, 1)
        expected = ask(reference, asked, pictures)
        assert [ask(engine, asked, pictures) for _ in range(2)] == [expected] * 2


def test_heads_that_share_keys(lively_model):
    config = lively_model.language.model.config
    config.num_key_value_heads = 1
    torch.manual_seed(7)
    lively_model.language.model = LlamaForCausalLM(config).eval()
    engine, reference = batching(lively_model), GenerateEngine(lively_model, cache_bytes=0)
    asked = questions(lively_model, 6)
    expected = [ask(reference, *each) for each in asked]
    assert at_once([partial(ask, engine, *each) for each in asked]) == expected
    engine.close()


def test_beams_go_to_the_engine_that_has_them(lively_model, engine, reference):
    assert ask(engine, prompt("beam"), num_beams=3) == ask(reference, prompt("beam"), num_beams=3)
    with pytest.raises(EngineError, match="one beam, not 3"):
        ask(batching(lively_model), prompt("beam"), num_beams=3)


def test_the_model_itself_is_left_as_it_was(lively_model, reference):
    before = ask(reference, prompt("same"))
    state = {name: weight.clone() for name, weight in lively_model.state_dict().items()}
    attention = lively_model.language.model.config._attn_implementation
    engine = batching(lively_model)
    ask(engine, prompt("same"))
    assert lively_model.language.model.config._attn_implementation == attention
    assert ask(reference, prompt("same")) == before
    assert all(
        torch.equal(weight, state[name]) for name, weight in lively_model.state_dict().items()
    )
    # And the weights are shared, not copied.
    shared = engine._stepper._model.layers[0].self_attn.q_proj.weight
    assert shared is lively_model.language.model.model.layers[0].self_attn.q_proj.weight


def test_a_missing_picture_is_told_before_anything_runs(engine):
    with pytest.raises(PromptError, match="visual tokens of picture 1 are missing"):
        ask(engine, prompt(1, "what?"))


def test_bfloat16_weights_answer_as_generate_does(lively_model):
    # Both round at other places; a short answer to a clear-cut model is the same all the same.
    lively_model.language.to(torch.bfloat16)
    engine, reference = batching(lively_model), GenerateEngine(lively_model, cache_bytes=0)
    asked = questions(lively_model, 8)
    ours = [ask(engine, *each, max_new_tokens=2) for each in asked]
    theirs = [ask(reference, *each, max_new_tokens=2) for each in asked]
    assert sum(one == other for one, other in zip(ours, theirs, strict=True)) >= 6


def test_steps_tell_the_tokens_one_by_one(engine):
    stream = engine.stream(
        prompt("count"),
        {},
        GenerationSettings(max_new_tokens=9, temperature=0),
        (),
        threading.Event(),
    )
    steps = list(stream)
    assert [step.tokens for step in steps] == [*range(1, 10), 9]
    assert [step.finish for step in steps] == [None] * 9 + ["length"]
    assert all(step.ahead is None for step in steps)
