"""What is said to a vLLM server and what it answers: JSON and bytes, without a connection.

Prompts travel as embeddings (`--enable-prompt-embeds`), so that pictures need nothing of the server
but its language model. They go to the chat route as one message, with `CHAT_TEMPLATE` as the
template, which writes a message down as it is. The plain route takes embeddings too, but there the
repetition penalty of vLLM 0.32 also falls on whatever ids the prompt of an earlier question left
in the server's memory (seen on a CPU); here it falls on the answer's own tokens, as it should.

Source: /v1/chat/completions, /v1/completions and /v1/models of vLLM 0.32.
"""

import base64
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from minigpt4.config import GenerationSettings
from minigpt4.errors import ConfigError, EngineError

KEY_VARIABLE = "MINIGPT4_VLLM_API_KEY"
"""The environment variable that holds the key of the vLLM servers, if they want one."""
CHAT_TEMPLATE = '{{ messages[0]["content"] }}'
"""What a server must be started with as --chat-template."""
ANSWER_ROUTE = "/v1/chat/completions"
IDS_ROUTE = "/v1/completions"
MOST_OFF = 0.5
"""How far the log-probability of a likely token may be off between words sent as embeddings and as
ids: 16-bit rounding moves it by a few hundredths, other weights by whole numbers."""

_PREFIX = "data:"
_DONE = "[DONE]"
_SHOWN = 300  # characters of a server's own words
_LIKELIEST = 5  # tokens that are compared


def server_key(environment: Mapping[str, str] = os.environ) -> str | None:
    """The key of the vLLM servers, from the environment; None if they want none.

    Raises:
        ConfigError: If the variable is set and empty, which nobody means.
    """
    key = environment.get(KEY_VARIABLE)
    if key is not None and not key.strip():
        raise ConfigError(
            [f"{KEY_VARIABLE} is set and holds no key. Give that of the vLLM servers, or unset it."]
        )
    return key


class ServerFailedError(Exception):
    """A server does not answer as it should; another one may. The message is for the log."""


class WrongServerError(ServerFailedError):
    """A server works, but is not the one that is wanted; the message says the cure."""


class RequestRefusedError(Exception):
    """A server works and says that the request is wrong; others would say so too."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one event of a stream brings.

    Attributes:
        tokens: New ids.
        finish: The server's reason why the answer ended, on its last tokens.
        usage: Length of the prompt, and so much of it that was in the server's cache.
    """

    tokens: tuple[int, ...] = ()
    finish: str | None = None
    usage: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """What a server finds likely after some words.

    Attributes:
        prompt_tokens: Length of the prompt that it read.
        likeliest: The likeliest next tokens with their log-probabilities.
    """

    prompt_tokens: int
    likeliest: Mapping[str, float]


