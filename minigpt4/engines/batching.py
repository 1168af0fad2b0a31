"""The engine that writes many answers together; see docs/adr/0008-batching-engine.md."""

import logging
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence

import torch

from minigpt4.config import GenerationSettings
from minigpt4.conversation import Prompt
from minigpt4.engines.answers import Answer
from minigpt4.engines.base import Engine, EngineStep, FinishReason, as_engine_error
from minigpt4.engines.blocks import PAGE, BlockPool
from minigpt4.engines.paged import cache_dtype
from minigpt4.engines.sampling import draw_tokens
from minigpt4.engines.sizing import cache_blocks, computed_dtype
from minigpt4.engines.statistics import EngineStatistics, Meter
from minigpt4.engines.stepping import Share, Stepper, in_order, leased
from minigpt4.errors import BusyError, EngineError, NoRoomError
from minigpt4.models.minigpt4 import MiniGPT4

logger = logging.getLogger(__name__)

_PROMPT_TOKENS = 512
"""Prompt tokens of a step at most."""
_PROMPT_TOKENS_BESIDE = 128
"""The same while others are being written: their next token waits for these."""
_IDLE_SECONDS = 10.0
"""So long the thread waits for a question before it ends; the next question starts another."""


class BatchingEngine:
    """Writes up to `max_answers` answers together, a token each at every step.

    1. A question waits in a queue until there is a place and room in the cache for its prompt and
       the longest answer it may get.
    2. What the cache knows of its prompt, such as the earlier turns of the chat, is not read again.
       The rest is read in pieces, beside the answers that are being written.
    3. Every step runs all of them in one forward pass of the language model, then draws for each
       its next token.

    All of that happens in one thread, which is there while there is something to do. If a step
    fails, its answers are tried again one by one, and only one that fails alone is told.
    """

    def __init__(
        self,
        model: MiniGPT4,
        stepper: Stepper,
        pool: BlockPool,
        *,
        max_answers: int = 16,
        queue_size: int = 16,
        beams: Engine | None = None,
    ) -> None:
        """Joins the parts.

        Args:
            model: Tokenises prompts.
            stepper: Runs the language model.
            pool: The blocks of its cache.
            max_answers: Answers that are written at a time.
            queue_size: Questions that may wait for one of these places.
            beams: Answers questions with `num_beams` above 1.
        """
        self._model = model
        self._stepper = stepper
        self._pool = pool
        self._max_answers = max_answers
        self._queue_size = queue_size
        self._beams = beams
        self._meter = Meter()
        self._state = threading.Condition()
        self._waiting: deque[Answer] = deque()
        self._running: list[Answer] = []  # changed by the thread only, under the lock
        self._thread: threading.Thread | None = None
        self._closed = False

    def stream(
        self,
        prompt: Prompt,
        visual_tokens: Mapping[str, torch.Tensor],
        settings: GenerationSettings,
        stop_strings: Sequence[str],
        cancel: threading.Event,
    ) -> Iterator[EngineStep]:
        """See `Engine.stream`."""
        if settings.num_beams > 1:
            if self._beams is None:
                message = f"This engine follows one beam, not {settings.num_beams}."
                raise EngineError(message)
            yield from self._beams.stream(prompt, visual_tokens, settings, stop_strings, cancel)
            return
        tokens = self._model.tokenize(prompt)
        self._model.check_pictures(tokens, visual_tokens)
        answer = Answer(
            tokens, visual_tokens, self._model.language, settings, stop_strings, cancel=cancel
        )
        self._enter(answer)
        try:
            yield from answer.steps()
        finally:
            answer.abandon()

    def statistics(self) -> EngineStatistics:
        """See `Engine.statistics`. Answers with beams are counted by their own engine."""
        with self._state:
            full = self._pool.held + self._pool.remembered
            return self._meter.statistics(
                running=len(self._running),
                waiting=len(self._waiting),
                cache_share=full / self._pool.blocks,
            )

    def close(self) -> None:
        """See `Engine.close`."""
        with self._state:
            self._closed = True
            self._state.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join()
        with self._state:
            self._pool = BlockPool(self._pool.blocks)
            self._stepper.free()
        if self._beams is not None:
            self._beams.close()

    def _enter(self, answer: Answer) -> None:
        if not self._pool.fits(answer.longest):
            raise NoRoomError(_too_long(answer, self._pool))
        with self._state:
            if self._closed:
                raise EngineError("The model has been put away and answers no more questions.")
            places = self._queue_size + self._max_answers - len(self._running)
            if len(self._waiting) >= places:
                self._meter.ended("refused")
                raise BusyError
            if self._thread is None:
                thread = threading.Thread(target=self._work, name="answers", daemon=True)
                thread.start()  # may fail; then nothing has changed, and the next question tries
                self._thread = thread
            self._waiting.append(answer)
            ahead = len(self._waiting)
            if ahead + len(self._running) > self._max_answers:
                answer.wait_behind(ahead)
            self._state.notify_all()

    def _work(self) -> None:
        """The thread. Whatever happens to it, nobody is left waiting."""
        try:
            self._write()
        except Exception as error:  # noqa: BLE001 - it is logged, and the callers are told
            with self._state:
                self._pool = BlockPool(self._pool.blocks)  # who knows what it holds
                for answer in self._running:
                    answer.lease = None
                self._end_all(as_engine_error(error))
                self._thread = None

    def _write(self) -> None:
        while self._wait():
            self._round()

    def _wait(self) -> bool:
        """Waits for questions; False if the thread is to end."""
        with self._state:
            while not (self._closed or self._waiting or self._running):
                if not self._state.wait(timeout=_IDLE_SECONDS):
                    break
            if self._closed:
                self._end_all("cancelled")
            if self._waiting or self._running:
                return True
            self._thread = None
            return False

    def _round(self) -> None:
        with self._state:
            self._drop_cancelled()
            self._admit()
            shares = self._shares()
        if shares:
            self._step(shares)

    def _end_all(self, reason: FinishReason | BaseException) -> None:
        for answer in [*self._running, *self._waiting]:
            self._leave(answer, reason)
        self._waiting.clear()

    def _drop_cancelled(self) -> None:
        for answer in [each for each in self._running if each.cancelled]:
            self._leave(answer, "cancelled")
        gone = [each for each in self._waiting if each.cancelled]
        for answer in gone:
            self._waiting.remove(answer)
            self._leave(answer, "cancelled")
        if gone:
            self._tell_places()

    def _admit(self) -> None:
        """Lets in who waits, strictly in order: whoever is next is never overtaken for good."""
        admitted = False
        if any(answer.lease is None for answer in self._running):
            return  # after a failure, who lost their blocks come first
        while self._waiting and len(self._running) < self._max_answers:
            answer = self._waiting[0]
            if not self._lease(answer):
                break
            self._waiting.popleft()
            self._running.append(answer)
            self._meter.read(answer.prompt_length, answer.read)
            answer.begin()
            admitted = True
        if admitted or (self._waiting and not self._waiting[0].waited):
            self._tell_places()

    def _tell_places(self) -> None:
        """Tells who waits how many answers have to end before theirs begins."""
        for ahead, answer in enumerate(self._waiting, start=1):
            answer.wait_behind(ahead)

    def _lease(self, answer: Answer) -> bool:
        lease = self._pool.reserve(answer.identities, answer.longest)
        if lease is None:
            return False
        answer.lease = lease
        answer.read = lease.shared
        return True

    def _shares(self) -> list[Share]:
        """What everyone gets of the next step."""
        for answer in self._running:
            if answer.suspect and (answer.lease is not None or self._lease(answer)):
                return [Share(answer, min(_PROMPT_TOKENS, len(answer.ids) - answer.read))]
        shares = []
        reading = []
        for answer in self._running:
            if answer.lease is None:
                continue
            if answer.read + 1 == len(answer.ids):
                shares.append(Share(answer, 1))
            else:
                reading.append(answer)
        if reading:
            room = _PROMPT_TOKENS_BESIDE if shares else _PROMPT_TOKENS
            shares += _pieces(reading, room)
        return in_order(shares)

    def _step(self, shares: Sequence[Share]) -> None:
        try:
            logits = self._stepper.run(shares)
            writing = [share for share in shares if share.writes]
            draws = [share.answer.draw for share in writing]
            tokens = draw_tokens(logits, draws) if writing else []
        except Exception as error:  # noqa: BLE001 - whatever it was, the answers are told
            self._failed([share.answer for share in shares], error)
            return
        with self._state:
            for share in shares:
                share.answer.read += share.count
            if writing:
                self._meter.step(len(writing), len(writing))
            for share, token in zip(writing, tokens, strict=True):
                self._written(share.answer, token)

    def _written(self, answer: Answer, token: int | None) -> None:
        answer.suspect = False
        if token is None:
            error = EngineError("The model's numbers ran out of range on this answer.")
            self._leave(answer, error)
            return
        # Not before: nobody is to go on from what led to no token.
        self._pool.record(leased(answer), answer.identities, answer.read)
        if len(answer.draw.drawn) == 1:
            self._meter.first_token(answer.seconds)
        reason = answer.take(token)
        if reason is not None:
            self._leave(answer, reason)

    def _failed(self, answers: Sequence[Answer], error: Exception) -> None:
        """Tells the answer that failed alone; of several, nobody yet."""
        if isinstance(error, torch.OutOfMemoryError):
            torch.cuda.empty_cache()
        with self._state:
            if len(answers) == 1:
                self._leave(answers[0], as_engine_error(error))
                return
            logger.warning(
                "A step of %d answers failed; each is tried alone", len(answers), exc_info=error
            )
            for answer in answers:
                self._pool.release(leased(answer))
                answer.lease = None
                answer.read = 0
                answer.suspect = True

    def _leave(self, answer: Answer, reason: FinishReason | BaseException) -> None:
        """Ends an answer and gives its place and its blocks back, before the caller is told."""
        if answer.lease is not None:
            self._pool.release(answer.lease)
            answer.lease = None
        if answer in self._running:
            self._running.remove(answer)
        if isinstance(reason, BaseException):
            self._meter.ended("failed")
            answer.fail(reason)
        else:
            self._meter.ended(reason)
            answer.end(reason)


