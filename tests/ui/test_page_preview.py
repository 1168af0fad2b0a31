"""Answers that are web pages stay text; what is offered beside them, and when."""

import asyncio
import html
import re

import pytest

from minigpt4.ui.settings import COMPARE
from minigpt4.ui.views import ShownSide, ShownTurn, chat_messages
from tests.ui.desk import Desk
from tests.ui.test_web_pages import PAGE

TOLD = f"Sure:\n\n```html\n{PAGE}\n```\nIt has a list & a button, as you wished."
BUTTON = '<button type="button" class="show-page"></button>'


def markup(turn: ShownTurn) -> str:
    return chat_messages([turn])[-1]["content"][0]["text"]


def text_of(markup: str) -> str:
    return html.unescape(re.sub(r"<[^<>]*>", "", markup))


def test_a_page_is_marked_and_offered_and_stays_text():
    written = markup(ShownTurn("?", TOLD))
    assert text_of(written) == TOLD
    assert html.escape(PAGE, quote=False) in written
    assert re.findall(r'<span class="web-page">([^<]*)</span>', written) == [
        html.escape(PAGE, quote=False)
    ]
    assert written.count(BUTTON) == 1
    assert set(re.findall(r"<(\w+)", written)) == {"div", "span", "button"}


def test_nothing_is_offered_without_a_page_or_before_the_end():
    assert markup(ShownTurn("?", "No <b>page</b>.")) == "No &lt;b&gt;page&lt;/b&gt;."
    for answer in (PAGE, TOLD):
        going = markup(ShownTurn("?", answer, finished=False))
        assert going == html.escape(answer, quote=False)
    question = chat_messages([ShownTurn(PAGE, None)])[0]["content"][0]["text"]
    assert question == html.escape(PAGE, quote=False)  # what a person writes is not offered


def test_each_answer_beside_another_has_its_own_pages():
    sides = (
        ShownSide("After", f"{PAGE}\n{PAGE}", kept=True),
        ShownSide("Before", "None.", kept=False),
    )
    for finished, offered in ((True, [2, 0]), (False, [0, 0])):
        written = markup(ShownTurn("?", PAGE, (), sides, finished=finished))
        answers = written.split('<div class="side')[2:]
        assert [answer.count(BUTTON) for answer in answers] == offered
        assert [answer.count('class="web-page"') for answer in answers] == offered


@pytest.mark.parametrize("compare", [False, True])
def test_it_is_offered_when_the_answer_has_ended(tmp_path, compare):
    desk = Desk(tmp_path)
    desk.chat.word_seconds = 0.1  # so that the page is updated after its end was written
    desk.chat._said = lambda seen, question: TOLD if question == "page" else "Nothing."
    values = [each.default for each in desk.page.table] + [COMPARE]

    async def ask() -> None:
        asked = desk.page.ask("tab", "page", (), values if compare else ())
        views = await desk.play("tab", asked)
        offered = [BUTTON in str(chat_messages(view.turns)) for view in views if view.turns]
        assert offered == [False] * (len(offered) - 1) + [True]
        assert any("</html>" in str(view.turns) for view in views[:-1])  # although it was whole
        again = await desk.play("tab", desk.page.ask("tab", "more", (), ()))
        assert all(BUTTON in str(chat_messages(view.turns)) for view in again if view.turns)

    asyncio.run(ask())
    desk.worker.close()


def test_a_saved_chat_holds_the_code_as_it_was_written(tmp_path):
    desk = Desk(tmp_path)
    desk.chat._said = lambda seen, question: TOLD

    async def ask() -> None:
        await desk.ask("tab", "page")

    asyncio.run(ask())
    for kind in ("html", "markdown"):
        file, notice = desk.page.save("tab", kind)
        assert file is not None
        assert notice == ""
        if kind == "html":
            assert f'<p class="text">{html.escape(TOLD)}</p>' in file.read_text()
            assert "show-page" not in file.read_text()
    desk.worker.close()
