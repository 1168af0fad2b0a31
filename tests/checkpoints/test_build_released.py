"""A configuration of released files becomes a model, or a sentence."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from minigpt4.build import build_model
from minigpt4.checkpoints import hub, memory
from minigpt4.checkpoints.configured import fetch_parts, plan_paths
from minigpt4.checkpoints.fingerprints import fingerprint
from minigpt4.checkpoints.memory import GIB, check_fits, estimate
from minigpt4.checkpoints.native import ProjectionRecord, save_projection
from minigpt4.checkpoints.plan import Sources, plan_model
from minigpt4.checkpoints.sizes import Heads
from minigpt4.config import Config, load_config
from minigpt4.errors import CheckpointError, ConfigError
from minigpt4.models.patches import JoinedPatches
from minigpt4.models.presets import EVA_VIT_G, EVA_VIT_G_PATCHES, VisionConfig
from tests.checkpoints.parts import MODEL, RELEASE, plan
from tests.checkpoints.test_layouts import SOURCES

TOP = ("precision", "quantize", "spread", "generation")


def config_of(folder: Path, **changes: Any) -> Config:
    top = {key: changes.pop(key) for key in TOP if key in changes}
    path = folder / "demo.yaml"
    model = {key: value for key, value in {**MODEL, **changes}.items() if value is not None}
    path.write_text(yaml.safe_dump({"model": model, "device": "cpu", **top}))
    return load_config(path)


def test_released_files_become_a_model(tmp_path: Path) -> None:
    model = build_model(config_of(tmp_path, precision="float32"))
    assert model.preset.vision.image_size == 56
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    assert model.encode_images(torch.zeros(1, 3, 56, 56)).shape == (1, 8, 48)
    assert [name for name, weight in model.named_parameters() if weight.requires_grad] == [
        "projection.weight",
        "projection.bias",
    ]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_precision_auto_halves_the_frozen_parts_where_that_is_fast(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    monkeypatch.setattr("minigpt4.build.computes_bfloat16", lambda: dtype == torch.bfloat16)
    model = build_model(config_of(tmp_path))
    for part in (model.vision, model.qformer, model.language):
        assert {weight.dtype for weight in part.parameters()} == {dtype}
    assert model.projection.weight.dtype == torch.float32
    assert torch.isfinite(model.encode_images(torch.zeros(1, 3, 56, 56))).all()


def test_the_model_without_a_qformer(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = {"llama_proj.weight": torch.randn(48, 160), "llama_proj.bias": torch.randn(48)}
    torch.save({"model": state}, tmp_path / "nq.pth")
    config = config_of(
        tmp_path,
        preset="eva_vit_g_patches",
        prompt_format="llama2_chat",
        qformer=None,
        qformer_heads=None,
        projection=str(tmp_path / "nq.pth"),
        precision="float32",
    )
    model = build_model(config)
    golden = torch.from_numpy(_golden("vit_out"))
    normed = torch.nn.functional.layer_norm(golden, (40,))  # ln_vision is never loaded
    joined = normed[:, 1:].reshape(3, 4, 160)
    expected = joined @ state["llama_proj.weight"].T + state["llama_proj.bias"]
    ours = model.encode_images(torch.from_numpy(_golden("pixel_values")))
    assert (ours - expected).abs().max() <= 2e-5


def _golden(name: str) -> Any:
    import numpy as np

    return np.load(RELEASE / "golden.npz")[name]


def test_patches_that_cannot_be_joined_are_refused(tmp_path: Path) -> None:
    state = {"llama_proj.weight": torch.zeros(48, 160), "llama_proj.bias": torch.zeros(48)}
    torch.save({"model": state}, tmp_path / "nq.pth")
    sources = Sources(SOURCES.vision, None, tmp_path / "nq.pth", SOURCES.language_model)
    with pytest.raises(CheckpointError, match=r"25 patches .* joined by 4.*such as 84"):
        plan_model(sources, EVA_VIT_G_PATCHES, heads=Heads(4), image_size=70)
    odd = VisionConfig("eva", 70, 14, 40, 3, 4, 4.3637)
    with pytest.raises(ValueError, match=r"25 patches .* cannot be joined by 4"):
        JoinedPatches(odd, 4)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"qformer": None}, "preset eva_vit_g needs one"),
        ({"preset": "eva_vit_g_patches"}, "has no Q-Former, leave it out"),
        ({"vision_heads": None}, "set model.vision_heads"),
        ({"vision_heads": 3}, "3 heads cannot share a width of 40"),
        ({"projection": "owner/name@main:file.pth"}, "'main' is no commit"),
        ({"projection": "a.pth#sha256=12"}, "a sha256 has 64 hexadecimal digits"),
        ({"quantize": "4bit"}, "works on a CUDA device only"),
        ({"spread": True}, "spread: True given; it lays the language model over CUDA devices"),
        ({"generation": {"max_new_tokens": 2048}}, "no room for a question in the 2048 tokens"),
        ({"image_size": 60}, "60 pixels cannot be cut into patches of 14.*such as 56"),
        ({"language_model": f"{MODEL['language_model']}#sha256={'0' * 64}"}, "it is a folder"),
        ({"vision": f"{RELEASE}#sha256={'0' * 64}"}, "is a folder, and #sha256="),
        ({"language_model": f"owner/name@{'0' * 40}#sha256={'0' * 64}"}, "a whole repository has"),
        ({"vision": "weights/eva_vit_g.pth"}, "storage.googleapis.com"),
    ],
)
def test_settings_that_cannot_work(changes: dict[str, Any], expected: str, tmp_path: Path) -> None:
    with pytest.raises((ConfigError, CheckpointError), match=expected):
        build_model(config_of(tmp_path, **changes))


def test_all_missing_files_are_told_at_once(tmp_path: Path) -> None:
    config = config_of(tmp_path, vision="weights/eva_vit_g.pth", language_model="vicuna-7b")
    with pytest.raises(ConfigError) as caught:
        fetch_parts(config, EVA_VIT_G)
    assert len(caught.value.problems) == 2


def test_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    config = config_of(tmp_path, vision=f"{MODEL['vision']}#sha256={'0' * 64}")
    with pytest.raises(CheckpointError, match="its sha256 is"):
        fetch_parts(config, EVA_VIT_G)


def test_a_projection_of_ours_knows_its_parts(tmp_path: Path) -> None:
    frozen = fingerprint(
        RELEASE / "eva_vit.pth", RELEASE / "blip2_pretrained.pth", RELEASE / "llama"
    )
    path = tmp_path / "projection.safetensors"
    for fits, mark in ((True, frozen), (False, "0" * 64)):
        record = ProjectionRecord(
            preset="eva_vit_g", prompt_format="vicuna_v0", stage=2, step=1, frozen=mark
        )
        save_projection(path, torch.nn.Linear(32, 48), record)
        config = config_of(tmp_path, projection=str(path))
        if fits:
            build_model(config)
        else:
            with pytest.raises(CheckpointError, match="trained on other parts"):
                build_model(config)


def test_a_model_that_does_not_fit_is_refused_with_what_would() -> None:
    made = plan(SOURCES)
    whole = estimate(made, "float32").total
    assert check_fits(made, "float32", "none", whole, on_gpu=False).total == whole
    with pytest.raises(ConfigError, match=r"needs about .* This would fit: precision=bfloat16"):
        check_fits(made, "float32", "none", whole - 1, on_gpu=False)
    with pytest.raises(ConfigError, match="No setting here would fit"):
        check_fits(made, "bfloat16", "none", 1000, on_gpu=True)


def test_the_estimate_counts_what_is_loaded(tmp_path: Path) -> None:
    needed = estimate(plan(SOURCES), "float32")
    model = build_model(config_of(tmp_path, precision="float32"))
    loaded = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    assert needed.weights == loaded
    context = model.language.model.config.max_position_embeddings
    assert needed.cache == 2 * 2 * 48 * context * 4
    halves = [estimate(plan(SOURCES), "bfloat16", on_gpu=on_gpu).cache for on_gpu in (True, False)]
    assert halves == [needed.cache / 2, needed.cache]  # on a CPU the engine holds it in float32
    assert memory.available_memory() > GIB


def test_a_cached_file_of_the_hub_needs_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = tmp_path / "hub" / "models--owner--name" / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (snapshot / "p.pth").write_bytes((RELEASE / "pretrained_minigpt4.pth").read_bytes())
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    config = config_of(tmp_path, projection=f"owner/name@{commit}:p.pth")
    plan = plan_paths(config, EVA_VIT_G, fetch_parts(config, EVA_VIT_G))
    assert plan.offers["projection"].header.path.name == "p.pth"


def test_a_file_of_the_hub_without_a_network_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    commit = "0123456789abcdef0123456789abcdef01234567"
    config = config_of(tmp_path, projection=f"spaces/owner/name@{commit}:p.pth")
    with pytest.raises(ConfigError, match="not in the cache and the hub cannot be reached"):
        fetch_parts(config, EVA_VIT_G)


def test_presets_of_the_release() -> None:
    assert EVA_VIT_G_PATCHES.vision == EVA_VIT_G.vision
    assert JoinedPatches(EVA_VIT_G_PATCHES.vision, 4).config.queries == 64
    assert hub.published_at("vicuna-7b")
