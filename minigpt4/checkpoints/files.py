"""What is inside a weights file, found out without loading it and without running its code.

Reads the table of contents of safetensors files and of torch's pickles (zip and legacy) with the
standard library alone: names, shapes, dtypes, and the first fault that makes a file unusable. The
doctor and the checks for wrong pairs work on these headers, before gigabytes are read.
"""

import hashlib
import io
import json
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

from minigpt4.errors import CheckpointError

MAX_PROBLEMS = 7  # lines of an error that name single tensors
_MAX_HEADER_BYTES = 100_000_000
_MAX_PICKLE_BYTES = 16_000_000
_MAX_BYTES = 2**62  # of one tensor; more cannot be counted in 64 bits
_LEGACY_PICKLES = 4  # magic number, protocol, system, then the object itself
_KIB = 1024


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One tensor of a file.

    Attributes:
        shape: Its sizes.
        dtype: Short name as in safetensors, such as `F16`.
        record: The entry of a zip archive that holds its numbers.
        offset: Where they start: in bytes in a safetensors file, in numbers in a zip's record.
        stride: Steps between neighbours in each dimension, in numbers; empty if contiguous.
    """

    shape: tuple[int, ...]
    dtype: str
    record: str = ""
    offset: int = 0
    stride: tuple[int, ...] = ()

    @property
    def numbers(self) -> int:
        """How many numbers the tensor holds."""
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def bytes(self) -> int:
        """Size in memory at its own dtype."""
        return self.numbers * _BYTES.get(self.dtype, 4)


@dataclass(frozen=True, slots=True)
class Header:
    """The table of contents of a weights file.

    Attributes:
        path: The file, or the index of a file in several shards.
        kind: How it must be read.
        tensors: Every tensor by the file's own name.
        metadata: Strings a safetensors file carries along.
        shards: For every tensor the file it lies in.
    """

    path: Path
    kind: Literal["safetensors", "zip", "legacy"]
    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]
    shards: Mapping[str, Path]


def read_header(path: Path) -> Header:
    """The table of contents of a weights file.

    Args:
        path: A safetensors file, a torch pickle, or the index.json of either in shards.

    Raises:
        CheckpointError: If the file is missing, is no weights file, is cut off or holds code.
    """
    try:
        found = path.is_file()
    except OSError:  # a name that is too long for any file
        found = False
    if not found:
        raise CheckpointError(f"There is no weights file at {path}.")
    if path.name.endswith(".index.json"):
        return _read_index(path)
    with path.open("rb") as file:
        start = file.read(_KIB)
        if fault := _not_weights(start):
            raise CheckpointError(_refused(path, fault))
        try:
            if path.suffix == ".safetensors" or start[8:9] == b"{":
                tensors, metadata = _read_safetensors(file, path.stat().st_size)
                return Header(path, "safetensors", tensors, metadata, dict.fromkeys(tensors, path))
            kind: Literal["zip", "legacy"] = "zip" if start[:4] == b"PK\x03\x04" else "legacy"
            tensors = _read_zip(file) if kind == "zip" else _named_tensors(_read_legacy(file))
        except _FileFaultError as fault_found:
            raise CheckpointError(_refused(path, str(fault_found))) from None
    if not tensors:
        raise CheckpointError(_refused(path, "it holds no named tensors"))
    return Header(path, kind, tensors, {}, dict.fromkeys(tensors, path))


def check_sha256(path: Path, expected: str) -> None:
    """Makes sure that a file is the one that was published.

    Raises:
        CheckpointError: If its checksum is another, or it is a folder.
    """
    if path.is_dir():
        message = (
            f"{path.name} is a folder, and #sha256= is the checksum of one file. Name a file, or "
            "leave the checksum out."
        )
        raise CheckpointError(message)
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected.lower():
        message = (
            f"{path.name} is not the file that was asked for: its sha256 is {found}, expected "
            f"{expected.lower()}. It was changed or damaged on its way; delete it and fetch it "
            "again."
        )
        raise CheckpointError(message)


def problem_list(heading: str, problems: Sequence[str]) -> CheckpointError:
    """An error of at most ten lines, however many problems there are."""
    shown = [f"  - {problem}" for problem in problems[:MAX_PROBLEMS]]
    if len(problems) > MAX_PROBLEMS:
        shown.append(f"  - and {len(problems) - MAX_PROBLEMS:,} more")
    return CheckpointError("\n".join([heading, *shown]))


_BYTES = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2,
    "U16": 2, "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1,
}  # fmt: skip
_STORAGES = {
    "DoubleStorage": "F64", "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16",
    "LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8",
    "ByteStorage": "U8", "BoolStorage": "BOOL", "UntypedStorage": "U8",
}  # fmt: skip


class _FileFaultError(Exception):
    """The file cannot be read; the message completes "it cannot be used: ..."."""


def _refused(path: Path, fault: str) -> str:
    return f"{path.name} cannot be used: {fault}."


def _not_weights(start: bytes) -> str | None:
    """Why the first bytes of a file cannot be those of weights, if so."""
    if not start:
        return "it is empty; the download failed. Fetch it again"
    if start.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not the weights. Run `git lfs pull` where it was cloned"
    text = start.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return (
            "it is a web page, not weights. The download answered with a page (a login, a consent "
            "or an error); open the address in a browser and save the file itself"
        )
    return None


def _read_safetensors(file: BinaryIO, size: int) -> tuple[dict[str, TensorInfo], dict[str, str]]:
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if length > min(size - 8, _MAX_HEADER_BYTES):
        raise _FileFaultError(
            f"it is cut off or no safetensors file ({size:,} bytes, header says {length:,}). Fetch "
            "it again"
        )
    try:
        header = json.loads(file.read(length))
        metadata = dict(header.pop("__metadata__", {}))
        tensors = {
            name: _plain_numbers(
                TensorInfo(
                    tuple(entry["shape"]),
                    entry["dtype"],
                    offset=8 + length + entry["data_offsets"][0],
                )
            )
            for name, entry in header.items()
        }
        end = _end_of_numbers(
            [(*entry["data_offsets"], tensors[name].bytes) for name, entry in header.items()]
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        raise _FileFaultError("its safetensors header is damaged. Fetch it again") from None
    if 8 + length + end != size:
        raise _FileFaultError(
            f"it has {size:,} bytes, its header promises {8 + length + end:,}. Fetch it again"
        )
    return tensors, metadata


def _plain_numbers(info: TensorInfo) -> TensorInfo:
    """Makes sure that a tensor's sizes, steps and place are whole numbers that can be counted.

    Raises:
        ValueError: If they are not; JSON and pickles hold anything.
    """
    told = (*info.shape, *info.stride, info.offset)
    if not all(type(each) is int and 0 <= each < _MAX_BYTES for each in told):
        raise ValueError
    if info.bytes >= _MAX_BYTES:
        raise ValueError
    return info


def _end_of_numbers(places: list[tuple[int, int, int]]) -> int:
    """Where the numbers of a safetensors file end.

    Args:
        places: Begin, end and size in bytes of every tensor.

    Raises:
        ValueError: If a place is not as large as its tensor, or they leave gaps or overlap.
    """
    reached = 0
    for begin, end, size in sorted(places):
        if begin != reached or end - begin != size:
            raise ValueError
        reached = end
    return reached


def _read_index(path: Path) -> Header:
    """The tensors of a file in shards, as Hugging Face's index.json lists them."""
    try:
        names = dict(json.loads(path.read_text("utf-8"))["weight_map"])
    except (ValueError, KeyError, TypeError, RecursionError):
        names = {}
    if not names or not all(map(_is_beside, names.values())):
        raise CheckpointError(_refused(path, "it is no index of shards"))
    headers = {name: read_header(path.parent / name) for name in sorted(set(names.values()))}
    wrong = [name for name, shard in names.items() if name not in headers[shard].tensors]
    if wrong:
        raise problem_list(f"{path.name} names tensors that its shards lack:", wrong)
    first = next(iter(headers.values()))
    return Header(
        path,
        first.kind,
        {name: headers[shard].tensors[name] for name, shard in names.items()},
        first.metadata,
        {name: path.parent / shard for name, shard in names.items()},
    )