def _pieces(reading: Sequence[Answer], room: int) -> list[Share]:
    """Shares of a step between prompts: half to the oldest, the rest to the shortest first.

    So most first tokens come as early as can be, and no stream of short ones stops a long one.

    Args:
        reading: Answers whose prompts are not read yet, the oldest first.
        room: Tokens to give away.
    """
    counts: dict[Answer, int] = {}
    rest = {answer: len(answer.ids) - answer.read for answer in reading}
    parts = [(reading[0], (room + 1) // 2)]
    parts += [(answer, room) for answer in sorted(reading, key=lambda answer: rest[answer])]
    for answer, most in parts:
        count = min(rest[answer], most, room)
        if count:
            counts[answer] = counts.get(answer, 0) + count
            rest[answer] -= count
            room -= count
    return [Share(answer, count) for answer, count in counts.items()]


def _too_long(answer: Answer, pool: BlockPool) -> str:
    return (
        f"This chat and an answer of {answer.draw.settings.max_new_tokens:,} tokens need room for "
        f"{answer.longest:,} tokens, and the server has room for {pool.blocks * PAGE:,}. Ask for a "
        "shorter answer, or start a new chat; whoever runs the server can raise engine.cache_mb."
    )


def new_batching_engine(
    model: MiniGPT4,
    *,
    free_bytes: float,
    context_tokens: int,
    cache_mb: int | None = None,
    max_answers: int = 16,
    queue_size: int = 16,
    beams: Engine | None = None,
) -> BatchingEngine:
    """A batching engine for a model.

    Args:
        model: It may be used by others too; it is left as it is.
        free_bytes: Memory that is free where it is.
        context_tokens: Longest chat.
        cache_mb: Size of the KV cache in MiB; None takes a share of the free memory.
        max_answers: Answers that are written at a time.
        queue_size: Questions that may wait for one of these places.
        beams: Answers questions with `num_beams` above 1.
    """
    language = model.language
    blocks = cache_blocks(
        language,
        cache_mb=cache_mb,
        free_bytes=free_bytes,
        max_answers=max_answers,
        context_tokens=context_tokens,
    )
    dtype = cache_dtype(computed_dtype(language), language.model.device)
    return BatchingEngine(
        model,
        Stepper(language, blocks, dtype),
        BlockPool(blocks),
        max_answers=max_answers,
        queue_size=queue_size,
        beams=beams,
    )
