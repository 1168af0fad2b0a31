"""One vLLM server: whether it is there, whether it is the right one, and its answers."""

import ssl
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from minigpt4.engines.vllm_wire import (
    ANSWER_ROUTE,
    CHAT_TEMPLATE,
    IDS_ROUTE,
    Chunk,
    Probe,
    ServerFailedError,
    WrongServerError,
    read_event,
    read_models,
    read_probe,
    refusal,
    same_weights,
    with_model,
)
from minigpt4.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long a server may take, in seconds.

    Attributes:
        connect: To take a connection.
        health: To say that it is well.
        silence: Without a byte, before the first token and between tokens.
    """

    connect: float = 5.0
    health: float = 5.0
    silence: float = 60.0


@dataclass(frozen=True, slots=True)
class Expected:
    """What a server must be.

    Attributes:
        context: Tokens that it must be able to read; None takes what it has.
        folder: Name of the language model's folder, for messages.
        probe: What `probe_requests` made.
    """

    context: int | None
    folder: str
    probe: Sequence[Mapping[str, Any]]


class VllmServer:
    """Speaks to one server. Everything runs in the event loop that made it."""

    def __init__(self, url: str, api_key: str | None, timeouts: Timeouts) -> None:
        """Opens nothing yet.

        Args:
            url: Its address, with or without the /v1 that OpenAI's clients want.
            api_key: What it was started with, if it was.
            timeouts: How long it may take.

        Raises:
            ConfigError: If the address is none.
        """
        self._timeouts = timeouts
        try:
            self._client = httpx.AsyncClient(
                base_url=url.rstrip("/").removesuffix("/v1"),
                headers={"Authorization": f"Bearer {api_key}"} if api_key else {},
                timeout=httpx.Timeout(timeouts.silence, connect=timeouts.connect),
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
                verify=ssl.create_default_context(),
                trust_env=False,  # what people ask goes to the named server, and to no proxy
            )
        except httpx.InvalidURL as error:
            raise ConfigError([f"engine.urls: {url} given: it is no address ({error})."]) from error

    async def check_health(self) -> None:
        """Asks whether it is well.

        Raises:
            ServerFailedError: If it is not.
        """
        with _failures():
            response = await self._client.get("/health", timeout=self._timeouts.health)
        if response.status_code != 200:
            raise ServerFailedError(f"/health answers HTTP {response.status_code}")

    async def examine(self, expected: Expected) -> tuple[str, int]:
        """Makes sure that it serves the language model whose embeddings we send.

        Returns:
            The name of its model, and the longest sequence it reads.

        Raises:
            ServerFailedError: If it is not there.
            WrongServerError: If it is there and is of no use; the message holds the cure.
        """
        await self.check_health()
        with _failures():
            response = await self._client.get("/v1/models", timeout=self._timeouts.health)
        if response.status_code != 200:
            raise _as_failure(refusal(response.status_code, response.content))
        model, context = read_models(response.content)
        if expected.context is not None and context < expected.context:
            raise WrongServerError(
                f"it reads {context} tokens and limits.max_context_tokens is {expected.context}. "
                f"Start it with --max-model-len {expected.context}, or set the limit to {context}"
            )
        by_ids, by_embeds = [
            await self._probe(route, with_model(request, model))
            for route, request in zip((IDS_ROUTE, ANSWER_ROUTE), expected.probe, strict=True)
        ]
        if by_embeds.prompt_tokens != by_ids.prompt_tokens:
            raise WrongServerError(
                f"it reads {by_embeds.prompt_tokens} tokens where {by_ids.prompt_tokens} were "
                f"sent. Start it with --chat-template '{CHAT_TEMPLATE}'"
            )
        if not same_weights(by_ids, by_embeds):
            raise WrongServerError(
                f"its model {model!r} answers differently to words and to their embeddings from "
                f"{expected.folder}: it has other weights. Start it with --model {expected.folder}"
            )
        return model, context

    async def answer(self, request: Mapping[str, Any], model: str) -> AsyncGenerator[Chunk]:
        """Streams an answer. Closing the iterator closes the connection; the server then stops.

        Args:
            request: What `answer_request` made.
            model: The server's name of its model.

        Yields:
            Chunks; the server's reason to end comes with its last tokens.

        Raises:
            ServerFailedError: If it fails, before the first token or later.
            RequestRefusedError: If it says that the request is wrong.
        """
        ended = False
        with _failures():
            async with self._client.stream(
                "POST", ANSWER_ROUTE, content=with_model(request, model), headers=_JSON
            ) as response:
                if response.status_code != 200:
                    raise refusal(response.status_code, await response.aread())
                async for line in response.aiter_lines():
                    chunk = read_event(line)
                    if chunk is not None:
                        ended = ended or chunk.finish is not None
                        yield chunk
        if not ended:
            raise ServerFailedError("it ended the stream in the middle of an answer")

    async def close(self) -> None:
        """Closes all connections."""
        await self._client.aclose()

    async def _probe(self, route: str, body: bytes) -> Probe:
        with _failures():
            response = await self._client.post(route, content=body, headers=_JSON)
        if response.status_code != 200:
            raise _as_failure(refusal(response.status_code, response.content))
        return read_probe(response.content)


_JSON = {"Content-Type": "application/json"}


@contextmanager
def _failures() -> Iterator[None]:
    """Says in our words what keeps a server from answering."""
    try:
        yield
    except httpx.ConnectTimeout as error:
        raise ServerFailedError("it takes no connection") from error
    except httpx.TimeoutException as error:
        raise ServerFailedError("it was silent for too long") from error
    except httpx.ConnectError as error:
        raise ServerFailedError(f"there is no server at this address ({error})") from error
    except (httpx.HTTPError, httpx.StreamError) as error:
        name = type(error).__name__
        raise ServerFailedError(f"the connection broke ({name}: {error})") from error


def _as_failure(error: Exception) -> ServerFailedError:
    """A refused probe means a server that is of no use to us."""
    if isinstance(error, ServerFailedError):
        return error
    return WrongServerError(
        f"it refused a question sent as embeddings: {error}. Start it with --enable-prompt-embeds "
        f"--chat-template '{CHAT_TEMPLATE}'"
    )
