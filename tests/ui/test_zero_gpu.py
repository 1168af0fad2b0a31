"""A chat on ZeroGPU: every call in a forked process, arguments and results pickled.

The package that does this exists on Spaces only. What stands in for it here forks and pickles as
its wrappers do: a generator's process is told to stop when the generator is closed.
"""

import inspect
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import httpx
import pytest

from minigpt4.build import build_chat
from minigpt4.chat import Chat
from minigpt4.config import EngineConfig, GenerationSettings, load_config, locate
from minigpt4.errors import ConfigError, EngineError, PromptError
from minigpt4.images import load_image
from minigpt4.ui.zero_gpu import ZeroGpuChat, on_zero_gpu, zero_gpu_lender
from tests.ports import free_port
from tests.truth import true_answer

CONFIG = Path(__file__).parents[2] / "eval_configs" / "tiny.yaml"
GREEDY = GenerationSettings(temperature=0, max_new_tokens=60, repetition_penalty=1)
QUESTION = "What color is the boat?"
LONG = "Describe this image in detail."
FORK = multiprocessing.get_context("fork")


class Gpu:
    """``spaces.GPU``, with the processes that it started."""

    def __init__(self) -> None:
        self.processes: list[Any] = []
        self.stopped = FORK.Event()

    def __call__(self, task: Callable[..., Any]) -> Callable[..., Any]:
        assert not inspect.iscoroutinefunction(task)
        assert not inspect.isasyncgenfunction(task)
        yields = inspect.isgeneratorfunction(task)

        def one(*arguments: object, **named: object) -> Any:
            return next(self._results(task, arguments, named, yields=False))

        def many(*arguments: object, **named: object) -> Iterator[Any]:
            yield from self._results(task, arguments, named, yields=True)

        return many if yields else one

    def _results(self, task, arguments, named, *, yields):
        given = pickle.dumps((arguments, named))
        mine, theirs = FORK.Pipe(duplex=False)
        stop = FORK.Event()

        def child() -> None:
            arguments, named = pickle.loads(given)
            results = task(*arguments, **named) if yields else [task(*arguments, **named)]
            for result in results:
                if stop.is_set():
                    results.close()
                    self.stopped.set()
                    break
                theirs.send_bytes(pickle.dumps(result))
            theirs.close()

        process = FORK.Process(target=child)
        process.start()
        theirs.close()
        self.processes.append(process)
        try:
            while True:
                try:
                    yield pickle.loads(mine.recv_bytes())
                except EOFError:
                    return
        finally:
            stop.set()
            mine.close()
            process.join(60)


@pytest.fixture(scope="module")
def chat() -> Iterator[Chat]:
    chat = build_chat(load_config(CONFIG, ["device=cpu", "engine.kind=generate"]))
    yield chat
    chat.close()


@pytest.mark.load
def test_a_conversation_in_processes_that_remember_nothing(chat):
    gpu = Gpu()
    lent = ZeroGpuChat(chat, gpu)
    harbour = load_image(locate("assets:examples/harbour.png"))
    session = lent.new_session()
    for image in lent.encode_images([harbour]):
        session = session.attach(image)
    for question in (QUESTION, "How big is it?"):
        before = chat.statistics()
        parts = list(lent.stream_answer(session, question, GREEDY))
        assert chat.statistics() == before  # nothing ran here
        session = parts[-1].session
    assert [turn.answer for turn in session.conversation.turns] == [
        true_answer("harbour", QUESTION),
        true_answer("harbour", "How big is it?", about="boat"),
    ]
    assert len(gpu.processes) == 3
    (first,) = session.images.values()
    assert first.visual_tokens.device.type == "cpu"
    *_, other = lent.stream_answer(session, LONG, GREEDY, projection="Stage 1")
    *_, here = chat.stream_answer(session, LONG, GREEDY, projection="Stage 1")
    assert other.text == here.text  # the projections went with the fork


