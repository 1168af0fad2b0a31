"""Every answer is recomputed from the scene by rules of their own, not by those that wrote it."""

import random
import re
from collections import Counter

import pytest

from train.cartoon.asking import (
    ATTRIBUTE_WORDS,
    QUESTION_TYPES,
    Exchange,
    ask,
    ask_to_describe,
    dialogue,
    follow_up,
    small_talk,
)
from train.cartoon.scene import KINDS, Scene, Thing, make_scene, strange_scene
from train.cartoon.wordings import (
    HELD_OUT_WORDINGS,
    NO_DRAWING,
    PLACE_PHRASES,
    PRONOUN_QUESTIONS,
    QUESTIONS,
)

NUMBERS = {"no": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6}
PHRASES = sorted(PLACE_PHRASES.values(), key=len, reverse=True)
PLACE = f"({'|'.join(PHRASES)})"


def asked(question_type: str, number: int = 400) -> list[tuple[Scene, Exchange]]:
    found = []
    seed = 0
    while len(found) < number:
        seed += 1
        scene = make_scene(seed)
        exchange = ask(scene, question_type, random.Random(seed))
        if exchange is not None:
            found.append((scene, exchange))
    return found


def kind_in(text: str) -> str:
    """The first kind of thing a text names, in the singular; foreign kinds too."""
    for word in re.findall(r"[a-z]+", text.lower()):
        for kind in KINDS:
            if word in (kind, f"{kind}s", f"{kind}es"):
                return kind
    return ""


def kinds_in(text: str) -> list[str]:
    found = (kind_in(word) for word in re.findall(r"[a-z]+", text.lower()))
    return [kind for kind in found if kind]


def where(thing: Thing) -> str:
    column = "left" if thing.x < 1 / 3 else "right" if thing.x > 2 / 3 else ""
    row = "top" if thing.y < 1 / 3 else "bottom" if thing.y > 2 / 3 else ""
    if row and column:
        return f"in the {row} {column}"
    if row:
        return f"at the {row}"
    return f"on the {column}" if column else "in the center"


@pytest.mark.parametrize(
    ("question_type", "value", "none"),
    [
        ("color", lambda thing: thing.color, r"There is no \w+ in this picture\."),
        ("size", lambda thing: thing.size, r"There is no \w+ in this picture\."),
        ("where", where, r"There is no \w+ in this picture\."),
        ("colors", lambda thing: thing.color, r"There are no \w+ in this picture\."),
        ("sizes", lambda thing: thing.size, r"There are no \w+ in this picture\."),
    ],
)
def test_attributes_of_one_or_of_each(question_type, value, none):
    numbers = Counter()
    for scene, exchange in asked(question_type):
        kind = kind_in(exchange.question)
        things = [thing for thing in scene.things if thing.kind == kind]
        numbers[min(len(things), 2)] += 1
        if not things:
            assert re.fullmatch(none, exchange.answer)
            continue
        told = re.findall(rf"(?:is) ({PLACE}|\w+)", exchange.answer)
        assert [each[0] for each in told] == [value(thing) for thing in things]
        if len(things) > 1 and question_type != "where":  # which is which is told by their places
            which = [each[0] for each in re.findall(rf"({PLACE}) is ", exchange.answer)]
            assert which == [where(thing) for thing in things]
        assert exchange.kind == (kind if len(things) == 1 else "")
    usual = 2 if question_type in ("colors", "sizes") else 1
    assert numbers.most_common(1)[0][0] == usual
    assert min(numbers[number] for number in range(3)) > 20


def test_existence_is_balanced_and_true():
    for question_type in ("exists", "exists_color"):
        verdicts = Counter()
        for scene, exchange in asked(question_type):
            kind = kind_in(exchange.question)
            things = [thing for thing in scene.things if thing.kind == kind]
            if question_type == "exists_color":
                things = [thing for thing in things if f" {thing.color} " in exchange.question]
            verdicts[exchange.answer.split(",")[0]] += 1
            if things:
                first = things[0]
                said = f"{first.size} {first.color} {first.kind} {where(first)}."
                assert exchange.answer.startswith("Yes, there is a")
                assert exchange.answer.endswith(said)
            else:
                assert exchange.answer.startswith("No, there is no ")
        assert 0.4 < verdicts["Yes"] / verdicts.total() < 0.6


