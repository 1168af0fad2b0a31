"""The page in a real browser, with a fake chat behind it."""

import base64
import threading
from pathlib import Path

import pytest

from tests.ui.driver import PageDriver
from tests.ui.fake_chat import FakeChat
from tests.ui.server import fake_config, served

pytestmark = [
    pytest.mark.browser,
    pytest.mark.xdist_group("browser"),
    # Gradio's own threads warn about pandas; under "error" they would break its queue.
    pytest.mark.filterwarnings("default"),
]


def test_a_picture_is_asked_about_and_the_answer_streams(driver, site, pictures):
    site.chat.word_seconds = 0.15
    driver.upload(pictures["red"])
    driver.ask("What colour is this?")
    partial = driver.wait_answer("I see")
    assert not partial.endswith("this?")
    assert driver.page.locator("#composer .stop-button").is_visible()
    driver.wait_done()
    assert driver.answer_text() == "I see red. You asked: What colour is this?"
    assert (driver.typed(), driver.attached(), driver.pictures()) == ("", 0, 1)
    assert "tokens/s" in driver.status()
    picture = driver.page.locator("#chat .user-row img")
    assert picture.get_attribute("alt") == "Picture 1"
    assert picture.evaluate("image => image.naturalWidth") == 320

    site.chat.word_seconds = 0.01
    driver.ask("And now?")
    driver.wait_answer("And now?")
    driver.wait_done()
    driver.upload(pictures["blue"])
    driver.ask("Which colours?")
    driver.wait_answer("I see red and blue.")
    driver.wait_done()
    assert driver.pictures() == 2
    assert [len(driver.questions()), len(driver.answers())] == [3, 3]


@pytest.mark.parametrize("how", ["button", "escape"])
def test_stop_freezes_the_text_and_frees_the_model(driver, site, how):
    site.chat.word_seconds = 0.05
    driver.ask("Tell me a long story")
    driver.wait_answer("word5")
    if how == "button":
        driver.stop()
    else:
        driver.page.keyboard.press("Escape")
    driver.until(lambda: site.chat.answering == 0, "the model to be free")
    assert site.chat.ends[-1] == "cancelled"
    driver.wait_done()
    driver.page.wait_for_timeout(300)
    stopped = driver.answer_text()
    assert "word5" in stopped
    site.chat.word_seconds = 0.01
    driver.ask("Are you free?")
    driver.wait_answer("Are you free?")
    driver.wait_done()
    assert driver.answers()[0] == stopped


def test_two_tabs_never_mix(driver, site, context, pictures):
    site.chat.word_seconds = 0.03
    other = PageDriver(context.new_page(), site.url)
    other.open()
    driver.upload(pictures["red"])
    other.upload(pictures["green"])
    driver.ask("first tab, a long one")
    other.ask("second tab")
    driver.stop()
    other.wait_done()
    driver.wait_done()
    assert other.answer_text() == "I see green. You asked: second tab"
    assert driver.answer_text().startswith("I see red") or driver.typed()
    site.chat.word_seconds = 0.01
    driver.ask("again first")
    other.ask("again second")
    driver.wait_answer("again first")
    other.wait_answer("again second")
    assert "green" not in " ".join(driver.answers())
    assert "red" not in " ".join(other.answers())
    assert other.problems == []
    other.page.close()


def test_new_chat_in_the_middle_of_an_answer_forgets_everything(driver, site, pictures):
    site.chat.word_seconds = 0.05
    driver.upload(pictures["red"])
    driver.ask("a long one")
    driver.wait_answer("word2")
    driver.new_chat()
    driver.wait_done()
    site.chat.word_seconds = 0.01
    driver.ask("Do you remember?")
    driver.wait_answer("I see no picture.")
    driver.wait_done()
    assert (len(driver.answers()), driver.pictures()) == (1, 0)


