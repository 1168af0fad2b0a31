"""The vLLM engine with real vLLM servers: `make test-vllm` sets them up and runs this file.

Two servers of the embedded language model are started on this machine, from the environment that
MINIGPT4_VLLM_PYTHON names, or from .venv-vllm.
"""

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import httpx
import pytest
import torch

from minigpt4.build import build_model
from minigpt4.config import GenerationSettings, load_config
from minigpt4.conversation import Conversation, render
from minigpt4.engines.base import Engine
from minigpt4.engines.generate import GenerateEngine
from minigpt4.engines.vllm import VllmEngine
from minigpt4.engines.vllm_wire import CHAT_TEMPLATE, IDS_ROUTE
from minigpt4.errors import ConfigError, EngineError
from tests.engines.asking import Said, at_once
from tests.engines.vllm_record import FORMAT, GREEDY, ROOT, question, served_model
from tests.ports import free_port

pytestmark = [pytest.mark.vllm, pytest.mark.slow, pytest.mark.timeout(1800)]

FOLDER = "minigpt4/assets/tiny/language"
QUESTIONS = (
    "Describe this picture in detail.",
    "What is in the center?",
    "How many things are there?",
    "What color is the sky?",
    "Is there a boat?",
    "What is in the top left?",
)
PICTURES = ("harbour", "street", "night")
START_SECONDS = 900


@dataclass
class Server:
    """A vLLM server of its own process."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def metric(self, name: str) -> float:
        text = httpx.get(f"{self.url}/metrics", trust_env=False).text
        found = re.findall(rf"^{re.escape(name)}(?:{{[^}}]*}})? ([\d.e+-]+)$", text, re.MULTILINE)
        return sum(map(float, found))

    def kill(self) -> None:
        """Ends it and the processes that it has started, which would outlive it."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)

    def stop(self) -> None:
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(30)
        self.kill()


def start(log: Path, *options: str) -> Server:
    python = Path(os.environ.get("MINIGPT4_VLLM_PYTHON", ROOT / ".venv-vllm/bin/python"))
    if not python.exists():
        pytest.skip("there is no environment with vLLM; `make test-vllm` makes one")
    port = free_port()
    command = [str(python), "-m", "vllm.entrypoints.openai.api_server", "--model", FOLDER]
    command += ["--served-model-name", "tiny", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--dtype", "float32", "--max-model-len", "2048", "--enable-prompt-embeds"]
    command += ["--chat-template", CHAT_TEMPLATE, "--enable-prompt-tokens-details", *options]
    environment = {
        **os.environ,
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }
    output: IO[bytes] = log.open("wb")
    with output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Server(process, f"http://127.0.0.1:{port}", log)


def wait_for(server: Server) -> None:
    limit = time.monotonic() + START_SECONDS
    while time.monotonic() < limit:
        if server.process.poll() is not None:
            break
        try:
            if httpx.get(f"{server.url}/health", trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(1)
    text = server.log.read_text(errors="replace")
    server.stop()
    pytest.fail(f"vLLM did not start:\n{text[-3000:]}")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Server]]:
    folder = tmp_path_factory.mktemp("vllm")
    started = [start(folder / f"{index}.log") for index in range(2)]
    try:
        for server in started:
            wait_for(server)
        yield started
    finally:
        for server in started:
            server.stop()


@pytest.fixture(scope="module")
def model():
    return served_model()


@pytest.fixture
def engine(model, servers) -> Iterator[VllmEngine]:
    made = VllmEngine(model, [servers[0].url], context_tokens=2048, places=32, queue_size=64)
    yield made
    made.close()


@pytest.fixture(scope="module")
def reference() -> Iterator[GenerateEngine]:
    overrides = ["precision=float32", "device=cpu", "engine.kind=generate"]
    made = GenerateEngine(build_model(load_config(ROOT / "eval_configs/tiny.yaml", overrides)))
    yield made
    made.close()


