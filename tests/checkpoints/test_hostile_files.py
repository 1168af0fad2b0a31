"""Files made to harm whoever opens them: refused in a line, at once, in little memory, with no code run."""

import io
import json
import os
import pickle
import random
import resource
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from minigpt4.checkpoints.files import read_header
from minigpt4.checkpoints.loading import load_picture_side
from minigpt4.checkpoints.native import load_projection
from minigpt4.checkpoints.release import native_record
from minigpt4.checkpoints.tensors import read_tensors
from minigpt4.errors import CheckpointError
from tests.checkpoints.parts import copy_release, plan, rewrite

DEEP = "[" * 100_000


def read(path: Path) -> None:
    header = read_header(path)
    for _, tensor in read_tensors(header, header.tensors):
        tensor.float().sum()


def refusal(path: Path, told: str = "cannot be used") -> None:
    with pytest.raises(CheckpointError, match=told) as caught:
        read(path)
    assert len(str(caught.value).splitlines()) == 1


def safetensors(folder: Path, header: object, numbers: int = 16) -> Path:
    text = header if isinstance(header, str) else json.dumps(header)
    path = folder / "part.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text.encode() + bytes(numbers))
    return path


def tensor(**changes: object) -> dict[str, object]:
    return {"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16], **changes}}


@pytest.mark.parametrize(
    "header",
    [
        '{"a":' + DEEP,
        tensor(shape=[2.0, 2]),
        tensor(shape=[True, 4]),
        tensor(shape=[-2, -2]),
        tensor(shape=[0, 2**70], data_offsets=[0, 0]),
        tensor(data_offsets=[0.0, 16.0]),
        tensor(dtype=[]),
    ],
    ids=str,
)
def test_safetensors_headers_that_nobody_writes(header: object, tmp_path: Path) -> None:
    refusal(safetensors(tmp_path, header), "header is damaged")


@pytest.mark.parametrize(
    "shards",
    [
        {},
        {"a": 5},
        {"a": 5, "b": "x"},
        {"a": ["x"]},
        {"a": "../part.safetensors"},
        {"a": "x\0y"},
        {"a": "model.safetensors.index.json"},
        None,
    ],
)
def test_indexes_that_lead_nowhere(shards: object, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors.index.json"
    path.write_text('{"weight_map":' + (DEEP if shards is None else json.dumps(shards) + "}"))
    refusal(path, "is no index of shards")


def test_a_name_too_long_for_any_file(tmp_path: Path) -> None:
    refusal(tmp_path / ("x" * 500), "There is no weights file")
    with pytest.raises(CheckpointError, match="too long"):
        load_projection(tmp_path / ("x" * 500), nn.Linear(5, 7))


class Storage:
    """Stands for a tensor's numbers in a pickle."""


class Rebuilt:
    """A tensor in a pickle, with whatever sizes, steps and place."""

    def __init__(self, *told: object) -> None:
        self.told = told

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        place, size, stride = self.told
        return torch._utils._rebuild_tensor_v2, (Storage(), place, size, stride, False, {})


class Pickler(pickle.Pickler):
    def persistent_id(self, obj: object) -> object:
        told = ("storage", torch.FloatStorage, "0", "cpu", 4)
        return told if isinstance(obj, Storage) else None


def archive(folder: Path, content: object, compression: int = zipfile.ZIP_STORED) -> Path:
    path = folder / "weights.pth"
    buffer = io.BytesIO()
    Pickler(buffer, 2).dump(content)
    data = content if isinstance(content, bytes) else buffer.getvalue()
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("archive/data.pkl", data)
        file.writestr("archive/data/0", bytes(16))
    return path


def test_the_archive_that_is_spoilt_below_is_whole(tmp_path: Path) -> None:
    read(archive(tmp_path, {"a": Rebuilt(0, (4,), (1,))}))


@pytest.mark.parametrize(
    "told",
    [
        (2**70, (4,), (1,)),
        (-4, (4,), (1,)),
        (0, (2**70,), (1,)),
        (0, (2**40, 2**40), (0, 0)),
        (0, ("a",), (1,)),
        (0, (4.0,), (1,)),
        (0, (4,), (-1,)),
        (0, (4,), ("x",)),
        (0, (4,), (1, 1)),
        (0, None, (1,)),
        (0, (4,), (0,) * 9),
    ],
    ids=str,
)
def test_tensors_of_impossible_sizes(told: tuple[object, ...], tmp_path: Path) -> None:
    refusal(archive(tmp_path, {"a": Rebuilt(*told)}))


@pytest.mark.parametrize("legacy", [False, True])
def test_few_numbers_do_not_stand_for_many(*, legacy: bool, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    few = {"a": torch.ones(4), "b": torch.ones(1).expand(5, 6)}
    torch.save(few, path, _use_new_zipfile_serialization=not legacy)
    refusal(path, "more numbers than are stored")


@pytest.mark.load
def test_small_files_reserve_no_gigabytes_and_take_no_minutes(tmp_path: Path) -> None:
    began, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refusal(archive(tmp_path, b"\x80\x02}r\xff\xff\xff\x03."))
    refusal(
        archive(tmp_path, b"\x80\x02" + b"}0" * 20_000_000 + b"}.", zipfile.ZIP_DEFLATED),
        "compressed",
    )
    (tmp_path / "weights.pth").write_bytes(b"\x80\x02}r\xff\xff\xff\x03." * 4)
    refusal(tmp_path / "weights.pth")
    assert time.process_time() - began < 60  # takes 1 s
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KiB


@pytest.mark.parametrize(("place", "value"), [(8, 1), (8, 32), (10, 99), (6, 200)])
def test_archives_of_kinds_that_cannot_be_read(place: int, value: int, tmp_path: Path) -> None:
    path = archive(tmp_path, {"a": Rebuilt(0, (4,), (1,))})
    content = bytearray(path.read_bytes())
    content[content.find(b"PK\1\2") + place] = value
    path.write_bytes(content)
    refusal(path)


class Evil:
    """A pickle that makes a folder when it is opened."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.marker),)


def test_code_behind_the_table_of_contents_does_not_run(tmp_path: Path) -> None:
    path, marker = tmp_path / "weights.pth", tmp_path / "ran"
    torch.save({"a": torch.ones(4)}, path, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    keys = content.rfind(b"\x80\x02]")  # the fifth pickle: which numbers follow
    for spoilt in (pickle.dumps(Evil(marker), 2), b"\x80\x02N.", b"garbage"):
        path.write_bytes(content[:keys] + spoilt)
        refusal(path, "damaged and cannot be used")
        # torch's own text would say how to run it all the same.
        with pytest.raises(CheckpointError) as caught:
            read(path)
        assert "weights_only" not in str(caught.value)
    assert not marker.exists()


def test_damaged_bytes_raise_nothing_else(tmp_path: Path) -> None:
    seeds = [archive(tmp_path, {"a": Rebuilt(0, (4,), (1,))}).read_bytes()]
    torch.save({"a": torch.ones(4)}, tmp_path / "old", _use_new_zipfile_serialization=False)
    seeds += [(tmp_path / "old").read_bytes(), safetensors(tmp_path, tensor()).read_bytes()]
    draw, refused = random.Random(8), 0
    for number in range(600):
        content = bytearray(seeds[number % len(seeds)])
        for _ in range(draw.choice((1, 2, 6))):
            content[draw.randrange(len(content))] = draw.choice((0, 255, draw.randrange(256)))
        path = tmp_path / ("a.safetensors" if number % len(seeds) == 2 else "a.pth")
        path.write_bytes(content)
        try:
            read(path)
        except CheckpointError:
            refused += 1
    assert refused > 200


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"stage": float("inf")}, "damaged header"),
        ({"kind": ["linear"]}, "projection of kind"),
        (DEEP, "is damaged"),
        (torch.complex64, "complex64, which no weights are"),
        (torch.int64, "int64, which no weights are"),
        (torch.bool, "bool, which no weights are"),
        (torch.float64, "35 numbers that are not finite"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_projections_of_ours_that_nobody_wrote(change: object, told: str, tmp_path: Path) -> None:
    path, layer = tmp_path / "projection.safetensors", nn.Linear(5, 7)
    record = {"version": 1, "part": "projection", "preset": "x", "prompt_format": "tiny"}
    record |= {"stage": 1, "step": 2, "frozen": "0"}  # type: ignore[dict-item]
    weights = {"weight": torch.full((7, 5), 1e300, dtype=torch.float64), "bias": torch.zeros(7)}
    if isinstance(change, torch.dtype) and change != torch.float64:
        weights = {name: each.bool().to(change) for name, each in weights.items()}
    header = (
        change
        if isinstance(change, str)
        else json.dumps(record | (change if isinstance(change, dict) else {}))
    )
    save_file(weights, path, {"minigpt4": header})
    before = layer.weight.clone()
    with pytest.raises(CheckpointError, match=told):
        load_projection(path, layer)
    assert torch.equal(layer.weight, before)


def test_odd_words_about_a_file_are_no_record(tmp_path: Path) -> None:
    for said in (DEEP, 5, None, "[]"):
        path = safetensors(tmp_path, {"__metadata__": {"minigpt4": said}, **tensor()})
        assert native_record(read_header(path)) == {}


def test_large_numbers_are_finite_and_those_too_large_are_not(tmp_path: Path) -> None:
    sources = copy_release(tmp_path)

    def fill(number: float, dtype: torch.dtype) -> None:
        new = {"cls_token": torch.full((1, 1, 40), number, dtype=dtype)}
        rewrite(sources.vision, lambda state: state | new)

    fill(3e38, torch.float32)
    load_picture_side(plan(sources))
    fill(1e300, torch.float64)
    with pytest.raises(CheckpointError, match="cls_token holds 40 numbers that are not finite"):
        load_picture_side(plan(sources))
