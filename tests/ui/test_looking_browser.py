"""The panel "Where it looks" in a real browser, on a desktop by day and on a phone by night."""

from collections.abc import Iterator

import pytest

from tests.ui.driver import PageDriver, chromium
from tests.ui.fake_chat import COLOURS
from tests.ui.looking_chat import GRID, TOKENS, LookingChat
from tests.ui.server import Served, fake_config, served
from tests.ui.test_accessibility import axe, serious  # noqa: F401 - axe is a fixture

pytestmark = [
    pytest.mark.browser,
    pytest.mark.xdist_group("browser"),
    # Gradio's own threads warn about pandas; under "error" they would break its queue.
    pytest.mark.filterwarnings("default"),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    chromium()
    config = fake_config(tmp_path_factory.mktemp("examples"))
    with served(LookingChat(), config, closed_seconds=0) as site:
        yield site


@pytest.fixture(autouse=True)
def fresh(site: Served) -> Iterator[None]:
    site.chat.looks.clear()
    yield
    site.chat.sight.set()


class Panel:
    """The panel, in the words of a person who uses it."""

    def __init__(self, driver: PageDriver) -> None:
        self.driver = driver
        self.root = driver.page.locator("#looking")

    def open(self) -> None:
        self.root.locator("> button").click()
        self.root.locator(".nothing, .filled").locator("visible=true").first.wait_for()

    def words(self) -> list[str]:
        return self.root.locator(".answer button").all_inner_texts()

    def choose(self, word: str) -> None:
        self.word(word).click()

    def word(self, word: str):
        return self.root.locator(".answer").get_by_role("button", name=word, exact=True)

    def told(self) -> str:
        return self.root.locator(".told").inner_text()

    def wait_told(self, part: str) -> None:
        self.driver.until(lambda: part in self.told(), f"{part!r} in the panel, not {self.told()}")

    def see(self, what: str) -> None:
        self.root.get_by_role("button", name=what).click()

    def brightest(self, figure: int = 0) -> int:
        """The patch under the most transparent point of a heat map: the rest is dimmed."""
        self.root.locator(".figures canvas").nth(figure).wait_for()
        return (
            self.root.locator(".figures canvas")
            .nth(figure)
            .evaluate(
                """(canvas, grid) => {
              const { width, height } = canvas;
              const data = canvas.getContext("2d").getImageData(0, 0, width, height).data;
              const dim = (at) => data[4 * at + 3];
              let best = 0;
              for (let at = 1; at < width * height; at += 1) if (dim(at) < dim(best)) best = at;
              const row = Math.floor((grid * Math.floor(best / width)) / height);
              return grid * row + Math.floor((grid * (best % width)) / width);
            }""",
                GRID,
            )
        )

    def opacity(self) -> float:
        canvas = self.root.locator(".figures canvas").first
        return float(canvas.evaluate("canvas => getComputedStyle(canvas).opacity"))


@pytest.fixture
def panel(driver: PageDriver) -> Panel:
    return Panel(driver)


def ask(driver: PageDriver, question: str, *pictures) -> None:
    if pictures:
        driver.upload(*pictures)
    driver.ask(question)
    driver.wait_answer(question)
    driver.wait_done()


def test_a_word_is_chosen_and_its_regions_appear(driver, panel, site, pictures):
    panel.open()
    assert "Ask about a picture" in panel.root.inner_text()
    ask(driver, "What is it?", pictures["blue"])
    driver.until(panel.words, "the words of the answer")
    assert panel.words() == ["I", "see", "blue", "You", "asked", "What", "is", "it"]
    assert site.chat.looks == [], "nobody has asked for a look yet"
    assert panel.root.locator("canvas").count() == 0

    panel.choose("see")
    first = list(COLOURS).index("blue") + 1
    assert panel.brightest() == first
    assert panel.told() == "“see” drew most on the top right."
    picture = panel.root.locator(".figures img")
    assert picture.get_attribute("src").startswith("data:image/webp;base64,")
    assert picture.get_attribute("alt") == "Picture 1, and where “see” came from"
    wide, high = picture.evaluate("image => [image.clientWidth, image.clientHeight]")
    assert wide / high == pytest.approx(320 / 240, rel=0.02), "the map is as wide as the picture"
    overlay = panel.root.locator(".figures canvas").bounding_box()
    assert overlay["width"] == pytest.approx(wide, abs=2)
    assert overlay["height"] == pytest.approx(high, abs=2)

    panel.choose("blue")
    assert panel.brightest() == first + 1
    assert panel.word("blue").get_attribute("aria-pressed") == "true"
    assert panel.word("see").get_attribute("aria-pressed") == "false"
    assert len(site.chat.looks) == 1, "one look shows every word"


def test_the_slider_changes_the_opacity_in_the_browser(driver, panel, site, pictures):
    ask(driver, "What is it?", pictures["red"])
    panel.open()
    panel.choose("red")
    panel.brightest()
    slider = panel.root.get_by_label("Heat map")
    assert panel.opacity() == pytest.approx(0.7)
    slider.fill("25")
    assert panel.opacity() == pytest.approx(0.25)
    slider.focus()
    driver.page.keyboard.press("End")
    assert panel.opacity() == 1
    panel.choose("see")
    assert panel.opacity() == 1, "it stays for the next word"
    assert len(site.chat.looks) == 1


def test_keys_alone_are_enough(driver, panel, pictures):
    ask(driver, "What is it?", pictures["red"])
    panel.root.locator("> button").focus()
    driver.page.keyboard.press("Enter")
    driver.until(panel.words, "the words")
    driver.page.keyboard.press("Tab")
    focused = "document.activeElement.textContent"
    assert driver.page.evaluate(focused) == "Words"
    driver.page.keyboard.press("Tab")
    driver.page.keyboard.press("Tab")
    assert driver.page.evaluate(focused) == "I"
    driver.page.keyboard.press("Tab")
    driver.page.keyboard.press("Space")
    panel.wait_told("“see”")
    assert driver.page.evaluate(focused) == "see", "the focus stays where it was"
    driver.page.keyboard.press("Tab")
    driver.page.keyboard.press("Enter")
    panel.wait_told("“red”")


def test_visual_tokens_are_seen_with_their_words(driver, panel, site, pictures):
    ask(driver, "What is it?", pictures["green"])
    panel.open()
    panel.see("Visual tokens")
    driver.until(lambda: panel.root.locator("ul.tokens li").count() == TOKENS, "all tokens")
    first = list(COLOURS).index("green")
    assert panel.brightest() == first
    assert "green0 0.75, <b>bold</b> 0.50" in panel.told(), "words are text, not markup"
    panel.root.locator("ul.tokens button").nth(3).click()
    assert panel.brightest() == first + 3
    assert "Visual token 4 of 6" in panel.told()
    assert panel.root.locator("ul.tokens b").count() == 0
    panel.see("Words")
    assert not panel.root.locator("ul.tokens").is_visible()
    panel.choose("green")
    panel.wait_told("“green”")
    assert site.chat.looks.count("tokens") == 1


def test_several_pictures_and_answers(driver, panel, pictures):
    ask(driver, "First?", pictures["red"])
    ask(driver, "Second?", pictures["blue"])
    panel.open()
    assert panel.words()[:5] == ["I", "see", "red", "and", "blue"], "the last answer"
    panel.choose("I")
    panel.wait_told("“I”")
    assert panel.root.locator("figure").count() == 2
    assert [panel.brightest(0), panel.brightest(1)] == [0, 2]
    captions = panel.root.locator("figcaption").all_inner_texts()
    assert captions[1] == "Picture 2: 50 % of the attention on pictures"
    panel.root.get_by_label("Answer to").select_option(label="1. First?")
    driver.until(lambda: panel.words()[2:4] == ["red", "You"], "the first answer")
    assert panel.root.locator("figure").count() == 0
    panel.choose("I")
    panel.wait_told("“I”")
    assert panel.root.locator("figure").count() == 1
    panel.see("Visual tokens")
    panel.wait_told("blue0")
    panel.root.get_by_label("Picture", exact=True).select_option(label="Picture 1")
    panel.wait_told("red0")


def test_what_is_shown_follows_the_chat(driver, panel, site, pictures):
    ask(driver, "What is it?", pictures["red"])
    panel.open()
    panel.choose("red")
    panel.brightest()
    ask(driver, "And now?")
    driver.until(lambda: panel.words()[-2:] == ["And", "now"], "the new answer")
    assert panel.root.locator("figure").count() == 0, "no map of another answer"
    panel.choose("now")
    panel.wait_told("“now”")
    driver.undo()
    driver.until(lambda: panel.words()[-2:] == ["is", "it"], "the answer before")
    driver.new_chat()
    driver.until(lambda: panel.root.locator(".nothing").is_visible(), "the empty panel")
    assert (
        panel.root.locator("figure").count() == 0 or not panel.root.locator(".filled").is_visible()
    )


def test_it_is_as_it_was_after_it_was_closed(driver, panel, site, pictures):
    ask(driver, "What is it?", pictures["red"])
    panel.open()
    panel.choose("red")
    panel.brightest()
    panel.root.locator("> button").click()
    driver.until(lambda: not panel.root.locator(".filled").is_visible(), "the panel to close")
    ask(driver, "And now?")
    panel.root.locator("> button").click()
    driver.until(lambda: panel.words()[-2:] == ["And", "now"], "the new answer")
    panel.choose("now")
    panel.wait_told("“now”")


def test_a_long_look_is_told_and_answers_go_on(driver, panel, site, pictures):
    ask(driver, "What is it?", pictures["red"])
    panel.open()
    site.chat.sight.clear()
    panel.choose("red")
    panel.wait_told("Looking …")
    panel.choose("see")
    ask(driver, "And now?")
    site.chat.sight.set()
    driver.until(lambda: panel.words()[-1:] == ["now"], "the new answer")
    driver.until(lambda: len(site.chat.looks) >= 1, "the look")
    driver.page.wait_for_timeout(300)
    assert panel.root.locator("figure").count() == 0, "the look was at an answer before"
    panel.choose("now")
    panel.wait_told("“now”")


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ("untraced words", "cannot be traced"),
        ("an <b>untraced</b> one", "cannot be traced"),
    ],
)
def test_what_cannot_be_shown_is_said(driver, panel, pictures, question, told):
    ask(driver, question, pictures["red"])
    panel.open()
    panel.choose("untraced")
    panel.wait_told(told)
    assert panel.root.locator("figure").count() == 0
    assert panel.root.locator(".answer b").count() == 0
    panel.choose("red")
    panel.wait_told("“red”")


