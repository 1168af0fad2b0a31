"""The review page in a real browser: keys, a phone, going on, and what it does not serve."""

import signal
import subprocess
import sys
from urllib.parse import quote

import httpx
import pytest

from tests.ports import free_port
from tests.train.curation.made import TEXTS, filtered, lines, served
from tests.ui.conftest import LOOKS
from tests.ui.driver import PageDriver, chromium, chromium_context
from train.settings import ROOT

pytestmark = [
    pytest.mark.browser,
    pytest.mark.xdist_group("browser"),
    # Gradio's own threads warn about pandas; under "error" they would break its queue.
    pytest.mark.filterwarnings("default"),
]


class Reviewer(PageDriver):
    """A person who reviews."""

    def open(self) -> None:
        self.page.goto(self.url)
        self.until(lambda: self.shown() or self.done(), "the first row")

    def shown(self) -> str:
        """The name of the row on the page."""
        return " ".join(self.page.locator("#picture figcaption").all_inner_texts())

    def done(self) -> str:
        return " ".join(self.page.locator("#picture .done").all_inner_texts())

    def text(self) -> str:
        return self.page.locator("#text textarea").input_value()

    def counts(self) -> list[int]:
        """Accepted, edited, rejected, open."""
        return [int(each) for each in self.page.locator(".counts b").all_inner_texts()]

    def sees(self, name: str | None = None, text: str | None = None, *, counts: list[int]) -> None:
        """Wait until a row is shown whole: the parts of the page do not change in one moment."""

        def seen() -> bool:
            row = name is None or self.shown() == name
            return row and (text is None or self.text() == text) and self.counts() == counts

        self.until(seen, f"{name}, {text} and {counts}")

    def told(self, words: str) -> None:
        """Wait until something is told of the row."""
        self.until(lambda: words in self.page.locator("#about").inner_text(), words)

    def press(self, key: str) -> None:
        """Press a key, and wait until another row, or none, is shown."""
        before = self.shown()
        self.page.keyboard.press(key)
        self.until(lambda: self.shown() != before, f"what follows {key}")

    def tap(self, name: str) -> None:
        before = self.shown()
        self.page.get_by_role("button", name=name).click()
        self.until(lambda: self.shown() != before, f"what follows {name}")


@pytest.fixture(scope="module", autouse=True)
def _browser():
    chromium()


def test_a_person_reviews_with_keys_alone(tmp_path):
    folder = filtered(tmp_path)
    with served(folder) as url, chromium_context(**LOOKS["desktop-light"]) as context:
        page = Reviewer(context.new_page(), url)
        page.open()
        page.sees("1.png", TEXTS[0], counts=[0, 0, 0, 4])
        drawn = "[...document.images].every((image) => image.complete && image.naturalWidth)"
        page.page.wait_for_function(drawn)
        page.press("Enter")
        page.press("3")
        page.sees("3.png", TEXTS[2], counts=[1, 0, 1, 2])
        # While a text is edited, keys are letters; what is typed is kept when one looks around.
        page.page.keyboard.press("e")
        page.page.keyboard.type(" Ax 12")
        assert page.text() == f"{TEXTS[2]} Ax 12"
        page.page.keyboard.press("Escape")
        page.press("ArrowLeft")
        page.told("rejected: bad English")
        page.press("ArrowRight")
        page.sees("3.png", f"{TEXTS[2]} Ax 12", counts=[1, 0, 1, 2])
        page.page.keyboard.press("e")
        page.press("Control+Enter")
        page.sees(counts=[1, 1, 1, 1])
        # Somebody thinks again.
        page.press("ArrowLeft")
        page.told("edited")
        page.press("x")
        page.sees("4.png", counts=[1, 0, 2, 1])
        page.press("a")
        assert "2 accepted" in page.done()
        page.page.keyboard.press("Enter")  # nothing is left to accept
        page.press("ArrowLeft")
        page.sees("4.png", counts=[2, 0, 2, 0])
        assert page.problems == []
        assert page.overflow() == 0
    decided = {name: row["decision"] for name, row in folder.reviewed.rows().items()}
    assert decided == {
        "1.png": "accepted",
        "2.png": "rejected",
        "3.png": "rejected",
        "4.png": "accepted",
    }
    assert [row["decision"] for row in lines(folder.reviewed.path)].count("edited") == 1


def test_it_goes_on_where_it_was_left_also_on_a_phone(tmp_path):
    folder = filtered(tmp_path)
    with chromium_context(**LOOKS["phone-dark"]) as context:
        with served(folder) as url:
            page = Reviewer(context.new_page(), url)
            page.open()
            page.tap("Accept")
            page.page.locator("#text textarea").fill("A green field, and that is all there is.")
            page.tap("Accept")
            page.sees(counts=[1, 1, 0, 2])
            assert page.problems == []
            page.page.close()
        with served(folder) as url:
            page = Reviewer(context.new_page(), url)
            page.open()
            page.sees("3.png", counts=[1, 1, 0, 2])
            page.tap("unfit picture")
            page.tap("Skip")
            page.sees("1.png", counts=[1, 1, 1, 1])
            assert page.overflow() == 0
            assert page.problems == []
    rows = folder.reviewed.rows()
    assert rows["2.png"]["text"] == "A green field, and that is all there is."
    assert rows["3.png"]["reason"] == "unfit picture"
    assert {row["reviewer"] for row in rows.values()} == {"ida"}


