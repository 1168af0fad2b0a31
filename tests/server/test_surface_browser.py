"""The page under its policy, in a real browser: it works, and what a model writes stays text."""

import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from minigpt4.server_config import ServerConfig
from tests.server.site import Site, running
from tests.ui.driver import PageDriver, chromium, chromium_context
from tests.ui.fake_chat import FakeChat
from tests.ui.server import fake_config, plain

pytestmark = [
    pytest.mark.browser,
    pytest.mark.xdist_group("browser"),
    pytest.mark.filterwarnings("default"),
]

# What a model might be made to write; {there} is another server.
PAYLOADS = (
    "![x]({there}/markdown.png)",
    "[![x]({there}/nested.png)]({there}/link)",
    "![x][1]\n\n[1]: {there}/reference.png",
    "[click]({there}/link) <{there}/auto> {there}/bare",
    "[click](javascript:document.title='hacked')",
    '<img src="{there}/img.png">',
    "<img src=x onerror=\"document.title='hacked'\">",
    '<img srcset="{there}/srcset.png 1x">',
    '<picture><source srcset="{there}/source.png"><img src=x></picture>',
    '<svg><image href="{there}/svg.png" /></svg>',
    "<svg onload=\"document.title='hacked'\"></svg>",
    '<svg><use href="{there}/use.svg#a" /></svg>',
    '<video poster="{there}/poster.png" src="{there}/video.mp4" autoplay></video>',
    '<audio src="{there}/audio.mp3" autoplay></audio>',
    '<iframe src="{there}/frame.html"></iframe>',
    "<iframe srcdoc=\"<script>top.document.title='hacked'</script>\"></iframe>",
    '<object data="{there}/object.svg"></object><embed src="{there}/embed.svg">',
    "<script>document.title = 'hacked'</script>",
    '<script src="{there}/script.js"></script>',
    '<link rel="stylesheet" href="{there}/style.css"><link rel="prefetch" href="{there}/p">',
    "<style>@import url({there}/import.css); body {{ background: url({there}/bg.png) }}</style>",
    '<div style="background: url({there}/inline.png); position: fixed; inset: 0">over all</div>',
    '<meta http-equiv="refresh" content="0; url={there}/meta">',
    '<base href="{there}/"><a href="x">x</a>',
    '<form action="{there}/form"><input name=password autofocus onfocus="document.title=1"></form>',
    "$\\includegraphics{{{there}/latex.png}}$ $$\\href{{{there}/href}}{{x}}$$ \\(\\frac{{1}}{{2}}\\)",
    "<details open ontoggle=\"document.title='hacked'\"><summary>x</summary></details>",
    "```html\n<img src={there}/fence.png>\n```\n| a |\n|---|\n| <img src={there}/cell.png> |",
    "</p></div></script><template><img src={there}/template.png></template><!-- ",
    "&lt;img src={there}/entity.png&gt; &#60;img src={there}/number.png&#62;",
)


@dataclass
class There:
    """Another server, which counts who asks it."""

    url: str
    asked: list[str]


@pytest.fixture(scope="module")
def there() -> Iterator[There]:
    asked: list[str] = []

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        do_POST = do_GET

        def log_message(self, *arguments: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield There(f"http://127.0.0.1:{server.server_port}", asked)
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    chromium()
    config = fake_config(tmp_path_factory.mktemp("examples"))
    server = ServerConfig(rate_limit="on", questions_per_minute=600)  # tests ask fast
    with running(FakeChat(word_seconds=0.001), replace(config, server=server)) as site:
        yield site


@pytest.fixture(scope="module")
def context(site: Site):
    with chromium_context() as context:
        yield context


@pytest.fixture
def driver(site: Site, context: Any) -> Iterator[PageDriver]:
    driver = PageDriver(context.new_page(), site.url)
    driver.open()
    yield driver
    driver.page.close()


def test_the_page_works_under_its_policy(driver, site, tmp_path):
    assert "script-src" in httpx.get(site.url).headers["content-security-policy"]
    driver.upload(plain(tmp_path / "red.png", (220, 40, 40)))
    driver.ask("What colour?")
    driver.wait_answer("I see red")
    driver.wait_done()
    driver.retry()
    driver.wait_done()
    driver.edit(0, "And now?")
    driver.wait_answer("And now?")
    driver.wait_done()
    driver.page.locator("#theme").click()
    driver.page.locator("body.dark").wait_for()
    driver.new_chat()
    assert driver.problems == []


def test_what_a_model_writes_is_shown_as_it_is_and_loads_nothing(driver, there):
    asked: list[str] = []
    driver.page.on("request", lambda request: asked.append(request.url))
    title = driver.page.title()
    for number, payload in enumerate(PAYLOADS):
        text = payload.format(there=there.url)
        driver.ask(text)
        driver.until(lambda n=number: len(driver.answers()) == n % 6 + 1, "the answer")
        driver.wait_done()
        shown = driver.page.locator('#chat [data-testid="bot"] .md').last.evaluate(
            "element => element.textContent"
        )
        # The page may lay line breaks out as it likes.
        assert shown.split() == f"I see no picture. You asked: {text}".split(), payload
        if number % 6 == 5:  # a long chat is slow to draw
            driver.new_chat()
    driver.page.wait_for_timeout(500)
    assert there.asked == []
    assert [url for url in asked if url.startswith(there.url)] == []
    assert driver.page.title() == title
    inside = (
        "#chat .md :is(img, video, audio, iframe, object, embed, script, style, form, link, svg)"
    )
    assert driver.page.locator(inside).count() == 0
    assert driver.problems == []


def test_the_policy_stops_what_got_into_the_page_all_the_same(driver, there):
    """Were a payload to become an element some day, the browser still neither runs nor loads it."""
    driver.page.evaluate(
        """(there) => {
            const box = document.createElement("div");
            document.body.append(box);
            box.innerHTML = `<img src="${there}/img.png"><img src=x onerror="window.ran = 1">
                <video src="${there}/v.mp4" autoplay></video><object data="${there}/o.svg"></object>
                <iframe src="${there}/f.html"></iframe><link rel=stylesheet href="${there}/s.css">
                <div style="background: url(${there}/bg.png)">x</div>
                <style>@import url(${there}/i.css);</style>
                <svg onload="window.ran = 2"></svg><a id="js" href="javascript:window.ran = 3">x</a>
                <form id="form" action="${there}/form"></form>`;
            const script = document.createElement("script");
            script.textContent = "window.ran = 4";
            document.head.append(script);
            const foreign = document.createElement("script");
            foreign.src = `${there}/script.js`;
            document.head.append(foreign);
            document.getElementById("js").click();
            fetch(`${there}/fetch`).catch(() => {});
            navigator.sendBeacon(`${there}/beacon`, "x");
            document.getElementById("form").submit();
        }""",
        there.url,
    )
    driver.page.wait_for_timeout(1_500)
    assert there.asked == []
    assert driver.page.evaluate("window.ran") is None
    assert any("Content Security Policy" in problem for problem in driver.problems)


def test_another_site_cannot_show_the_page_in_a_frame(site, context, tmp_path):
    page = context.new_page()
    frame = tmp_path / "frame.html"
    frame.write_text(f'<iframe src="{site.url}" onload="window.loaded = 1"></iframe>')
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text))
    page.goto(Path(frame).as_uri())
    page.wait_for_timeout(1_500)
    assert any("frame-ancestors" in error for error in errors), errors
    assert page.frames[-1].locator("#composer").count() == 0
    page.close()
