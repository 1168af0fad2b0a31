"""What the page does, without a browser and without Gradio."""

import asyncio
import time
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path

import pytest

from minigpt4.ui.answering import CALM_TURNS
from minigpt4.ui.handlers import MAX_PICTURES, PageHandlers
from minigpt4.ui.views import View
from minigpt4.ui.worker import UPDATE_SECONDS, ModelWorker
from tests.ui.desk import Desk, until
from tests.ui.fake_chat import COLOURS, FakeChat
from tests.ui.server import fake_config, plain


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    yield desk
    desk.worker.close()


def shown(view: View) -> list[tuple[str, str | None, int]]:
    return [(turn.question, turn.answer, len(turn.pictures)) for turn in view.turns or ()]


def test_a_conversation_with_two_pictures(desk):
    async def talk() -> View:
        await desk.ask("a", "What is it?", desk.upload("red"))
        await desk.ask("a", "And now?")
        return await desk.ask("a", "", desk.upload("blue"))

    screen = asyncio.run(talk())
    whole = "Describe this picture in detail."
    assert shown(screen) == [
        ("What is it?", "I see red. You asked: What is it?", 1),
        ("And now?", "I see red. You asked: And now?", 0),
        (whole, f"I see red and blue. You asked: {whole}", 1),
    ]
    assert [p.number for turn in screen.turns for p in turn.pictures] == [1, 2]
    assert screen.composer.answering is False
    assert screen.status.kind == "ready"
    assert screen.notice == ""
    assert desk.chat.encoded == 2


def test_the_page_sees_partial_text_and_few_updates(desk):
    desk.chat.word_seconds = 0.003
    began = time.monotonic()
    views = asyncio.run(desk.play("a", desk.page.ask("a", "a long one", (), ())))
    seconds = time.monotonic() - began
    texts = [view.turns[-1].answer for view in views if view.turns]
    assert texts[0] is None
    assert len(texts) > 5
    assert len(texts) <= seconds / UPDATE_SECONDS + 5  # for 300 words
    grown = [text for text in texts if text]
    assert all(later.startswith(earlier) for earlier, later in pairwise(grown))
    assert len(grown[-1].split()) == 300  # the longest answer by default


def test_a_long_chat_is_drawn_less_often(desk):
    async def talk() -> tuple[float, list[View]]:
        desk.chat.word_seconds = 0
        for number in range(4 * CALM_TURNS):
            await desk.ask("a", f"question {number}")
        desk.chat.word_seconds = 0.003
        began = time.monotonic()
        views = await desk.play("a", desk.page.ask("a", "a long one", (), ()))
        return time.monotonic() - began, views

    seconds, views = asyncio.run(talk())
    texts = [view.turns[-1].answer for view in views if view.turns]
    assert 2 < len(texts) <= seconds / (4 * UPDATE_SECONDS) + 5
    assert len(texts[-1].split()) == 300


def test_stop_keeps_the_text_and_the_turn_counts(desk):
    async def talk() -> View:
        desk.chat.word_seconds = 0.02
        async for view in desk.page.ask("a", "a long one", (), ()):
            desk.show("a", view)
            if view.turns and (view.turns[-1].answer or "").count("word"):
                desk.page.stop("a")
        stopped = desk.screens["a"]
        assert stopped.composer.answering is False
        assert desk.chat.ends == ["cancelled"]
        desk.chat.word_seconds = 0
        return await desk.ask("a", "next")

    assert len(asyncio.run(talk()).turns) == 2


def test_stop_before_the_first_word_gives_the_question_back(desk):
    async def talk() -> View:
        desk.chat.at_once = 1
        desk.chat.gate.clear()
        task = asyncio.create_task(desk.ask("a", "What?", desk.upload("red")))
        await until(lambda: desk.chat.answering)
        waiting = asyncio.create_task(desk.ask("b", "Me too"))
        await until(lambda: "1 question before yours" in str(desk.screens.get("b")))
        desk.page.stop("b")
        second = await waiting
        assert (second.composer.text, second.turns) == ("Me too", ())
        desk.page.stop("a")
        desk.chat.gate.set()
        return await task

    screen = asyncio.run(talk())
    assert screen.turns == ()
    assert screen.composer.text == "What?"
    assert len(screen.composer.files) == 1
    assert "Stopped" in screen.notice