def test_a_failed_look_is_said_in_a_sentence(driver, panel, site, pictures, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("secret: /srv/weights/model.bin")

    ask(driver, "What is it?", pictures["red"])
    panel.open()
    with monkeypatch.context() as patch:
        patch.setattr(site.chat, "look", fail)
        panel.choose("red")
        panel.wait_told("Something went wrong while looking")
    assert "secret" not in driver.page.content()
    panel.choose("red")
    panel.wait_told("“red” drew most")


def test_tabs_do_not_mix(driver, panel, site, context, pictures):
    ask(driver, "What is it?", pictures["red"])
    other = PageDriver(context.new_page(), site.url)
    other.open()
    ask(other, "What is that?", pictures["blue"])
    theirs = Panel(other)
    theirs.open()
    theirs.choose("I")
    assert theirs.brightest() == list(COLOURS).index("blue")
    other.page.close()
    driver.page.bring_to_front()
    panel.open()
    assert panel.words()[2] == "red"
    panel.choose("I")
    assert panel.brightest() == list(COLOURS).index("red")
    assert other.problems == []


def test_nothing_sticks_out_on_a_small_phone(driver, panel, pictures):
    ask(driver, "What " + "is" * 90 + " it?", pictures["red"])
    driver.page.set_viewport_size({"width": 360, "height": 640})
    panel.open()
    panel.choose("red")
    panel.brightest()
    assert driver.overflow() == 0
    panel.see("Visual tokens")
    panel.wait_told("red0")
    assert driver.overflow() == 0
    edges = panel.root.locator("canvas").last.evaluate(
        "canvas => canvas.getBoundingClientRect().right - window.innerWidth"
    )
    assert edges < 0


def test_axe_finds_nothing_serious(driver, panel, axe, pictures):  # noqa: F811 - a fixture
    found: dict[str, list[str]] = {}
    panel.open()
    found["empty"] = serious(driver, axe)
    ask(driver, "First?", pictures["red"])
    ask(driver, "Second?", pictures["blue"])
    driver.until(panel.words, "the words")
    panel.choose("see")
    panel.wait_told("“see”")
    found["word"] = serious(driver, axe)
    panel.see("Visual tokens")
    panel.wait_told("blue0")
    found["tokens"] = serious(driver, axe)
    told = [f"{state}: {each}" for state, problems in found.items() for each in problems]
    assert told == [], "\n".join(told)
