"""Many chats on one model: none mixes with another, each can be stopped, none is left behind.

python -m tests.torture.chats cross_talk 1.0
"""

import gc
import json
import random
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from PIL import Image
from transformers import LlamaModel

from minigpt4.build import build_chat
from minigpt4.chat import AnswerPart, Chat, Session
from minigpt4.config import load_config
from minigpt4.errors import BusyError, EngineError
from tests.torture.promise import ROOT, Finding, allowed, in_fresh_process
from train.cartoon.asking import dialogue
from train.cartoon.draw import draw_scene
from train.cartoon.scene import make_scene

CONFIG = ROOT / "eval_configs" / "tiny.yaml"
GREEDY = load_config(CONFIG).generation
SESSIONS, TURNS = 32, 5
GROWTH_TURNS, GROWTH_SESSIONS = 500, 200
DESCRIBE = "Describe this image in detail."


def measured(what: str) -> Callable[[float], Finding]:
    """A measurement of this module, by its name, in a process of its own."""

    def measure(share: float) -> Finding:
        found = json.loads(in_fresh_process("chats", what, str(share)))
        return Finding(found["held"], found["figure"])

    return measure


def cross_talk(share: float) -> tuple[bool, str]:
    """Sessions under load say what they say alone."""
    sessions = max(4, round(SESSIONS * share))
    asked = [_questions(seed) for seed in range(sessions)]
    alone = _chat(["engine.kind=generate"])
    expected = [_talk(alone, seed, questions) for seed, questions in enumerate(asked)]
    alone.close()
    crowded = _chat([f"limits.queue_size={sessions}"])
    with ThreadPoolExecutor(sessions) as people:
        said = list(people.map(lambda each: _talk(crowded, *each), enumerate(asked)))
    batch = crowded.statistics().engine
    crowded.close()
    different = sum(
        one != other
        for answers, others in zip(expected, said, strict=True)
        for one, other in zip(answers, others, strict=True)
    )
    together = batch.generated_tokens > 0 and len({tuple(each) for each in said}) > sessions // 2
    figure = f"{sessions} sessions x {TURNS} turns at once, {different} answers differ from alone"
    return different == 0 and together, figure


def cancelling(share: float) -> tuple[bool, str]:
    """Half of the answers are stopped: they end at once, the others are whole."""
    answers = max(6, round(20 * share))
    chat = _chat([f"limits.queue_size={answers}"])
    images = [chat.encode_image(_picture(seed)) for seed in range(answers)]
    whole = [_last(chat, Session().attach(image)).text for image in images]
    cancels = [threading.Event() for _ in images]
    began = [threading.Event() for _ in images]
    took = [0.0] * answers

    def ask(number: int) -> AnswerPart:
        last = None
        stream = chat.stream_answer(
            Session().attach(images[number]), DESCRIBE, GREEDY, cancels[number]
        )
        for last in stream:
            if last.tokens:
                began[number].set()
            if number % 2 and last.tokens >= 3 and not cancels[number].is_set():
                took[number] = time.monotonic()
                cancels[number].set()
        if number % 2:
            took[number] = time.monotonic() - took[number]
        if last is None:
            raise RuntimeError("a stream without a part")
        return last

    with ThreadPoolExecutor(answers) as people:
        ended = list(people.map(ask, range(answers)))
    stopped = [each.finish == "cancelled" for each in ended]
    exact = sum(ended[number].text == whole[number] for number in range(0, answers, 2))
    prefixes = all(whole[n].startswith(ended[n].text) for n in range(1, answers, 2))
    engine = chat.statistics().engine
    chat.close()
    slowest = max(took[1::2])
    half = answers // 2
    held = (
        stopped == [bool(number % 2) for number in range(answers)]
        and exact == answers - half
        and prefixes
        and slowest <= allowed(1)
        and engine.running == engine.waiting == 0
    )
    figure = f"{half} of {answers} stopped within {1000 * slowest:.0f} ms, {exact} others exact"
    return held, f"{figure}, {engine.running} left running"


