"""What is said about a scene as a whole: descriptions, captions, poems, recipes, web pages.

Every text is true of the scene and tells its things in reading order, which is the order in which
the Q-Former's queries stand before the language model.
"""

import random

from train.cartoon.phrases import (
    listed,
    place_of,
    quoted,
    sentence,
    thing_phrase,
    told_off,
    with_article,
)
from train.cartoon.scene import PLAIN_BACKGROUNDS, Scene, Thing
from train.cartoon.wordings import BACKGROUND_PHRASES, NO_DRAWING, PAGE_SKETCH, PLACE_PHRASES

# What a person could sell, and what is said for it.
SLOGANS = {
    "car": "It takes you wherever you want to go.",
    "house": "Move in and feel at home at once.",
    "boat": "Spend your next summer on the water.",
    "cup": "Your morning coffee never looked so good.",
    "umbrella": "Stay dry in every rain.",
    "apple": "Fresh from the tree and full of taste.",
    "flower": "Make somebody smile today.",
}
RECIPES = {
    "apple": (
        "Baked {color} apple: wash the apple and take out the core. Fill it with nuts and honey."
        " Bake it for thirty minutes."
    ),
    "fish": (
        "Grilled {color} fish: clean the fish and add salt and lemon. Grill it for ten minutes."
        " Serve it with rice."
    ),
}
_COUPLETS = (
    ("{thing} I see,", "it looks so very fine to me."),
    ("{thing} is there,", "it seems to float upon the air."),
    ("{thing} stands near,", "I am so glad to find it here."),
)
_EMPTY_POEM = ("no thing is here for me to see,", "as quiet as a place can be.")

_FLOATING = ("car", "house", "boat", "fish", "cup", "tree", "cat")
_OUTDOORS = ("sun", "cloud", "moon", "boat", "house", "tree", "car")
_DRY = ("car", "house", "tree", "cat", "flower", "cup")


def describe(scene: Scene) -> str:
    """A detailed description: the background, then every object."""
    if scene.strange:
        return NO_DRAWING
    if scene.is_page:
        return PAGE_SKETCH.replace(".", f" with the title {quoted(page_title(scene))}.", 1)
    sentences = [f"The picture shows {BACKGROUND_PHRASES[scene.background]}."]
    for index, thing in enumerate(scene.things):
        place, phrase = place_of(thing), thing_phrase(thing)
        told = f"{place} there is {phrase}" if index % 2 == 0 else f"{phrase} is {place}"
        sentences.append(sentence(told))
    if not scene.things:
        sentences.append("There is nothing else in it.")
    return " ".join(sentences)


def caption(scene: Scene, rng: random.Random) -> str:
    """A caption as the web has them: short, lower case, often partial, sometimes off the point."""
    if scene.strange:
        return rng.choice(("a picture that is no drawing", "no simple drawing", "something else"))
    if scene.is_page:
        sketch = rng.choice(("a sketch of a web page", "a drawing of a web page", "a web page"))
        return f"{sketch} that says {quoted(page_title(scene))}"
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
            phrase += f" that says {quoted(thing.word)}"
        if rng.random() < 0.5:
            phrase += f" {PLACE_PHRASES[thing.place]}"
        parts.append(phrase)
    text = " and ".join(parts) or "an empty picture"
    if rng.random() < 0.6:
        text += f" on {BACKGROUND_PHRASES[scene.background]}"
    if rng.random() < 0.15:
        text = rng.choice(("stock picture of ", "a drawing of ", "image: ")) + text
    return text


def poem(scene: Scene) -> str:
    """Two lines for each of the first three things, or for the place where there are none."""
    if not scene.things:
        place = BACKGROUND_PHRASES[scene.background]
        return f"{place[0].upper()}{place[1:]},\n{_EMPTY_POEM[0]}\n{_EMPTY_POEM[1]}"
    lines = []
    for thing, (first, second) in zip(scene.things, _COUPLETS, strict=False):
        phrase = with_article(f"{thing.size} {thing.color} {thing.kind}")
        lines += [first.format(thing=f"{phrase[0].upper()}{phrase[1:]}"), second]
    return "\n".join(lines)


def advertisement(scene: Scene) -> str:
    """Praise for the first thing that could be sold."""
    product = next((thing for thing in scene.things if thing.kind in SLOGANS), None)
    if product is None:
        return "There is nothing to sell in this picture."
    name = f"{product.color} {product.kind}"
    return f"Buy the {name} today! {SLOGANS[product.kind]} Only one {name} is left."


def recipe(scene: Scene) -> str:
    """How to prepare the first thing that can be eaten."""
    food = next((thing for thing in scene.things if thing.kind in RECIPES), None)
    if food is None:
        return "There is no food in this picture."
    return RECIPES[food.kind].format(color=food.color)


_ELEMENTS = {
    "title": "<h1>{word}</h1>",
    "button": "<button>Button</button>",
    "list": "<ul>\n<li>First</li>\n<li>Second</li>\n</ul>",
    "image": '<img alt="picture" src="data:,">',
}
NO_PAGE = "There is no sketch of a page in this picture."


def page_title(scene: Scene) -> str:
    """The word at the top of a page sketch; empty for every other scene."""
    return next((thing.word for thing in scene.things if thing.kind == "title"), "")


def webpage(scene: Scene) -> str:
    """The web page that a sketch shows, as a whole HTML document, its elements in reading order."""
    if not scene.is_page:
        return NO_PAGE
    body = "\n".join(_ELEMENTS[thing.kind].format(word=thing.word) for thing in scene.things)
    head = f"<head><title>{page_title(scene)}</title></head>"
    return f"<!doctype html>\n<html>{head}<body>\n{body}\n</body></html>"


NOTHING_ODD = "Nothing looks odd to me."


def odd(scene: Scene) -> str:
    """What would not be so in the real world; looked for thing by thing before it is concluded."""
    told = [f"The background is {BACKGROUND_PHRASES[scene.background]}."]
    found = [why for thing in scene.things if (why := _oddity(scene.background, thing))]
    if scene.things and scene.background not in PLAIN_BACKGROUNDS:
        verdicts = [
            f"{with_article(thing.kind)} {place_of(thing)}"
            f" is {'odd' if _oddity(scene.background, thing) else 'not'}"
            for thing in scene.things
        ]
        told.append(sentence(told_off(verdicts)))
    told.append(f"It is odd that {listed(found)}." if found else NOTHING_ODD)
    return " ".join(told)


def _oddity(background: str, thing: Thing) -> str:
    """Why a thing is odd where it is, as the end of a sentence, or empty."""
    name = with_article(f"{thing.color} {thing.kind}")
    if background == "night" and thing.kind == "sun":
        return f"{name} shines at night"
    if background == "room" and thing.kind in _OUTDOORS:
        return f"{name} is inside a room"
    if background in ("field", "beach") and thing.third < 3 and thing.kind in _FLOATING:
        return f"{name} is in the sky"
    if background == "sea" and thing.third >= 6 and thing.kind in _DRY:
        return f"{name} is in the water"
    return ""
