"""Chat and engine: streams, stops, cancels; sessions as values."""

import itertools
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from PIL import Image

from minigpt4.api import find_config
from minigpt4.build import build_chat
from minigpt4.chat import Chat, Session
from minigpt4.config import EngineConfig, GenerationSettings, load_config
from minigpt4.conversation import Conversation, Turn, render
from minigpt4.encoder import PictureEncoder
from minigpt4.engines.base import StopStringFilter
from minigpt4.engines.generate import GenerateEngine
from minigpt4.errors import BusyError, ContextOverflowError, EngineError, PromptError
from minigpt4.prompt_formats import TINY
from tests.engines.asking import slow_down
from train.cartoon.draw import draw_scene
from train.cartoon.scene import make_scene

GREEDY = GenerationSettings(temperature=0, repetition_penalty=1.0, max_new_tokens=12)


@pytest.fixture
def chat(tiny_model):
    chat = _chat(tiny_model, context_tokens=400)
    yield chat
    chat.close()


def _chat(model, **limits) -> Chat:
    return Chat(model, GenerateEngine(model), TINY, encoder=PictureEncoder(model), **limits)


def _picture(color: str) -> Image.Image:
    return Image.new("RGB", (40, 30), color)


def _ask(chat: Chat, session: Session, question: str, settings=GREEDY):
    parts = list(chat.stream_answer(session, question, settings))
    assert [part.finish is None for part in parts] == [True] * (len(parts) - 1) + [False]
    assert parts[-1].session is not None
    return parts


def test_an_answer_streams_and_the_session_is_a_new_value(chat):
    session = Session().attach(chat.encode_image(_picture("red")))
    parts = _ask(chat, session, "What is this?")
    assert session.conversation.turns == ()
    assert session.pending
    done = parts[-1].session
    assert done.conversation.turns[0] == Turn("What is this?", parts[-1].text, session.pending)
    assert done.pending == ()
    assert parts[-1].tokens == GREEDY.max_new_tokens
    assert parts[-1].finish == "length"
    shown = [part.text for part in parts]
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(shown[:-1]))


def test_the_stream_says_what_generate_says(chat, tiny_model):
    encoded = chat.encode_image(_picture("red"))
    session = Session().attach(encoded)
    text = _ask(chat, session, "What is this?")[-1].text
    prompt = render(Conversation((Turn("What is this?", None, (encoded.key,)),)), TINY)
    embeds = tiny_model.embed_prompt(prompt, {encoded.key: encoded.visual_tokens})
    ids = tiny_model.language.model.generate(
        inputs_embeds=embeds, max_new_tokens=12, do_sample=False, eos_token_id=2, pad_token_id=2
    )
    expected = tiny_model.language.decode(ids[0].tolist()).partition("###")[0].strip()
    assert text == expected


def test_a_follow_up_sees_the_first_turn(chat, monkeypatch):
    read = []
    embed = chat._model.embed_prompt
    monkeypatch.setattr(
        chat._model, "embed_prompt", lambda prompt, seen: read.append(prompt) or embed(prompt, seen)
    )
    session = Session().attach(chat.encode_image(_picture("red")))
    session = _ask(chat, session, "What is this?")[-1].session
    _ask(chat, session, "And that?")
    assert read[1].text.startswith(read[0].text)
    assert read[1].image_keys == read[0].image_keys


def test_two_pictures_in_order(chat):
    red, blue = chat.encode_image(_picture("red")), chat.encode_image(_picture("blue"))
    assert red.key != blue.key
    session = _ask(chat, Session().attach(red), "What is this?")[-1].session
    session = _ask(chat, session.attach(blue), "And this?")[-1].session
    assert [turn.images for turn in session.conversation.turns] == [(red.key,), (blue.key,)]


def test_cancel_stops_within_one_token_and_keeps_the_text(chat, tiny_model, monkeypatch):
    cancel, read = threading.Event(), threading.Semaphore(1)
    forward = tiny_model.language.model.forward

    def in_step(*given, **named):
        read.acquire(timeout=20)  # no token is begun before the one before it was read
        return forward(*given, **named)

    monkeypatch.setattr(tiny_model.language.model, "forward", in_step)
    settings = GenerationSettings(temperature=0, max_new_tokens=200)
    session = Session().attach(chat.encode_image(_picture("red")))
    seen = 0
    last = None
    for part in chat.stream_answer(session, "What is this?", settings, cancel):
        last = part
        if part.tokens >= 5 and not cancel.is_set():
            cancel.set()
            seen = part.tokens
        read.release()
    assert last.finish == "cancelled"
    # One token may already have been under way.
    assert last.tokens <= seen + 1, f"cancelled at {seen}, went on to {last.tokens}"
    assert last.session.conversation.turns[0].answer == last.text


def test_cancel_before_the_first_token(chat):
    cancel = threading.Event()
    cancel.set()
    session = Session().attach(chat.encode_image(_picture("red")))
    parts = list(chat.stream_answer(session, "What is this?", GREEDY, cancel))
    assert parts[-1].finish == "cancelled"
    assert parts[-1].tokens <= 1


