"""What the machine allows: size of the KV cache, threads, and whether bfloat16 pays."""

import logging
import math
import os
from pathlib import Path

import torch

from minigpt4.engines.blocks import PAGE
from minigpt4.engines.paged import bytes_per_token, cache_dtype
from minigpt4.models.language import LanguageModel

logger = logging.getLogger(__name__)

_MIB = 2**20
_SHARE = {"cpu": 0.25, "cuda": 0.8}
"""Of the memory that is free once the weights are in. A CPU's memory belongs to others too; on a
GPU the rest is for what a step computes."""
_OTHER_SHARE = 0.25
_BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
_CPU_INFO = Path("/proc/cpuinfo")
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def cache_blocks(
    language: LanguageModel,
    *,
    cache_mb: int | None,
    free_bytes: float,
    max_answers: int,
    context_tokens: int,
) -> int:
    """Blocks of the KV cache.

    Without a size it gets room for `max_answers` chats of full length, in which many more short
    ones are remembered, but no more than a share of the free memory.

    Args:
        language: Its keys and values are held.
        cache_mb: The size in MiB, if it is given.
        free_bytes: Memory that is free where the model is.
        max_answers: Answers that are written at a time.
        context_tokens: Longest chat.
    """
    device = language.model.device
    dtype = cache_dtype(computed_dtype(language), device)
    position = bytes_per_token(language.model.config, dtype)
    if cache_mb is not None:
        size = float(cache_mb * _MIB)
    else:
        share = free_bytes * _SHARE.get(device.type, _OTHER_SHARE)
        size = min(share, max_answers * _pages(context_tokens) * PAGE * position)
    blocks = max(1, int(size // (position * PAGE)))
    if blocks < _pages(context_tokens):
        logger.warning(
            "The KV cache holds %d positions, less than one chat of full length (%d). Longer chats "
            "are refused; engine.cache_mb: %d would hold one.",
            blocks * PAGE,
            context_tokens,
            math.ceil(_pages(context_tokens) * PAGE * position / _MIB),
        )
    return blocks


def computed_dtype(language: LanguageModel) -> torch.dtype:
    """What the language model computes in; quantised layers compute in that of the embeddings."""
    return language.embed(torch.zeros(1, dtype=torch.long, device=language.model.device)).dtype


def computes_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 numbers in hardware; else float32 is faster."""
    return bool(_BFLOAT16 & set(_words(_CPU_INFO)))


def thread_count() -> int:
    """CPUs that this process may really use, also in a container that was given fewer."""
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        allowed = os.cpu_count() or 1
    quota = _words(_QUOTA)[:2]
    if len(quota) == 2 and all(word.isdigit() for word in quota):
        microseconds, period = map(int, quota)
        allowed = min(allowed, max(1, math.ceil(microseconds / max(1, period))))
    return max(1, min(allowed, torch.get_num_threads()))


def _words(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", errors="replace").split()
    except OSError:
        return []


def _pages(length: int) -> int:
    return math.ceil(length / PAGE)
