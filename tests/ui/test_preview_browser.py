"""A web page that the model wrote, shown in a real browser."""

from collections.abc import Iterator

import pytest

from tests.ui.driver import PageDriver, chromium
from tests.ui.page_chat import ANSWERS, PageChat, ask, is_open, show
from tests.ui.server import Served, fake_config, served
from tests.ui.test_web_pages import PAGE

pytestmark = [
    pytest.mark.browser,
    pytest.mark.xdist_group("browser"),
    # Gradio's own threads warn about pandas; under "error" they would break its queue.
    pytest.mark.filterwarnings("default"),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    chromium()
    config = fake_config(tmp_path_factory.mktemp("examples"))
    with served(PageChat(), config, closed_seconds=0) as site:
        yield site


def focused(driver: PageDriver) -> str:
    return driver.page.evaluate(
        "document.activeElement.className || document.activeElement.localName"
    )


def test_a_page_is_shown_and_closed(driver):
    ask(driver, "told")
    assert driver.answer_text() == ANSWERS["told"]
    assert not is_open(driver)
    page = show(driver)
    assert page.locator("h1").inner_text() == "TERZ"
    assert page.locator("li").all_inner_texts() == ["one", "two"]
    frame = driver.page.locator("#page-preview iframe")
    assert frame.get_attribute("sandbox") == ""
    assert "model wrote" in frame.get_attribute("title")
    said = driver.page.get_by_role("dialog", name="Preview of the page").inner_text()
    assert "The model wrote it." in said
    driver.page.get_by_role("button", name="Close").click()
    assert not is_open(driver)
    frame.wait_for(state="detached")  # a dialog is closed a moment before it says so
    assert frame.count() == 0


def test_it_fits_the_window_and_is_white_in_any_light(driver):
    ask(driver, "sketch")
    sizes = [driver.page.viewport_size, {"width": 360, "height": 640}]
    for size in sizes:
        driver.page.set_viewport_size(size)
        offer = driver.page.get_by_role("button", name="Show the page").bounding_box()
        assert offer["x"] + offer["width"] <= size["width"]
        page = show(driver)
        assert page.locator("html").evaluate("html => html.scrollWidth <= innerWidth")
        box = driver.page.locator("#page-preview dialog").bounding_box()
        assert box["x"] >= 0
        assert box["y"] >= 0
        assert box["x"] + box["width"] <= size["width"]
        assert box["y"] + box["height"] <= size["height"]
        frame = driver.page.locator("#page-preview iframe").bounding_box()
        assert frame["height"] > size["height"] / 2
        white = driver.page.locator("#page-preview iframe").evaluate(
            "it => getComputedStyle(it).backgroundColor"
        )
        assert white == "rgb(255, 255, 255)"
        assert driver.overflow() == 0
        driver.page.keyboard.press("Escape")
        assert not is_open(driver)


def test_the_keyboard_is_enough(driver):
    ask(driver, "sketch")
    driver.page.get_by_role("button", name="Show the page").focus()
    driver.page.keyboard.press("Enter")
    driver.until(lambda: is_open(driver), "the preview")
    assert focused(driver) == "close"
    seen = [focused(driver)]
    for key in ("Shift+Tab", "Tab", "Tab", "Tab", "Tab"):
        driver.page.keyboard.press(key)
        seen.append(focused(driver))
    assert seen[:3] == ["close", "keep", "close"]
    assert "iframe" in seen  # where the arrow keys scroll
    assert "textarea" not in " ".join(seen).lower()  # what lies behind is out of reach
    driver.page.locator("#page-preview .keep").focus()
    driver.page.keyboard.press("Escape")
    assert not is_open(driver)
    assert focused(driver) == "show-page"


def test_escape_closes_after_a_press_on_the_page_and_stops_no_answer(driver, site):
    ask(driver, "sketch")
    site.chat.word_seconds = 0.1
    driver.ask("Tell me a long story")
    driver.wait_answer("word3")
    site.chat.gate.clear()  # the answer waits for the rest of this test
    try:
        page = show(driver)
        page.locator("h1").click()
        driver.until(
            lambda: driver.page.evaluate("document.activeElement.localName") == "dialog",
            "the focus to come back",
        )
        driver.page.keyboard.press("Escape")
        driver.until(lambda: not is_open(driver), "the preview to close")
        assert driver.page.locator("#composer .stop-button").is_visible()
        show(driver)
        wide = driver.page.viewport_size["width"] > 560  # a phone is filled by it
        driver.page.mouse.click(3, driver.page.viewport_size["height"] - 3)
        driver.until(lambda: is_open(driver) is not wide, "a press beside it to close it")
        if not wide:
            driver.page.keyboard.press("Escape")
        assert site.chat.answering == 1
        driver.page.keyboard.press("Escape")
        driver.until(lambda: site.chat.answering == 0, "Escape to stop the answer again")
        driver.wait_done()
    finally:
        site.chat.gate.set()


def test_each_page_of_a_chat_is_its_own(driver, site):
    ask(driver, "two")
    ask(driver, "What colour?")
    assert driver.page.locator("#chat .show-page").count() == 2
    for name, title in (("Show page 1", "TERZ"), ("Show page 2", "MOLB"), ("Show page 1", "TERZ")):
        assert show(driver, name).locator("h1").inner_text() == title
        driver.page.keyboard.press("Escape")
    site.chat.pages["third"] = PAGE.replace("TERZ", "third")
    driver.look_through("Compare")
    ask(driver, "third")
    offers = driver.page.locator("#chat .side .show-page")
    assert offers.count() == 2
    assert show(driver).locator("h1").inner_text() == "third"
    driver.page.keyboard.press("Escape")
    driver.undo()
    driver.until(lambda: driver.page.locator("#chat .show-page").count() == 2, "the others")
    driver.new_chat()
    assert driver.page.locator("#chat .show-page").count() == 0
    assert driver.problems == []


def test_what_is_copied_is_the_code(driver):
    driver.page.evaluate(
        "navigator.clipboard.writeText = async (text) => { window.copied = text; }"
    )
    driver.page.add_init_script(
        "Object.defineProperty(navigator, 'clipboard',"
        " { value: { writeText: async (text) => { window.copied = text; } } })"
    )
    driver.open()
    ask(driver, "told")
    driver.page.locator('#chat .bot-row + .message-buttons button[aria-label*="opy"]').last.click()
    driver.until(lambda: driver.page.evaluate("window.copied"), "the copy")
    assert driver.page.evaluate("window.copied") == ANSWERS["told"]