def test_denied_pairs_are_often_half_true():
    near = 0
    denied = [(s, e) for s, e in asked("exists_color") if e.answer.startswith("No")]
    for scene, exchange in denied:
        near += any(
            thing.kind == kind_in(exchange.question) or f" {thing.color} " in exchange.question
            for thing in scene.things
        )
    assert near > 0.5 * len(denied)


def test_counts_show_what_was_counted():
    numbers = Counter()
    for scene, exchange in asked("count"):
        kind = kind_in(exchange.question)
        things = [thing for thing in scene.things if thing.kind == kind]
        numbers[len(things)] += 1
        if not things:
            assert re.fullmatch(r"There are no \w+ in this picture\.", exchange.answer)
            continue
        seen, conclusion = exchange.answer.split(", so ")
        told = re.findall(rf"(\w+) one {PLACE}", seen)
        assert told == [(thing.color, where(thing)) for thing in things]
        assert NUMBERS[conclusion.split()[2]] == len(things)
        assert kind_in(conclusion) == kind
        assert conclusion.startswith("there is" if len(things) == 1 else "there are")
    assert numbers[2] > 30
    assert numbers[3] > 3


def test_counts_of_a_color():
    for scene, exchange in asked("count_color"):
        color = next(c for c in re.findall(r"[a-z]+", exchange.question) if c in ATTRIBUTE_WORDS
                     and c in {"red", "orange", "yellow", "green", "blue", "purple", "pink",
                               "brown", "black", "white", "gray"})  # fmt: skip
        things = [thing for thing in scene.things if thing.color == color]
        if not things:
            assert exchange.answer == f"There are no {color} things in this picture."
            continue
        seen, conclusion = exchange.answer.split(", so ")
        assert re.findall(rf"an? (\w+) {PLACE}", seen) == [(t.kind, where(t)) for t in things]
        assert NUMBERS[conclusion.split()[2]] == len(things)


def test_totals_and_lists():
    for question_type in ("total", "list"):
        for scene, exchange in asked(question_type):
            if not scene.things:
                assert exchange.answer == "There is nothing in this picture."
                continue
            seen = exchange.answer.split(", so ")[0]
            assert kinds_in(seen) == [thing.kind for thing in scene.things]
            if question_type == "total":
                number = exchange.answer.split(", so ")[1].split()[2]
                assert NUMBERS[number] == len(scene.things)


def test_backgrounds_are_told_apart():
    told = {scene.background: exchange.answer for scene, exchange in asked("background")}
    assert len(told) == len(set(told.values())) == 8


def test_signs_are_read():
    for scene, exchange in asked("sign"):
        words = [thing.word for thing in scene.things if thing.word]
        if words:
            assert exchange.answer == f'The sign says "{words[0]}".'
        else:
            assert exchange.answer == "There is no sign in this picture."


def test_what_is_at_a_place():
    several = 0
    for scene, exchange in asked("at_place"):
        place = next(phrase for phrase in PHRASES if phrase in exchange.question)
        things = [thing for thing in scene.things if where(thing) == place]
        assert exchange.answer.endswith(f"{place}.")
        told = re.findall(r"(small|medium|large) (\w+) (\w+)", exchange.answer)
        assert told == [(thing.size, thing.color, thing.kind) for thing in things]
        assert ("nothing" in exchange.answer) == (not things)
        several += len(things) > 1
    assert several > 10


def directions(thing: Thing, other: Thing) -> set[str]:
    found = set()
    for axis, low, high in (("x", "to the left of", "to the right of"), ("y", "above", "below")):
        first, second = (int(getattr(each, axis) * 3) for each in (thing, other))
        if first != second:
            found.add(low if first < second else high)
    return found


def denied(scene: Scene, exchange: Exchange) -> bool:
    """Whether an answer denies a thing, checked: the one it names was asked about and is absent."""
    found = re.fullmatch(r"There is no (\w+) in this picture\.", exchange.answer)
    if found is None:
        return False
    assert re.search(rf"\b{found[1]}\b", exchange.question)
    assert found[1] not in {thing.kind for thing in scene.things}
    return True


