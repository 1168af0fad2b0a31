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

from minigpt4.config import Config
from minigpt4.ui.api import Answers, offer
from minigpt4.ui.events import admitted, wire
from minigpt4.ui.handlers import PageHandlers
from minigpt4.ui.layout import KEEP_SECONDS, STATIC, lay_out
from minigpt4.ui.looking_view import wire_looking
from minigpt4.ui.looks import Looks
from minigpt4.ui.page_blocks import PageBlocks
from minigpt4.ui.sessions import SessionStore
from minigpt4.ui.settings import setting_table
from minigpt4.ui.theme import page_theme
from minigpt4.ui.worker import ModelWorker

OPEN_CHATS = 500
WAITING_EVENTS = 64


def open_page(
    worker: ModelWorker, config: Config, shown: Path, closed_seconds: float = 300
) -> gr.Blocks:
    """Build the page around a worker.

    Args:
        worker: Owns the model.
        config: What the page says of itself and offers.
        shown: An empty folder for copies of the page's own pictures. Visitors see its path, and
            read what is in it.
        closed_seconds: So long a chat outlives its tab.
    """
    table = setting_table(config.generation)
    uploads = upload_folder()
    store = SessionStore(uploads, OPEN_CHATS, closed_seconds=closed_seconds)
    # Files that Gradio may serve, and that its cache sweep leaves alone.
    gr.set_static_paths([shown])
    with PageBlocks(
        title=config.page.title,
        fill_width=True,
        analytics_enabled=False,
        delete_cache=(600, KEEP_SECONDS),
    ) as blocks:
        parts = lay_out(config, table, shown)
        changes = wire(blocks, parts, PageHandlers(worker, store, config, table), config)
        wire_looking(parts.looking, Looks(worker, store, config), changes)
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


def upload_folder() -> Path:
    """Where Gradio keeps the files that were uploaded."""
    return Path(get_upload_folder())


class OwnWorkingDirectory(tempfile.TemporaryDirectory[str]):
    """An empty folder to work in, for Gradio serves files of the working directory to all.

    It is left before it is deleted: without a working directory PyTorch ends the process.
    """

    def __init__(self) -> None:
        super().__init__(prefix="minigpt4-page-", ignore_cleanup_errors=True)
        self._before = Path.cwd()
        os.chdir(self.name)

    def cleanup(self) -> None:
        """Go back to where the process was, and delete the folder."""
        os.chdir(self._before)
        super().cleanup()
