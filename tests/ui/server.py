"""The page, served on a free port for tests and screenshots."""

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from minigpt4.config import (
    ASSETS,
    Config,
    ExampleConfig,
    GenerationSettings,
    ModelConfig,
    PageConfig,
    ProjectionConfig,
)
from minigpt4.server.api_keys import ApiKeys
from minigpt4.server.app import app_options
from minigpt4.ui.contract import PictureChat
from minigpt4.ui.worker import ModelWorker
from tests.loops import close_loops
from tests.ports import free_port


@dataclass(frozen=True)
class Served:
    """A page that is being served."""

    url: str
    chat: PictureChat
    worker: ModelWorker
    config: Config


@contextmanager
def served(
    chat: PictureChat,
    config: Config,
    closed_seconds: float = 300,
    loaded: threading.Event | None = None,
) -> Iterator[Served]:
    """Serve the page until the block ends; the model counts as loaded once `loaded` is set."""
    from minigpt4.ui.app import launch_options, open_page

    def load() -> PictureChat:
        if loaded is not None:
            loaded.wait(120)
        return chat

    worker = ModelWorker(load, config.limits.queue_size, config.engine.max_answers)
    shown = tempfile.TemporaryDirectory()
    blocks = open_page(worker, config, Path(shown.name), closed_seconds)
    port = free_port()
    blocks.launch(
        server_name="127.0.0.1",
        server_port=port,
        share=False,
        prevent_thread_lock=True,
        app_kwargs=app_options(worker, config, "tiny", "127.0.0.1", ApiKeys(), events=blocks.fns),
        **launch_options(config),
    )
    worker.start()
    try:
        yield Served(f"http://127.0.0.1:{port}/", chat, worker, config)
    finally:
        blocks.close(verbose=False)
        worker.close()
        shown.cleanup()
        close_loops()


def fake_config(folder: Path) -> Config:
    """Return the configuration of a page with the shipped example pictures and no model."""
    shipped = sorted((ASSETS / "examples").glob("*.png"))
    pictures = shipped[:3] or [
        plain(folder / f"{number}.png", (200, 60 * number, 90)) for number in range(3)
    ]
    questions = ("Describe this picture in detail.", "What colour is the house?", "What is it?")
    nothing = dict.fromkeys(("vision", "qformer", "language_model", "projection"), "none")
    return Config(
        model=ModelConfig(
            preset="tiny",
            prompt_format="tiny",
            projection_label="Stage 2",
            other_projections=(ProjectionConfig(label="Stage 1", weights="none"),),
            **nothing,
        ),
        generation=GenerationSettings(temperature=0.0),
        page=PageConfig(
            notice=(
                "A tiny model that learned only from drawings of a small cartoon world; it cannot"
                " read photographs."
            ),
            link="https://example.org/released-weights",
            examples=tuple(
                ExampleConfig(picture=str(picture), question=question)
                for picture, question in zip(pictures, questions, strict=True)
            ),
        ),
    )


def plain(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (320, 240)) -> Path:
    """Save a picture of one colour."""
    Image.new("RGB", size, colour).save(path)
    return path
