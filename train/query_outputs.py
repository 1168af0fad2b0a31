"""What the frozen eye makes of pictures: looked at anew, or once and kept."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from minigpt4.images import to_pixel_values
from minigpt4.models.minigpt4 import MiniGPT4

Pictures: TypeAlias = Mapping[str, Callable[[], Image.Image]]
"""What draws or reads each RGB picture, by the picture's key."""
LOOK_BATCH = 16
_BYTES_A_NUMBER = 4
_SHOW_FROM = 500


class Cache(Protocol):
    """Query outputs that were made before; `train.feature_cache` holds them on disk."""

    def __contains__(self, key: str) -> bool:
        """Whether the picture of this key was looked at."""

    def __getitem__(self, key: str) -> torch.Tensor:
        """Its query output `(Q, Dq)`."""


class QueryOutputs:
    """Query outputs `(Q, Dq)` of pictures.

    The eye is frozen, so a picture that comes back in every epoch can be looked at once.
    """

    def __init__(self, model: MiniGPT4) -> None:
        self._model = model
        self._kept: dict[str, torch.Tensor] = {}
        self._cache: Cache | None = None

    def bytes_of(self, pictures: int) -> int:
        """Memory that keeping this many pictures takes."""
        return pictures * math.prod(self._model.frozen_output_shape) * _BYTES_A_NUMBER

    def keep(self, pictures: Pictures) -> None:
        """Looks at pictures now and keeps what it sees, on the CPU.

        They are looked at in this order and in batches of one size, so that a resumed run sees the
        same to the bit.
        """
        keys = list(pictures)
        few = len(keys) < _SHOW_FROM
        for start in tqdm(range(0, len(keys), LOOK_BATCH), "looking", disable=few, leave=False):
            part = keys[start : start + LOOK_BATCH]
            values = {key: self.pixel_values(pictures[key]()) for key in part}
            self._kept.update({key: each.cpu() for key, each in self.look(values).items()})

    def read_from(self, cache: Cache) -> None:
        """Takes what is known from a cache; other pictures are looked at as before."""
        self._cache = cache

    def knows(self, key: str) -> bool:
        """Whether a picture needs no further look."""
        return key in self._kept or (self._cache is not None and key in self._cache)

    def of(self, pictures: Pictures) -> dict[str, torch.Tensor]:
        """The query output `(Q, Dq)` of every picture, by its key."""
        new = {key: load for key, load in pictures.items() if not self.knows(key)}
        return self.looked(pictures, {key: self.pixel_values(load()) for key, load in new.items()})

    def looked(
        self, keys: Iterable[str], new: Mapping[str, NDArray[np.float32]]
    ) -> dict[str, torch.Tensor]:
        """The same, of pictures whose pixel values were made before.

        Args:
            keys: All pictures.
            new: Pixel values `(3, S, S)` of those that are not known.
        """
        seen = self.look(new) if new else {}
        return {key: seen[key] if key in seen else self._known(key) for key in keys}

    def look(self, values: Mapping[str, NDArray[np.float32]]) -> dict[str, torch.Tensor]:
        """Looks at pictures together, by their pixel values `(3, S, S)`."""
        stacked = torch.from_numpy(np.stack(list(values.values())))
        return dict(zip(values, self._model.frozen_output(stacked), strict=True))

    def pixel_values(self, picture: Image.Image) -> NDArray[np.float32]:
        """What the eye reads of a picture: `(3, S, S)`, as an array, which travels anywhere."""
        preset = self._model.preset
        values = to_pixel_values(picture, preset.vision.image_size, preset.mean, preset.std)
        array: NDArray[np.float32] = values.numpy()
        return array

    def _known(self, key: str) -> torch.Tensor:
        if key in self._kept:
            return self._kept[key]
        if self._cache is None:
            raise KeyError(key)
        return self._cache[key]
