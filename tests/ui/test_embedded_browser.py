"""What a person does with a fresh clone: the page in Chromium with the embedded model behind it."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from minigpt4.build import build_chat
from minigpt4.config import load_config
from tests.truth import true_answer
from tests.ui.driver import PageDriver, chromium, chromium_context
from tests.ui.server import Served, served
from train.cartoon.draw import draw_scene
from train.cartoon.scene import Scene, Thing

pytestmark = [
    pytest.mark.browser,
    pytest.mark.xdist_group("browser"),
    # Gradio's own threads warn about pandas; under "error" they would break its queue.
    pytest.mark.filterwarnings("default"),
]

CONFIG = Path(__file__).parents[2] / "eval_configs" / "tiny.yaml"


def _drawn(folder: Path, color: str, kind: str, ending: str = "png") -> Path:
    """A drawing made here: one thing in the middle, another in a corner."""
    scene = Scene(
        seed=20_261_122,
        background="white",
        things=(
            Thing("star", "orange", "medium", 0.18, 0.18, 0.13),
            Thing(kind, color, "large", 0.58, 0.58, 0.2),
        ),
    )
    path = folder / f"{color}-{kind}.{ending}"
    draw_scene(scene, 320).save(path)
    return path


@pytest.fixture(scope="module")
def site() -> Iterator[Served]:
    chromium()
    config = load_config(CONFIG, ["device=cpu"])
    with served(build_chat(config), config) as site:
        yield site


@pytest.fixture
def slow(site: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model at the speed of a big one, so that a person can press Stop in time."""
    step = site.chat._engine._step

    def slowly(shares):
        time.sleep(0.2)
        step(shares)

    monkeypatch.setattr(site.chat._engine, "_step", slowly)


@pytest.fixture(scope="module")
def context(site: Served):
    with chromium_context() as context:
        yield context


@pytest.fixture
def driver(site: Served, context) -> Iterator[PageDriver]:
    driver = PageDriver(context.new_page(), site.url)
    driver.open()
    yield driver
    assert driver.problems == []
    driver.page.close()


def test_a_drawing_is_talked_about(driver, tmp_path):
    driver.upload(_drawn(tmp_path, "red", "car"))
    driver.ask("What color is the car?")
    driver.wait_answer("The car is red.")
    driver.wait_done()
    driver.ask("How big is it?")
    driver.wait_answer("The car is large.")
    driver.wait_done()
    driver.upload(_drawn(tmp_path, "blue", "house", "jpg"))
    driver.ask("What color is the house?")
    driver.wait_answer("The house is blue.")
    driver.wait_done()
    assert driver.pictures() == 2
    driver.new_chat()
    driver.ask("What color is the car?")
    driver.wait_answer("can't see a picture")
    driver.wait_done()


@pytest.mark.usefixtures("slow")
def test_an_answer_streams_and_stop_frees_the_model(driver, tmp_path):
    driver.upload(_drawn(tmp_path, "green", "tree"))
    driver.ask("Describe this image in detail.")
    driver.wait_answer("white")
    driver.stop()
    driver.wait_done()
    stopped = driver.answer_text()
    assert "center" not in stopped, "the answer was over before Stop"  # it names the tree last
    driver.ask("What color is the tree?")
    driver.wait_answer("The tree is green.")
    assert driver.answers()[0] == stopped


@pytest.mark.usefixtures("slow")
def test_two_tabs_at_once(driver, site, context, tmp_path):
    other = PageDriver(context.new_page(), site.url)
    other.open()
    driver.upload(_drawn(tmp_path, "red", "heart"))
    other.upload(_drawn(tmp_path, "purple", "heart"))
    driver.ask("What color is the heart?")
    other.ask("What color is the heart?")
    driver.wait_answer("The heart is red.")
    other.wait_answer("The heart is purple.")
    driver.wait_done()
    other.wait_done()
    assert [driver.pictures(), other.pictures()] == [1, 1]
    assert other.problems == []
    other.page.close()


def test_before_and_after(driver):
    driver.look_through("Compare")
    driver.example(0)
    kept = driver.page.locator("#chat .side.kept")
    kept.wait_for()
    after, before = driver.page.locator("#chat .side .said").all_inner_texts()
    assert true_answer("harbour", "Describe this image in detail.") in after
    assert before
    driver.page.get_by_role("button", name="Go on with Stage 1").click()
    driver.until(lambda: before in kept.inner_text(), "the choice")
    driver.look_through("Stage 2")
    driver.ask("What color is the boat?")
    driver.wait_answer(true_answer("harbour", "What color is the boat?"))
    driver.wait_done()
