"""Prompts, pictures and answers for tests of engines."""

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
import torch

from minigpt4.config import GenerationSettings
from minigpt4.conversation import ImageSlot, Piece, Prompt, SpecialToken, Text
from minigpt4.engines.base import Engine, FinishReason
from minigpt4.engines.batching import BatchingEngine, new_batching_engine
from minigpt4.engines.blocks import BlockPool
from minigpt4.models.minigpt4 import MiniGPT4
from tests.waiting import until

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


def slow_down(engine: Engine, monkeypatch: pytest.MonkeyPatch, seconds: float = 0.01) -> None:
    """Lets every step take a while, as a large model does: who reads is not left behind by it."""
    if isinstance(engine, BatchingEngine):
        place, name = engine, "_step"
    else:
        place, name = engine._model.language.model, "forward"
    quick = getattr(place, name)

    def slow(*given, **named):
        time.sleep(seconds)
        return quick(*given, **named)

    monkeypatch.setattr(place, name, slow)


def gather(engine: BatchingEngine, count: int) -> list[int]:
    """Lets the engine's steps wait until so many questions have come.

    Returns:
        What will hold the number of answers in each step.
    """
    run, steps = engine._stepper.run, []

    def gathered(shares):
        if not steps:
            until(lambda: engine.statistics().running + engine.statistics().waiting >= count)
        steps.append(len(shares))
        return run(shares)

    engine._stepper.run = gathered
    return steps


def at_once(jobs):
    """Results of all jobs, run side by side."""
    with ThreadPoolExecutor(len(jobs)) as threads:
        return [future.result() for future in [threads.submit(job) for job in jobs]]
