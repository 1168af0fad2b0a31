"""Any picture a user may send -> a checked RGB picture -> pixel values.

What is asked of a picture is read from its header before a pixel is decoded, so a small file that
claims to be huge costs nothing. A picture is then turned into what its owner sees on a screen: EXIF
orientation applied, transparency on white, 16-bit grey scaled, the first frame of an animation.
Nothing else of the file is kept; and the only error that leaves this module is `ImageError`.
"""

import hashlib
import io
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from minigpt4.errors import ImageError
from minigpt4.image_structure import check_bmp, check_jpeg, check_png, damaged, first_gif_frame

if TYPE_CHECKING:
    import torch

MAX_BYTES = 20 * 2**20
MAX_SIDE = 16_384
"""The most pixels of a side."""
MAX_ASPECT = 100
"""The longer side may be this many times the shorter one."""
DRAFT_SIDE = 1_024
"""Large JPEG files are decoded at a half, a quarter or an eighth, but never below this many pixels
of the shorter side: many times what any vision part reads."""


_JPEG_MEGAPIXELS = 50
"""Large photographs are JPEG, which is cheap to decode at a part of its size."""
_OTHER_MEGAPIXELS = 36
_WEBP_MEGAPIXELS = 18
"""libwebp's decoder of animations, the only one in Pillow, takes 16 bytes a pixel."""


@dataclass(frozen=True, slots=True)
class _Format:
    """A file format: how its files begin, who reads them, their most pixels and first check."""

    name: str
    begins: Callable[[bytes], bool]
    read: Callable[[io.BytesIO], ImageFile]
    max_megapixels: int = _OTHER_MEGAPIXELS
    check: Callable[[bytes], None] = lambda _data: None


_FORMATS = (
    _Format(
        "JPEG",
        lambda head: head.startswith(b"\xff\xd8\xff"),
        JpegImageFile,
        _JPEG_MEGAPIXELS,
        check_jpeg,
    ),
    _Format(
        "PNG", lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"), PngImageFile, check=check_png
    ),
    _Format(
        "WEBP",
        lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP",
        WebPImageFile,
        _WEBP_MEGAPIXELS,
    ),
    _Format("GIF", lambda head: head.startswith((b"GIF87a", b"GIF89a")), GifImageFile),
    _Format("BMP", lambda head: head.startswith(b"BM"), BmpImageFile, check=check_bmp),
)
_HEIC_BRANDS = (b"ftypheic", b"ftypheix", b"ftypmif1")

_OPAQUE_MODES = frozenset({"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr"})
_ALPHA_MODES = frozenset({"LA", "PA", "RGBA", "RGBa"})
_GREY_16 = "I;16"
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION_TAG = 0x0112

_decoding = threading.BoundedSemaphore(2)
"""Two pictures are decoded at a time: the memory for one can reach hundreds of megabytes."""


def load_image(source: bytes | Path | Image.Image, max_bytes: int = MAX_BYTES) -> Image.Image:
    """Return a picture as its owner sees it, in mode RGB and without metadata.

    The format of a file is told by its content. A given `PIL.Image.Image` is checked and converted
    by the same rules and is not changed.

    Args:
        source: A file's content, the file's path, or an open picture.
        max_bytes: The most bytes a file may have.

    Raises:
        ImageError: With one of the codes empty, too_many_bytes, too_many_pixels, aspect,
            not_supported, unreadable, not_found, and a sentence for the user.
    """
    if isinstance(source, Image.Image):
        return _checked(lambda: _from_picture(source))
    data = _file_content(source, max_bytes) if isinstance(source, Path) else source
    if not data:
        raise ImageError("empty", "The file is empty.")
    if len(data) > max_bytes:
        raise _too_many_bytes(max_bytes)
    return _checked(lambda: _from_bytes(data))


def image_key(image: Image.Image) -> str:
    """Return the content key of an RGB picture: equal pixels and size, equal key."""
    width, height = image.size
    digest = hashlib.sha256(f"{image.mode} {width}x{height}\n".encode())
    for top in range(0, height, _STRIP_ROWS):  # strips, not to copy the whole picture
        strip = image.crop((0, top, width, min(height, top + _STRIP_ROWS)))
        digest.update(strip.tobytes())
    return digest.hexdigest()


