"""One self-contained page: the scores on top, then pictures beside their answers.

The page needs nothing else and asks for nothing: pictures are in it, its policy forbids requests
and runs no script but its own, and whatever a model or a file says is escaped. Without scripts it
shows everything and filters nothing.
"""

import base64
import hashlib
import html
import io
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from minigpt4.api import open_picture
from minigpt4.errors import ImageError
from minigpt4.evaluation.items import Answer, Data, Item, Judged, Mark, Score

_STATIC = Path(__file__).parent / "static"
_SIDE = 360
"""Longer side of a picture in the page, in pixels."""
_QUALITY = 82
_SIGNS: Mapping[Mark, str] = {"right": "✓", "partly": "≈", "wrong": "✗", "scored": "•"}
_WORST_FIRST: tuple[Mark, ...] = ("wrong", "partly", "right", "scored")


@dataclass(frozen=True, slots=True)
class Column:
    """The answers of one model, and what they are worth.

    Attributes:
        label: What it is called.
        answers: By their items' keys.
        judged: The same answers, judged.
    """

    label: str
    answers: Mapping[str, Answer]
    judged: Judged


def report_html(
    title: str,
    source: str,
    data: Data,
    columns: Sequence[Column],
    *,
    most: int,
    seed: int,
    marks: tuple[str, str] = ("Right", "Wrong"),
) -> str:
    """Writes the page.

    Args:
        title: The benchmark.
        source: Name of its file.
        data: Its items.
        columns: The models, in their order.
        most: Items to show. Of more, one half are drawn from those that somebody got wrong, the
            other from the rest, as far as there are as many.
        seed: Of that draw.
        marks: What right and wrong answers are called.
    """
    right, wrong = marks
    names: dict[Mark, str] = {"right": right, "partly": "Partly right", "wrong": wrong}
    names["scored"] = "Scored"
    shown = _shown(data.items, columns, most, seed)
    script = (_STATIC / "report.js").read_text(encoding="utf-8")
    style = (_STATIC / "report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    heading = html.escape(title)
    facts = f"{html.escape(source)} · {_number(len(data.items), 'item')}"
    facts += "".join(f" · {html.escape(column.label)}" for column in columns if len(columns) > 1)
    notes = [*data.notes, *_missing(data, columns)]
    told = "".join(f"<p>{html.escape(note)}</p>\n" for note in notes)
    cards = "".join(_card(item, columns, names) for item in shown)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{heading}: {html.escape(source)}</title>\n<style>{style}</style>\n</head>\n"
        f"<body>\n<header><h1>{heading}</h1><p>{facts}</p>{told}</header>\n<main>\n"
        f"{_table(columns)}{_filters(columns, shown, len(data.items), names)}"
        f'<div id="items">\n{cards}</div>\n'
        '<p id="nothing" hidden>No item is like that.</p>\n'
        f"</main>\n<script>{script}</script>\n</body>\n</html>\n"
    )


