"""axe-core finds nothing serious on the page, in any of its states and looks.

axe-core is not part of the project: npm brings the pinned version, and without npm or its registry
these tests are skipped.
"""

import hashlib
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.ui.driver import PageDriver, chromium, chromium_context
from tests.ui.fake_chat import FakeChat
from tests.ui.server import Served, fake_config, plain, served

pytestmark = [
    pytest.mark.browser,
    pytest.mark.xdist_group("browser"),
    # Gradio's own threads warn about pandas; under "error" they would break its queue.
    pytest.mark.filterwarnings("default"),
]

AXE = "axe-core-4.14.1"
AXE_SHA256 = "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745"
LOOKS = {
    "desktop-light": ({"width": 1280, "height": 800}, "light"),
    "desktop-dark": ({"width": 1280, "height": 800}, "dark"),
    "phone-light": ({"width": 390, "height": 844}, "light"),
    "phone-dark": ({"width": 390, "height": 844}, "dark"),
}


@pytest.fixture(scope="module")
def axe(request: pytest.FixtureRequest) -> str:
    """The script, fetched once and kept in pytest's cache."""
    assert request.config.cache is not None
    folder = request.config.cache.mkdir("axe-core")
    packed = folder / f"{AXE}.tgz"
    if not packed.exists():
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip("No npm on this machine, which would bring axe-core.")
        name, _, number = AXE.rpartition("-")
        command = [npm, "pack", f"{name}@{number}", "--fetch-retries=0", "--fetch-timeout=20000"]
        try:
            subprocess.run(command, cwd=folder, capture_output=True, timeout=60, check=True)
        except subprocess.SubprocessError:
            packed.unlink(missing_ok=True)  # which may be there in part
            pytest.skip("npm could not bring axe-core.")
    assert hashlib.sha256(packed.read_bytes()).hexdigest() == AXE_SHA256
    with tarfile.open(packed) as files:
        script = files.extractfile("package/axe.min.js")
        assert script is not None
        return script.read().decode()


@pytest.fixture(scope="module")
def site(axe: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    chromium()
    folder = tmp_path_factory.mktemp("examples")
    config = fake_config(folder)
    config = replace(config, page=replace(config.page, feedback_file=str(folder / "said.jsonl")))
    with served(FakeChat(word_seconds=0.01), config, closed_seconds=0) as site:
        yield site


def serious(driver: PageDriver, axe: str) -> list[str]:
    """Return what axe-core calls serious or critical, as "rule: element"."""
    driver.page.evaluate(axe)
    found = driver.page.evaluate("axe.run(document, { resultTypes: ['violations'] })")
    return [
        f"{each['id']}: {node['html'][:160]} {node['any'][:1] and node['any'][0]['message']}"
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("name", LOOKS)
def test_nothing_serious(site: Served, axe: str, tmp_path: Path, name: str) -> None:
    window, scheme = LOOKS[name]
    found: dict[str, list[str]] = {}
    look = {"viewport": window, "color_scheme": scheme, "reduced_motion": "reduce"}
    with chromium_context(permissions=["camera"], **look) as context:
        driver = PageDriver(context.new_page(), site.url)
        driver.open()
        found["welcome"] = serious(driver, axe)
        driver.upload(plain(tmp_path / "red.png", (220, 40, 40)))
        driver.type("What is it?")
        found["composer"] = serious(driver, axe)
        driver.send()
        driver.wait_answer("What is it?")
        driver.wait_done()
        found["conversation"] = serious(driver, axe)
        driver.ask("x" * 2001)
        driver.until(driver.notice, "the notice")
        driver.page.locator("#settings > button").click()
        driver.page.locator("#reset-settings").wait_for()
        driver.page.get_by_text("Ask from a program").click()
        found["notice and side column"] = serious(driver, axe)
        driver.type("")
        driver.page.get_by_text("Camera", exact=True).click()
        driver.page.locator(".camera .take").click()
        driver.page.locator(".camera video").wait_for()
        found["camera"] = serious(driver, axe)
        driver.page.get_by_text("Camera", exact=True).click()
        driver.look_through("Compare")
        driver.ask("Both?")
        driver.wait_answer("fog. You asked: Both?")
        driver.wait_done()
        found["two answers"] = serious(driver, axe)
        driver.look_through("Stage 2")
        driver.ask("<!doctype html><html lang=en><title>A</title><h1>A</h1></html>")
        driver.page.get_by_role("button", name="Show the page").wait_for()
        driver.wait_done()
        found["a page in the answer"] = serious(driver, axe)
        driver.page.get_by_role("button", name="Show the page").click()
        driver.page.locator("#page-preview iframe").wait_for()
        found["preview"] = serious(driver, axe)
        driver.page.keyboard.press("Escape")
        driver.page.locator("#status summary").click()
        driver.page.locator("#status dl").wait_for()
        found["pill"] = serious(driver, axe)
        driver.page.keyboard.press("Escape")
        driver.page.get_by_role("button", name="Save chat").click()
        driver.page.locator("#save-menu").wait_for()
        found["menu"] = serious(driver, axe)
        driver.page.keyboard.press("Escape")
        with driver.page.expect_download() as downloads:
            driver.save("As a web page")
        kept = tmp_path / "chat.html"
        downloads.value.save_as(kept)
        reader = PageDriver(context.new_page(), kept.as_uri())
        reader.page.goto(reader.url)
        found["saved chat"] = serious(reader, axe)
    told = [f"{state}: {each}" for state, problems in found.items() for each in problems]
    assert told == [], "\n".join(told)
