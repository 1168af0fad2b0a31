"""VQA accuracy: how many of ten people gave the model's answer.

Each benchmark has its rule, which its reader writes into `Item.rule`:

    ten          VQAv2, OK-VQA: one person is left out in turn, an answer counts min(n/3, 1) for the
                 n others who gave it, and the mean of the ten turns is its accuracy
    three        A-OKVQA, direct answers: min(n/3, 1) over all ten
    one          GQA: the one true answer or not
    choice       A-OKVQA, multiple choice: the true choice is named and no other

`three` and `one` compare both sides as VQA normalises answers. Their benchmarks do less: A-OKVQA
ignores case, GQA nothing.

The official rules take short answers and nothing else: "The boat is red." is wrong where people
said "red". So a second figure, `in a sentence`, is told, which no benchmark knows: the best score
of any reference that stands in the answer, word for word.

Source: `VQAEval.evaluate` of the official evaluation of VQA (v2); `eval_predictions.py` of A-OKVQA;
`eval.py` of GQA.
"""

from collections.abc import Mapping, Sequence

from minigpt4.evaluation.items import Answer, Item, Judged, Verdict, mark_of, mean
from minigpt4.evaluation.vqa_text import plain, without_punctuation


def leave_one_out(answer: str, references: Sequence[str]) -> float:
    """The official accuracy of an answer, given the answers of several people.

    Args:
        answer: As `vqa_text.plain` leaves it.
        references: As the file has them. They lose their punctuation if people disagree, and
            nothing else, which is the official rule.
    """
    if len(set(references)) > 1:
        references = [without_punctuation(each) for each in references]
    same = sum(each == answer for each in references)
    # Who gave the answer is one of its `same` givers when left out.
    turns = [min(1.0, (same - (each == answer)) / 3) for each in references]
    return sum(turns) / len(turns)


def accuracy(answer: str, item: Item) -> float:
    """The accuracy of an answer by its item's rule."""
    if item.rule == "choice":
        return float(chosen(answer, item.choices) == item.references[0])
    short = plain(answer)
    if item.rule == "ten":
        return leave_one_out(short, item.references)
    same = sum(plain(each) == short for each in item.references)
    return min(1.0, same / 3) if item.rule == "three" else float(same > 0)


def chosen(answer: str, choices: Sequence[str]) -> str | None:
    """The one choice that an answer names; None if it names none, or several."""
    words = plain(answer).split()
    named = {each for each in choices if _stands_in(plain(each).split(), words)}
    # "tennis racket" names "racket" too; the longer one is meant.
    longest = {
        each
        for each in named
        if not any(each != other and _part_of(each, other) for other in named)
    }
    return longest.pop() if len(longest) == 1 else None


def in_a_sentence(answer: str, item: Item) -> float:
    """The best accuracy of any reference that stands in the answer; ours, not the benchmarks'."""
    words = plain(answer).split()
    said = {each for each in item.references if _stands_in(plain(each).split(), words)}
    return max((accuracy(each, item) for each in said), default=0.0)


def judge(items: Sequence[Item], answers: Mapping[str, Answer]) -> Judged:
    """The mean accuracy, also for each type of question."""
    verdicts = {}
    strict: dict[str, list[float]] = {}
    lenient: list[float] = []
    for item in items:
        text = answers[item.key].text
        score = accuracy(text, item)
        inside = max(score, in_a_sentence(text, item))
        strict.setdefault(item.group, []).append(score)
        lenient.append(inside)
        notes = [f"accuracy {score:.2f}"] if 0 < score < 1 else []
        notes += ["says it in a sentence"] if inside > score else []
        verdicts[item.key] = Verdict(mark_of(score), score, tuple(notes))
    every = [score for scores in strict.values() for score in scores]
    scores = [mean("accuracy", every, "By the benchmark's own rule.")]
    if any(item.rule != "choice" for item in items):
        about = "A reference answer stands in the answer; this project's figure, not official."
        scores.append(mean("in a sentence", lenient, about))
    groups = {name: mean("accuracy", each) for name, each in sorted(strict.items()) if name}
    return Judged(tuple(scores), verdicts, groups)


def _part_of(short: str, long: str) -> bool:
    return _stands_in(plain(short).split(), plain(long).split())


def _stands_in(part: Sequence[str], whole: Sequence[str]) -> bool:
    """Whether some words stand in others, in a row."""
    size = len(part)
    last = len(whole) - size
    return size > 0 and any(whole[i : i + size] == part for i in range(last + 1))
