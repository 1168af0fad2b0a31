"""How fast a run is: samples and tokens a second, and the share of the device's arithmetic in use.

The arithmetic of a step is counted, not measured: two operations a multiplication and addition of
every matrix product that the gradient needs, in floating-point operations (FLOP).

- Language model, forward: for each of T positions, twice its blocks' weights; for each two of
  them, `4 L H` in attention (scores and their use, L layers of H numbers over all heads; a causal
  mask halves what has to be done, and custom counts it in full); for each learned token, twice the
  output head's weights.
- Language model, backward: the same again for weights, since its weights are frozen and only the
  gradient to its inputs is computed; twice as much in attention, where both factors of a product
  get one.
- Projection: forward and the gradient of its weights. Its input is no function of anything learned.
- The frozen eye, forward, once for every picture that was looked at in this step; none for those
  whose query output was kept.

Padding and what is computed twice to save memory count for nothing: the figure is of useful work.
For LLaMA-7B this gives 784 + 786 GFLOP at 60 positions, and for ViT-g with its Q-Former 534 a
picture.

Source: Chowdhery et al., 2022 (PaLM), appendix B, "model FLOPs utilization"; there all weights are
trained, so that a token costs six operations a weight, and here four.
"""

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from minigpt4.models.minigpt4 import MiniGPT4, TrainingBatch
from train.samples import learned_tokens

_PEAKS = (
    ("GB200", 2500.0),
    ("B200", 2250.0),
    ("GH200", 989.0),
    ("H200", 989.0),
    ("H100 PCIe", 756.0),
    ("H100 NVL", 835.0),
    ("H100", 989.0),
    ("H800", 989.0),
    ("H20", 148.0),
    ("A100", 312.0),
    ("A800", 312.0),
    ("A40", 149.7),
    ("A30", 165.0),
    ("A10G", 70.0),
    ("A10", 125.0),
    ("L40S", 362.0),
    ("L40", 181.0),
    ("L4", 121.0),
    ("RTX 4090", 165.0),
    ("RTX 3090", 71.0),
    ("V100", 125.0),
    ("T4", 65.0),
)
"""TFLOP/s of bfloat16 (V100 and T4: float16) without sparsity, from the makers' data sheets; the
first name that stands in a device's name counts. An H200 reached 790 in one large matrix product
when we measured it; `peak_tflops=790` compares with that."""
_WINDOW = 20
"""Steps that the progress bar's speeds are means of."""


def peak_tflops(device: torch.device, precision: str, given: float | None) -> float | None:
    """The most that one device can do, in TFLOP/s; None where that is not known.

    Args:
        device: Where the run computes.
        precision: What it computes in; the table knows half precision only.
        given: What the settings say; it wins.
    """
    if given is not None:
        return given
    if device.type != "cuda" or precision == "float32":
        return None
    return peak_of(torch.cuda.get_device_name(device))


def peak_of(device_name: str) -> float | None:
    """The peak of a device by its name, such as `NVIDIA A100-SXM4-80GB`, in TFLOP/s."""
    for name, peak in _PEAKS:
        if re.search(rf"\b{name}\b", device_name):
            return peak
    return None


@dataclass(frozen=True, slots=True)
class Work:
    """The arithmetic of training, in FLOP; see the head of this file.

    Attributes:
        position: Of the language model's blocks, for a position, forward.
        pair: Of its attention, for two positions, forward.
        learned: Of its output head, for a learned token, forward.
        slot: Of the projection, for a picture in a conversation, forward.
        look: Of the frozen eye, for a picture that is looked at.
    """

    position: float
    pair: float
    learned: float
    slot: float
    look: float

    def of_batch(self, batch: TrainingBatch) -> float:
        """What the gradient of a batch takes, without the frozen eye's part."""
        lengths = batch.attention_mask.sum(dim=1, dtype=torch.float64)
        linear = self.position * float(lengths.sum()) + self.learned * learned_tokens(batch)
        attention = self.pair * float((lengths**2).sum())
        return 2 * linear + 3 * attention + 2 * self.slot * len(batch.slot_rows)


