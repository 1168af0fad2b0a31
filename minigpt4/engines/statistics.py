"""What an engine has done and is doing, counted as it happens and read as one value."""

import threading
import time
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass

FIRST_TOKEN_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds, in seconds, of the groups in which times to a first token are counted."""
RECENT_SECONDS = 10.0
"""So far back "recent" reaches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStatistics:
    """An engine at one moment. Counts are since it was built.

    Attributes:
        running: Answers being written.
        waiting: Questions that wait for their turn.
        answered: Answers that came to their end.
        cancelled: Answers that someone stopped.
        failed: Answers on which the model failed.
        refused: Questions turned away because too many waited.
        prompt_tokens: Length of all prompts.
        cached_tokens: So many of them did not have to be read again.
        generated_tokens: Tokens written.
        tokens_per_second: Written in all chats together, recently.
        batch_size: Answers that shared a step, in the mean of the recent steps; 0 without any.
        cache_share: Share of the KV cache that holds something, 0 to 1; None if it has no bound.
        first_token_counts: Answers by the time to their first token: one count for each of
            `FIRST_TOKEN_BUCKETS`, and one for those above the last. Not cumulative.
        first_token_sum: All those times together, in seconds.
    """

    running: int = 0
    waiting: int = 0
    answered: int = 0
    cancelled: int = 0
    failed: int = 0
    refused: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    tokens_per_second: float = 0.0
    batch_size: float = 0.0
    cache_share: float | None = None
    first_token_counts: tuple[int, ...] = (0,) * (len(FIRST_TOKEN_BUCKETS) + 1)
    first_token_sum: float = 0.0


class Meter:
    """Counts for `EngineStatistics`; every method may be called from any thread."""

    def __init__(self) -> None:
        # Reentrant: Python may collect an iterator, which counts its end, while this thread counts.
        self._lock = threading.RLock()
        self._ended = {"stop": 0, "length": 0, "cancelled": 0, "failed": 0, "refused": 0}
        self._prompt_tokens = 0
        self._cached_tokens = 0
        self._generated_tokens = 0
        self._first_token_counts = [0] * (len(FIRST_TOKEN_BUCKETS) + 1)
        self._first_token_sum = 0.0
        self._steps: deque[tuple[float, int, int]] = deque(maxlen=4096)

    def read(self, prompt_tokens: int, cached_tokens: int) -> None:
        """A prompt was taken in, so many tokens of it from the cache."""
        with self._lock:
            self._prompt_tokens += prompt_tokens
            self._cached_tokens += cached_tokens

    def first_token(self, seconds: float) -> None:
        """An answer's first token came so long after the question."""
        with self._lock:
            self._first_token_counts[bisect_left(FIRST_TOKEN_BUCKETS, seconds)] += 1
            self._first_token_sum += seconds

    def step(self, answers: int, tokens: int) -> None:
        """One step wrote tokens for so many answers together."""
        with self._lock:
            self._generated_tokens += tokens
            self._steps.append((time.monotonic(), answers, tokens))

    def ended(self, how: str) -> None:
        """An answer ended: by a finish reason, or "failed", or "refused" before it began."""
        with self._lock:
            self._ended[how] += 1

    def statistics(
        self, *, running: int, waiting: int, cache_share: float | None = None
    ) -> EngineStatistics:
        """All counts with what only the engine knows."""
        with self._lock:
            now = time.monotonic()
            recent = [step for step in self._steps if now - step[0] <= RECENT_SECONDS]
            seconds = max(now - recent[0][0], 1e-3) if recent else 1.0
            # The first step marks the beginning of the time; its tokens came before it.
            tokens = sum(written for _, _, written in recent[1:])
            return EngineStatistics(
                running=running,
                waiting=waiting,
                answered=self._ended["stop"] + self._ended["length"],
                cancelled=self._ended["cancelled"],
                failed=self._ended["failed"],
                refused=self._ended["refused"],
                prompt_tokens=self._prompt_tokens,
                cached_tokens=self._cached_tokens,
                generated_tokens=self._generated_tokens,
                tokens_per_second=tokens / seconds,
                batch_size=sum(rows for _, rows, _ in recent) / len(recent) if recent else 0.0,
                cache_share=cache_share,
                first_token_counts=tuple(self._first_token_counts),
                first_token_sum=self._first_token_sum,
            )
