"""`/healthz`, `/readyz` and `/metrics`, as what watches a server reads them."""

import threading
from dataclasses import replace
from typing import Literal

import httpx
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette
from starlette.testclient import TestClient

from minigpt4.chat import ChatStatistics
from minigpt4.encoder import EncoderStatistics
from minigpt4.engines.statistics import FIRST_TOKEN_BUCKETS, EngineStatistics
from minigpt4.server.api_keys import ApiKeys
from minigpt4.server.health import health_routes
from minigpt4.server.metrics import CountRequests, HttpCounts, metrics_routes
from minigpt4.server_config import ServerConfig
from tests.server.site import NAME, running
from tests.ui.fake_chat import FakeChat
from tests.ui.server import fake_config
from tests.waiting import until

Who = Literal["local", "everyone", "off"]


class Worker:
    """A worker whose counts are known."""

    load_state = "ready"
    open_questions = 3
    refused = 2

    def __init__(self) -> None:
        counts = [0] * (len(FIRST_TOKEN_BUCKETS) + 1)
        counts[0], counts[2], counts[-1] = 4, 1, 2
        self.known = ChatStatistics(
            EngineStatistics(
                running=2,
                waiting=1,
                answered=7,
                cancelled=5,
                failed=4,
                refused=6,
                prompt_tokens=900,
                cached_tokens=300,
                generated_tokens=800,
                tokens_per_second=55.5,
                batch_size=1.5,
                cache_share=None,
                first_token_counts=tuple(counts),
                first_token_sum=75.0,
            ),
            EncoderStatistics(encoded=11, cached=12, failed=1, waiting=2, batches=9, seconds=3.5),
        )

    def statistics(self) -> ChatStatistics | None:
        return self.known if self.load_state == "ready" else None


def watched(
    worker: Worker,
    who: Who = "everyone",
    keys: tuple[str, ...] = (),
    client: str = "127.0.0.1",
    *,
    shared: bool = False,
) -> TestClient:
    registry = CollectorRegistry()
    counts = HttpCounts(registry)
    settings = ServerConfig(metrics=who)
    app = Starlette(
        routes=[
            *health_routes(worker),  # type: ignore[arg-type]
            *metrics_routes(worker, settings, ApiKeys(keys), registry, shared=shared),  # type: ignore[arg-type]
        ]
    )
    return TestClient(CountRequests(app, counts), client=(client, 5000))


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_alive_and_ready() -> None:
    worker = Worker()
    http = watched(worker)
    for state, status in (("loading", 503), ("ready", 200), ("failed", 503)):
        worker.load_state = state
        assert http.get("/healthz").status_code == 200
        answer = http.get("/readyz")
        assert (answer.status_code, answer.json()) == (status, {"status": state})
        assert ("retry-after" in answer.headers) == (state == "loading")
        assert http.head("/readyz").status_code == status


def test_every_count_of_the_model_is_there() -> None:
    told = samples(watched(Worker()).get("/metrics").text)
    expected = {
        ("minigpt4_ready", ()): 1,
        ("minigpt4_open_questions", ()): 3,
        ("minigpt4_engine_running", ()): 2,
        ("minigpt4_engine_waiting", ()): 1,
        ("minigpt4_engine_tokens_per_second", ()): 55.5,
        ("minigpt4_engine_batch_size", ()): 1.5,
        ("minigpt4_engine_prompt_tokens_total", ()): 900,
        ("minigpt4_engine_cached_tokens_total", ()): 300,
        ("minigpt4_engine_generated_tokens_total", ()): 800,
        ("minigpt4_engine_refused_total", ()): 6 + 2,  # by the engine, and before it
        ("minigpt4_engine_answers_total", (("end", "answered"),)): 7,
        ("minigpt4_engine_answers_total", (("end", "cancelled"),)): 5,
        ("minigpt4_engine_answers_total", (("end", "failed"),)): 4,
        ("minigpt4_engine_first_token_seconds_bucket", (("le", "0.01"),)): 4,
        ("minigpt4_engine_first_token_seconds_bucket", (("le", "0.05"),)): 5,
        ("minigpt4_engine_first_token_seconds_bucket", (("le", "30.0"),)): 5,
        ("minigpt4_engine_first_token_seconds_bucket", (("le", "+Inf"),)): 7,
        ("minigpt4_engine_first_token_seconds_count", ()): 7,
        ("minigpt4_engine_first_token_seconds_sum", ()): 75,
        ("minigpt4_encoder_pictures_total", (("how", "encoded"),)): 11,
        ("minigpt4_encoder_pictures_total", (("how", "cached"),)): 12,
        ("minigpt4_encoder_pictures_total", (("how", "failed"),)): 1,
        ("minigpt4_encoder_waiting", ()): 2,
        ("minigpt4_encoder_batches_total", ()): 9,
        ("minigpt4_encoder_seconds_total", ()): 3.5,
    }
    assert {name: told.get(name) for name in expected} == expected
    assert ("minigpt4_engine_cache_share", ()) not in told  # there is no bound to share


