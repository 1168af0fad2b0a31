"""Any server that speaks OpenAI's chat completions: asked from several threads, patiently.

What may be over in a moment (no connection, too many requests, a server's own failure) is tried
again after a pause that grows; where the server says how long to wait, everybody waits that long. A
wrong key, address or model ends everything at once: no other row would fare better.
"""

import email.utils
import random
import re
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

import httpx

from train.curation.errors import CurationError, RowError, UnansweredError

ADDRESS_VARIABLE = "OPENAI_BASE_URL"
KEY_VARIABLE = "OPENAI_API_KEY"
_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_HOPELESS = frozenset({401, 402, 403, 404, 405})
_LONGEST_PAUSE = 60.0
_LONGEST_WISH = 300.0
"""A server that wants us to wait longer has no place for us today."""
_THOUGHTS = re.compile(r"<think>.*?</think>", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSettings:
    """Where a server is, and how it is asked.

    Attributes:
        url: Its address up to /v1.
        model: Which of its models.
        temperature: None leaves it to the server; some models take no other than their own.
        tries: How often a request is made before its row fails.
        first_pause: Seconds before the second try; every further pause is twice as long.
        timeout: Seconds that an answer may take.
        per_minute: The most requests a minute; None for as many as there can be.
    """

    url: str
    model: str
    temperature: float | None = None
    tries: int = 6
    first_pause: float = 1.0
    timeout: float = 120.0
    per_minute: int | None = None

    @property
    def shown_url(self) -> str:
        """The address without a password or a key in it."""
        parts = urlsplit(self.url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def fault_of(url: str) -> str:
    """What is wrong with an address; empty if nothing is."""
    try:
        host = httpx.URL(url).host
        urlsplit(url)
    except (httpx.InvalidURL, ValueError) as error:
        return str(error)
    return "" if host else "no host in it"


@dataclass(frozen=True, slots=True)
class Completion:
    """What a server answered.

    Attributes:
        text: The answer.
        model: Which model it says it was.
        usage: Tokens, as the server counts them; it may not say.
        tries: How often it was asked.
    """

    text: str
    model: str
    usage: dict[str, int]
    tries: int


class Endpoint:
    """Asks a server; any number of threads may."""

    def __init__(self, settings: EndpointSettings, key: str, stop: threading.Event) -> None:
        self._settings = settings
        self._stop = stop
        self._pace = _Pace(settings.per_minute, stop)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        limits = httpx.Limits(max_connections=None)
        self._http = httpx.Client(headers=headers, timeout=settings.timeout, limits=limits)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def complete(self, prompt: str) -> Completion:
        """Asks one question.

        Raises:
            RowError: If the server refuses this question, or answers with nothing.
            UnansweredError: If it failed as often as it was asked.
            CurationError: If no question can be answered: a wrong key, address or model.
        """
        body: dict[str, Any] = {
            "model": self._settings.model,
            "messages": [{"role": "user", "content": prompt}],
        }
        if self._settings.temperature is not None:
            body["temperature"] = self._settings.temperature
        problem = ""
        for number in range(1, self._settings.tries + 1):
            self._pace.take_turn()
            if self._stop.is_set():
                raise RowError("stopped")
            try:
                answer = self._http.post(
                    f"{self._settings.url.rstrip('/')}/chat/completions", json=body
                )
            except httpx.RequestError as error:  # an answer that cannot be unpacked, too
                problem, wished = f"no answer ({type(error).__name__})", None
            else:
                if answer.is_success:
                    return _completion(answer, number)
                problem, wished = self._refused(answer), _wished_pause(answer)
            if number == self._settings.tries:
                break
            pause = min(_LONGEST_PAUSE, self._settings.first_pause * 2 ** (number - 1))
            if wished is None:
                self._stop.wait(pause * random.uniform(0.5, 1.0))  # so that not all come at once
            else:
                self._pace.pause(min(wished, _LONGEST_WISH))
        raise UnansweredError(f"{problem}, {self._settings.tries} times")

    def _refused(self, answer: httpx.Response) -> str:
        """What a server said that may answer later; raises where it will not."""
        status, said = answer.status_code, _said(answer)
        told = f"{status} {HTTPStatus(status).phrase if status in _STATUSES else ''}".strip()
        told = f"{told}: {said}" if said else told
        wished = _wished_pause(answer)
        if status in _HOPELESS or answer.has_redirect_location or _is_spent(answer):
            message = (
                f"{self._settings.shown_url} refuses every request for {self._settings.model!r}: "
                f"{told}. Check {KEY_VARIABLE}, the address and --model, or what the account has"
                " left; the same command goes on."
            )
            raise CurationError(message)
        if wished is not None and wished > _LONGEST_WISH:
            message = (
                f"{self._settings.shown_url} asks to come back in {wished:,.0f} s: {told}. The same"
                " command goes on then."
            )
            raise CurationError(message)
        if status not in _AGAIN:
            raise RowError(told)
        return told


class _Pace:
    """When the next request may be made: so many a minute, and none during a pause."""

    def __init__(self, per_minute: int | None, stop: threading.Event) -> None:
        self._gap = 60.0 / per_minute if per_minute else 0.0
        self._next = 0.0
        self._paused_until = 0.0
        self._stop = stop
        self._lock = threading.Lock()

    def take_turn(self) -> None:
        """Waits for the next place."""
        with self._lock:
            now = time.monotonic()
            place = max(now, self._next)
            self._next = place + self._gap
        while (left := place - time.monotonic()) > 0 and not self._stop.is_set():
            self._stop.wait(left)
            with self._lock:  # somebody may have been told to wait meanwhile
                place = max(place, self._paused_until)

    def pause(self, seconds: float) -> None:
        """Lets nobody ask for some seconds."""
        with self._lock:
            self._paused_until = max(self._paused_until, time.monotonic() + seconds)
            self._next = max(self._next, self._paused_until)


_STATUSES = frozenset(int(status) for status in HTTPStatus)


def _completion(answer: httpx.Response, tries: int) -> Completion:
    try:
        content = answer.json()
        choice = content["choices"][0]
        text = choice["message"]["content"]
    except (ValueError, LookupError, TypeError) as error:
        raise RowError("the answer is no chat completion") from error
    if choice.get("finish_reason") in ("length", "content_filter"):
        cut = choice["finish_reason"] == "length"
        raise RowError("the answer was cut off" if cut else "the answer was withheld")
    text = _plain(text) if isinstance(text, str) else ""
    if not text:
        raise RowError("the answer is empty")
    usage = content.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    tokens = {name: each for name, each in usage.items() if isinstance(each, int)}
    return Completion(text, str(content.get("model", "")), tokens, tries)


def _plain(text: str) -> str:
    """An answer without a model's thoughts, and without quotation marks around all of it."""
    text = _THOUGHTS.sub("", text).strip()
    for mark in ('"', "```"):
        inside = text.removeprefix(mark).removesuffix(mark)
        if len(inside) == len(text) - 2 * len(mark) and mark not in inside:
            text = inside.strip()
    return text


def _said(answer: httpx.Response) -> str:
    """What the server says of an error, one line."""
    try:
        error = answer.json()["error"]
        said = error["message"] if isinstance(error, dict) else error
    except (ValueError, LookupError, TypeError):
        said = answer.text
    return " ".join(str(said).split())[:200].rstrip(".")


def _is_spent(answer: httpx.Response) -> bool:
    """Whether an account has nothing left, which OpenAI tells as too many requests."""
    return (
        answer.status_code == HTTPStatus.TOO_MANY_REQUESTS and "insufficient_quota" in answer.text
    )


def _wished_pause(answer: httpx.Response) -> float | None:
    """Seconds that a server asks to wait; None if it does not say."""
    if milliseconds := answer.headers.get("retry-after-ms"):
        return float(milliseconds) / 1000 if milliseconds.isdecimal() else None
    wish = answer.headers.get("retry-after", "")
    if not wish:
        return None
    try:
        return max(0.0, float(wish))
    except ValueError:
        pass
    try:
        until = email.utils.parsedate_to_datetime(wish)
    except ValueError:
        return None
    return max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
