"""The sheet of a run: held-out pictures with the current answers, look by look.

`sheets/0000300.png` is one look at a glance. `sheet.html` is a page that stands by itself, pictures
included: a slider leads through the looks, and shows how answers come closer to the true ones.
Words that an answer shares with the true one, in the same order, are coloured in both.
"""

import base64
import html
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from string import Template
from typing import Any

from minigpt4.checkpoints.native import write_file
from train.run_folder import RunFolder, read_lines
from train.settings import TrainSettings, data_of
from train.sheet_picture import Card, Span, draw_picture

_TEMPLATE = Path(__file__).with_name("sheet.html")
_CURVE_POINTS = 300
_CURVE = (600.0, 120.0)
"""Width and height of the loss curve, in its own units."""
_SMOOTHING = 0.95
_SIDES = {"held out": "Pictures no step shows", "learned from": "Pictures that are learned from"}


@dataclass(frozen=True, slots=True)
class Asked:
    """One picture, and what was said of it.

    Attributes:
        picture: Its place in the run's folder.
        side: `held out` or `learned from`.
        question: Empty in stage 1.
        truth: The true answer.
        answers: The model's, by step.
    """

    picture: str
    side: str
    question: str
    truth: str
    answers: Mapping[int, str]


def title_of(settings: TrainSettings) -> str:
    """What a run is, in a line."""
    own = settings.own_data.path
    what = Path(own).name if own else data_of(settings)
    return f"Stage {settings.stage} on {what}"


def draw_sheet(folder: RunFolder, title: str, step: int) -> None:
    """Writes the picture of the newest look, and the page with all of them.

    Args:
        folder: Its samples.jsonl holds every look.
        title: Stands above.
        step: The newest look's.

    Raises:
        CheckpointError: If there is no room.
    """
    asked = _asked(read_lines(folder.samples))
    losses = _held_out_losses(read_lines(folder.samples))
    cards = [
        Card(
            folder.path / each.picture,
            each.question,
            spans(each.answers[step], each.truth),
            spans(each.truth, each.answers[step]),
        )
        for each in asked
        if step in each.answers
    ]
    heading = f"{title}, step {step:,}"
    picture = draw_picture(heading, f"held-out loss {losses[step]:.3f}", cards)
    write_file(folder.sheet_of(step), picture)
    page = _page(folder, title, asked, losses)
    write_file(folder.sheet, page.encode("utf-8"))


def spans(text: str, other: str) -> list[Span]:
    """A text in pieces: those it shares with another, word by word, and those it does not.

    >>> spans("a red cat", "the red dog")
    [('a', False), ('red', True), ('cat', False)]
    """
    words, others = text.split(), other.split()
    match = SequenceMatcher(
        None, [_bare(word) for word in words], [_bare(word) for word in others], autojunk=False
    )
    shared = {
        start + offset
        for start, _, size in match.get_matching_blocks()
        for offset in range(size)
        if _bare(words[start + offset])
    }
    return [(word, place in shared) for place, word in enumerate(words)]


def likeness(answer: str, truth: str) -> float:
    """How much of two texts is shared, 0 to 1: twice the shared words over all words of both."""
    words = len(answer.split()) + len(truth.split())
    return 2 * sum(shared for _, shared in spans(answer, truth)) / words if words else 1.0


def _bare(word: str) -> str:
    return re.sub(r"\W", "", word).casefold()


def _asked(rows: Sequence[Mapping[str, Any]]) -> list[Asked]:
    by_picture: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_picture.setdefault(row["picture"], []).append(row)
    return [
        Asked(
            picture,
            own[0]["side"],
            own[0]["question"],
            own[0]["true_answer"],
            {row["step"]: row["answer"] for row in own},
        )
        for picture, own in by_picture.items()
    ]


