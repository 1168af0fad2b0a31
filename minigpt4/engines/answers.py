"""One answer on its way through the batching engine."""

import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence

import torch

from minigpt4.config import GenerationSettings
from minigpt4.engines.base import EngineStep, FinishReason, StopStringFilter
from minigpt4.engines.blocks import Lease
from minigpt4.engines.identities import identities_of
from minigpt4.engines.sampling import Draw
from minigpt4.models.language import LanguageModel
from minigpt4.models.minigpt4 import PromptTokens


class Answer:
    """A prompt, the tokens written after it, and where the caller reads them.

    The caller's thread makes it and reads `steps`; from then on everything else belongs to the
    engine's thread.

    Attributes:
        ids: Prompt and answer as the language model knows them, 0 where a picture stands.
        identities: What stands at each position; by these the cache tells what it has read.
        prompt_length: So many of the ids are the prompt.
        read: So many of the ids the cache holds.
        lease: Its blocks, while it has some.
        draw: How its tokens are drawn.
        suspect: A step with others failed; until one went well alone, it may be the cause.
        waited: It was told that others come before it.
    """

    def __init__(
        self,
        tokens: PromptTokens,
        visual_tokens: Mapping[str, torch.Tensor],
        language: LanguageModel,
        settings: GenerationSettings,
        stop_strings: Sequence[str],
        *,
        cancel: threading.Event,
    ) -> None:
        self.ids = list(tokens.ids)
        self.identities = identities_of(tokens, visual_tokens)
        self.prompt_length = len(tokens.ids)
        self.read = 0
        self.lease: Lease | None = None
        self.draw = Draw(settings)
        self.suspect = False
        self.waited = False
        self._place: int | None = None
        self._eos_id = language.eos_id
        self._asked = time.monotonic()
        self._cancel = cancel
        self._abandoned = False
        self._language = language
        self._text = language.text_stream()
        self._filter = StopStringFilter(stop_strings)
        self._steps: queue.SimpleQueue[EngineStep | BaseException] = queue.SimpleQueue()
        self._pictures = [(start, visual_tokens[key]) for start, key in tokens.slots]

    @property
    def longest(self) -> int:
        """The most positions it can come to hold; the last token is never run."""
        return self.prompt_length + self.draw.settings.max_new_tokens - 1

    @property
    def seconds(self) -> float:
        """Since it was asked for."""
        return time.monotonic() - self._asked

    @property
    def cancelled(self) -> bool:
        """Whether nobody wants the rest."""
        return self._abandoned or self._cancel.is_set()

    def steps(self) -> Iterator[EngineStep]:
        """What the caller reads, up to the last step.

        Raises:
            EngineError: If the answer failed.
        """
        while True:
            step = self._steps.get()
            if isinstance(step, BaseException):
                raise step
            yield step
            if step.finish is not None:
                return

    def abandon(self) -> None:
        """The caller reads no more."""
        self._abandoned = True

    def wait_behind(self, ahead: int) -> None:
        """Tells the caller its place, if it is a new one."""
        self.waited = True
        if ahead != self._place:
            self._place = ahead
            self._steps.put(EngineStep("", 0, ahead=ahead))

    def begin(self) -> None:
        """Tells a caller who waited that it is its turn."""
        if self.waited:
            self._steps.put(EngineStep("", 0))

    def fail(self, error: BaseException) -> None:
        """Ends with an error."""
        self._steps.put(error)

    def end(self, reason: FinishReason) -> None:
        """Ends with what was held back in case a stop string would follow."""
        rest = "" if self._filter.stopped else self._filter.flush()
        self._steps.put(EngineStep(rest, len(self.draw.drawn), reason))

    def take(self, token: int) -> FinishReason | None:
        """Adds a new token.

        Returns:
            Why the answer is over with it, or None.
        """
        if token == self._eos_id:
            return "stop"
        self.ids.append(token)
        self.identities.append(token)
        written = len(self.draw.drawn)
        self._steps.put(EngineStep(self._filter.feed(self._text.step(token)), written))
        if self._filter.stopped:
            return "stop"
        return "length" if written >= self.draw.settings.max_new_tokens else None

    def embed(self, ids: Sequence[int]) -> torch.Tensor:
        """Embeddings `(n, D)` of token ids."""
        return self._language.embed(torch.tensor(ids, device=self._language.model.device))

    def embeddings(self, start: int, end: int) -> torch.Tensor:
        """What the model reads at some of its positions, `(end - start, D)`."""
        embeds = self.embed(self.ids[start:end])
        for first, picture in self._pictures:
            low, high = max(start, first), min(end, first + len(picture))
            if low < high:
                embeds[low - start : high - start] = picture[low - first : high - first].to(embeds)
        return embeds
