"""Any bytes as a picture: hand-made files and mutations, with time and memory, in a process alone.

python -m tests.torture.pictures 30000
"""

import json
import random
import resource
import sys
import time
import warnings

from PIL import Image

from minigpt4.errors import ImageError
from minigpt4.images import load_image
from tests.picture_files import SENTENCES, damaged, encode, seeds
from tests.torture.picture_cases import cases
from tests.torture.promise import ROOT, Finding, allowed, in_fresh_process

MUTATIONS = 30_000
MAX_SECONDS = 2.0
MAX_MEGABYTES = 300
MAX_BOMB_SECONDS = 0.05


def measure(share: float) -> Finding:
    """Reads all hand-made files and a share of the mutations."""
    found = json.loads(in_fresh_process("pictures", str(int(MUTATIONS * share))))
    held = (
        not found["wrong"]
        and found["cases"] >= 150
        and found["slowest"] <= allowed(MAX_SECONDS)
        and found["megabytes"] <= MAX_MEGABYTES
        and found["bombs"] <= allowed(MAX_BOMB_SECONDS)
    )
    figure = (
        f"{found['cases']} files and {found['mutations']:,} mutations, {len(found['wrong'])} wrong; "
        f"slowest {found['slowest']:.2f} s, +{found['megabytes']:.0f} MB, "
        f"bombs {1000 * found['bombs']:.1f} ms"
    )
    return Finding(held, f"{figure} {found['wrong'][:3] or ''}".strip())


def _outcome(data: bytes) -> tuple[int, int] | str:
    """The size of a picture or the code of a clean error; any other exception by its name."""
    try:
        image = load_image(data)
    except ImageError as error:
        known = error.message.startswith((*SENTENCES.values(), "The image is too large"))
        clean = known and "0x" not in error.message and "/" not in error.message
        return error.code if clean else f"says {error.message!r}"
    except BaseException as error:  # noqa: BLE001 - that there is none is what is measured
        return f"raises {type(error).__name__}"
    clean = image.mode == "RGB" and not image.info
    return image.size if clean else f"gives {image.mode} with {sorted(image.info)}"


def _megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(mutations: int) -> None:
    """Prints what was found as JSON. Seconds are of this process: the machine may be busy."""
    warnings.simplefilter("ignore")  # Pillow's, about damaged files
    wrong: list[str] = []
    made = cases()
    before = _megabytes()
    slowest = bombs = 0.0
    for name, data, expected in made:
        began = time.process_time()
        outcome = _outcome(data)
        seconds = time.process_time() - began
        slowest = max(slowest, seconds)
        if outcome == "too_many_pixels":
            bombs = max(bombs, seconds)
        if outcome != expected:
            wrong.append(f"{name}: {outcome}, expected {expected}")
    chance = random.Random(11)
    originals = [*seeds(), *(data for _, data, size in made if isinstance(size, tuple))]
    # Drawings of an ordinary size cost more to read than specks: a tenth of the mutations is theirs.
    large = [
        encode(Image.open(path).convert("RGB"), file_format)
        for path in sorted((ROOT / "minigpt4" / "assets" / "examples").glob("*.png"))
        for file_format in ("JPEG", "PNG", "WEBP", "GIF")
    ]
    small = [data for data in originals if len(data) < 20_000]
    for number in range(mutations):
        data = damaged(chance.choice(large if chance.random() < 0.1 else small), chance)
        began = time.process_time()
        outcome = _outcome(data)
        slowest = max(slowest, time.process_time() - began)
        if isinstance(outcome, str) and outcome not in {*SENTENCES, "too_many_pixels"}:
            wrong.append(f"mutation {number}: {outcome}")
    found = {
        "cases": len(made),
        "mutations": mutations,
        "wrong": wrong,
        "slowest": slowest,
        "bombs": bombs,
        "megabytes": _megabytes() - before,
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]))
