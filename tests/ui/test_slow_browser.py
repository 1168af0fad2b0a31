"""The page in a browser that is far behind: answers have ended before their beginnings are drawn."""

import pytest

from tests.ui.driver import PageDriver

pytestmark = [
    pytest.mark.browser,
    pytest.mark.xdist_group("browser"),
    pytest.mark.filterwarnings("default"),
]

# What Gradio does "at once" happens a while later, as in a browser that is busy or in a tab behind.
SLOW = """
    const soon = window.setTimeout;
    window.setTimeout = (work, pause, ...more) => soon(work, pause || 120, ...more);
    window.requestAnimationFrame = (draw) => soon(() => draw(performance.now()), 120);
"""


@pytest.fixture
def slow_driver(site, context):
    page = context.new_page()
    page.add_init_script(SLOW)
    driver = PageDriver(page, site.url)
    driver.open()
    yield driver
    assert driver.problems == []
    page.close()


def test_the_composer_shows_send_after_every_answer(slow_driver, site, pictures):
    site.chat.word_seconds = 0.0
    slow_driver.upload(pictures["red"])
    stop = slow_driver.page.locator("#composer .stop-button")
    for question in ("What is it?", "And now?", "Once more?"):
        slow_driver.ask(question)
        slow_driver.wait_answer(question)
        slow_driver.wait_done()
        assert slow_driver.typed() == ""
        slow_driver.until(lambda: stop.count() == 0, "Stop to go")