def test_edit_retry_undo(desk):
    async def talk() -> None:
        await desk.ask("a", "one", desk.upload("green"))
        await desk.ask("a", "two", desk.upload("white"))
        # messages: picture, one, answer, picture, two, answer
        await desk.play("a", desk.page.retry("a", 5, ()))
        assert shown(desk.screens["a"])[1] == ("two", "I see green and white. You asked: two", 1)
        await desk.play("a", desk.page.edit("a", 1, "uno", ()))
        assert shown(desk.screens["a"]) == [("uno", "I see green. You asked: uno", 1)]
        undone = desk.show("a", await desk.page.undo("a", 2))
        assert (undone.turns, undone.composer.text) == ((), "uno")
        again = await desk.ask("a", undone.composer.text, *undone.composer.files)
        assert shown(again) == [("uno", "I see green. You asked: uno", 1)]
        assert desk.chat.encoded == 2

    asyncio.run(talk())


@pytest.mark.parametrize("index", [-1, 3, 10**9])
def test_an_unknown_message_is_refused_in_words(desk, index):
    async def talk() -> None:
        await desk.ask("a", "one", desk.upload("green"))
        for views in (desk.page.retry("a", index, ()), desk.page.edit("a", index, "x", ())):
            await desk.play("a", views)
            assert "cleared" in desk.screens["a"].notice
        assert "cleared" in (await desk.page.undo("a", index)).notice
        assert len(desk.screens["a"].turns) == 1

    asyncio.run(talk())


@pytest.mark.parametrize(
    ("question", "notice"),
    [
        ("", "Please type a question."),
        ("   ", "Please type a question."),
        ("x" * 2001, "2,000"),
        ("please crash", "Something went wrong"),
        ("please fail", "out of memory"),
        ("silent", "without a word"),
    ],
)
def test_what_cannot_be_answered_changes_nothing(desk, question, notice):
    async def talk() -> View:
        await desk.ask("a", "one", desk.upload("red"))
        return await desk.ask("a", question)

    screen = asyncio.run(talk())
    assert notice in screen.notice
    assert "secret" not in screen.notice
    assert len(screen.turns) == 1
    assert screen.composer.answering is False
    if question.strip():
        assert screen.composer.text == question


def test_failed_edit_leaves_the_chat_as_it_was(desk):
    async def talk() -> View:
        await desk.ask("a", "one", desk.upload("red"))
        await desk.ask("a", "two")
        await desk.play("a", desk.page.edit("a", 1, "please crash", ()))
        return desk.screens["a"]

    screen = asyncio.run(talk())
    assert [turn.question for turn in screen.turns] == ["one", "two"]
    assert screen.composer.text == "please crash"


def test_files_that_are_no_pictures_or_no_uploads(desk, tmp_path):
    outside = plain(tmp_path / "outside.png", COLOURS["red"])
    text = desk.uploads / "notes.png"
    text.write_text("no picture")

    async def talk() -> None:
        for path in (outside, Path("/etc/passwd"), desk.uploads / ".." / "outside.png"):
            screen = await desk.ask("a", "What?", str(path))
            assert "Please upload the picture." in screen.notice
        screen = await desk.ask("a", "What?", str(text), desk.upload("blue"))
        assert screen.notice.startswith("notes.png: ")
        assert [Path(path).name for path in screen.composer.files] == ["blue.png"]
        screen = await desk.ask("a", "What?", str(desk.uploads / "gone.png"))
        assert "attach it again" in screen.notice
        many = [desk.upload("red")] * (MAX_PICTURES + 1)
        assert "at most" in (await desk.ask("a", "What?", *many)).notice
        assert desk.chat.encoded == 0

    asyncio.run(talk())


def test_new_chat_stops_the_answer_and_deletes_the_copies(desk):
    async def talk() -> View:
        desk.chat.word_seconds = 0.02
        task = asyncio.create_task(desk.ask("a", "a long one", desk.upload("red")))
        await until(lambda: "I see" in str(desk.screens.get("a")))
        copy = desk.screens["a"].turns[0].pictures[0].path
        assert copy.exists()
        fresh = await desk.page.new_chat("a")
        await task
        assert not copy.exists()
        assert fresh.turns == ()
        desk.chat.word_seconds = 0
        return await desk.ask("a", "Remember?")

    assert shown(asyncio.run(talk())) == [
        ("Remember?", "I see no picture. You asked: Remember?", 0)
    ]


def test_a_second_question_of_the_same_tab_stops_the_first(desk):
    async def talk() -> View:
        desk.chat.word_seconds = 0.01
        first = asyncio.create_task(desk.ask("a", "a long one"))
        await until(lambda: "word1" in str(desk.screens.get("a")))
        await desk.ask("a", "second")
        await first
        return desk.screens["a"]

    screen = asyncio.run(talk())
    assert [turn.question for turn in screen.turns] == ["a long one", "second"]
    assert sorted(desk.chat.ends) == ["cancelled", "stop"]