@pytest.mark.load
def test_stop_keeps_the_text_and_ends_the_process(chat):
    gpu = Gpu()
    lent = ZeroGpuChat(chat, gpu)
    (image,) = lent.encode_images([load_image(locate("assets:examples/harbour.png"))])
    cancel = threading.Event()
    parts = []
    for part in lent.stream_answer(lent.new_session().attach(image), LONG, GREEDY, cancel):
        parts.append(part)
        if part.tokens >= 3:
            cancel.set()
    last = parts[-1]
    assert last.finish == "cancelled"
    turn = last.session.conversation.turns[-1]
    assert (turn.question, turn.answer) == (LONG, last.text)
    assert last.text
    assert last.text != "The image shows four objects"
    assert last.session.pending == ()
    assert not gpu.processes[-1].is_alive()


def test_errors_come_out_in_words(chat):
    lent = ZeroGpuChat(chat, Gpu())
    with pytest.raises(PromptError, match="2,000"):
        list(lent.stream_answer(lent.new_session(), "x" * 2001, GREEDY))

    def used_up(*_: object, **__: object) -> None:
        raise gr.Error('You have exceeded your GPU quota. <a href="x">Subscribe</a>')

    refused = ZeroGpuChat(chat, lambda _: used_up)
    with pytest.raises(EngineError, match=r"^You have exceeded your GPU quota\. Subscribe$"):
        list(refused.stream_answer(lent.new_session(), QUESTION, GREEDY))
    with pytest.raises(EngineError, match="quota"):
        refused.encode_images([])


def test_where_it_is_used(monkeypatch):
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    assert not on_zero_gpu()
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    assert on_zero_gpu()
    config = load_config(CONFIG)
    with pytest.raises(ConfigError, match=r"engine\.kind: 'batching' given"):
        zero_gpu_lender(config)
    config = replace(config, engine=EngineConfig(kind="generate"))
    monkeypatch.setitem(sys.modules, "spaces", None)
    with pytest.raises(ConfigError, match="spaces is missing"):
        zero_gpu_lender(config)
    spaces = types.ModuleType("spaces")
    spaces.GPU = object()
    monkeypatch.setitem(sys.modules, "spaces", spaces)
    assert zero_gpu_lender(config) is spaces.GPU


SPACE = """\
import sys, types
spaces = types.ModuleType("spaces")
def GPU(task):
    assert "gradio" not in sys.modules or not LAUNCHED
    sys.stderr.write(f"lent {task.__name__}\\n")
    return task
spaces.GPU = GPU
sys.modules["spaces"] = spaces
LAUNCHED = []
import gradio
launch = gradio.Blocks.launch
def launched(self, *arguments, **named):
    LAUNCHED.append(True)
    sys.stderr.write("launched\\n")
    return launch(self, *arguments, **named)
gradio.Blocks.launch = launched
import demo
sys.exit(demo.main(sys.argv[1:]))
"""


@pytest.mark.load
def test_a_space_loads_before_it_opens_the_page(request):
    port = free_port()
    flags = f"--port {port} --host 127.0.0.1 --set engine.kind=generate --device cpu"
    process = subprocess.Popen(
        [sys.executable, "-c", SPACE, *flags.split()],
        cwd=CONFIG.parents[1],
        env={**os.environ, "SPACES_ZERO_GPU": "true", "SPACE_ID": "somebody/minigpt4"},
        stderr=subprocess.PIPE,
        text=True,
    )
    request.addfinalizer(process.kill)
    said = []
    for line in process.stderr:
        said.append(line.strip())
        if "ready" in line:
            break
    assert said.count("lent lent") == 4, said
    assert said.index("launched") > max(n for n, line in enumerate(said) if line == "lent lent")
    body = {"model": "tiny", "messages": [{"role": "user", "content": "What color is the car?"}]}
    answer = httpx.post(
        f"http://127.0.0.1:{port}/v1/chat/completions", json=body, timeout=100, trust_env=False
    )
    assert "can't see a picture" in answer.json()["choices"][0]["message"]["content"]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 0
