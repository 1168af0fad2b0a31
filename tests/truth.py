"""What is true of a picture, told by the picture world: tests hold for any model that answers well."""

import random
from functools import cache

from train.cartoon.asking import QUESTION_TYPES, Exchange, ask, follow_up
from train.cartoon.describe import describe
from train.cartoon.examples import EXAMPLES
from train.cartoon.scene import Scene
from train.cartoon.wordings import DESCRIBE_INSTRUCTIONS

_DRAWS = 3000


@cache
def true_answer(shown: Scene | str, question: str, about: str = "") -> str:
    """The true answer to a question in one of training's wordings.

    Args:
        shown: A scene, or the name of an example picture.
        question: What is asked.
        about: For a question that says "it", the kind of thing that was spoken of.
    """
    scene = EXAMPLES[shown] if isinstance(shown, str) else shown
    if question in DESCRIBE_INSTRUCTIONS:
        return describe(scene)
    before = Exchange("", "", "", about)
    for seed in range(_DRAWS):
        rng = random.Random(seed)
        for question_type in QUESTION_TYPES:
            exchange = follow_up(scene, before, rng) if about else ask(scene, question_type, rng)
            if exchange is not None and exchange.question == question:
                return exchange.answer
    message = f"The picture world never asks {question!r} about {shown}."
    raise LookupError(message)
