"""CHAIR: how many of the objects that a description names are not in the picture.

    CHAIRi    of all mentions of objects, the share that names none of the picture's
    CHAIRs    of all descriptions, the share with at least one such mention

What is in a picture is what people marked in it, and what people named in captions of it. Long
descriptions name more objects and so err more often; compare figures at like lengths only, for
which the mean number of words stands beside them.

Source: "Object Hallucination in Image Captioning" (Rohrbach et al., 2018), and `chair.py` of its
repository. Unlike there, a plural is known by the list's words and not by a stemmer's guess, and
every phrase of the list counts, not only those in a second list in the code.
"""

from collections.abc import Mapping, Sequence

from minigpt4.evaluation.items import Answer, Item, Judged, Score, Verdict, ratio, share
from minigpt4.evaluation.objects import Objects


def judge(items: Sequence[Item], answers: Mapping[str, Answer], objects: Objects) -> Judged:
    """Counts mentions of objects that are there and that are not.

    Args:
        items: Their references are the names of the objects that are there.
        answers: The descriptions.
        objects: Tells which objects a description names.
    """
    verdicts = {}
    mentioned = wrong_mentions = wrong_answers = there = named = words = 0
    for item in items:
        text = answers[item.key].text
        mentions = objects.mentions(text)
        wrong = [(word, name) for word, name in mentions if name not in item.references]
        mentioned += len(mentions)
        wrong_mentions += len(wrong)
        wrong_answers += bool(wrong)
        there += len(item.references)
        named += len({name for _, name in mentions} & set(item.references))
        words += len(text.split())
        notes = dict.fromkeys(
            f"{word}: not there" if word == name else f"{word} ({name}): not there"
            for word, name in wrong
        )
        right = 1 - ratio(len(wrong), len(mentions))
        verdicts[item.key] = Verdict("wrong" if wrong else "right", right, tuple(notes))
    number = len(items)
    scores = (
        Score("CHAIRi", ratio(wrong_mentions, mentioned), about="Mentions of what is not there."),
        share("CHAIRs", wrong_answers, number, "Answers that mention what is not there."),
        Score("coverage", ratio(named, there), about="Of the objects there, how many are named."),
        Score("words", ratio(words, number), "number", about="Mean length."),
    )
    return Judged(scores, verdicts)
