"""What stands at each position of a prompt, so that equal means equal to the model.

By these an engine tells what it has read before: token ids, and where pictures stand virtual ids,
numbers below 0 made from the content of the visual tokens.
"""

import hashlib
from collections.abc import Mapping

import torch

from minigpt4.models.minigpt4 import PromptTokens


def identities_of(tokens: PromptTokens, visual_tokens: Mapping[str, torch.Tensor]) -> list[int]:
    """One number for each position of a prompt.

    Args:
        tokens: The prompt; a slot takes as many positions as its picture has visual tokens.
        visual_tokens: For every image slot's key the picture's visual tokens `(Q, D)`.
    """
    identities = list(tokens.ids)
    for start, key in tokens.slots:
        picture = visual_tokens[key]
        identities[start : start + len(picture)] = _virtual_ids(picture)
    return identities


def _virtual_ids(picture: torch.Tensor) -> list[int]:
    """Ids for the positions of a picture, made from its visual tokens `(Q, D)`.

    Two pictures have the same ids only if their visual tokens are the same, bit by bit; so a
    picture in another chat finds what was read of it, and another picture never does, whatever
    their keys.
    """
    content = picture.detach().contiguous().cpu()
    digest = hashlib.blake2b(repr((content.dtype, tuple(content.shape))).encode(), digest_size=16)
    digest.update(content.view(torch.uint8).numpy().data)
    name = int.from_bytes(digest.digest()) + 1
    return [-(name * len(picture) + row) for row in range(len(picture))]
