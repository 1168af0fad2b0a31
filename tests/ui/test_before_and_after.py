"""One question seen through several projections: both answers, and which one the chat goes on with."""

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest

from minigpt4.ui.handlers import NO_SUCH_ANSWER, SAME_AGAIN
from minigpt4.ui.settings import COMPARE, Choice, choose
from minigpt4.ui.views import View, chat_messages, turn_of_message
from tests.ui.desk import Desk, until

COMPARED = (*(None,) * 6, COMPARE)
BEFORE = (*(None,) * 6, "Stage 1")


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path)
    yield desk
    desk.worker.close()


async def ask(desk: Desk, text: str, values, *files: str) -> View:
    await desk.play("a", desk.page.ask("a", text, files, values))
    return desk.screens["a"]


def sides(view: View, turn: int = -1) -> list[tuple[str, str, bool]]:
    return [(side.label, side.text, side.kept) for side in view.turns[turn].sides]


def test_compare_shows_both_answers_and_goes_on_with_the_chosen_one(desk):
    async def talk() -> None:
        screen = await ask(desk, "What is it?", COMPARED, desk.upload("red"))
        after = "I see red. You asked: What is it?"
        before = "Through Stage 1 I see fog. You asked: What is it?"
        assert sides(screen) == [("Stage 2", after, True), ("Stage 1", before, False)]
        assert screen.turns[0].answer == after
        message = len(screen.turns[0].pictures) + 1
        (offered,) = chat_messages(screen.turns)[-1]["options"]
        assert offered == {"value": "Stage 1", "label": "Go on with Stage 1"}
        chosen = desk.show("a", await desk.page.keep("a", message, "Stage 1"))
        assert sides(chosen) == [("Stage 2", after, False), ("Stage 1", before, True)]
        assert chosen.turns[0].answer == before
        assert desk.store.open("a").session.conversation.turns[0].answer == before
        screen = await ask(desk, "And now?", ())
        assert sides(screen) == []
        assert len(screen.turns) == 2
        assert sides(screen, 0)[1][2]
        # What is not the last question any more has been gone on from.
        late = await desk.page.keep("a", message, "Stage 2")
        assert late.notice == NO_SUCH_ANSWER
        assert sides(late, 0)[1][2]

    asyncio.run(talk())


def test_both_grow_side_by_side_and_stop_together(desk):
    async def talk() -> None:
        desk.chat.word_seconds = 0.02
        together = False
        async for view in desk.page.ask("a", "a long one", (), COMPARED):
            desk.show("a", view)
            texts = [side.text for side in view.turns[-1].sides] if view.turns else []
            if not together and len(texts) == 2 and all("word" in text for text in texts):
                together = True
                assert view.composer is None or view.composer.answering
                assert "options" not in chat_messages(view.turns)[-1]  # not before both are there
                desk.page.stop("a")
        assert together
        assert desk.chat.most_answering == 2
        await until(lambda: desk.chat.answering == 0)
        texts = [text for _, text, _ in sides(desk.screens["a"])]
        assert len(texts) == 2
        assert desk.chat.ends == ["cancelled"] * 2

    asyncio.run(talk())


def test_the_end_of_one_answer_does_not_cut_the_other(desk):
    async def talk() -> None:
        # The fog's answer has three words more than the other.
        desk.chat.word_seconds = 0.05
        screen = await ask(desk, "What?", COMPARED)
        assert [text[-5:] for _, text, _ in sides(screen)] == ["What?", "What?"]

    asyncio.run(talk())


def test_one_of_another_projection_is_labelled(desk):
    async def talk() -> None:
        screen = await ask(desk, "What?", BEFORE)
        assert sides(screen) == [("Stage 1", "Through Stage 1 I see fog. You asked: What?", True)]
        messages = chat_messages(screen.turns)
        assert "options" not in messages[-1]
        assert "<h3>Stage 1</h3>" in messages[-1]["content"][0]["text"]

    asyncio.run(talk())


def test_a_failure_of_one_is_a_failure_of_the_question(desk):
    async def talk() -> None:
        await ask(desk, "one", COMPARED)
        screen = await ask(desk, "please fail", COMPARED)
        assert "out of memory" in screen.notice
        assert [turn.question for turn in screen.turns] == ["one"]
        assert len(sides(screen)) == 2
        assert screen.composer.text == "please fail"
        await until(lambda: desk.chat.answering == 0)

    asyncio.run(talk())


