"""The reference engine: transformers' own `generate`, one answer at a time."""

import queue
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from transformers import (
    DynamicCache,
    GenerationConfig,
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.generation.streamers import BaseStreamer

from minigpt4.config import GenerationSettings
from minigpt4.conversation import Prompt
from minigpt4.engines.base import (
    EngineStep,
    FinishReason,
    StopStringFilter,
    model_failures,
)
from minigpt4.engines.identities import identities_of
from minigpt4.engines.kept import KeptSequences
from minigpt4.engines.statistics import EngineStatistics, Meter
from minigpt4.errors import BusyError, EngineError
from minigpt4.models.minigpt4 import MiniGPT4

QUEUE_SIZE = 16
"""Questions that may wait unless something else is said."""
CACHE_BYTES = 2**30
"""Memory for what was read of the chats unless something else is said."""
_WAKE_SECONDS = 0.05
"""How often a question that waits looks whether it is still wanted."""
_END = object()
_NEW_CONFIG: Any = GenerationConfig  # its constructor has no types


class GenerateEngine:
    """Runs `generate` in a thread of its own, one answer after the other.

    - Questions wait in a queue, in the order in which they came. The engine's thread, which lives
      while there is work, takes the first; who reads an answer slowly, or not at all, holds up
      nobody.
    - What was read of a chat is kept: a follow-up reads only what is new in it. Beams, whose caches
      are of another shape, always read all.
    - A stop, a failure or a closed stream ends one answer within one token, and touches no other.
    """

    def __init__(
        self, model: MiniGPT4, *, queue_size: int = QUEUE_SIZE, cache_bytes: int = CACHE_BYTES
    ) -> None:
        """Makes an engine; nothing runs yet.

        Args:
            model: Answers.
            queue_size: Questions that may wait behind the one being answered.
            cache_bytes: Memory for the KV caches of chats that may go on; 0 keeps none.
        """
        self._model = model
        self._queue_size = queue_size
        self._kept = KeptSequences(cache_bytes)
        self._meter = Meter()
        self._lock = threading.Lock()
        self._waiting: deque[_Answer] = deque()
        self._running: _Answer | None = None
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
        """See `Engine.stream`. Closing the iterator early stops the model too."""
        answer = _Answer(
            self._model,
            prompt,
            visual_tokens,
            settings,
            stop_strings,
            cancel=cancel,
            meter=self._meter,
        )
        self._enter(answer)
        try:
            while not answer.begun.is_set():
                ahead = answer.place()
                if ahead is not None:
                    yield EngineStep("", 0, ahead=ahead)
                else:
                    with self._lock:
                        self._drop_unwanted()
            yield from answer.steps()
        finally:
            # Without the lock: Python may collect an iterator in a thread that holds it.
            answer.abandoned.set()

    def statistics(self) -> EngineStatistics:
        """See `Engine.statistics`."""
        with self._lock:
            self._drop_unwanted()
            running, waiting = int(self._running is not None), len(self._waiting)
        return self._meter.statistics(
            running=running, waiting=waiting, cache_share=self._kept.share
        )

    def close(self) -> None:
        """See `Engine.close`. Questions that come later are refused."""
        with self._lock:
            self._closed = True
            for answer in (*self._waiting, *([self._running] if self._running else [])):
                answer.stopped.set()
            thread = self._thread
        if thread is not None:
            thread.join()
        self._kept.clear()

    def _enter(self, answer: "_Answer") -> None:
        with self._lock:
            if self._closed:
                raise EngineError("The model has been put away and answers no more questions.")
            self._drop_unwanted()
            if self._thread is not None and len(self._waiting) >= self._queue_size:
                self._meter.ended("refused")
                raise BusyError
            if self._thread is None:
                thread = threading.Thread(target=self._work, name="generate")
                thread.start()  # may fail; then nothing has changed, and the next question tries
                self._thread = thread
            else:
                answer.tell_place(self._ahead(len(self._waiting)))
            self._waiting.append(answer)

    def _drop_unwanted(self) -> None:
        """Takes out of the queue what nobody wants any more; called with the lock held."""
        unwanted = [answer for answer in self._waiting if answer.unwanted]
        for answer in unwanted:
            self._waiting.remove(answer)
            answer.end_unread()
        if unwanted:
            self._tell_places()

    def _ahead(self, index: int) -> int:
        """How many come before the question at a place in the queue, the running one included."""
        return index + (self._running is not None)

    def _tell_places(self) -> None:
        for index, waiting in enumerate(self._waiting):
            waiting.tell_place(self._ahead(index))

    def _work(self) -> None:
        """Answers what waits until nothing does."""
        while True:
            with self._lock:
                self._running = self._waiting.popleft() if self._waiting else None
                if self._running is None:
                    self._thread = None
                    return
                self._tell_places()
                answer = self._running
            answer.generate(self._kept)


class _Answer(BaseStreamer, StoppingCriteria):
    """One answer on its way: fed by `generate` in its thread, read by `steps` in the caller's.

    Attributes:
        begun: It has left the queue.
        abandoned: Nobody reads it any more.
        stopped: The engine is being closed.
    """

    def __init__(
        self,
        model: MiniGPT4,
        prompt: Prompt,
        visual_tokens: Mapping[str, torch.Tensor],
        settings: GenerationSettings,
        stop_strings: Sequence[str],
        *,
        cancel: threading.Event,
        meter: Meter,
    ) -> None:
        self.begun = threading.Event()
        self.abandoned = threading.Event()
        self.stopped = threading.Event()
        self._model = model
        self._prompt = prompt
        self._visual_tokens = visual_tokens
        self._settings = settings
        self._stop_strings = tuple(stop_strings)
        self._cancel = cancel
        self._meter = meter
        self._asked = time.monotonic()
        self._text = model.language.text_stream()
        self._filter = StopStringFilter(stop_strings)
        self._tokens = 0
        self._ended = False
        self._streaming = settings.num_beams == 1
        self._places: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._steps: queue.SimpleQueue[EngineStep | BaseException | object] = queue.SimpleQueue()

    def tell_place(self, ahead: int) -> None:
        """Tells how many others come before it."""
        self._places.put(ahead)

    def place(self) -> int | None:
        """Waits a little for news of its place; None if there are none, or it has begun."""
        try:
            return self._places.get(timeout=_WAKE_SECONDS)
        except queue.Empty:
            return None

    def end_unread(self) -> None:
        """Ends it before its turn."""
        self.begun.set()
        self._places.put(None)
        self._meter.ended("cancelled")
        self._steps.put(_END)

    def generate(self, kept: KeptSequences) -> None:
        """Runs the model to the end of the answer; never raises, `steps` does.

        Args:
            kept: What was read before; gets what is read now.
        """
        self.begun.set()
        self._places.put(None)
        try:
            with model_failures():
                if not self.unwanted:
                    self._run(kept)
        except BaseException as error:  # noqa: BLE001 - it is raised again in the caller's thread
            if isinstance(error.__cause__, torch.OutOfMemoryError):
                kept.clear()  # the next answer needs the memory more
            self._meter.ended("failed")
            self._steps.put(error)
        else:
            self._meter.ended(self._finish())
        finally:
            self._steps.put(_END)

    def steps(self) -> Iterator[EngineStep]:
        """Pieces of the answer as they are made."""
        while (item := self._steps.get()) is not _END:
            if isinstance(item, BaseException):
                raise item
            if isinstance(item, EngineStep):
                yield item
        rest = "" if self._filter.stopped else self._filter.flush()
        yield EngineStep(rest, self._tokens, self._finish())

    def _run(self, kept: KeptSequences) -> None:
        model, settings = self._model, self._settings
        embeds = model.embed_prompt(self._prompt, self._visual_tokens)
        positions = identities_of(model.tokenize(self._prompt), self._visual_tokens)
        # transformers types `generate` for a protocol of its own.
        causal: Any = model.language.model
        cache: DynamicCache | None = None
        if self._streaming:
            cache = kept.take(positions, DynamicCache(config=causal.config))
        self._meter.read(len(positions), 0 if cache is None else cache.get_seq_length())
        if settings.seed is None:
            torch.seed()  # an earlier answer's seed must not decide this one
        else:
            torch.manual_seed(settings.seed)
        # Given the whole prompt's embeddings, `generate` leaves out what the cache holds; and the
        # repetition penalty counts the answer's own tokens only, as in the release.
        output = causal.generate(
            inputs_embeds=embeds,
            attention_mask=torch.ones(embeds.shape[:2], dtype=torch.long, device=embeds.device),
            past_key_values=cache,
            generation_config=generation_config(model, settings),
            streamer=self if self._streaming else None,
            logits_processor=_penalties(settings),
            stopping_criteria=StoppingCriteriaList([self]),
        )
        if cache is not None:
            kept.keep((*positions, *output[0].tolist()), cache)
        else:
            for token in output[0].tolist():
                self._take(token)

    def put(self, value: torch.Tensor) -> None:
        """Called by `generate`: with no ids for the embedded prompt, then with each token."""
        for token in value.flatten().tolist():
            self._take(token)

    def end(self) -> None:
        """Called by `generate` after the last token."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: object) -> torch.Tensor:
        """Called by `generate` after every token: whether each row is done."""
        del scores
        done = self._filter.stopped or self.unwanted
        rows = [done or (not self._streaming and self._holds_stop(row)) for row in input_ids]
        return torch.tensor(rows, device=input_ids.device)

    def _holds_stop(self, row: torch.Tensor) -> bool:
        """Whether a beam's text has come to a stop string; each beam ends by itself."""
        text = self._model.language.decode(row.tolist())
        return any(stop in text for stop in self._stop_strings)

    def _take(self, token: int) -> None:
        if self._ended or self._filter.stopped:
            return
        self._tokens += 1
        if self._tokens == 1:
            self._meter.first_token(time.monotonic() - self._asked)
        self._meter.step(1, 1)
        if token == self._model.language.eos_id:
            self._ended = True
            return
        text = self._filter.feed(self._text.step(token))
        self._steps.put(EngineStep(text, self._tokens))

    @property
    def unwanted(self) -> bool:
        """Whether nobody wants the rest."""
        return self._cancel.is_set() or self.abandoned.is_set() or self.stopped.is_set()

    def _finish(self) -> FinishReason:
        if self._ended or self._filter.stopped:
            return "stop"
        return "length" if self._tokens >= self._settings.max_new_tokens else "cancelled"


def generation_config(model: MiniGPT4, settings: GenerationSettings) -> GenerationConfig:
    """Transformers' settings for ours. Nothing is left to its defaults that changes an answer."""
    drawn = settings.temperature > 0
    sampling: dict[str, Any] = (
        # transformers' own default of top_k=50 would silently apply.
        {"temperature": settings.temperature, "top_p": settings.top_p, "top_k": 0} if drawn else {}
    )
    config: GenerationConfig = _NEW_CONFIG(
        max_new_tokens=settings.max_new_tokens,
        do_sample=drawn,
        num_beams=settings.num_beams,
        length_penalty=1.0,
        bos_token_id=model.language.bos_id,
        eos_token_id=model.language.eos_id,
        pad_token_id=model.language.eos_id,
        **sampling,
    )
    return config


def _penalties(settings: GenerationSettings) -> LogitsProcessorList:
    """The repetition penalty, on the answer's own tokens as in the release.

    Given as a setting it would do the same, with a warning at every answer that it does.
    """
    if settings.repetition_penalty == 1:
        return LogitsProcessorList()
    return LogitsProcessorList([RepetitionPenaltyLogitsProcessor(settings.repetition_penalty)])