def _is_beside(shard: object) -> bool:
    """Whether a shard is a file in the folder of its index, and not an index again."""
    if not isinstance(shard, str) or shard.endswith(".index.json"):
        return False
    return bool(shard) and not {"/", "\\", "\0"}.intersection(shard)


def _read_zip(file: BinaryIO) -> dict[str, TensorInfo]:
    try:
        with zipfile.ZipFile(file) as archive:
            table = _table_of_contents(archive)
            tensors = _named_tensors(_unpickle(io.BytesIO(archive.read(table))))
            sizes = {record.filename: record.file_size for record in archive.infolist()}
    except _FileFaultError:
        raise
    except Exception:  # noqa: BLE001 - zlib, zipfile and codecs each have their own
        raise _FileFaultError("it is cut off or damaged. Fetch it again") from None
    folder = table.filename.removesuffix("data.pkl")
    for name, info in tensors.items():
        if info.bytes > sizes.get(f"{folder}data/{info.record}", info.bytes):
            # Steps of nothing let a few numbers stand for a model that fits no memory.
            raise _FileFaultError(f"{name} {info.shape} has more numbers than are stored for it")
    return tensors


def _table_of_contents(archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    found = [entry for entry in archive.infolist() if entry.filename.endswith("/data.pkl")]
    if len(found) != 1:
        raise _FileFaultError("it is a zip archive, but not one that torch.save wrote")
    if found[0].compress_type != zipfile.ZIP_STORED:
        raise _FileFaultError("its records are compressed, which torch never does")
    if found[0].file_size > _MAX_PICKLE_BYTES:
        raise _FileFaultError("its table of contents is larger than any real one")
    return found[0]


def _read_legacy(file: BinaryIO) -> object:
    """The object of a file that torch wrote before it used zip archives (before 1.6)."""
    file.seek(0)
    content: object = None
    for _ in range(_LEGACY_PICKLES):
        content = _unpickle(file)
    return content


def _unpickle(file: BinaryIO | io.BytesIO) -> object:
    try:
        return _ShapeUnpickler(file).load()
    except _FileFaultError:
        raise
    except Exception:  # noqa: BLE001 - a damaged pickle can raise anything
        raise _FileFaultError(
            "it is neither safetensors nor a file that torch.save wrote, or it is damaged"
        ) from None


@dataclass(frozen=True, slots=True)
class _Storage:
    dtype: str
    record: str = ""


class _Opaque:
    """Stands for a value that is no tensor and is not needed."""

    def __init__(self, *_: object) -> None: ...


def _rebuild_tensor(
    storage: object, offset: int, size: Sequence[int], stride: Sequence[int], *_: object
) -> object:
    if not isinstance(storage, _Storage):
        raise _FileFaultError("one of its tensors has no storage")
    return _plain_numbers(
        TensorInfo(tuple(size), storage.dtype, storage.record, offset, tuple(stride))
    )


def _rebuild_parameter(data: object, *_: object) -> object:
    return data


# Everything a state dict may refer to. Nothing else is ever looked up, so nothing else can run.
_ALLOWED: Mapping[tuple[str, str], Callable[..., object] | type] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch", "Size"): tuple,
    ("torch", "device"): _Opaque,
    ("torch.serialization", "_get_layout"): _Opaque,
}


