"""The report: all in one file, nothing from outside, nothing that a model says is run."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from minigpt4.evaluation.items import Answer, Data, Item, Judged, Verdict, share
from minigpt4.evaluation.report import Column, report_html
from tests.evaluation.data import draw
from tests.ui.conftest import LOOKS
from tests.ui.driver import chromium_context

EVIL = '</script><script>alert(1)</script><img src=x onerror="alert(1)">'


def column(label: str, marks: dict[str, str], text: str = "The boat is red.") -> Column:
    verdicts = {
        key: Verdict(mark, float(mark == "right"), ("no end",) if mark == "wrong" else ())
        for key, mark in marks.items()
    }
    right = sum(mark == "right" for mark in marks.values())
    judged = Judged(
        (share("accuracy", right, len(marks)),), verdicts, {"color": share("accuracy", 1, 2)}
    )
    return Column(label, {key: Answer(text) for key in marks}, judged)


def items(folder: Path, number: int) -> tuple[Item, ...]:
    draw(folder, "a.png")
    return tuple(
        Item(str(n), folder / "a.png", f"Question {n}?", ("red", "red", "blue"))
        for n in range(number)
    )


class Reader(HTMLParser):
    """Collects the tags of a page, and checks that each is closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def named(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_it_is_one_file_that_asks_for_nothing(tmp_path: Path) -> None:
    evil = Item("0", draw(tmp_path, "a.png") / "a.png", EVIL, (EVIL,))
    page = report_html(
        EVIL,
        EVIL,
        Data((evil,), notes=(EVIL,)),
        [column(EVIL, {"0": "wrong"}, EVIL)],
        most=9,
        seed=0,
    )
    read = Reader(page)
    assert len(read.named("script")) == 1
    assert [image["src"][:23] for image in read.named("img")] == ["data:image/jpeg;base64,"]
    assert not re.search(r"https?://|//[a-z]", page)
    policy = next(meta["content"] for meta in read.named("meta") if "http-equiv" in meta)
    script = re.search(r"<script>(.*?)</script>", page, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_what_went_wrong_comes_first_and_marks_are_told_in_words(tmp_path: Path) -> None:
    data = Data(items(tmp_path, 3))
    marks = {"0": "right", "1": "partly", "2": "wrong"}
    page = report_html("VQA", "q.json", data, [column("model", marks)], most=9, seed=0)
    assert re.findall(r'data-marks="(\w+)"', page) == ["wrong", "partly", "right"]
    assert re.findall(r'aria-label="(Right|Wrong|Partly right)"', page) == [
        "Wrong",
        "Partly right",
        "Right",
    ]
    assert page.count("red (2) · blue") == 3
    assert "<b>33.3 %</b><small>6.1 to 79.2</small>" in page
    assert "3 items" in page
    failures = report_html(
        "F", "f", data, [column("m", marks)], most=9, seed=0, marks=("Sound", "Failed")
    )
    assert [name in failures for name in ("Sound", "Failed", "Wrong")] == [True, True, False]


def test_more_items_than_fit_are_drawn_and_that_is_said(tmp_path: Path) -> None:
    data = Data(items(tmp_path, 100))
    marks = {str(n): "wrong" if n < 30 else "right" for n in range(100)}
    pages = [
        report_html("VQA", "q", data, [column("model", marks)], most=20, seed=seed)
        for seed in (0, 0, 1)
    ]
    assert pages[0] == pages[1] != pages[2]
    shown = re.findall(r'data-marks="(\w+)"', pages[0])
    assert (shown.count("wrong"), shown.count("right")) == (10, 10)
    assert "Here are 20 of 100 items" in pages[0]
    few = {str(n): "wrong" if n < 3 else "right" for n in range(100)}
    page = report_html("VQA", "q", data, [column("model", few)], most=20, seed=0)
    shown = re.findall(r'data-marks="(\w+)"', page)
    assert (shown.count("wrong"), shown.count("right")) == (3, 17)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    data = Data(items(tmp_path, 2), bad=(("line 3", "No."),))
    (tmp_path / "a.png").unlink()
    page = report_html("VQA", "q", data, [column("model", {"0": "right"})], most=9, seed=0)
    assert "model: 1 item without an answer, not counted." in page
    assert "1 row of the data could not be read" in page
    assert page.count("No picture") == 2
    assert page.count("No answer.") == 1


def test_there_is_a_button_for_each_mark_that_somebody_got(tmp_path: Path) -> None:
    """And for none else: one answer is right, one is wrong, and two are missing."""
    columns = [column("a", {"0": "right"}), column("b", {"0": "wrong", "1": "right"})]
    page = report_html("A", "a", Data(items(tmp_path, 3)), columns, most=9, seed=0)
    buttons = dict(re.findall(r'data-mark="(\w*)"[^>]*>([^<]+)<', page))
    assert buttons == {
        "": "All",
        "wrong": "Wrong",
        "right": "Right",
        "none": "No answer",
        "differ": "They differ",
    }
    missing = report_html("A", "a", Data(items(tmp_path, 2)), columns[:1], most=9, seed=0)
    assert re.findall(r'data-mark="(\w*)"', missing) == ["", "right", "none"]


@pytest.mark.browser
@pytest.mark.parametrize("look", LOOKS)
def test_a_person_filters_it(tmp_path: Path, look: str) -> None:
    data = Data(items(tmp_path, 4))
    first = column("stage 1", dict(zip("0123", ["wrong", "wrong", "right", "right"], strict=True)))
    second = column(
        "stage 2", dict(zip("0123", ["right", "wrong", "right", "right"], strict=True)), "No."
    )
    page = tmp_path / "report.html"
    page.write_text(
        report_html("VQA", "q", data, [first, second], most=9, seed=0), encoding="utf-8"
    )
    with chromium_context(**LOOKS[look]) as context:
        tab = context.new_page()
        problems: list[str] = []
        tab.on("console", lambda message: problems.append(message.text))
        tab.on("pageerror", lambda error: problems.append(str(error)))
        tab.goto(page.as_uri())

        def shown() -> list[str]:
            cards = tab.locator("article:visible figcaption").all_inner_texts()
            assert tab.locator("output").inner_text() == f"{len(cards)} shown"
            return cards

        assert shown() == ["0", "1", "2", "3"]
        tab.get_by_role("button", name="Wrong").click()
        assert shown() == ["0", "1"]
        tab.get_by_label("Whose answers").select_option("stage 2")
        assert shown() == ["1"]
        tab.get_by_role("button", name="They differ").click()
        assert shown() == ["0"]
        tab.get_by_role("button", name="All").click()
        tab.get_by_label("Find words").fill("question 3")
        assert shown() == ["3"]
        tab.get_by_label("Find words").fill("zebra")
        assert shown() == []
        assert tab.get_by_text("No item is like that.").is_visible()
        assert tab.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        assert problems == []
