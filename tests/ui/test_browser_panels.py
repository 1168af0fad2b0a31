"""What stands around the conversation, in a real browser: projections, pill, camera, the menu."""

import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.ui.driver import PageDriver, chromium
from tests.ui.fake_chat import FakeChat
from tests.ui.server import Served, fake_config, served

pytestmark = [
    pytest.mark.browser,
    pytest.mark.xdist_group("browser"),
    # Gradio's own threads warn about pandas; under "error" they would break its queue.
    pytest.mark.filterwarnings("default"),
]


@pytest.fixture(scope="module")
def opinions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("host") / "opinions.jsonl"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, opinions: Path) -> Iterator[Served]:
    """As the other tests', with opinions enabled."""
    chromium()
    config = fake_config(tmp_path_factory.mktemp("examples"))
    config = replace(config, page=replace(config.page, feedback_file=str(opinions)))
    with served(FakeChat(word_seconds=0.01), config, closed_seconds=0) as site:
        yield site


def sides(driver: PageDriver) -> list[str]:
    return (
        driver.page.locator("#chat .side")
        .last.locator("xpath=..")
        .locator(".said")
        .all_inner_texts()
    )


def test_two_answers_grow_side_by_side_and_one_is_chosen(driver, site, pictures):
    site.chat.word_seconds = 0.3
    driver.look_through("Compare")
    driver.upload(pictures["red"])
    driver.ask("What is it?")
    driver.until(lambda: driver.page.locator("#chat .side").count() == 2, "two answers")
    driver.until(lambda: all(len(text.split()) > 1 for text in sides(driver)), "both to grow")
    assert not any("What is it?" in text for text in sides(driver))
    site.chat.word_seconds = 0.01
    driver.wait_done()
    after, before = sides(driver)
    assert after == "I see red. You asked: What is it?"
    assert before == "Through Stage 1 I see fog. You asked: What is it?"
    boxes = [each.bounding_box() for each in driver.page.locator("#chat .side").all()]
    wide = driver.page.viewport_size["width"] > 560
    assert (boxes[0]["y"] == boxes[1]["y"]) is wide  # beside each other, on a phone below
    kept = driver.page.locator("#chat .side.kept h3")
    assert kept.all_inner_texts() == ["Stage 2"]
    driver.page.get_by_role("button", name="Go on with Stage 1").click()
    driver.until(lambda: kept.all_inner_texts() == ["Stage 1"], "the choice")
    assert driver.notice() == ""

    site.chat.word_seconds = 0.01
    driver.look_through("Stage 2")
    driver.ask("And now?")
    driver.wait_answer("I see red. You asked: And now?")
    driver.wait_done()
    assert driver.page.locator("#chat .option").count() == 0
    driver.look_through("Stage 1")
    driver.retry()
    driver.wait_answer("Through Stage 1 I see fog. You asked: And now?")
    driver.wait_done()
    driver.new_chat()
    assert driver.page.locator("#projection input:checked").get_attribute("value") == "Stage 1"


def test_what_is_copied_is_the_text(driver):
    driver.page.add_init_script(
        "Object.defineProperty(navigator, 'clipboard',"
        " { value: { writeText: async (text) => { window.copied = text; } } })"
    )
    driver.open()

    def copied() -> str:
        driver.page.evaluate("window.copied = null")
        driver.page.locator(
            '#chat .bot-row + .message-buttons button[aria-label*="opy"]'
        ).last.click()
        driver.until(lambda: driver.page.evaluate("window.copied"), "the copy")
        return driver.page.evaluate("window.copied")

    driver.ask("a <b> & &lt;c&gt;?")
    driver.wait_answer("&lt;c&gt;?")
    driver.wait_done()
    assert copied() == "I see no picture. You asked: a <b> & &lt;c&gt;?"
    driver.look_through("Compare")
    driver.ask("a <b> & c?")
    driver.wait_answer("fog. You asked: a <b> & c?")
    driver.wait_done()
    assert copied() == (
        "Stage 2:\nI see no picture. You asked: a <b> & c?\n\n"
        "Stage 1:\nThrough Stage 1 I see fog. You asked: a <b> & c?"
    )


def test_the_pill_tells_more_when_it_is_pressed(driver):
    driver.ask("What?")
    driver.wait_answer("What?")
    driver.wait_done()
    assert "tokens/s" in driver.status()
    pill = driver.page.locator("#status details")
    pill.locator("summary").click()
    driver.until(lambda: "Last answer" in pill.inner_text(), "the details")
    told = pill.locator("dl").inner_text()
    for part in ("tokens in", "Context used", "Answering now", "no chat"):
        assert part in told, told
    box = pill.locator("dl").bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= driver.page.viewport_size["width"]
    driver.page.keyboard.press("Escape")
    assert not pill.locator("dl").is_visible()
    pill.locator("summary").click()
    pill.locator("dl").wait_for()
    driver.page.locator("#composer textarea").click()
    assert not pill.locator("dl").is_visible()


