"""A chat as Markdown with its pictures beside it, packed into one file."""

import io
import re
import zipfile
from collections.abc import Sequence
from datetime import datetime

from minigpt4.ui.views import ShownTurn

_MARKS = re.compile(r"([\\`*_\[\]<>#|~$&])")
_LINE_STARTS = re.compile(r"^([-+=]|\d+(?=[.)]))", re.MULTILINE)
_INDENT = re.compile(r"^[ \t]+", re.MULTILINE)


def transcript_zip(
    turns: Sequence[ShownTurn], title: str, model: str, notice: str, saved: datetime
) -> bytes:
    """Pack finished turns: ``chat.md``, and a file for each picture.

    Args:
        turns: What was said; the copies of its pictures must be there.
        title: Name of the page that the chat was held on.
        model: Who answered.
        notice: What readers should know of this model.
        saved: When this was saved.
    """
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as files:
        files.writestr("chat.md", transcript_markdown(turns, title, model, notice, saved))
        for turn in turns:
            for picture in turn.pictures:
                files.writestr(_picture_name(picture.number), picture.path.read_bytes())
    return packed.getvalue()


def transcript_markdown(
    turns: Sequence[ShownTurn], title: str, model: str, notice: str, saved: datetime
) -> str:
    """Write finished turns as Markdown; see `transcript_zip`."""
    parts = [f"# {_plain(title)}", f"{_plain(model)}, saved {saved:%Y-%m-%d %H:%M}"]
    if notice:
        parts.append(_plain(notice))
    for turn in turns:
        parts.append("## Question")
        parts += [
            f"![Picture {picture.number}]({_picture_name(picture.number)})"
            for picture in turn.pictures
        ]
        parts.append(_plain(turn.question))
        if not turn.sides:
            parts += ["## Answer", _plain(turn.answer or "")]
        for side in turn.sides:
            kept = ", which the chat went on with" if side.kept and len(turn.sides) > 1 else ""
            parts += [f"## Answer: {_plain(side.label)}{kept}", _plain(side.text)]
    return "\n\n".join(parts) + "\n"


def _picture_name(number: int) -> str:
    return f"picture-{number}.webp"


def _plain(text: str) -> str:
    """Write text so that Markdown shows it as it was said, line by line."""
    text = _MARKS.sub(r"\\\1", text)
    text = _LINE_STARTS.sub(lambda found: _escaped_start(found[1]), text)
    text = _INDENT.sub(lambda found: "&nbsp;" * len(found[0].expandtabs(4)), text)
    # A line break within a paragraph stays one.
    return re.sub(r"(?<=[^\n])\n(?=[^\n])", "\\\n", text)


def _escaped_start(start: str) -> str:
    # A number is kept from opening a list by its point or bracket.
    return f"{start}\\" if start.isdigit() else f"\\{start}"
