"""What stands where on the page.

Looks live in ``static/page.css`` and `minigpt4.ui.theme`, behaviour in the browser in
``static/page.js``; what the parts do is wired in `minigpt4.ui.events`.
"""

import html
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from minigpt4.config import Config, PageConfig, locate
from minigpt4.ui.contract import model_name, projection_labels
from minigpt4.ui.looking_view import looking_panel
from minigpt4.ui.settings import COMPARE, Setting

STATIC = Path(__file__).parent / "static"
KEEP_SECONDS = 4 * 3600
"""Uploaded files and copies are deleted at this age; longer than a chat may be idle."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The components that events read or change."""

    chat: gr.Chatbot
    composer: gr.MultimodalTextbox
    projection: gr.Radio
    status: gr.HTML
    look: gr.Button
    notice: gr.HTML
    save_page: gr.Button
    save_markdown: gr.Button
    saved: gr.DownloadButton
    new_chat: gr.Button
    theme: gr.Button
    settings: list[gr.components.Component]
    reset: gr.Button
    looking: gr.HTML

    @property
    def shown(self) -> list[gr.components.Component]:
        """The components that a view updates, in its order."""
        return [self.chat, self.composer, self.status, self.notice]

    @property
    def choices(self) -> list[gr.components.Component]:
        """The components whose values go with every question, in their order."""
        return [*self.settings, self.projection]


def lay_out(config: Config, table: Sequence[Setting], shown: Path) -> Parts:
    """Put the parts on the page; called within a ``gr.Blocks``.

    Args:
        config: What the page says of itself and offers.
        table: The settings that visitors may choose.
        shown: An empty folder, from which the page's own pictures are served.
    """
    page = config.page
    with gr.Row(elem_id="header"):
        gr.HTML(_brand(page), elem_id="brand")
        status = gr.HTML("", elem_id="status", js_on_load=None)
        # A menu of the browser's own: page.js makes the column its popover.
        gr.Button("Save chat", elem_id="save-chat", size="sm", min_width=0)
        with gr.Column(elem_id="save-menu", min_width=0):
            save_page = gr.Button("As a web page", elem_id="save-page", size="sm")
            save_markdown = gr.Button("As Markdown", elem_id="save-markdown", size="sm")
        new_chat = gr.Button("New chat", elem_id="new-chat", size="sm", min_width=0)
        theme = gr.Button("Light or dark", elem_id="theme", size="sm", min_width=0)
    with gr.Row(elem_id="main"):
        with gr.Column(elem_id="talk", scale=7, min_width=0):
            chat = _chatbot(page, shown)
            notice = gr.HTML("", elem_id="notice", js_on_load=None)
            composer = _composer()
            projection = _projection(config)
            gr.HTML(_footnote(), elem_id="footnote")
        with gr.Column(elem_id="side", scale=3, min_width=0):
            gr.HTML(_about(config), elem_id="about")
            looking = looking_panel()
            fields, reset = _settings_panel(table)
            if page.camera:
                gr.HTML(_camera(), elem_id="camera")
            gr.HTML(_program(), elem_id="program")
    _page_preview()
    # Never seen: one brings the address of a file to the browser, page.js presses the other.
    saved = gr.DownloadButton(visible="hidden", elem_id="saved-chat")
    look = gr.Button(visible="hidden", elem_id="look")
    return Parts(
        chat=chat,
        composer=composer,
        projection=projection,
        status=status,
        look=look,
        notice=notice,
        save_page=save_page,
        save_markdown=save_markdown,
        saved=saved,
        new_chat=new_chat,
        theme=theme,
        settings=fields,
        reset=reset,
        looking=looking,
    )


def default_values(table: Sequence[Setting]) -> list[float | str | None]:
    """Return what the fields of the settings show on a new page."""
    return [_seed_text(each) if each.name == "seed" else each.default for each in table]


def _chatbot(page: PageConfig, shown: Path) -> gr.Chatbot:
    def served(source: Path, name: str) -> Path:
        # A copy: the page holds its path, and where this program lies is nobody's business.
        return Path(shutil.copyfile(source, shown / f"{name}{source.suffix.lower()}"))

    examples = [
        {
            "text": example.question,
            "display_text": example.label or example.question,
            "icon": str(served(locate(example.picture), f"example-{number}")),
        }
        for number, example in enumerate(page.examples, start=1)
    ]
    return gr.Chatbot(
        elem_id="chat",
        label="Conversation",
        show_label=False,
        container=False,
        height="100%",
        layout="bubble",
        buttons=["copy"],
        editable="user",
        group_consecutive_messages=False,
        placeholder=_placeholder(page),
        examples=examples or None,
        render_markdown=False,
        sanitize_html=True,
        latex_delimiters=[],
        allow_tags=False,
        allow_file_downloads=False,
        feedback_options=("Like", "Dislike") if page.feedback_file else None,
        avatar_images=(None, served(STATIC / "icon.png", "icon")),
    )


