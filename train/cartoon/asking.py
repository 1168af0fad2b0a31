"""Scene -> questions with true answers, for stage 2 and for every test of what a model sees.

Everything is a pure function of a scene and a random generator. Questions are balanced by type, and
those with "yes" and "no" by answer: asked only where the answer is "yes", they would teach "yes".
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from train.cartoon import describe as telling
from train.cartoon.answers import ASKERS, attribute_told
from train.cartoon.casual import casual, unmarked
from train.cartoon.phrases import (
    of_kind,
    plural,
    quoted,
    with_article,
)
from train.cartoon.scene import BACKGROUNDS, COLORS, KINDS, PLACES, SIZES, Scene, strange_scene
from train.cartoon.talk import BEYOND_ME, BEYOND_ME_QUESTIONS, SMALL_TALK
from train.cartoon.wordings import (
    BACKGROUND_PHRASES,
    DESCRIBE_INSTRUCTIONS,
    FOREIGN_KINDS,
    HELD_OUT_WORDINGS,
    NO_DRAWING,
    NUMBERS,
    PAGE_SKETCH,
    PRONOUN_QUESTIONS,
    QUESTIONS,
)

QUESTION_TYPES = tuple(QUESTIONS)

_ATTRIBUTE_PHRASES = (
    *KINDS, *(plural(kind) for kind in KINDS), *COLORS, *SIZES, *PLACES, *NUMBERS, *BACKGROUNDS,
    *(phrase.split()[-1] for phrase in BACKGROUND_PHRASES.values()),
    "background", "Yes", "No", "yes", "no", "not", "nothing", "none", "above", "below", "and", "so",
    "sky", "night", "room", "water", "Nothing", "odd",
)  # fmt: skip

# Words that carry what was seen. Training may weigh them above the words around them.
ATTRIBUTE_WORDS = frozenset(word for phrase in _ATTRIBUTE_PHRASES for word in phrase.split())


@dataclass(frozen=True, slots=True)
class Exchange:
    """One question and its true answer.

    Attributes:
        question: What a person asks.
        answer: The whole answer.
        question_type: A key of `QUESTIONS`, or `describe`, `chat`.
        kind: The one thing the exchange is about, for a follow-up with a pronoun; may be empty.
    """

    question: str
    answer: str
    question_type: str
    kind: str = ""


def ask_to_describe(scene: Scene, rng: random.Random) -> Exchange:
    """A description under an instruction drawn at random."""
    instruction = rng.choice(DESCRIBE_INSTRUCTIONS)
    return Exchange(instruction, telling.describe(scene), "describe")


def small_talk(rng: random.Random) -> Exchange:
    """A turn that is not about what a picture shows, and the short answer to it."""
    if rng.random() < 0.5:
        said, answer = rng.choice(SMALL_TALK)
    else:
        kind = rng.choice((*KINDS, *FOREIGN_KINDS))
        said = rng.choice(BEYOND_ME_QUESTIONS).format(kind=kind, a_kind=with_article(kind))
        answer = BEYOND_ME
    return Exchange(said, answer, "chat")


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
    # About a page sketch people may ask whatever they ask about what is no drawing.
    asked_of = strange_scene(scene.seed) if scene.is_page else scene
    filled = ASKERS[question_type](asked_of, rng)
    if filled is None:
        return None
    fields, answer = filled
    wording = rng.choice(_wordings(QUESTIONS[question_type], held_out=held_out))
    if scene.strange:
        return Exchange(wording.format(**fields), NO_DRAWING, question_type)
    if scene.is_page:
        said = _about_page(scene, question_type)
        return Exchange(wording.format(**fields), said, question_type)
    kind = fields.get("kind", "")
    one = kind if len(of_kind(scene, kind)) == 1 else ""
    return Exchange(wording.format(**fields), answer, question_type, one)


def _about_page(scene: Scene, question_type: str) -> str:
    match question_type:
        case "webpage":
            return telling.webpage(scene)
        case "sign":
            return f"The title says {quoted(telling.page_title(scene))}."
    return PAGE_SKETCH


def follow_up(
    scene: Scene, before: Exchange, rng: random.Random, *, held_out: bool = False
) -> Exchange | None:
    """A question that says "it" for the one thing of the exchange before, where there is one."""
    if not before.kind:
        return None
    question_type = rng.choice([name for name in PRONOUN_QUESTIONS if name != before.question_type])
    wording = rng.choice(_wordings(PRONOUN_QUESTIONS[question_type], held_out=held_out))
    answer = attribute_told(scene, question_type, before.kind)
    return Exchange(wording, answer, question_type, before.kind)


def dialogue(
    scene: Scene, rng: random.Random, turns: int, *, casual_share: float = 0.0
) -> list[Exchange]:
    """Exchanges about one scene, types by weight, some of them follow-ups or small talk.

    Answers seldom repeat: one that stands above already teaches to copy it, not to look. Half of
    the dialogues about a page sketch ask early for the page, which is long, and none asks twice.

    Args:
        scene: What is true.
        rng: Chooses everything.
        turns: How many exchanges.
        casual_share: How many of the questions are said more loosely, see `casual`.
    """
    exchanges: list[Exchange] = []
    weights = _PAGE_WEIGHTS if scene.is_page else _TYPE_WEIGHTS
    page_turn = rng.randrange(4) if scene.is_page else turns
    attempts = 0
    while len(exchanges) < turns:
        attempts += 1
        draw = rng.random()
        exchange: Exchange | None
        if page_turn == len(exchanges) < 2:
            exchange, page_turn = ask(scene, "webpage", rng), turns
        elif draw < 0.13 and exchanges:
            exchange = follow_up(scene, exchanges[-1], rng)
        elif draw < 0.18:
            exchange = small_talk(rng)
        else:
            exchange = ask(scene, rng.choices(QUESTION_TYPES, weights)[0], rng)
        if exchange is None:
            continue
        told = any(exchange.answer == each.answer for each in exchanges)
        if not told or attempts > 3 * turns or rng.random() < 0.1:
            talk = exchange.question_type == "chat"
            if casual_share and rng.random() < casual_share:
                said = exchange.question
                said = unmarked(said) if talk else casual(said, rng)
                exchange = replace(exchange, question=said)
            exchanges.append(exchange)
    return exchanges


# How often a dialogue asks each type: the ones that take several look-ups are asked more, the
# templates of the abilities less. Few scenes allow `colors` and `sizes`.
_TYPE_WEIGHTS = tuple(
    {
        "color": 1.5, "size": 1.5, "where": 1.5, "relation": 1.5, "relation_yes": 1.5,
        "compare": 2.4, "count": 2.4, "count_color": 3.2, "exists_color": 1.3, "at_place": 2.6,
        "background": 0.5, "odd": 2.2, "poem": 0.2, "advertisement": 0.4, "recipe": 0.5,
        "list": 0.6, "total": 0.8, "webpage": 0.4, "colors": 4.0, "sizes": 4.0,
    }.get(name, 1.0)
    for name in QUESTION_TYPES
)  # fmt: skip

_PAGE_WEIGHTS = tuple({"webpage": 0.0, "sign": 4.0}.get(name, 1.0) for name in QUESTION_TYPES)


def _wordings(wordings: Sequence[str], *, held_out: bool) -> Sequence[str]:
    return wordings[-HELD_OUT_WORDINGS:] if held_out else wordings[:-HELD_OUT_WORDINGS]