def limit_side(image: Image.Image, max_side: int) -> Image.Image:
    """Return the picture with no side longer than ``max_side``, for display; never enlarged."""
    scale = max_side / max(image.size)
    if scale >= 1:
        return image
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0)


def to_pixel_values(
    image: Image.Image, size: int, mean: Sequence[float], std: Sequence[float]
) -> "torch.Tensor":
    """Return what the vision part reads: the whole picture squashed to a square and normalised.

    Args:
        image: An RGB picture as `load_image` returns it.
        size: Pixels of a side of the square, S.
        mean: Of red, green and blue, for values in 0..1.
        std: Likewise.

    Returns:
        Pixel values `(3, S, S)`, float32, channels red, green, blue.

    Source: Blip2ImageEvalProcessor of the release (bicubic, no crop, aspect ratio not kept).

    The numbers do not depend on the release of Pillow: see `_squashed`.
    """
    import torch  # noqa: PLC0415 - checking a picture needs no torch

    square = _squashed(image.convert("RGB"), size)
    bytes_ = torch.frombuffer(bytearray(square.tobytes()), dtype=torch.uint8)
    values = bytes_.view(size, size, 3).permute(2, 0, 1).to(torch.float32) / 255
    channel_mean = torch.tensor(mean, dtype=torch.float32).view(3, 1, 1)
    channel_std = torch.tensor(std, dtype=torch.float32).view(3, 1, 1)
    return ((values - channel_mean) / channel_std).contiguous()


_STRIP_ROWS = 256
_BIT_DEPTH_AT = 24
"""Where a PNG file says how many bits its numbers have."""


def _checked(load: Callable[[], Image.Image]) -> Image.Image:
    """Let nothing but `ImageError` out: Pillow raises at least eight kinds for damaged files."""
    try:
        return load()
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        # Only for a GIF frame larger than its own screen; all else is measured before.
        raise ImageError(
            "too_many_pixels",
            f"The image is too large. The limit is {_OTHER_MEGAPIXELS} megapixels.",
        ) from error
    except Exception as error:
        raise damaged() from error


def _file_content(path: Path, max_bytes: int) -> bytes:
    try:
        if not path.is_file():
            raise ImageError("not_found", "There is no image file at this place.")
        with path.open("rb") as file:
            return file.read(max_bytes + 1)
    except (OSError, ValueError) as error:
        raise ImageError("not_found", "The image file could not be opened.") from error


def _from_bytes(data: bytes) -> Image.Image:
    head = data[:16]
    file_format = next((known for known in _FORMATS if known.begins(head)), None)
    if file_format is None:
        raise _not_supported(heic=head[4:12] in _HEIC_BRANDS)
    box = None
    file_format.check(data)
    if file_format.name == "GIF":
        frame = first_gif_frame(data)
        data, box = frame.data, frame.box
    with file_format.read(io.BytesIO(data)) as image:
        _check_size(image.size, file_format.max_megapixels)
        with _decoding:
            if isinstance(image, JpegImageFile):
                image.draft(None, (DRAFT_SIDE, DRAFT_SIDE))
            if isinstance(image, PngImageFile):
                box = _prepare_png(image, bit_depth=data[_BIT_DEPTH_AT])
            return _as_seen(image, box)


