"""A web page that the model wrote can do nothing, whatever stands in it."""

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.ui.driver import PageDriver, chromium, chromium_context
from tests.ui.page_chat import PageChat, ask, is_open, show
from tests.ui.server import Served, fake_config, served

pytestmark = [
    pytest.mark.browser,
    pytest.mark.xdist_group("browser"),
    # Gradio's own threads warn about pandas; under "error" they would break its queue.
    pytest.mark.filterwarnings("default"),
]

# Pages that try to do something; {there} is another server.
HOSTILE = {
    "scripts": """<!doctype html><html><head><script>top.hacked = 1</script>
<script src="{there}/script.js"></script><script type="module">import "{there}/module.js"</script></head>
<body onload="top.hacked = 2"><img src="x" onerror="top.hacked = 3"><svg onload="top.hacked = 4"></svg>
<a href="javascript:top.hacked = 5">press</a><iframe srcdoc="<script>top.top.hacked = 6</script>"></iframe>
<details open ontoggle="top.hacked = 7"><summary>x</summary></details>
<form><button formaction="javascript:top.hacked = 8">press</button></form></body></html>""",
    "fetches": """<!doctype html><html><head><link rel="stylesheet" href="{there}/style.css">
<link rel="preconnect" href="{there}"><link rel="dns-prefetch" href="{there}">
<link rel="prefetch" href="{there}/next"><link rel="preload" as="font" href="{there}/font" crossorigin>
<link rel="icon" href="{there}/icon.png"><link rel="manifest" href="{there}/manifest.json">
<style>@import url({there}/import.css); @font-face {{ font-family: x; src: url({there}/x.woff2) }}
body {{ font-family: x; background: url({there}/back.png); cursor: url({there}/c.cur), auto }}
li {{ list-style: url({there}/li.png) }}</style></head><body background="{there}/old.png">
<img src="{there}/1.png" srcset="{there}/2.png 2x" alt="seen"><picture><source srcset="{there}/3.png"><img></picture>
<video src="{there}/v.mp4" poster="{there}/p.png" autoplay></video><audio src="{there}/a.mp3" autoplay></audio>
<svg><image href="{there}/4.png"/><use xlink:href="{there}/5.svg#a"/><feImage href="{there}/6.png"/></svg>
<input type="image" src="{there}/7.png"><ul><li>x</ul><p style="background: url({there}/8.png)">x</p></body></html>""",
    "frames": """<!doctype html><html><head><base href="{there}/"></head><body><iframe src="{there}/frame"></iframe>
<object data="{there}/object.svg"><embed src="{there}/embed.svg"></object>
<iframe srcdoc="<meta http-equiv=refresh content='0;url={there}/nested'><img src={there}/n.png>"></iframe>
<div><template shadowrootmode="open"><iframe src="{there}/shadow"></iframe></template></div>
<noscript><iframe src="{there}/noscript"></iframe></noscript><p>x</p></body></html>""",
    "frameset": """<html><head></head><frameset cols="50%,*"><frame src="{there}/a"><frame src="{there}/b">
</frameset></html>""",
    "hidden": """<!doctype html><html><body><math><mtext><table><mglyph><style><!--</style>
<img title="--&gt;&lt;/mglyph&gt;&lt;iframe src={there}/mutated&gt;&lt;/iframe&gt;"></table></mtext></math>
<svg><p><style><g title="</style><iframe src={there}/foreign></iframe>"></svg><xmp><iframe src="{there}/xmp"></xmp>
<noembed><iframe src="{there}/noembed"></noembed><p>x</p></body></html>""",
    "moves": """<!doctype html><html><head><meta http-equiv="refresh" content="0;url={there}/refresh">
<meta http-equiv="Content-Security-Policy" content="default-src *"></head><body>
<a href="{there}/self">press</a> <a href="{there}/top" target="_top">press</a>
<a href="{there}/parent" target="_parent">press</a> <a href="{there}/blank" target="_blank">press</a>
<a href="/" target="_self">press</a> <a href="{there}/d" download>press</a> <a href="#x" ping="{there}/ping">press</a>
<svg width="99" height="30"><a><set attributeName="href" to="{there}/set" begin="0s"/><text y="20">press</text></a></svg>
<form action="{there}/form" method="post"><input name="a" value="b"><button>press</button></form>
<form action="{there}/top" target="_top"><button>press</button></form>
<button popovertarget="x">press</button><div popover id="x">x</div></body></html>""",
}


@dataclass
class There:
    """Another server, which notes whoever so much as opens a connection."""

    url: str
    asked: list[str]


