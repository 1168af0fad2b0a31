"""A chat as one file that people can keep: a page of HTML with its pictures inside.

The file needs nothing else and runs nothing: everything that was said is escaped, and the page
forbids itself scripts and requests.
"""

import base64
import html
from collections.abc import Sequence
from datetime import datetime

from minigpt4.ui.views import ShownPicture, ShownTurn

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; }
html { background: light-dark(#fff, #101518); color: light-dark(#222b30, #eef0f0); }
body { max-width: 720px; margin: 0 auto; padding: 32px 20px 48px; }
body { font: 16px/1.6 system-ui, sans-serif; }
header { border-bottom: 1px solid #8886; margin-bottom: 24px; padding-bottom: 12px; }
h1 { font-size: 22px; line-height: 1.25; margin: 0 0 4px; }
h2 { font-size: 13px; margin: 0 0 4px; }
header p, h2, figcaption { color: light-dark(#4d5a60, #c9d0d2); }
header p, figcaption { margin: 0; font-size: 14px; }
section { margin: 0 0 28px; break-inside: avoid; }
.question { background: light-dark(#d5f2ee, #154e4c); border-radius: 14px; padding: 10px 16px; }
.text { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0; }
.answer { padding: 12px 16px 0; }
figure { margin: 4px 0 12px; }
img { display: block; max-width: 100%; max-height: 420px; border-radius: 10px; }
"""


def file_name(saved: datetime, ending: str = "html") -> str:
    """Return the name under which people find the file again."""
    return f"minigpt4-chat-{saved:%Y-%m-%d}.{ending}"


def transcript_html(
    turns: Sequence[ShownTurn], title: str, model: str, notice: str, saved: datetime
) -> str:
    """Write finished turns as a page.

    Args:
        turns: What was said; the copies of its pictures must be there.
        title: Name of the page that the chat was held on.
        model: Who answered.
        notice: What readers should know of this model.
        saved: When this was saved.
    """
    heading = html.escape(title)
    # No "%-d" and no names of months: both depend on the machine.
    facts = f"{html.escape(model)} · saved {saved:%Y-%m-%d %H:%M}"
    told = f"<p>{html.escape(notice)}</p>" if notice else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{heading}: a chat</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<header><h1>{heading}</h1><p>{facts}</p>{told}</header>\n"
        f"<main>\n{''.join(map(_section, turns))}</main>\n</body>\n</html>\n"
    )


def _section(turn: ShownTurn) -> str:
    pictures = "".join(map(_figure, turn.pictures))
    answers = "".join(
        f'<div class="answer"><h2>{html.escape(name)}</h2>'
        f'<p class="text">{html.escape(text)}</p></div>\n'
        for name, text in _answers(turn)
    )
    return (
        f'<section>\n<div class="question"><h2>Question</h2>{pictures}'
        f'<p class="text">{html.escape(turn.question)}</p></div>\n{answers}</section>\n'
    )


def _answers(turn: ShownTurn) -> list[tuple[str, str]]:
    """Each answer with its heading."""
    if not turn.sides:
        return [("Answer", turn.answer or "")]
    several = len(turn.sides) > 1
    return [
        (
            f"Answer: {side.label}"
            + (", which the chat went on with" if several and side.kept else ""),
            side.text,
        )
        for side in turn.sides
    ]


def _figure(picture: ShownPicture) -> str:
    name = f"Picture {picture.number}"
    data = base64.b64encode(picture.path.read_bytes()).decode("ascii")
    return (
        f'<figure><img src="data:image/webp;base64,{data}" alt="{name}">'
        f"<figcaption>{name}</figcaption></figure>"
    )
