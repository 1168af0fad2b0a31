"""How much memory a model will need, worked out from headers before anything is loaded."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from minigpt4.checkpoints.plan import Plan
from minigpt4.errors import ConfigError

Quantization = Literal["none", "8bit", "4bit"]
GIB = 2**30

BYTES: Mapping[str, float] = {"float32": 4, "bfloat16": 2, "float16": 2}
# bitsandbytes keeps embeddings, head and norms in 16 bits. Its own bookkeeping: an absmax for every
# 64 numbers (4 bit) or row (8 bit).
_QUANTIZED_BYTES: Mapping[str, float] = {"8bit": 1.01, "4bit": 0.5 + 4 / 64}
_WORKING = 0.6 * GIB  # libraries, CUDA's context, activations of one answer


@dataclass(frozen=True, slots=True)
class Memory:
    """What a model needs, in bytes.

    Attributes:
        language: Weights of the language model.
        picture: Weights of the vision encoder, the Q-Former and the projection.
        cache: Keys and values of one full context.
        working: Everything else, a rough constant.
    """

    language: float
    picture: float
    cache: float
    working: float = _WORKING

    @property
    def weights(self) -> float:
        """All weights."""
        return self.language + self.picture

    @property
    def total(self) -> float:
        """All of it."""
        return self.weights + self.cache + self.working


def estimate(
    plan: Plan,
    precision: str,
    quantize: Quantization = "none",
    context: int | None = None,
    *,
    on_gpu: bool = True,
    served: bool = False,
) -> Memory:
    """What a model of a plan needs.

    Args:
        plan: The model.
        precision: What the frozen parts are held in: float32, bfloat16 or float16.
        quantize: How the language model is held.
        context: Longest prompt and answer; None takes the language model's own limit.
        on_gpu: Where it runs. On a CPU keys and values are always held in 32 bits.
        served: A server runs the language model; only its embeddings are here.
    """
    language = plan.language
    outside = 2 * language.vocabulary * language.width  # embeddings and head
    inside = max(0, language.numbers - outside)
    width = BYTES[precision]
    inner_width = _QUANTIZED_BYTES.get(quantize, width)
    projection = sum(
        origin.info.numbers
        for name, origin in plan.origins.items()
        if name.startswith("projection")
    )
    picture = sum(origin.info.numbers for origin in plan.origins.values()) - projection
    positions = min(context or language.context, language.context)
    eye = picture * width + projection * BYTES["float32"]
    if served:
        return Memory(language=outside / 2 * width, picture=eye, cache=0.0)
    return Memory(
        language=outside * width + inside * inner_width,
        picture=eye,
        cache=2 * language.layers * language.key_value_width * positions
        * (BYTES[precision] if on_gpu else BYTES["float32"]),
    )  # fmt: skip


def check_fits(
    plan: Plan,
    precision: str,
    quantize: Quantization,
    available: float,
    *,
    on_gpu: bool,
    context: int | None = None,
    served: bool = False,
) -> Memory:
    """The estimate, if the model fits.

    Args:
        plan: The model.
        precision: See `estimate`.
        quantize: See `estimate`.
        available: Bytes of memory on its device.
        on_gpu: Whether the language model may be quantised.
        context: See `estimate`.
        served: See `estimate`.

    Raises:
        ConfigError: If it does not fit, with what would.
    """
    needed = estimate(plan, precision, quantize, context, on_gpu=on_gpu, served=served)
    if needed.total <= available:
        return needed
    options = list(_smaller(plan, precision, quantize, available, on_gpu=on_gpu, context=context))
    cure = f"This would fit: {' or '.join(options)}." if options else "No setting here would fit."
    where = "GPU" if on_gpu else "machine"
    problem = (
        f"The model needs about {in_gib(needed.total)} and this {where} has {in_gib(available)} "
        f"free. {cure} A smaller language model, such as 7B for 13B, needs less."
    )
    raise ConfigError([problem])


def in_gib(count: float) -> str:
    """A number of bytes for people."""
    return f"{count / GIB:.1f} GiB" if count >= GIB / 10 else f"{count / 2**20:.1f} MiB"


def available_memory() -> int:
    """Bytes of main memory that are free for this process, its container's limit included."""
    free = _number_of("/proc/meminfo", "MemAvailable:") * 1024
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        (
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.usage_in_bytes",
        ),
    ):
        most = _number_of(limit)
        if most and free:
            free = min(free, max(0, most - _number_of(used)))
    return free


def _smaller(
    plan: Plan,
    precision: str,
    quantize: Quantization,
    available: float,
    *,
    on_gpu: bool,
    context: int | None,
) -> Iterator[str]:
    half = precision if precision != "float32" else "bfloat16"
    choices: list[tuple[str, str, Quantization]] = []
    if precision == "float32":
        choices.append((f"precision={half}", half, quantize))
    if on_gpu and quantize == "none":
        choices.append(("quantize=8bit", half, "8bit"))
    if on_gpu and quantize != "4bit":
        choices.append(("quantize=4bit", half, "4bit"))
    for name, chosen, bits in choices:
        total = estimate(plan, chosen, bits, context, on_gpu=on_gpu).total
        if total <= available:
            yield f"{name} ({in_gib(total)})"
    for shorter in (1024, 512):
        total = estimate(plan, precision, quantize, shorter, on_gpu=on_gpu).total
        if total <= available:
            yield f"limits.max_context_tokens={shorter} ({in_gib(total)})"
            return


def _number_of(path: str, label: str = "") -> int:
    """A number out of a file of the system; 0 if it is not there."""
    try:
        text = Path(path).read_text("ascii")
    except OSError:
        return 0
    for line in text.splitlines():
        words = line.removeprefix(label).split()
        if line.startswith(label) and words and words[0].isdigit():
            return int(words[0])
    return 0
