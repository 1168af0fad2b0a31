"""The whole server on a free port: page, /v1, health and metrics, around any chat."""

import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from minigpt4.config import Config
from minigpt4.server.api_keys import ApiKeys
from minigpt4.server.app import app_options
from minigpt4.ui.contract import PictureChat
from minigpt4.ui.worker import ModelWorker
from tests.loops import close_loops
from tests.ports import free_port

NAME = "tiny"


@dataclass(frozen=True)
class Site:
    """A server that runs; `url` ends with a slash."""

    url: str
    worker: ModelWorker


@contextmanager
def running(
    chat: PictureChat,
    config: Config,
    keys: Sequence[str] = (),
    loaded: threading.Event | None = None,
) -> Iterator[Site]:
    """Serve until the block ends; the model counts as loaded once `loaded` is set."""
    from minigpt4.ui.app import launch_options, open_page

    def load() -> PictureChat:
        if loaded is not None and not loaded.wait(120):
            raise TimeoutError
        return chat

    host = "127.0.0.1"
    worker = ModelWorker(load, config.limits.queue_size, config.engine.max_answers)
    folder = tempfile.TemporaryDirectory()
    blocks = open_page(worker, config, Path(folder.name))
    port = free_port()
    worker.start()
    blocks.launch(
        server_name=host,
        server_port=port,
        share=False,
        prevent_thread_lock=True,
        app_kwargs=app_options(worker, config, NAME, host, ApiKeys(keys), events=blocks.fns),
        **launch_options(config),
    )
    try:
        yield Site(f"http://{host}:{port}/", worker)
    finally:
        worker.close()
        blocks.close(verbose=False)
        folder.cleanup()
        close_loops()