def test_twenty_chats_at_once_never_mix(desk):
    names = [name for name in COLOURS if name != "white"]

    async def visitor(number: int) -> None:
        tab, colour = f"tab{number}", names[number % len(names)]
        await desk.ask(tab, f"first of {number}", desk.upload(colour))
        asking = asyncio.create_task(desk.ask(tab, f"a long one of {number}"))
        if number % 2:
            await until(lambda: "long one of" in str(desk.screens[tab].turns))
            desk.page.stop(tab)
        await asking
        await desk.ask(tab, f"last of {number}")
        said = shown(desk.screens[tab])
        assert said[0][1] == f"I see {colour}. You asked: first of {number}"
        assert said[-1][1] == f"I see {colour}. You asked: last of {number}"

    async def talk() -> None:
        await asyncio.gather(*(visitor(number) for number in range(20)))

    desk.chat.word_seconds, desk.chat.words = 0.002, 40
    asyncio.run(talk())
    assert desk.chat.most_answering > 4


def test_a_full_queue_refuses_in_words_and_at_once(tmp_path):
    desk = Desk(tmp_path, waiting=2, at_once=1)

    async def talk() -> None:
        desk.chat.gate.clear()
        asked = [asyncio.create_task(desk.ask(f"{n}", f"question {n}")) for n in range(3)]
        await until(lambda: desk.worker.open_questions == 3)
        refused = await asyncio.wait_for(desk.ask("late", "me?"), 60)
        assert "Many people" in refused.notice
        assert refused.composer.text == "me?"
        desk.chat.gate.set()
        for screen in await asyncio.gather(*asked):
            assert len(screen.turns) == 1

    asyncio.run(talk())
    desk.worker.close()


def test_a_closed_tab_stops_its_answer_and_is_forgotten(desk):
    async def talk() -> None:
        desk.chat.word_seconds = 0.02
        async with aclosing(desk.page.ask("a", "a long one", [desk.upload("red")], ())) as views:
            async for view in views:
                if view.turns and view.turns[-1].answer:
                    desk.page.close("a")
                    break
        await until(lambda: not desk.chat.answering)
        assert len(desk.store) == 0
        assert not [path for path in desk.uploads.iterdir() if path.is_dir()]

    asyncio.run(talk())


def test_an_answer_that_outlives_its_chat_brings_no_file_back(desk):
    async def talk() -> None:
        desk.chat.word_seconds = 0.02
        async for view in desk.page.ask("a", "a long one", [desk.upload("red")], ()):
            if view.turns and view.turns[-1].answer:
                desk.page.close("a")
        assert not [path for path in desk.uploads.iterdir() if path.is_dir()]

    asyncio.run(talk())


def test_a_chat_that_was_let_go_is_told(desk):
    async def talk() -> View:
        await desk.ask("a", "one", desk.upload("red"))
        desk.page.close("a")
        return await desk.ask("a", "two")

    screen = asyncio.run(talk())
    assert "was cleared" in screen.notice
    assert shown(screen) == [("two", "I see no picture. You asked: two", 0)]


def test_examples_are_ours(desk):
    async def talk() -> None:
        await desk.play("a", desk.page.example("a", 1, ()))
        assert shown(desk.screens["a"])[0][0] == "What colour is the house?"
        assert await desk.play("b", desk.page.example("b", 99, ())) == []

    asyncio.run(talk())


def test_settings_reach_the_model(desk):
    async def talk() -> None:
        values = [0.3, 0.5, 20, 1.2, 2, "41"]
        await desk.play("a", desk.page.ask("a", "What?", (), values))
        nonsense = [99, "x", None, float("nan"), True, "9" * 400]
        await desk.play("a", desk.page.ask("a", "What?", (), nonsense))

    asyncio.run(talk())
    first, second = desk.chat.settings
    assert (first.temperature, first.top_p, first.max_new_tokens) == (0.3, 0.5, 20)
    assert (first.repetition_penalty, first.num_beams, first.seed) == (1.2, 2, 41)
    assert (second.temperature, second.top_p, second.max_new_tokens) == (2.0, 0.9, 300)
    assert (second.repetition_penalty, second.num_beams) == (1.0, 1)


def test_the_status_follows_loading(tmp_path):
    desk = Desk(tmp_path)
    desk.worker.close()

    def fail() -> FakeChat:
        raise RuntimeError("secret: weights missing")

    broken = ModelWorker(fail)
    page = PageHandlers(broken, desk.store, fake_config(tmp_path), ())

    async def talk() -> None:
        views = page.load()
        assert (await anext(views)).status.kind == "loading"
        broken.start().exception()
        assert (await anext(views)).status.kind == "failed"
        await desk.play("a", page.ask("a", "What?", (), ()))
        assert "could not be loaded" in desk.screens["a"].notice
        assert "secret" not in desk.screens["a"].notice

    asyncio.run(talk())
    broken.close()