def _held_out_losses(rows: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    return dict(sorted({row["step"]: row["held_out_loss"] for row in rows}.items()))


def _page(
    folder: RunFolder, title: str, asked: Sequence[Asked], losses: Mapping[int, float]
) -> str:
    steps = list(losses)
    sections = []
    for side, heading in _SIDES.items():
        cards = [_card(folder, each, steps) for each in asked if each.side == side]
        if cards:
            grid = "\n".join(cards)
            sections.append(f'<h2>{heading}</h2>\n<div class="cards">\n{grid}\n</div>')
    looks = [{"step": step, "loss": round(losses[step], 4)} for step in steps]
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=html.escape(title),
        curve=_curve(read_lines(folder.metrics), losses),
        sections="\n".join(sections),
        looks=json.dumps(looks),
        last=len(steps) - 1,
        step=f"{steps[-1]:,}",
        loss=f"{losses[steps[-1]]:.3f}",
    )


def _card(folder: RunFolder, asked: Asked, steps: Sequence[int]) -> str:
    content = base64.b64encode((folder.path / asked.picture).read_bytes()).decode()
    question = f'<p class="question">{html.escape(asked.question)}</p>' if asked.question else ""
    answers, cells, rows = [], [], []
    for number, step in enumerate(steps):
        answer = asked.answers.get(step, "")
        now = " now" if number == len(steps) - 1 else ""
        marked = _marked(spans(answer, asked.truth)) or '<i class="none">(nothing)</i>'
        like = likeness(answer, asked.truth)
        answers.append(f'<p class="answer{now}" data-look="{number}">{marked}</p>')
        cells.append(
            f'<button class="cell{now}" data-look="{number}" style="--like:{like:.2f}" '
            f'title="step {step:,}: {100 * like:.0f} % shared" '
            f'aria-label="step {step:,}"></button>'
        )
        rows.append(f"<tr><th>{step:,}</th><td>{marked}</td></tr>")
    return f"""<article>
<img src="data:image/png;base64,{content}" alt="{html.escape(asked.side)} picture">
<div class="said">
{question}
<div class="answers">{"".join(answers)}</div>
<p class="truth"><b>true answer</b> {html.escape(asked.truth)}</p>
<div class="strip">{"".join(cells)}</div>
<details><summary>all answers</summary><table>{"".join(rows)}</table></details>
</div>
</article>"""


def _marked(pieces: Sequence[Span]) -> str:
    """Words as HTML, runs of shared ones in one mark."""
    parts: list[str] = []
    run: list[str] = []
    for word, shared in [*pieces, ("", False)]:
        if shared:
            run.append(html.escape(word))
            continue
        if run:
            parts.append(f"<mark>{' '.join(run)}</mark>")
            run = []
        if word:
            parts.append(html.escape(word))
    return " ".join(parts)


def _curve(metrics: Sequence[Mapping[str, Any]], losses: Mapping[int, float]) -> str:
    """The losses as drawing commands of SVG."""
    read = [(row["step"], row["loss"]) for row in metrics if row["loss"] is not None]
    points = list(_smoothed(read))
    points = points[:: math.ceil(len(points) / _CURVE_POINTS) or 1]
    last = max([1, *losses, *(step for step, _ in points)])
    highest = 1.05 * max([*losses.values(), *(loss for _, loss in points)]) or 1
    width, height = _CURVE

    def at(step: float, loss: float) -> str:
        return f"{width * step / last:.1f},{height * (1 - loss / highest):.1f}"

    # A line of no length has a round end of the same size however the curve is stretched.
    dots = " ".join(f"M{at(*point)}h0" for point in losses.items())
    places = json.dumps([round(width * step / last, 1) for step in losses])
    return f"""<svg viewBox="-6 -8 {width + 12:.0f} {height + 16:.0f}" preserveAspectRatio="none"
 role="img" aria-label="training loss and held-out loss over the steps" data-places="{places}">
<line class="axis" x1="0" x2="{width:.0f}" y1="{height:.0f}" y2="{height:.0f}"/>
<line class="at" x1="{width:.0f}" x2="{width:.0f}" y1="-6" y2="{height:.0f}"/>
<polyline class="training" points="{" ".join(at(*point) for point in points)}"/>
<polyline class="held-out" points="{" ".join(at(*point) for point in losses.items())}"/>
<path class="held-out dots" d="{dots}"/>
</svg>"""


def _smoothed(points: Sequence[tuple[int, float]]) -> Iterator[tuple[int, float]]:
    total = weight = 0.0
    for step, loss in points:
        total = _SMOOTHING * total + loss
        weight = _SMOOTHING * weight + 1
        yield step, total / weight
