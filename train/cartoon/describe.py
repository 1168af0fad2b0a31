"""Scene -> language: captions for stage 1, descriptions and question/answer turns for stage 2.

Everything is a pure function of a scene and a random generator, and every answer is true of the
scene. Questions are balanced by type, and "is there" by answer: asked only where the answer is
"yes", they would teach "yes".
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from train.cartoon.scene import BACKGROUNDS, COLORS, KINDS, PLACES, SIGN_WORDS, SIZES, Scene, Thing
from train.cartoon.wordings import (
    BACKGROUND_PHRASES,
    BEYOND_ME,
    BEYOND_ME_QUESTIONS,
    DESCRIBE_INSTRUCTIONS,
    FOREIGN_KINDS,
    HELD_OUT_WORDINGS,
    NUMBERS,
    PLACE_PHRASES,
    PRONOUN_QUESTIONS,
    QUESTIONS,
    SMALL_TALK,
)

QUESTION_TYPES = tuple(QUESTIONS)


def plural(kind: str) -> str:
    """The plural of a kind of thing."""
    return {"fish": "fishes", "person": "persons"}.get(kind, f"{kind}s")


_ATTRIBUTE_PHRASES = (
    *KINDS, *(plural(kind) for kind in KINDS), *COLORS, *SIZES, *SIGN_WORDS, *PLACES, *NUMBERS,
    *BACKGROUNDS, "background", "Yes", "No", "nothing", "above", "below", "object", "objects",
)  # fmt: skip

# Words that carry what was seen. Training may weigh them above the words around them.
ATTRIBUTE_WORDS = frozenset(word for phrase in _ATTRIBUTE_PHRASES for word in phrase.split())


@dataclass(frozen=True, slots=True)
class Exchange:
    """One question and its true answer.

    Attributes:
        question: What a person asks.
        answer: The whole sentence that answers it.
        question_type: A key of `QUESTIONS`, or `describe`, `chat`.
        kind: The one thing the exchange is about, for a follow-up with a pronoun; may be empty.
    """

    question: str
    answer: str
    question_type: str
    kind: str = ""


def with_article(noun_phrase: str) -> str:
    """Puts "a" or "an" before a noun phrase."""
    return f"{'an' if noun_phrase[0] in 'aeiou' else 'a'} {noun_phrase}"


def thing_phrase(thing: Thing) -> str:
    """A thing with its article, size and colour, and what it says if it is a sign."""
    says = f" that says {thing.word}" if thing.word else ""
    return f"{with_article(f'{thing.size} {thing.color} {thing.kind}')}{says}"


def count_phrase(number: int, singular: str, many: str) -> str:
    """A sentence that tells a number of things."""
    if number == 1:
        return f"There is one {singular}."
    return f"There are {NUMBERS[number]} {many}."


def describe(scene: Scene, rng: random.Random) -> str:
    """A detailed description: the number of objects, the background, then every object."""
    background = BACKGROUND_PHRASES[scene.background]
    number = len(scene.things)
    counted = "one object" if number == 1 else f"{NUMBERS[number]} objects"
    opening = rng.choice(("The picture shows", "The image shows", "This picture shows"))
    sentences = [f"{opening} {counted} on {background}."]
    for index, thing in enumerate(scene.things):
        place, phrase = PLACE_PHRASES[thing.place], thing_phrase(thing)
        if index % 2 == 0:
            sentences.append(f"{place[0].upper()}{place[1:]} there is {phrase}.")
        else:
            sentences.append(f"{phrase[0].upper()}{phrase[1:]} is {place}.")
    return " ".join(sentences)


def caption(scene: Scene, rng: random.Random) -> str:
    """A caption as the web has them: short, lower case, often partial, sometimes off the point."""
    things = list(scene.things)
    rng.shuffle(things)
    if len(things) > 1 and rng.random() < 0.4:
        things.pop()
    parts = []
    for thing in things:
        words = [thing.size, thing.color, thing.kind]
        if rng.random() < 0.25:
            words = words[1:]
        phrase = with_article(" ".join(words))
        if thing.word and rng.random() < 0.7:
            phrase += f" that says {thing.word}"
        if rng.random() < 0.5:
            phrase += f" {PLACE_PHRASES[thing.place]}"
        parts.append(phrase)
    text = " and ".join(parts) or "an empty picture"
    if rng.random() < 0.6:
        text += f" on {BACKGROUND_PHRASES[scene.background]}"
    if rng.random() < 0.15:
        text = rng.choice(("stock picture of ", "a drawing of ", "image: ")) + text
    return text


def ask_to_describe(scene: Scene, rng: random.Random) -> Exchange:
    """A description under an instruction drawn at random."""
    return Exchange(rng.choice(DESCRIBE_INSTRUCTIONS), describe(scene, rng), "describe")


def small_talk(rng: random.Random) -> Exchange:
    """A turn that is not about a picture, and the short answer to it."""
    if rng.random() < 0.5:
        return Exchange(*rng.choice(SMALL_TALK), "chat")
    return Exchange(rng.choice(BEYOND_ME_QUESTIONS), BEYOND_ME, "chat")


def ask(
    scene: Scene, question_type: str, rng: random.Random, *, held_out: bool = False
) -> Exchange | None:
    """One exchange of a type.

    Args:
        scene: What is true.
        question_type: A key of `QUESTIONS`.
        rng: Chooses what is asked about, and the wording.
        held_out: Use the wordings that training never shows.

    Returns:
        The exchange, or None where the scene allows no such question.
    """
    filled = _ASKERS[question_type](scene, rng)
    if filled is None:
        return None
    fields, answer = filled
    wording = rng.choice(_wordings(QUESTIONS[question_type], held_out=held_out))
    kind = fields["kind"] if _is_unique(scene, fields.get("kind", "")) else ""
    return Exchange(wording.format(**fields), answer, question_type, kind)


def follow_up(
    scene: Scene, before: Exchange, rng: random.Random, *, held_out: bool = False
) -> Exchange | None:
    """A question that says "it" for the one thing of the exchange before, where there is one."""
    if not before.kind:
        return None
    question_type = rng.choice([name for name in PRONOUN_QUESTIONS if name != before.question_type])
    thing = next(thing for thing in scene.things if thing.kind == before.kind)
    wording = rng.choice(_wordings(PRONOUN_QUESTIONS[question_type], held_out=held_out))
    return Exchange(wording, _ATTRIBUTE_ANSWERS[question_type](thing), question_type, before.kind)


def dialogue(scene: Scene, rng: random.Random, turns: int) -> list[Exchange]:
    """Exchanges about one scene, types drawn evenly, some of them follow-ups or small talk."""
    exchanges: list[Exchange] = []
    while len(exchanges) < turns:
        draw = rng.random()
        exchange: Exchange | None
        if draw < 0.15 and exchanges:
            exchange = follow_up(scene, exchanges[-1], rng)
        elif draw < 0.19:
            exchange = small_talk(rng)
        else:
            exchange = ask(scene, rng.choices(QUESTION_TYPES, _TYPE_WEIGHTS)[0], rng)
        if exchange is not None:
            exchanges.append(exchange)
    return exchanges


# How often a dialogue asks each type: the ones that take two look-ups are asked more.
_TYPE_WEIGHTS = tuple(
    {"relation": 2.4, "at_place": 1.6, "count": 1.8, "count_color": 1.3, "exists_color": 1.3}.get(
        name, 1.0
    )
    for name in QUESTION_TYPES
)

_Filled = tuple[dict[str, str], str]

_ATTRIBUTE_ANSWERS: dict[str, Callable[[Thing], str]] = {
    "color": lambda thing: f"The {thing.kind} is {thing.color}.",
    "size": lambda thing: f"The {thing.kind} is {thing.size}.",
    "where": lambda thing: f"The {thing.kind} is {PLACE_PHRASES[thing.place]}.",
}


def _wordings(wordings: Sequence[str], *, held_out: bool) -> Sequence[str]:
    return wordings[-HELD_OUT_WORDINGS:] if held_out else wordings[:-HELD_OUT_WORDINGS]


def _count(scene: Scene, kind: str) -> int:
    return sum(thing.kind == kind for thing in scene.things)


def _is_unique(scene: Scene, kind: str) -> bool:
    return _count(scene, kind) == 1


def _absent_kind(scene: Scene, rng: random.Random) -> str:
    present = {thing.kind for thing in scene.things}
    pool = KINDS if rng.random() < 0.8 else FOREIGN_KINDS
    return rng.choice([kind for kind in pool if kind not in present])


def _kind_fields(kind: str) -> dict[str, str]:
    return {"kind": kind, "kinds": plural(kind), "a_kind": with_article(kind)}


def _about_attribute(name: str) -> Callable[[Scene, random.Random], _Filled | None]:
    def filled(scene: Scene, rng: random.Random) -> _Filled | None:
        if rng.random() < 0.1:
            kind = _absent_kind(scene, rng)
            return _kind_fields(kind), f"There is no {kind} in this picture."
        unique = [thing for thing in scene.things if _is_unique(scene, thing.kind)]
        if not unique:
            return None
        thing = rng.choice(unique)
        return _kind_fields(thing.kind), _ATTRIBUTE_ANSWERS[name](thing)

    return filled


def _exists(scene: Scene, rng: random.Random) -> _Filled | None:
    if rng.random() < 0.5:
        kind = _absent_kind(scene, rng)
        return _kind_fields(kind), f"No, there is no {kind}."
    if not scene.things:
        return None
    kind = rng.choice(scene.things).kind
    return _kind_fields(kind), f"Yes, there is {with_article(kind)}."


def _absent_pair(pairs: set[tuple[str, str]], rng: random.Random) -> tuple[str, str]:
    """A pair to deny: often the kind is there in another colour, or the colour on another kind."""
    kinds = sorted({kind for _, kind in pairs})
    colors = sorted({color for color, _ in pairs})
    while True:
        kind = rng.choice(kinds if kinds and rng.random() < 0.6 else KINDS)
        color = rng.choice(colors if colors and rng.random() < 0.6 else COLORS)
        if (color, kind) not in pairs:
            return color, kind


def _exists_color(scene: Scene, rng: random.Random) -> _Filled | None:
    pairs = {(thing.color, thing.kind) for thing in scene.things}
    if rng.random() < 0.5:
        if not pairs:
            return None
        color, kind = rng.choice(sorted(pairs))
        answer = f"Yes, there is {with_article(f'{color} {kind}')}."
    else:
        color, kind = _absent_pair(pairs, rng)
        answer = f"No, there is no {color} {kind}."
    return {**_kind_fields(kind), "color": color, "a_color": with_article(color)}, answer


def _counted(scene: Scene, rng: random.Random) -> _Filled | None:
    if not scene.things or rng.random() < 0.15:
        kind = _absent_kind(scene, rng)
    else:
        # A kind at a time, not a thing at a time, but several of a kind are drawn more.
        kinds = sorted({thing.kind for thing in scene.things})
        kind = rng.choices(kinds, [_count(scene, kind) for kind in kinds])[0]
    return _kind_fields(kind), count_phrase(_count(scene, kind), kind, plural(kind))


def _counted_color(scene: Scene, rng: random.Random) -> _Filled | None:
    present = sorted({thing.color for thing in scene.things})
    color = rng.choice(present if present and rng.random() < 0.85 else COLORS)
    number = sum(thing.color == color for thing in scene.things)
    return {"color": color}, count_phrase(number, f"{color} object", f"{color} objects")


def _total(scene: Scene, rng: random.Random) -> _Filled | None:  # noqa: ARG001
    return {}, count_phrase(len(scene.things), "object", "objects")


def _background(scene: Scene, rng: random.Random) -> _Filled | None:  # noqa: ARG001
    return {}, f"The background is {BACKGROUND_PHRASES[scene.background]}."


def _sign(scene: Scene, rng: random.Random) -> _Filled | None:
    signs = [thing for thing in scene.things if thing.kind == "sign"]
    if len(signs) == 1:
        return _kind_fields("sign"), f"The sign says {signs[0].word}."
    if not signs and rng.random() < 0.15:
        return _kind_fields("sign"), "There is no sign in this picture."
    return None


def _at_place(scene: Scene, rng: random.Random) -> _Filled | None:
    taken = {thing.cell: thing for thing in scene.things}
    free = [cell for cell in range(len(PLACES)) if cell not in taken]
    cell = rng.choice(sorted(taken) if taken and rng.random() < 0.75 else free)
    place = PLACE_PHRASES[PLACES[cell]]
    seen = thing_phrase(taken[cell]) if cell in taken else "nothing"
    kind = taken[cell].kind if cell in taken else ""
    return {"place": place, "kind": kind}, f"There is {seen} {place}."


def _relation(scene: Scene, rng: random.Random) -> _Filled | None:
    unique = [thing for thing in scene.things if _is_unique(scene, thing.kind)]
    if len(unique) < 2:
        return None
    thing, other = rng.sample(unique, 2)
    fields = {"kind": thing.kind, "other": other.kind}
    return fields, f"The {thing.kind} is {relation_phrase(thing, other)} the {other.kind}."


def relation_phrase(thing: Thing, other: Thing) -> str:
    """Where a thing is, seen from another, by their cells; two cells never are the same."""
    row, column = divmod(thing.cell, 3)
    other_row, other_column = divmod(other.cell, 3)
    vertical = "above" if row < other_row else "below" if row > other_row else ""
    side = "left" if column < other_column else "right" if column > other_column else ""
    if not side:
        return vertical
    horizontal = f"to the {side} of"
    return f"{vertical} and {horizontal}" if vertical else horizontal


_ASKERS: dict[str, Callable[[Scene, random.Random], _Filled | None]] = {
    "color": _about_attribute("color"),
    "size": _about_attribute("size"),
    "where": _about_attribute("where"),
    "exists": _exists,
    "exists_color": _exists_color,
    "count": _counted,
    "count_color": _counted_color,
    "total": _total,
    "background": _background,
    "sign": _sign,
    "at_place": _at_place,
    "relation": _relation,
}
