"""The page on which a person accepts, edits or rejects texts.

What it decides is in `train.curation.reviewing`; its looks are in `review.css`, its keys in
`review.js`. A picture is decoded, made small enough for a screen, and written into a folder of its
own, the only one that is served; the files of the user's own folders are not.
"""

import html
import os
import signal
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

# Both are read when Gradio is imported: nothing here reports to anybody.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

import gradio as gr
from starlette.middleware import Middleware

from minigpt4.errors import ImageError
from minigpt4.images import limit_side, load_image
from minigpt4.server.guards_body import BodySizes, OpenRoutes
from minigpt4.server.guards_headers import SecurityHeaders
from minigpt4.server.guards_origin import LOCAL_NAMES, KnownNames, KnownPeers
from minigpt4.server.guards_payload import CheckedMessages
from minigpt4.ui.theme import page_theme
from train.curation.errors import CurationError, RowError
from train.curation.folder import Caption, digest
from train.curation.reviewing import REASONS, Progress, Review, Shown, changes
from train.curation.sources import picture_bytes

_LOOKS = Path(__file__).parent
_MOST_SIDE = 1_280
_PICTURES_KEPT = 64
_HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class ScreenPicture:
    """A copy of a picture for the screen: its file, and its width divided by its height."""

    file: Path
    ratio: float


