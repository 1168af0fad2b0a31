"""The questions of every type that a scene allows, each with its true answer; see `asking.py`.

Where an answer takes several looks, it tells what was seen before it concludes: "I see a red one at
the top, a blue one on the right, so there are two stars." A small model cannot count in its
head; in its own words it can, and a person sees what it counted.
"""

import random
from collections.abc import Callable

from train.cartoon import describe as telling
from train.cartoon.phrases import (
    at_place,
    counted,
    height_of,
    listed,
    of_color,
    of_kind,
    place_of,
    plural,
    quoted,
    relation_phrase,
    sentence,
    side_of,
    thing_phrase,
    told_off,
    unique_things,
    with_article,
)
from train.cartoon.scene import COLORS, KINDS, PLACES, Scene, Thing
from train.cartoon.wordings import (
    BACKGROUND_PHRASES,
    FOREIGN_KINDS,
    PLACE_PHRASES,
)

Filled = tuple[dict[str, str], str]
"""What fills the blanks of a question's wording, and the answer."""
Asker = Callable[[Scene, random.Random], Filled | None]

ATTRIBUTES: dict[str, Callable[[Thing], str]] = {
    "color": lambda thing: thing.color,
    "size": lambda thing: thing.size,
    "where": place_of,
}


def _absent_kind(scene: Scene, rng: random.Random) -> str:
    present = {thing.kind for thing in scene.things}
    pool = KINDS if rng.random() < 0.8 else FOREIGN_KINDS
    return rng.choice([kind for kind in pool if kind not in present])


def _present_kind(scene: Scene, rng: random.Random) -> str:
    """A kind that is there; those of which there are several are drawn more."""
    return rng.choice(scene.things).kind


def _kind_fields(kind: str) -> dict[str, str]:
    return {"kind": kind, "kinds": plural(kind), "a_kind": with_article(kind)}


def attribute_told(scene: Scene, name: str, kind: str) -> str:
    """What an attribute of the things of a kind is; of several, each is told by its place.

    "One is red and one is blue" would not say which has been told, and to write the "and" one has
    to know that only one is left.
    """
    things, of = of_kind(scene, kind), ATTRIBUTES[name]
    if len(things) == 1:
        return f"The {kind} is {of(things[0])}."
    told = []
    for one, thing in zip([f"one {kind}", *["one"] * (len(things) - 1)], things, strict=True):
        which = one if name == "where" else f"{one} {place_of(thing)}"
        told.append(f"{which} is {of(thing)}")
    return sentence(told_off(told))


def _about_attribute(name: str) -> Asker:
    def filled(scene: Scene, rng: random.Random) -> Filled | None:
        if not scene.things or rng.random() < 0.1:
            kind = _absent_kind(scene, rng)
            return _kind_fields(kind), f"There is no {kind} in this picture."
        unique = unique_things(scene)
        # Mostly about the one thing of its kind; about several, each is told.
        if unique and rng.random() < 0.85:
            kind = rng.choice(unique).kind
        else:
            kind = _present_kind(scene, rng)
        return _kind_fields(kind), attribute_told(scene, name, kind)

    return filled


def _about_each(name: str) -> Asker:
    """An attribute of all things of a kind; mostly there are several, at times one or none."""

    def filled(scene: Scene, rng: random.Random) -> Filled | None:
        draw = rng.random()
        if not scene.things or draw < 0.05:
            kind = _absent_kind(scene, rng)
            return _kind_fields(kind), f"There are no {plural(kind)} in this picture."
        unique = unique_things(scene)
        several = sorted({thing.kind for thing in scene.things if thing not in unique})
        if unique and draw < 0.1:
            kind = rng.choice(unique).kind
        elif several:
            kind = rng.choice(several)
        else:
            return None
        return _kind_fields(kind), attribute_told(scene, name, kind)

    return filled


def _exists(scene: Scene, rng: random.Random) -> Filled:
    if not scene.things or rng.random() < 0.5:
        kind = _absent_kind(scene, rng)
        return _kind_fields(kind), f"No, there is no {kind} in this picture."
    kind = _present_kind(scene, rng)
    first = of_kind(scene, kind)[0]
    seen = with_article(f"{first.size} {first.color} {kind}")
    return _kind_fields(kind), f"Yes, there is {seen} {place_of(first)}."


def _absent_pair(pairs: set[tuple[str, str]], rng: random.Random) -> tuple[str, str]:
    """A pair to deny: often the kind is there in another colour, or the colour on another kind."""
    kinds = sorted({kind for _, kind in pairs})
    colors = sorted({color for color, _ in pairs})
    while True:
        kind = rng.choice(kinds if kinds and rng.random() < 0.6 else KINDS)
        color = rng.choice(colors if colors and rng.random() < 0.6 else COLORS)
        if (color, kind) not in pairs:
            return color, kind


