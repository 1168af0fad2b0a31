"""Small files that are minutes of work without a pixel too many, and the honest ones beside them."""

import io
import struct
import time

import pytest
from PIL import Image

from minigpt4.errors import ImageError
from minigpt4.images import load_image
from tests.picture_files import (
    bmp_of_runs,
    code_of,
    encode,
    jpeg_of_scans,
    noise,
    png,
    png_chunk,
    with_gif_blocks,
    with_jpeg_segments,
    with_png_chunks,
)

MILLION = 1_000_000
WHOLE = png(2, 2, 8, 0, [b"\1\2", b"\3\4"])


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (with_png_chunks(WHOLE, png_chunk(b"abCd", b"") * MILLION), "unreadable"),
        (with_jpeg_segments(b"\xff\xed\0\2" * 2 * MILLION), "unreadable"),
        (with_jpeg_segments(b"\xff\xd9" * 2 * MILLION), "unreadable"),
        (with_jpeg_segments(b"\xff" * 10 * MILLION), "unreadable"),
        (with_jpeg_segments(b"\xff\xfe\0\2" + bytes(10 * MILLION)), "unreadable"),
        (jpeg_of_scans(7_000, 7_000, 1_000), "unreadable"),
        (with_gif_blocks(b"!\xfe" + b"\1a" * MILLION + b"\0"), "unreadable"),
        (with_gif_blocks(b"!\xfe\1a\0" * MILLION), "unreadable"),
        (with_gif_blocks(b"!\xff\0" * 4 * MILLION), "unreadable"),
        (bmp_of_runs(6_000, 5_000, b"\1\5" * 5 * MILLION), "not_supported"),
    ],
    ids=lambda value: None if isinstance(value, str) else "",
)
def test_millions_of_blocks_are_refused_at_once(data: bytes, code: str) -> None:
    assert len(data) < 20 * 2**20
    began = time.process_time()
    assert code_of(data) == code
    assert time.process_time() - began < 10  # takes 0.2 s; minutes if the blocks were read


def test_what_programs_write_is_read() -> None:
    many = with_png_chunks(WHOLE, png_chunk(b"tEXt", b"k\0v") * 1_000)
    assert load_image(many).size == (2, 2)
    profile = b"".join(b"\xff\xe2" + struct.pack(">H", 60_002) + bytes(60_000) for _ in range(255))
    assert load_image(with_jpeg_segments(profile)).size == (40, 30)
    assert load_image(with_jpeg_segments(b"\xff" * 100)).size == (40, 30)
    assert load_image(jpeg_of_scans(64, 64, 64)).size == (64, 64)
    comment = b"!\xfe" + (b"\xff" + b"c" * 255) * 1_000 + b"\0"
    assert load_image(with_gif_blocks(comment * 2)).size == (4, 4)
    assert load_image(bmp_of_runs(4, 1, b"\4\0\0\1")).size == (4, 1)


def test_a_photograph_with_scans_in_what_follows_it() -> None:
    two = encode(noise(), "MPO", save_all=True, append_images=[noise()])
    film = b"\xff\xda\0\2" * 5_000  # as a phone appends one to a picture
    assert load_image(two + film).size == (40, 30)


def test_a_progressive_jpeg_keeps_all_its_coefficients_in_memory() -> None:
    colour = encode(noise(), "JPEG", progressive=True, subsampling=0)
    at = colour.index(b"\xff\xc2") + 5
    large = colour[:at] + struct.pack(">HH", 7_000, 7_000) + colour[at + 4 :]
    with pytest.raises(ImageError, match=r"limit is 45 megapixels for a progressive JPEG"):
        load_image(large)
    assert load_image(colour).size == (40, 30)


def test_the_limit_of_webp_is_what_its_decoder_takes() -> None:
    assert code_of(encode(Image.new("L", (4_300, 4_200)), "WEBP", method=0)) == "too_many_pixels"


def test_what_a_first_gif_frame_leaves_free_is_white() -> None:
    data = bytearray(encode(Image.new("P", (4, 4)), "GIF"))
    data[6:10] = struct.pack("<HH", 9, 9)
    frame = data.index(b",", 13)
    data[frame + 1 : frame + 5] = struct.pack("<HH", 2, 3)
    seen = load_image(bytes(data))
    assert seen.size == (9, 9)
    box = seen.point([int(level == 0) for level in range(256)] * 3).getbbox()
    assert box == (2, 3, 6, 7)
    assert seen.getpixel((0, 0)) == (255, 255, 255)


def test_what_a_first_png_frame_leaves_free_does_not_show_the_hidden_picture() -> None:
    lime = Image.new("RGBA", (2, 2), "lime")
    whole = Image.new("RGBA", (8, 8), "red")
    second = whole.copy()
    second.paste(lime, (3, 4))
    file = io.BytesIO()
    whole.save(file, "PNG", save_all=True, append_images=[whole, second], default_image=True)
    data = file.getvalue()
    assert load_image(data).getpixel((0, 0)) == (255, 0, 0)
    # The same with a first frame of 2 x 2 at (3, 4): written by hand, as Pillow would not.
    control = struct.pack(">IIIIIHHBB", 0, 2, 2, 3, 4, 1, 1, 0, 0)
    hidden = bytearray(png(8, 8, 8, 6, [b"\xff\0\0\xff" * 8] * 8))
    pixels = png(2, 2, 8, 6, [b"\0\xff\0\xff" * 2] * 2)
    at = pixels.index(b"IDAT")
    content = pixels[at + 4 : at + 4 + int.from_bytes(pixels[at - 4 : at])]
    frames = png_chunk(b"fcTL", control) + png_chunk(b"fdAT", struct.pack(">I", 1) + content)
    animated = with_png_chunks(bytes(hidden), png_chunk(b"acTL", struct.pack(">II", 1, 0)))
    end = animated.index(b"IEND") - 4
    seen = load_image(animated[:end] + frames + animated[end:])
    assert seen.getpixel((0, 0)) == (255, 255, 255)
    assert seen.getpixel((3, 4)) == (0, 255, 0)
