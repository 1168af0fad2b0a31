"""Hand-made picture files: what cameras, browsers and drawing programs write, and what they never do.

Each has a name, its bytes, and what must come of it: the size of a picture, or the code of an error.
"""

import io
import struct
import zlib
from collections.abc import Iterator

from PIL import Image, PngImagePlugin

from tests.picture_files import bmp, encode, gif, noise, patched_jpeg, png

Case = tuple[str, bytes, tuple[int, int] | str]


def cases() -> list[Case]:
    """All of them; more than 150."""
    return [
        *_formats_and_modes(),
        *_sizes(),
        *_orientations(),
        *_animations(),
        *_cut(),
        *_bombs(),
        *_strangers(),
        *_odd_pngs(),
        *_odd_jpegs(),
        *_tails(),
    ]


def _modes() -> Iterator[tuple[str, Image.Image]]:
    rgb = noise()
    grey = rgb.getchannel("R")
    rgba = rgb.copy()
    rgba.putalpha(grey)
    yield "RGB", rgb
    yield "L", grey
    yield "1", grey.convert("1")
    yield "P", rgb.quantize(16)
    yield "RGBA", rgba
    yield "LA", Image.merge("LA", (grey, grey))
    yield "CMYK", rgb.convert("CMYK")
    yield "I;16", grey.convert("I").convert("I;16")
    yield "PA", rgba.quantize(16).convert("PA")


_TAKES = {
    "PNG": {"RGB", "L", "1", "P", "RGBA", "LA", "I;16"},
    "JPEG": {"RGB", "L", "1", "CMYK"},
    "WEBP": {"RGB", "RGBA", "L", "LA", "P"},
    "GIF": {"RGB", "L", "1", "P", "RGBA", "LA"},
    "BMP": {"RGB", "L", "1", "P", "RGBA"},
}


def _formats_and_modes() -> Iterator[Case]:
    for file_format, modes in _TAKES.items():
        for mode, image in _modes():
            if mode in modes:
                yield f"{file_format} {mode}", encode(image, file_format), (40, 30)
    for file_format in (
        "TIFF",
        "AVIF",
        "JPEG2000",
        "PPM",
        "ICO",
        "TGA",
        "EPS",
        "PDF",
        "SGI",
        "DDS",
    ):
        yield f"{file_format} refused", encode(noise(), file_format), "not_supported"
    for quality in (1, 50, 100):
        yield f"JPEG quality {quality}", encode(noise(), "JPEG", quality=quality), (40, 30)
    for sampling in (0, 1, 2):
        yield f"JPEG 4:{sampling}", encode(noise(), "JPEG", subsampling=sampling), (40, 30)
    yield "JPEG progressive", encode(noise(), "JPEG", progressive=True), (40, 30)
    yield "JPEG restart markers", encode(noise(), "JPEG", restart_marker_rows=1), (40, 30)
    yield "WEBP lossless", encode(noise(), "WEBP", lossless=True), (40, 30)
    yield "PNG interlaced by hand", _interlaced(), (1, 1)


def _sizes() -> Iterator[Case]:
    for size in ((1, 1), (1, 2), (2, 1), (3, 300), (300, 3), (1, 100), (100, 1), (1000, 10)):
        for file_format in ("PNG", "JPEG", "GIF"):
            yield f"{file_format} {size}", encode(Image.new("RGB", size), file_format), size
    for size in ((1, 101), (5000, 1), (1, 16_384)):
        yield f"PNG {size}", encode(Image.new("RGB", size), "PNG"), "aspect"
    yield "PNG one too wide", encode(Image.new("1", (16_385, 200)), "PNG"), "too_many_pixels"
    yield "PNG of 36 megapixels", encode(Image.new("1", (6_000, 6_000)), "PNG"), (6_000, 6_000)
    yield (
        "PNG above 36 megapixels",
        encode(Image.new("1", (6_001, 6_000)), "PNG"),
        "too_many_pixels",
    )


def _orientations() -> Iterator[Case]:
    for orientation in (*range(10), 255, 65_535):
        exif = Image.Exif()
        exif[0x0112] = orientation
        size = (30, 40) if orientation in (5, 6, 7, 8) else (40, 30)
        for file_format in ("JPEG", "PNG", "WEBP"):
            yield f"{file_format} EXIF {orientation}", encode(noise(), file_format, exif=exif), size
    for name, content in {
        "empty": b"",
        "garbage": b"Exif\0\0garbage",
        "cut": b"Exif\0\0MM\0*\0\0\0\x08\0\xff",
        "loop": b"Exif\0\0II*\0\x08\0\0\0\x01\0i\x87\x04\0\x01\0\0\0\x08\0\0\0",
    }.items():
        yield f"JPEG EXIF {name}", encode(noise(), "JPEG", exif=content), (40, 30)


