"""The chat as a file: complete, self-contained, and nothing but text and pictures."""

import asyncio
import base64
import io
import re
import zipfile
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

from markdown_it import MarkdownIt
from PIL import Image

from minigpt4.ui.handlers import NOT_YET_SAVED, NOTHING_TO_SAVE
from minigpt4.ui.markdown import transcript_markdown, transcript_zip
from minigpt4.ui.pictures import PictureFolder
from minigpt4.ui.sessions import numbered
from minigpt4.ui.transcript import transcript_html
from minigpt4.ui.views import ShownSide, ShownTurn
from tests.ui.desk import Desk, until

SAVED = datetime(2026, 11, 22, 9, 5, tzinfo=UTC)
ATTACK = '<script>alert(1)</script> <img src=x onerror=alert(1)> "&amp;" \'</p>'


class Page(HTMLParser):
    """The text of each question and answer, the tags, and what they refer to."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._within = False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._within = dict(attrs).get("class") == "text"
        if self._within:
            self.texts.append("")

    def handle_endtag(self, tag):
        self._within = False

    def handle_data(self, data):
        if self._within:
            self.texts[-1] += data


def test_everything_said_is_in_the_file_in_order(tmp_path: Path) -> None:
    folder = PictureFolder(tmp_path)
    colours = ("red", "blue")
    pictures = [folder.add(Image.new("RGB", (8, 6), colour)) for colour in colours]
    turns = (
        ShownTurn("What is it?\n  And why?", "A red thing.", numbered(pictures[:1], 0)),
        ShownTurn("And this?", "A blue thing.", numbered(pictures[1:], 1)),
        ShownTurn("Thanks", "You are welcome."),
    )
    content = transcript_html(turns, "MiniGPT-4", "MiniGPT-4 tiny", "It reads drawings.", SAVED)
    page = Page(content)
    assert page.texts == [text for turn in turns for text in (turn.question, turn.answer)]
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert [image["alt"] for image in images] == ["Picture 1", "Picture 2"]
    for image, picture in zip(images, pictures, strict=True):
        kind, data = str(image["src"]).split(",")
        assert kind == "data:image/webp;base64"
        assert base64.b64decode(data) == picture.copy
    for told in ("MiniGPT-4 tiny", "It reads drawings.", "2026-11-22 09:05"):
        assert told in content
    assert 'lang="en"' in content


def test_text_stays_text_and_nothing_is_fetched() -> None:
    page = transcript_html((ShownTurn(ATTACK, ATTACK),), ATTACK, ATTACK, ATTACK, SAVED)
    parsed = Page(page)
    assert parsed.texts == [ATTACK, ATTACK]
    assert not {tag for tag, _ in parsed.tags} & {"script", "img", "link", "iframe"}
    assert not [name for _, found in parsed.tags for name in found if name.startswith("on")]
    assert re.search(r"(https?:)?//", page) is None
    policies = [found.get("content") for tag, found in parsed.tags if tag == "meta"]
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in policies


def test_a_chat_is_saved_from_what_the_server_knows(tmp_path: Path) -> None:
    async def talk() -> None:
        assert desk.page.save("a") == (None, NOTHING_TO_SAVE)
        await desk.ask("a", "one", desk.upload("red"))
        asking = asyncio.create_task(desk.ask("a", "a long one"))
        await until(lambda: "a long one" in str(desk.screens["a"].turns))
        file, notice = desk.page.save("a")
        assert notice == NOT_YET_SAVED
        page = file.read_text(encoding="utf-8")
        assert "You asked: one" in page
        assert "a long one" not in page
        desk.page.stop("a")
        await asking
        assert desk.page.save("a") == (file, "")
        assert "a long one" in file.read_text(encoding="utf-8")
        desk.page.close("a")
        assert not file.exists()

    desk = Desk(tmp_path)
    desk.chat.word_seconds = 0.01
    asyncio.run(talk())
    desk.worker.close()


def test_markdown_shows_what_was_said_word_for_word(tmp_path: Path) -> None:
    folder = PictureFolder(tmp_path)
    picture = folder.add(Image.new("RGB", (8, 6), "red"))
    said = (
        "1. # not *a* heading | `code` $x$",
        "- no list\n+ either\n= or\n12) that",
        "<script>alert(1)</script> &lt; \\ [a](http://x) ![b](c) ~~d~~",
        "    no code\n\n\n> no quote\ttab",
        "Two\nlines",
    )
    turns = tuple(
        ShownTurn(text, text, numbered([picture] if not place else [], 0))
        for place, text in enumerate(said)
    )
    written = transcript_markdown(turns, "Title_with_marks", "tiny", "Notice *here*", SAVED)
    page = Rendered(MarkdownIt("commonmark").enable("table").render(written))
    assert {"h1", "h2", "p"} <= set(page.tags)
    assert set(page.tags) <= {"h1", "h2", "p", "img", "br"}
    assert page.images == ["picture-1.webp"]
    told = [" ".join(text.replace("\xa0", " ").split()) for text in said]
    whole = " ".join(page.text.replace("\xa0", " ").split())
    for text in told:
        assert whole.count(text) == 2, text
    assert "Title_with_marks" in whole
    with zipfile.ZipFile(io.BytesIO(transcript_zip(turns, "T", "tiny", "", SAVED))) as files:
        assert files.read("picture-1.webp") == picture.copy
        assert files.testzip() is None


def test_two_answers_are_both_in_the_file() -> None:
    sides = (ShownSide("After", "Four.", kept=False), ShownSide("Before", "Five.", kept=True))
    turns = (ShownTurn("How many?", "Five.", (), sides),)
    page = transcript_html(turns, "T", "tiny", "", SAVED)
    assert Page(page).texts == ["How many?", "Four.", "Five."]
    assert "<h2>Answer: After</h2>" in page
    assert "<h2>Answer: Before, which the chat went on with</h2>" in page
    written = transcript_markdown(turns, "T", "tiny", "", SAVED)
    assert "## Answer: After\n\nFour\\." not in written
    assert "## Answer: After\n\nFour." in written


class Rendered(HTMLParser):
    """Tags, pictures and text of rendered Markdown."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.images: list[str | None] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.text += " "
        if tag == "img":
            self.images.append(dict(attrs)["src"])

    def handle_data(self, data):
        self.text += data
