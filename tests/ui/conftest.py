"""A page with a fake chat behind it, in a browser on a desktop by day and on a phone by night."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ui.driver import PageDriver, chromium, chromium_context
from tests.ui.fake_chat import FakeChat
from tests.ui.server import Served, fake_config, plain, served

LOOKS = {
    "desktop-light": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"},
    "phone-dark": {
        "viewport": {"width": 390, "height": 844},
        "color_scheme": "dark",
        "device_scale_factor": 2,
        "has_touch": True,
        "is_mobile": True,
    },
}
PLAIN = {
    "red": (220, 40, 40),
    "green": (40, 170, 70),
    "blue": (40, 80, 220),
    "yellow": (240, 210, 50),
}


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pictures")
    return {name: plain(folder / f"{name}.png", colour) for name, colour in PLAIN.items()}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    chromium()
    config = fake_config(tmp_path_factory.mktemp("examples"))
    with served(FakeChat(word_seconds=0.01), config, closed_seconds=0) as site:
        yield site


@pytest.fixture(scope="module", params=LOOKS)
def context(site: Served, request: pytest.FixtureRequest):
    with chromium_context(permissions=["camera"], **LOOKS[request.param]) as context:
        yield context


@pytest.fixture
def driver(site: Served, context) -> Iterator[PageDriver]:
    site.chat.word_seconds = 0.01
    driver = PageDriver(context.new_page(), site.url)
    driver.open()
    yield driver
    assert driver.problems == []
    assert driver.overflow() == 0
    driver.page.close()
