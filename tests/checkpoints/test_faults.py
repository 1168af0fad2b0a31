"""Every way a weights file can be wrong is refused in a few lines, with nothing half-loaded."""

import hashlib
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from minigpt4.checkpoints.files import check_sha256, read_header
from minigpt4.checkpoints.plan import Sources, read_part
from minigpt4.errors import CheckpointError
from tests.checkpoints.parts import MOST_LINES, RELEASE, State, copy_release, load, plan, rewrite

Fault = Callable[[Sources], object]


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    return copy_release(tmp_path)


def qformer(sources: Sources) -> Path:
    assert sources.qformer is not None
    return sources.qformer


def cut(path: Path, part: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def without(name: str) -> Callable[[State], State]:
    return lambda state: {key: tensor for key, tensor in state.items() if key != name}


def changed(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[State], State]:
    return lambda state: {**state, name: change(state[name])}


def prefixed(prefix: str) -> Callable[[State], State]:
    return lambda state: {prefix + key: tensor for key, tensor in state.items()}


def with_nan(tensor: torch.Tensor) -> torch.Tensor:
    spoilt = tensor.clone()
    spoilt.view(-1)[3] = float("nan")
    return spoilt


FC1 = "blocks.1.mlp.fc1.weight"
FAULTS: dict[str, tuple[Fault, str]] = {
    "missing": (lambda s: s.vision.unlink(), "There is no weights file"),
    "empty": (lambda s: s.vision.write_bytes(b""), "it is empty"),
    "cut in half": (lambda s: cut(s.vision, 0.5), "cut off or damaged"),
    "cut by one percent": (lambda s: cut(s.vision, 0.99), "cut off or damaged"),
    "web page": (
        lambda s: s.projection.write_text("<!DOCTYPE html><html>Sign in</html>"),
        "it is a web page",
    ),
    "web page with space before": (
        lambda s: s.projection.write_text("\n\n <html><body>Quota</body></html>"),
        "it is a web page",
    ),
    "git lfs pointer": (
        lambda s: qformer(s).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0"),
        "Git LFS pointer",
    ),
    "text": (lambda s: s.vision.write_text("these are no weights"), "neither safetensors nor"),
    "another archive": (lambda s: write_archive(s.vision), "torch.save wrote"),
    "compressed records": (lambda s: compress(s.vision), "records are compressed"),
    "more numbers than are stored": (
        lambda s: rewrite(
            s.vision, changed("cls_token", lambda _: torch.zeros(1).expand(1, 1, 2**40))
        ),
        "1099511627776",
    ),
    "numpy in a pickle": (
        lambda s: torch.save({"model": {"a": np.float64(1)}}, s.vision),
        "would run code",
    ),
    "no tensors": (lambda s: torch.save({"epoch": 3}, s.vision), "holds no named tensors"),
    "tensor missing": (lambda s: rewrite(s.vision, without(FC1)), f"missing: vision.*{FC1}"),
    "tensor extra": (
        lambda s: rewrite(s.vision, lambda state: {**state, "surprise": torch.zeros(2)}),
        "surprise .* is not known",
    ),
    "tensor transposed": (
        lambda s: rewrite(s.vision, changed(FC1, lambda t: t.T.contiguous())),
        r"fc1.weight is \(40, 174\), expected \(174, 40\)",
    ),
    "tensor not finite": (
        lambda s: rewrite(s.vision, changed(FC1, with_nan)),
        "1 numbers that are not finite",
    ),
    "all names prefixed": (
        lambda s: rewrite(s.vision, prefixed("module.")),
        "all its names start with 'module.'",
    ),
    "q-former prefixed": (
        lambda s: rewrite(qformer(s), prefixed("model.")),
        "all its names start with 'model.'",
    ),
    "layer norm missing": (
        lambda s: rewrite(qformer(s), without("ln_vision.weight")),
        "missing: vision.layer_norm.weight",
    ),
    "q-former as vision": (
        lambda s: s.vision.write_bytes(qformer(s).read_bytes()),
        "cls_token|tell the size of a vision transformer|holds no vision",
    ),
    "vision as q-former": (
        lambda s: qformer(s).write_bytes(s.vision.read_bytes()),
        "holds no qformer: it is laid out like eva_vit",
    ),
    "projection transposed": (
        lambda s: rewrite(s.projection, changed("llama_proj.weight", lambda t: t.T.contiguous())),
        "the projection is transposed",
    ),
    "projection of another size": (
        lambda s: rewrite(
            s.projection, lambda _: {"llama_proj.weight": torch.zeros(60, 32)}
        ),
        "writes 60 numbers per visual token, this language model reads 48",
    ),
    "q-former of another width": (
        lambda s: rewrite(
            s.projection, changed("llama_proj.weight", lambda _: torch.zeros(48, 36))
        ),
        "reads 36 numbers, the Q-Former gives 32",
    ),
    "q-former of other image features": (
        lambda s: rewrite(
            qformer(s),
            changed(
                "Qformer.bert.encoder.layer.0.crossattention.self.key.weight",
                lambda _: torch.zeros(32, 44),
            ),
        ),
        "reads image features of width 44, the vision encoder gives 40",
    ),
    "minigpt-v2 weights": (
        lambda s: rewrite(
            s.projection,
            lambda state: {**state, "llama_model.base_model.lora_A.weight": torch.zeros(2)},
        ),
        "lora_A.weight .* is not known",
    ),
    "language model missing": (
        lambda s: (s.language_model / "model.safetensors").unlink(),
        "none of model.safetensors",
    ),
    "language model cut": (
        lambda s: cut(s.language_model / "model.safetensors", 0.7),
        "its header promises",
    ),
    "language model not finite": (
        lambda s: spoil_language(s.language_model, "model.norm.weight", with_nan),
        "model.norm.weight holds numbers that are not finite",
    ),
    "language model misshapen": (
        lambda s: spoil_language(
            s.language_model, "model.layers.1.mlp.up_proj.weight", lambda t: t.T.contiguous()
        ),
        r"up_proj.weight is \(48, 112\), expected \(112, 48\)",
    ),
    "language model lacks a tensor": (
        lambda s: spoil_language(s.language_model, "model.layers.1.mlp.up_proj.weight", None),
        r"missing: model.layers.1.mlp.up_proj.weight \(112, 48\)",
    ),
    "tokenizer damaged": (
        lambda s: cut(s.language_model / "tokenizer.model", 0.5),
        "tokenizer.model is damaged or no sentencepiece model",
    ),
    "tokenizer missing": (
        lambda s: (s.language_model / "tokenizer.model").unlink(),
        "tokenizer.model is missing",
    ),
    "tokenizer is a pointer": (
        lambda s: (s.language_model / "tokenizer.model").write_text(
            "version https://git-lfs.github.com/spec/v1\n"
        ),
        "tokenizer.model is a Git LFS pointer",
    ),
    "config missing": (
        lambda s: (s.language_model / "config.json").unlink(),
        "config.json is missing",
    ),
    "blank special tokens": (lambda s: blank_tokens(s.language_model), "blank"),
    "weights of another vocabulary": (
        lambda s: change_json(s.language_model / "config.json", vocab_size=32000),
        "belong to different models",
    ),
    "another kind of model": (
        lambda s: change_json(s.language_model / "config.json", model_type="mistral"),
        "only llama",
    ),
}  # fmt: skip


def spoil_language(
    folder: Path, name: str, change: Callable[[torch.Tensor], torch.Tensor] | None
) -> None:
    state = load_file(folder / "model.safetensors")
    tensor = state.pop(name)
    if change is not None:
        state[name] = change(tensor)
    save_file(state, folder / "model.safetensors", {"format": "pt"})


def write_archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights.npy", b"0123")


def compress(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, record in content.items():
            archive.writestr(name, record)


def change_json(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def blank_tokens(folder: Path) -> None:
    blanks = {"bos_token": "", "eos_token": "", "unk_token": ""}
    change_json(folder / "special_tokens_map.json", **blanks)
    change_json(folder / "tokenizer_config.json", **blanks)


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_refused(name: str, sources: Sources) -> None:
    spoil, expected = FAULTS[name]
    spoil(sources)
    with pytest.raises(CheckpointError, match=expected) as caught:
        load(sources)
    assert len(str(caught.value).splitlines()) <= MOST_LINES


def test_hundreds_of_wrong_tensors_are_ten_lines(sources: Sources) -> None:
    rewrite(
        qformer(sources), lambda state: {key: t[..., :-1] for key, t in state.items() if t.ndim}
    )
    with pytest.raises(CheckpointError) as caught:
        load(sources)
    assert len(str(caught.value).splitlines()) <= MOST_LINES


def test_everything_wrong_with_several_files_is_told_at_once(sources: Sources) -> None:
    cut(sources.vision, 0.5)
    qformer(sources).unlink()
    with pytest.raises(CheckpointError) as caught:
        load(sources)
    assert "eva_vit.pth" in str(caught.value)
    assert "blip2_pretrained.pth" in str(caught.value)


class Evil:
    """A pickle that makes a folder when it is opened."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("legacy", [False, True])
def test_code_in_a_pickle_does_not_run(*, legacy: bool, sources: Sources, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    torch.save(
        {"model": {"llama_proj.weight": torch.zeros(2)}, "optimizer": Evil(marker)},
        sources.projection,
        _use_new_zipfile_serialization=not legacy,
    )
    with pytest.raises(CheckpointError, match="would run code"):
        load(sources)
    sources.projection.write_bytes(pickle.dumps(Evil(marker)))
    with pytest.raises(CheckpointError, match="would run code"):
        load(sources)
    assert not marker.exists()


def test_a_flipped_byte_is_found_by_its_checksum(sources: Sources) -> None:
    expected = hashlib.sha256(sources.vision.read_bytes()).hexdigest()
    check_sha256(sources.vision, expected.upper())
    flip(sources.vision, 100_000)
    with pytest.raises(CheckpointError, match="its sha256 is"):
        check_sha256(sources.vision, expected)


def test_a_flipped_byte_in_the_numbers_is_found_without_a_checksum(sources: Sources) -> None:
    flip(sources.vision, sources.vision.stat().st_size // 2)
    with pytest.raises(CheckpointError, match="damaged"):
        load(sources)


@pytest.mark.parametrize("change", ["cut", "trailing", "huge header", "no json"])
def test_damaged_safetensors(change: str, tmp_path: Path) -> None:
    path = tmp_path / "part.safetensors"
    save_file({"weight": torch.zeros(3, 4)}, path)
    content = path.read_bytes()
    path.write_bytes(
        {
            "cut": content[:-1],
            "trailing": content + b"\0",
            "huge header": (2**40).to_bytes(8, "little") + content[8:],
            "no json": content[:8] + b"[" + content[9:],
        }[change]
    )
    with pytest.raises(CheckpointError) as caught:
        read_header(path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("offsets", "whole"),
    [
        (((0, 16), (16, 32)), True),
        (((16, 32), (0, 16)), True),
        (((0, 16), (8, 32)), False),
        (((0, 8), (16, 32)), False),
        (((0, 16), (0, 32)), False),
        (((0, 24), (24, 32)), False),
        (((-16, 0), (16, 32)), False),
    ],
)
def test_safetensors_whose_tensors_do_not_tile_their_numbers(
    offsets: tuple[tuple[int, int], tuple[int, int]], *, whole: bool, tmp_path: Path
) -> None:
    path = tmp_path / "part.safetensors"
    entries = {
        name: {"dtype": "F32", "shape": [4], "data_offsets": place}
        for name, place in zip("ab", offsets, strict=True)
    }
    header = json.dumps(entries).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(32))
    if whole:
        assert len(read_header(path).tensors) == 2
        return
    with pytest.raises(CheckpointError, match="header is damaged"):
        read_header(path)


@pytest.mark.parametrize("part", ["vision", "projection"])
def test_a_file_of_another_version_of_ours_is_refused(part: str, tmp_path: Path) -> None:
    path = tmp_path / "part.safetensors"
    record = json.dumps({"part": part, "version": 2})
    save_file({"weight": torch.zeros(2)}, path, {"minigpt4": record})
    with pytest.raises(CheckpointError, match=r"has format version 2, .* reads version 1"):
        read_part(path, part)  # type: ignore[arg-type]


def test_odd_but_usable_language_models_are_warned_of(sources: Sources) -> None:
    path = sources.language_model / "config.json"
    change_json(path, bos_token_id=0, eos_token_id=1, pad_token_id=-1)
    change_json(path, _name_or_path="lmsys/vicuna-7b-v1.5")
    warnings = plan(sources, prompt_format="vicuna_v0").warnings
    assert any("the tokenizer's own ids are used, 1 and 2" in warning for warning in warnings)
    assert any("looks like Vicuna v1.5" in warning for warning in warnings)


def test_golden_files_have_no_faults() -> None:
    for name in ("eva_vit.pth", "blip2_pretrained.pth", "checkpoint_3.pth"):
        assert read_header(RELEASE / name).kind == "zip"
