"""Reads chosen tensors of a weights file, one at a time.

A tensor is read, converted and handed on before the next one, so that loading takes the memory of
the model and of one tensor. The numbers of torch's zip files are read straight from their records
(which checks each record's CRC32), without unpickling anything. Files older than torch 1.6 are the
exception: `torch.load(weights_only=True)` reads them whole, and each tensor is let go when it was
handed on.
"""

import pickle
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch

from minigpt4.checkpoints.files import Header, TensorInfo
from minigpt4.errors import CheckpointError


def read_tensors(header: Header, names: Mapping[str, object]) -> Iterator[tuple[str, torch.Tensor]]:
    """Reads tensors in the order in which they lie in the file.

    Args:
        header: What `read_header` found.
        names: The wanted tensors, by the file's own names.

    Yields:
        Name and tensor, as stored. All tensors of a file are read into one buffer: each is valid
        until the next one is asked for.

    Raises:
        CheckpointError: If the file is damaged.
    """
    by_shard: dict[Path, list[str]] = {}
    for name in names:
        by_shard.setdefault(header.shards[name], []).append(name)
    read = {"safetensors": _read_safetensors, "zip": _read_zip, "legacy": _read_legacy}[header.kind]
    for path, wanted in by_shard.items():
        try:
            yield from read(path, {name: header.tensors[name] for name in wanted})
        except MemoryError:
            raise
        except Exception as error:  # a damaged archive or pickle can raise anything
            message = (
                f"{path.name} is damaged and cannot be used ({_cause(error)}). Fetch it again."
            )
            raise CheckpointError(message) from error


def _cause(error: Exception) -> str:
    """What went wrong, in one line."""
    if isinstance(error, pickle.UnpicklingError):
        # torch's own text tells how to run the code in it.
        return "it is not what torch.save writes of weights"
    lines = str(error).splitlines()
    return lines[0][:_CAUSE_LETTERS] if lines else type(error).__name__


_CAUSE_LETTERS = 200
_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
_PIECE_BYTES = 1 << 20


def _read_safetensors(
    path: Path, tensors: Mapping[str, TensorInfo]
) -> Iterator[tuple[str, torch.Tensor]]:
    buffer = bytearray(max(info.bytes for info in tensors.values()))
    with path.open("rb") as file:
        for name, info in sorted(tensors.items(), key=lambda item: item[1].offset):
            file.seek(info.offset)
            if file.readinto(memoryview(buffer)[: info.bytes]) != info.bytes:
                raise EOFError(f"it ends within {name}")
            yield name, _from_buffer(buffer, info.dtype, info.bytes).view(info.shape)


def _read_zip(path: Path, tensors: Mapping[str, TensorInfo]) -> Iterator[tuple[str, torch.Tensor]]:
    with zipfile.ZipFile(path) as archive:
        folder = next(name for name in archive.namelist() if name.endswith("/data.pkl"))[:-8]
        entries = {
            name: archive.getinfo(f"{folder}data/{info.record}") for name, info in tensors.items()
        }
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries.values()):
            raise zipfile.BadZipFile("its records are compressed, which torch never does")
        buffer = bytearray(max(entry.file_size for entry in entries.values()))
        for name in sorted(tensors, key=lambda name: entries[name].header_offset):
            info, size = tensors[name], entries[name].file_size
            with archive.open(entries[name]) as record:
                _fill(record.read, memoryview(buffer)[:size], name)
                record.read(1)  # at its end, a record's CRC32 is compared
            numbers = _from_buffer(buffer, info.dtype, size)
            yield name, torch.as_strided(numbers, info.shape, info.stride, info.offset)


def _read_legacy(
    path: Path, tensors: Mapping[str, TensorInfo]
) -> Iterator[tuple[str, torch.Tensor]]:
    content = torch.load(path, map_location="cpu", weights_only=True)
    inner = content.get("model")
    state = dict(inner if isinstance(inner, Mapping) else content)
    del content, inner  # they hold every tensor
    for name in tensors:
        tensor = state.pop(name)
        if tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
            raise RuntimeError(f"{name} has more numbers than are stored for it")
        yield name, tensor


def _fill(read: Callable[[int], bytes], place: memoryview, name: str) -> None:
    """Reads in pieces: a tensor read at once would be held twice."""
    position = 0
    while position < len(place):
        piece = read(min(_PIECE_BYTES, len(place) - position))
        if not piece:
            raise EOFError(f"it ends within {name}")
        place[position : position + len(piece)] = piece
        position += len(piece)


def _from_buffer(buffer: bytearray, dtype: str, size: int) -> torch.Tensor:
    if dtype not in _DTYPES:
        raise RuntimeError(f"it holds numbers of the unknown kind {dtype}")
    kind = _DTYPES[dtype]
    if not size:
        return torch.empty(0, dtype=kind)
    return torch.frombuffer(buffer, dtype=kind, count=size // kind.itemsize)
