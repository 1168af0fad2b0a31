"""Bombs stop at the header, and damaged files raise nothing but our own error."""

import random
import threading
import time
from pathlib import Path

import pytest
from PIL import Image, ImageFile

from minigpt4 import images
from minigpt4.errors import ImageError
from minigpt4.images import load_image
from tests.picture_files import (
    SENTENCES,
    bmp,
    code_of,
    damaged,
    encode,
    gif,
    noise,
    patched_jpeg,
    png,
    seeds,
)

# Limits


def test_an_empty_file() -> None:
    assert code_of(b"") == "empty"


def test_too_many_bytes(tmp_path: Path) -> None:
    data = encode(noise(), "PNG")
    assert code_of(data + bytes(20 * 2**20)) == "too_many_bytes"
    path = tmp_path / "large.png"
    path.write_bytes(data)
    assert load_image(path, max_bytes=len(data)).size == (40, 30)
    for source in (data, path):
        with pytest.raises(ImageError, match=r"larger than .* MB") as caught:
            load_image(source, max_bytes=len(data) - 1)
        assert caught.value.code == "too_many_bytes"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (patched_jpeg(9_400, 9_400), r"\(9400 x 9400\). The limit is 50 megapixels."),
        (patched_jpeg(65_000, 700), r"\(65000 x 700\). The limit is 16,384 pixels a side."),
        (png(12_000, 12_000, 1, 0, [bytes(10)]), r"\(12000 x 12000\). The limit is 36 megapixels."),
        (png(60_000, 60_000, 8, 2, [bytes(10)]), "16,384 pixels a side"),
        (gif((60_000, 60_000), (1, 1)), "60000 x 60000"),
        (gif((10, 10), (60_000, 60_000)), "36 megapixels"),
        (gif((10, 10), (8_000, 8_000)), "8000 x 8000"),
        (bmp(20_000, 20_000), "20000 x 20000"),
    ],
)
def test_bombs_stop_at_the_header(data: bytes, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_image: object) -> None:
        pytest.fail("a pixel was decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", refuse)
    with pytest.raises(ImageError, match=said) as caught:
        load_image(data)
    assert caught.value.code == "too_many_pixels"


def test_aspect() -> None:
    assert code_of(encode(Image.new("RGB", (1, 5_000)), "PNG")) == "aspect"
    assert load_image(encode(Image.new("RGB", (100, 1)), "PNG")).size == (100, 1)
    assert code_of(encode(Image.new("RGB", (101, 1)), "PNG")) == "aspect"


def test_no_more_than_two_pictures_are_decoded_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    running: list[int] = []
    most: list[int] = []
    two = threading.Barrier(2, timeout=60)

    def decode(image: Image.Image, _box: object) -> Image.Image:
        running.append(1)
        most.append(len(running))
        two.wait()  # or one at a time would do
        time.sleep(0.02)
        running.pop()
        return image.convert("RGB")

    monkeypatch.setattr(images, "_as_seen", decode)
    data = encode(noise(), "PNG")
    threads = [threading.Thread(target=load_image, args=(data,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 2


# Damage


def outcome_of(data: bytes) -> str:
    """Load a file; any error but ours fails the test."""
    try:
        image = load_image(data)
    except ImageError as error:
        return error.code
    return f"{image.mode} {image.info}"


def test_truncated_files_are_unreadable() -> None:
    whole = "RGB {}"  # an animation may lose its later frames, a PNG file its last bytes
    for seed in seeds():
        for share in (1, 10, 50, 99):
            outcome = outcome_of(seed[: max(1, len(seed) * share // 100)])
            assert outcome in ("unreadable", "not_supported", whole)
        assert outcome_of(seed[: len(seed) // 10]) == "unreadable"
        assert outcome_of(seed) == whole


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning", "ignore::UserWarning")
def test_damaged_files_raise_nothing_else() -> None:
    chance = random.Random(5)
    originals = seeds()
    for _ in range(1_500):
        data = damaged(chance.choice(originals), chance)
        assert outcome_of(data) in {*SENTENCES, "too_many_pixels", "RGB {}"}


def test_running_out_of_memory_is_one_of_our_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_image: object) -> None:
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    assert code_of(encode(noise(), "PNG")) == "unreadable"
