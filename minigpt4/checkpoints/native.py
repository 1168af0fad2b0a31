"""Our own weight files: one part of the model a file, in safetensors.

A file says in its header what it is, as JSON under one key: the format's version, the part, the
preset, and for a projection also what it is made of, the prompt format, stage and step it was
trained with and the fingerprint of the parts it was trained on. Nothing in it can run code.

Loading is strict. A file that does not fit is refused with everything that is wrong, and the part
keeps the weights it had.
"""

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypeAlias, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from minigpt4.checkpoints.fingerprints import check_trained_on
from minigpt4.checkpoints.release import FORMAT_VERSION
from minigpt4.checkpoints.sizes import projection_ends, projection_kind
from minigpt4.errors import CheckpointError
from minigpt4.models.projection_layers import ProjectionLayer, kind_of, new_projection

PartName: TypeAlias = Literal["vision", "qformer", "projection"]
Json: TypeAlias = str | int | float | bool | list["Json"] | dict[str, "Json"] | None

_HEADER_KEY = "minigpt4"
_LINES_SHOWN = 8
_FLOATS = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectionRecord:
    """Where a projection came from.

    Attributes:
        preset: Name of the picture side's sizes.
        prompt_format: Name of the prompt format it was trained with.
        stage: Training stage, 1 or 2.
        step: Optimiser steps of that stage.
        frozen: Fingerprint of the parts it was trained on; see `fingerprint`. A Q-Former that was
            trained with it is the one it was saved with.
    """

    preset: str
    prompt_format: str
    stage: int
    step: int
    frozen: str


def save_projection(path: Path, projection: ProjectionLayer, record: ProjectionRecord) -> None:
    """Writes a projection, all of it or nothing.

    Raises:
        CheckpointError: If the file cannot be written.
    """
    header = {"part": "projection", "kind": kind_of(projection), **asdict(record)}
    write_tensors(path, projection.state_dict(), header)


