"""The blocks a picture file is made of, walked before Pillow reads them.

Pillow steps through blocks in Python, a few microseconds each, and libjpeg reads every scan of a
progressive file over the whole picture. A file within the size limit can hold millions of either:
minutes of work without one pixel too many. What no camera or program writes is refused here; the
bounds are ten times what was ever seen and more.
"""

import re
import struct
from dataclasses import dataclass

from minigpt4.errors import ImageError

MAX_CHUNKS = 50_000
"""Of a PNG file. libpng writes 8 kB a chunk: 2,500 in 20 MB."""
MAX_SEGMENTS = 2_000
"""Markers of a JPEG file; extended XMP of 20 MB is 320."""
MAX_SCANS = 100
"""Of a JPEG file; a progressive one has about ten, and 64 spectral bands are the extreme."""
MAX_STRAY = 65_536
"""Bytes between the segments of a JPEG file that belong to none."""
MAX_SUB_BLOCKS = 100_000
"""Before the first frame of a GIF file."""
MAX_RUN_LENGTH_BYTES = 2 * 2**20
"""Of a run-length BMP file, which Pillow decodes in Python."""
MAX_COEFFICIENTS = 137_000_000
"""Of a JPEG file in several scans: libjpeg keeps them all, two bytes each, until the last scan."""


def check_png(data: bytes) -> None:
    """Refuse a PNG file of too many chunks.

    Raises:
        ImageError: There are more than MAX_CHUNKS.
    """
    at, count = 8, 0
    while at + 8 <= len(data):
        count += 1
        if count > MAX_CHUNKS:
            raise damaged()
        at += 12 + int.from_bytes(data[at : at + 4])


def check_bmp(data: bytes) -> None:
    """Refuse a large BMP file in runs.

    Raises:
        ImageError: It is larger than MAX_RUN_LENGTH_BYTES.
    """
    header_bytes, compression = data[14:18], data[30:34]
    if len(data) <= MAX_RUN_LENGTH_BYTES or header_bytes == b"\x0c\0\0\0":
        return
    if compression in (b"\1\0\0\0", b"\2\0\0\0"):
        raise ImageError(
            "not_supported",
            "Please use a JPEG, PNG, WebP, GIF or BMP image. Run-length BMP: save it as PNG.",
        )


def check_jpeg(data: bytes) -> None:
    """Refuse a JPEG file of too many segments or scans, or of too many pixels for its scans.

    Raises:
        ImageError: One of MAX_SEGMENTS, MAX_SCANS, MAX_STRAY and MAX_COEFFICIENTS is passed.
    """
    at, segments, scans, stray, progressive, samples = 2, 0, 0, 0, False, (0, 0, 0.0)
    while found := (_MARKER_OF_SCAN if scans else _MARKER).search(data, at):
        segments += 1
        stray += 0 if scans else found.start() - at
        if segments > MAX_SEGMENTS or stray > MAX_STRAY:
            raise damaged()
        marker, at = data[found.start() + 1], found.end()
        if marker == _END and scans:
            return
        if marker in _WITHOUT_LENGTH:
            continue
        if marker in _FRAMES:
            progressive = marker in _PROGRESSIVE_FRAMES
            samples = _samples(data[at : at + 20])
        scans += marker == _SCAN
        if scans > MAX_SCANS:
            raise damaged()
        if scans > 1 or (scans and progressive):
            _check_coefficients(*samples)
        at += max(2, int.from_bytes(data[at : at + 2]))


@dataclass(frozen=True, slots=True)
class GifFrame:
    """The first frame of a GIF file, without what else stands in the file.

    Attributes:
        data: A GIF file of header, palette, transparency and everything from the frame on.
        box: Left, top, right and bottom of the frame on the screen.
    """

    data: bytes
    box: tuple[int, int, int, int]


def first_gif_frame(data: bytes) -> GifFrame:
    """Leave out the comments and the like before the first frame.

    Pillow gathers comments in quadratic time: 20 MB of them take hours.

    Raises:
        ImageError: There is no frame, or more than MAX_SUB_BLOCKS before it.
    """
    flags = data[10] if len(data) > _GIF_HEADER else 0
    at = begin = _GIF_HEADER + (3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0)
    control, count = b"", 0
    while found := _GIF_BLOCK.search(data, at):
        at = found.start()
        if found[0] == b",":
            if len(data) < at + 10:
                break
            left, top, width, height = struct.unpack_from("<HHHH", data, at + 1)
            box = (left, top, left + width, top + height)
            return GifFrame(data[:begin] + control + data[at:], box)
        if found[0] == b";":
            break
        label, start = data[at + 1 : at + 2], at + 2
        at = start
        while at < len(data) and (size := data[at]):
            at, count = at + 1 + size, count + 1
            if count > MAX_SUB_BLOCKS:
                raise damaged()
        if label == b"\xf9":
            control = b"!\xf9" + data[start : start + 1 + data[start]] + b"\0"
        at, count = at + 1, count + 1
        if count > MAX_SUB_BLOCKS:
            break
    raise damaged()


def damaged() -> ImageError:
    """What is said of a file that cannot be read."""
    return ImageError("unreadable", "The image could not be read. It may be damaged.")


_MARKER = re.compile(rb"\xff[^\x00\xff]")
_MARKER_OF_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # restarts stand within a scan
_SCAN, _END = 0xDA, 0xD9
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xDA)})
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE_FRAMES = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_GIF_HEADER = 13
_GIF_BLOCK = re.compile(rb"[!,;]")


def _samples(frame: bytes) -> tuple[int, int, float]:
    """Return width, height and numbers for each pixel, from what follows a frame's marker."""
    if len(frame) < 8 + 3 * frame[7]:
        return 0, 0, 0.0
    height, width = struct.unpack_from(">HH", frame, 3)
    sampling = frame[9 : 8 + 3 * frame[7] : 3]
    across = max((each >> 4 for each in sampling), default=1) or 1
    down = max((each & 15 for each in sampling), default=1) or 1
    return width, height, sum((each >> 4) * (each & 15) for each in sampling) / (across * down)


def _check_coefficients(width: int, height: int, numbers: float) -> None:
    if width * height * numbers > MAX_COEFFICIENTS:
        limit = int(MAX_COEFFICIENTS / numbers / 1_000_000)
        raise ImageError(
            "too_many_pixels",
            f"The image is too large ({width} x {height}). The limit is {limit} megapixels for a"
            " progressive JPEG of this kind.",
        )
