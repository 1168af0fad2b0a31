"""The page about the ablations, from their scores alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from train.ablation.figures import ArmFigures, Share, arms_in, by_data, difference

_PAPER_ABLATIONS = {
    "base": ("58.2", "32.2"),
    "no_qformer": ("56.9", "33.4"),
    "three_layers": ("49.7", "31.0"),
    "tuned_qformer": ("52.1", "28.0"),
}
"""A-OKVQA and GQA. Source: Zhu et al., 2023, the table of ablations."""
_PAPER_COVERED = {0.1: "1.62", 0.3: "2.15", 0.5: "2.26", 1.0: "2.22"}
"""Of five captions, how many a description covers. Source: the same, the table of data."""

_INTRODUCTION = """# Ablations

`make ablation` made this page and everything on it: it trains the paper's ablations at tiny size,
scores every model after both stages, and writes what came out. Nothing here is edited by hand.

<picture>
<source media="(prefers-color-scheme: dark)" srcset="pictures/ablations-dark.png">
<img src="pictures/ablations-light.png" alt="Failures before and after stage 2, exact answers by \
ablation, and scores by share of stage 1's data; the tables below hold the figures.">
</picture>
"""

_FAILURES = """## Failed descriptions, before stage 2 and after

A description fails when it does not end, repeats a sentence that it should not, or says what no
description of this world says. Per cent of {scenes} held-out pictures; the paper's 100 photographs
gave 35 and 2.

{table}
"""

_ABLATIONS = """## What stands between the eye and the language model

Exact answers, per cent, in the mean over {types} types of question; the difference is to the first
row, in points. Beside them the paper's, on photographs.

{table}

Blind, the base shown another picture's content answers {blind} per cent after stage 2.
"""

_DATA = """## Less data in stage 1

As many steps, on fewer different samples, which come back. Stage 2 is the same for all.

{table}
"""

_TYPES = """## By type of question

Exact answers after stage 2, per cent.

{table}
"""

_METHOD = """## How it was measured

- Parts {parts} (preset `{preset}`); {stage1} steps of {batch} samples in stage 1, {stage2} in
  stage 2; {seeds}. Every arm has the same steps, batch size and learning rates, those of the
  embedded default, and none of them was tuned for an arm. The settings are
  `train/configs/tiny_stage1.yaml`, `train/configs/tiny_stage2.yaml` and `train/configs/ablations`.
- Up to {scenes} questions of every type, about pictures of seeds that no training draws; one true
  sentence each, and only that sentence is right. Answers are greedy.
- "Within chance" means within two standard errors of the questions asked; other seeds move the
  figures as well.
- Without a Q-Former every patch is projected by itself: {patches} visual tokens, where the
  Q-Former has {queries}. The paper joins four patches, of 256.
- Three layers have a GELU between each two; the paper does not say what it had there.
- CPU seconds are those of training, without scores. The frozen eye's looks at the pictures count
  for the first arm that needs them, {base}; three layers read what it saw from a cache.
- The tuned Q-Former learns at a tenth of the projection's rate, without dropout.
- The tiny model's Q-Former and language model were made for each other in stage 0, with labels of
  the scenes. So what holds here need not hold for the paper's parts.
"""


def page(found: Mapping[str, Any]) -> str:
    """Writes the page.

    Args:
        found: Of `experiment.results`.
    """
    arms, made = arms_in(found), found["made_with"]
    base = arms[0]
    blind = base.exact(2, "blind")
    without = next((arm for arm in arms if arm.name == "no_qformer"), None)
    seeds = [str(seed) for seed in found["arms"][0]["seeds"]]
    parts = [
        _INTRODUCTION,
        _FAILURES.format(scenes=made["scenes"], table=_failures(arms, made["scenes"])),
        _ABLATIONS.format(
            types=len(base.types), table=_ablations(arms), blind="?" if blind is None else blind
        ),
    ]
    if len(by_data(arms)) > 1:
        parts.append(_DATA.format(table=_data(arms, made["scenes"])))
    parts += [
        _TYPES.format(table=_types(arms)),
        _METHOD.format(
            parts=made["parts"],
            preset=made["preset"],
            stage1=f"{made['stage1_steps']:,}",
            stage2=f"{made['stage2_steps']:,}",
            batch=made["samples_a_step"],
            seeds=f"seed {seeds[0]}" if len(seeds) == 1 else f"means of seeds {', '.join(seeds)}",
            scenes=made["scenes"],
            patches="as many" if without is None else without.number("visual_tokens"),
            queries=base.number("visual_tokens"),
            base=base.title,
        ),
    ]
    return "\n".join(parts)


def _failures(arms: Sequence[ArmFigures], pictures: int) -> str:
    rows = []
    for arm in arms:
        before, after = (arm.described(stage, "failures", pictures) for stage in (1, 2))
        named = arm.described(2, "recall", pictures)
        rows.append([arm.title, _cell(before), _cell(after), _cell(named)])
    return _table(["", "after stage 1", "after stage 2", "objects named after stage 2"], rows)


def _ablations(arms: Sequence[ArmFigures]) -> str:
    base = arms[0].exact(2)
    rows = []
    for arm in arms:
        if arm.data < 1:
            continue
        before, after = arm.exact(1), arm.exact(2)
        apart = "" if arm is arms[0] or after is None or base is None else difference(after, base)
        paper = _PAPER_ABLATIONS.get(arm.name, ("", ""))
        learned = f"{arm.number('learned'):,}"
        rows.append(
            [arm.title, _cell(before), _cell(after), apart, learned, f"{arm.cpu_seconds:,.0f}",
             *paper]
        )  # fmt: skip
    heads = ["", "stage 1", "stage 2", "difference", "numbers learned", "CPU seconds",
             "paper: A-OKVQA", "paper: GQA"]  # fmt: skip
    return _table(heads, rows)


def _data(arms: Sequence[ArmFigures], pictures: int) -> str:
    base = arms[0].exact(2)
    rows = []
    for arm in by_data(arms):
        after = arm.exact(2)
        apart = "" if arm is arms[0] or after is None or base is None else difference(after, base)
        rows.append(
            [f"{100 * arm.data:g} %", _cell(arm.exact(1)), _cell(after), apart,
             _cell(arm.described(2, "recall", pictures)),
             _cell(arm.described(2, "failures", pictures)),
             _PAPER_COVERED.get(arm.data, "")]
        )  # fmt: skip
    heads = ["data", "exact, stage 1", "exact, stage 2", "difference", "objects named",
             "failed descriptions", "paper: captions covered, of 5"]  # fmt: skip
    return _table(heads, rows)


def _types(arms: Sequence[ArmFigures]) -> str:
    rows = []
    for name in arms[0].types:
        shares = [arm.of_type(2, name) for arm in arms]
        cells = ["" if each is None else f"{100 * each:.0f}" for each in shares]
        rows.append([name.replace("_", " "), *cells])
    return _table(["", *(arm.title for arm in arms)], rows)


def _cell(share: Share | None) -> str:
    return "" if share is None else str(share)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["--", *["--:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
