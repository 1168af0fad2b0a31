"""Prompts, pictures and answers for tests of engines."""

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch

from minigpt4.config import GenerationSettings
from minigpt4.conversation import ImageSlot, Piece, Prompt, SpecialToken, Text
from minigpt4.engines.base import Engine, FinishReason
from minigpt4.engines.batching import BatchingEngine, new_batching_engine
from minigpt4.engines.blocks import BlockPool
from minigpt4.models.minigpt4 import MiniGPT4

PAGES_FOR_ALL = 4096


@dataclass(frozen=True)
class Said:
    text: str
    tokens: int
    finish: FinishReason


def batching(model: MiniGPT4, blocks: int | None = None, **settings) -> BatchingEngine:
    """An engine; `blocks` sets the size of its cache exactly."""
    engine = new_batching_engine(
        model,
        free_bytes=64 * 2**20,
        context_tokens=model.language.model.config.max_position_embeddings,
        **settings,
    )
    if blocks is not None:
        engine._pool = BlockPool(blocks)
    return engine


def free_blocks(engine: BatchingEngine) -> int:
    """Blocks that no answer holds."""
    return engine._pool.blocks - engine._pool.held


def picture(model: MiniGPT4, seed: int) -> torch.Tensor:
    """Visual tokens `(Q, D)`, as large as embeddings of words in the tests' model."""
    chance = torch.Generator().manual_seed(seed)
    return torch.randn(model.queries, model.language.width, generator=chance)


def prompt(*pieces: str | int) -> Prompt:
    """A prompt: text, and the numbers of pictures."""
    made: list[Piece] = [SpecialToken("bos")]
    made += [Text(piece) if isinstance(piece, str) else ImageSlot(str(piece)) for piece in pieces]
    return Prompt(tuple(made))


def ask(
    engine: Engine,
    asked: Prompt,
    pictures: Mapping[str, torch.Tensor] | None = None,
    *,
    stop: Sequence[str] = (),
    cancel: threading.Event | None = None,
    **settings,
) -> Said:
    """A whole answer, greedy unless said otherwise."""
    settings = {"temperature": 0.0, "repetition_penalty": 1.0, "max_new_tokens": 12, **settings}
    steps = list(
        engine.stream(
            asked, pictures or {}, GenerationSettings(**settings), stop, cancel or threading.Event()
        )
    )
    assert [step.finish for step in steps[:-1]] == [None] * (len(steps) - 1)
    assert steps[-1].finish is not None
    return Said("".join(step.text for step in steps), steps[-1].tokens, steps[-1].finish)


def at_once(jobs):
    """Results of all jobs, run side by side."""
    with ThreadPoolExecutor(len(jobs)) as threads:
        return [future.result() for future in [threads.submit(job) for job in jobs]]