def test_leaving_the_stream_frees_the_model(chat, monkeypatch):
    slow_down(chat._engine, monkeypatch)
    session = Session().attach(chat.encode_image(_picture("red")))
    settings = GenerationSettings(temperature=0, max_new_tokens=300)
    stream = chat.stream_answer(session, "What is this?", settings)
    next(stream)
    stream.close()
    _ask(chat, session, "What is this?")
    assert chat.statistics().engine.cancelled == 1
    assert chat.statistics().engine.generated_tokens < 200


def test_a_failing_model_is_told_and_the_next_answer_comes(chat, tiny_model, monkeypatch):
    session = Session().attach(chat.encode_image(_picture("red")))
    forward = tiny_model.language.model.model.forward
    calls = 0

    def fail(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == 3:
            raise RuntimeError("/secret/path exploded")
        return forward(*args, **kwargs)

    monkeypatch.setattr(tiny_model.language.model.model, "forward", fail)
    with pytest.raises(EngineError, match="Please try again") as told:
        list(chat.stream_answer(session, "What is this?", GREEDY))
    assert "secret" not in str(told.value)
    assert _ask(chat, session, "What is this?")[-1].finish == "length"


def test_a_failure_is_logged_for_the_host(chat, tiny_model, monkeypatch, caplog):
    def fail(*_, **__):
        raise RuntimeError("device-side assert")

    monkeypatch.setattr(tiny_model.vision, "forward", fail)
    with pytest.raises(EngineError, match="Please try again"):
        chat.encode_image(_picture("red"))
    assert "device-side assert" in caplog.text


def test_out_of_memory_is_named(chat, tiny_model, monkeypatch):
    def fail(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory at 0x7f")

    monkeypatch.setattr(tiny_model.language.model.model, "forward", fail)
    with pytest.raises(EngineError, match="out of memory"):
        list(chat.stream_answer(Session(), "What is this?", GREEDY))


def test_seeds_repeat_and_differ(chat):
    session = Session().attach(chat.encode_image(_picture("red")))

    def drawn(seed):
        settings = GenerationSettings(temperature=1.5, top_p=1.0, seed=seed, max_new_tokens=12)
        return _ask(chat, session, "What is this?", settings)[-1].text

    assert drawn(1) == drawn(1)
    assert len({drawn(seed) for seed in range(4)}) > 1


def test_beams_answer_in_one_piece(chat):
    session = Session().attach(chat.encode_image(_picture("red")))
    settings = GenerationSettings(temperature=0, num_beams=3, max_new_tokens=8)
    parts = _ask(chat, session, "What is this?", settings)
    assert parts[-1].tokens == 8


@pytest.mark.parametrize("kind", ["batching", "generate"])
def test_answers_at_once_equal_answers_in_turn(kind):
    """The shipped model: sixteen chats of three turns, each with pictures of its own."""
    settings = GenerationSettings(temperature=0, repetition_penalty=1.0, max_new_tokens=60)
    questions = ["Describe this image in detail.", "What is in the center?", "How many things?"]
    config = replace(load_config(find_config("tiny")), device="cpu")
    config = replace(config, engine=EngineConfig(kind=kind, max_answers=8))
    chat = build_chat(config)
    one_by_one = GenerateEngine(chat._model, cache_bytes=0)
    fresh = Chat(
        chat._model, one_by_one, TINY, encoder=PictureEncoder(chat._model), context_tokens=2048
    )
    pictures = [draw_scene(make_scene(seed, min_things=3), 224) for seed in range(16)]

    def talk(chat: Chat, number: int) -> list[str]:
        session = Session().attach(chat.encode_image(pictures[number]))
        said = []
        for turn, question in enumerate(questions):
            if turn == 1 and number % 2:
                session = session.attach(chat.encode_image(pictures[(number + 5) % 16]))
            part = _ask(chat, session, question, settings)[-1]
            said.append(part.text)
            session = part.session
        return said

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda number: talk(chat, number), range(16)))
    serial = [talk(fresh, number) for number in range(16)]
    assert found == serial
    assert len({answers[0] for answers in serial}) == 16  # mixed up, it would show
    statistics = chat.statistics()
    assert statistics.engine.answered == 48
    assert statistics.engine.cached_tokens > 0
    assert (statistics.encoder.encoded, statistics.encoder.cached) == (16, 8)
    chat.close()


def test_who_waits_is_told_the_place(chat, monkeypatch):
    slow_down(chat._engine, monkeypatch)
    settings = GenerationSettings(temperature=0, max_new_tokens=300)
    first = chat.stream_answer(Session(), "What is this?", settings)
    next(first)
    second = chat.stream_answer(Session(), "And this?", GREEDY)
    parts = [next(second)]
    first.close()
    parts += second
    assert parts[0].ahead == 1
    assert parts[0].text == ""
    assert parts[-1].ahead is None
    assert parts[-1].session is not None