class Pictures:
    """Copies of pictures for the screen, in a folder that is served; the oldest make room."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: OrderedDict[str, ScreenPicture] = OrderedDict()
        self._lock = threading.Lock()

    def shown(self, caption: Caption) -> "ScreenPicture":
        """The copy of a picture.

        Raises:
            RowError: If it cannot be read.
        """
        with self._lock:
            if caption.id not in self._files:
                try:
                    picture = load_image(picture_bytes(caption.picture))
                except ImageError as error:
                    raise RowError(str(error)) from error
                # Named by a digest: the name of a row may be a path.
                file = self._folder / f"{digest(caption.id)}.png"
                limit_side(picture, _MOST_SIDE).save(file, compress_level=1)
                self._files[caption.id] = ScreenPicture(file, picture.width / picture.height)
                if len(self._files) > _PICTURES_KEPT:
                    self._files.popitem(last=False)[1].file.unlink(missing_ok=True)
            self._files.move_to_end(caption.id)
            return self._files[caption.id]


class ReviewPage:
    """What the page shows, as values of its parts."""

    def __init__(self, review: Review, pictures: Pictures) -> None:
        self._review = review
        self._pictures = pictures

    def begin(self) -> list[Any]:
        """What a page that was just opened shows: the first row that is open."""
        return self._view(self._review.next_open())

    def accept(self, name: str, text: str) -> list[Any]:
        """Takes the text, and goes on."""
        return self._decided(name, text, lambda: self._review.accept(name, text))

    def reject(self, name: str, text: str, reason: str = "") -> list[Any]:
        """Leaves the row out, and goes on."""
        return self._decided(name, text, lambda: self._review.reject(name, reason))

    def move(self, name: str, text: str, step: int) -> list[Any]:
        """Shows a neighbour, decided about or not."""
        self._review.keep_draft(name, text)
        return self._view(self._review.beside(name, step))

    def _decided(self, name: str, text: str, decide: Callable[[], None]) -> list[Any]:
        try:
            decide()
        except (RowError, CurationError) as error:
            self._review.keep_draft(name, text)
            raise gr.Error(str(error), print_exception=False) from error
        return self._view(self._review.next_open(after=name))

    def _view(self, shown: Shown | None) -> list[Any]:
        """Header, picture, about, text, name and changes."""
        header = _header(self._review.progress())
        if shown is None:
            done = _done(self._review.progress(), str(self._review.folder.path))
            hidden = gr.update(value="", visible=False)
            return [header, done, "", hidden, "", ""]
        caption = shown.caption
        following = self._review.next_open(after=caption.id)
        picture = self._figure(caption)
        if following is not None and following.caption.id != caption.id:
            picture += self._ahead(following.caption)
        text = gr.update(value=shown.text, visible=True)
        return [header, picture, _about(shown), text, caption.id, _changes(shown)]

    def _figure(self, caption: Caption) -> str:
        try:
            copy = self._pictures.shown(caption)
        except RowError as error:
            problem = html.escape(str(error))
            return f'<p class="problem">This picture cannot be shown: {problem}</p>'
        return (
            f'<figure><img src="{_address(copy)}" style="--ratio: {copy.ratio:.4f}"'
            f' alt="The picture to describe"><figcaption>{html.escape(caption.id)}</figcaption>'
            "</figure>"
        )

    def _ahead(self, caption: Caption) -> str:
        """The next picture, unseen: the browser has it before it is asked for."""
        try:
            return (
                f'<img class="ahead" src="{_address(self._pictures.shown(caption))}" alt="" hidden>'
            )
        except RowError:
            return ""  # told when it is its turn


def open_page(review: Review, shown: Path) -> gr.Blocks:
    """Builds the page.

    Args:
        review: What is decided.
        shown: An empty folder for the pictures on the screen; what is in it is served.
    """
    gr.set_static_paths([shown])
    page = ReviewPage(review, Pictures(shown))
    with gr.Blocks(title="Review", fill_width=True, analytics_enabled=False) as blocks:
        header = gr.HTML("", elem_id="header", js_on_load=None)
        with gr.Row(elem_id="main"):
            picture = gr.HTML("", elem_id="picture", js_on_load=None)
            with gr.Column(elem_id="desk", min_width=0):
                about = gr.HTML("", elem_id="about", js_on_load=None)
                text = gr.Textbox(
                    elem_id="text", label="Text", show_label=False, lines=5, max_lines=20
                )
                with gr.Row(elem_id="decide"):
                    accept = gr.Button("Accept", elem_id="accept", variant="primary")
                    reject = gr.Button("Reject", elem_id="reject")
                with gr.Row(elem_id="reasons"):
                    reasons = [
                        gr.Button(reason, elem_id=f"reason-{number}", size="sm")
                        for number, reason in enumerate(REASONS, start=1)
                    ]
                with gr.Row(elem_id="move"):
                    back = gr.Button("Back", elem_id="back", size="sm")
                    skip = gr.Button("Skip", elem_id="skip", size="sm")
                difference = gr.HTML("", elem_id="changes", js_on_load=None)
        gr.HTML(_KEYS, elem_id="keys", js_on_load=None)
        name = gr.Textbox(visible="hidden", elem_id="name")
        parts = [header, picture, about, text, name, difference]
        handlers: list[tuple[gr.Button, Callable[[str, str], list[Any]]]] = [
            (accept, page.accept),
            (reject, page.reject),
            (back, partial(page.move, step=-1)),
            (skip, partial(page.move, step=1)),
            *(
                (button, partial(page.reject, reason=reason))
                for button, reason in zip(reasons, REASONS, strict=True)
            ),
        ]
        quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        # Of two quick presses the second one comes with the same row, which is decided once more;
        # "once" would lose the first press at the next row, while Gradio ends the event before.
        quiet["trigger_mode"] = "multiple"
        for button, handler in handlers:
            button.click(handler, [name, text], parts, concurrency_limit=None, **quiet)
        blocks.load(page.begin, None, parts, concurrency_limit=None, **quiet)
    blocks.queue(max_size=64, api_open=False)
    return blocks


def launch_options(blocks: gr.Blocks) -> dict[str, Any]:
    """What `Blocks.launch` is told besides the port: this machine only, the page only."""
    # Gradio starts uvicorn, which by itself believes whatever says who its client is.
    os.environ["FORWARDED_ALLOW_IPS"] = ""
    sizes = BodySizes(upload=0, api=100_000, json=100_000, form=0, none=1_000)
    guards = [
        Middleware(SecurityHeaders),
        Middleware(KnownPeers),
        Middleware(KnownNames, hosts=LOCAL_NAMES),
        Middleware(OpenRoutes, sizes=sizes),
        Middleware(CheckedMessages, uploads=None, events=blocks.fns),
    ]
    return {
        "allowed_paths": [],
        "app_kwargs": {"middleware": guards},
        "css_paths": [_LOOKS / "review.css"],
        "enable_monitoring": False,
        "footer_links": [],
        "js": (_LOOKS / "review.js").read_text(encoding="utf-8"),
        "max_file_size": "1kb",
        "mcp_server": False,
        "quiet": True,
        "run_history": False,
        "server_name": _HOST,
        "share": False,
        "show_error": False,
        "ssr_mode": False,
        "state_session_capacity": 50,
        "strict_cors": True,
        "theme": page_theme(),
    }


def serve(review: Review, port: int, say: Callable[[str], None]) -> None:
    """Serves the page until Ctrl-C or SIGTERM.

    Args:
        review: What is decided.
        port: Where to listen, on this machine only.
        say: Gets a sentence for the person.

    Raises:
        CurationError: If the port is taken.
    """
    stopped = threading.Event()
    with tempfile.TemporaryDirectory(prefix="minigpt4-review-") as shown:
        blocks = open_page(review, Path(shown))
        try:
            blocks.launch(server_port=port, prevent_thread_lock=True, **launch_options(blocks))
        except OSError as error:
            message = f"Port {port} is in use. Stop what uses it, or choose another with --port."
            raise CurationError(message) from error
        before = {
            number: signal.signal(number, lambda *_: stopped.set())
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            say(f"{review.progress().open:,} texts to review: http://{_HOST}:{port}/")
            while not stopped.wait(0.5):
                pass
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            blocks.close(verbose=False)


_KEYS = "<p>" + "".join(
    f"<span><kbd>{key}</kbd> {what}</span>"
    for key, what in (
        ("Enter", "accept"),
        ("X", "reject"),
        ("1–4", "reject, with the reason"),  # noqa: RUF001 - a dash for people
        ("E", "edit"),
        ("Ctrl Enter", "accept while editing"),
        ("Esc", "leave the text"),
        ("← →", "back, skip"),
        ("D", "what was changed"),
    )
)


def _header(progress: Progress) -> str:
    decided = progress.rows - progress.open
    share = f"{100 * decided / progress.rows:.0f} %" if progress.rows else "no rows"
    bars = "".join(
        f'<span class="{kind}" style="flex-grow:{count}"></span>'
        for kind, count in (
            ("accepted", progress.accepted),
            ("edited", progress.edited),
            ("rejected", progress.rejected),
            ("open", progress.open),
        )
        if count
    )
    counts = "".join(
        f'<span class="count {kind}"><b>{count:,}</b> {kind}</span>'
        for kind, count in (
            ("accepted", progress.accepted),
            ("edited", progress.edited),
            ("rejected", progress.rejected),
            ("open", progress.open),
        )
    )
    return (
        '<div class="head"><h1>Review</h1>'
        f'<div class="counts" role="status">{counts}</div>'
        '<button type="button" id="theme" aria-label="Light or dark"></button></div>'
        f'<div class="bar" role="progressbar" aria-label="Decided" aria-valuemin="0"'
        f' aria-valuemax="{progress.rows}" aria-valuenow="{decided}" title="{share}">{bars}</div>'
    )


def _address(picture: ScreenPicture) -> str:
    return f"gradio_api/file={quote(str(picture.file))}"


def _about(shown: Shown) -> str:
    described = shown.caption.described
    facts = [f"No. {shown.number:,}", f"{described['tokens']:,} tokens"]
    facts += ["continued"] if described["continued"] else []
    facts += ["repaired"] if shown.text.strip() != described["text"].strip() else []
    chips = "".join(f"<span>{fact}</span>" for fact in facts)
    if shown.decision:
        reason = f": {html.escape(shown.reason)}" if shown.reason else ""
        chips += f'<span class="decision {shown.decision}">{shown.decision}{reason}</span>'
    return f'<div class="chips">{chips}</div>'


def _changes(shown: Shown) -> str:
    tags = {"same": "{}", "gone": "<del>{}</del>", "new": "<ins>{}</ins>"}
    marked = " ".join(
        tags[kind].format(html.escape(piece))
        for piece, kind in changes(shown.caption.described["text"], shown.caption.text)
    )
    heading = "What the model wrote, and what was changed"
    return f"<details><summary>{heading}</summary><p>{marked}</p></details>"


def _done(progress: Progress, folder: str) -> str:
    if not progress.rows:
        return '<div class="done"><h2>Nothing to review</h2><p>The filter kept no row.</p></div>'
    kept = progress.accepted + progress.edited
    edited = f" ({progress.edited:,} of them edited)" if progress.edited else ""
    return (
        f'<div class="done"><h2>All {progress.rows:,} are decided</h2>'
        f"<p>{kept:,} accepted{edited}, {progress.rejected:,} rejected. Go back to look at them"
        " again, or stop the page and go on with:</p>"
        f"<pre>python train/curate.py export {html.escape(folder)}</pre></div>"
    )
