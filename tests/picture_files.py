"""Picture files for tests, also such as Pillow would not write.

`python -m tests.picture_files FOLDER` writes a file of every kind, for a fuzzer to begin with.
"""

import io
import random
import struct
import sys
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


def with_png_chunks(data: bytes, chunks: bytes) -> bytes:
    """Put chunks before a PNG file's pixels."""
    at = data.index(b"IDAT") - 4
    return data[:at] + chunks + data[at:]


def png_chunk(name: bytes, content: bytes) -> bytes:
    whole = name + content
    return struct.pack(">I", len(content)) + whole + struct.pack(">I", zlib.crc32(whole))


def with_jpeg_segments(segments: bytes) -> bytes:
    """Put segments right behind the beginning of a JPEG file."""
    data = encode(noise(), "JPEG")
    return data[:2] + segments + data[2:]


def jpeg_of_scans(width: int, height: int, scans: int) -> bytes:
    """Write a grey progressive JPEG whose every scan covers the whole picture in a few bytes."""

    def segment(marker: int, content: bytes) -> bytes:
        return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content

    blocks = -(-width // 8) * -(-height // 8)
    bits = "0" * (15 * (blocks // 16_384 + 1))  # runs of 16,384 blocks without a coefficient
    bits += "1" * (-len(bits) % 8)
    first = segment(0xDA, bytes([1, 1, 0, 0, 0, 0])) + bytes(-(-blocks // 8))
    further = segment(0xDA, bytes([1, 1, 0, 1, 63, 0])) + int(bits, 2).to_bytes(len(bits) // 8)
    return b"".join(
        [
            b"\xff\xd8",
            segment(0xDB, b"\0" + bytes([1] * 64)),
            segment(0xC2, struct.pack(">BHHB", 8, height, width, 1) + bytes([1, 0x11, 0])),
            segment(0xC4, b"\x00\x01" + bytes(16)),
            segment(0xC4, b"\x10\x01" + bytes(15) + b"\xe0"),
            first,
            further * (scans - 1),
            b"\xff\xd9",
        ]
    )


def bmp_of_runs(width: int, height: int, runs: bytes) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 0, 0, 256, 0)
    at = 14 + len(header) + 1024
    return b"BM" + struct.pack("<IHHI", at + len(runs), 0, 0, at) + header + bytes(1024) + runs


def with_gif_blocks(blocks: bytes) -> bytes:
    """Put blocks before the first frame of a GIF file."""
    data = encode(Image.new("L", (4, 4)), "GIF")
    at = 13 + 3 * 2 ** ((data[10] & 7) + 1) * bool(data[10] & 0x80)
    return data[:at] + blocks + data[at:]


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


def patched_jpeg(width: int, height: int) -> bytes:
    data = bytearray(encode(noise(), "JPEG"))
    at = data.find(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def seeds() -> list[bytes]:
    picture = noise()
    glass = picture.copy()
    glass.putalpha(picture.getchannel("R"))
    grey = picture.getchannel("R")
    exif = Image.Exif()
    exif[0x0112] = 6
    return [
        encode(picture, "JPEG", exif=exif),
        encode(picture, "JPEG", progressive=True),
        encode(picture.convert("CMYK"), "JPEG"),
        encode(grey, "PNG"),
        encode(glass, "PNG", exif=exif),
        encode(picture.convert("P"), "PNG", transparency=3),
        encode(grey.convert("I").convert("I;16"), "PNG"),
        encode(picture, "PNG", save_all=True, append_images=[glass], default_image=True),
        encode(glass, "WEBP"),
        encode(picture, "WEBP", save_all=True, append_images=[picture]),
        encode(picture, "GIF", save_all=True, append_images=[picture]),
        encode(picture, "BMP"),
    ]


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Change a file in one to twenty places, half of them in its header."""
    data = bytearray(data)
    for _ in range(chance.choice((1, 2, 5, 20))):
        at = chance.randrange(len(data) if chance.random() < 0.5 else min(60, len(data)))
        match chance.randrange(4):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                data[at] = chance.choice((0, 127, 128, 255))
            case 2:
                del data[max(at, 10) :]
            case 3:
                data[at:at] = data[at : at + chance.randrange(20)]
    return bytes(data)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(seeds()):
        (target / f"seed-{number}").write_bytes(content)
