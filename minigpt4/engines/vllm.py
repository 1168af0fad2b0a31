"""The engine of whoever outgrows one process: vLLM servers, one or many, asked over HTTP."""

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import Any, Literal, TypeVar

import torch

from minigpt4.config import GenerationSettings
from minigpt4.conversation import Prompt
from minigpt4.engines.base import EngineStep, FinishReason, StopStringFilter, model_failures
from minigpt4.engines.replicas import PATIENCE, Place, Replica, Replicas, none_works
from minigpt4.engines.statistics import EngineStatistics, Meter
from minigpt4.engines.vllm_server import Expected, Timeouts, VllmServer
from minigpt4.engines.vllm_wire import (
    Chunk,
    RequestRefusedError,
    ServerFailedError,
    WrongServerError,
    answer_request,
    probe_requests,
)
from minigpt4.errors import BusyError, ConfigError, EngineError, NoBeamsError
from minigpt4.models.language import LanguageModel
from minigpt4.models.minigpt4 import MiniGPT4

logger = logging.getLogger(__name__)

CHECK_SECONDS = 5.0
"""So often every server is asked whether it is well."""
_POLL_SECONDS = 0.05
_PROBE = "The picture shows"
_END = object()
_T = TypeVar("_T")
_Item = Chunk | Exception | object