def full_queue(share: float) -> tuple[bool, str]:
    """Beyond the limit a question is refused at once, in words; within it, it is answered."""
    del share
    chat = _chat(["limits.queue_size=4", "engine.max_answers=1"])
    images = [chat.encode_image(_picture(seed)) for seed in range(12)]
    refused: list[float] = []
    gate = threading.Barrier(len(images))

    def ask(number: int) -> str:
        gate.wait()
        began = time.monotonic()
        try:
            return _last(chat, Session().attach(images[number])).text
        except BusyError as error:
            refused.append(time.monotonic() - began)
            return f"busy: {error}"

    with ThreadPoolExecutor(len(images)) as people:
        said = list(people.map(ask, range(len(images))))
    busy = [each for each in said if each.startswith("busy: ")]
    chat.close()
    answered = len(said) - len(busy)
    slowest = max(refused, default=9.0)
    held = answered >= 5 and len(busy) >= 1 and slowest <= allowed(0.2) and "try again" in busy[0]
    return held, f"{answered} answered, {len(busy)} refused, the slowest in {1000 * slowest:.0f} ms"


def growth(share: float) -> tuple[bool, str]:
    """Memory after many turns of many sessions is what it was when the caches were full."""
    turns, sessions = round(GROWTH_TURNS * share), round(GROWTH_SESSIONS * share)
    # Small caches, so that they are full before the counting begins: filling them is no growth.
    chat = _chat(["limits.queue_size=64", "engine.cache_mb=16", "engine.picture_cache_mb=1"])
    for seed in range(40):
        _talk(chat, seed, _questions(seed))
    full = chat.statistics().engine.cache_share
    before = _megabytes()
    per_session = max(1, turns // max(1, sessions))
    done = 0
    for seed in range(100, 100 + sessions):
        done += len(_talk(chat, seed, _questions(seed)[: per_session + seed % 2]))
    grown = _megabytes() - before
    chat.close()
    held = grown <= 50 and full is not None and full > 0.9
    return held, f"{done} turns in {sessions} sessions beyond full caches: {grown:+.0f} MB"


def failing_step(share: float) -> tuple[bool, str]:
    """A step that fails is told to the sessions of that step only, and the next question works."""
    del share
    chat = _chat([])
    image = chat.encode_image(_picture(1))
    expected = _last(chat, Session().attach(image)).text
    real, broken = LlamaModel.forward, threading.Event()

    def forward(*given: object, **named: object) -> object:
        if broken.is_set():  # every time: the engine tries a failed step again, answer by answer
            raise torch.OutOfMemoryError("CUDA out of memory at /srv/weights/model.bin")
        return real(*given, **named)

    LlamaModel.forward = forward  # an engine may hold a copy of the module
    broken.set()
    told = ""
    try:
        _last(chat, Session().attach(chat.encode_image(_picture(2))))
    except EngineError as error:
        told = str(error)
    broken.clear()
    began = time.monotonic()
    after = _last(chat, Session().attach(image)).text
    seconds = time.monotonic() - began
    LlamaModel.forward = real
    chat.close()
    clean = "memory" in told and "/" not in told and "CUDA" not in told
    held = clean and after == expected and seconds <= allowed(5)
    return held, f"told {told[:45]!r}..., the next answer after {1000 * seconds:.0f} ms"


def _chat(overrides: Sequence[str]) -> Chat:
    return build_chat(load_config(CONFIG, list(overrides)))


def _picture(seed: int) -> Image.Image:
    return draw_scene(make_scene(3_000_000_000 + seed, min_things=2), 96)


def _questions(seed: int) -> list[str]:
    scene = make_scene(3_000_000_000 + seed, min_things=2)
    asked = [each.question for each in dialogue(scene, random.Random(seed), TURNS - 1)]
    return [DESCRIBE, *asked]


def _talk(chat: Chat, seed: int, questions: Sequence[str]) -> list[str]:
    session = Session().attach(chat.encode_image(_picture(seed)))
    said = []
    for question in questions:
        part = _last(chat, session, question)
        if part.session is None:
            raise RuntimeError("an answer without a session")
        session = part.session
        said.append(part.text)
    return said


def _last(chat: Chat, session: Session, question: str = DESCRIBE) -> AnswerPart:
    *_, last = chat.stream_answer(session, question, GREEDY)
    return last


def _megabytes() -> float:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


if __name__ == "__main__":
    torch.set_num_threads(2)
    held, figure = globals()[sys.argv[1]](float(sys.argv[2]))
    sys.stdout.write(json.dumps({"held": held, "figure": figure}))
