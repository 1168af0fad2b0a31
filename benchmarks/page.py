"""The page in a browser: how soon it can be used, and what a long answer costs it.

    python -m benchmarks.page                 about two minutes on two cores
    python -m benchmarks.page --rounds 1

Serves the page with a chat that writes words at a set pace, so that what is measured is the page,
not a model, and drives it in Chromium on the same machine.

- opening: a new browser context each time, nothing cached. First paint, and when a question could
  be typed, from the start of the navigation; requests and bytes.
- streaming: an answer of 400 words at 100 a second, in a new chat and in one of 80 messages. The
  time from the press of Enter until its end is on the page, beside the time that the chat itself
  took; and how long the page's main thread was busy, of which scripts, styles and layout are told.

Writes results/page.json.
"""

import argparse
import json
import os
import platform
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from playwright.sync_api import BrowserContext, CDPSession

from minigpt4.config import Config
from tests.ui.driver import PageDriver, chromium_context
from tests.ui.fake_chat import FakeChat
from tests.ui.server import Served, fake_config, served

RESULTS = Path(__file__).parent / "results" / "page.json"
WORDS = 400
WORD_SECONDS = 0.01
MESSAGES = (0, 80)
PAINTS = """new Promise((tell) => new PerformanceObserver((list) => tell(list.getEntries().at(-1)
    .startTime)).observe({ type: "paint", buffered: true }))"""
LOADED = """performance.getEntriesByType("resource").reduce((sum, each) => sum + each.transferSize,
    performance.getEntriesByType("navigation")[0].transferSize)"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description="Measure the page in a browser.")
    parser.add_argument("--rounds", type=int, default=5, help="repetitions (%(default)s)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="where to write")
    given = parser.parse_args(arguments)
    load = os.getloadavg()  # other work on the machine makes everything below slower
    chat = FakeChat(WORD_SECONDS, WORDS)
    with (
        tempfile.TemporaryDirectory() as folder,
        served(chat, page_config(Path(folder))) as site,
    ):
        opening = [open_once(site) for _ in range(given.rounds)]
        streaming = {messages: stream(site, chat, messages, given.rounds) for messages in MESSAGES}
    report = {
        "machine": platform.platform(),
        "load_average": [round(each, 1) for each in load],
        "rounds": given.rounds,
        "opening": summary(opening),
        "streaming": {
            f"{WORDS} words, {messages} messages before": summary(rounds)
            for messages, rounds in streaming.items()
        },
    }
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(given.output.read_text(encoding="utf-8"))
    return 0


def page_config(folder: Path) -> Config:
    """The page of the tests, on which an answer may be so long."""
    config = fake_config(folder)
    return replace(config, generation=replace(config.generation, max_new_tokens=WORDS + 50))


def open_once(site: Served) -> dict[str, float]:
    """Open the page in a new browser, and type as soon as something can be typed."""
    with chromium_context() as context:
        page = context.new_page()
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.goto(site.url, wait_until="commit")
        box = page.locator("#composer textarea")
        box.wait_for()
        box.fill("x")
        accepted = page.evaluate("performance.now()")
        page.locator(".pill.ready").wait_for()
        return {
            "first_paint_s": page.evaluate(PAINTS) / 1000,
            "box_accepts_input_s": accepted / 1000,
            "status_ready_s": page.evaluate("performance.now()") / 1000,
            "requests": len(requests),
            "kilobytes": page.evaluate(LOADED) / 1000,
        }


def stream(site: Served, chat: FakeChat, messages: int, rounds: int) -> list[dict[str, float]]:
    """Read long answers in one chat, each in the place of the one before."""
    with chromium_context() as context:
        driver = PageDriver(context.new_page(), site.url)
        driver.open()
        chat.word_seconds = 0.0
        for number in range(messages // 2):
            driver.ask(f"question {number}")
            driver.wait_answer(f"question {number}")
            driver.wait_done()
        chat.word_seconds = WORD_SECONDS
        driver.ask("the first long one")
        return [read_answer(context, driver, number) for number in range(rounds)]


def read_answer(context: BrowserContext, driver: PageDriver, number: int) -> dict[str, float]:
    """Ask anew in the place of the last question, and look at the page's main thread meanwhile."""
    driver.wait_answer(f"word{WORDS - 1}")
    driver.wait_done()
    session = context.new_cdp_session(driver.page)
    session.send("Performance.enable")
    driver.undo()
    driver.until(lambda: driver.typed() != "", "the question in the composer")
    driver.type(f"a long one, number {number}")
    before = metrics(session)
    began = time.monotonic()
    driver.page.locator("#composer textarea").press("Enter")
    # One question asked of the page itself: watching it from here would keep it busy.
    driver.page.wait_for_function(
        "([number, last]) => {"
        " const text = [...document.querySelectorAll('#chat .bot')].at(-1)?.textContent ?? '';"
        " return text.includes(`number ${number} `) && text.includes(last); }",
        arg=[number, f"word{WORDS - 1}"],
        polling=100,
    )
    driver.wait_done()
    seconds = time.monotonic() - began
    after = metrics(session)
    session.detach()
    told = driver.page.locator("#status dl").text_content() or ""
    (chat_seconds,) = re.findall(r"tokens in ([\d.]+) s", told)
    return {
        "wall_s": seconds,
        "chat_s": float(chat_seconds),
        **{name: after[key] - before[key] for name, key in BUSY.items()},
    }


BUSY = {
    "busy_s": "TaskDuration",
    "scripts_s": "ScriptDuration",
    "styles_s": "RecalcStyleDuration",
    "layout_s": "LayoutDuration",
}


def metrics(session: CDPSession) -> dict[str, float]:
    """What Chromium has counted so far."""
    return {
        each["name"]: each["value"] for each in session.send("Performance.getMetrics")["metrics"]
    }


def summary(rounds: Sequence[dict[str, float]]) -> dict[str, dict[str, float]]:
    """The best, the median and the worst of each figure."""
    return {
        name: {
            "best": round(min(each[name] for each in rounds), 3),
            "median": round(statistics.median(each[name] for each in rounds), 3),
            "worst": round(max(each[name] for each in rounds), 3),
        }
        for name in rounds[0]
    }


if __name__ == "__main__":
    sys.exit(main())
