"""The report's tables: scores as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from train.tiny.evaluate import mean_of

TARGETS = {
    **dict.fromkeys(("background", "size", "color", "total", "exists", "exists_color"), 0.96),
    **dict.fromkeys(("count", "at_place"), 0.92),
    **dict.fromkeys(("where", "relation", "sign"), 0.88),
}
"""Share of right answers that each type was to reach."""
GATE = 0.95
"""Share of exact answers that the language model was to reach before there was an eye."""
_DESCRIPTIONS = {
    "objects named, colour and kind (recall)": "recall",
    "objects named that are there (precision)": "precision",
    "recall with size as well": "full_recall",
    "precision with size as well": "full_precision",
    "background named": "background",
    "whole description exact": "exact",
    "drawing taken for none": "hedged",
    "failures (no end, repetition, not in the world's language)": "failures",
}


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is text and whose others are numbers."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def answer_table(scores: Mapping[str, Any]) -> str:
    """Right answers by type of question, one column a set of questions."""
    final = scores["stage2"]
    columns = {
        "right": final["answers"],
        "blind": final["blind"],
        "unseen pairs": final["unseen_pairs"],
        "blind there": final["blind_unseen_pairs"],
        "about the pair": final["about_unseen_pairs"],
        "unseen wordings": final["unseen_wordings"],
        "said loosely": final["loosely"],
    }
    rows = []
    for name, score in final["answers"].items():
        target = TARGETS.get(name)
        met = "" if target is None else "met" if score["right"] >= target else "missed"
        cells = [_percent(of[name]["right"]) if name in of else "" for of in columns.values()]
        goal = f"{target:.0%} {met}" if target else ""
        asked = str(final["number"][name])
        rows.append([name.replace("_", " "), asked, goal, _percent(score["exact"]), *cells])
    means = [
        _percent(mean_of(of)) if len(of) == len(final["answers"]) else "" for of in columns.values()
    ]
    exact = _percent(mean_of(final["answers"], "exact"))
    rows.append(["**mean**", "", "", exact, *means])
    return markdown_table(["question", "asked", "target", "exact", *columns], rows)


def description_table(scores: Mapping[str, Any]) -> str:
    """How much descriptions name, and how often they fail."""
    final = scores["stage2"]
    columns = {
        "stage 2": final["descriptions"],
        "blind": final["descriptions_blind"],
        "unseen pairs": final["descriptions_unseen_pairs"],
    }
    if "stage1" in scores["paper"]:
        columns["stage 1 only"] = scores["paper"]["stage1"]["descriptions"]
    rows = [
        [title, *(_percent(of[key]) for of in columns.values())]
        for title, key in _DESCRIPTIONS.items()
    ]
    return markdown_table(["description", *columns], rows)


def paper_table(scores: Mapping[str, Any]) -> str:
    """The projections of stage 0 (thrown away), stage 1 and stage 2 on the same scenes."""
    titles = {
        "throwaway": "stage 0's own, thrown away",
        "stage1": "stage 1: from random numbers, captions",
        "stage2": "stage 2: from stage 1's, dialogues",
    }
    paper = scores["paper"]
    reference = mean_of(paper["throwaway"]["answers"]) if "throwaway" in paper else 0.0
    rows = []
    for key, title in titles.items():
        if key not in paper:
            continue
        of = paper[key]
        right = mean_of(of["answers"])
        rows.append([
            title,
            _percent(right),
            _percent(right / reference) if reference else "",
            _percent(mean_of(of["answers"], "exact")),
            _percent(of["failures"]),
            _percent(of["descriptions"]["recall"]),
            _percent(of["descriptions"]["precision"]),
            _percent(of["descriptions"]["failures"]),
        ])  # fmt: skip
    head = [
        "projection", "right", "of stage 0's", "exact", "failures",
        "recall", "precision", "failed descriptions",
    ]  # fmt: skip
    return markdown_table(head, rows)


def ability_table(scores: Mapping[str, Any]) -> str:
    """How many pictures each ability was shown on."""
    rows = [
        [name, f"{of['right']} of {of['number']}", f"{of['blind']} of {of['number']}"]
        for name, of in scores["abilities"].items()
    ]
    return markdown_table(["ability", "right", "blind"], rows)


def sign_table(scores: Mapping[str, Any]) -> str:
    """How well signs are read."""
    titles = {"seen": "words of training", "unseen": "words never shown in training"}
    rows = [
        [titles[name], f"{of['number']:.0f}", _percent(of["words"]), _percent(of["letters"])]
        for name, of in scores["signs"].items()
    ]
    return markdown_table(["signs", "asked", "words right", "letters right"], rows)


def edge_table(scores: Mapping[str, Any]) -> str:
    """How often the model says that a picture is no drawing."""
    strange = scores["strange"]
    rows = [
        ["pictures made like training's strange ones, new seeds", _percent(strange["made"])],
        ["noise", _percent(strange["noise"])],
        ["blank pictures", _percent(strange["blank"])],
    ]
    photos = scores.get("photos")
    if photos and photos["number"]:
        rows += [
            [f'{photos["number"]} photographs, "{question}"', _percent(share)]
            for question, share in photos["hedged"].items()
        ]
    rows += [
        ["drawings of the world, described (false alarms)", _percent(strange["drawings"])],
        ["drawings, all questions (false alarms)", _percent(scores["stage2"]["false_alarms"])],
    ]
    return markdown_table(["picture", "answer says that it is no drawing"], rows)


def other_hand_table(scores: Mapping[str, Any]) -> str:
    """What the model makes of drawings that no code of its world drew."""
    sets = scores["other_hand"]
    titles = {
        "recall": "objects named, colour and kind (recall)",
        "precision": "objects named that are there (precision)",
        "background": "background named",
        "hedged": "drawing taken for none",
    }
    asked = {
        key: f"question: {key.removeprefix('asked_').replace('_', ' ')}"
        for of in sets.values()
        for key in of
        if key.startswith("asked_")
    }
    rows = [
        [title, *(_percent(of[key]) for of in sets.values())]
        for key, title in (titles | asked).items()
    ]
    head = [
        f"{name} set: {of['number']:.0f} drawings, {of['things']:.0f} things"
        for name, of in sets.items()
    ]
    return markdown_table(["drawings by another hand", *head], rows)


def size_table(scores: Mapping[str, Any]) -> str:
    """Parameters of the parts, the bytes of all, and how fast they answer."""
    model, speed = scores["model"], scores["speed"]
    counts = model["parameters"]
    rows = [[f"{name}, parameters", f"{number / 1e6:.2f} M"] for name, number in counts.items()]
    threads = f"{speed['threads']:.0f} threads"
    rows += [
        ["all weights in bfloat16", f"{model['bytes_bfloat16'] / 1e6:.1f} MB"],
        ["all weights as they are stored", f"{sum(model['files'].values()) / 1e6:.1f} MB"],
        ["largest file of weights", f"{max(model['files'].values(), default=0) / 1e6:.1f} MB"],
        [f"first token after a picture came, {threads}", f"{speed['first_token_ms']:.0f} ms"],
        [f"tokens a second after that, {threads}", f"{speed['tokens_per_second']:.0f}"],
    ]
    return markdown_table(["measure", "value"], rows)


def gate_table(scores: Mapping[str, Any]) -> str:
    """What the language model answers exactly when it is told the true scene."""
    gate = scores["gate"]
    names: Mapping[str, float] = next(iter(gate.values()), {})
    rows = [
        [name.replace("_", " "), *(_percent(of.get(name, 0.0)) for of in gate.values())]
        for name in names
    ]
    return markdown_table(["question", *(f"up to {things} things" for things in gate)], rows)


def _percent(share: float) -> str:
    return f"{share:.1%}"