def test_retry_edit_and_undo_with_several_answers(desk):
    async def talk() -> None:
        screen = await ask(desk, "one", (0, *COMPARED[1:]), desk.upload("green"))
        assert len(sides(screen)) == 2
        await desk.play("a", desk.page.retry("a", 2, (0, *COMPARED[1:])))
        assert desk.screens["a"].notice == SAME_AGAIN
        await desk.play("a", desk.page.retry("a", 2, (0,)))
        assert desk.screens["a"].notice == ""  # another projection: another answer
        assert sides(desk.screens["a"]) == []
        await desk.play("a", desk.page.edit("a", 1, "uno", COMPARED))
        assert [text[-3:] for _, text, _ in sides(desk.screens["a"])] == ["uno", "uno"]
        await ask(desk, "two", ())
        undone = desk.show("a", await desk.page.undo("a", 4))
        assert len(sides(undone)) == 2
        undone = desk.show("a", await desk.page.undo("a", 2))
        assert (undone.turns, undone.composer.text) == ((), "uno")
        assert desk.store.open("a").sides == {}

    asyncio.run(talk())


@pytest.mark.parametrize("label", ["", "Stage 2", "Stage 9", COMPARE])
def test_nonsense_chooses_nothing(desk, label):
    async def talk() -> None:
        await ask(desk, "one", ())
        assert (await desk.page.keep("a", 1, label)).notice == NO_SUCH_ANSWER
        assert "cleared" in (await desk.page.keep("a", 99, label)).notice
        await ask(desk, "two", COMPARED)
        view = await desk.page.keep("a", 3, label)
        assert (view.notice == "") is (label == "Stage 2")

    asyncio.run(talk())


def test_what_a_browser_may_send():
    labels = ("Stage 2", "Stage 1", "Mine")
    for sent, expected in {
        COMPARE: (None, "Stage 1", "Mine"),
        "Stage 2": (None,),
        "Mine": ("Mine",),
        "Stage 9": (None,),
        None: (None,),
        7: (None,),
        ("Stage 1",): (None,),
    }.items():
        choice = choose((), (sent,))
        assert choice.projections(labels) == expected
        assert choice.projections(labels[:1]) == (None,)
    assert choose((), ()) == Choice(choose((), ()).settings)


def test_said_is_never_markup_also_side_by_side(desk):
    attack = '</p></div><img src=x onerror="alert(1)"> &lt;b&gt;'
    screen = asyncio.run(ask(desk, attack, COMPARED))
    messages = chat_messages(screen.turns)
    (part,) = messages[-1]["content"]
    assert "<img" not in part["text"]
    assert part["text"].count("</div>") == 3
    assert "&amp;lt;b&amp;gt;" in part["text"]
    assert turn_of_message(screen.turns, len(messages) - 1) == 0
    assert turn_of_message(screen.turns, len(messages)) is None


@pytest.mark.parametrize("values", [(), COMPARED])
def test_the_page_says_once_that_old_turns_no_longer_count(desk, monkeypatch, values):
    stream = desk.chat.stream_answer
    told = "This chat has grown long: the oldest turn no longer counted for this answer."

    def forgetful(*arguments, **named):
        for part in stream(*arguments, **named):
            yield replace(part, notice=told)

    async def talk() -> None:
        await ask(desk, "one", (), desk.upload("red"))
        monkeypatch.setattr(desk.chat, "stream_answer", forgetful)
        screen = await ask(desk, "two", values)
        assert screen.notice == told
        assert [len(turn.pictures) for turn in screen.turns] == [1, 0]  # all stays on the page

    asyncio.run(talk())


def test_a_closed_tab_stops_both(desk):
    async def talk() -> None:
        desk.chat.word_seconds = 0.02
        async with aclosing(desk.page.ask("a", "a long one", (), COMPARED)) as views:
            async for view in views:
                if view.turns and view.turns[-1].sides:
                    await until(lambda: desk.chat.answering == 2)
                    desk.page.close("a")
                    break
        await until(lambda: not desk.chat.answering)
        assert len(desk.store) == 0

    asyncio.run(talk())