def test_too_many_questions_are_refused_in_words(tiny_model, monkeypatch):
    chat = Chat(
        tiny_model,
        GenerateEngine(tiny_model, queue_size=1),
        TINY,
        encoder=PictureEncoder(tiny_model),
        context_tokens=400,
    )
    slow_down(chat._engine, monkeypatch)
    settings = GenerationSettings(temperature=0, max_new_tokens=300)
    streams = [chat.stream_answer(Session(), "What is this?", settings) for _ in range(3)]
    next(streams[0])
    next(streams[1])
    with pytest.raises(BusyError, match="Many people"):
        next(streams[2])
    chat.close()
    assert [list(stream)[-1].finish for stream in streams[:2]] == ["cancelled"] * 2


def test_how_much_of_the_context_is_used_is_told(chat, tiny_model):
    session = Session().attach(chat.encode_image(_picture("red")))
    first = _ask(chat, session, "What is this?")
    prompt = render(Conversation((Turn("What is this?", None, session.pending),)), TINY)
    assert {part.prompt_tokens for part in first} == {len(tiny_model.tokenize(prompt).ids)}
    assert {part.context_tokens for part in first} == {400}
    assert first[-1].context_used == first[-1].prompt_tokens + GREEDY.max_new_tokens
    second = _ask(chat, first[-1].session, "And that?")
    assert second[0].prompt_tokens > first[-1].prompt_tokens


def test_a_closed_chat_refuses_in_words(chat):
    chat.close()
    with pytest.raises(EngineError, match="put away"):
        next(chat.stream_answer(Session(), "What is this?", GREEDY))
    with pytest.raises(EngineError, match="put away"):
        chat.encode_image(_picture("red"))


def test_old_turns_leave_and_the_page_is_told(chat):
    encoded = chat.encode_image(_picture("red"))
    session = Session().attach(encoded)
    settings = GenerationSettings(temperature=0, max_new_tokens=100)
    notices = []
    for number in range(6):
        question = f"What is this, for the time number {number}? " + "Look again. " * 15
        part = _ask(chat, session, question, settings)[-1]
        notices.append(part.notice)
        session = part.session
    assert not notices[0]
    assert "oldest" in notices[-1]
    assert len(session.conversation.turns) == 6
    assert session.conversation.turns[0].images == (encoded.key,)


def test_a_question_that_never_fits_is_refused(chat):
    with pytest.raises(ContextOverflowError):
        list(chat.stream_answer(Session(), "word " * 390, GREEDY))


@pytest.mark.parametrize("question", ["", "   ", "\u200b", "x" * 2001])
def test_bad_questions_are_refused_before_the_model_runs(chat, question):
    with pytest.raises(PromptError):
        next(chat.stream_answer(Session(), question, GREEDY))
    engine = chat.statistics().engine
    assert (engine.prompt_tokens, engine.failed, engine.cancelled) == (0, 0, 0)


def test_too_many_pictures_are_refused(tiny_model):
    chat = _chat(tiny_model, context_tokens=2000, max_pictures=2)
    session = Session()
    for shade in range(3):
        session = session.attach(chat.encode_image(_picture(f"#{shade}0{shade}0{shade}0")))
    with pytest.raises(PromptError, match="3 pictures and the limit is 2"):
        next(chat.stream_answer(session, "What is this?", GREEDY))


def test_rewind_brings_the_pictures_back(chat):
    red, blue = chat.encode_image(_picture("red")), chat.encode_image(_picture("blue"))
    session = _ask(chat, Session().attach(red), "One?")[-1].session
    session = _ask(chat, session.attach(blue), "Two?")[-1].session
    session = _ask(chat, session, "Three?")[-1].session
    before, turn = session.rewind(1)
    assert turn.question == "Two?"
    assert before.pending == (blue.key,)
    assert [each.question for each in before.conversation.turns] == ["One?"]
    assert len(session.conversation.turns) == 3
    first, _ = session.rewind(0)
    assert set(first.images) == {red.key}
    assert session.rewind(-1)[1].question == "Three?"
    with pytest.raises(PromptError, match="no turn 3"):
        session.rewind(3)


def test_streamed_text_is_whole_characters(tiny_model):
    text = "a \U0001f642 \u00e9 \u4f60"
    ids = tiny_model.language.encode(text)
    stream = tiny_model.language.text_stream()
    pieces = [stream.step(token) for token in ids]
    assert "".join(pieces) == text
    assert "\ufffd" not in "".join(pieces)
    assert any(len(piece) == 0 for piece in pieces), "bytes of one character come together"


@pytest.mark.parametrize("seed", range(30))
def test_stop_strings_are_cut_wherever_pieces_break(seed):
    rng = random.Random(seed)
    text = "".join(rng.choices("ab# \n", k=40))
    stops = ("###", "b\n")
    found = [at for stop in stops if (at := text.find(stop)) >= 0]
    expected = text[: min(found)] if found else text
    cut = StopStringFilter(stops)
    shown = ""
    rest = text
    while rest:
        length = rng.randint(1, 4)
        shown += cut.feed(rest[:length])
        rest = rest[length:]
    assert cut.stopped == bool(found)
    assert shown + cut.flush() == expected