class _ShapeUnpickler(pickle._Unpickler):  # noqa: SLF001 - see below
    """Reads the structure of torch's pickle. Tensors become shapes; code is refused.

    It is the unpickler in Python: five bytes make the one in C reserve gigabytes for its memo.
    """

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - pickle's signature
        if module in {"torch", "torch.storage"} and name in _STORAGES:
            return _Storage(_STORAGES[name])
        if module == "torch" and name in _DTYPES:
            return _Storage(name)
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise _FileFaultError(
                f"it would run code when opened ({module}.{name}). Weights hold none; do not use "
                "files from this source"
            ) from None

    def persistent_load(self, pid: Any) -> Any:  # noqa: ANN401 - pickle's signature
        if isinstance(pid, tuple) and len(pid) >= _STORAGE_NAMED and isinstance(pid[1], _Storage):
            return _Storage(pid[1].dtype, str(pid[2]))
        raise _FileFaultError("its tensors are stored in a way that torch.save does not use")


_STORAGE_NAMED = 3  # a persistent id is ("storage", type, key, ...)
_DTYPES = frozenset({"float32", "float16", "bfloat16", "float64", "int64", "int32", "uint8"})


def _named_tensors(content: object) -> dict[str, TensorInfo]:
    """The tensors of a state dict, or of the one under the key "model" of a checkpoint."""
    if not isinstance(content, Mapping):
        return {}
    inner = content.get("model")
    state = inner if isinstance(inner, Mapping) else content
    return {
        name: value
        for name, value in state.items()
        if isinstance(name, str) and isinstance(value, TensorInfo)
    }
