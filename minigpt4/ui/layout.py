"""What stands where on the page.

Looks live in ``static/page.css`` and `minigpt4.ui.theme`, behaviour in the browser in
``static/page.js``; what the parts do is wired in `minigpt4.ui.events`.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from minigpt4.config import Config, PageConfig, locate
from minigpt4.ui.contract import model_name
from minigpt4.ui.settings import Setting

STATIC = Path(__file__).parent / "static"
KEEP_SECONDS = 4 * 3600
"""Uploaded files and copies are deleted at this age; longer than a chat may be idle."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The components that events read or change."""

    chat: gr.Chatbot
    composer: gr.MultimodalTextbox
    status: gr.HTML
    notice: gr.HTML
    save: gr.Button
    saved: gr.DownloadButton
    new_chat: gr.Button
    theme: gr.Button
    settings: list[gr.components.Component]
    reset: gr.Button

    @property
    def shown(self) -> list[gr.components.Component]:
        """The components that a view updates, in its order."""
        return [self.chat, self.composer, self.status, self.notice]


def lay_out(config: Config, table: Sequence[Setting]) -> Parts:
    """Put the parts on the page; called within a ``gr.Blocks``."""
    page = config.page
    with gr.Row(elem_id="header"):
        gr.HTML(_brand(page), elem_id="brand")
        status = gr.HTML("", elem_id="status", js_on_load=None)
        save = gr.Button("Save chat", elem_id="save-chat", size="sm", min_width=0)
        new_chat = gr.Button("New chat", elem_id="new-chat", size="sm", min_width=0)
        theme = gr.Button("Light or dark", elem_id="theme", size="sm", min_width=0)
    with gr.Row(elem_id="main"):
        with gr.Column(elem_id="talk", scale=7, min_width=0):
            chat = _chatbot(page)
            notice = gr.HTML("", elem_id="notice", js_on_load=None)
            composer = _composer()
            gr.HTML(_footnote(), elem_id="footnote")
        with gr.Column(elem_id="side", scale=3, min_width=0):
            gr.HTML(_about(config), elem_id="about")
            fields, reset = _settings_panel(table)
            gr.HTML(_program(), elem_id="program")
    # Never seen: it only brings the address of the file to the browser.
    saved = gr.DownloadButton(visible="hidden", elem_id="saved-chat")
    return Parts(chat, composer, status, notice, save, saved, new_chat, theme, fields, reset)


def default_values(table: Sequence[Setting]) -> list[float | str | None]:
    """Return what the fields of the settings show on a new page."""
    return [_seed_text(each) if each.name == "seed" else each.default for each in table]


def _chatbot(page: PageConfig) -> gr.Chatbot:
    examples = [
        {
            "text": example.question,
            "display_text": example.label or example.question,
            "icon": str(locate(example.picture).resolve()),
        }
        for example in page.examples
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
        feedback_options=None,
        avatar_images=(None, STATIC / "icon.png"),
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


def _about(config: Config) -> str:
    page = config.page
    about = f"<p>{html.escape(page.notice)}</p>" if page.notice else ""
    if page.link:
        about += (
            f'<p><a href="{html.escape(page.link)}" target="_blank" rel="noopener noreferrer">'
            "How to run the released weights</a></p>"
        )
    name = html.escape(model_name(config.model.preset))
    return f'<section class="about"><h2>{name}</h2>{about}</section>'