@pytest.fixture(scope="module")
def asked(model):
    """Every question about every picture."""
    return [question(model, picture, words) for picture in PICTURES for words in QUESTIONS]


def say(
    engine: Engine, asked, settings: GenerationSettings = GREEDY, stop=FORMAT.stop_strings
) -> Said:
    *_, last = steps = list(engine.stream(*asked, settings, stop, threading.Event()))
    return Said("".join(step.text for step in steps), last.tokens, last.finish)


def test_greedy_answers_are_those_of_generate(engine, reference, asked):
    for each in asked:
        assert say(engine, each) == say(reference, each)


@pytest.mark.parametrize("penalty", [1.05, 1.5, 2.0])
def test_the_repetition_penalty_is_that_of_generate_whatever_was_asked_before(
    engine, reference, asked, servers, penalty
):
    """On the plain route, ids of earlier prompts in the same row of the server are penalised."""
    settings = replace(GREEDY, repetition_penalty=penalty)
    for each in asked[:6]:
        earlier = {"prompt": list(range(259, 700)), "max_tokens": 1, "temperature": 0}
        httpx.post(servers[0].url + IDS_ROUTE, json=earlier, trust_env=False).raise_for_status()
        assert say(engine, each, settings) == say(reference, each, settings)


def test_sixteen_answers_at_once_are_those_of_one_at_a_time(engine, reference, asked):
    expected = [say(reference, each) for each in asked[:16]]
    assert at_once([lambda each=each: say(engine, each) for each in asked[:16]]) == expected


def test_long_chats_find_what_was_read_of_them_and_nothing_else(engine, reference, model):
    """Prompts of one length that differ in a picture only: the server's cache must tell them."""

    def chat(picture: str):
        prompt, pictures = question(model, picture)
        conversation = Conversation()
        for number in range(12):
            conversation = conversation.with_question(
                f"What is in the picture, part {number}?", (picture,) if number == 0 else ()
            ).with_answer("There are many things in it.")
        asked = conversation.with_question("Describe this picture in detail.", ())
        del prompt
        return render(asked, FORMAT), pictures

    chats = [chat(picture) for picture in PICTURES]
    lengths = {len(model.tokenize(prompt).ids) for prompt, _ in chats}
    assert len(lengths) == 1
    assert lengths.pop() > 256  # more than one block of the server's cache
    expected = [say(reference, each) for each in chats]
    assert len({said.text for said in expected}) == len(PICTURES)
    for _ in range(2):
        assert at_once([lambda each=each: say(engine, each) for each in chats]) == expected
    assert engine.statistics().cached_tokens > 0


def test_stop_strings_and_lengths_are_those_of_generate(engine, reference, asked):
    for settings, stop in (
        (GREEDY, ("large",)),
        (GREEDY, ("the sea", "in the")),
        (replace(GREEDY, max_new_tokens=7), FORMAT.stop_strings),
        (replace(GREEDY, max_new_tokens=1), ()),
    ):
        for each in asked[:3]:
            assert say(engine, each, settings, stop) == say(reference, each, settings, stop)


def test_a_seed_repeats_a_drawn_answer_and_none_does_not(engine, asked):
    drawn = GenerationSettings(temperature=1.5, top_p=1.0, max_new_tokens=60)
    seeded = [say(engine, asked[0], replace(drawn, seed=seed)).text for seed in (1, 1, 2)]
    assert seeded[0] == seeded[1] != seeded[2]
    assert len({say(engine, asked[0], drawn).text for _ in range(6)}) > 1