def _prepare_png(image: PngImageFile, bit_depth: int) -> tuple[int, int, int, int] | None:
    """Go to the frame that browsers show, and scale a transparent colour as its pixels are.

    The default picture of an animation can be one for viewers that know no animation. And Pillow
    scales the pixels of 2, 4 and 16 bits to 8, but not the one colour that stands for transparency.
    """
    box = None
    if image.is_animated and image.default_image:
        image.seek(1)
        box = image.info.get("bbox")
    key = image.info.get("transparency")
    if image.mode == "L" and isinstance(key, int) and bit_depth in (2, 4):
        image.info["transparency"] = key * 255 // (2**bit_depth - 1)
    if image.mode == "RGB" and isinstance(key, tuple) and bit_depth > 8:
        image.info["transparency"] = tuple(level // 256 for level in key)
    return box


def _from_picture(image: Image.Image) -> Image.Image:
    known = [file_format.name for file_format in _FORMATS]
    if isinstance(image, ImageFile) and image.format not in [*known, "MPO"]:
        raise _not_supported()
    is_jpeg = image.format in ("JPEG", "MPO")
    _check_size(image.size, _JPEG_MEGAPIXELS if is_jpeg else _OTHER_MEGAPIXELS)
    with _decoding:
        return _as_seen(image)


def _check_size(size: tuple[int, int], max_megapixels: int) -> None:
    width, height = size
    if min(size) < 1:
        raise damaged()
    if max(size) > MAX_SIDE:
        limit = f"{MAX_SIDE:,} pixels a side"
    elif width * height > max_megapixels * 1_000_000:
        limit = f"{max_megapixels} megapixels"
    elif max(size) > MAX_ASPECT * min(size):
        raise ImageError("aspect", "The image is too narrow.")
    else:
        return
    raise ImageError(
        "too_many_pixels", f"The image is too large ({width} x {height}). The limit is {limit}."
    )


def _as_seen(image: Image.Image, box: tuple[int, int, int, int] | None = None) -> Image.Image:
    """Decode a picture of any accepted mode to upright RGB without metadata.

    Args:
        image: The picture, not yet decoded.
        box: The part of it that its first frame fills; the rest is as good as transparent.
    """
    image.load()
    orientation = _orientation(image)
    if image.mode == _GREY_16:
        image = _grey_16_to_8(image)
    if image.mode not in _OPAQUE_MODES | _ALPHA_MODES:
        raise _not_supported()
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        seen = _on_white(image)
    else:
        seen = image.convert("RGB")
    if box and box != (0, 0, *seen.size):
        whole = Image.new("RGB", seen.size, "white")
        whole.paste(seen.crop(box), box[:2])
        seen = whole
    if orientation in _UPRIGHT:
        seen = seen.transpose(_UPRIGHT[orientation])
    seen.info = {}
    return seen


def _orientation(image: Image.Image) -> int:
    """Return the EXIF (or XMP) orientation, 1 if there is none that can be read."""
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # noqa: BLE001 - a picture is not refused for what a camera wrote beside it
        return 1


def _on_white(image: Image.Image) -> Image.Image:
    """Lay a transparent picture on white, in strips: a large one is not held three times."""
    width, height = image.size
    white = Image.new("RGB", image.size, "white")
    for top in range(0, height, _STRIP_ROWS):
        strip = image.crop((0, top, width, min(height, top + _STRIP_ROWS)))
        strip.info = image.info  # what a key of transparency is told by
        strip = strip.convert("RGBA")
        white.paste(strip, (0, top), mask=strip)
    return white


def _grey_16_to_8(image: Image.Image) -> Image.Image:
    """Scale 0..65535 to 0..255; a transparent grey level becomes alpha."""
    image = image.convert("I")
    grey = image.point([(level + 128) // 257 for level in range(65_536)], "L")
    key = image.info.get("transparency")
    if not isinstance(key, int):
        return grey
    alpha = image.point([0 if level == key else 255 for level in range(65_536)], "L")
    return Image.merge("LA", (grey, alpha))


def _squashed(image: Image.Image, size: int) -> Image.Image:
    """Resize to a square, in two passes whose order is told here.

    Pillow rounds to whole levels between the passes, so their order shows by up to 2 of 255 levels.
    It used to start with the width; Pillow 13 starts with the height where that is cut by more than
    twice as much. This does so under any Pillow.
    """
    width, height = image.size
    height_first = height > size and height - size > 2 * (width - size)
    between = (width, size) if height_first else (size, height)
    return image.resize(between, Image.Resampling.BICUBIC).resize(
        (size, size), Image.Resampling.BICUBIC
    )


def _too_many_bytes(max_bytes: int) -> ImageError:
    return ImageError("too_many_bytes", f"The image is larger than {max_bytes / 2**20:g} MB.")


def _not_supported(*, heic: bool = False) -> ImageError:
    cure = " HEIC: save it as JPEG." if heic else ""
    return ImageError("not_supported", f"Please use a JPEG, PNG, WebP, GIF or BMP image.{cure}")
