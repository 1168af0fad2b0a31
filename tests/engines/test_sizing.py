import logging

import pytest
import torch

from minigpt4.build import build_engine, build_model
from minigpt4.config import load_config
from minigpt4.engines import sizing
from minigpt4.engines.batching import BatchingEngine
from minigpt4.engines.blocks import PAGE
from minigpt4.engines.paged import bytes_per_token
from minigpt4.engines.sizing import cache_blocks, computes_bfloat16, thread_count


def blocks(model, **given):
    settings = {"cache_mb": None, "free_bytes": 2**40, "max_answers": 4, "context_tokens": 320}
    return cache_blocks(model.language, **{**settings, **given})


def page_bytes(model):
    return PAGE * bytes_per_token(model.language.model.config, torch.float32)


def test_a_position_takes_a_key_and_a_value_in_every_layer(tiny_model):
    # 2 layers of 64 numbers each, once as key and once as value.
    assert bytes_per_token(tiny_model.language.model.config, torch.float32) == 2 * 2 * 64 * 4
    assert bytes_per_token(tiny_model.language.model.config, torch.bfloat16) == 2 * 2 * 64 * 2


def test_there_is_room_for_all_answers_at_full_length_and_no_more(tiny_model):
    assert blocks(tiny_model) == 4 * 320 // PAGE


def test_no_more_than_a_share_of_the_free_memory_is_taken(tiny_model):
    assert blocks(tiny_model, free_bytes=100 * page_bytes(tiny_model)) == 25


def test_a_size_given_is_the_size_taken(tiny_model):
    assert blocks(tiny_model, cache_mb=2, free_bytes=1) == 2 * 2**20 // page_bytes(tiny_model)


def test_a_cache_too_small_for_one_long_chat_is_told(tiny_model, caplog):
    with caplog.at_level(logging.WARNING):
        blocks(tiny_model, free_bytes=20 * page_bytes(tiny_model))
    assert "holds 80 positions, less than one chat of full length (320)" in caplog.text
    caplog.clear()
    blocks(tiny_model)
    assert not caplog.text


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ("flags\t\t: fpu sse avx512f avx512_bf16 clwb\n", True),
        ("Features\t: fp asimd bf16 i8mm\n", True),
        ("flags\t\t: fpu sse avx2 avx512f\n", False),
        (None, False),
    ],
)
def test_bfloat16_where_the_cpu_multiplies_it(tmp_path, monkeypatch, info, expected):
    path = tmp_path / "cpuinfo"
    if info is not None:
        path.write_text(info)
    monkeypatch.setattr(sizing, "_CPU_INFO", path)
    assert computes_bfloat16() is expected


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("150000 100000", 2), ("50000 100000", 1), ("max 100000", 6), ("900000 100000", 6), (None, 6)],
)
def test_threads_are_those_a_container_was_given(tmp_path, monkeypatch, quota, expected):
    path = tmp_path / "cpu.max"
    if quota is not None:
        path.write_text(quota + "\n")
    monkeypatch.setattr(sizing, "_QUOTA", path)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(6)), raising=False)
    monkeypatch.setattr("torch.get_num_threads", lambda: 8)
    assert thread_count() == expected


def test_the_default_demo_takes_little():
    config = load_config("eval_configs/tiny.yaml")
    engine, context_tokens = build_engine(config, build_model(config))
    assert isinstance(engine, BatchingEngine)
    taken = sum(each.nbytes for layer in engine._stepper._cache.layers for each in layer)
    assert 16 * context_tokens * 6400 <= taken < 210 * 2**20  # and that only as it fills
