"""Speeds: arithmetic as torch itself counts it, peaks by name, and only the looks of a step."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from minigpt4.models.minigpt4 import MiniGPT4, TrainingBatch
from minigpt4.prompt_formats import TINY
from train import throughput
from train.samples import Batches, aligned_sample
from train.settings import CartoonSettings
from train.throughput import Done, Meter, peak_of, peak_tflops, work_of


def batch_of(model: MiniGPT4, samples: int) -> TrainingBatch:
    shown = [aligned_sample(seed, CartoonSettings(), ("Look.",)) for seed in range(samples)]
    return Batches(model, TINY, lambda seed: shown[seed]).of_samples(shown)


def test_the_arithmetic_is_what_torch_counts(tiny_model: MiniGPT4) -> None:
    batch = batch_of(tiny_model, 1)  # one row has no padding, which torch would count
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        tiny_model.loss(batch).backward()
    work = work_of(tiny_model)
    # The first block has no use for a gradient of the words before the picture, and gets one.
    assert work.of_batch(batch) == pytest.approx(counter.get_total_flops(), rel=0.01)
    with FlopCounterMode(display=False) as counter:
        tiny_model.query_output(torch.zeros(3, 3, 32, 32))
    assert 3 * work.look == counter.get_total_flops() > 0


def test_padding_is_no_work(tiny_model: MiniGPT4) -> None:
    work = work_of(tiny_model)
    batch = batch_of(tiny_model, 4)
    lengths = batch.attention_mask.sum(1)
    assert lengths.min() < lengths.max()
    linear = 2 * work.position * float(lengths.sum())
    attention = 3 * work.pair * float((lengths.double() ** 2).sum())
    head = 2 * work.learned * int((batch.labels[:, 1:] != -100).sum())
    assert work.of_batch(batch) == pytest.approx(linear + attention + head + 8 * work.slot)


def test_llama_7b_takes_what_was_counted_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """784 forward and 786 backward GFLOP at 60 positions, counted by torch on meta tensors."""
    monkeypatch.setattr(throughput, "_of_a_look", lambda _model: 0.0)
    config = SimpleNamespace(
        hidden_size=4096, num_hidden_layers=32, intermediate_size=11008, num_attention_heads=32,
        num_key_value_heads=32, vocab_size=32000,
    )  # fmt: skip
    language = SimpleNamespace(model=SimpleNamespace(config=config))
    model = SimpleNamespace(
        language=language, projection=torch.nn.Linear(768, 4096, device="meta"), queries=32
    )
    labels = torch.full((1, 60), -100)
    labels[:, 40:] = 1
    batch = TrainingBatch(
        ids=labels, labels=labels, attention_mask=torch.ones(1, 60), slot_rows=torch.zeros(1),
        slot_starts=torch.zeros(1), query_output=torch.zeros(1),
    )  # fmt: skip
    assert work_of(model).of_batch(batch) == pytest.approx((784 + 786) * 1e9, rel=0.005)


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H200", 989),
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A10G", 70),
        ("NVIDIA L4", 121),
        ("NVIDIA L40S", 362),
        ("Tesla T4", 65),
        ("NVIDIA GeForce RTX 3090", 71),
        ("NVIDIA T400 4GB", None),
        ("Some Other Device", None),
    ],
)
def test_peaks_by_name(name: str, peak: float | None) -> None:
    assert peak_of(name) == peak


def test_a_cpu_has_no_known_peak_but_one_can_be_given() -> None:
    cpu = torch.device("cpu")
    assert peak_tflops(cpu, "bfloat16", None) is None
    assert peak_tflops(cpu, "float32", 0.5) == 0.5


def test_speeds() -> None:
    done = Done(seconds=2, samples=10, positions=600, flop=4e12)
    assert done.speeds(None) == {"samples_per_second": 5, "tokens_per_second": 300}
    assert done.speeds(8.0)["mfu"] == 0.25


def test_a_meter_counts_the_looks_of_a_step_alone(tiny_model: MiniGPT4) -> None:
    pictures = torch.zeros(2, 3, 32, 32)
    batch = batch_of(tiny_model, 2)
    with Meter(tiny_model, 1e-6) as meter:
        tiny_model.query_output(pictures)  # somebody else's
        meter.begin()
        _, kept = meter.of([batch])
        tiny_model.query_output(pictures)
        tiny_model.query_output(pictures[:1])
        positions, looked = meter.of([batch])
        assert positions == int(batch.attention_mask.sum())
        assert looked - kept == pytest.approx(3 * work_of(tiny_model).look)
        for seconds in (1.0, 3.0):
            meter.add(Done(seconds, samples=400, positions=30_000, flop=1e6), devices=2)
        assert meter.said() == "200 samples/s, 15,000 tokens/s, MFU 25 %"
    assert not tiny_model.vision._forward_hooks
