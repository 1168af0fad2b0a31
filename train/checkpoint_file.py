"""A checkpoint as a file: room for it is looked for first, and a damaged one is never gone on from.

safetensors notices a file that was cut off, and not a byte that has changed. So the header, which
is the checkpoint's manifest, also holds the SHA-256 of all tensors and of itself.
"""

import json
import shutil
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import torch

from minigpt4.checkpoints.native import Json, read_tensors, write_tensors
from minigpt4.errors import CheckpointError

PART = "checkpoint"
_CHECKSUM = "sha256"
_ADDED = "version"
"""What `write_tensors` adds to a header."""
_BEFORE = frozenset({"part", "position", "settings", "frozen", _ADDED})
"""The header of a version that wrote no checksum."""
_SPARE = 1_000_000
"""Bytes that stay free beside the files themselves: their headers, and the folder's lines."""


def check_room(folder: Path, bytes_needed: int) -> None:
    """Makes sure that files can be written before the first byte of them is.

    A file is written beside the one that it replaces, so both have to fit.

    Raises:
        CheckpointError: If there is too little room.
    """
    folder.mkdir(parents=True, exist_ok=True)
    free, needed = shutil.disk_usage(folder).free, bytes_needed + _SPARE
    if free < needed:
        message = (
            f"There is no room for a checkpoint in {folder}: {needed:,} bytes are needed and "
            f"{free:,} are free. Nothing was written, and the checkpoint before is unchanged. Make "
            "room, then go on with --resume."
        )
        raise CheckpointError(message)


def size_of(tensors: Mapping[str, torch.Tensor]) -> int:
    """Bytes that tensors take in a file, without its header."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def write_checkpoint(
    path: Path, tensors: Mapping[str, torch.Tensor], header: Mapping[str, Json]
) -> None:
    """Writes a checkpoint whole or not at all.

    Raises:
        CheckpointError: If it cannot be written.
    """
    content = {"part": PART, **header}
    write_tensors(path, tensors, {**content, _CHECKSUM: _checksum(tensors, content)})


def read_checkpoint(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Json]]:
    """Reads a checkpoint and compares it with its checksum.

    Returns:
        Its tensors on the CPU, and its header.

    Raises:
        CheckpointError: If there is none, or it is damaged.
    """
    tensors, header = read_tensors(path, PART)
    written = header.pop(_CHECKSUM, None)
    if written is None and header.keys() == _BEFORE:
        return tensors, header
    content = {key: value for key, value in header.items() if key != _ADDED}
    found = _checksum(tensors, content)
    if found != written:
        message = (
            f"{path} is damaged: its SHA-256 is {found[:12]}..., and {str(written)[:12]}... was "
            "written. Its disk may be failing. Put a copy in its place, or begin again with "
            "another --output."
        )
        raise CheckpointError(message)
    return tensors, header


def _checksum(tensors: Mapping[str, torch.Tensor], header: Mapping[str, Json]) -> str:
    """The digest of a header and of all tensors, with their names, shapes and precisions."""
    digest = sha256(json.dumps(header, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