def test_before_the_model_is_loaded() -> None:
    worker = Worker()
    worker.load_state = "loading"
    told = samples(watched(worker).get("/metrics").text)
    assert told["minigpt4_ready", ()] == 0
    assert not any(name.startswith("minigpt4_engine") for name, _ in told)


def test_openmetrics_for_who_asks_for_it() -> None:
    answer = watched(Worker()).get("/metrics", headers={"Accept": "application/openmetrics-text"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert any(family.name == "minigpt4_ready" for family in open_metrics(answer.text))


def test_requests_are_counted_and_made_up_ones_make_no_series() -> None:
    http = watched(Worker())
    http.get("/healthz")
    http.get("/healthz")
    for number in range(20):
        http.request(f"ODD{number}", f"/made/up/{number}")
        http.get(f"/v1/models/{number}")
    told = samples(http.get("/metrics").text)
    name = "minigpt4_http_requests_total"
    known = {"route": "/healthz", "method": "GET", "status": "200"}
    assert told[name, tuple(sorted(known.items()))] == 2
    made_up = {"route": "page", "method": "other", "status": "404"}
    assert told[name, tuple(sorted(made_up.items()))] == 20
    assert len([key for key in told if key[0] == name]) == 3
    assert told["minigpt4_http_request_seconds_count", (("route", "/v1/models"),)] == 20


@pytest.mark.parametrize(
    ("who", "keys", "client", "headers", "status"),
    [
        ("local", (), "127.0.0.1", {}, 200),
        ("local", (), "::1", {}, 200),
        ("local", (), "10.0.0.7", {}, 403),
        ("local", (), "127.0.0.1", {"X-Forwarded-For": "8.8.8.8"}, 403),
        ("local", (), "127.0.0.1", {"Forwarded": "for=8.8.8.8"}, 403),
        ("local", (), "10.0.0.7", {"Authorization": "Bearer "}, 403),
        ("local", ("key",), "10.0.0.7", {"Authorization": "Bearer key"}, 200),
        ("local", ("key",), "10.0.0.7", {"Authorization": "Bearer kez"}, 403),
        ("everyone", (), "10.0.0.7", {}, 200),
        ("off", ("key",), "127.0.0.1", {"Authorization": "Bearer key"}, 404),
    ],
)
def test_who_may_read_metrics(
    who: Who, keys: tuple[str, ...], client: str, headers: dict[str, str], status: int
) -> None:
    answer = watched(Worker(), who, keys, client).get("/metrics", headers=headers)
    assert answer.status_code == status
    assert ("minigpt4_ready" in answer.text) == (status == 200)


def test_a_public_link_makes_nobody_local() -> None:
    """Its tunnel ends on this machine, and may not say for whom it asks."""
    shared = watched(Worker(), "local", ("key",), shared=True)
    assert shared.get("/metrics").status_code == 403
    assert shared.get("/metrics", headers={"Authorization": "Bearer key"}).status_code == 200


@pytest.fixture(scope="module")
def chat() -> FakeChat:
    return FakeChat(word_seconds=0.002)


@pytest.mark.load
@pytest.mark.filterwarnings("default")
def test_beside_the_page(tmp_path, chat: FakeChat) -> None:
    """All of it in the real server, from loading to a scrape after an answer."""
    loaded = threading.Event()
    config = fake_config(tmp_path)
    with (
        running(chat, config, loaded=loaded) as site,
        httpx.Client(base_url=site.url, timeout=60, trust_env=False) as http,
    ):
        assert http.get("healthz").status_code == 200
        assert http.get("readyz").status_code == 503
        loaded.set()
        until(lambda: http.get("readyz").status_code == 200)
        asked = {"model": NAME, "messages": [{"role": "user", "content": "Hello?"}]}
        assert http.post("v1/chat/completions", json=asked).status_code == 200
        told = samples(http.get("metrics").text)
        counted = {"route": "/v1/chat/completions", "method": "POST", "status": "200"}
        assert told["minigpt4_http_requests_total", tuple(sorted(counted.items()))] == 1
        assert told["minigpt4_encoder_pictures_total", (("how", "encoded"),)] == 0
        assert told["process_resident_memory_bytes", ()] > 1e6


@pytest.mark.load
@pytest.mark.filterwarnings("default")
def test_metrics_can_be_left_out(tmp_path, chat: FakeChat) -> None:
    config = fake_config(tmp_path)
    off = replace(config, server=replace(config.server, metrics="off"))
    with running(chat, off) as site, httpx.Client(timeout=60, trust_env=False) as http:
        assert http.get(f"{site.url}metrics").status_code == 404
