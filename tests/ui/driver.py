"""Drives the page in a real browser, in the words of a person who uses it.

with chromium_context() as context:
    driver = PageDriver(context.new_page(), "http://127.0.0.1:7860/")
    driver.open()
    driver.upload(picture)
    driver.ask("What colour is the house?")
    driver.wait_done()
    assert "red" in driver.answer_text()
    assert driver.problems == []
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import BrowserContext, Page, sync_playwright

SECONDS = 30.0
"""How long anything may take; a loaded machine with two cores is slow."""


def chromium() -> str:
    """Return the path of Chromium; skip the test without one, unless REQUIRE_BROWSER is set."""
    for name in ("chromium", "chromium-browser", "google-chrome", "chrome"):
        if found := shutil.which(name):
            return found
    if os.environ.get("REQUIRE_BROWSER"):
        pytest.fail("No chromium on this machine, and REQUIRE_BROWSER is set.")
    pytest.skip("No chromium on this machine.")


@contextmanager
def chromium_context(**options: Any) -> Iterator[BrowserContext]:
    """Start Chromium and open a browser context; 1280 x 800 and light unless told otherwise."""
    look = {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light", **options}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium(),
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-background-networking",
                "--disable-component-update",
                "--use-fake-device-for-media-stream",
                "--use-fake-ui-for-media-stream",
            ],
        )
        context = browser.new_context(**look)
        context.set_default_timeout(SECONDS * 1000)
        try:
            yield context
        finally:
            context.close()
            browser.close()


class PageDriver:
    """One open page.

    Attributes:
        page: Playwright's page, for what this class has no word for.
        problems: Console errors, script errors, failed answers and requests to other hosts.
    """

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.problems: list[str] = []
        self._submitted = 0
        page.on("console", self._hear_console)
        page.on("pageerror", lambda error: self.problems.append(f"script error: {error}"))
        page.on("request", self._hear_request)
        page.on("response", self._hear_response)

    def open(self, *, ready: bool = True) -> None:
        """Load the page and wait until a question can be typed (and the model is ready)."""
        self.page.goto(self.url)
        self.page.locator("#composer textarea").wait_for()
        self.page.locator(".pill.ready" if ready else ".pill").wait_for()

    def upload(self, *paths: Path) -> None:
        """Attach pictures to the next question."""
        before = self._count("#composer .thumbnail-item")
        self.page.set_input_files("#composer input[type=file]", [str(path) for path in paths])
        self.until(
            lambda: self._count("#composer .thumbnail-item") == before + len(paths), "thumbnails"
        )

    def type(self, text: str) -> None:
        """Put text into the composer without sending it."""
        self.page.locator("#composer textarea").fill(text)

    def ask(self, text: str) -> None:
        """Type a question, press Enter, and wait until the page has taken it (or refused it)."""
        asked, answered = len(self.questions()), len(self.answers())
        self.type(text)
        self.send()
        self.until(
            lambda: (
                len(self.questions()) != asked
                or len(self.answers()) != answered
                or self.notice() != ""
            ),
            "the question to be taken",
        )

    def send(self) -> None:
        """Press Enter in the composer until the browser has sent what stands in it.

        Gradio drops an Enter that comes before the event of the last one has ended, which is a
        moment after the page shows its end. A person presses again; so does this. Other events
        leave the browser at such a moment too, as the looking panel's: only the composer's count.
        """
        self.page.locator('#composer [data-testid="submit-button"]').wait_for()
        before, pressed = self._submitted, 0.0

        def sent() -> bool:
            nonlocal pressed
            if self._submitted == before and time.monotonic() - pressed > 1.0:
                pressed = time.monotonic()
                self.page.locator("#composer textarea").press("Enter")
            return self._submitted > before

        self.until(sent, "the question to leave the browser")

    def wait_done(self) -> None:
        """Wait until the model rests and the composer shows Send."""
        self.until(lambda: self._count(".pill.ready"), "the model to rest")
        self.until(
            lambda: self._count('#composer [data-testid="submit-button"]'), "Send in the composer"
        )

    def wait_answer(self, part: str) -> str:
        """Wait until the last answer holds some text, and return it."""
        self.until(lambda: part in self.answer_text(), f"{part!r} in the answer")
        return self.answer_text()

    def answers(self) -> list[str]:
        """Return every answer as it stands on the page."""
        return self.page.locator('#chat [data-testid="bot"] .md').all_inner_texts()

    def answer_text(self) -> str:
        """Return the last answer as far as it is written; "" while there is none."""
        asked, answers = len(self.questions()), self.answers()
        return answers[-1] if answers and len(answers) >= asked else ""

    def questions(self) -> list[str]:
        """Return every question."""
        return self.page.locator('#chat [data-testid="user"] .md').all_inner_texts()

    def pictures(self) -> int:
        """Return how many pictures the conversation shows."""
        return self._count("#chat .user-row .image-container img")

    def typed(self) -> str:
        """Return what stands in the composer."""
        return self.page.locator("#composer textarea").input_value()

    def attached(self) -> int:
        """Return how many pictures wait in the composer."""
        return self._count("#composer .thumbnail-item")

    def notice(self) -> str:
        """Return the sentence above the composer; "" if there is none."""
        return " ".join(self.page.locator("#notice .notice").all_inner_texts())

    def status(self) -> str:
        """Return the state in the pill at the top."""
        return self.page.locator(".pill .state").inner_text()

    def stop(self) -> None:
        """Press Stop."""
        self.page.locator("#composer .stop-button").click()

    def new_chat(self) -> None:
        """Press New chat and wait for the empty page."""
        self.page.locator("#new-chat").click()
        self.page.locator("#chat .placeholder-content").wait_for()

    def save(self, how: str) -> None:
        """Open the menu of Save chat and choose from it."""
        self.page.get_by_role("button", name="Save chat").click()
        self.page.get_by_role("button", name=how).click()

    def look_through(self, label: str) -> None:
        """Choose a projection, or to compare all."""
        self.page.locator("#projection").get_by_text(label, exact=True).click()

    def retry(self) -> None:
        """Press Retry at the last answer."""
        self.page.locator('#chat button[aria-label="Retry"]').last.click()

    def undo(self) -> None:
        """Press Undo at the last answer."""
        self.page.locator('#chat button[aria-label="Undo"]').last.click()

    def edit(self, number: int, text: str) -> None:
        """Replace the text of a question, counted from 0, and send it."""
        self.page.locator('#chat [data-testid="user"] .md').nth(number).hover()
        self.page.locator('#chat button[aria-label="Edit"]').nth(number).click()
        self.page.locator("#chat textarea").fill(text)
        self.page.locator('#chat button[aria-label="Submit"]').click()

    def example(self, number: int) -> None:
        """Click an example card."""
        self.page.locator("#chat .example").nth(number).click()

    def overflow(self) -> int:
        """Return how many pixels the page is wider than its window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth"))

    def until(self, happened: Callable[[], object], what: str, seconds: float = SECONDS) -> None:
        """Wait until something has happened."""
        deadline = time.monotonic() + seconds
        while not happened():
            if time.monotonic() > deadline:
                pytest.fail(f"Waited {seconds:.0f} s in vain for {what}. {self._scene()}")
            self.page.wait_for_timeout(20)

    def _count(self, selector: str) -> int:
        return self.page.locator(selector).count()

    def _scene(self) -> str:
        return (
            f"questions {self.questions()}, answers {[text[:80] for text in self.answers()]},"
            f" notice {self.notice()!r}, problems {self.problems}, pill {self.status()!r},"
            f" composer {self.page.locator('#composer').inner_text()!r}"
        )

    def _hear_console(self, message: Any) -> None:
        if message.type == "error":
            self.problems.append(f"console: {message.text}")

    def _hear_request(self, request: Any) -> None:
        host = urlsplit(request.url).hostname
        self._submitted += "/queue/join" in request.url and _is_from_composer(request.post_data)
        if host not in ("127.0.0.1", "localhost", None):
            self.problems.append(f"foreign request: {request.url}")

    def _hear_response(self, response: Any) -> None:
        if response.status >= 400:
            self.problems.append(f"{response.status}: {response.url}")


def _is_from_composer(body: str | None) -> bool:
    """Whether an event carries what stood in the composer, which is its first input."""
    inputs = json.loads(body or "{}").get("data") or [None]
    return isinstance(inputs[0], dict) and {"text", "files"} <= inputs[0].keys()
