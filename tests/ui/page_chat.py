"""A fake chat that writes web pages, and the words of a person who looks at them."""

from typing import Any

from tests.ui.driver import PageDriver
from tests.ui.fake_chat import FakeChat
from tests.ui.test_web_pages import PAGE

OTHER = PAGE.replace("TERZ", "MOLB")
ANSWERS = {
    "sketch": PAGE,
    "told": f"Sure:\n\n```html\n{PAGE}\n```\n\nIt has a list & a button.",
    "two": f"One:\n```html\n{PAGE}\n```\nTwo:\n```html\n{OTHER}\n```",
}


class PageChat(FakeChat):
    """Writes the page that the question names."""

    def __init__(self) -> None:
        super().__init__(word_seconds=0.001)
        self.pages = dict(ANSWERS)

    def _said(self, seen: str, question: str) -> str:
        return self.pages.get(question) or super()._said(seen, question)


def ask(driver: PageDriver, question: str) -> None:
    """Ask, and wait for the whole answer."""
    before = len(driver.answers())
    driver.ask(question)
    driver.until(lambda: len(driver.answers()) > before, "the answer")
    driver.wait_done()


def show(driver: PageDriver, name: str = "Show the page") -> Any:
    """Open the last preview of that name, and return what is in its frame."""
    driver.page.get_by_role("button", name=name, exact=True).last.click()
    frame = driver.page.locator("#page-preview iframe")
    frame.wait_for()
    return frame.content_frame


def is_open(driver: PageDriver) -> bool:
    """Whether a preview is shown."""
    return driver.page.locator("#page-preview dialog").is_visible()
