"""Page sketches: what stands where, that it is drawn there, and the page that is written of it."""

import random
from collections import Counter
from html.parser import HTMLParser

import pytest
from PIL import Image

from train.cartoon.asking import QUESTION_TYPES, ask, ask_to_describe, dialogue
from train.cartoon.describe import NO_PAGE, caption, webpage
from train.cartoon.draw import draw_scene
from train.cartoon.scene import CELL_LINES, PAGE_KINDS, Scene, make_scene, with_random_word
from train.cartoon.signs import sign_layout
from train.cartoon.sketch import make_sketch, sketch_boxes
from train.cartoon.wordings import PAGE_SKETCH
from train.cartoon.words import SIGN_WORDS, UNSEEN_SIGN_WORDS

SKETCHES = [make_sketch(seed) for seed in range(600)]


def test_a_sketch_is_a_title_above_one_to_four_elements_in_cells_of_their_own():
    for scene in SKETCHES:
        assert scene.is_page
        title, *elements = scene.things
        assert title.kind == "title"
        assert title.cell < 4
        assert title.word in SIGN_WORDS
        assert 3 <= len(title.word) <= 5
        assert all(thing.kind != "title" and not thing.word for thing in elements)
        cells = [thing.cell for thing in scene.things]
        assert cells == sorted(set(cells))
        assert min(cells[1:]) > 3
    assert {len(scene.things) for scene in SKETCHES} == {2, 3, 4, 5}
    kinds = Counter(thing.kind for scene in SKETCHES for thing in scene.things)
    assert set(kinds) == set(PAGE_KINDS)
    assert min(kinds.values()) > 300


def test_random_scenes_are_never_sketches():
    for seed in range(300):
        scene = make_scene(seed)
        assert not scene.is_page
        assert not {thing.kind for thing in scene.things} & set(PAGE_KINDS)


def test_no_centre_lies_where_nobody_could_tell_its_place():
    lines = [1 / 3, 2 / 3, *CELL_LINES]
    for scene in SKETCHES:
        for thing in scene.things:
            assert all(abs(each - line) > 0.0149 for each in (thing.x, thing.y) for line in lines)


def test_elements_do_not_overlap_and_stay_on_the_paper():
    for scene in SKETCHES:
        boxes = sketch_boxes(scene)
        for index, one in enumerate(boxes):
            assert one.width <= one.x <= 1 - one.width
            assert one.height <= one.y <= 1 - one.height
            assert one.height > 0.02
            for other in boxes[:index]:
                across = abs(one.x - other.x) - one.width - other.width
                down = abs(one.y - other.y) - one.height - other.height
                assert max(across, down) > 0


def test_letters_of_a_title_are_centred_on_it():
    for scene in SKETCHES[:50]:
        title = scene.things[0]
        layout = sign_layout(title)
        assert "".join(each.letter for each in layout) == title.word
        assert layout[0].y == pytest.approx(title.y)
        assert (layout[0].x + layout[-1].x) / 2 == pytest.approx(title.x)


def test_words_and_bounds_are_those_asked_for():
    for seed in range(60):
        assert make_sketch(seed, unseen_words=True).things[0].word in UNSEEN_SIGN_WORDS
        assert len(make_sketch(seed, max_things=2).things) == 2
        assert make_sketch(seed) == make_sketch(seed)
        word = with_random_word(make_sketch(seed), random.Random(seed)).things[0].word
        assert word not in UNSEEN_SIGN_WORDS
    for most in (1, 6):
        with pytest.raises(ValueError, match="2 to 5 things"):
            make_sketch(0, max_things=most)


def _dark(picture: Image.Image) -> int:
    """Pixels far from the lightest ones."""
    gray = picture.convert("L")
    low, high = gray.getextrema()
    return sum(gray.histogram()[: round(low + 0.55 * (high - low))])


@pytest.mark.parametrize("size", [96, 200])
def test_there_is_ink_in_every_element(size):
    pictures = set()
    for scene in SKETCHES[:60]:
        picture = draw_scene(scene, size)
        assert picture.size == (size, size)
        assert picture.tobytes() == draw_scene(scene, size).tobytes()
        pictures.add(picture.tobytes())
        for each in sketch_boxes(scene):
            box = (each.x - each.width, each.y - each.height,
                   each.x + each.width, each.y + each.height)  # fmt: skip
            assert _dark(picture.crop(tuple(round(size * value) for value in box))) > 5
    assert len(pictures) == 60


def test_another_kind_of_element_is_drawn_otherwise():
    scene = SKETCHES[0]
    kinds = {
        draw_scene(Scene(1, "page", (scene.things[0],)), 96).tobytes(),
        *(draw_scene(make_sketch(seed, max_things=2), 96).tobytes() for seed in range(5)),
    }
    assert len(kinds) == 6


class _Elements(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found, self.words, self._in = [], {}, ""

    def handle_starttag(self, tag, attrs):
        self._in = tag
        names = {"h1": "title", "button": "button", "ul": "list", "img": "image"}
        if tag in names:
            self.found.append(names[tag])

    def handle_data(self, data):
        if data.strip():
            self.words[self._in] = data


def test_a_page_has_what_its_sketch_shows_in_order():
    for scene in SKETCHES[:50]:
        parser = _Elements()
        parser.feed(webpage(scene))
        assert parser.found == [thing.kind for thing in scene.things]
        assert parser.words["title"] == parser.words["h1"] == scene.things[0].word
    assert webpage(make_scene(1)) == NO_PAGE


def test_everything_else_about_a_sketch_has_one_answer():
    for scene in SKETCHES[:20]:
        word = scene.things[0].word
        for name in QUESTION_TYPES:
            exchange = ask(scene, name, random.Random(scene.seed))
            wanted = {"webpage": webpage(scene), "sign": f'The title says "{word}".'}
            assert exchange.answer == wanted.get(name, PAGE_SKETCH)
        told = ask_to_describe(scene, random.Random(0)).answer
        assert told == (
            f'This is a sketch of a web page with the title "{word}". Ask me to write it.'
        )
        assert f'"{word}"' in caption(scene, random.Random(0))


def test_half_of_the_dialogues_about_a_sketch_ask_for_the_page_early_and_once():
    asked = 0
    for scene in SKETCHES[:200]:
        dialogued = dialogue(scene, random.Random(scene.seed), 6)
        types = [each.question_type for each in dialogued]
        assert len(types) == 6
        assert types.count("webpage") <= 1
        assert "webpage" not in types[2:]
        asked += "webpage" in types
    assert 0.35 < asked / 200 < 0.65