def _shown(items: Sequence[Item], columns: Sequence[Column], most: int, seed: int) -> list[Item]:
    """The items of the page, what went wrong first."""
    ranked = sorted(items, key=lambda item: _WORST_FIRST.index(_worst(item, columns)))
    if len(ranked) <= most:
        return ranked
    wrong = [item for item in ranked if _worst(item, columns) == "wrong"]
    rest = ranked[len(wrong) :]
    from_rest = min(len(rest), max(most - len(wrong), most // 2))
    draw = random.Random(seed)
    chosen = {item.key for item in draw.sample(wrong, most - from_rest)}
    chosen |= {item.key for item in draw.sample(rest, from_rest)}
    return [item for item in ranked if item.key in chosen]


def _worst(item: Item, columns: Sequence[Column]) -> Mark:
    """The worst mark that an item got; who did not answer did not get it right."""
    verdicts = [column.judged.verdicts.get(item.key) for column in columns]
    marks: list[Mark] = [verdict.mark if verdict else "wrong" for verdict in verdicts]
    return min(marks, key=_WORST_FIRST.index)


def _missing(data: Data, columns: Sequence[Column]) -> Iterator[str]:
    for column in columns:
        if missing := len(data.items) - len(column.answers):
            yield f"{column.label}: {_number(missing, 'item')} without an answer, not counted."
    if data.bad:
        yield f"{_number(len(data.bad), 'row')} of the data could not be read, and are left out."


def _table(columns: Sequence[Column]) -> str:
    """The scores: a row each, a column for each model."""
    several = len(columns) > 1
    head = "".join(f'<th scope="col">{html.escape(column.label)}</th>' for column in columns)
    rows = [
        _row(score.name, score.about, [column.judged.scores[index] for column in columns])
        for index, score in enumerate(columns[0].judged.scores)
    ]
    groups = dict.fromkeys(name for column in columns for name in column.judged.groups)
    rows += [
        _row(
            f"{columns[0].judged.scores[0].name}: {name}",
            "",
            [column.judged.groups.get(name) for column in columns],
            "group",
        )
        for name in groups
    ]
    heading = f'<thead><tr><th scope="col"></th>{head}</tr></thead>\n' if several else ""
    return (
        '<section aria-label="Scores" class="scores">\n<table>\n'
        f"{heading}<tbody>\n{''.join(rows)}</tbody>\n</table>\n"
        "<p>Small figures: 95 % interval.</p>\n</section>\n"
    )


def _row(name: str, about: str, scores: Sequence[Score | None], look: str = "score") -> str:
    told = f"<small>{html.escape(about)}</small>" if about else ""
    cells = "".join(map(_cell, scores))
    return f'<tr class="{look}"><th scope="row">{html.escape(name)}{told}</th>{cells}</tr>\n'


def _cell(score: Score | None) -> str:
    if score is None:
        return "<td></td>"
    bar = ""
    if score.kind == "share":
        bar = f'<span class="bar"><span style="width:{100 * score.value:.1f}%"></span></span>'
    return f"<td><b>{score.text}</b><small>{score.interval}</small>{bar}</td>"


def _filters(
    columns: Sequence[Column], shown: Sequence[Item], whole: int, names: Mapping[Mark, str]
) -> str:
    """Buttons that the page's script makes work; hidden until it does."""
    found = [column.judged.verdicts.get(item.key) for column in columns for item in shown]
    marks = {verdict.mark for verdict in found if verdict}
    kinds = [("", "All")] + [(mark, names[mark]) for mark in _WORST_FIRST if mark in marks]
    if None in found:
        kinds.append(("none", "No answer"))
    if len(columns) > 1:
        kinds.append(("differ", "They differ"))
    buttons = "".join(
        f'<button type="button" data-mark="{kind}" aria-pressed="{str(not kind).lower()}">'
        f"{name}</button>"
        for kind, name in kinds
    )
    who = ""
    if len(columns) > 1:
        options = "".join(
            f'<option value="{index}">{html.escape(column.label)}</option>'
            for index, column in enumerate(columns)
        )
        everybody = '<option value="">Anybody</option>'
        who = f'<select aria-label="Whose answers">{everybody}{options}</select>'
    drawn = ""
    if len(shown) < whole:
        drawn = (
            f'<p class="drawn">Here are {len(shown):,} of {whole:,} items, drawn at random; what '
        )
        drawn += "went wrong has a larger part than in the scores.</p>\n"
    return (
        '<form class="filters" role="search" hidden>\n'
        f'<div role="group" aria-label="Show">{buttons}</div>{who}\n'
        '<input type="search" placeholder="Find words" aria-label="Find words">\n'
        "<output></output>\n</form>\n"
        f"{drawn}"
    )


def _card(item: Item, columns: Sequence[Column], names: Mapping[Mark, str]) -> str:
    picture = _picture(item)
    truth = _truth(item)
    answers = "".join(_answer(item, column, names, named=len(columns) > 1) for column in columns)
    found = [column.judged.verdicts.get(item.key) for column in columns]
    marks = " ".join(verdict.mark if verdict else "none" for verdict in found)
    return (
        f'<article data-marks="{marks}"><figure>{picture}<figcaption>{html.escape(item.key)}'
        f"</figcaption></figure>\n<div><h2>{html.escape(item.question)}</h2>{truth}"
        f'<div class="answers">{answers}</div></div></article>\n'
    )


def _truth(item: Item) -> str:
    if not item.references:
        return ""
    counted = dict.fromkeys(item.references)
    each = [
        text if (number := item.references.count(text)) == 1 else f"{text} ({number})"
        for text in counted
    ]
    joined = html.escape(" · ".join(each))
    return f'<p class="truth"><span>True</span> {joined}</p>'


def _answer(item: Item, column: Column, names: Mapping[Mark, str], *, named: bool) -> str:
    label = f"<h3>{html.escape(column.label)}</h3>" if named else ""
    if item.key not in column.answers:
        return f'<div class="answer none">{label}<p class="text">No answer.</p></div>'
    answer, verdict = column.answers[item.key], column.judged.verdicts[item.key]
    sign, name = _SIGNS[verdict.mark], names[verdict.mark]
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in verdict.notes)
    said = html.escape(answer.text) or "<i>(nothing)</i>"
    return (
        f'<div class="answer {verdict.mark}">{label}<p class="text">'
        f'<span class="sign" role="img" aria-label="{name}" title="{name}">{sign}</span>{said}</p>'
        f"{f'<ul>{notes}</ul>' if notes else ''}</div>"
    )


def _picture(item: Item) -> str:
    """The picture, small, in the page itself; who reads results may not have it."""
    try:
        opened = open_picture(item.picture)
    except ImageError:
        return '<div class="gone">No picture</div>'
    opened.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    opened.save(buffer, "JPEG", quality=_QUALITY)
    data = base64.b64encode(buffer.getvalue()).decode()
    return (
        f'<img src="data:image/jpeg;base64,{data}" alt="Picture of item {html.escape(item.key)}"'
        f' width="{opened.width}" height="{opened.height}" loading="lazy">'
    )


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
