"""The page, served on a free port for tests and screenshots."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw

from minigpt4.config import Config, ExampleConfig, GenerationConfig, ModelConfig, PageConfig
from minigpt4.ui.contract import PictureChat
from minigpt4.ui.worker import ModelWorker


@dataclass(frozen=True)
class Served:
    """A page that is being served."""

    url: str
    chat: PictureChat
    worker: ModelWorker
    config: Config


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
            loaded.wait(60)
        return chat

    worker = ModelWorker(load, config.limits.queue_size)
    blocks = open_page(worker, config, closed_seconds)
    port = free_port()
    blocks.launch(
        server_name="127.0.0.1",
        server_port=port,
        share=False,
        prevent_thread_lock=True,
        **launch_options(config),
    )
    worker.start()
    try:
        yield Served(f"http://127.0.0.1:{port}/", chat, worker, config)
    finally:
        blocks.close(verbose=False)
        worker.close()


def fake_config(folder: Path) -> Config:
    """Return the configuration of a page with drawn example cards and no model."""
    cards = (("yellow", "What is in the sky?"), ("red", "What colour is the house?"))
    return Config(
        model=ModelConfig(
            preset="tiny",
            prompt_format="tiny",
            vision="none",
            qformer="none",
            language_model="none",
            projection="none",
        ),
        generation=GenerationConfig(temperature=0.0),
        page=PageConfig(
            notice=(
                "A tiny model that learned only from drawings of a small cartoon world; it cannot"
                " read photographs."
            ),
            link="https://example.org/released-weights",
            examples=tuple(
                ExampleConfig(
                    picture=str(scene(folder / f"{colour}.png", colour)), question=question
                )
                for colour, question in (*cards, ("green", "Describe this picture in detail."))
            ),
        ),
    )


def scene(path: Path, colour: str) -> Path:
    """Draw a small landscape whose house has the given colour."""
    picture = Image.new("RGB", (320, 240), "#bfe3f5")
    pen = ImageDraw.Draw(picture)
    pen.rectangle((0, 160, 320, 240), fill="#8cc57a")
    pen.ellipse((240, 20, 290, 70), fill="#f8d24a")
    pen.rectangle((60, 100, 140, 180), fill=colour)
    pen.polygon(((50, 100), (100, 55), (150, 100)), fill="#7a4a34")
    picture.save(path)
    return path


def plain(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (320, 240)) -> Path:
    """Save a picture of one colour."""
    Image.new("RGB", size, colour).save(path)
    return path
