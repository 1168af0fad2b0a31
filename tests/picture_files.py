"""Picture files for tests, also such as Pillow would not write."""

import io
import struct
import zlib
from pathlib import Path

import pytest
from PIL import Image

from minigpt4.errors import ImageError
from minigpt4.images import load_image

SENTENCES = {
    "empty": "The file is empty.",
    "too_many_bytes": "The image is larger than 20 MB.",
    "aspect": "The image is too narrow.",
    "unreadable": "The image could not be read. It may be damaged.",
    "not_supported": "Please use a JPEG, PNG, WebP, GIF or BMP image.",
}


def encode(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def png(
    width: int, height: int, depth: int, colour: int, rows: list[bytes], key: bytes = b""
) -> bytes:
    """Write a PNG file by hand: what Pillow would not write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            chunk(b"tRNS", key) if key else b"",
            chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))),
            chunk(b"IEND", b""),
        ]
    )


def gif(screen: tuple[int, int], frame: tuple[int, int]) -> bytes:
    head = b"GIF89a" + struct.pack("<HHBBB", *screen, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    return head + b"," + struct.pack("<HHHHB", 0, 0, *frame, 0) + b"\x02\x02\x4c\x01\x00;"


def bmp(width: int, height: int) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 100, 0, 0, 54) + header


def noise(width: int = 40, height: int = 30) -> Image.Image:
    grey = Image.effect_noise((width, height), 60)
    return Image.merge("RGB", (grey, grey.transpose(Image.Transpose.ROTATE_180), grey))


def code_of(source: bytes | Path | Image.Image) -> str:
    with pytest.raises(ImageError) as caught:
        load_image(source)
    assert caught.value.message.startswith(
        SENTENCES.get(caught.value.code, "The image is too large")
    )
    assert "0x" not in str(caught.value)  # no address of the memory
    return caught.value.code