class VllmEngine:
    """Sends prompts as embeddings to vLLM servers that hold the language model.

    Pictures, the tokenizer and the embeddings stay here. The servers together are given `places`
    questions at a time, the least busy one each; more wait here. A server that fails is left out
    until it works again; a question on which it failed goes to another one, unless its answer had
    begun.

    One thread runs all connections; who asks reads the answer from a queue. Closing the iterator
    of an answer closes its connection, upon which the server stops to write it.
    """

    def __init__(
        self,
        model: MiniGPT4,
        urls: Sequence[str],
        *,
        places: int = 16,
        queue_size: int = 16,
        context_tokens: int | None = None,
        folder: str = "the language model's folder",
        api_key: str | None = None,
        timeouts: Timeouts | None = None,
        check_seconds: float = CHECK_SECONDS,
        patience: float = PATIENCE,
    ) -> None:
        """Connects to the servers.

        Args:
            model: Its language part may be a `LanguageInput`.
            urls: The servers, such as http://127.0.0.1:8000.
            places: Questions that the servers together are given at a time.
            queue_size: Questions that may wait.
            context_tokens: What the servers must be able to read; None takes what they do.
            folder: Where the language model's embeddings came from, for messages.
            api_key: What the servers were started with, if they were.
            timeouts: How long a server may take.
            check_seconds: How often servers are asked whether they are well.
            patience: Seconds without a working server before questions are turned away.

        Raises:
            ConfigError: If no server answers, or one is not what it should be.
        """
        self._model = model
        self._meter = Meter()
        self._replicas = Replicas(urls, places=places, queue_size=queue_size, patience=patience)
        self._expected = Expected(context_tokens, folder, _probe(model.language))
        self._contexts: dict[Replica, int] = {}
        self._check_seconds = check_seconds
        self._closing = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._ending = threading.Lock()
        self._thread = threading.Thread(target=self._loop.run_forever, name="vllm", daemon=True)
        self._thread.start()
        self._servers: dict[Replica, VllmServer] = {}
        try:
            self._servers = self._call(self._open(urls, api_key, timeouts or Timeouts()))
            self._call(self._first_check())
        except BaseException:
            self.close()
            raise

    @property
    def context_tokens(self) -> int:
        """The longest sequence that all servers seen so far can read."""
        return min(self._contexts.values())

    def stream(
        self,
        prompt: Prompt,
        visual_tokens: Mapping[str, torch.Tensor],
        settings: GenerationSettings,
        stop_strings: Sequence[str],
        cancel: threading.Event,
    ) -> Iterator[EngineStep]:
        """See `Engine.stream`."""
        outcome: FinishReason | Literal["failed", "refused"] = "cancelled"
        answer = _Answer(self._model.language, stop_strings)
        try:
            for step in self._steps(answer, prompt, visual_tokens, settings, cancel):
                outcome = step.finish or outcome
                yield step
        except BusyError:
            outcome = "refused"
            raise
        except Exception:
            outcome = "failed"
            raise
        finally:
            self._meter.ended(outcome)

    def statistics(self) -> EngineStatistics:
        """See `Engine.statistics`. What the servers do for others does not count."""
        running, waiting = self._replicas.counts()
        return self._meter.statistics(running=running, waiting=waiting)

    def health(self) -> tuple[str, ...]:
        """One line a server for whoever runs the page: its address, and how it is."""
        return self._replicas.words()

    def close(self) -> None:
        """See `Engine.close`."""
        self._closing.set()
        with self._ending:  # who comes second waits: the loop must not be stopped under the first
            if self._loop.is_closed():
                return
            self._call(self._shut_down())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _steps(
        self,
        answer: "_Answer",
        prompt: Prompt,
        visual_tokens: Mapping[str, torch.Tensor],
        settings: GenerationSettings,
        cancel: threading.Event,
    ) -> Iterator[EngineStep]:
        started = time.monotonic()
        if settings.num_beams > 1:
            raise NoBeamsError(
                f"The model servers follow one answer at a time, and {settings.num_beams} beams "
                "are asked for. Set beams to 1; whoever runs this page can choose another engine."
            )
        if self._closing.is_set():
            raise none_works()
        with self._replicas.place() as place:
            yield from self._wait(place, cancel)
            if cancel.is_set() or self._closing.is_set():
                yield EngineStep("", 0, "cancelled")
                return
            with model_failures():
                embeds = self._model.embed_prompt(prompt, visual_tokens)[0]
                eos_id = self._model.language.eos_id
                request = answer_request(embeds, settings, answer.stop_strings, eos_id)
            chunks: queue.SimpleQueue[_Item] = queue.SimpleQueue()
            asked = asyncio.run_coroutine_threadsafe(self._ask(place, request, chunks), self._loop)
            try:
                for chunk in self._arriving(chunks, cancel):
                    if chunk.usage:
                        self._meter.read(*chunk.usage)
                    if not chunk.tokens:
                        continue
                    if not answer.tokens:
                        self._meter.first_token(time.monotonic() - started)
                    self._meter.step(self._replicas.counts()[0], len(chunk.tokens))
                    yield EngineStep(answer.take(chunk), answer.tokens)
                    if answer.finish == "stop" and chunk.finish is None:
                        break  # we saw a stop string that the server does not
            finally:
                asked.cancel()
            yield EngineStep(answer.rest(), answer.tokens, answer.finish or "cancelled")

    def _wait(self, place: Place, cancel: threading.Event) -> Iterator[EngineStep]:
        """Tells the place in the queue until there is a server."""
        told: int | None = None
        ahead = self._replicas.ahead(place, 0)
        while ahead is not None and not cancel.is_set() and not self._closing.is_set():
            if ahead != told:
                yield EngineStep("", 0, ahead=ahead)
                told = ahead
            ahead = self._replicas.ahead(place, _POLL_SECONDS)
        if told is not None and ahead is None:
            yield EngineStep("", 0)  # nobody comes before it any more

    def _arriving(
        self, chunks: "queue.SimpleQueue[_Item]", cancel: threading.Event
    ) -> Iterator[Chunk]:
        """What comes from the server, until its end or someone's wish to stop."""
        while not cancel.is_set() and not self._closing.is_set():
            try:
                item = chunks.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                continue
            if isinstance(item, Exception):
                raise item
            if not isinstance(item, Chunk):
                return
            yield item

    async def _ask(
        self, place: Place, request: Mapping[str, Any], chunks: "queue.SimpleQueue[_Item]"
    ) -> None:
        """Asks one server after the other until one begins to answer; never raises."""
        tried: set[Replica] = set()
        begun = False
        while (replica := place.replica) is not None:
            try:
                server = self._servers[replica]
                async with aclosing(server.answer(request, replica.model)) as answer:
                    async for chunk in answer:
                        begun = begun or bool(chunk.tokens)
                        chunks.put(chunk)
            except ServerFailedError as failure:
                self._replicas.fails(replica, str(failure))
                self._wake.set()
                tried.add(replica)
                if begun:
                    chunks.put(_broke_off())
                    return
                if not self._replicas.move(place, tried):
                    chunks.put(none_works())
                    return
            except RequestRefusedError as refused:
                logger.warning("Model server %s refused a request: %s", replica.url, refused)
                chunks.put(_refused())
                return
            except Exception:
                logger.exception("Asking model server %s failed", replica.url)
                chunks.put(EngineError("The model failed on this answer. Please try again."))
                return
            else:
                chunks.put(_END)
                return

    async def _open(
        self, urls: Sequence[str], api_key: str | None, timeouts: Timeouts
    ) -> dict[Replica, VllmServer]:
        self._wake = asyncio.Event()
        return {
            replica: VllmServer(url, api_key, timeouts)
            for replica, url in zip(self._replicas.all, urls, strict=True)
        }

    async def _first_check(self) -> None:
        errors = await asyncio.gather(*(self._check(replica) for replica in self._replicas.all))
        wrong = any(isinstance(error, WrongServerError) for error in errors)
        if wrong or all(errors):
            raise ConfigError(
                [
                    f"engine.urls: {replica.url} given: {error}."
                    for replica, error in zip(self._replicas.all, errors, strict=True)
                    if error
                ]
            )
        # A server that comes back later must read as much as the chats were promised.
        self._expected = replace(self._expected, context=self.context_tokens)
        self._watching = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        """Looks after all servers, from time to time and whenever one has failed."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._check_seconds)
            self._wake.clear()
            await asyncio.gather(*(self._check(replica) for replica in self._replicas.all))

    async def _check(self, replica: Replica) -> ServerFailedError | None:
        server = self._servers[replica]
        try:
            if not replica.trouble:
                await server.check_health()
                return None
            model, context = await server.examine(self._expected)
        except ServerFailedError as error:
            self._replicas.fails(replica, str(error))
            return error
        except Exception as error:
            logger.exception("Checking model server %s failed", replica.url)
            self._replicas.fails(replica, f"checking it failed ({type(error).__name__})")
            return ServerFailedError(replica.trouble)
        self._contexts[replica] = context
        self._replicas.works(replica, model)
        return None

    async def _shut_down(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for server in self._servers.values():
            await server.close()

    def _call(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


class _Answer:
    """The text of one answer, made of the ids that come."""

    def __init__(self, language: LanguageModel, stop_strings: Sequence[str]) -> None:
        self.stop_strings = tuple(stop_strings)
        self.tokens = 0
        self.finish: FinishReason | None = None
        self._eos_id = language.eos_id
        self._text = language.text_stream()
        self._filter = StopStringFilter(stop_strings)

    def take(self, chunk: Chunk) -> str:
        """The text that is safe to show now."""
        shown = ""
        for token in chunk.tokens:
            if self.finish is not None:
                break
            self.tokens += 1
            if token == self._eos_id:
                self.finish = "stop"
            else:
                shown += self._filter.feed(self._text.step(token))
                self.finish = "stop" if self._filter.stopped else None
        if self.finish is None and chunk.finish is not None:
            self.finish = "length" if chunk.finish == "length" else "stop"
        return shown

    def rest(self) -> str:
        """What was held back in case a stop string would follow."""
        return "" if self._filter.stopped else self._filter.flush()


def _probe(language: LanguageModel) -> tuple[Mapping[str, Any], ...]:
    ids = [language.bos_id, *language.encode(_PROBE)]
    device = next((weight.device for weight in language.parameters()), torch.device("cpu"))
    with torch.no_grad():
        return probe_requests(ids, language.embed(torch.tensor(ids, device=device)))


def _broke_off() -> EngineError:
    return EngineError(
        "The model server broke off in the middle of this answer. Please ask again; the chat is as "
        "it was before the question."
    )


def _refused() -> EngineError:
    return EngineError(
        "The model server refused this question; the page's log says why. Please try a shorter "
        "question, or tell whoever runs this page."
    )