def test_edit_retry_and_undo_keep_the_pictures(driver, site, pictures):
    driver.upload(pictures["yellow"])
    driver.ask("first <b>&amp; question")
    driver.wait_done()
    assert driver.questions() == ["first <b>&amp; question"]
    driver.ask("second question")
    driver.wait_answer("second")
    driver.wait_done()
    encoded = site.chat.encoded

    driver.edit(0, "edited question")
    driver.wait_answer("I see yellow. You asked: edited question")
    driver.wait_done()
    assert driver.questions() == ["edited question"]
    assert driver.pictures() == 1

    driver.retry()
    driver.until(lambda: "temperature" in driver.notice(), "the word about the temperature")
    driver.wait_answer("I see yellow. You asked: edited question")
    driver.wait_done()

    driver.undo()
    driver.until(lambda: driver.typed() == "edited question", "the question in the composer")
    assert (driver.attached(), driver.questions()) == (1, [])
    driver.send()
    driver.wait_answer("I see yellow. You asked: edited question")
    driver.wait_done()
    assert site.chat.encoded == encoded  # seen once


def test_a_failure_gives_the_question_back(driver, pictures, tmp_path):
    driver.upload(pictures["red"])
    driver.ask("please crash")
    driver.until(lambda: "Something went wrong" in driver.notice(), "the notice")
    driver.wait_done()
    page = driver.page.content()
    assert "secret" not in page
    assert "Traceback" not in page
    assert (driver.typed(), driver.attached(), driver.questions()) == ("please crash", 1, [])

    driver.ask("please fail")
    driver.until(lambda: "out of memory" in driver.notice(), "the engine's sentence")
    driver.ask("What colour?")
    driver.wait_answer("I see red. You asked: What colour?")
    driver.wait_done()
    assert driver.notice() == ""

    broken = tmp_path / "broken.png"
    broken.write_bytes(pictures["red"].read_bytes()[:60])
    driver.upload(broken, pictures["blue"])
    driver.ask("And these?")
    driver.until(lambda: "broken.png: " in driver.notice(), "the sentence about the file")
    assert (driver.typed(), driver.attached()) == ("And these?", 1)
    driver.send()
    driver.wait_answer("I see red and blue.")
    driver.wait_done()


def test_examples_paste_and_settings(driver, site, pictures):
    driver.example(1)
    driver.wait_answer("What colour is the house?")
    driver.wait_done()
    assert driver.pictures() == 1

    driver.page.locator("#settings > button").click()
    number = driver.page.locator('#setting-max-new-tokens input[type="number"]')
    slider = driver.page.locator('#setting-max-new-tokens input[type="range"]')

    def set_length() -> bool:
        number.fill("12")
        number.press("Tab")
        driver.page.wait_for_timeout(100)
        return slider.input_value() == "12" and number.input_value() == "12"

    # Gradio fills the fields of a card as they appear, over what a test's quick hand has typed.
    driver.until(set_length, "the slider to follow the number")
    seed = driver.page.locator("#setting-seed :is(input, textarea)")
    seed.fill("7")
    seed.press("Tab")
    driver.page.wait_for_timeout(300)  # Gradio takes typed values over after a pause
    driver.ask("a long one")
    driver.wait_answer("word0")
    driver.wait_done()
    assert len(driver.answer_text().split()) == 12
    assert site.chat.settings[-1].seed == 7
    driver.page.locator("#reset-settings").click()
    field = driver.page.locator('#setting-max-new-tokens input[type="number"]')
    driver.until(lambda: field.input_value() == "300", "the reset")

    data = base64.b64encode(pictures["green"].read_bytes()).decode()
    driver.page.locator("#composer textarea").focus()
    driver.page.evaluate(
        """(data) => {
            const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], "pasted.png", { type: "image/png" }));
            document.querySelector("#composer textarea").dispatchEvent(
                new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true }));
        }""",
        data,
    )
    driver.until(lambda: driver.attached() == 1, "the pasted picture")
    driver.page.locator("#composer textarea").press("Shift+Enter")
    assert driver.typed() == "\n"
    driver.send()
    driver.wait_answer("Describe this picture in detail.")
    assert "green" in driver.answer_text()
    driver.wait_done()


