"""What tests of a user's own data share."""

import json
from pathlib import Path

import pytest
from PIL import Image

from train.settings import parts_overrides


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Thirty rows about six pictures; every third row brings its instruction, some have turns."""
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(6):
        Image.new("RGB", (12, 8), (40 * number, 0, 0)).save(folder / f"{number}.png")
    rows: list[dict[str, object]] = [
        {"image": f"{number % 6}.png", "answer": f"The circle is red {number}."}
        for number in range(30)
    ]
    for row in rows[::3]:
        row["instruction"] = "What is the circle?"
    (folder / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return folder / "rows.jsonl"


@pytest.fixture
def parts(parts_folder: Path) -> list[str]:
    """What trains on the fixture's random parts, in few steps."""
    return [
        *parts_overrides(parts_folder),
        "start=",
        "schedule.warmup_steps=1",
        "check_every=100",
        "check_tokens=4",
        "device=cpu",
    ]
