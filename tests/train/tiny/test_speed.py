"""The measure of speed and size runs through the chat that the page uses."""

from pathlib import Path

import torch

from minigpt4.config import load_config
from minigpt4.models.minigpt4 import MiniGPT4
from tests.train.tiny.test_bridge import SMALL_PRESET
from train.tiny.eye import Eye
from train.tiny.speed import parts_of, speed_of, weights_on_disk

ROOT = Path(__file__).parents[3]


def test_speed_and_size(language, tmp_path):
    eye = Eye(SMALL_PRESET)
    model = MiniGPT4(SMALL_PRESET, eye.vision, eye.qformer, language).eval()
    threads = torch.get_num_threads()
    config = load_config(ROOT / "eval_configs" / "tiny.yaml", ["engine.cache_mb=64"])
    found = speed_of(model, config, threads=1, pictures=1)
    assert found["threads"] == 1
    assert found["first_token_ms"] > 0
    assert found["tokens_per_second"] > 0
    assert torch.get_num_threads() == threads
    parts = parts_of(model)
    assert parts["parameters"]["projection"] == 128 * 64 + 64
    assert parts["bytes_bfloat16"] == 2 * sum(each.numel() for each in model.parameters())
    (tmp_path / "language").mkdir()
    (tmp_path / "language" / "model.safetensors").write_bytes(b"12345")
    assert weights_on_disk(tmp_path) == {"language/model.safetensors": 5}
