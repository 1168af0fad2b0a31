"""The reference engine: transformers' own `generate`, one answer at a time."""

import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from transformers import (
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
    as_engine_error,
    model_failures,
)
from minigpt4.models.minigpt4 import MiniGPT4

_END = object()
_NEW_CONFIG: Any = GenerationConfig  # its constructor has no types


class GenerateEngine:
    """Runs `generate` in a thread of its own and hands its tokens on as they come.

    Answers of several callers queue up: one is generated at a time.
    """

    def __init__(self, model: MiniGPT4) -> None:
        self._model = model
        self._turn = threading.Lock()

    def stream(
        self,
        prompt: Prompt,
        visual_tokens: Mapping[str, torch.Tensor],
        settings: GenerationSettings,
        stop_strings: Sequence[str],
        cancel: threading.Event,
    ) -> Iterator[EngineStep]:
        """See `Engine.stream`. Closing the iterator early stops the model too."""
        with self._turn:
            answer = _Answer(self._model, settings, stop_strings, cancel)
            with model_failures():
                embeds = self._model.embed_prompt(prompt, visual_tokens)
            thread = threading.Thread(target=answer.generate, args=(embeds,), daemon=True)
            thread.start()
            try:
                yield from answer.steps()
            finally:
                answer.abandoned.set()
                thread.join()


class _Answer(BaseStreamer, StoppingCriteria):
    """One answer on its way: fed by `generate` in its thread, read by `steps` in the caller's."""

    def __init__(
        self,
        model: MiniGPT4,
        settings: GenerationSettings,
        stop_strings: Sequence[str],
        cancel: threading.Event,
    ) -> None:
        self.abandoned = threading.Event()
        self._model = model
        self._settings = settings
        self._stop_strings = tuple(stop_strings)
        self._cancel = cancel
        self._text = model.language.text_stream()
        self._filter = StopStringFilter(stop_strings)
        self._tokens = 0
        self._ended = False
        self._streaming = settings.num_beams == 1
        self._steps: queue.Queue[EngineStep | BaseException | object] = queue.Queue()

    def generate(self, embeds: torch.Tensor) -> None:
        """Runs the model to the end of the answer; never raises, `steps` does."""
        settings = self._settings
        try:
            if settings.seed is None:
                torch.seed()  # an earlier answer's seed must not decide this one
            else:
                torch.manual_seed(settings.seed)
            # transformers types `generate` for a protocol of its own.
            causal: Any = self._model.language.model
            output = causal.generate(
                inputs_embeds=embeds,
                attention_mask=torch.ones(embeds.shape[:2], dtype=torch.long, device=embeds.device),
                generation_config=generation_config(self._model, settings),
                streamer=self if self._streaming else None,
                logits_processor=_penalties(settings),
                stopping_criteria=StoppingCriteriaList([self]),
            )
            if not self._streaming:
                for token in output[0].tolist():
                    self._take(token)
        except BaseException as error:  # noqa: BLE001 - it is raised again in the caller's thread
            self._steps.put(error)
        finally:
            self._steps.put(_END)

    def steps(self) -> Iterator[EngineStep]:
        """Pieces of the answer as they are made."""
        while (item := self._steps.get()) is not _END:
            if isinstance(item, BaseException):
                raise as_engine_error(item) from item
            if isinstance(item, EngineStep):
                yield item
        rest = "" if self._filter.stopped else self._filter.flush()
        yield EngineStep(rest, self._tokens, self._finish())

    def put(self, value: torch.Tensor) -> None:
        """Called by `generate`: with no ids for the embedded prompt, then with each token."""
        for token in value.flatten().tolist():
            self._take(token)

    def end(self) -> None:
        """Called by `generate` after the last token."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: object) -> torch.Tensor:
        """Called by `generate` after every token: whether each row is done."""
        del scores
        done = self._filter.stopped or self._cancel.is_set() or self.abandoned.is_set()
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
        if token == self._model.language.eos_id:
            self._ended = True
            return
        text = self._filter.feed(self._text.step(token))
        self._steps.put(EngineStep(text, self._tokens))

    def _finish(self) -> FinishReason:
        if self._ended or self._filter.stopped:
            return "stop"
        return "cancelled" if self._cancel.is_set() else "length"


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