def _composer() -> gr.MultimodalTextbox:
    return gr.MultimodalTextbox(
        elem_id="composer",
        label="Your question",
        show_label=False,
        placeholder="Ask about a picture …",
        file_types=["image"],
        file_count="multiple",
        sources=["upload"],
        max_lines=8,
        max_plain_text_length=4000,
        submit_btn=True,
        stop_btn=False,
        autofocus=True,
    )


def _projection(config: Config) -> gr.Radio:
    labels = projection_labels(config)
    return gr.Radio(
        [*labels, COMPARE],
        value=labels[0],
        label="Projection",
        container=False,
        visible=len(labels) > 1,
        elem_id="projection",
    )


def _settings_panel(
    table: Sequence[Setting],
) -> tuple[list[gr.components.Component], gr.Button]:
    fields: list[gr.components.Component] = []
    with gr.Accordion("Settings", open=False, elem_id="settings"):
        for setting in table:
            field = gr.Textbox if setting.name == "seed" else gr.Slider
            look: dict[str, Any] = (
                {"value": _seed_text(setting), "placeholder": "none", "max_lines": 1}
                if setting.name == "seed"
                else {
                    "value": setting.default,
                    "minimum": setting.low,
                    "maximum": setting.high,
                    "step": setting.step,
                }
            )
            name = f"setting-{setting.name.replace('_', '-')}"
            fields.append(field(label=setting.label, info=setting.info, elem_id=name, **look))
        reset = gr.Button("Reset settings", size="sm", elem_id="reset-settings")
    return fields, reset


def _seed_text(seed: Setting) -> str:
    # A text field, because Gradio's number field shows 0 for "none" and then sends it.
    return "" if seed.default is None else str(seed.default)


def _brand(page: PageConfig) -> str:
    logo = (STATIC / "logo.svg").read_text(encoding="utf-8")
    return (
        f'<div class="brand">{logo}<div><h1>{html.escape(page.title)}</h1>'
        f"<p>{html.escape(page.claim)}</p></div></div>"
    )


def _placeholder(page: PageConfig) -> str:
    return (
        '<div class="welcome"><h2>What would you like to know about a picture?</h2>'
        f'<p class="about-model">{html.escape(page.notice)}</p>'
        "<p>Attach, paste or drop one, then ask."
        f"{' Or try one of these:' if page.examples else ''}</p></div>"
    )


def _footnote() -> str:
    return (
        "<p>Answers can be wrong. Pictures stay on this server"
        f" and are deleted after about {KEEP_SECONDS // 3600} hours.</p>"
    )


def _program() -> str:
    code = (
        "from gradio_client import Client, handle_file\n\n"
        'client = Client("<span class="address"></span>")\n'
        "job = client.submit(\n"
        '    handle_file("picture.png"),\n'
        '    "What color is the car?",\n'
        '    api_name="/chat",\n'
        ")\n"
        "for answer in job:\n"
        "    print(answer)"
    )
    return (
        '<details class="program"><summary>Ask from a program</summary>'
        f'<pre tabindex="0" aria-label="Example in Python"><code>{code}</code></pre></details>'
    )


def _page_preview() -> None:
    # Opened by its script; the server has no part in it.
    gr.HTML(
        html_template=(STATIC / "preview.html").read_text(encoding="utf-8"),
        css_template=(STATIC / "preview.css").read_text(encoding="utf-8"),
        js_on_load=(STATIC / "preview.js").read_text(encoding="utf-8"),
        apply_default_css=False,
        elem_id="page-preview",
    )


def _camera() -> str:
    return (
        '<details class="program camera"><summary>Camera</summary>'
        '<video playsinline muted hidden aria-label="What the camera sees"></video>'
        '<p class="told" role="status"></p>'
        '<button type="button" class="take">Start the camera</button></details>'
    )


def _about(config: Config) -> str:
    page = config.page
    about = f"<p>{html.escape(page.notice)}</p>" if page.notice else ""
    if page.link:
        about += (
            f'<p><a href="{html.escape(page.link)}" target="_blank" rel="noopener noreferrer">'
            "How to run the released weights</a></p>"
        )
    labels = projection_labels(config)
    if len(labels) > 1:
        named = " and ".join([", ".join(labels[:-1]), labels[-1]])
        about += (
            f"<p>{html.escape(named)} are trainings of the projection, the one layer between the"
            f" frozen eye and the frozen language model. {COMPARE} asks through each.</p>"
        )
    name = html.escape(model_name(config.model.preset))
    return f'<section class="about"><h2>{name}</h2>{about}</section>'
