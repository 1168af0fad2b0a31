"""Every layout the same weights come in gives the same model."""

import json
import shutil
import weakref
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import (
    Blip2QFormerConfig,
    Blip2QFormerModel,
    Blip2VisionConfig,
    Blip2VisionModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from minigpt4.checkpoints.files import read_header
from minigpt4.checkpoints.language_files import inspect_language
from minigpt4.checkpoints.loading import load_language, load_picture_side
from minigpt4.checkpoints.native import ProjectionRecord, save_part, save_projection
from minigpt4.checkpoints.plan import Sources, read_part
from minigpt4.checkpoints.release import read_offer
from minigpt4.checkpoints.sizes import (
    language_tensors,
    qformer_tensors,
    vision_sizes,
    vision_tensors,
)
from minigpt4.checkpoints.tensors import read_tensors
from minigpt4.errors import CheckpointError
from minigpt4.models.language import load_language_model
from minigpt4.models.presets import EVA_VIT_G, TINY, Preset
from minigpt4.models.qformer import QFormer
from minigpt4.models.vision import VisionEncoder
from tests.checkpoints.parts import RELEASE, copy_release, plan, rewrite
from tests.conftest import SMALLER

SOURCES = Sources(
    RELEASE / "eva_vit.pth",
    RELEASE / "blip2_pretrained.pth",
    RELEASE / "pretrained_minigpt4.pth",
    RELEASE / "llama",
)
PIXELS = torch.linspace(-2, 2, 2 * 3 * 56 * 56).view(2, 3, 56, 56).sin()


def visual_tokens(sources: Sources) -> torch.Tensor:
    vision, qformer, projection = load_picture_side(plan(sources))
    with torch.no_grad():
        tokens: torch.Tensor = projection(qformer(vision(PIXELS)))
    return tokens


@pytest.mark.parametrize("preset", [EVA_VIT_G, TINY, SMALLER], ids=lambda preset: preset.name)
def test_shapes_are_those_of_the_modules(preset: Preset) -> None:
    with torch.device("meta"):
        vision = VisionEncoder(preset.vision)
        qformer = QFormer(preset.qformer, preset.vision.width)
    expected = {f"vision.{name}": tuple(t.shape) for name, t in vision.state_dict().items()}
    assert vision_tensors(preset.vision) == expected
    expected = {f"qformer.{name}": tuple(t.shape) for name, t in qformer.state_dict().items()}
    assert qformer_tensors(preset.qformer, preset.vision.width) == expected


@pytest.mark.parametrize("name", ["pretrained_minigpt4.pth", "checkpoint_3.pth"])
def test_a_projection_out_of_any_checkpoint(name: str, tmp_path: Path) -> None:
    whole = torch.load(RELEASE / name, weights_only=True)["model"]
    sources = Sources(SOURCES.vision, SOURCES.qformer, RELEASE / name, SOURCES.language_model)
    _, _, projection = load_picture_side(plan(sources))
    assert torch.equal(projection.weight, whole["llama_proj.weight"])
    assert projection.weight.requires_grad


def test_what_is_left_out_is_left_out_knowingly() -> None:
    offer = read_offer(read_header(RELEASE / "blip2_pretrained.pth"))
    assert offer is not None
    assert offer.unknown == ()
    assert "Qformer.bert.embeddings.word_embeddings.weight" in offer.left_out
    assert not any("query" in name for name in offer.left_out)


def test_the_flan_t5_release_without_a_text_branch(tmp_path: Path) -> None:
    sources = copy_release(tmp_path)
    assert sources.qformer is not None
    rewrite(
        sources.qformer,
        lambda state: {
            name: tensor
            for name, tensor in state.items()
            if not any(mark in name for mark in (".intermediate.", ".output.dense", "cls", "embed"))
            or "attention" in name
            or "embeddings.LayerNorm" in name
        },
    )
    assert torch.equal(visual_tokens(sources), visual_tokens(SOURCES))


def test_files_that_torch_wrote_before_it_used_archives(tmp_path: Path) -> None:
    sources = copy_release(tmp_path)
    content = torch.load(sources.vision, weights_only=True)
    torch.save(content, sources.vision, _use_new_zipfile_serialization=False)
    assert read_header(sources.vision).kind == "legacy"
    assert torch.equal(visual_tokens(sources), visual_tokens(SOURCES))


def test_a_legacy_file_is_let_go_tensor_by_tensor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "old.pth"
    torch.save({name: torch.zeros(3) for name in "abc"}, path, _use_new_zipfile_serialization=False)
    kept: dict[str, weakref.ref[torch.Tensor]] = {}
    load = torch.load

    def watched(*arguments: object, **options: object) -> dict[str, torch.Tensor]:
        content: dict[str, torch.Tensor] = load(*arguments, **options)  # type: ignore[arg-type]
        kept.update({name: weakref.ref(tensor) for name, tensor in content.items()})
        return content

    monkeypatch.setattr(torch, "load", watched)
    for name, _tensor in read_tensors(read_header(path), dict.fromkeys("abc")):
        alive = [other for other, tensor in kept.items() if tensor() is not None]
        assert alive == list("abc"["abc".index(name) :])


@pytest.mark.parametrize(("grid", "layers"), [(4, 3), (6, 2)])
def test_sizes_of_a_file_as_wide_as_the_preset_are_its_own(
    grid: int,
    layers: int,
    blip2: tuple[Blip2VisionModel, Blip2QFormerModel, dict[str, torch.Tensor]],
    tmp_path: Path,
) -> None:
    _, _, state = blip2
    state = {name: tensor for name, tensor in state.items() if f"layers.{layers}." not in name}
    positions = "vision_model.embeddings.position_embedding"
    state[positions] = torch.zeros(1, 1 + grid**2, 40)
    path = write_shards(tmp_path, state)
    known = replace(EVA_VIT_G, vision=replace(EVA_VIT_G.vision, width=40, depth=39, heads=4))
    offer = read_part(path, "vision")
    found = vision_sizes(offer, known)
    assert (found.image_size, found.depth) == (grid * 14, layers)
    assert vision_sizes(offer, known, image_size=224).image_size == 224


def test_the_release_runs_39_blocks_whatever_its_file_holds() -> None:
    known = replace(EVA_VIT_G, vision=replace(EVA_VIT_G.vision, width=40, heads=4))
    assert vision_sizes(read_part(SOURCES.vision, "vision"), known).depth == 39


def test_tensors_of_language_models_are_those_of_transformers() -> None:
    for options in (
        {},
        {"num_key_value_heads": 2, "head_dim": 16, "tie_word_embeddings": True},
        {"attention_bias": True, "mlp_bias": True},
    ):
        settings = LlamaConfig(
            hidden_size=32,
            intermediate_size=40,
            num_hidden_layers=2,
            num_attention_heads=4,
            vocab_size=50,
            **options,
        )
        with torch.device("meta"):
            model = LlamaForCausalLM(settings)
        theirs = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        if settings.tie_word_embeddings:
            del theirs["lm_head.weight"]
        assert language_tensors(settings.to_dict()) == theirs


def test_tensors_that_share_or_stride_their_memory(tmp_path: Path) -> None:
    sources = copy_release(tmp_path)
    rewrite(
        sources.vision,
        lambda state: {
            name: tensor.T.contiguous().T if tensor.ndim == 2 else tensor
            for name, tensor in state.items()
        },
    )
    assert torch.equal(visual_tokens(sources), visual_tokens(SOURCES))


def test_our_own_files(tmp_path: Path) -> None:
    vision, qformer, projection = load_picture_side(plan(SOURCES))
    save_part(tmp_path / "vision.safetensors", vision, "vision", preset="x")
    save_part(tmp_path / "qformer.safetensors", qformer, "qformer", preset="x")
    record = ProjectionRecord(preset="x", prompt_format="vicuna_v0", stage=2, step=1, frozen="0")
    save_projection(tmp_path / "projection.safetensors", projection, record)
    ours = Sources(
        tmp_path / "vision.safetensors",
        tmp_path / "qformer.safetensors",
        tmp_path / "projection.safetensors",
        SOURCES.language_model,
    )
    assert torch.equal(visual_tokens(ours), visual_tokens(SOURCES))
    assert plan(ours, prompt_format="vicuna_v0").warnings == ()
    told = plan(ours, prompt_format="vicuna_v1").warnings
    assert any("trained with prompt format vicuna_v0" in warning for warning in told)


@pytest.fixture
def blip2() -> tuple[Blip2VisionModel, Blip2QFormerModel, dict[str, torch.Tensor]]:
    """A small BLIP-2 by transformers' own classes, and its state dict as a checkpoint has it."""
    torch.manual_seed(3)
    vision = Blip2VisionModel(
        Blip2VisionConfig(
            hidden_size=40,
            intermediate_size=174,
            num_hidden_layers=3,
            num_attention_heads=4,
            image_size=56,
            patch_size=14,
            initializer_range=0.2,
        )
    ).eval()
    qformer = Blip2QFormerModel(
        Blip2QFormerConfig(
            hidden_size=32,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=64,
            encoder_hidden_size=40,
        )
    ).eval()
    state = {f"vision_model.{name}": tensor for name, tensor in vision.state_dict().items()}
    for name, tensor in state.items():
        if name.endswith("bias"):
            tensor.normal_(std=0.1)
        if name.endswith("qkv.bias"):
            tensor[40:80] = 0  # BLIP-2's keys have no bias
    state |= {f"qformer.{name}": tensor for name, tensor in qformer.state_dict().items()}
    state["query_tokens"] = torch.randn(1, 8, 32)
    state["language_projection.weight"] = torch.randn(5, 32)
    return vision, qformer, state


def write_shards(folder: Path, state: Mapping[str, torch.Tensor]) -> Path:
    names = sorted(state)
    shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for shard, kept in shards.items():
        save_file({name: state[name].contiguous() for name in kept}, folder / shard)
    index = folder / "model.safetensors.index.json"
    weight_map = {name: shard for shard, kept in shards.items() for name in kept}
    index.write_text(json.dumps({"weight_map": weight_map}))
    return index


def test_hugging_faces_blip_2(
    blip2: tuple[Blip2VisionModel, Blip2QFormerModel, dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    theirs, their_qformer, state = blip2
    theirs.post_layernorm.eps = 1e-5  # the release's; transformers has 1e-6 here
    path = write_shards(tmp_path, state)
    sources = Sources(path, path, SOURCES.projection, SOURCES.language_model)
    made = plan(sources)
    assert made.preset.vision.depth == 3  # nothing is left over in this layout
    vision, qformer, _ = load_picture_side(made)
    with torch.no_grad():
        features = theirs(pixel_values=PIXELS).last_hidden_state
        output = their_qformer(
            query_embeds=state["query_tokens"].expand(2, -1, -1), encoder_hidden_states=features
        ).last_hidden_state
        assert (vision(PIXELS) - features).abs().max() <= 2e-5
        assert (qformer(vision(PIXELS)) - output).abs().max() <= 2e-5


def test_a_key_bias_that_we_have_no_place_for(
    blip2: tuple[Blip2VisionModel, Blip2QFormerModel, dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    _, _, state = blip2
    state["vision_model.encoder.layers.1.self_attn.qkv.bias"][50] = 0.5
    path = write_shards(tmp_path, state)
    with pytest.raises(CheckpointError, match="bias of its keys is not zero"):
        visual_tokens(Sources(path, path, SOURCES.projection, SOURCES.language_model))


@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_language_models_in_every_layout(kind: str, shards: int, tmp_path: Path) -> None:
    theirs = load_language_model(RELEASE / "llama", torch.float32)
    for path in (RELEASE / "llama").iterdir():
        if path.suffix != ".safetensors":
            shutil.copy(path, tmp_path)
    state = {name: tensor.half() for name, tensor in theirs.model.state_dict().items()}
    write_language(tmp_path, state, kind, shards)
    language = load_language(inspect_language(tmp_path))
    with torch.no_grad():
        ids = torch.arange(3, 43)[None]
        assert torch.equal(language.model(ids).logits, theirs.model(ids).logits)
    assert not any(weight.requires_grad for weight in language.model.parameters())
    assert not any(tensor.is_meta for tensor in (*language.buffers(), *language.parameters()))


def write_language(folder: Path, state: Mapping[str, torch.Tensor], kind: str, shards: int) -> None:
    stem, write = ("model", save_file) if kind == "safetensors" else ("pytorch_model", torch.save)
    if shards == 1:
        write(dict(state), folder / f"{stem}.{kind}")
        return
    names = sorted(state)
    weight_map = {}
    for number, kept in enumerate((names[::2], names[1::2]), start=1):
        shard = f"{stem}-0000{number}-of-00002.{kind}"
        write({name: state[name] for name in kept}, folder / shard)
        weight_map |= dict.fromkeys(kept, shard)
    index = folder / f"{stem}.{kind}.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))


def test_half_precision_on_request() -> None:
    vision, qformer, projection = load_picture_side(plan(SOURCES), dtype=torch.bfloat16)
    for part in (vision, qformer):
        assert {tensor.dtype for tensor in part.parameters()} == {torch.bfloat16}
        assert {tensor.dtype for tensor in part.buffers()} <= {torch.bfloat16}
        assert not any(tensor.requires_grad for tensor in part.parameters())
    assert projection.weight.dtype == torch.float32