def test_a_chat_is_saved_as_one_file_that_needs_nothing_else(driver, context, pictures, tmp_path):
    driver.save("As a web page")
    driver.until(lambda: "nothing to save" in driver.notice(), "the notice")
    driver.upload(pictures["red"])
    driver.ask("What <b>colour</b>?")
    driver.wait_answer("</b>?")
    driver.wait_done()
    assert driver.notice() == ""
    for attempt, width in enumerate((1280, 360)):
        driver.page.set_viewport_size({"width": width, "height": 800})
        with driver.page.expect_download() as downloads:
            driver.save("As a web page")
        download = downloads.value
        assert download.suggested_filename.startswith("minigpt4-chat-")
        kept = tmp_path / f"{attempt}.html"
        download.save_as(kept)
        reader = PageDriver(context.new_page(), kept.as_uri())
        reader.page.goto(reader.url)
        said = reader.page.locator(".text").all_inner_texts()
        assert said == ["What <b>colour</b>?", "I see red. You asked: What <b>colour</b>?"]
        picture = reader.page.get_by_role("img", name="Picture 1")
        assert picture.evaluate("image => image.naturalWidth") == 320
        assert (reader.problems, reader.overflow()) == ([], 0)
        reader.page.close()
    file = Path(download.url.partition("file=")[2])
    assert file.exists()
    driver.new_chat()
    assert not file.exists()


def test_the_page_tells_programs_how_to_ask(driver, site):
    driver.page.get_by_text("Ask from a program").click()
    example = driver.page.locator("#program pre")
    code = example.inner_text()
    assert f'Client("{site.url}")' in code
    compile(code, "example", "exec")
    driver.page.set_viewport_size({"width": 360, "height": 800})
    assert driver.overflow() == 0


def test_answers_never_become_markup(driver):
    attack = '<img src="http://example.org/x.png" onerror="alert(1)"> **bold** $x$ &lt;b&gt;'
    driver.ask(attack)
    driver.wait_done()
    assert driver.answer_text().endswith(attack)
    assert driver.page.locator("#chat .md img, #chat .md strong").count() == 0


def test_phone_dark_and_light(driver, site, context):
    for width in (360, 390):
        driver.page.set_viewport_size({"width": width, "height": 844})
        assert driver.overflow() == 0
    assert driver.page.locator("#composer textarea").is_visible()
    driver.ask("long unbreakable " + "x" * 300)
    driver.wait_answer("xxx")
    driver.stop() if driver.page.locator("#composer .stop-button").is_visible() else None
    driver.wait_done()
    assert driver.overflow() == 0
    box = driver.page.locator("#composer").bounding_box()
    assert box is not None
    assert box["y"] + box["height"] <= 844
    was = driver.page.locator("body.dark").count()
    other = driver.page.locator("body:not(.dark)" if was else "body.dark")
    driver.page.locator("#theme").click()
    other.wait_for()
    driver.page.reload()
    other.wait_for()
    driver.page.locator("#theme").click()
    driver.page.locator(".pill.ready").wait_for()
    assert driver.page.locator("body.dark").count() == was
    for name in ("Attach a picture", "Send", "Save chat", "New chat", "Light or dark"):
        assert driver.page.get_by_role("button", name=name).count() == 1, name
    assert driver.page.get_by_role("textbox", name="Your question").count() == 1


def test_closing_the_tab_stops_the_answer_and_frees_the_chat(site, context, driver, pictures):
    site.chat.word_seconds = 0.05
    other = PageDriver(context.new_page(), site.url)
    other.open()
    other.upload(pictures["red"])
    other.ask("a long one")
    other.wait_answer("word1")
    address = other.page.locator("#chat .user-row img").get_attribute("src")
    copy = Path(address.partition("file=")[2])
    assert copy.exists()
    other.page.close()
    driver.until(lambda: site.chat.answering == 0, "the model to be free")
    assert site.chat.ends[-1] in ("cancelled", "left")
    driver.until(lambda: not copy.exists(), "the copy to be deleted")
    site.chat.word_seconds = 0.01
    driver.ask("free?")
    driver.wait_answer("free?")
    driver.wait_done()


def test_the_page_opens_before_the_model_is_loaded(site, context, tmp_path):
    loaded = threading.Event()
    with served(FakeChat(), fake_config(tmp_path), loaded=loaded) as loading:
        driver = PageDriver(context.new_page(), loading.url)
        driver.open(ready=False)
        assert "loading" in driver.status()
        driver.ask("Are you there?")
        driver.until(lambda: "once the model is loaded" in driver.status(), "the waiting pill")
        loaded.set()
        driver.wait_answer("Are you there?")
        driver.wait_done()
        assert driver.problems == []
        driver.page.close()
