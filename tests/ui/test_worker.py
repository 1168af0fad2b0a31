"""The worker: many answers at once, refusals, stops, and its end."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import aclosing

import pytest
from PIL import Image

from minigpt4.chat import AnswerPart
from minigpt4.config import GenerationSettings
from minigpt4.errors import BusyError, ClosingError
from minigpt4.ui.pictures import Picture
from minigpt4.ui.worker import CUT_SHORT, Job, ModelWorker, Waiting
from tests.ui.desk import until
from tests.ui.fake_chat import COLOURS, FakeChat
from tests.waiting import SECONDS

SETTINGS = GenerationSettings(temperature=0)
GRACE = 4.0


@pytest.fixture
def chat() -> FakeChat:
    return FakeChat(word_seconds=0.001, at_once=4, waiting=2)


@pytest.fixture
def worker(chat: FakeChat) -> Iterator[ModelWorker]:
    worker = ModelWorker(lambda: chat, chat.waiting, chat.at_once)
    worker.start()
    yield worker
    chat.gate.set()
    worker.close()


def job(question: str, *colours: str, path) -> Job:
    pictures = [
        Picture(Image.new("RGB", (20, 20), COLOURS[colour]), path, b"") for colour in colours
    ]
    return Job(None, question, tuple(pictures), SETTINGS)


async def told(
    worker: ModelWorker, asked: Job, heard: list[Waiting | AnswerPart] | None = None
) -> list[Waiting | AnswerPart]:
    """All that is told; a list that is given holds it as it comes."""
    heard = [] if heard is None else heard
    async with aclosing(worker.answer(asked)) as news:
        async for part in news:
            heard.append(part)
    return heard


async def refused(worker: ModelWorker, path) -> None:
    """Asks a question that is refused, while nothing moves that it could have waited for."""
    before = worker.open_questions
    with pytest.raises(BusyError):
        await asyncio.wait_for(told(worker, job("late", path=path)), SECONDS)
    assert worker.open_questions == before


def test_answers_of_many_run_at_the_same_time(worker, chat, tmp_path):
    async def visit(colour: str) -> str:
        *_, last = await told(worker, job(f"What is {colour}?", colour, path=tmp_path))
        assert isinstance(last, AnswerPart)
        assert last.session is not None
        return last.text

    async def visits() -> list[str]:
        chat.gate.clear()
        tasks = [asyncio.create_task(visit(colour)) for colour in COLOURS]
        await until(lambda: chat.answering == 4)
        chat.gate.set()
        return await asyncio.gather(*tasks)

    assert asyncio.run(visits()) == [
        f"I see {colour}. You asked: What is {colour}?" for colour in COLOURS
    ]
    assert chat.most_answering == 4


def test_the_place_in_the_queue_is_told(worker, chat, tmp_path):
    async def visits() -> list[int]:
        chat.gate.clear()
        first = [asyncio.create_task(told(worker, job("a", path=tmp_path))) for _ in range(5)]
        await until(lambda: chat.statistics().engine.waiting == 1)
        heard: list[Waiting | AnswerPart] = []
        late = asyncio.create_task(told(worker, job("b", path=tmp_path), heard))
        await until(lambda: any(isinstance(part, Waiting) and part.ahead == 2 for part in heard))
        chat.gate.set()
        await asyncio.gather(*first)
        return [part.ahead for part in await late if isinstance(part, Waiting)]

    places = asyncio.run(visits())
    assert max(places) == 2
    assert places[1:] == sorted(places[1:], reverse=True)  # the first: it is looked at


def test_a_full_engine_refuses_at_once(worker, chat, tmp_path):
    async def visits() -> None:
        chat.gate.clear()
        tasks = [asyncio.create_task(told(worker, job("a", path=tmp_path))) for _ in range(6)]
        await until(lambda: chat.statistics().engine.waiting == 2)
        await refused(worker, tmp_path)
        chat.gate.set()
        await asyncio.gather(*tasks)

    asyncio.run(visits())
    assert worker.open_questions == 0


def test_while_the_weights_load_a_queue_waits_and_has_its_limit(chat, tmp_path):
    loaded = threading.Event()

    def load() -> FakeChat:
        loaded.wait(100)
        return chat

    worker = ModelWorker(load, max_waiting=2, max_answers=4)

    async def visits() -> list[list[Waiting | AnswerPart]]:
        tasks = [asyncio.create_task(told(worker, job(f"{n}", path=tmp_path))) for n in range(3)]
        await until(lambda: worker.open_questions == 3)
        await refused(worker, tmp_path)
        gone = job("gone", path=tmp_path)
        tasks[2].cancel()
        await until(lambda: worker.open_questions == 2)
        waiting = asyncio.create_task(told(worker, gone))
        await until(lambda: worker.open_questions == 3)
        gone.cancel.set()
        assert [type(part) for part in await waiting] == [Waiting]
        loaded.set()
        return await asyncio.gather(*tasks[:2])

    for number, parts in enumerate(asyncio.run(visits())):
        assert parts[0] == Waiting(number, loading=True)
        assert parts[-1].text == f"I see no picture. You asked: {number}"
    worker.close()


@pytest.mark.parametrize("how", ["cancel", "close"])
def test_a_stop_frees_the_model(worker, chat, tmp_path, how):
    async def visit() -> None:
        chat.word_seconds = 0.05
        asked = job("a long one", path=tmp_path)
        async with aclosing(worker.answer(asked)) as news:
            async for part in news:
                if isinstance(part, AnswerPart) and part.tokens > 5:
                    if how == "close":
                        break
                    asked.cancel.set()
        if how == "cancel":
            assert part.finish == "cancelled"
            assert part.session is not None
        await until(lambda: not chat.answering and not worker.open_questions)

    asyncio.run(visit())
    assert chat.ends == ["cancelled"]
    assert len(chat.answers[-1].split()) < 100  # of 300


def test_a_question_is_given_up_while_its_picture_waits(worker, chat, tmp_path):
    async def visit() -> None:
        chat.eyes.clear()  # and they stay shut: nothing but the stop ends the wait
        asked = job("What?", "red", path=tmp_path)
        task = asyncio.create_task(told(worker, asked))
        await asyncio.sleep(0.1)
        asked.cancel.set()
        parts = await asyncio.wait_for(task, SECONDS)
        assert [part for part in parts if isinstance(part, AnswerPart)] == []

    try:
        asyncio.run(visit())
    finally:
        chat.eyes.set()
    assert worker.open_questions == 0


def test_a_crash_is_told_to_its_reader_alone(worker, chat, tmp_path):
    async def visits() -> None:
        healthy = asyncio.create_task(told(worker, job("a long one", path=tmp_path)))
        with pytest.raises(RuntimeError, match="secret"):
            await told(worker, job("please crash", path=tmp_path))
        assert (await healthy)[-1].finish == "length"

    asyncio.run(visits())


def test_close_lets_short_answers_end_and_tells_the_others(chat, tmp_path):
    worker = ModelWorker(lambda: chat, max_waiting=2, max_answers=4)
    worker.start()
    chat.at_once = 2

    async def visits() -> None:
        chat.word_seconds = 0.05
        short, long, waiting = (
            asyncio.create_task(told(worker, job(words, path=tmp_path)))
            for words in ("one two", "a long one", "a long one too")
        )
        await until(lambda: chat.statistics().engine.waiting == 1)
        closing = asyncio.create_task(asyncio.to_thread(worker.close, GRACE))
        await until(lambda: worker._closing)
        with pytest.raises(ClosingError):
            await told(worker, job("late", path=tmp_path))
        assert (await short)[-1].finish == "stop"
        for cut in (await long, await waiting):
            assert cut[-1].finish == "cancelled"
            assert cut[-1].notice == CUT_SHORT
            assert cut[-1].session is not None
        await asyncio.wait_for(closing, SECONDS)

    began = time.monotonic()
    asyncio.run(visits())
    assert time.monotonic() - began >= GRACE
    assert chat.closed


def test_close_fails_what_has_no_word_yet(chat, tmp_path):
    worker = ModelWorker(lambda: chat, max_waiting=2, max_answers=4)
    worker.start()

    async def visits() -> None:
        chat.gate.clear()
        task = asyncio.create_task(told(worker, job("What?", path=tmp_path)))
        await until(lambda: chat.answering)
        await asyncio.to_thread(worker.close)
        with pytest.raises(ClosingError, match="being stopped"):
            await task

    asyncio.run(visits())


def test_statistics_are_there_once_the_model_is(chat):
    worker = ModelWorker(lambda: chat)
    assert worker.statistics() is None
    worker.start().result(SECONDS)
    assert worker.statistics() == chat.statistics()
    worker.close()
