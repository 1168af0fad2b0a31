"""What is trained so far fits the code and has learned what the log says, roughly."""

from pathlib import Path

import pytest

import train.embedded
from train.embedded.eye import PRESET, Eye
from train.embedded.eye_scores import held_out, score
from train.embedded.language import LanguageSettings, gate, new_language_model
from train.embedded.lessons import Lessons
from train.embedded.steps import load_weights

BEGUN = Path(train.embedded.__file__).parent / "begun"


@pytest.mark.slow
def test_the_language_model_answers_about_true_scenes():
    language = new_language_model(BEGUN / "language", LanguageSettings())
    load_weights(language, BEGUN / "language.safetensors")
    language.eval()
    lessons = Lessons(language, plain_weight=0.2, length=256)
    scores = gate(language, lessons, 40, max_things=4, types=("color", "relation", "sign", "list"))
    assert min(scores.values()) > 0.85, scores


@pytest.mark.slow
def test_the_eye_names_what_it_sees():
    eye = Eye(PRESET)
    load_weights(eye, BEGUN / "eye.safetensors")
    eye.eval()
    scores = score(eye, held_out(120), PRESET)
    assert scores["kind"] > 0.75, scores
    assert min(scores["color"], scores["third"], scores["background"]) > 0.9, scores
