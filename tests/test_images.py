"""Any file a user may send: what it looks like to its owner, or one clean error; never anything else."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from minigpt4 import images
from minigpt4.errors import ImageError
from minigpt4.images import image_key, limit_side, load_image, to_pixel_values
from tests.picture_files import code_of, encode, noise, png

GOLDEN = Path(__file__).parent / "golden"
WHITE = (255, 255, 255)
RED = (255, 0, 0)


def pixels(image: Image.Image) -> list[tuple[int, int, int]]:
    return [tuple(pixel) for pixel in np.asarray(image).reshape(-1, 3).tolist()]


# What is accepted


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "WEBP", "GIF", "JPEG", "MPO"])
def test_formats_are_told_by_content(file_format: str, tmp_path: Path) -> None:
    options = {"lossless": True} if file_format == "WEBP" else {}
    original = noise().quantize(16).convert("RGB")
    data = encode(original, file_format, **options)
    image = load_image(data)
    assert (image.mode, image.size, image.info) == ("RGB", (40, 30), {})
    if file_format not in ("JPEG", "MPO"):
        assert pixels(image) == pixels(original)
    misnamed = tmp_path / "picture.svg"
    misnamed.write_bytes(data)
    assert pixels(load_image(misnamed)) == pixels(image)


@pytest.mark.parametrize(
    "file_format", ["TIFF", "AVIF", "JPEG2000", "PPM", "ICO", "TGA", "EPS", "PDF"]
)
def test_other_formats_are_refused(file_format: str) -> None:
    assert code_of(encode(noise(), file_format)) == "not_supported"


@pytest.mark.parametrize(
    "data",
    [
        b"x",
        b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        b"<!doctype html><script>",
        b"8BPS\0\1" + bytes(60),
        b"\x7fELF" + bytes(60),
        b"SIMPLE  =                    T",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
    ],
)
def test_files_that_are_no_pictures_are_refused(data: bytes) -> None:
    assert code_of(data) == "not_supported"


@pytest.mark.parametrize("brand", [b"heic", b"heix", b"mif1"])
def test_heic_is_told_its_cure(brand: bytes) -> None:
    with pytest.raises(ImageError, match="HEIC: save it as JPEG") as caught:
        load_image(b"\0\0\0\x18ftyp" + brand + bytes(40))
    assert caught.value.code == "not_supported"


def test_an_open_picture_follows_the_same_rules_and_is_not_changed() -> None:
    given = Image.new("RGBA", (4, 3), (9, 9, 9, 0))
    assert set(pixels(load_image(given))) == {WHITE}
    assert (given.mode, given.getpixel((0, 0))) == ("RGBA", (9, 9, 9, 0))
    assert code_of(Image.open(io.BytesIO(encode(noise(), "TIFF")))) == "not_supported"
    assert code_of(Image.new("L", (1, 101))) == "aspect"
    assert code_of(Image.new("RGB", (0, 10))) == "unreadable"
    for mode in ("F", "I", "LAB", "HSV", "La", "I;16B"):
        assert code_of(Image.new(mode, (4, 3))) == "not_supported"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none.png", tmp_path, Path("a\0b")):
        with pytest.raises(ImageError) as caught:
            load_image(path)
        assert caught.value.code == "not_found"
        assert str(tmp_path) not in str(caught.value)


# What it looks like


@pytest.mark.parametrize("file_format", ["PNG", "WEBP"])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_white(mode: str, file_format: str) -> None:
    picture = Image.new("RGBA", (3, 1), (0, 0, 0, 0))
    picture.putpixel((1, 0), (10, 10, 10, 255))
    picture.putpixel((2, 0), (0, 0, 0, 128))
    options = {"lossless": True, "exact": True} if file_format == "WEBP" else {}
    hidden, shown, half = pixels(load_image(encode(picture.convert(mode), file_format, **options)))
    assert (hidden, shown) == (WHITE, (10, 10, 10))
    assert half == (127, 127, 127)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (png(3, 1, 8, 0, [bytes([7, 0, 255])], struct.pack(">H", 7)), [255, 0, 255]),
        (png(4, 1, 4, 0, [bytes([0xF0, 0x7A])], struct.pack(">H", 7)), [255, 0, 255, 170]),
        (png(4, 1, 2, 0, [bytes([0b11000110])], struct.pack(">H", 1)), [255, 0, 255, 170]),
        (png(4, 1, 1, 0, [bytes([0b10100000])], struct.pack(">H", 0)), [255, 255, 255, 255]),
        (
            png(3, 1, 16, 0, [struct.pack(">3H", 0x1234, 257 * 9, 0)], struct.pack(">H", 0x1234)),
            [255, 9, 0],
        ),
        (
            png(2, 1, 8, 2, [bytes([1, 2, 3, 4, 4, 4])], struct.pack(">3H", 1, 2, 3)),
            [255, 4],
        ),
        (
            png(
                2,
                1,
                16,
                2,
                [struct.pack(">6H", *[0x1234] * 3, *[257 * 4] * 3)],
                struct.pack(">3H", *[0x1234] * 3),
            ),
            [255, 4],
        ),
    ],
    ids=["grey 8", "grey 4", "grey 2", "grey 1", "grey 16", "rgb 8", "rgb 16"],
)
def test_a_transparent_colour_is_white(data: bytes, expected: list[int]) -> None:
    assert pixels(load_image(data)) == [(level, level, level) for level in expected]


@pytest.mark.parametrize("file_format", ["PNG", "GIF"])
def test_a_transparent_palette_entry_is_white(file_format: str) -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.putpixel((1, 0), 1)
    data = encode(picture, file_format, transparency=0)
    assert pixels(load_image(data)) == [WHITE, (40, 50, 60)]


def test_16_bit_grey_keeps_its_levels() -> None:
    ramp = np.arange(65_536, dtype=">u2").reshape(256, 256)
    grey = np.asarray(load_image(png(256, 256, 16, 0, [row.tobytes() for row in ramp])))[..., 0]
    assert grey.min() == 0
    assert grey.max() == 255
    assert np.abs(grey - np.arange(65_536).reshape(256, 256) / 257).max() <= 0.5


def test_cmyk_is_converted() -> None:
    picture = Image.new("CMYK", (20, 20), (0, 255, 255, 0))
    assert load_image(encode(picture, "JPEG")).getpixel((5, 5)) == RED


@pytest.mark.parametrize("orientation", [*range(10), 255])
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_orientation_is_applied(orientation: int, file_format: str) -> None:
    upright = Image.new("RGB", (32, 16), "white")
    upright.paste("red", (0, 0, 16, 8))
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = load_image(encode(stored, file_format, exif=exif))
    assert (image.size, image.info, len(image.getexif())) == ((32, 16), {}, 0)
    difference = np.abs(np.asarray(image).astype(int) - np.asarray(upright).astype(int))
    assert difference[2:6, 2:14].max() < 8  # the red corner
    assert difference[10:, 18:].max() < 8


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize(
    "exif", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0" + b"\xff" * 99]
)
def test_bad_exif_is_ignored(exif: bytes) -> None:
    assert load_image(encode(noise(), "JPEG", exif=exif)).size == (40, 30)


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_counts(file_format: str) -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "black", "blue")]
    options = {"lossless": True} if file_format == "WEBP" else {}
    data = encode(frames[0], file_format, save_all=True, append_images=frames[1:], **options)
    assert load_image(data).getpixel((0, 0)) == RED


def test_an_apng_shows_what_browsers_show() -> None:
    hidden, *frames = [Image.new("RGB", (20, 20), colour) for colour in ("black", "red", "blue")]
    data = encode(hidden, "PNG", save_all=True, append_images=frames, default_image=True)
    assert load_image(data).getpixel((0, 0)) == RED


def test_large_jpegs_are_decoded_at_a_part_of_their_size() -> None:
    image = load_image(encode(Image.new("RGB", (4_200, 4_200), "red"), "JPEG"))
    assert image.size == (1_050, 1_050)
    assert load_image(encode(Image.new("RGB", (2_000, 2_047), "red"), "JPEG")).size == (
        2_000,
        2_047,
    )


# Keys, copies, pixel values


def test_keys_tell_pictures_apart() -> None:
    picture = noise(40, 300)
    key = image_key(picture)
    assert key == image_key(picture.copy()) == image_key(load_image(encode(picture, "PNG")))
    other = picture.copy()
    other.putpixel((39, 299), (1, 2, 3))
    blank = [Image.new("RGB", size) for size in ((4, 6), (6, 4), (2, 12))]
    assert len({key, image_key(other), *map(image_key, blank)}) == 5


def test_limit_side() -> None:
    assert limit_side(noise(), 40).size == (40, 30)
    assert limit_side(noise(), 20).size == (20, 15)
    assert limit_side(Image.new("RGB", (1_000, 10)), 50).size == (50, 1)


@pytest.mark.parametrize("size", [(50, 75), (75, 50), (10, 300), (300, 10), (70, 70), (56, 200)])
def test_squashing_takes_its_two_passes_in_a_fixed_order(size: tuple[int, int]) -> None:
    width, height = size
    picture, cubic = noise(*size), Image.Resampling.BICUBIC
    height_first = height - 56 > 2 * (width - 56) and height > 56
    between = picture.resize((width, 56) if height_first else (56, height), cubic)
    assert pixels(images._squashed(picture, 56)) == pixels(between.resize((56, 56), cubic))
    assert height_first == (size in [(50, 75), (10, 300), (56, 200)])


@pytest.mark.parametrize("number", range(3))
def test_pixel_values_are_those_of_the_release(number: int) -> None:
    import torch

    mean = (0.48145466, 0.4578275, 0.40821073)
    std = (0.26862954, 0.26130258, 0.27577711)
    golden = np.load(GOLDEN / "pixel_values.npz")["pixel_values"][number]
    values = to_pixel_values(load_image(GOLDEN / f"img{number}.png"), 56, mean, std)
    assert (values.shape, values.dtype) == ((3, 56, 56), torch.float32)
    assert values.is_contiguous()
    np.testing.assert_array_equal(values.numpy(), golden)