def load_projection(
    path: Path, projection: ProjectionLayer, *, frozen: str | None = None
) -> ProjectionRecord:
    """Fills a projection from a file.

    Args:
        path: File that `save_projection` wrote.
        projection: Is of the kind that is expected, and has the widths that other parts need.
        frozen: Fingerprint of the parts it is to work with; None if they are not known by one.

    Raises:
        CheckpointError: If the file is no projection, or belongs to other parts.
    """
    tensors, header = read_tensors(path, "projection")
    kind, expected = projection_kind(str(path), header), kind_of(projection)
    if kind != expected:
        message = (
            f"{path} holds a projection of kind {kind}, and one of kind {expected} is expected "
            f"here. Set projection to {kind}, or choose another projection."
        )
        raise CheckpointError(message)
    try:
        record = ProjectionRecord(
            preset=str(header["preset"]),
            prompt_format=str(header["prompt_format"]),
            stage=int(cast(int, header["stage"])),
            step=int(cast(int, header["step"])),
            frozen=str(header["frozen"]),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        message = (
            f"{path} has a damaged header ({error!r}). Train or download the projection again."
        )
        raise CheckpointError(message) from error
    _check_widths(path, tensors, projection)
    if frozen is not None:
        check_trained_on(path, record.frozen, frozen)
    _fill(path, projection, tensors)
    return record


def read_projection(path: Path, query_width: int, language_width: int) -> ProjectionLayer:
    """A projection as its file says it is, in float32 and on the CPU.

    Args:
        path: File that `save_projection` wrote.
        query_width: Width Dq of the query output.
        language_width: Width D of the language model.

    Raises:
        CheckpointError: If the file is no projection, or does not fit these widths.
    """
    _, header = read_tensors(path, "projection")
    kind = projection_kind(str(path), header)
    projection = new_projection(kind, query_width, language_width)
    load_projection(path, projection)
    return projection


def save_part(path: Path, part: nn.Module, name: PartName, *, preset: str) -> None:
    """Writes a frozen part in the precision it is held in, all of it or nothing.

    Raises:
        CheckpointError: If the file cannot be written.
    """
    write_tensors(path, part.state_dict(), {"part": name, "preset": preset})


def load_part(path: Path, part: nn.Module, name: PartName, *, preset: str) -> None:
    """Fills a frozen part from a file, in the precision the part is held in.

    Raises:
        CheckpointError: If the file is another part or preset, or does not fit tensor by tensor.
    """
    tensors, header = read_tensors(path, name)
    if header.get("preset") != preset:
        message = (
            f"{path} is a {name} part of preset {header.get('preset')!r}, and preset {preset!r} is "
            "asked for. Set model.preset to the file's, or choose another file."
        )
        raise CheckpointError(message)
    _fill(path, part, tensors)


def write_tensors(
    path: Path, tensors: Mapping[str, torch.Tensor], header: Mapping[str, Json]
) -> None:
    """Writes tensors and a JSON header so that the file is there whole or not at all.

    Raises:
        CheckpointError: If the file cannot be written.
    """
    content = {"version": FORMAT_VERSION, **header}
    # One key, so that equal content gives equal bytes: the order of keys is not kept.
    metadata = {_HEADER_KEY: json.dumps(content, sort_keys=True)}
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_file(path, save(on_cpu, metadata))


def write_file(path: Path, content: bytes) -> None:
    """Writes a file beside its place, makes it lasting, and only then moves it there.

    Raises:
        CheckpointError: If there is no room or no right to write.
    """
    partial = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        partial = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.chmod(0o644)  # mkstemp makes files that only their owner can read
        partial.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        if partial is not None:
            partial.unlink(missing_ok=True)
        message = (
            f"{path} could not be written ({error.strerror}, {len(content):,} bytes). "
            "What stood there before is unchanged."
        )
        raise CheckpointError(message) from error


def read_tensors(path: Path, part: str) -> tuple[dict[str, torch.Tensor], dict[str, Json]]:
    """Reads a file of ours.

    Args:
        path: What to read.
        part: What its header must say it is.

    Returns:
        Its tensors on the CPU, and its header.

    Raises:
        CheckpointError: If it is missing, damaged, no file of ours, or another part.
    """
    try:
        if not path.is_file():
            raise CheckpointError(f"There is no {part} at {path}.")
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        header = json.loads(metadata.get(_HEADER_KEY, "null"))
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        message = f"{path} is damaged or no safetensors file ({error}). Get it again."
        raise CheckpointError(message) from error
    if not isinstance(header, dict):
        message = (
            f"{path} does not say which part of which model it holds: it was not written by "
            f"MiniGPT-4. Expected a {part}."
        )
        raise CheckpointError(message)
    if header.get("version") != FORMAT_VERSION:
        message = (
            f"{path} has format version {header.get('version')}, and this MiniGPT-4 reads version "
            f"{FORMAT_VERSION}. Update MiniGPT-4, or convert the file."
        )
        raise CheckpointError(message)
    if header.get("part") != part:
        message = f"{path} holds a {header.get('part')}, and a {part} is expected here."
        raise CheckpointError(message)
    return tensors, header


def _check_widths(
    path: Path, tensors: Mapping[str, torch.Tensor], projection: ProjectionLayer
) -> None:
    ends = projection_ends(kind_of(projection))
    first, last = (tensors.get(name.removeprefix("projection.")) for name in ends)
    if first is None or last is None or first.ndim != 2 or last.ndim != 2:
        return  # `_fill` tells it
    written, read = last.shape[0], first.shape[1]
    if written != projection.out_features:
        message = (
            f"{path} does not fit the language model: it writes {written} numbers per visual "
            f"token, and the language model reads {projection.out_features}. Choose the language "
            "model it was trained for, or another projection."
        )
        raise CheckpointError(message)
    if read != projection.in_features:
        message = (
            f"{path} does not fit the Q-Former: it reads {read} numbers per query, and the "
            f"Q-Former gives {projection.in_features}. Choose the preset it was trained for, or "
            "another projection."
        )
        raise CheckpointError(message)


def _fill(path: Path, part: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    problems = list(_problems(part.state_dict(), tensors))
    if problems:
        shown = problems[:_LINES_SHOWN]
        if len(problems) > len(shown):
            shown.append(f"... and {len(problems) - len(shown)} more")
        lines = "\n".join(f"  {line}" for line in shown)
        raise CheckpointError(f"{path} does not fit, {len(problems)} tensors are wrong:\n{lines}")
    part.load_state_dict(dict(tensors))


def _problems(
    expected: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor]
) -> Iterator[str]:
    for name in sorted(expected.keys() - found.keys()):
        yield f"missing: {name} {_shape(expected[name])}"
    for name in sorted(found.keys() - expected.keys()):
        yield f"not expected: {name} {_shape(found[name])}"
    for name in sorted(expected.keys() & found.keys()):
        if expected[name].shape != found[name].shape:
            yield f"{name} is {_shape(found[name])}, expected {_shape(expected[name])}"
        elif found[name].dtype not in _FLOATS and expected[name].is_floating_point():
            yield f"{name} holds numbers of the kind {found[name].dtype}, which no weights are"
        elif bad := int((~torch.isfinite(found[name].to(expected[name].dtype))).sum()):
            yield f"{name} holds {bad:,} numbers that are not finite"


def _shape(tensor: torch.Tensor) -> str:
    return f"({', '.join(str(size) for size in tensor.shape)})"


def _sync_folder(folder: Path) -> None:
    """Makes a rename lasting; Windows has no such call for folders."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
