"""What the frozen eye makes of pictures, on disk: each picture is looked at once, for all runs.

    FOLDER/
      manifest.json    what the cache was made of, and that it is complete; written last
      building.json    the same while it is being built
      00000.npy        query outputs `(n, Q, Dq)` in half precision, read through a memory map
      00000.json       the keys of their pictures, in order; its array is whole if it is there

A cache belongs to one eye (weights, sizes and precision), one way from picture to pixel values, and
one set of pictures. Another one is refused with both values; nothing is rebuilt by itself. Folders
may be moved and copied: where they lie does not count.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from minigpt4.checkpoints.native import write_file
from minigpt4.images import to_pixel_values
from minigpt4.models.minigpt4 import MiniGPT4
from train.errors import TrainingError

FORMAT = 1
_PART_BYTES = 64 * 2**20
_MOST_ROWS = 4096
_DIGITS = 16
"""Hexadecimal digits of a digest that are compared and shown."""


@dataclass(frozen=True, slots=True)
class MadeOf:
    """What a feature cache belongs to; two that are equal hold the same numbers.

    Attributes:
        eye: Digest of the weights of vision encoder and Q-Former as they compute.
        transform: From a picture to pixel values, in words, and a digest of what it makes of one.
        pictures: Number of pictures, and a digest of their content and order.
        source: Where the pictures come from, for a person; it is not compared.
        shape: Of what is kept of a picture: Q and Dq.
        format: Of the files.
    """

    eye: str
    transform: str
    pictures: str
    source: str
    shape: tuple[int, int]
    format: int = FORMAT

    @property
    def picture_bytes(self) -> int:
        """Room that one picture takes."""
        return 2 * self.shape[0] * self.shape[1]

    @property
    def part_pictures(self) -> int:
        """Pictures of a part, but the last: a part is what a killed build does again."""
        return max(1, min(_MOST_ROWS, _PART_BYTES // self.picture_bytes))


@dataclass(frozen=True, slots=True)
class Part:
    """One array of a cache.

    Attributes:
        keys: Of its pictures, in order.
        lost: Pictures that could not be used, by cause; they have no row.
    """

    keys: tuple[str, ...]
    lost: dict[str, int]


class FeatureCache:
    """The query outputs of a complete cache, by the keys of their pictures."""

    def __init__(self, folder: Path) -> None:
        """Opens a cache that is complete; arrays are mapped when they are first read.

        Raises:
            TrainingError: If a file is missing or damaged.
        """
        manifest = read_json(folder / "manifest.json", ("made_of", "parts", "rows"))
        self._folder = folder
        self._shape = tuple(manifest["made_of"]["shape"])
        self._rows: dict[str, tuple[int, int]] = {}
        self._arrays: dict[int, NDArray[np.float16]] = {}
        self.lost: Counter[str] = Counter()
        for number in range(manifest["parts"]):
            part = read_part(folder, number, self._shape)
            if part is None:
                raise damaged(folder, f"{part_name(number)}.json is missing")
            self._rows |= {key: (number, row) for row, key in enumerate(part.keys)}
            self.lost.update(part.lost)
        if len(self._rows) != manifest["rows"]:
            found = f"it holds {len(self._rows):,} pictures, and {manifest['rows']:,} were written"
            raise damaged(folder, found)

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self._rows)

    def __contains__(self, key: str) -> bool:
        """Whether the picture of this key was looked at."""
        return key in self._rows

    def __getitem__(self, key: str) -> torch.Tensor:
        """The query output `(Q, Dq)` of a picture, float32."""
        number, row = self._rows[key]
        if number not in self._arrays:
            self._arrays[number] = np.load(array_path(self._folder, number), mmap_mode="r")
        return torch.from_numpy(self._arrays[number][row].astype(np.float32))


def eye_digest(model: MiniGPT4) -> str:
    """Names what looks: weights, sizes and precision of vision encoder and Q-Former.

    It is read from the parts themselves, not from their files, so that it also holds for parts that
    were made in another way. Where the Q-Former learns too, the cache holds what it reads, and the
    vision encoder looks alone.

    Raises:
        TrainingError: If one of them learns: what it sees would change with every step.
    """
    parts: dict[str, nn.Module] = {"vision encoder": model.vision}
    if "qformer" not in model.learned_parts:
        parts["Q-Former"] = model.qformer
    digest = hashlib.sha256(f"{model.preset.vision!r} {model.qformer.config!r}".encode())
    for part, module in parts.items():
        if any(parameter.requires_grad for parameter in module.parameters()):
            message = (
                f"The {part} learns in this run, and a feature cache holds what a frozen one sees. "
                "Leave --cache-features out."
            )
            raise TrainingError(message)
        for name, tensor in module.state_dict().items():
            digest.update(f"{part} {name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(memoryview(flat.view(torch.uint8).numpy()))
    return digest.hexdigest()[:_DIGITS]


def transform_words(model: MiniGPT4) -> str:
    """Names the way from a picture to pixel values by its settings and by what it does.

    The second part is what it makes of a picture of many colours, in whole levels of 255: other
    code makes other levels.
    """
    preset = model.preset
    size, mean, std = preset.vision.image_size, preset.mean, preset.std
    levels = np.arange(61 * 47 * 3, dtype=np.uint32).reshape(61, 47, 3) ** 2 % 251
    values = to_pixel_values(Image.fromarray(levels.astype(np.uint8)), size, mean, std)
    seen = values * torch.tensor(std).view(3, 1, 1) + torch.tensor(mean).view(3, 1, 1)
    content = (seen * 255).round().to(torch.uint8).numpy().tobytes()
    shown = ", ".join(f"{each:g}" for each in (*mean, *std))
    return f"{size} x {size}, {shown}, {hashlib.sha256(content).hexdigest()[:_DIGITS]}"


def pictures_digest(parts: list[str]) -> str:
    """Names pictures by what tells their content, in order."""
    digest = hashlib.sha256()
    for each in parts:
        digest.update(f"{each}\n".encode())
    return digest.hexdigest()[:_DIGITS]


def check_same(folder: Path, found: dict[str, Any], asked: MadeOf) -> None:
    """Makes sure that a cache, complete or not, belongs to this run.

    Raises:
        TrainingError: With everything that differs, both values, and what to do.
    """
    now = json.loads(json.dumps(asdict(asked)))
    words = {"eye": "vision encoder and Q-Former", "transform": "picture to pixel values"}
    changed = [
        f"  {words.get(key, key)}: {found.get(key)} in the cache, {now[key]} now"
        for key in now
        if key != "source" and found.get(key) != now[key]
    ]
    if changed:
        lines = "\n".join(changed)
        message = (
            f"The feature cache {folder} was made for something else, from {found.get('source')}:\n"
            f"{lines}\n"
            f"Take what it was made for, delete {folder} to have it built anew, or name another "
            "folder: --cache-features FOLDER."
        )
        raise TrainingError(message)


def part_name(number: int) -> str:
    """The name of a part's files, without their endings."""
    return f"{number:05}"