def test_quick_presses_decide_no_row_that_was_not_seen(tmp_path):
    folder = filtered(tmp_path)
    with served(folder) as url, chromium_context() as context:
        page = Reviewer(context.new_page(), url)
        page.open()
        for _ in range(5):
            page.page.keyboard.press("Enter")
        page.until(lambda: page.shown() != "1.png", "the next row")
        page.page.wait_for_timeout(800)

        def following() -> bool:
            last = lines(folder.reviewed.path)[-1]["id"]
            return bool(page.shown() == f"{int(last[0]) + 1}.png" or page.done())

        page.until(following, "the row after the last one that was decided")
        decided = lines(folder.reviewed.path)
        # Every press came with the row that stood on the page then.
        seen = [row["id"] for row in decided]
        assert seen == sorted(seen)
        texts = dict(zip(("1.png", "2.png", "3.png", "4.png"), TEXTS, strict=True))
        assert all(row["text"] == texts[row["id"]] for row in decided)


def test_said_is_never_markup(tmp_path):
    attack = '<img src=x onerror="document.title=1"> The image shows </p><script>1</script>.'
    folder = filtered(tmp_path, [attack])
    with served(folder) as url, chromium_context() as context:
        page = Reviewer(context.new_page(), url)
        page.open()
        page.sees(text=attack, counts=[0, 0, 0, 1])
        page.page.keyboard.press("d")
        assert page.page.locator("#changes p").inner_text() == attack
        assert page.problems == []


def test_an_empty_text_and_a_lost_picture_are_told(tmp_path):
    folder = filtered(tmp_path)
    (tmp_path / "pictures" / "1.png").unlink()
    with served(folder) as url, chromium_context() as context:
        page = Reviewer(context.new_page(), url)
        page.page.goto(url)
        page.page.locator(".problem").wait_for()
        assert "No such file" in page.page.locator(".problem").inner_text()
        assert str(tmp_path) not in page.page.content()
        page.page.locator("#text textarea").fill("  ")
        page.page.locator("#accept").click()
        page.page.get_by_text("The text is empty").wait_for()
        page.sees(counts=[0, 0, 0, 4])
    assert folder.reviewed.rows() == {}


def test_nothing_but_the_page_and_its_own_copies_is_served(tmp_path):
    folder = filtered(tmp_path)
    with served(folder) as url, httpx.Client(base_url=url, trust_env=False, timeout=20) as web:
        page = web.get("/")
        assert page.status_code == 200
        assert "default-src 'self'" in page.headers["content-security-policy"]
        for path in (
            tmp_path / "pictures/1.png",
            folder.described.path,
            ROOT / "README.md",
            "/etc/passwd",
        ):
            assert web.get(f"gradio_api/file={quote(str(path))}").status_code in (400, 403, 404)
        picture = {"files": ("a.png", b"x" * 100)}
        assert web.post("gradio_api/upload", files=picture).status_code in (400, 404, 413)
        rebound = web.get("/", headers={"host": "evil.example:80"})
        assert rebound.status_code == 421
        foreign = {"origin": "https://evil.example"}
        join = {"fn_index": 0, "data": ["1.png", "x"], "session_hash": "abcdefghij"}
        assert web.post("gradio_api/queue/join", json=join, headers=foreign).status_code == 403
        stolen = {"data": [{"path": "/etc/passwd"}], "fn_index": 0, "session_hash": "abcdefghij"}
        assert web.post("gradio_api/queue/join", json=stolen).status_code == 400
    assert folder.reviewed.rows() == {}


def test_the_command_serves_until_it_is_told_to_stop(tmp_path):
    filtered(tmp_path)
    port = free_port()
    command = [sys.executable, "train/curate.py", "review", str(tmp_path), "--port", str(port)]
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        told = running.stdout.readline()
        assert told == f"4 texts to review: http://127.0.0.1:{port}/\n"
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20) as web:
            assert web.get("/").status_code == 200
        second = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert (second.returncode, second.stdout) == (1, "")
        assert "Another program writes" in second.stderr
        other = [*command[:3], str(tmp_path / "other"), *command[4:]]
        filtered(tmp_path / "other")
        taken = subprocess.run(other, cwd=ROOT, capture_output=True, text=True, check=False)
        assert taken.returncode == 1
        assert f"Port {port} is in use." in taken.stderr
    finally:
        running.send_signal(signal.SIGTERM)
        rest, _ = running.communicate(timeout=60)
    assert running.returncode == 0
    assert f"python train/curate.py export {tmp_path}" in rest
