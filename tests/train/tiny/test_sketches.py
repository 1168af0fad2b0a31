"""Page sketches in the embedded default's training: slots, labels, lessons, and their judge."""

import pytest
from sentencepiece import SentencePieceProcessor

from minigpt4.config import ASSETS
from minigpt4.ui.web_pages import find_pages
from train.cartoon.describe import webpage
from train.cartoon.scene import BACKGROUNDS, KINDS, PAGE_KINDS, Scene, Thing
from train.cartoon.sketch import make_sketch
from train.tiny.attributes import IGNORED, NO_KIND, STRANGE, labels_of
from train.tiny.judging import is_failure, judge_ability
from train.tiny.language import gate_samples
from train.tiny.lessons import Lessons
from train.tiny.slots import BACKGROUND_QUERY, FIRST_LETTER_QUERY, FusedSlots, slot_words

TITLE = Thing("title", "black", "small", 0.45, 0.12, 0.175, "SHOP")
LIST = Thing("list", "black", "medium", 0.2, 0.38, 0.1)
BUTTON = Thing("button", "black", "medium", 0.8, 0.62, 0.1)
SKETCH = Scene(3, "page", (TITLE, LIST, BUTTON))
TOKENIZER = ASSETS / "tiny" / "language" / "tokenizer.model"


def test_slots_hold_what_html_is_made_of(language):
    words = slot_words(SKETCH)
    assert words[TITLE.cell] == ("</h>", "top")
    assert words[LIST.cell] == ("</ul>", "left")
    assert words[BUTTON.cell] == ("</button>", "right")
    assert words[BACKGROUND_QUERY] == ("background", "</html>")
    assert words[FIRST_LETTER_QUERY:] == [("S",), ("H",), ("O",), ("P",), ("nothing",)]
    ids = FusedSlots(language).ids([SKETCH])[0]
    assert ids[BUTTON.cell, 0] in language.encode("\n<button>Button</button>")


def test_the_shipped_tokenizer_spells_every_page():
    pieces = SentencePieceProcessor(model_file=str(TOKENIZER))
    for seed in range(300):
        page = webpage(make_sketch(seed))
        ids = pieces.encode(page)
        assert pieces.decode(ids) == page
        assert not any(pieces.is_unknown(each) or pieces.is_byte(each) for each in ids)
        assert len(ids) < 150
    for tag in ("h", "button", "ul", "img", "html"):
        assert pieces.encode(f"</{tag}>")[1:-1] == [pieces.piece_to_id(tag)]


def test_an_eye_is_asked_for_kinds_thirds_and_letters_alone():
    labels = labels_of([SKETCH], 6)
    for thing in SKETCH.things:
        wanted = len(KINDS) + PAGE_KINDS.index(thing.kind)
        assert labels["kind"][0, thing.cell] == wanted
        assert labels["third"][0, thing.cell] == thing.third
    assert (labels["kind"] != NO_KIND).sum() == 3
    assert (labels["color"] == IGNORED).all()
    assert (labels["size"] == IGNORED).all()
    assert labels["background"].tolist() == [len(BACKGROUNDS)] == [STRANGE - 1]
    assert (labels["letter"][0] < 26).sum() == 4


def test_lessons_have_few_sketches_and_small_ones_first(language):
    lessons = Lessons(language, plain_weight=0.2, length=256)
    rows = lessons.rows(range(400), 2)
    scenes = [scene for scene, _ in rows if scene.is_page]
    assert 40 <= len(scenes) <= 80  # near SKETCH_SHARE of 400
    assert {len(scene.things) for scene in scenes} == {2}
    assert all(scene.is_page for scene, _ in lessons.rows(range(9), 6, sketch_share=1.0))
    assert not any(scene.is_page for scene, _ in lessons.rows(range(90), 6, sketch_share=0.0))


def test_the_gate_asks_for_pages_of_sketches():
    for scene, exchange in gate_samples("webpage", 5, 2):
        assert scene.is_page
        assert exchange.answer == webpage(scene)
    assert not any(scene.is_page for scene, _ in gate_samples("color", 5, 2))


def test_a_true_page_is_accepted_and_can_be_previewed():
    for seed in range(50):
        scene = make_sketch(seed)
        page = webpage(scene)
        assert judge_ability("webpage", scene, page)
        assert not is_failure(page, ended=True)
        assert is_failure(page, ended=False)
        assert find_pages(page) == ((0, len(page)),)


@pytest.mark.parametrize(
    ("said", "instead"),
    [
        ("<h1>SHOP</h1>", "<h1>SHIP</h1>"),
        ("<title>SHOP</title>", "<title>SHIP</title>"),
        ("</ul>", ""),
        ("</button>", ""),
        ("<!doctype html>\n", ""),
        ("</html>", ""),
        ("</body>", "</body></body>"),
        ("<button>Button</button>\n", ""),
        ("<li>First</li>\n<li>Second</li>\n", ""),
        ("<button>", "Text <button>"),
        ("<h1>SHOP</h1>\n", '<h1>SHOP</h1>\n<img alt="picture" src="data:,">\n'),
    ],
)
def test_a_page_that_is_wrong_or_broken_is_refused(said, instead):
    page = webpage(SKETCH)
    assert said in page
    assert judge_ability("webpage", SKETCH, page)
    assert not judge_ability("webpage", SKETCH, page.replace(said, instead))


def test_a_page_in_another_order_is_refused():
    swapped = Scene(3, "page", (TITLE, BUTTON, LIST))
    assert not judge_ability("webpage", SKETCH, webpage(swapped))
    assert not judge_ability("webpage", SKETCH, "This is a sketch of a web page.")
