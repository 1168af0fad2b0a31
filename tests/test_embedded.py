"""The embedded default itself: it is there, it looks, it answers through the whole house."""

import random
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from minigpt4.build import build_chat, build_model
from minigpt4.chat import Session
from minigpt4.config import ASSETS, GenerationSettings, load_config
from tests.truth import true_answer
from train.cartoon.draw import draw_scene
from train.cartoon.examples import EXAMPLES
from train.cartoon.scene import Scene, Thing, strange_scene
from train.tiny.evaluate import (
    FIRST_SEED,
    answers_to,
    ask_each,
    description_scores,
    held_out_scenes,
    questions_about,
    said_loosely,
    scores_of,
    see,
)
from train.tiny.judging import is_hedged

CONFIG = Path(__file__).parents[1] / "eval_configs" / "tiny.yaml"
GREEDY = GenerationSettings(temperature=0, repetition_penalty=1.0, max_new_tokens=160)


@pytest.fixture(scope="module")
def model():
    return build_model(load_config(CONFIG, ["device=cpu"]))


@pytest.fixture(scope="module")
def chat():
    return build_chat(load_config(CONFIG, ["device=cpu"]))


def _ask(chat, session, question):
    *_, last = chat.stream_answer(session, question, GREEDY)
    return last.text, last.session


@pytest.mark.parametrize("pairs", [False, True], ids=["seen pairs", "unseen pairs"])
def test_it_looks(model, pairs):
    """On scenes never trained on; the same model with the pictures shuffled is far off."""
    asked = [
        each
        for each in questions_about(held_out_scenes(120, pairs=pairs), 60)
        if each.question_type in ("color", "count", "exists", "background", "relation")
    ]
    seeing, blind = (
        scores_of(asked, answers_to(model, asked, blind=blind)) for blind in (False, True)
    )
    for question_type, scores in seeing.items():
        better = scores["right"] - blind[question_type]["right"]
        assert better >= 0.30, (question_type, seeing, blind)


def test_it_describes(model):
    scores = description_scores(model, held_out_scenes(40))
    assert scores["recall"] >= 0.85
    assert scores["precision"] >= 0.85
    assert scores["failures"] <= 0.05


def test_a_colour_that_a_kind_never_had_in_training_is_seen(model):
    asked = [
        each
        for each in questions_about(held_out_scenes(60, pairs=True), 60)
        if each.question_type in ("color", "where", "exists") and each.about_unseen_pair
    ]
    right = scores_of(asked, answers_to(model, asked))
    assert len(asked) > 40
    assert sum(each["right"] for each in right.values()) / len(right) >= 0.7


def test_it_understands_what_is_typed_loosely(model):
    types = ("color", "count", "exists", "total", "relation", "list")
    asked = [
        said_loosely(each)
        for each in questions_about(held_out_scenes(60), 40)
        if each.question_type in types
    ]
    right = scores_of(asked, answers_to(model, asked))
    assert sum(each["right"] for each in right.values()) / len(right) >= 0.8


def test_it_claims_nothing_about_what_is_no_drawing(model):
    """And does not take a drawing for one."""
    strange = [draw_scene(strange_scene(FIRST_SEED + number), 96) for number in range(40)]
    drawn = [draw_scene(scene, 96) for scene in held_out_scenes(40)]
    for pictures, least, most in ((strange, 0.7, 1.0), (drawn, 0.0, 0.15)):
        answers = ask_each(model, ["What do you see?"] * len(pictures), see(model, pictures))
        hedged = sum(is_hedged(answer.text) for answer in answers) / len(answers)
        assert least <= hedged <= most