def test_drawn_first_words_come_as_often_as_they_should(engine, reference, asked):
    """400 draws of the first token: the share of the likeliest is within 5 standard deviations."""
    causal = reference._model
    with torch.no_grad():
        logits = causal.language.model(inputs_embeds=causal.embed_prompt(*asked[0])).logits[0, -1]
    chances = torch.softmax(logits / 1.5, -1)
    best = int(chances.argmax())
    settings = GenerationSettings(
        temperature=1.5, top_p=1.0, repetition_penalty=1.0, max_new_tokens=1
    )
    word = causal.language.decode([best])
    said = [
        answer.text
        for _ in range(20)
        for answer in at_once([lambda: say(engine, asked[0], settings)] * 20)
    ]
    chance = float(chances[best])
    expected, deviation = 400 * chance, (400 * chance * (1 - chance)) ** 0.5
    assert abs(said.count(word) - expected) <= 5 * deviation


def test_cancelling_and_closing_abort_on_the_server(engine, servers, asked):
    endless = GenerationSettings(temperature=1.5, top_p=1.0, max_new_tokens=1900)
    for close in (False, True):
        cancel = threading.Event()
        streams = [engine.stream(*each, endless, (), cancel) for each in asked[:8]]
        for steps in streams:
            while not next(steps).text:
                pass
        assert servers[0].metric("vllm:num_requests_running") > 0
        if close:
            for steps in streams:
                steps.close()
        else:
            cancel.set()
            assert [list(steps)[-1].finish for steps in streams] == ["cancelled"] * 8
        limit = time.monotonic() + 10
        while servers[0].metric("vllm:num_requests_running") > 0:
            assert time.monotonic() < limit
            time.sleep(0.1)


def test_ten_of_twenty_cancelled_leave_the_others_exact(engine, reference, asked):
    chosen = (asked * 2)[:20]
    expected = [say(reference, each) for each in chosen[1::2]]

    def job(index: int):
        if index % 2:
            return say(engine, chosen[index])
        cancel = threading.Event()
        for step in engine.stream(*chosen[index], GREEDY, (), cancel):
            if step.tokens >= 3:
                cancel.set()
        return None

    answers = at_once([lambda index=index: job(index) for index in range(20)])
    assert answers[1::2] == expected


def test_too_long_a_question_is_refused_in_words(engine, model, asked):
    prompt, pictures = question(model, "harbour", "What is this? " * 700)
    with pytest.raises(EngineError, match="refused this question"):
        say(engine, (prompt, pictures))
    assert say(engine, asked[0]).finish == "stop"


def test_a_server_of_another_model_is_told_at_the_start(servers):
    other = served_model()
    with torch.no_grad():
        other.language.embeddings.weight.copy_(other.language.embeddings.weight.roll(1, 0))
    with pytest.raises(ConfigError, match="other weights"):
        VllmEngine(other, [servers[0].url], context_tokens=2048)


# Last: one of the servers does not survive it.


def test_two_servers_share_the_work_and_one_may_die(model, servers, reference, asked):
    urls = [server.url for server in servers]
    engine = VllmEngine(
        model, urls, context_tokens=2048, places=16, queue_size=64, check_seconds=0.5
    )
    expected = [say(reference, each) for each in asked]
    try:
        before = [server.metric("vllm:request_success_total") for server in servers]
        assert at_once([lambda each=each: say(engine, each) for each in asked]) == expected
        done = [
            server.metric("vllm:request_success_total") - count
            for server, count in zip(servers, before, strict=True)
        ]
        assert sum(done) == len(asked)
        assert min(done) >= len(asked) // 3
        servers[1].kill()
        answers = at_once([lambda each=each: attempt(engine, each) for each in asked])
        # An answer that had begun there is told to be broken off; all others are whole.
        assert all(answer in (None, right) for answer, right in zip(answers, expected, strict=True))
        assert [say(engine, each) for each in asked[:4]] == expected[:4]
        assert "works" in engine.health()[0]
        assert "works" not in engine.health()[1]
    finally:
        engine.close()


def attempt(engine: Engine, asked) -> Said | None:
    try:
        return say(engine, asked)
    except EngineError as error:
        assert "broke off" in str(error)  # noqa: PT017 - most answers raise nothing
        return None