@pytest.mark.parametrize("question_type", ["relation", "relation_yes", "is_color"])
def test_what_is_asked_about_a_thing_that_is_not_there_is_denied(question_type):
    shares = Counter(denied(scene, exchange) for scene, exchange in asked(question_type))
    assert 0.05 < shares[True] / shares.total() < 0.3


def test_relations_follow_from_the_places_told():
    for scene, exchange in asked("relation"):
        if denied(scene, exchange):
            continue
        places, conclusion = exchange.answer.split(", so ")
        first, second = kinds_in(conclusion)
        thing, other = (next(t for t in scene.things if t.kind == k) for k in (first, second))
        assert places == f"The {first} is {where(thing)} and the {second} is {where(other)}"
        said = {each for each in ("to the left of", "to the right of", "above", "below")
                if each in conclusion}  # fmt: skip
        assert said == directions(thing, other) != set()
        asked_about = kinds_in(exchange.question)
        assert set(asked_about) == {first, second}


def test_relations_to_confirm_are_balanced_and_true():
    verdicts = Counter()
    for scene, exchange in asked("relation_yes"):
        if denied(scene, exchange):
            continue
        _, conclusion = exchange.answer.split(", so ")
        verdict, clause = conclusion.split(", ", 1)
        first, second = kinds_in(exchange.question)[:2]
        thing, other = (next(t for t in scene.things if t.kind == k) for k in (first, second))
        relation = next(each for each in ("to the left of", "to the right of", "above", "below")
                        if each in exchange.question)  # fmt: skip
        assert (verdict == "yes") == (relation in directions(thing, other))
        assert ("is not" in clause) == (verdict == "no")
        assert relation in clause
        verdicts[verdict] += 1
    assert 0.4 < verdicts["yes"] / verdicts.total() < 0.6


def test_comparisons():
    verdicts = Counter()
    for scene, exchange in asked("compare"):
        named = kinds_in(exchange.question)
        if len(named) < 2:  # a kind that this world has no drawing of
            assert "none" in exchange.answer
            continue
        first, second = named
        counts = [sum(t.kind == kind for t in scene.things) for kind in (first, second)]
        seen, conclusion = exchange.answer.split(". ")
        halves = re.split(r", of the", seen)
        assert len(halves) == 2
        for kind, part in zip((first, second), halves, strict=True):
            places = [where(t) for t in scene.things if t.kind == kind]
            assert kind_in(part) == kind
            assert re.findall(PLACE, part) == places
            assert part.endswith("none") == (not places)
        yes = counts[0] > counts[1]
        assert conclusion.startswith("So yes, there are more" if yes else "So no, there are not")
        verdicts[yes] += 1
    assert min(verdicts.values()) > 0.18 * verdicts.total()


def test_colors_to_confirm():
    verdicts = Counter()
    for scene, exchange in asked("is_color"):
        if denied(scene, exchange):
            continue
        thing = next(t for t in scene.things if t.kind == exchange.kind)
        yes = re.search(rf"\b{thing.color}\b", exchange.question) is not None
        verdict = "Yes" if yes else "No"
        assert exchange.answer == f"{verdict}, the {thing.kind} is {thing.color}."
        verdicts[yes] += 1
    assert 0.4 < verdicts[True] / verdicts.total() < 0.65


def test_descriptions_name_everything_once():
    for seed in range(300):
        scene = make_scene(seed)
        answer = ask_to_describe(scene, random.Random(seed)).answer
        told = re.findall(r"(small|medium|large) (\w+) (\w+)", answer)
        assert told == [(t.size, t.color, t.kind) for t in scene.things]
        for thing in scene.things:
            assert answer.lower().count(where(thing)) >= 1
            if thing.word:
                assert f'that says "{thing.word}"' in answer


