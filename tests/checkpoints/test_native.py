"""Our weight files: whole or not there, strict, and clear about what does not fit."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from minigpt4.checkpoints import native
from minigpt4.checkpoints.fingerprints import fingerprint
from minigpt4.checkpoints.native import (
    ProjectionRecord,
    load_part,
    load_projection,
    save_part,
    save_projection,
)
from minigpt4.errors import CheckpointError
from minigpt4.models.minigpt4 import MiniGPT4
from minigpt4.models.vision import VisionEncoder
from tests.conftest import SMALLER

RECORD = ProjectionRecord(
    preset="smaller", prompt_format="tiny", stage=2, step=400, frozen="0123456789abcdef" * 4
)


def _refused(path: Path, part: nn.Module, **options: str) -> str:
    """The message of a file that is refused; the part must be as it was."""
    before = {name: tensor.clone() for name, tensor in part.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        _load(path, part, **options)
    assert all(torch.equal(before[name], now) for name, now in part.state_dict().items())
    return str(caught.value)


def _load(path: Path, part: nn.Module, **options: str) -> None:
    if isinstance(part, nn.Linear):
        load_projection(path, part, **options)
    else:
        load_part(path, part, "vision", preset="smaller")


def test_a_projection_comes_back_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "projection.safetensors"
    written, read = nn.Linear(5, 7), nn.Linear(5, 7)
    save_projection(path, written, RECORD)
    assert load_projection(path, read, frozen=RECORD.frozen) == RECORD
    assert torch.equal(read.weight, written.weight)
    assert torch.equal(read.bias, written.bias)
    assert list(path.parent.iterdir()) == [path]


def test_every_part_comes_back_bit_for_bit(tiny_model: MiniGPT4, tmp_path: Path) -> None:
    pictures = torch.rand((2, 3, 32, 32))
    before = tiny_model.query_output(pictures)
    for name in ("vision", "qformer"):
        part = getattr(tiny_model, name)
        save_part(tmp_path / name, part, name, preset="smaller")
        with torch.no_grad():
            for parameter in part.parameters():
                parameter.add_(1)
        load_part(tmp_path / name, part, name, preset="smaller")
    assert torch.equal(tiny_model.query_output(pictures), before)


def test_a_part_is_held_in_the_precision_asked_for(tiny_model: MiniGPT4, tmp_path: Path) -> None:
    path = tmp_path / "vision"
    save_part(path, tiny_model.vision.half(), "vision", preset="smaller")
    read = VisionEncoder(SMALLER.vision)
    load_part(path, read, "vision", preset="smaller")
    assert read.layer_norm.weight.dtype == torch.float32


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    projection = nn.Linear(5, 7)
    for name in "ab":
        save_projection(tmp_path / name, projection, RECORD)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_wrong_language_model_is_named(tmp_path: Path) -> None:
    path = tmp_path / "projection"
    save_projection(path, nn.Linear(768, 5120), RECORD)
    message = _refused(path, nn.Linear(768, 4096))
    assert "writes 5120 numbers per visual token" in message
    assert "reads 4096" in message


def test_the_wrong_qformer_is_named(tmp_path: Path) -> None:
    path = tmp_path / "projection"
    save_projection(path, nn.Linear(768, 40), RECORD)
    message = _refused(path, nn.Linear(128, 40))
    assert "reads 768" in message
    assert "gives 128" in message


def test_other_frozen_parts_are_named(tmp_path: Path) -> None:
    path = tmp_path / "projection"
    save_projection(path, nn.Linear(5, 7), RECORD)
    message = _refused(path, nn.Linear(5, 7), frozen="f" * 64)
    assert RECORD.frozen[:12] in message
    assert "f" * 12 in message


def test_everything_wrong_is_told_at_once_and_briefly(tmp_path: Path) -> None:
    path = tmp_path / "vision"
    part = VisionEncoder(SMALLER.vision)
    tensors = part.state_dict()
    del tensors["transformer.cls_token"]
    tensors["head.weight"] = torch.zeros(3)
    tensors["layer_norm.bias"] = torch.zeros(9)
    tensors["layer_norm.weight"] = torch.tensor([float("nan")] * 2 + [1.0] * 30)
    native.write_tensors(path, tensors, {"part": "vision", "preset": "smaller"})
    message = _refused(path, part)
    assert "missing: transformer.cls_token (1, 1, 32)" in message
    assert "not expected: head.weight (3)" in message
    assert "layer_norm.bias is (9), expected (32)" in message
    assert "layer_norm.weight holds 2 numbers that are not finite" in message

    native.write_tensors(path, {}, {"part": "vision", "preset": "smaller"})
    message = _refused(path, part)
    assert f"{len(part.state_dict())} tensors are wrong" in message
    assert len(message.splitlines()) <= 10


def test_a_part_in_another_place_is_told(tmp_path: Path, tiny_model: MiniGPT4) -> None:
    path = tmp_path / "qformer"
    save_part(path, tiny_model.qformer, "qformer", preset="smaller")
    message = _refused(path, tiny_model.vision)
    assert "holds a qformer, and a vision is expected" in message
    save_part(path, tiny_model.vision, "vision", preset="other")
    assert "preset 'other'" in _refused(path, tiny_model.vision)


def test_what_is_no_file_of_ours_is_told(tmp_path: Path) -> None:
    projection = nn.Linear(5, 7)
    assert "There is no projection" in _refused(tmp_path / "nowhere", projection)
    path = tmp_path / "file"
    path.write_bytes(b"\x80\x04pickle")
    assert "damaged or no safetensors" in _refused(path, projection)
    save_file(projection.state_dict(), path)
    assert "not written by MiniGPT-4" in _refused(path, projection)
    save_projection(path, projection, RECORD)
    path.write_bytes(path.read_bytes()[:-4])
    assert "damaged" in _refused(path, projection)


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "projection"
    save_projection(path, nn.Linear(5, 7), RECORD)
    before = path.read_bytes()

    def no_room(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(native.os, "fsync", no_room)
    with pytest.raises(CheckpointError, match="No space left on device"):
        save_projection(path, nn.Linear(5, 7), RECORD)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_the_fingerprint_follows_the_content_of_every_file(parts_folder: Path) -> None:
    vision, qformer = parts_folder / "vision.safetensors", parts_folder / "qformer.safetensors"
    language = parts_folder / "language"
    first = fingerprint(vision, qformer, language)
    assert fingerprint(vision, qformer, language) == first
    assert fingerprint(qformer, vision, language) != first
    tokenizer = language / "tokenizer.model"
    content = tokenizer.read_bytes()
    try:
        tokenizer.write_bytes(content + b" ")
        assert fingerprint(vision, qformer, language) != first
    finally:
        tokenizer.write_bytes(content)
    with pytest.raises(CheckpointError, match="nowhere"):
        fingerprint(parts_folder / "nowhere", qformer, language)