def _exists_color(scene: Scene, rng: random.Random) -> Filled:
    pairs = {(thing.color, thing.kind) for thing in scene.things}
    if pairs and rng.random() < 0.5:
        color, kind = rng.choice(sorted(pairs))
        first = next(each for each in of_kind(scene, kind) if each.color == color)
        seen = with_article(f"{first.size} {color} {kind}")
        answer = f"Yes, there is {seen} {place_of(first)}."
    else:
        color, kind = _absent_pair(pairs, rng)
        answer = f"No, there is no {color} {kind} in this picture."
    return {**_kind_fields(kind), "color": color, "a_color": with_article(color)}, answer


def _is_color(scene: Scene, rng: random.Random) -> Filled | None:
    unique = unique_things(scene)
    if scene.strange:
        return {**_kind_fields(rng.choice(KINDS)), "color": rng.choice(COLORS)}, ""
    if not scene.things or rng.random() < 0.15:
        kind = _absent_kind(scene, rng)
        fields = {**_kind_fields(kind), "color": rng.choice(COLORS)}
        return fields, f"There is no {kind} in this picture."
    if not unique:
        return None
    thing = rng.choice(unique)
    if rng.random() < 0.5:
        return {**_kind_fields(thing.kind), "color": thing.color}, (
            f"Yes, the {thing.kind} is {thing.color}."
        )
    others = [each.color for each in scene.things if each.color != thing.color]
    wrong = rng.choice(others if others and rng.random() < 0.5 else COLORS)
    if wrong == thing.color:
        return None
    fields = {**_kind_fields(thing.kind), "color": wrong}
    return fields, f"No, the {thing.kind} is {thing.color}."


def _count(scene: Scene, rng: random.Random) -> Filled:
    if not scene.things or rng.random() < 0.15:
        kind = _absent_kind(scene, rng)
        return _kind_fields(kind), f"There are no {plural(kind)} in this picture."
    kind = _present_kind(scene, rng)
    things = of_kind(scene, kind)
    seen = told_off([f"{with_article(each.color)} one {place_of(each)}" for each in things])
    return _kind_fields(kind), f"I see {seen}, so {counted(len(things), kind)}."


def _count_color(scene: Scene, rng: random.Random) -> Filled:
    present = sorted({thing.color for thing in scene.things})
    weights = [len(of_color(scene, color)) for color in present]
    if present and rng.random() < 0.85:
        color = rng.choices(present, weights)[0]
    else:
        color = rng.choice(COLORS)
    things = of_color(scene, color)
    if not things:
        return {"color": color}, f"There are no {color} things in this picture."
    seen = told_off([f"{with_article(each.kind)} {place_of(each)}" for each in things])
    return {"color": color}, f"I see {seen}, so {counted(len(things), f'{color} thing')}."


def _seen_kinds(scene: Scene) -> str:
    return listed([with_article(thing.kind) for thing in scene.things])


def _total(scene: Scene, rng: random.Random) -> Filled:  # noqa: ARG001
    if not scene.things:
        return {}, "There is nothing in this picture."
    return {}, f"I see {_seen_kinds(scene)}, so {counted(len(scene.things), 'thing')}."


def _list(scene: Scene, rng: random.Random) -> Filled:  # noqa: ARG001
    if not scene.things:
        return {}, "There is nothing in this picture."
    return {}, f"I see {_seen_kinds(scene)}."


def _background(scene: Scene, rng: random.Random) -> Filled:  # noqa: ARG001
    return {}, f"The background is {BACKGROUND_PHRASES.get(scene.background, '')}."


def _sign(scene: Scene, rng: random.Random) -> Filled | None:
    signs = of_kind(scene, "sign")
    if signs:
        return _kind_fields("sign"), f"The sign says {quoted(signs[0].word)}."
    if scene.strange or rng.random() < 0.1:
        return _kind_fields("sign"), "There is no sign in this picture."
    return None


def _at_place(scene: Scene, rng: random.Random) -> Filled:
    taken = sorted({thing.third for thing in scene.things})
    free = [third for third in range(len(PLACES)) if third not in taken]
    place = PLACES[rng.choice(taken if taken and rng.random() < 0.75 else free or taken)]
    things = at_place(scene, place)
    seen = listed([thing_phrase(thing) for thing in things]) or "nothing"
    kind = things[0].kind if len(things) == 1 else ""
    fields = {"place": PLACE_PHRASES[place], "kind": kind}
    return fields, f"There is {seen} {PLACE_PHRASES[place]}."


def _two_things(scene: Scene, rng: random.Random) -> tuple[Thing, Thing] | None:
    """Two things, each the only one of its kind, in different thirds."""
    unique = unique_things(scene)
    pairs = [(a, b) for a in unique for b in unique if a.third != b.third]
    return rng.choice(pairs) if pairs else None


