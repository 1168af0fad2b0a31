"""Curations made by hand, and the review page served for tests."""

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from tests.loops import close_loops
from tests.ports import free_port
from train.curation.folder import Folder, digest
from train.curation.ledger import Fields

COLOURS = ((220, 40, 40), (40, 170, 70), (40, 80, 220), (240, 210, 50))
TEXTS = (
    "The image shows a red field with nothing else on it.",
    "The image shows a green field with nothing else on it.",
    "The image shows a blue field with nothing else on it.",
    "The image shows a yellow field with nothing else on it.",
)


def pictures(folder: Path, number: int = 4) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for place in range(number):
        shade = tuple((each + 13 * (place // 4)) % 256 for each in COLOURS[place % 4])
        paths.append(folder / f"{place + 1}.png")
        Image.new("RGB", (96, 64), shade).save(paths[-1])
    return paths


def described(path: Path, texts: Sequence[str] = TEXTS, files: Sequence[Path] = ()) -> Folder:
    """A folder whose first step is done."""
    folder = Folder(path)
    files = files or pictures(path / "pictures", len(texts))
    rows: list[Fields] = [
        {
            "id": file.name,
            "picture": {"file": str(file)},
            "text": text,
            "tokens": 20,
            "continued": True,
            "finish": "stop",
            "seconds": 0.1,
            "time": "2026-11-22T12:00:00+00:00",
        }
        for file, text in zip(files, texts, strict=True)
    ]
    folder.described.replace(rows)
    return folder


def filtered(path: Path, texts: Sequence[str] = TEXTS, files: Sequence[Path] = ()) -> Folder:
    """A folder that is ready to be reviewed: all rows kept, as the model wrote them."""
    folder = described(path, texts, files)
    rows = folder.described.rows().values()
    folder.filtered.replace(
        [{"id": row["id"], "of": digest(row["text"]), "kept": True, "reasons": []} for row in rows]
    )
    return folder


def lines(path: Path) -> list[Fields]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@contextmanager
def served(folder: Folder) -> Iterator[str]:
    """Serve the review page until the block ends; gives its address."""
    from train.curation.review_page import launch_options, open_page
    from train.curation.reviewing import Review

    with folder.reviewed.appending(lasting=True) as rows, tempfile.TemporaryDirectory() as shown:
        blocks = open_page(Review(folder, rows, "ida"), Path(shown))
        port = free_port()
        blocks.launch(server_port=port, prevent_thread_lock=True, **launch_options(blocks))
        try:
            yield f"http://127.0.0.1:{port}/"
        finally:
            blocks.close(verbose=False)
            close_loops()