def array_path(folder: Path, number: int) -> Path:
    """Where a part's array lies."""
    return folder / f"{part_name(number)}.npy"


def read_part(folder: Path, number: int, shape: tuple[int, ...]) -> Part | None:
    """What a part holds; None if it was not written, or not to its end.

    Raises:
        TrainingError: If its files do not fit each other.
    """
    path = folder / f"{part_name(number)}.json"
    if not path.is_file():
        return None
    content = read_json(path, ("keys", "lost"))
    part = Part(tuple(content["keys"]), content["lost"])
    if not part.keys:
        return part
    array = array_path(folder, number)
    try:
        found = np.load(array, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise damaged(folder, f"{array.name} cannot be read ({error})") from error
    expected = (len(part.keys), *shape)
    if found.shape != expected or found.dtype != np.float16:
        raise damaged(folder, f"{array.name} is {found.shape} of {found.dtype}, not {expected}")
    return part


def write_part(folder: Path, number: int, part: Part, array: bytes) -> None:
    """Writes a part, its keys last.

    Args:
        folder: The cache's.
        number: Counted from 0.
        part: Its keys, and what was lost.
        array: An `.npy` file.

    Raises:
        CheckpointError: If there is no room.
    """
    if part.keys:
        write_file(array_path(folder, number), array)
    write_json(folder / f"{part_name(number)}.json", {"keys": part.keys, "lost": part.lost})


def read_json(path: Path, names: Iterable[str] = ()) -> dict[str, Any]:
    """The content of one of a cache's own files.

    Args:
        path: The file.
        names: What it has to hold.

    Raises:
        TrainingError: If it is missing, or no JSON object with these names.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise damaged(path.parent, f"{path.name} cannot be read ({error})") from error
    if not isinstance(content, dict):
        raise damaged(path.parent, f"{path.name} is no JSON object")
    if lacking := [name for name in names if name not in content]:
        raise damaged(path.parent, f"{path.name} has no {lacking[0]}")
    return content


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes one of them, whole or not at all."""
    write_file(path, f"{json.dumps(content, ensure_ascii=False)}\n".encode())


def damaged(folder: Path, what: str) -> TrainingError:
    """A cache that cannot be read."""
    message = f"The feature cache {folder} is damaged: {what}. Delete it to have it built anew."
    return TrainingError(message)