def _animations() -> Iterator[Case]:
    frames = [Image.new("RGB", (20, 10), colour) for colour in ("red", "lime", "blue")]
    for file_format in ("GIF", "WEBP", "PNG"):
        data = encode(frames[0], file_format, save_all=True, append_images=frames[1:])
        yield f"{file_format} animated", data, (20, 10)
    apng = encode(frames[0], "PNG", save_all=True, append_images=frames[1:], default_image=True)
    yield "PNG animated with another default picture", apng, (20, 10)
    yield "MPO", encode(frames[0], "MPO", save_all=True, append_images=frames[1:]), (20, 10)


def _cut() -> Iterator[Case]:
    for file_format in ("JPEG", "PNG", "WEBP", "GIF", "BMP"):
        data = encode(noise(), file_format)
        for share in (1, 10, 50):
            kept = data[: len(data) * share // 100]
            unknown = len(kept) < 12 and file_format != "BMP"
            unknown = unknown and not kept.startswith(
                (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8")
            )
            yield (
                f"{file_format} cut at {share} %",
                kept,
                ("empty" if not kept else "not_supported" if unknown else "unreadable"),
            )


def _bombs() -> Iterator[Case]:
    yield "JPEG 9400 x 9400", patched_jpeg(9_400, 9_400), "too_many_pixels"
    yield "JPEG 65000 x 700", patched_jpeg(65_000, 700), "too_many_pixels"
    yield "JPEG 65535 x 65535", patched_jpeg(65_535, 65_535), "too_many_pixels"
    yield "PNG 12000 x 12000", png(12_000, 12_000, 1, 0, [bytes(10)]), "too_many_pixels"
    yield "PNG 60000 x 60000", png(60_000, 60_000, 8, 2, [bytes(10)]), "too_many_pixels"
    yield "PNG 2**31 - 1", png(2**31 - 1, 2**31 - 1, 8, 2, [bytes(10)]), "too_many_pixels"
    yield "GIF screen", gif((60_000, 60_000), (1, 1)), "too_many_pixels"
    yield "GIF frame", gif((10, 10), (60_000, 60_000)), "too_many_pixels"
    yield "BMP 20000 x 20000", bmp(20_000, 20_000), "too_many_pixels"
    yield "PNG 16 bit RGBA of 36 megapixels, no data", png(6_000, 6_000, 16, 6, [b""]), "unreadable"
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "x" * 50_000_000, zip=True)
    yield "PNG with 50 MB of text in 50 kB", encode(noise(), "PNG", pnginfo=text), "unreadable"
    yield (
        "PNG with a 60 MB profile",
        _png_with(b"iCCP", b"p\0\0" + zlib.compress(bytes(60_000_000))),
        ("unreadable"),
    )


def _strangers() -> Iterator[Case]:
    contents = {
        "nothing": (b"", "empty"),
        "one byte": (b"x", "not_supported"),
        "zeros": (bytes(1000), "not_supported"),
        "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "not_supported"),
        "SVG with a script": (b"<svg><script>alert(1)</script></svg>", "not_supported"),
        "HTML": (b"<!doctype html><script>alert(1)</script>", "not_supported"),
        "PHP": (b"<?php system($_GET['c']); ?>", "not_supported"),
        "PDF": (b"%PDF-1.7\n", "not_supported"),
        "PSD": (b"8BPS\0\1" + bytes(60), "not_supported"),
        "ELF": (b"\x7fELF" + bytes(60), "not_supported"),
        "ZIP": (b"PK\3\4" + bytes(60), "not_supported"),
        "HEIC": (b"\0\0\0\x18ftypheic" + bytes(40), "not_supported"),
        "FITS": (b"SIMPLE  =                    T", "not_supported"),
        "EPS": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not_supported"),
        "PostScript in a BMP's name": (b"BM%!PS", "unreadable"),
        "XPM": (b"/* XPM */ static char *x[] = {", "not_supported"),
        "WMF": (b"\xd7\xcd\xc6\x9a" + bytes(60), "not_supported"),
        "MP4": (b"\0\0\0\x18ftypisom" + bytes(40), "not_supported"),
        "RIFF that is sound": (b"RIFF\0\0\0\0WAVE", "not_supported"),
        "pickle": (b"\x80\x04cos\nsystem\n", "not_supported"),
        "a pointer to large files": (
            b"version https://git-lfs.github.com/spec/v1\n",
            "not_supported",
        ),
        "only a JPEG's beginning": (b"\xff\xd8\xff", "unreadable"),
        "only a PNG's beginning": (b"\x89PNG\r\n\x1a\n", "unreadable"),
        "only a GIF's beginning": (b"GIF89a", "unreadable"),
        "only a WebP's beginning": (b"RIFF\x10\0\0\0WEBP", "unreadable"),
    }
    for name, (data, outcome) in contents.items():
        yield name, data, outcome


def _odd_pngs() -> Iterator[Case]:
    yield "PNG of no width", png(0, 10, 8, 2, []), "unreadable"
    yield "PNG of 3 bits", png(1, 1, 3, 0, [b"\0"]), "unreadable"
    yield "PNG of an unknown kind", png(1, 1, 8, 5, [b"\0"]), "unreadable"
    yield "PNG palette without a palette", png(2, 1, 8, 3, [b"\0\1"]), (2, 1)
    yield "PNG with fewer rows", png(4, 9, 8, 0, [bytes(4)]), (4, 9)
    yield "PNG grey of 2 bits with a key", png(4, 1, 2, 0, [b"\x1b"], b"\0\1"), (4, 1)
    yield "PNG grey of 16 bits with a key", png(1, 1, 16, 0, [b"\x12\x34"], b"\x12\x34"), (1, 1)
    yield "PNG RGB of 16 bits with a key", png(1, 1, 16, 2, [bytes(6)], bytes(6)), (1, 1)
    whole = bytearray(png(2, 2, 8, 0, [b"\1\2", b"\3\4"]))
    whole[29] ^= 1  # the header's checksum
    yield "PNG with a wrong checksum", bytes(whole), "unreadable"
    yield "PNG with garbage for pixels", _png_with(b"IDAT", b"garbage"), "unreadable"
    yield "PNG with an odd EXIF chunk", _png_with(b"eXIf", b"MM\0*\0\0\0"), (2, 2)
    yield "PNG with a made-up chunk", _png_with(b"abCd", b"x" * 100), (2, 2)


def _odd_jpegs() -> Iterator[Case]:
    data = encode(noise(), "JPEG")
    yield "JPEG with a comment of 64 kB", encode(noise(), "JPEG", comment=b"c" * 65_000), (40, 30)
    yield "JPEG of no height", patched_jpeg(40, 0), "unreadable"
    yield "JPEG without tables", data.replace(b"\xff\xdb", b"\xff\xfe"), "unreadable"
    yield "JPEG with a lying thumbnail", _with_thumbnail(data), (40, 30)
    yield "JPEG with bytes before it", b"\0" + data, "not_supported"
    yield "JPEG with its end in the middle", data[:300] + b"\xff\xd9", "unreadable"


def _tails() -> Iterator[Case]:
    for file_format in ("JPEG", "PNG", "GIF", "BMP"):
        data = encode(noise(), file_format)
        yield f"{file_format} and a script", data + b"<script>alert(1)</script>", (40, 30)
        yield f"{file_format} and an archive", data + b"PK\3\4" + bytes(500), (40, 30)


def _png_with(name: bytes, content: bytes) -> bytes:
    """A PNG file of 2 x 2 with one more chunk before its pixels."""
    whole = png(2, 2, 8, 0, [b"\1\2", b"\3\4"])
    chunk = struct.pack(">I", len(content)) + name + content
    at = whole.index(b"IDAT") - 4
    return whole[:at] + chunk + struct.pack(">I", zlib.crc32(name + content)) + whole[at:]


def _interlaced() -> bytes:
    """One pixel in the first of Adam7's seven passes."""
    data = bytearray(png(1, 1, 8, 0, [b"\x80"]))
    data[28] = 1
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    return bytes(data)


def _with_thumbnail(data: bytes) -> bytes:
    app0 = b"JFIF\0\1\1\0\0\1\0\1\xff\xff"  # claims a thumbnail of 255 x 255
    segment = b"\xff\xe0" + struct.pack(">H", len(app0) + 2) + app0
    start = io.BytesIO(data).read(2)
    return start + segment + data[2:]
