"""Judges answers about scenes by rules that read the scene: no model has a say in it."""

import random
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache

from train.cartoon import describe as telling
from train.cartoon.asking import QUESTION_TYPES, ask, ask_to_describe, small_talk
from train.cartoon.phrases import listed, plural, with_article
from train.cartoon.scene import COLORS, KINDS, SIZES, Scene, make_scene
from train.cartoon.sketch import make_sketch
from train.cartoon.wordings import (
    BACKGROUND_PHRASES,
    FOREIGN_KINDS,
    NO_DRAWING,
    NO_PICTURE,
    NUMBERS,
    PLACE_PHRASES,
)
from train.tiny.pages import WebPage, read_page

ABILITIES = ("poem", "advertisement", "recipe", "odd", "webpage")

_COUNTED = re.compile(r"\bso there (?:is|are) (\w+)")
_NONE = re.compile(r"There (?:is|are) (?:no|nothing)\b")
_VERDICT = re.compile(r"\bso (yes|no)\b", re.IGNORECASE)
_OBJECT = re.compile(rf"\b({'|'.join(SIZES)}) ({'|'.join(COLORS)}) ({'|'.join(KINDS)})\b")
_PAIR = re.compile(rf"\b({'|'.join(COLORS)}) ({'|'.join(KINDS)})\b")


def conclusion(question_type: str, answer: str) -> str:
    """What an answer says in the end, apart from what it tells of on its way there.

    Counts conclude with a number, relations with the clause behind "so", questions for yes or no
    with that word; of every other type the whole answer counts. Empty where nothing is concluded.
    """
    match question_type:
        case "count" | "count_color" | "total":
            found = _COUNTED.search(answer)
            return found[1] if found else "no" if _NONE.match(answer) else ""
        case "relation":
            return answer.partition(", so ")[2] or answer
        case "relation_yes" | "compare":
            found = _VERDICT.search(answer)
            return found[1].lower() if found else ""
        case "exists" | "exists_color":
            word = answer.partition(",")[0]
            return word if word in {"Yes", "No"} else ""
    return answer


def is_right(question_type: str, answer: str, truth: str) -> bool:
    """Whether an answer concludes what the true one does; the same answer does, empty ones not."""
    if answer == truth:  # one that hedges concludes nothing
        return bool(answer)
    concluded = conclusion(question_type, answer)
    return bool(concluded) and concluded == conclusion(question_type, truth)


def is_hedged(answer: str) -> bool:
    """Whether an answer says that the picture is no drawing of this world."""
    return answer.startswith(NO_DRAWING.partition(",")[0])


def is_failure(answer: str, *, ended: bool) -> bool:
    """Whether an answer does not end, repeats a sentence, or uses words that the world lacks.

    One that begins with a tag is a web page, and fails where that is not whole.

    Args:
        answer: All that was said.
        ended: Whether the model wrote its end symbol.
    """
    if answer.startswith("<"):
        return not ended or read_page(answer) is None
    sentences = [each for each in re.split(r"(?<=[.!?])\s+", answer.strip()) if each]
    unended = not ended or not answer.endswith((".", "!", "?"))
    repeated = len(set(sentences)) < len(sentences)
    unquoted = re.sub(r'"[A-Z]*"', " ", answer)
    unknown = not set(re.findall(r"[^\W\d_]+|\d", unquoted.lower())) <= _world_words()
    return unended or repeated or unknown


@cache
def _world_words() -> frozenset[str]:
    """Every word that a true answer may have, in small letters."""
    texts = [NO_PICTURE, NO_DRAWING, *telling.SLOGANS.values()]
    for seed in range(400):
        rng = random.Random(seed)
        scene = make_scene(seed) if seed % 20 else make_sketch(seed)
        exchanges = [ask(scene, name, rng) for name in QUESTION_TYPES]
        exchanges += [ask_to_describe(scene, rng), small_talk(rng)]
        texts += [each.answer for each in exchanges if each is not None]
    words = re.findall(r"[^\W\d_]+", " ".join(texts).lower())
    kinds = (*KINDS, *FOREIGN_KINDS)
    plurals = (plural(kind) for kind in kinds)
    return frozenset([*words, *COLORS, *SIZES, *NUMBERS, *kinds, *plurals])


def tally(scene: Scene, answer: str, *, ended: bool) -> Iterator[tuple[str, int]]:
    """What a description names of a scene, and what is wrong with it, as numbers to add up."""
    said = Counter(_OBJECT.findall(answer))
    there = Counter((thing.size, thing.color, thing.kind) for thing in scene.things)
    truth = telling.describe(scene)
    yield "there", there.total()
    yield "said", said.total()
    yield "full_found", (said & there).total()
    yield "found", (_without_size(said) & _without_size(there)).total()
    yield "background", int(BACKGROUND_PHRASES[scene.background] in answer)
    yield "exact", int(answer == truth)
    yield "hedged", int(is_hedged(answer))
    sentences = Counter(_sentences(answer))
    # Two like things in one third are told in the same words, and rightly so.
    repeated = any(number > max(1, truth.count(each)) for each, number in sentences.items())
    foreign = not all(_described().fullmatch(each) for each in sentences)
    failed = not ended or not sentences or repeated or foreign
    yield "failed", int(failed and answer != NO_DRAWING)