def test_it_reads_a_drawing_by_another_hand(chat):
    """Flat shapes that no code of the picture world drew."""
    right: Counter[str] = Counter()
    for color, paint in {"red": "#e01010", "blue": "#1030e0", "green": "#109020"}.items():
        for kind in ("circle", "square"):
            picture = Image.new("RGB", (320, 320), "white")
            box = (110, 110, 210, 210)
            draw = ImageDraw.Draw(picture)
            (draw.ellipse if kind == "circle" else draw.rectangle)(box, fill=paint)
            session = Session().attach(chat.encode_image(picture))
            answer, _ = _ask(chat, session, f"What color is the {kind}?")
            right["color"] += answer == f"The {kind} is {color}."
    assert right["color"] >= 5


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Is the sun yellow?", "There is no sun in this picture."),
        ("Where is the house compared to the cat?", "There is no cat in this picture."),
        ("Is the apple above the car?", "There is no apple in this picture."),
        ("hey, what's in the picture?", "The picture shows a green field under a blue sky."),
        ("Are you sure?", "I am a tiny model and can be wrong."),
        ("What is the house made of?", "I am a tiny model and can't do that."),
    ],
)
def test_it_denies_what_is_not_there_and_says_what_it_cannot(chat, question, answer):
    session = Session().attach(chat.encode_image(ASSETS / "examples" / "street.png"))
    assert _ask(chat, session, question)[0].startswith(answer)


def test_it_talks_over_several_turns(chat):
    heart = Thing("heart", "red", "large", 0.42, 0.42, 0.3)
    scene = Scene(seed=7, background="white", things=(heart,))
    session = Session().attach(chat.encode_image(draw_scene(scene, 224)))
    color, size = "What color is the heart?", "How big is it?"
    answer, session = _ask(chat, session, color)
    assert answer == true_answer(scene, color)
    answer, session = _ask(chat, session, size)
    assert answer == true_answer(scene, size, about="heart")
    answer, session = _ask(chat, session, "What is the capital of France?")
    assert "tiny model" in answer


def test_every_beam_ends_at_the_end_symbol(chat, monkeypatch):
    """Beams hold no eos; run to the full length, they would be ranked on what follows the end."""
    steps = 0
    language = chat._model.language.model.model
    forward = language.forward

    def counted(*args, **kwargs):
        nonlocal steps
        steps += 1
        return forward(*args, **kwargs)

    monkeypatch.setattr(language, "forward", counted)
    session = Session().attach(chat.encode_image(ASSETS / "examples" / "harbour.png"))
    settings = GenerationSettings(temperature=0, num_beams=3, max_new_tokens=150)
    *_, last = chat.stream_answer(session, "What color is the boat?", settings)
    assert last.text == true_answer("harbour", "What color is the boat?")
    assert last.finish == "stop"
    assert steps < 50


def test_without_a_picture_it_asks_for_one(chat):
    answer, _ = _ask(chat, Session(), "What color is the car?")
    assert "picture" in answer
    assert "can't see" in answer


def test_the_examples_of_the_page_are_answered_truly(chat):
    examples = load_config(CONFIG).page.examples
    names = [Path(example.picture).stem for example in examples]
    for name, example in zip(names, examples, strict=True):
        session = Session().attach(chat.encode_image(ASSETS / "examples" / f"{name}.png"))
        assert _ask(chat, session, example.question)[0] == true_answer(name, example.question)
    assert {path.stem for path in (ASSETS / "examples").glob("*.png")} == set(EXAMPLES)
    assert set(names) == set(EXAMPLES)


def test_loading_twice_gives_bit_equal_answers(chat):
    again = build_chat(load_config(CONFIG, ["device=cpu"]))
    picture = ASSETS / "examples" / "street.png"
    first, second = chat.encode_image(picture), again.encode_image(picture)
    assert first.visual_tokens.equal(second.visual_tokens)
    settings = GenerationSettings(seed=random.Random(0).randrange(99), max_new_tokens=60)
    texts = [
        list(each.stream_answer(Session().attach(seen), "Describe the picture.", settings))[-1].text
        for each, seen in ((chat, first), (again, second))
    ]
    assert texts[0] == texts[1]


def test_the_weights_are_small_enough_to_ship():
    sizes = [path.stat().st_size for path in (ASSETS / "tiny").rglob("*") if path.is_file()]
    assert max(sizes) < 10_000_000
    assert sum(sizes) < 40_000_000
