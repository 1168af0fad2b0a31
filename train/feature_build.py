"""Builds a feature cache: part by part, so that a killed build goes on where it was.

Parts are cut from the places of the pictures, the same ones in any number of processes; each
process looks at the parts whose turn is its own. Within a part, pictures are looked at in batches
of one size, so the same numbers come out whoever does it.
"""

import io
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from numpy.typing import NDArray
from tqdm import tqdm

from train.errors import TrainingError
from train.feature_cache import (
    FeatureCache,
    MadeOf,
    Part,
    check_same,
    damaged,
    part_name,
    read_json,
    read_part,
    write_json,
    write_part,
)
from train.feature_pictures import FeaturePictures
from train.prefetch import in_order
from train.query_outputs import LOOK_BATCH, QueryOutputs
from train.shards import LostError

_SPARE = 64 * 2**20
"""Room that is left over, for checkpoints and all else."""


@dataclass(frozen=True, slots=True)
class _Loaded:
    """Pictures of a batch, ready to be looked at, and what was lost of them by cause."""

    pixel_values: dict[str, NDArray[np.float32]]
    lost: dict[str, int]


def open_or_build(
    folder: Path,
    made_of: MadeOf,
    pictures: FeaturePictures,
    query_outputs: QueryOutputs,
    accelerator: Accelerator,
    *,
    workers: int = 0,
    say: Callable[[str], None] = lambda _text: None,
) -> FeatureCache:
    """Opens the cache in a folder, or builds it there if there is none.

    Every process of a run calls it. The folder has to be the same one for all of them, on every
    machine.

    Args:
        folder: Of the cache.
        made_of: What it must have been made of.
        pictures: What to look at if it is to be built.
        query_outputs: Looks.
        accelerator: Whose processes share the work.
        workers: Of each process, for decoding.
        say: Told that it is being built.

    Raises:
        TrainingError: If the folder holds a cache of something else or a damaged one, if there is
            no room, or if a picture cannot be read or kept.
    """
    manifest = folder / "manifest.json"
    # All go the way that the first one sees: the manifest may appear at any moment.
    (complete,) = broadcast_object_list([manifest.is_file()])
    if not complete:
        build = _Build(folder, made_of, pictures, query_outputs, workers)
        if accelerator.is_main_process:
            build.begin(say)
        accelerator.wait_for_everyone()
        started = time.perf_counter()
        mine = range(accelerator.process_index, build.parts, accelerator.num_processes)
        build.look(mine, show=accelerator.is_main_process)
        accelerator.wait_for_everyone()
        if accelerator.is_main_process:
            build.finish(time.perf_counter() - started)
        accelerator.wait_for_everyone()
    check_same(folder, read_json(manifest, ("made_of",))["made_of"], made_of)
    return FeatureCache(folder)


