"""The page, put together, and the settings of its server."""

import os
import tempfile
from pathlib import Path
from typing import Any

# Both are read when Gradio is imported: nothing here reports to anybody.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

import gradio as gr
from gradio.utils import get_upload_folder

from minigpt4.config import Config, locate
from minigpt4.ui.api import Answers, offer
from minigpt4.ui.events import admitted, wire
from minigpt4.ui.handlers import PageHandlers
from minigpt4.ui.layout import KEEP_SECONDS, STATIC, lay_out
from minigpt4.ui.sessions import SessionStore
from minigpt4.ui.settings import setting_table
from minigpt4.ui.theme import page_theme
from minigpt4.ui.worker import ModelWorker

OPEN_CHATS = 500
WAITING_EVENTS = 64


def open_page(worker: ModelWorker, config: Config, closed_seconds: float = 300) -> gr.Blocks:
    """Build the page around a worker.

    Args:
        worker: Owns the model.
        config: What the page says of itself and offers.
        closed_seconds: So long a chat outlives its tab.
    """
    table = setting_table(config.generation)
    uploads = Path(get_upload_folder())
    store = SessionStore(uploads, OPEN_CHATS, closed_seconds=closed_seconds)
    # Files that Gradio may serve, and that its cache sweep leaves alone.
    pictures = {locate(example.picture).resolve() for example in config.page.examples}
    gr.set_static_paths([STATIC, *sorted(pictures)])
    with gr.Blocks(
        title=config.page.title,
        fill_width=True,
        analytics_enabled=False,
        delete_cache=(600, KEEP_SECONDS),
    ) as blocks:
        parts = lay_out(config, table)
        wire(blocks, parts, PageHandlers(worker, store, config, table), config)
        offer(Answers(worker, uploads, config.generation), admitted(config))
    blocks.queue(max_size=WAITING_EVENTS, api_open=False)
    return blocks


def launch_options(config: Config) -> dict[str, Any]:
    """Return what `Blocks.launch` is told besides host, port and share."""
    return {
        "allowed_paths": [],
        "css_paths": [STATIC / "page.css"],
        "enable_monitoring": False,
        "favicon_path": STATIC / "icon.png",
        "footer_links": [],
        "js": (STATIC / "page.js").read_text(encoding="utf-8"),
        "max_file_size": f"{config.limits.max_upload_mb}mb",
        "mcp_server": False,
        "quiet": True,
        "run_history": False,
        "show_error": False,
        "ssr_mode": False,
        "state_session_capacity": OPEN_CHATS,
        "strict_cors": True,
        "theme": page_theme(),
    }


def leave_working_directory() -> "tempfile.TemporaryDirectory[str]":
    """Move to an empty folder, for Gradio serves files of the working directory to those who ask.

    Returns:
        The folder; it is deleted when this object goes.
    """
    empty = tempfile.TemporaryDirectory(prefix="minigpt4-page-", ignore_cleanup_errors=True)
    os.chdir(empty.name)
    return empty
