"""In place of a Q-Former: neighbouring patches joined, as the release does for Llama 2."""

from dataclasses import dataclass

import torch
from torch import nn

from minigpt4.models.presets import VisionConfig


@dataclass(frozen=True, slots=True)
class JoinedPatchesConfig:
    """Size of what the joined patches are.

    Attributes:
        queries: Number Q of joined vectors, which is the number of visual tokens a picture takes.
        width: Width Dq of a joined vector.
        joined: How many patches make one.
    """

    queries: int
    width: int
    joined: int


class JoinedPatches(nn.Module):
    """Turns image features into one vector for every few neighbouring patches.

    The class token is dropped; each `joined` patches that follow each other in reading order stand
    side by side in one vector. It has no weights. It takes the Q-Former's place in `MiniGPT4`, and
    what it gives is called query output there too.

    Source: the release's `MiniGPT4.encode_img` without `has_qformer`.
    """

    def __init__(self, vision: VisionConfig, joined: int) -> None:
        """Works out the sizes.

        Raises:
            ValueError: If the number of patches is no multiple of `joined`.
        """
        super().__init__()
        patches = vision.grid**2
        if patches % joined:
            message = (
                f"{patches} patches ({vision.image_size} pixels by {vision.patch_size}) cannot be "
                f"joined by {joined}. Choose an image size whose patches are a multiple of it."
            )
            raise ValueError(message)
        self.config = JoinedPatchesConfig(patches // joined, vision.width * joined, joined)

    def forward(self, image_features: torch.Tensor) -> torch.Tensor:
        """Joins patches.

        Args:
            image_features: `(B, 1 + patches, Dv)`, the class token first.

        Returns:
            `(B, Q, joined * Dv)`.
        """
        return image_features[:, 1:].reshape(-1, self.config.queries, self.config.width)