@pytest.fixture(scope="module")
def there() -> Iterator[There]:
    asked: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def note() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(0.2)
                    try:
                        asked.append(connection.recv(200).decode(errors="replace"))
                    except OSError:
                        asked.append("a connection without a word")

        threading.Thread(target=note, daemon=True).start()
        yield There(f"http://127.0.0.1:{listening.getsockname()[1]}", asked)
        listening.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    chromium()
    config = fake_config(tmp_path_factory.mktemp("examples"))
    with served(PageChat(), config, closed_seconds=0) as site:
        yield site


@pytest.fixture(scope="module")
def context(site: Served) -> Iterator[Any]:
    with chromium_context() as context:
        yield context


@pytest.fixture
def driver(site: Served, context: Any) -> Iterator[PageDriver]:
    driver = PageDriver(context.new_page(), site.url)
    driver.open()
    yield driver
    driver.page.close()


def test_a_saved_page_is_the_one_that_was_shown(driver, site, there, context, tmp_path: Path):
    site.chat.pages["save"] = HOSTILE["fetches"].format(there=there.url)
    ask(driver, "save")
    show(driver)
    with driver.page.expect_download() as downloads:
        driver.page.get_by_role("button", name="Save page").click()
    assert downloads.value.suggested_filename == "page.html"
    kept = tmp_path / "page.html"
    downloads.value.save_as(kept)
    reader = context.new_page()
    reader.goto(kept.as_uri())
    assert reader.locator("img[alt=seen]").count() == 1
    reader.wait_for_timeout(500)
    reader.close()
    assert there.asked == []
    assert kept.read_text().startswith('<!doctype html><meta http-equiv="Content-Security-Policy"')


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_page_does_nothing(driver, site, there, context, name):
    there.asked.clear()
    site.chat.pages[name] = HOSTILE[name].format(there=there.url)
    ask(driver, name)
    assert driver.answer_text().split() == site.chat.pages[name].split()  # still text
    title, address, tabs = driver.page.title(), driver.page.url, len(context.pages)
    asked: list[Any] = []
    # Playwright takes no method of a list.
    driver.page.on("request", lambda request: asked.append(request))  # noqa: PLW0108
    page = show(driver)
    page.locator("body").wait_for(state="attached")
    driver.page.wait_for_timeout(400)
    for element in page.get_by_text("press").all():
        for how in ({}, {"modifiers": ["Control"]}, {"modifiers": ["Shift"]}, {"button": "middle"}):
            element.click(**how)
    for field in page.locator("input").all():
        field.press("Enter")
    driver.page.wait_for_timeout(600)
    assert there.asked == []
    ours = (f"{site.url}gradio_api/", f"{site.url}assets/", "data:", "about:")
    left = [each for each in asked if not each.url.startswith(ours)]
    # Chromium tells of some that the policy stopped before they left.
    assert {each.failure for each in left} <= {"csp"}, [each.url for each in left]
    assert (driver.page.title(), driver.page.url, len(context.pages)) == (title, address, tabs)
    assert driver.page.evaluate("window.hacked") is None
    assert [frame.url for frame in driver.page.frames[1:]] == ["about:srcdoc"]
    driver.page.keyboard.press("Escape")
    assert not is_open(driver)


def test_a_page_that_changes_with_every_look_is_not_shown(driver, site):
    """A line break after <pre> goes each time a page is read; more than a few are a trick."""
    for name, breaks, seen in (("few", 20, "hidden"), ("many", 90, "This page cannot be shown")):
        lines = "\n" * breaks
        site.chat.pages[name] = f"<html>\n<body><pre>{lines}hidden</pre></body></html>"
        ask(driver, name)
        body = show(driver).locator("body")
        body.get_by_text(seen).wait_for()
        assert body.get_by_text("hidden").count() == (seen == "hidden")
        driver.page.keyboard.press("Escape")
        driver.until(lambda: not is_open(driver), "the preview to close")


def test_a_huge_page_is_shown(driver, site):
    rows = "".join(f"<tr><td>{'<b>' * 20}{row}</td></tr>\n" for row in range(3000))
    site.chat.pages["huge"] = f"<!doctype html>\n<html>\n<body><table>{rows}</table></body></html>"
    ask(driver, "huge")
    page = show(driver)
    driver.until(lambda: page.locator("tr").count() == 3000, "all rows")
    assert driver.overflow() == 0
    driver.page.keyboard.press("Escape")
    assert not is_open(driver)
