"""Coverage-guided fuzzing of `minigpt4.images`: whatever the bytes, an RGB picture or an `ImageError`.

    make fuzz                         ten minutes
    make fuzz FUZZ_SECONDS=60

Atheris is no requirement of the tests: `make fuzz` puts it into an environment of its own. What it
finds is written to the current directory as crash-<hash>; that file then becomes a case of
tests/test_image_limits.py. SECURITY.md tells what the last long run saw.
"""

import sys
import warnings

import atheris

with atheris.instrument_imports(include=["minigpt4.images", "PIL"]):
    from PIL import Image

    from minigpt4.errors import ImageError
    from minigpt4.images import image_key, load_image

SMALL = 4_000_000  # pixels; larger pictures are right, and too slow to be worth a fuzzer's time


def try_one(data: bytes) -> None:
    """Reads bytes as the page would; any exception but `ImageError` is a finding."""
    try:
        image = load_image(data, max_bytes=1 << 20)
    except ImageError as error:
        if not error.message or "0x" in error.message or "/" in error.message:
            raise AssertionError(f"not fit for a user: {error.message!r}") from error
        return
    if image.mode != "RGB" or image.info or min(image.size) < 1:
        raise AssertionError(f"not a clean picture: {image.mode} {image.size} {image.info}")
    if image.width * image.height <= SMALL:
        image_key(image)


def main() -> None:
    """Runs the fuzzer with libFuzzer's own arguments."""
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    atheris.Setup(sys.argv, try_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
