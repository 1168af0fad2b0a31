"""Loading needs the memory of the weights and of one tensor, not of two models."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

from minigpt4.checkpoints.sizes import projection_tensors, qformer_tensors, vision_tensors
from minigpt4.models.presets import QFormerConfig, VisionConfig
from tests.checkpoints.parts import RELEASE
from tests.checkpoints.test_build_released import MODEL

MOST = 1.15
VISION = VisionConfig("eva", 224, 14, 1280, 3, 16, 4.3637)
QFORMER = QFormerConfig(32, 768, 2, 12, 3072, 2)
WIDTH, LAYERS, INNER, VOCABULARY = 1024, 12, 2752, 4_000  # as a 7B, 2 % are embeddings
CHILD = """
import sys
from pathlib import Path
import torch
from minigpt4.build import build_model
from minigpt4.config import load_config

def now(label):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(label):
            return int(line.split()[1]) * 1024

build_model(load_config(sys.argv[2]))  # what loading imports is no copy of the weights
Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
before = now("VmRSS:")
model = build_model(load_config(sys.argv[1]))
weights = sum(w.numel() * w.element_size() for w in model.parameters())
print((now("VmHWM:") - before) / weights, weights, now("VmHWM:") - before)
"""


def config_of(folder: Path) -> Path:
    """The golden model's configuration."""
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump({"model": MODEL, "device": "cpu", "precision": "bfloat16"}))
    return path


def released_names(name: str) -> str:
    """The release's names for ours."""
    if name.startswith("vision.layer_norm"):
        return name.replace("vision.layer_norm", "ln_vision")
    if name.startswith("qformer.transformer.encoder"):
        name = name.replace("qformer.transformer", "Qformer.bert")
        return name.replace("attention.attention.", "attention.self.")
    return (
        name.removeprefix("vision.transformer.")
        .replace("qformer.transformer.layernorm", "Qformer.bert.embeddings.LayerNorm")
        .replace("qformer.query_tokens", "query_tokens")
        .replace("projection", "llama_proj")
    )


def write_model(folder: Path) -> Path:
    """Weights in the release's file layout, as it stores them."""
    shapes = (
        vision_tensors(VISION)
        | qformer_tensors(QFORMER, VISION.width)
        | projection_tensors(768, WIDTH)
    )
    files: dict[str, dict[str, torch.Tensor]] = {"vision": {}, "qformer": {}, "projection": {}}
    for name, shape in shapes.items():
        part = "qformer" if name.startswith("vision.layer_norm") else name.split(".")[0]
        dtype = torch.float16 if part == "vision" else torch.float32
        files[part][released_names(name)] = torch.full(shape, 0.02, dtype=dtype)
    torch.save(files["vision"], folder / "vision.pth")
    for part in ("qformer", "projection"):
        torch.save({"model": files[part]}, folder / f"{part}.pth")
    language = folder / "language"
    shutil.copytree(RELEASE / "llama", language)
    write_language(language)
    path = folder / "demo.yaml"
    model = {part: str(folder / f"{part}.pth") for part in files}
    model |= {
        "preset": "eva_vit_g",
        "prompt_format": "vicuna_v0",
        "vision_heads": 16,
        "language_model": str(language),
    }
    path.write_text(yaml.safe_dump({"model": model, "device": "cpu", "precision": "bfloat16"}))
    return path


def write_language(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 8,
        "intermediate_size": INNER,
        "vocab_size": VOCABULARY,
    }
    (folder / "config.json").write_text(json.dumps(config))
    shapes = {
        "model.embed_tokens.weight": (VOCABULARY, WIDTH),
        "lm_head.weight": (VOCABULARY, WIDTH),
    }
    shapes |= {"model.norm.weight": (WIDTH,)}
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        shapes |= {f"{prefix}self_attn.{name}_proj.weight": (WIDTH, WIDTH) for name in "qkvo"}
        shapes |= {f"{prefix}mlp.{name}_proj.weight": (INNER, WIDTH) for name in ("gate", "up")}
        shapes |= {f"{prefix}mlp.down_proj.weight": (WIDTH, INNER)}
        shapes |= {
            f"{prefix}{name}_layernorm.weight": (WIDTH,) for name in ("input", "post_attention")
        }
    tensors = {name: torch.full(shape, 0.02, dtype=torch.float16) for name, shape in shapes.items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.slow
@pytest.mark.load
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads Linux's counters")
def test_peak_memory_of_loading(tmp_path: Path) -> None:
    small = config_of(tmp_path)
    config = write_model(tmp_path)
    command = [sys.executable, "-c", CHILD, str(config), str(small)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    ratio = float(done.stdout.split()[0])
    assert ratio <= MOST, done.stdout
