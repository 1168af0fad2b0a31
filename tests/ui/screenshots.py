"""Pictures of the page in each of its states.

    python -m tests.ui.screenshots docs/pictures            with the embedded model
    python -m tests.ui.screenshots docs/pictures --fake     without a model, for work on the looks

Each state is taken on a desktop and on a phone, light and dark: page-desktop-light-welcome.png ...
"""

import argparse
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from minigpt4.config import Config, load_config, locate
from minigpt4.ui.contract import PictureChat
from tests.ui.driver import PageDriver, chromium_context
from tests.ui.looking_chat import LookingChat
from tests.ui.server import Served, fake_config, served

ROOT = Path(__file__).parents[2]
SCREENS: dict[str, dict[str, object]] = {
    "desktop": {"viewport": {"width": 1280, "height": 800}},
    "phone": {
        "viewport": {"width": 390, "height": 844},
        "device_scale_factor": 2,
        "has_touch": True,
        "is_mobile": True,
    },
}
FOLLOW_UP = "How many things are there?"


def main() -> int:
    """Take every picture."""
    parser = argparse.ArgumentParser(description="Take pictures of the page.")
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("--fake", action="store_true", help="use a chat without a model")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    chat, config = _fake() if given.fake else _embedded()
    with served(chat, config) as site:
        for screen, options in SCREENS.items():
            for scheme in ("light", "dark"):
                look = {"color_scheme": scheme, "permissions": ["camera"], **options}
                with chromium_context(**look) as context:
                    driver = PageDriver(context.new_page(), site.url)
                    for state in _states(driver, site):
                        path = given.folder / f"page-{screen}-{scheme}-{state}.png"
                        driver.page.screenshot(path=path)
                    sys.stderr.write(f"{screen}, {scheme}: {driver.problems or 'done'}\n")
    return 0


def _states(driver: PageDriver, site: Served) -> Iterator[str]:
    """Lead the page from state to state, as a person would."""
    examples = site.config.page.examples
    driver.open()
    drawn = "[...document.images].every((image) => image.complete && image.naturalWidth)"
    driver.page.wait_for_function(f"{drawn} && document.fonts.status === 'loaded'")
    yield "welcome"
    driver.upload(locate(examples[0].picture))
    driver.type(examples[0].question)
    yield "composer"
    driver.send()
    driver.until(lambda: len(driver.answer_text().split()) > 5, "some words")
    yield "answering"
    driver.wait_done()
    driver.ask(FOLLOW_UP)
    driver.wait_done()
    driver.page.wait_for_timeout(300)  # the chat scrolls smoothly
    yield "conversation"
    yield from _looking_states(driver)
    driver.ask("x" * 2001)
    driver.until(driver.notice, "the notice")
    driver.type("")
    yield "notice"
    driver.page.locator("#settings > button").click()
    driver.page.locator("#reset-settings").scroll_into_view_if_needed()
    yield "settings"
    driver.page.locator("#settings > button").click()
    driver.new_chat()
    driver.look_through("Compare")
    driver.example(0)
    driver.until(lambda: driver.page.locator("#chat .side.kept").count() == 1, "both answers")
    driver.page.wait_for_timeout(600)
    yield "compare"
    driver.page.locator("#status summary").click()
    driver.page.locator("#status dl").wait_for()
    driver.page.wait_for_timeout(300)
    yield "pill"
    driver.page.keyboard.press("Escape")
    driver.page.get_by_role("button", name="Save chat").click()
    driver.page.locator("#save-menu").wait_for()
    yield "menu"
    driver.page.keyboard.press("Escape")
    camera = driver.page.get_by_text("Camera", exact=True)
    camera.click()
    driver.page.locator(".camera .take").click()
    driver.page.locator(".camera video").wait_for()
    driver.page.wait_for_timeout(600)
    driver.page.locator(".camera .take").scroll_into_view_if_needed()
    yield "camera"


def _looking_states(driver: PageDriver) -> Iterator[str]:
    """Look at a word of the first answer, and at visual tokens."""
    panel = driver.page.locator("#looking")
    panel.locator("> button").click()
    panel.get_by_label("Answer to").select_option(index=0)
    panel.locator(".answer button", has_text=re.compile("boat|see")).last.click()
    panel.locator("figure canvas").first.wait_for()
    panel.locator(".strength").scroll_into_view_if_needed()
    yield "looking"
    panel.get_by_role("button", name="Visual tokens").click()
    panel.locator("ul.tokens li").last.wait_for()
    panel.locator(".strength").scroll_into_view_if_needed()
    yield "tokens"
    panel.locator("> button").click()
    driver.page.evaluate("window.scrollTo(0, 0)")


def _fake() -> tuple[PictureChat, Config]:
    return LookingChat(word_seconds=0.1), fake_config(Path(tempfile.mkdtemp()))


def _embedded() -> tuple[PictureChat, Config]:
    from minigpt4.build import build_chat

    config = load_config(ROOT / "eval_configs" / "tiny.yaml")
    return build_chat(config), config


if __name__ == "__main__":
    sys.exit(main())