class _Build:
    def __init__(
        self,
        folder: Path,
        made_of: MadeOf,
        pictures: FeaturePictures,
        query_outputs: QueryOutputs,
        workers: int,
    ) -> None:
        self._folder = folder
        self._made_of = made_of
        self._pictures = pictures
        self._query_outputs = query_outputs
        self._workers = workers
        self.parts = -(-pictures.count // made_of.part_pictures)

    def begin(self, say: Callable[[str], None]) -> None:
        """Makes sure that it can be built here, and writes down what is being built."""
        building = self._folder / "building.json"
        if building.is_file():
            check_same(self._folder, read_json(building), self._made_of)
        elif any(self._folder.glob("[!.]*")):  # a build that was killed at once leaves hidden ones
            message = (
                f"{self._folder} holds other files, and no feature cache. Name an empty folder or a"
                " new one: --cache-features FOLDER."
            )
            raise TrainingError(message)
        left = sum(len(self._places(part)) for part in range(self.parts) if not self._has(part))
        self._check_room(left)
        write_json(building, asdict(self._made_of))
        done = self._pictures.count - left
        gone_on = f"; {done:,} were looked at before" if done else ""
        say(
            f"Looks at {left:,} pictures once, and keeps what it sees in {self._folder}: "
            f"{_megabytes(left * self._made_of.picture_bytes)}{gone_on}."
        )

    def look(self, parts: Sequence[int], *, show: bool) -> None:
        """Looks at the pictures of parts that are not there yet."""
        missing = [part for part in parts if not self._has(part)]
        batches = [
            (part, places[start : start + LOOK_BATCH])
            for part in missing
            for places in [self._places(part)]
            for start in range(0, len(places), LOOK_BATCH)
        ]
        loaded = in_order(
            lambda number: self._load(batches[number][1]), range(len(batches)), self._workers
        )
        total = sum(len(places) for _, places in batches)
        keys: list[str] = []
        arrays: list[NDArray[np.float16]] = []
        lost: Counter[str] = Counter()
        with tqdm(
            total=total, desc="looking", unit="picture", disable=not show, leave=False
        ) as bar:
            for number, each in enumerate(loaded):
                part, places = batches[number]
                keys += each.pixel_values
                lost.update(each.lost)
                arrays += self._seen(each.pixel_values)
                bar.update(len(places))
                if number + 1 == len(batches) or batches[number + 1][0] != part:
                    self._write(part, Part(tuple(keys), dict(lost)), arrays)
                    keys, arrays, lost = [], [], Counter()

    def finish(self, seconds: float) -> None:
        """Writes the manifest, when all parts are there."""
        rows = 0
        for number in range(self.parts):
            part = read_part(self._folder, number, self._made_of.shape)
            if part is None:
                message = (
                    f"The feature cache {self._folder} lacks {part_name(number)}, which another "
                    "process was to write. All machines of a run need to share this folder."
                )
                raise TrainingError(message)
            rows += len(part.keys)
            if len(part.keys) + sum(part.lost.values()) != len(self._places(number)):
                raise damaged(self._folder, f"{part_name(number)} has another number of pictures")
        content = {
            "made_of": asdict(self._made_of),
            "parts": self.parts,
            "rows": rows,
            "seconds": round(seconds, 1),
        }
        write_json(self._folder / "manifest.json", content)
        (self._folder / "building.json").unlink(missing_ok=True)
        for left in self._folder.glob(".*.*.*"):  # by a build that was killed while it wrote
            left.unlink(missing_ok=True)

    def _has(self, part: int) -> bool:
        return read_part(self._folder, part, self._made_of.shape) is not None

    def _places(self, part: int) -> range:
        size = self._made_of.part_pictures
        return range(part * size, min(self._pictures.count, (part + 1) * size))

    def _check_room(self, pictures: int) -> None:
        needed = pictures * self._made_of.picture_bytes
        here = self._folder
        while not here.exists():
            here = here.parent
        free = shutil.disk_usage(here).free
        if needed and needed + _SPARE > free:
            message = (
                f"The feature cache needs {_megabytes(needed)} for {pictures:,} pictures, and "
                f"{_megabytes(free)} are free at {self._folder}. Make room, name a folder on "
                "another disk (--cache-features FOLDER), or leave --cache-features out."
            )
            raise TrainingError(message)

    def _load(self, places: Sequence[int]) -> _Loaded:
        values: dict[str, NDArray[np.float32]] = {}
        lost: Counter[str] = Counter()
        for place in places:
            try:
                key, picture = self._pictures.at(place)
            except LostError as error:
                lost[error.cause] += 1
                continue
            values[key] = self._query_outputs.pixel_values(picture)
        return _Loaded(values, dict(lost))

    def _seen(self, values: dict[str, NDArray[np.float32]]) -> list[NDArray[np.float16]]:
        if not values:
            return []
        seen = []
        for key, output in self._query_outputs.look(values).items():
            half = output.cpu().to(torch.float16)
            if not half.isfinite().all():
                message = (
                    f"What the eye makes of picture {key} reaches {float(output.abs().max()):g}, "
                    "and half precision ends at 65,504. Leave --cache-features out."
                )
                raise TrainingError(message)
            seen.append(half.numpy())
        return seen

    def _write(self, number: int, part: Part, arrays: Sequence[NDArray[np.float16]]) -> None:
        content = io.BytesIO()
        if arrays:
            np.save(content, np.stack(arrays), allow_pickle=False)
        write_part(self._folder, number, part, content.getvalue())


def _megabytes(number: float) -> str:
    return f"{number / 2**20:,.1f} MB"
