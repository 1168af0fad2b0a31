"""POPE: does the model see objects that are not there?

Every question is "Is there a ... in the image?", and the answer yes or no. A model that says yes to
everything has a recall of 1 and a yes-ratio of 1.

Source: "Evaluating Object Hallucination in Large Vision-Language Models" (Li et al., 2023), and
`evaluate.py` of its repository.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

from minigpt4.evaluation.items import Answer, Item, Judged, Score, Verdict, ratio, share

_NO = frozenset({"No", "no", "not"})


def said(text: str) -> Literal["yes", "no"]:
    """What an answer counts as, by the official rule.

    Only the first sentence counts. It is a no if one of its words is No, no or not, and else a yes,
    whatever it says.
    """
    words = text.partition(".")[0].replace(",", "").split(" ")
    return "no" if _NO & set(words) else "yes"


def is_clear(text: str) -> bool:
    """Whether an answer has a word such as yes or no at all."""
    return re.search("\\b(?:yes|no|not|(?:is|are)n['\u2019]t)\\b", text, re.IGNORECASE) is not None


def judge(items: Sequence[Item], answers: Mapping[str, Answer]) -> Judged:
    """Accuracy, precision, recall and F1 of "yes", and how often it is said."""
    verdicts = {}
    counted: Counter[tuple[str, str]] = Counter()
    by_group: dict[str, list[bool]] = {}
    unclear = 0
    for item in items:
        text, true = answers[item.key].text, item.references[0]
        taken, clear = said(text), is_clear(text)
        counted[true, taken] += 1
        unclear += not clear
        right = taken == true
        by_group.setdefault(item.group, []).append(right)
        notes = (f"taken as {taken}",) if clear else (f"neither yes nor no; taken as {taken}",)
        verdicts[item.key] = Verdict("right" if right else "wrong", float(right), notes)
    number, yes = len(items), counted["yes", "yes"]
    said_yes, true_yes = yes + counted["no", "yes"], yes + counted["yes", "no"]
    precision, recall = ratio(yes, said_yes), ratio(yes, true_yes)
    scores = (
        share("accuracy", yes + counted["no", "no"], number),
        Score("precision", precision, about="Of all yes, how many are right."),
        Score("recall", recall, about="Of all objects that are there, how many got a yes."),
        Score("F1", ratio(2 * precision * recall, precision + recall)),
        share("yes-ratio", said_yes, number, "How often the answer is yes."),
        share("neither", unclear, number, "No word for yes or no; the official rule takes a yes."),
    )
    named = {name: right for name, right in sorted(by_group.items()) if name}
    groups = {name: share("accuracy", sum(right), len(right)) for name, right in named.items()}
    return Judged(scores, verdicts, groups)
