"""Prometheus' view of the server: what the engine does, what was asked, how long it took."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from minigpt4.engines.statistics import FIRST_TOKEN_BUCKETS, EngineStatistics
from minigpt4.server.api_keys import ApiKeys
from minigpt4.server.guards_origin import FORWARDED
from minigpt4.server_config import ServerConfig
from minigpt4.ui.worker import ModelWorker

if TYPE_CHECKING:
    from minigpt4.encoder import EncoderStatistics

_ROUTES = ("/v1/chat/completions", "/v1/models", "/v1", "/healthz", "/readyz", "/metrics")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SECONDS = (0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")
_LOOPBACK = frozenset({"127.0.0.1", "::1"})


class HttpCounts:
    """Counts requests by route, method and status, and the time to the end of their answers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "minigpt4_http_requests",
            "Requests that were answered; status 0 for those whose client left first.",
            ["route", "method", "status"],
            registry=registry,
        )
        self._seconds = Histogram(
            "minigpt4_http_request_seconds",
            "Time from a request to the end of its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )

    def count(self, path: str, method: str, status: int, seconds: float) -> None:
        """Add one request."""
        route = next((each for each in _ROUTES if path == each or path.startswith(f"{each}/")), "")
        # What a client makes up must not become a series: all else is the page.
        route = route or "page"
        method = method if method in _METHODS else "other"
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)


class CountRequests:
    """The middleware that counts."""

    def __init__(self, app: ASGIApp, counts: HttpCounts) -> None:
        self._app = app
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and count it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        begun = time.monotonic()
        path = scope["path"]  # a mount changes the scope
        try:
            await self._app(scope, receive, noted)
        finally:
            self._counts.count(path, scope["method"], status, time.monotonic() - begun)


class ModelCounts(Collector):
    """Reads the model's own counts when they are asked for."""

    def __init__(self, worker: ModelWorker) -> None:
        self._worker = worker

    def collect(self) -> Iterator[Metric]:
        """Yield what there is; before the model is loaded, only that it is not."""
        ready = self._worker.load_state == "ready"
        yield GaugeMetricFamily("minigpt4_ready", "Whether the model is loaded.", float(ready))
        open_questions = float(self._worker.open_questions)
        help_text = "Questions that wait or are being answered, the page's included."
        yield GaugeMetricFamily("minigpt4_open_questions", help_text, open_questions)
        statistics = self._worker.statistics()
        if statistics is not None:
            yield from _engine_metrics(statistics.engine, self._worker.refused)
            yield from _encoder_metrics(statistics.encoder)


def metrics_routes(
    worker: ModelWorker,
    settings: ServerConfig,
    keys: ApiKeys,
    registry: CollectorRegistry,
    *,
    shared: bool = False,
) -> list[BaseRoute]:
    """Build `/metrics`, if the configuration has it.

    Args:
        worker: Owns the model.
        settings: Who may read it.
        keys: A request with one of them may, unless nobody may.
        registry: Holds the counts of the HTTP server.
        shared: A public link leads here. Its tunnel ends on this machine, so nobody is local then.
    """
    if settings.metrics == "off":
        return []
    registry.register(ModelCounts(worker))
    ProcessCollector(registry=registry)

    def metrics(request: Request) -> Response:
        local = not shared and _is_local(request)
        if settings.metrics == "local" and not (local or keys.known(request.headers)):
            told = "Metrics are for this machine, or for who has an API key. See docs/api.md.\n"
            return PlainTextResponse(told, 403)
        encode, kind = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), media_type=kind)

    # A plain function: it runs in a thread, for reading /proc and the engine's lock may wait.
    return [Route("/metrics", metrics)]


def _is_local(request: Request) -> bool:
    """Whether a request comes from this machine itself and not through a proxy on it."""
    named = any(name in request.headers for name in _FORWARDED)
    forwarded = named or request.scope.get(FORWARDED, False)
    return request.client is not None and request.client.host in _LOOPBACK and not forwarded


def _engine_metrics(engine: EngineStatistics, refused_before: int) -> Iterator[Metric]:
    gauges: tuple[tuple[str, str, float | None], ...] = (
        ("running", "Answers being written.", engine.running),
        ("waiting", "Questions that wait for their turn.", engine.waiting),
        ("tokens_per_second", "Tokens written lately, in all chats.", engine.tokens_per_second),
        ("batch_size", "Answers that shared a step lately, in the mean.", engine.batch_size),
        ("cache_share", "Share of the KV cache that is in use, 0 to 1.", engine.cache_share),
    )
    for name, text, value in gauges:
        if value is not None:
            yield GaugeMetricFamily(f"minigpt4_engine_{name}", text, float(value))
    counters = (
        ("prompt_tokens", "Tokens of all prompts.", engine.prompt_tokens),
        ("cached_tokens", "Prompt tokens that were not read again.", engine.cached_tokens),
        ("generated_tokens", "Tokens written.", engine.generated_tokens),
        (
            "refused",
            "Questions turned away because too many waited.",
            engine.refused + refused_before,
        ),
    )
    for name, text, value in counters:
        yield CounterMetricFamily(f"minigpt4_engine_{name}", text, value)
    answers = CounterMetricFamily(
        "minigpt4_engine_answers", "Answers by their end.", labels=["end"]
    )
    for end in ("answered", "cancelled", "failed"):
        answers.add_metric([end], getattr(engine, end))
    yield answers
    bounds = [*(str(bound) for bound in FIRST_TOKEN_BUCKETS), "+Inf"]
    total, buckets = 0, []
    for bound, count in zip(bounds, engine.first_token_counts, strict=True):
        total += count
        buckets.append((bound, float(total)))
    yield HistogramMetricFamily(
        "minigpt4_engine_first_token_seconds",
        "Time from a question to the first token of its answer.",
        buckets=buckets,
        sum_value=engine.first_token_sum,
    )


def _encoder_metrics(encoder: "EncoderStatistics") -> Iterator[Metric]:
    pictures = CounterMetricFamily(
        "minigpt4_encoder_pictures", "Pictures by how their visual tokens came.", labels=["how"]
    )
    for how in ("encoded", "cached", "failed"):
        pictures.add_metric([how], getattr(encoder, how))
    yield pictures
    counters = (
        ("batches", "Forward passes of the picture side.", encoder.batches),
        ("seconds", "Time spent in them.", encoder.seconds),
    )
    for name, text, value in counters:
        yield CounterMetricFamily(f"minigpt4_encoder_{name}", text, value)
    gauges = (
        ("waiting", "Pictures that wait to be looked at.", encoder.waiting),
        ("cache_bytes", "Memory of the visual tokens that are kept.", encoder.cache_bytes),
        ("cache_share", "Share of the memory for them that is taken.", encoder.cache_share),
    )
    for name, text, value in gauges:
        yield GaugeMetricFamily(f"minigpt4_encoder_{name}", text, float(value))