def _with_absent(scene: Scene, rng: random.Random) -> tuple[str, str, str]:
    """Two kinds of which one is not there, and that one."""
    absent = _absent_kind(scene, rng)
    kinds = [absent, _present_kind(scene, rng)]
    rng.shuffle(kinds)
    return kinds[0], kinds[1], absent


def _both_places(thing: Thing, other: Thing) -> str:
    return f"The {thing.kind} is {place_of(thing)} and the {other.kind} is {place_of(other)}"


def _relation(scene: Scene, rng: random.Random) -> Filled | None:
    if scene.strange:
        kind, other = rng.sample(KINDS, 2)
        return {"kind": kind, "other": other}, ""
    if scene.things and rng.random() < 0.1:
        kind, other, absent = _with_absent(scene, rng)
        return {"kind": kind, "other": other}, f"There is no {absent} in this picture."
    pair = _two_things(scene, rng)
    if pair is None:
        return None
    thing, other_thing = pair
    relation = relation_phrase(thing, other_thing)
    places = _both_places(thing, other_thing)
    answer = f"{places}, so the {thing.kind} is {relation} the {other_thing.kind}."
    return {"kind": thing.kind, "other": other_thing.kind}, answer


_OPPOSITES = {
    "above": "below",
    "below": "above",
    "to the left of": "to the right of",
    "to the right of": "to the left of",
}


def _relation_yes(scene: Scene, rng: random.Random) -> Filled | None:
    if scene.strange:
        kind, other = rng.sample(KINDS, 2)
        return {"kind": kind, "other": other, "relation": rng.choice(list(_OPPOSITES))}, ""
    if scene.things and rng.random() < 0.1:
        kind, other, absent = _with_absent(scene, rng)
        fields = {"kind": kind, "other": other, "relation": rng.choice(list(_OPPOSITES))}
        return fields, f"There is no {absent} in this picture."
    pair = _two_things(scene, rng)
    if pair is None:
        return None
    thing, other_thing = pair
    side, height = side_of(thing, other_thing), height_of(thing, other_thing)
    true = rng.choice([each for each in (height, f"to the {side} of" if side else "") if each])
    yes = rng.random() < 0.5
    asked = true if yes else _OPPOSITES[true]
    verdict = "yes" if yes else "no"
    relation = f"is {asked}" if yes else f"is not {asked}"
    answer = (
        f"{_both_places(thing, other_thing)}, so {verdict}, the {thing.kind} {relation}"
        f" the {other_thing.kind}."
    )
    return {"kind": thing.kind, "other": other_thing.kind, "relation": asked}, answer


def _places_of(scene: Scene, kind: str) -> str:
    seen = told_off([f"one {place_of(each)}" for each in of_kind(scene, kind)])
    return f"of the {plural(kind)} I see {seen or 'none'}"


def _compare(scene: Scene, rng: random.Random) -> Filled:
    kinds = sorted({thing.kind for thing in scene.things})
    # Two kinds that are there where possible: "none" against some is too easy.
    if len(kinds) > 1 and rng.random() < 0.75:
        kind, other = rng.sample(kinds, 2)
    else:
        kind, other = rng.choice(kinds or KINDS), _absent_kind(scene, rng)
        if kind == other:
            other = next(each for each in KINDS if each != kind)
        if rng.random() < 0.5:
            kind, other = other, kind
    more = len(of_kind(scene, kind)) > len(of_kind(scene, other))
    verdict = "yes, there are more" if more else "no, there are not more"
    seen = sentence(f"{_places_of(scene, kind)}, {_places_of(scene, other)}")
    answer = f"{seen} So {verdict} {plural(kind)} than {plural(other)}."
    return {"kinds": plural(kind), "others": plural(other)}, answer


def _ability(tell: Callable[[Scene], str], *, often: bool = True) -> Asker:
    """An ability that reads the scene; rarely asked where it can only be turned down."""

    def filled(scene: Scene, rng: random.Random) -> Filled | None:
        if scene.strange:
            return {}, ""
        answer = tell(scene)
        refused = answer.startswith("There is no") or answer.endswith(telling.NOTHING_ODD)
        if refused and not often and rng.random() < 0.7:
            return None
        return {}, answer

    return filled


ASKERS: dict[str, Asker] = {
    "color": _about_attribute("color"),
    "size": _about_attribute("size"),
    "where": _about_attribute("where"),
    "exists": _exists,
    "exists_color": _exists_color,
    "is_color": _is_color,
    "count": _count,
    "count_color": _count_color,
    "total": _total,
    "list": _list,
    "background": _background,
    "sign": _sign,
    "at_place": _at_place,
    "relation": _relation,
    "relation_yes": _relation_yes,
    "compare": _compare,
    "odd": _ability(telling.odd, often=False),
    "poem": _ability(telling.poem),
    "advertisement": _ability(telling.advertisement, often=False),
    "recipe": _ability(telling.recipe, often=False),
    "webpage": _ability(telling.webpage, often=False),
    "colors": _about_each("color"),
    "sizes": _about_each("size"),
}