def work_of(model: MiniGPT4) -> Work:
    """What a model's training takes; its eye looks at a blank picture for that.

    A Q-Former that learns is counted as if it were frozen.
    """
    config: Any = model.language.model.config
    width, layers, inner = config.hidden_size, config.num_hidden_layers, config.intermediate_size
    heads = config.num_attention_heads
    of_head = getattr(config, "head_dim", None) or width // heads
    query, key = of_head * heads, of_head * (config.num_key_value_heads or heads)
    weights = layers * (2 * width * query + 2 * width * key + 3 * width * inner)
    projection = sum(each.numel() for each in model.projection.parameters() if each.ndim > 1)
    return Work(
        position=2.0 * weights,
        pair=4.0 * layers * query,
        learned=2.0 * width * config.vocab_size,
        slot=2.0 * model.queries * projection,
        look=_of_a_look(model),
    )


def _of_a_look(model: MiniGPT4) -> float:
    side = model.preset.vision.image_size
    with FlopCounterMode(display=False) as counter:
        model.query_output(torch.zeros(1, 3, side, side, device=model.device))
    return float(counter.get_total_flops())


@dataclass(frozen=True, slots=True)
class Done:
    """What one or more steps did, all processes together.

    Attributes:
        seconds: Time it took.
        samples: Conversations.
        positions: What the language model read, visual tokens included and padding not.
        flop: Its arithmetic; 0 where nobody asks for it.
    """

    seconds: float = 0.0
    samples: float = 0.0
    positions: float = 0.0
    flop: float = 0.0

    def __add__(self, other: Self) -> "Done":
        return Done(
            self.seconds + other.seconds,
            self.samples + other.samples,
            self.positions + other.positions,
            self.flop + other.flop,
        )

    def speeds(self, peak: float | None) -> dict[str, float]:
        """Speeds by the names they have in metrics.jsonl.

        Args:
            peak: Of all devices together, in TFLOP/s; None leaves `mfu` out.
        """
        found = {
            "samples_per_second": round(self.samples / self.seconds, 2),
            "tokens_per_second": round(self.positions / self.seconds, 1),
        }
        if peak is not None:
            found["mfu"] = round(self.flop / self.seconds / (peak * 1e12), 4)
        return found


class Meter:
    """Counts what steps do; while it is open, also the pictures that the frozen eye looks at."""

    def __init__(self, model: MiniGPT4, peak: float | None) -> None:
        """Works out what a step takes, where that is asked for.

        Args:
            model: Is trained.
            peak: The most that one device can do, in TFLOP/s; None counts no arithmetic.
        """
        self._model = model
        self._peak = peak
        self._work = None if peak is None else work_of(model)
        self._looks = 0
        self._steps: deque[Done] = deque(maxlen=_WINDOW)
        self._said = ""

    def __enter__(self) -> Self:
        # Whoever asks the eye to look, this is called.
        self._hook = self._model.vision.register_forward_hook(self._count)
        return self

    def __exit__(self, *_error: object) -> None:
        self._hook.remove()

    def begin(self) -> None:
        """A step begins; what was looked at before does not count."""
        self._looks = 0

    def of(self, batches: Sequence[TrainingBatch]) -> tuple[float, float]:
        """What this process did since `begin`: positions without padding, and FLOP."""
        positions = sum(int(batch.attention_mask.sum()) for batch in batches)
        if self._work is None:
            return positions, 0.0
        work = self._work
        return positions, sum(map(work.of_batch, batches)) + self._looks * work.look

    def peak_of(self, devices: int) -> float | None:
        """The most that several devices can do, in TFLOP/s; None if that is not known."""
        return None if self._peak is None else devices * self._peak

    def add(self, step: Done, devices: int) -> None:
        """Adds what a step did on all devices."""
        self._steps.append(step)
        speeds = sum(self._steps, Done()).speeds(self.peak_of(devices))
        samples, tokens = speeds["samples_per_second"], speeds["tokens_per_second"]
        said = f"{_short(samples)} samples/s, {_short(tokens)} tokens/s"
        self._said = f"{said}, MFU {100 * speeds['mfu']:.0f} %" if "mfu" in speeds else said

    def said(self) -> str:
        """Means over the last steps: `41.2 samples/s, 3,120 tokens/s, MFU 38 %`."""
        return self._said

    def _count(self, _eye: nn.Module, given: tuple[torch.Tensor, ...], _features: object) -> None:
        self._looks += len(given[0])


def _short(number: float) -> str:
    """Three digits or a whole number: 4.12, 41.2, 412, 4,120."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
