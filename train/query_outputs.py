"""What the frozen eye makes of pictures: looked at anew, or once and kept."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch
from PIL import Image
from tqdm import tqdm

from minigpt4.images import to_pixel_values
from minigpt4.models.minigpt4 import MiniGPT4

Pictures: TypeAlias = Mapping[str, Callable[[], Image.Image]]
"""What draws or reads each RGB picture, by the picture's key."""
_LOOK_BATCH = 16
_BYTES_A_NUMBER = 4
_SHOW_FROM = 500


class QueryOutputs:
    """Query outputs `(Q, Dq)` of pictures.

    The eye is frozen, so a picture that comes back in every epoch can be looked at once.
    """

    def __init__(self, model: MiniGPT4) -> None:
        self._model = model
        self._kept: dict[str, torch.Tensor] = {}

    def bytes_of(self, pictures: int) -> int:
        """Memory that keeping this many pictures takes."""
        return pictures * self._model.queries * self._model.projection.in_features * _BYTES_A_NUMBER

    def keep(self, pictures: Pictures) -> None:
        """Looks at pictures now and keeps what it sees, on the CPU.

        They are looked at in this order and in batches of one size, so that a resumed run sees the
        same to the bit.
        """
        keys = list(pictures)
        few = len(keys) < _SHOW_FROM
        for start in tqdm(range(0, len(keys), _LOOK_BATCH), "looking", disable=few, leave=False):
            part = {key: pictures[key] for key in keys[start : start + _LOOK_BATCH]}
            self._kept.update({key: each.cpu() for key, each in self._look(part).items()})

    def of(self, pictures: Pictures) -> dict[str, torch.Tensor]:
        """The query output `(Q, Dq)` of every picture, by its key."""
        new = {key: load for key, load in pictures.items() if key not in self._kept}
        seen = self._look(new) if new else {}
        return {key: seen[key] if key in seen else self._kept[key] for key in pictures}

    def _look(self, pictures: Pictures) -> dict[str, torch.Tensor]:
        model = self._model
        size, mean, std = model.preset.vision.image_size, model.preset.mean, model.preset.std
        values = [to_pixel_values(load(), size, mean, std) for load in pictures.values()]
        return dict(zip(pictures, model.query_output(torch.stack(values)), strict=True))