def encode_embeds(embeds: torch.Tensor) -> str:
    """What a server reads as `prompt_embeds`.

    Args:
        embeds: `(T, D)`; the server converts it to its own precision.

    Raises:
        EngineError: If a number is not finite. The server would take it and answer noise.
    """
    if not bool(embeds.isfinite().all()):
        raise EngineError(
            "The model saw something in this chat that it cannot work with (a number that is not "
            "finite). Please start a new chat, with another picture."
        )
    buffer = io.BytesIO()
    torch.save(embeds.detach().cpu().clone(), buffer)  # a clone: a view would bring its base along
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def answer_request(
    embeds: torch.Tensor, settings: GenerationSettings, stop_strings: Sequence[str], eos_id: int
) -> Mapping[str, Any]:
    """The request for one answer, all but the model's name.

    Nothing is left to the server's defaults that changes an answer: it takes some from the model's
    generation_config.json.

    Args:
        embeds: The prompt `(T, D)`.
        settings: How to draw tokens.
        stop_strings: End the answer.
        eos_id: The token that ends the answer.

    Raises:
        EngineError: If the embeddings are not finite.
    """
    return {
        "messages": _message(embeds),
        "max_tokens": settings.max_new_tokens,
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "top_k": -1,
        "min_p": 0.0,
        # Embeddings have no ids: as in the release, only the answer's own tokens are penalised.
        "repetition_penalty": settings.repetition_penalty,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "seed": settings.seed,
        "stop": [stop for stop in stop_strings if stop],
        # The tokenizer's own end; the one in the folder's config.json may be another.
        "ignore_eos": True,
        "stop_token_ids": [eos_id],
        "return_token_ids": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def probe_requests(
    ids: Sequence[int], embeds: torch.Tensor
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The same words as ids for `IDS_ROUTE` and as embeddings for `ANSWER_ROUTE`.

    What is likely next must be the same, if the server's weights are ours.

    Args:
        ids: `T` token ids.
        embeds: Their embeddings `(T, D)`.
    """
    asked = {"max_tokens": 1, "temperature": 0.0, "repetition_penalty": 1.0}
    asked["return_tokens_as_token_ids"] = True
    return (
        {**asked, "prompt": list(ids), "logprobs": _LIKELIEST},
        {**asked, "messages": _message(embeds), "logprobs": True, "top_logprobs": _LIKELIEST},
    )


def with_model(request: Mapping[str, Any], name: str) -> bytes:
    """A request as it is sent."""
    return json.dumps({"model": name, **request}, separators=(",", ":")).encode()


def read_event(line: str) -> Chunk | None:
    """One line of a stream of events; None if it says nothing.

    Raises:
        ServerFailedError: If the line tells an error, or cannot be understood.
    """
    if not line.startswith(_PREFIX):
        return None
    text = line.removeprefix(_PREFIX).strip()
    if text == _DONE:
        return None
    try:
        event = json.loads(text)
        if "error" in event:
            raise ServerFailedError(f"it reported {_words_of(event)}")
        usage = event.get("usage")
        choices = event["choices"]
        if not choices:
            return Chunk(usage=_usage(usage)) if usage else None
        choice = choices[0]
        tokens = tuple(int(token) for token in choice.get("token_ids") or ())
        finish = choice.get("finish_reason")
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ServerFailedError(f"it sent what is no answer: {text[:_SHOWN]!r}") from error
    if finish not in (None, "stop", "length"):
        raise ServerFailedError(f"it ended the answer with {finish!r}")
    return Chunk(tokens, finish)


def refusal(status: int, body: bytes) -> Exception:
    """What a status other than 200 means.

    Args:
        status: Of HTTP.
        body: What came with it.
    """
    said = _said(body)
    if status in (401, 403):
        return WrongServerError(
            f"it wants another API key (HTTP {status}). Put the key that it was started with into "
            f"the environment variable {KEY_VARIABLE}"
        )
    # 404 is a server that was started anew with another model; 408 and 429 one that is too busy.
    if 400 <= status < 500 and status not in (404, 408, 429):
        return RequestRefusedError(said)
    return ServerFailedError(f"it answered HTTP {status}: {said}")


def read_models(body: bytes) -> tuple[str, int]:
    """Name of a server's model, and the longest sequence it reads.

    Raises:
        ServerFailedError: If this is no answer of a vLLM server.
    """
    try:
        first = json.loads(body)["data"][0]
        return str(first["id"]), int(first["max_model_len"])
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise WrongServerError(
            f"it is no vLLM server: /v1/models says {body[:_SHOWN].decode(errors='replace')!r}"
        ) from error


def read_probe(body: bytes) -> Probe:
    """The answer to one of `probe_requests`.

    Raises:
        WrongServerError: If it does not hold what was asked for.
    """
    try:
        answer = json.loads(body)
        logprobs = answer["choices"][0]["logprobs"]
        if "content" in logprobs:  # of the chat route
            found = {
                each["token"]: each["logprob"] for each in logprobs["content"][0]["top_logprobs"]
            }
        else:
            found = logprobs["top_logprobs"][0]
        likeliest = {str(token): float(value) for token, value in found.items()}
        return Probe(int(answer["usage"]["prompt_tokens"]), likeliest)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise WrongServerError("it does not tell how likely tokens are") from error


def same_weights(by_ids: Probe, by_embeds: Probe) -> bool:
    """Whether both probes find the same tokens likely, up to rounding."""
    one, other = by_ids.likeliest, by_embeds.likeliest
    best = {max(each, key=lambda token: each[token]) for each in (one, other)}
    return all(
        token in one and token in other and abs(one[token] - other[token]) <= MOST_OFF
        for token in best
    )


def _message(embeds: torch.Tensor) -> list[Mapping[str, Any]]:
    part = {"type": "prompt_embeds", "data": encode_embeds(embeds)}
    return [{"role": "user", "content": [part]}]


def _usage(usage: Mapping[str, Any]) -> tuple[int, int]:
    details = usage.get("prompt_tokens_details") or {}
    return int(usage["prompt_tokens"]), int(details.get("cached_tokens") or 0)


def _said(body: bytes) -> str:
    try:
        return _words_of(json.loads(body))
    except (ValueError, KeyError, TypeError):
        return body[:_SHOWN].decode(errors="replace") or "nothing"


def _words_of(answer: Mapping[str, Any]) -> str:
    error = answer["error"]
    said = error["message"] if isinstance(error, dict) else error
    return str(said)[:_SHOWN] or "nothing"
