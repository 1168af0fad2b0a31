"""How one picture is drawn: its style, and what befell it on its way to the reader."""

import io
import random
from dataclasses import dataclass

from PIL import Image, ImageFilter

STYLES = ("flat", "outlined", "sketchy", "shaded", "textured", "hollow")
_STYLE_WEIGHTS = (28, 28, 11, 12, 12, 9)
_TRAINING_SIDE = 96
"""The picture side in pixels that the numbers of a blur are meant for."""


@dataclass(frozen=True, slots=True)
class Look:
    """One hand and one pair of eyes.

    Attributes:
        style: One of `STYLES`.
        edge: Width of an outline, as a fraction of the canvas side; 0 where things have none.
        tinted: Whether outlines are a darker shade of what they surround; else they are dark.
        lean: How far a thing may be tilted to either side, in degrees.
        stretch: Factors of every shape's width and height, the larger one 1: a picture of another
            ratio, squashed to a square.
        shear: Share of a shape's height by which its top is moved sideways.
        contrast: 1, or what is left of it around the mean of the picture.
        quality: JPEG quality the picture went through; 0 for none.
        blur: Radius of a Gaussian blur in pixels of a 96-pixel picture; 0 for none.
        grain: Share of noise; 0 for none.
        grain_seed: Where the noise comes from.
    """

    style: str
    edge: float
    tinted: bool
    lean: float
    stretch: tuple[float, float]
    shear: float
    contrast: float
    quality: int
    blur: float
    grain: float
    grain_seed: int


def make_look(rng: random.Random) -> Look:
    """A look; about half of them are plain and clean."""
    style = rng.choices(STYLES, _STYLE_WEIGHTS)[0]
    edge = rng.uniform(0.007, 0.013) if rng.random() < 0.65 else rng.uniform(0.013, 0.022)
    if style == "flat" or (style in ("shaded", "textured") and rng.random() < 0.5):
        edge = 0.0
    tinted = rng.random() < 0.3
    lean = rng.choice((0.0, 5.0, 12.0))
    troubles = set(_troubles(rng))
    ratio = rng.uniform(0.6, 1.7) if "ratio" in troubles else 1.0
    return Look(
        style=style,
        edge=edge,
        tinted=tinted,
        lean=lean,
        stretch=(1 / ratio, 1.0) if ratio > 1 else (1.0, ratio),
        shear=rng.uniform(-0.2, 0.2) if "shear" in troubles else 0.0,
        contrast=rng.uniform(0.55, 0.85) if "contrast" in troubles else 1.0,
        quality=round(rng.triangular(30, 75, 60)) if "quality" in troubles else 0,
        blur=rng.uniform(0.3, 0.75) if "blur" in troubles else 0.0,
        grain=rng.uniform(0.02, 0.08) if "grain" in troubles else 0.0,
        grain_seed=rng.getrandbits(32),
    )


_TROUBLES = ("ratio", "ratio", "shear", "contrast", "quality", "blur", "grain")


def _troubles(rng: random.Random) -> list[str]:
    """What is wrong with a picture: mostly nothing, seldom more than one thing."""
    if rng.random() < 0.5:
        return []
    return rng.sample(_TROUBLES, rng.choice((1, 1, 1, 2, 2, 3)))


def disturb(picture: Image.Image, look: Look) -> Image.Image:
    """What a look does to a finished drawing: blur, contrast, noise, a JPEG file."""
    if look.blur:
        radius = look.blur * picture.width / _TRAINING_SIDE
        picture = picture.filter(ImageFilter.GaussianBlur(radius))
    if look.contrast < 1:
        mean = picture.resize((1, 1), Image.Resampling.BOX).resize(picture.size)
        picture = Image.blend(mean, picture, look.contrast)
    if look.grain:
        data = random.Random(look.grain_seed).randbytes(3 * picture.width * picture.height)
        picture = Image.blend(picture, Image.frombytes("RGB", picture.size, data), look.grain)
    if look.quality:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=look.quality, subsampling=2 if look.quality % 2 else 0)
        picture = Image.open(file, formats=("JPEG",)).convert("RGB")
    return picture
