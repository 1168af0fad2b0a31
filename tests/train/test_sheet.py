"""The sheet of a run: what is marked, that the page stands by itself, and what the slider does."""

import base64
import io
import json
import re
from pathlib import Path

import pytest
from PIL import Image

from train.run_folder import RunFolder, append_lines, read_lines
from train.sheet import draw_sheet, likeness, spans

HOSTILE = 'a red <script>alert("1")</script> cat & <img src=x onerror=alert(2)> $title'


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """Three looks at two held-out pictures and one that is learned from."""
    (tmp_path / "samples").mkdir()
    for name, color in (("1", "red"), ("2", "blue"), ("learned-1", "green")):
        Image.new("RGB", (200, 120), color).save(tmp_path / "samples" / f"{name}.png")
    folder = RunFolder(tmp_path)
    answers = {0: "the the the", 10: "a blue cat", 20: "a red cat"}
    for step, answer in answers.items():
        for name, side in (("1", "held out"), ("2", "held out"), ("learned-1", "learned from")):
            row = {
                "step": step,
                "picture": f"samples/{name}.png",
                "side": side,
                "question": "" if name == "1" else "What is <this>?",
                "true_answer": "a red cat on a mat",
                "answer": HOSTILE if (name, step) == ("2", 20) else answer,
                "held_out_loss": 3.0 - step / 10,
            }
            append_lines(folder.samples, [row])
    append_lines(folder.metrics, [{"step": n, "loss": 4 / n} for n in range(1, 21)])
    return folder


def test_words_that_both_texts_have_are_marked() -> None:
    assert spans("A red cat.", "the red dog, one cat") == [
        ("A", False), ("red", True), ("cat.", True),
    ]  # fmt: skip
    assert spans("", "a cat") == []
    assert likeness("a red cat", "a red cat") == 1
    assert likeness("a red cat", "the blue dog") == 0
    assert likeness("a red cat", "a red cat on a mat") == pytest.approx(6 / 9)
    assert likeness("", "a cat") == 0
    assert spans("- a", "- b") == [("-", False), ("a", False)]  # a dash is no word


def test_a_look_is_a_picture(folder: RunFolder) -> None:
    draw_sheet(folder, "Stage 2 on cats", 20)
    with Image.open(folder.sheet_of(20)) as sheet:
        colors = {color for _, color in sheet.convert("RGB").getcolors(1 << 20)}
        assert sheet.width > 1000
        assert sheet.height > 2 * 168  # three cards in two columns
    assert {(255, 0, 0), (0, 0, 255), (0, 128, 0)} <= colors
    assert (220, 245, 231) in colors  # what marks a shared word
    assert not folder.sheet_of(10).exists()


def test_the_page_stands_by_itself_and_runs_no_answer(folder: RunFolder) -> None:
    draw_sheet(folder, "Stage 2 on <cats>", 20)
    page = folder.sheet.read_text(encoding="utf-8")
    assert "<title>Stage 2 on &lt;cats&gt;</title>" in page
    assert page.count("<script>") == page.count("<img ") - 2 == 1  # ours, and three pictures
    assert "onerror" not in re.sub(r"&lt;.*?&gt;", "", page)
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "$title" in page  # the answer's own, untouched
    looks = json.loads(re.search(r"const looks = (.*);", page)[1])
    assert looks == [{"step": 0, "loss": 3.0}, {"step": 10, "loss": 2.0}, {"step": 20, "loss": 1.0}]
    picture = re.search(r"base64,([^\"]+)", page)[1]
    with Image.open(io.BytesIO(base64.b64decode(picture))) as shown:
        assert shown.size == (200, 120)
    assert page.count('class="answer now"') == 3  # without scripts the newest answers show
    assert page.count("<h2>") == 2


def test_a_long_answer_and_a_long_word_stay_in_their_card(folder: RunFolder) -> None:
    row = {
        "step": 30, "picture": "samples/1.png", "side": "held out", "question": "",
        "true_answer": "a", "answer": f"{'x' * 500} " + "word " * 900, "held_out_loss": 0.5,
    }  # fmt: skip
    append_lines(folder.samples, [row])
    draw_sheet(folder, "Stage 1", 30)
    with Image.open(folder.sheet_of(30)) as sheet:
        assert sheet.height < 500
        assert sheet.width == 2 * 600 + 3 * 18


def test_a_run_of_losses_that_are_no_numbers_still_has_a_sheet(folder: RunFolder) -> None:
    folder.metrics.unlink()
    append_lines(folder.metrics, [{"step": 1, "loss": None}])
    draw_sheet(folder, "Stage 1", 20)
    assert 'class="training" points=""' in folder.sheet.read_text(encoding="utf-8")


@pytest.mark.browser
def test_the_slider_leads_through_the_looks(folder: RunFolder) -> None:
    from tests.ui.driver import chromium_context

    draw_sheet(folder, "Stage 2 on cats", 20)
    with chromium_context() as context:
        page = context.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(folder.sheet.as_uri())
        shown = page.locator("article").first.locator(".answer.now")
        assert shown.inner_text() == "a red cat"
        page.locator("#look").fill("0")
        assert shown.inner_text() == "the the the"
        page.locator("article").first.locator(".cell").nth(1).click()
        assert shown.inner_text() == "a blue cat"
        assert page.locator("#step").inner_text() == "10"
        assert complaints == []


def test_any_character_may_stand_in_an_answer_and_a_last_line_be_cut_in_one(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    rows = [{"answer": "one\u2028two\x85three"}, {"answer": "four"}]
    append_lines(path, rows)
    with path.open("ab") as file:
        file.write('{"answer": "é'.encode()[:-1])
    assert read_lines(path) == rows