def test_what_is_odd():
    found = Counter()
    for scene, exchange in asked("odd", 300):
        for thing in scene.things:
            if thing.kind == "sun" and scene.background == "night":
                assert f"{thing.color} sun shines at night" in exchange.answer
            if thing.kind == "fish" and scene.background in ("field", "beach") and thing.y < 1 / 3:
                assert f"{thing.color} fish is in the sky" in exchange.answer
        found["It is odd that" in exchange.answer] += 1
        plain = scene.background in ("white", "cream", "gray")
        for thing in () if plain else scene.things:  # judged each before anything is concluded
            like = [
                each
                for each in scene.things
                if (each.kind, each.place) == (thing.kind, thing.place)
            ]
            verdicts = (f"{thing.kind} {where(thing)} is {verdict}" for verdict in ("odd", "not"))
            assert sum(exchange.answer.count(each) for each in verdicts) == len(like)
        if scene.background in ("white", "cream", "gray"):
            assert exchange.answer.startswith(f"The background is a plain {scene.background}")
            assert exchange.answer.endswith("Nothing looks odd to me.")
    assert found[True] > 100


def test_poems_advertisements_and_recipes_are_about_the_picture():
    for scene, exchange in asked("poem", 100):
        for thing in scene.things[:3]:
            assert f"{thing.size} {thing.color} {thing.kind}" in exchange.answer
        assert len(exchange.answer.split("\n")) >= 3 or len(scene.things) < 2
    for question_type, refusal in (("advertisement", "nothing to sell"), ("recipe", "no food")):
        for scene, exchange in asked(question_type, 100):
            if refusal not in exchange.answer:
                assert any(f"{t.color} {t.kind}" in exchange.answer for t in scene.things)


def test_a_strange_picture_is_told_to_be_one():
    scene = strange_scene(5)
    for question_type in QUESTION_TYPES:
        answers = {
            exchange.answer
            for seed in range(30)
            if (exchange := ask(scene, question_type, random.Random(seed))) is not None
        }
        assert answers == {NO_DRAWING}
    assert ask_to_describe(scene, random.Random(0)).answer == NO_DRAWING


def test_wordings_are_many_and_the_last_are_held_out():
    for wordings in (*QUESTIONS.values(), *PRONOUN_QUESTIONS.values()):
        assert len(set(wordings)) == len(wordings) >= 6 + HELD_OUT_WORDINGS
    scene = make_scene(12, min_things=4)
    for held_out in (False, True):
        asked_with = {ask(scene, "total", random.Random(n), held_out=held_out).question
                      for n in range(200)}  # fmt: skip
        wanted = QUESTIONS["total"][-2:] if held_out else QUESTIONS["total"][:-2]
        assert asked_with == set(wanted)


def test_follow_ups_say_it_about_the_thing_before():
    found = 0
    for seed in range(300):
        scene, rng = make_scene(seed), random.Random(seed)
        before = ask(scene, "where", rng)
        after = follow_up(scene, before, rng) if before else None
        if after is None:
            continue
        found += 1
        thing = next(t for t in scene.things if t.kind == before.kind)
        assert re.search(r"\b(it|its)\b", after.question.lower())
        assert after.question_type != "where"
        assert getattr(thing, after.question_type) in after.answer
    assert found > 150


def test_dialogues_mix_types_and_seldom_repeat_an_answer():
    types, repeated, number = Counter(), 0, 0
    for seed in range(400):
        exchanges = dialogue(make_scene(seed), random.Random(seed), 8)
        assert len(exchanges) == 8
        types.update(each.question_type for each in exchanges)
        answers = [each.answer for each in exchanges]
        repeated += len(answers) - len(set(answers))
        number += len(answers)
    assert set(types) == {*QUESTION_TYPES, "chat"}
    assert repeated < 0.12 * number
    again = dialogue(make_scene(3), random.Random(3), 8)
    assert again == dialogue(make_scene(3), random.Random(3), 8)
    # A picture that is no drawing has one answer to everything; the dialogue ends all the same.
    assert len(dialogue(strange_scene(1), random.Random(1), 8)) == 8


def test_small_talk_is_answered_without_a_picture():
    for seed in range(50):
        exchange = small_talk(random.Random(seed))
        assert exchange.question_type == "chat"
        assert exchange.answer
        assert "{" not in exchange.question
