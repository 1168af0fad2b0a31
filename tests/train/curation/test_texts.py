"""Repair by rules, and the filter."""

import time
from collections import Counter

import pytest

from train.curation.filters import REASONS, FilterSettings, _Said, reasons_against
from train.curation.rules import _clean, repair_by_rules
from train.curation.sentences import looks_english, split_sentences

GOOD = "A man in a red coat stands on a hill. His dog sits beside him and looks at the sea."


@pytest.mark.parametrize(
    ("text", "cut", "mended", "change"),
    [
        (GOOD, False, GOOD, None),
        (GOOD, True, GOOD, None),
        ("The dog runs. THE DOG, runs!", False, "The dog runs.", "repeated sentence"),
        (
            "On the left there is a small sun. A small sun is on the left.",
            False,
            "On the left there is a small sun.",
            "repeated sentence",
        ),
        ("The cat is small. The cat is large.", False, "The cat is small. The cat is large.", None),
        ("The dog runs. The cat is sit", True, "The dog runs.", "sentence that breaks off"),
        (
            "The dog runs. There is a tree in the",
            False,
            "The dog runs.",
            "sentence that breaks off",
        ),
        ("a dog on the grass", False, "A dog on the grass.", "full stop"),
        ("The dog runs. The cat sits", False, "The dog runs. The cat sits.", "full stop"),
        (
            "a dog and a cat and a cat and a cat and the",
            True,
            "A dog and a cat.",
            "words in a loop",
        ),
        ("The sky is very very very very blue.", False, "The sky is very blue.", "words in a loop"),
        ("She had had a very, very long day.", False, "She had had a very, very long day.", None),
        ("The dog runs. ### Human: What is it?", False, "The dog runs.", "mark of the prompt"),
        ("### Assistant: The dog runs.", False, "The dog runs.", "mark of the prompt"),
        (
            "The dog runs!!!! \ufffd\ufffd It is a good dog \u0007.",
            False,
            "The dog runs! It is a good dog.",
            "characters without a meaning",
        ),
        (
            "The dog runs. Ok. 12 34 5. It sees a cat.",
            False,
            "The dog runs. It sees a cat.",
            "no sentence",
        ),
        (
            "The dog runs. Ein Mann steht vor dem Haus und schaut.",
            False,
            "The dog runs.",
            "not English",
        ),
        (
            "The dog runs. \u4e00\u4e2a\u7537\u4eba\u7ad9\u5728\u623f\u5b50\u3002",
            False,
            "The dog runs.",
            "no sentence",
        ),
        ("The dog runs \u4e00\u4e2a fast here.", False, "The dog runs fast here.", "not English"),
        ("\u4e00\u4e2a\u7537\u4eba", False, "", "no sentence"),
        ("", False, "", None),
    ],
)
def test_rules_take_out_what_is_wrong(text, cut, mended, change):
    repaired = repair_by_rules(text, cut=cut)
    assert repaired.text == mended
    assert (change in repaired.changes) if change else repaired.changes == {}


@pytest.mark.parametrize(
    "text",
    [GOOD, "a b c d " * 40, "x. " * 50, "The dog. " * 30, "\u0000" * 9, "###" * 5, "Is it? " * 3],
)
@pytest.mark.parametrize("cut", [True, False])
def test_what_was_repaired_needs_no_repair(text, cut):
    once = repair_by_rules(text, cut=cut).text
    assert repair_by_rules(once, cut=False).text == once


def test_sentences():
    text = 'Mr. Fox says "No." He leaves! Why? At 3.5 km, e.g. here.\nA new line'
    assert split_sentences(text) == [
        'Mr. Fox says "No."',
        "He leaves!",
        "Why?",
        "At 3.5 km, e.g. here.",
        "A new line",
    ]


FOREIGN = (
    "Ein Mann steht vor dem Haus und hat einen kleinen Hund an der Leine.",
    "Un homme se tient devant une maison avec un petit chien dans les bras.",
    "De man is in het huis en kijkt naar de hond die op de bank ligt.",
    "El hombre mira la casa con un perro que corre por las calles.",
    "Un uomo sta davanti alla casa con un cane e guarda le montagne.",
    "O homem olha para a casa com um cachorro e as montanhas ao fundo.",
    "En man framf\u00f6r huset med en liten hund och berg i bakgrunden.",
    "Seorang pria berdiri di depan rumah bersama seekor anjing kecil.",
    "\u041c\u0443\u0436\u0447\u0438\u043d\u0430 \u0441\u0442\u043e\u0438\u0442 \u043f\u0435\u0440\u0435\u0434 \u0434\u043e\u043c\u043e\u043c.",
)


@pytest.mark.parametrize("text", FOREIGN)
def test_other_languages_are_told_from_english(text):
    assert not looks_english(text)
    reasons = reasons_against(f"{text} {text[::-1]}.", text, FilterSettings())
    assert "not English" in reasons
    assert "not English" not in reasons_against(text, text, FilterSettings(english=False))


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        "Caf\u00e9 na\u00efve, two words.",
        "Red fox on snow, tail raised, ears up, frost on grass.",
    ],
)
def test_english_is_known(text):
    assert looks_english(text)


BAD = {
    "apology": f"{GOOD} I'm sorry, I made a mistake.",
    "refusal": "I am a tiny model and can't do that. Ask me about colors and sizes.",
    "explains the correction": f"Here is the corrected paragraph: {GOOD}",
    "too short": "A man in a coat.",
    "too long": " ".join(f"There is a thing number {n} here." for n in range(60)),
    "repetition": f"{GOOD} His dog sits beside him and looks at the sea.",
    "unfinished": f"{GOOD} The sky is",
    "not English": FOREIGN[0],
    "address": f"{GOOD} See www.example.org for more.",
    "mark of a prompt": f"{GOOD} ### Human: what.",
    "strange characters": f"{GOOD} {'~^|' * 4}",
    "the repair added too much": GOOD,
}


def test_every_reason_is_tried():
    assert BAD.keys() == REASONS.keys()


@pytest.mark.parametrize("reason", BAD)
def test_what_is_unfit_is_told_why(reason):
    text = BAD[reason]
    described = "A man." if reason == "the repair added too much" else text
    assert reason in reasons_against(text, described, FilterSettings())
    assert reasons_against(GOOD, GOOD, FilterSettings()) == ()


@pytest.mark.parametrize(
    "apology",
    ["I'm sorry I made a mistake", "I\u2019m sorry I made a mistake", "i apologize for that"],
)
def test_the_papers_own_rule(apology):
    assert reasons_against(f"{GOOD} {apology}.", GOOD, FilterSettings()) == ("apology",)


def test_a_limit_is_inside():
    text = "One two three four five six the end."
    exact = FilterSettings(min_words=8, max_words=8)
    assert reasons_against(text, text, exact) == ()
    assert reasons_against(text, text, FilterSettings(min_words=9)) == ("too short",)
    assert reasons_against(text, text, FilterSettings(max_words=7)) == ("too long",)


@pytest.mark.parametrize("piece", ["i am a large ", "a-", "<a", " ", "\n", ".  ", ".)", "here "])
def test_time_grows_with_length_only(piece):
    text = f"A{piece * (100_000 // len(piece))}"
    begun = time.process_time()
    for applies in REASONS.values():
        applies(_Said(text, text, FilterSettings()))
    _clean(text, Counter())
    assert time.process_time() - begun < 10  # takes 0.3 s; minutes if it grew with the square