def _sentences(answer: str) -> list[str]:
    return [each for each in re.split(r"(?<=\.) ", answer.strip()) if each]


@cache
def _described() -> re.Pattern[str]:
    """The sentences of which descriptions consist."""
    thing = (
        rf"(?:an?|An?) (?:{'|'.join(SIZES)}) (?:{'|'.join(COLORS)}) (?:{'|'.join(KINDS)})"
        r'(?: that says "[A-Z]+")?'
    )
    place = "|".join(PLACE_PHRASES.values())
    capital = "|".join(f"{each[0].upper()}{each[1:]}" for each in PLACE_PHRASES.values())
    backgrounds = "|".join(BACKGROUND_PHRASES.values())
    sentences = (
        rf"The picture shows (?:{backgrounds})\.",
        rf"(?:{capital}) there is {thing}\.",
        rf"{thing} is (?:{place})\.",
        r"There is nothing else in it\.",
    )
    return re.compile("|".join(f"(?:{each})" for each in sentences))


def _without_size(things: Counter[tuple[str, str, str]]) -> Counter[tuple[str, str]]:
    plain: Counter[tuple[str, str]] = Counter()
    for (_, color, kind), number in things.items():
        plain[color, kind] += number
    return plain


def allows(ability: str, scene: Scene, number: int) -> bool:
    """Whether a scene is one to ask for an ability.

    Args:
        ability: One of `ABILITIES`.
        scene: What the picture shows.
        number: How many were chosen before: half of the pictures have something odd.
    """
    if not scene.things or scene.is_page != (ability == "webpage"):
        return False
    match ability:
        case "advertisement":
            return any(thing.kind in telling.SLOGANS for thing in scene.things)
        case "recipe":
            return any(thing.kind in telling.RECIPES for thing in scene.things)
        case "odd":
            return bool(_odd_clauses(telling.odd(scene))) == (number % 2 == 0)
    return True


def judge_ability(ability: str, scene: Scene, answer: str) -> bool:
    """Whether an answer does what was asked for, and is true of the scene.

    - A poem has an even number of lines, two to six, in pairs that end in "," and "."; it names at
      least two of the first three things (or all, where there are fewer) by colour and kind, and
      nothing that is not there.
    - An advertisement begins with "Buy" and names something that is sold there in its true colour,
      and nothing that is not there.
    - A recipe names food that is there in its true colour and tells the steps for that food.
    - What is odd: exactly the oddities of the scene, in any order, or that there are none.
    - A web page is a whole document that is well formed, has the sketch's elements in their order,
      and its word as title and as heading.
    """
    if ability == "webpage":
        word, kinds = telling.page_title(scene), tuple(thing.kind for thing in scene.things)
        return scene.is_page and read_page(answer) == WebPage(word, word, kinds)
    there = {(thing.color, thing.kind) for thing in scene.things}
    named = _PAIR.findall(answer)
    true = bool(named) and set(named) <= there
    match ability:
        case "poem":
            lines = answer.splitlines()
            shaped = 2 <= len(lines) <= 6 and all(
                first.rstrip().endswith(",") and second.rstrip().endswith(".")
                for first, second in zip(lines[::2], lines[1::2], strict=False)
            )
            wanted = [(thing.color, thing.kind) for thing in scene.things[:3]]
            found = (Counter(named) & Counter(wanted)).total()
            return shaped and len(lines) % 2 == 0 and true and found >= min(2, len(wanted))
        case "advertisement":
            return answer.startswith("Buy ") and true and named[0][1] in telling.SLOGANS
        case "recipe":
            recipes = {telling.RECIPES[kind].format(color=color)
                       for color, kind in there if kind in telling.RECIPES}  # fmt: skip
            return answer in recipes
        case "odd":
            wanted_clauses = _odd_clauses(telling.odd(scene))
            concluded = bool(wanted_clauses) or answer.endswith(telling.NOTHING_ODD)
            return concluded and _odd_clauses(answer) == wanted_clauses
    raise ValueError(f"There is no ability {ability!r}; there are {listed(ABILITIES)}.")


def _odd_clauses(answer: str) -> Counter[str]:
    _, _, rest = answer.partition("It is odd that ")
    if not rest:
        return Counter()
    return Counter(re.split(r", | and ", rest.removesuffix(".")))


def word_on_sign(answer: str) -> str:
    """What an answer says a sign says; empty where it says nothing."""
    found = re.search(r'"([A-Z]*)', answer)
    return found[1] if found else ""


def letters_right(word: str, read: str) -> int:
    """How many letters of a word were read rightly, place by place."""
    return sum(a == b for a, b in zip(word, read, strict=False))


def named_things(scene: Scene) -> str:
    """The things of a scene in few words, as a test's or a sheet's reader wants them."""
    return listed([with_article(f"{thing.color} {thing.kind}") for thing in scene.things])
