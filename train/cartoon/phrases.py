"""The pieces that sentences about a scene are made of: things, places, lists, numbers."""

from collections.abc import Sequence

from train.cartoon.scene import PLACES, Scene, Thing
from train.cartoon.wordings import NUMBERS, PLACE_PHRASES


def plural(kind: str) -> str:
    """The plural of a kind of thing."""
    return {"fish": "fishes", "person": "persons"}.get(kind, f"{kind}s")


def with_article(noun_phrase: str) -> str:
    """Puts "a" or "an" before a noun phrase."""
    return f"{'an' if noun_phrase[0] in 'aeiou' else 'a'} {noun_phrase}"


def thing_phrase(thing: Thing) -> str:
    """A thing with its article, size and colour, and what it says if it is a sign."""
    says = f" that says {quoted(thing.word)}" if thing.word else ""
    return f"{with_article(f'{thing.size} {thing.color} {thing.kind}')}{says}"


def quoted(word: str) -> str:
    """A sign's word between quotation marks, so that its first letter is a piece of its own."""
    return f'"{word}"'


def place_of(thing: Thing) -> str:
    """Where a thing is: "in the top left"."""
    return PLACE_PHRASES[thing.place]


def listed(parts: Sequence[str]) -> str:
    """Joins parts: "a", "a and b", "a, b and c"."""
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def told_off(parts: Sequence[str]) -> str:
    """Tells things off one by one, "a, b, c": who counts need not know which is the last."""
    return ", ".join(parts)


def sentence(text: str) -> str:
    """A text with a capital letter and a full stop."""
    return f"{text[0].upper()}{text[1:]}."


def counted(number: int, singular: str) -> str:
    """How many there are, as the end of a sentence: "there are two stars"."""
    if number == 1:
        return f"there is one {singular}"
    return f"there are {NUMBERS[number]} {plural(singular)}"


def of_kind(scene: Scene, kind: str) -> list[Thing]:
    """The things of a kind, in reading order."""
    return [thing for thing in scene.things if thing.kind == kind]


def of_color(scene: Scene, color: str) -> list[Thing]:
    """The things of a colour, in reading order."""
    return [thing for thing in scene.things if thing.color == color]


def at_place(scene: Scene, place: str) -> list[Thing]:
    """The things whose centre is in a third of the canvas, in reading order."""
    return [thing for thing in scene.things if thing.third == PLACES.index(place)]


def unique_things(scene: Scene) -> list[Thing]:
    """The things that are the only ones of their kind."""
    return [thing for thing in scene.things if len(of_kind(scene, thing.kind)) == 1]


def side_of(thing: Thing, other: Thing) -> str:
    """On which side a thing is of another, by thirds: "left", "right" or empty."""
    column, other_column = thing.third % 3, other.third % 3
    return "left" if column < other_column else "right" if column > other_column else ""


def height_of(thing: Thing, other: Thing) -> str:
    """Whether a thing is "above" or "below" another, by thirds, or neither: empty."""
    row, other_row = thing.third // 3, other.third // 3
    return "above" if row < other_row else "below" if row > other_row else ""


def relation_phrase(thing: Thing, other: Thing) -> str:
    """Where a thing is, seen from another in a different third: "above and to the left of"."""
    side, height = side_of(thing, other), height_of(thing, other)
    horizontal = f"to the {side} of" if side else ""
    return " and ".join(part for part in (height, horizontal) if part)