def test_a_picture_is_taken_with_the_camera(driver):
    driver.type("What is it?")
    driver.page.get_by_text("Camera", exact=True).click()
    take = driver.page.locator(".camera .take")
    take.click()
    driver.until(lambda: take.inner_text() == "Take a picture", "the camera")
    video = driver.page.locator(".camera video")
    assert video.evaluate("video => video.videoWidth") > 0
    take.click()
    driver.until(lambda: driver.attached() == 1, "the picture in the composer")
    assert driver.page.locator(".camera .told").inner_text() == "Attached to your question."
    driver.page.evaluate("window.track = document.querySelector('video').srcObject.getTracks()[0]")
    driver.page.get_by_text("Camera", exact=True).click()
    driver.until(lambda: driver.page.evaluate("track.readyState") == "ended", "the camera's end")
    assert driver.typed() == "What is it?"
    driver.send()
    driver.wait_answer("You asked: What is it?")
    driver.wait_done()
    assert "no picture" not in driver.answer_text()
    assert driver.pictures() == 1


def test_a_camera_that_may_not_be_used_is_told(driver):
    driver.page.evaluate(
        "() => { navigator.mediaDevices.getUserMedia ="
        " () => Promise.reject(new DOMException('no', 'NotAllowedError')); }"
    )
    driver.page.get_by_text("Camera", exact=True).click()
    driver.page.locator(".camera .take").click()
    told = driver.page.locator(".camera .told")
    driver.until(lambda: "may not use the camera" in told.inner_text(), "the sentence")
    assert driver.page.locator(".camera .take").inner_text() == "Start the camera"


def test_a_chat_is_saved_as_markdown_with_its_pictures(driver, pictures, tmp_path):
    driver.look_through("Compare")
    driver.upload(pictures["blue"])
    driver.ask("What *is* it?")
    driver.wait_answer("fog. You asked: What *is* it?")
    driver.wait_done()
    with driver.page.expect_download() as downloads:
        driver.save("As Markdown")
    assert downloads.value.suggested_filename.endswith(".zip")
    kept = tmp_path / "chat.zip"
    downloads.value.save_as(kept)
    assert not driver.page.locator("#save-menu").is_visible()
    with zipfile.ZipFile(kept) as files:
        assert files.namelist() == ["chat.md", "picture-1.webp"]
        text = files.read("chat.md").decode()
    assert "![Picture 1](picture-1.webp)\n\nWhat \\*is\\* it?" in text
    assert "## Answer: Stage 2, which the chat went on with\n\nI see blue." in text
    assert "## Answer: Stage 1\n\nThrough Stage 1 I see fog." in text


def test_opinions_are_written_where_the_host_wants_them(driver, opinions, pictures):
    written = len(opinions.read_text().splitlines())
    driver.upload(pictures["green"])
    driver.ask("What colour?")
    driver.wait_answer("What colour?")
    driver.wait_done()
    driver.page.get_by_role("button", name="Like", exact=True).last.click()
    driver.until(lambda: len(opinions.read_text().splitlines()) == written + 1, "the line")
    line = json.loads(opinions.read_text().splitlines()[-1])
    assert (line["opinion"], line["question"], line["turn"]) == ("like", "What colour?", 1)
    assert line["answer"] == "I see green. You asked: What colour?"
    assert len(line["pictures"]) == 1
    driver.page.get_by_role("button", name="Dislike", exact=True).last.click()
    driver.until(lambda: len(opinions.read_text().splitlines()) == written + 2, "the other line")
    assert json.loads(opinions.read_text().splitlines()[-1])["opinion"] == "dislike"
    assert not opinions.with_name("opinions-pictures").exists()


def test_a_dropped_picture_is_attached_and_pictures_are_numbered(driver, pictures):
    data = driver.page.evaluate_handle("new DataTransfer()")
    for name in ("red", "blue"):
        content = list(pictures[name].read_bytes())
        driver.page.evaluate(
            "([transfer, name, content]) => transfer.items.add(new File("
            "[new Uint8Array(content)], name, { type: 'image/png' }))",
            [data, f"{name}.png", content],
        )
    for event in ("dragenter", "dragover", "drop"):
        driver.page.dispatch_event("#composer textarea", event, {"dataTransfer": data})
    driver.until(lambda: driver.attached() == 2, "the dropped pictures")
    driver.ask("Which colours?")
    driver.wait_answer("I see red and blue.")
    driver.wait_done()
    labels = driver.page.locator("#chat .user-row .image-container").evaluate_all(
        "all => all.map((each) => getComputedStyle(each, '::after').content)"
    )
    assert len(labels) == 2
    assert all("Picture" in label for label in labels)
    alts = driver.page.locator("#chat .user-row img").evaluate_all("all => all.map((i) => i.alt)")
    assert alts == ["Picture 1", "Picture 2"]
