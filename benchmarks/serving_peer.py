"""One peer of the serving benchmark in a process of its own; `benchmarks.serving` asks it.

It says in a line of JSON that it is ready, then answers each line that it reads with one.
"""

import argparse
import json
import resource
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TextIO

import torch
from transformers import GenerationConfig
from transformers.generation.streamers import BaseStreamer

from benchmarks.serving_models import QUERIES, SIZES, Size, load_instructblip, load_model
from minigpt4.config import GenerationSettings
from minigpt4.conversation import ImageSlot, Prompt, SpecialToken, Text
from minigpt4.engines.base import Engine
from minigpt4.engines.batching import new_batching_engine
from minigpt4.engines.vllm import VllmEngine
from minigpt4.models.language import LanguageModel, load_tokenizer
from minigpt4.models.minigpt4 import MiniGPT4, tokenize_prompt

HISTORY_TOKENS = 1000
ONE_AFTER_ANOTHER = 4
"""A peer that answers one at a time is as fast for 16 chats as for 4; so many are measured."""
_SPEAKERS = 8


@dataclass(frozen=True, slots=True)
class Cost:
    """What something took.

    Attributes:
        wall: Seconds on the clock.
        cpu: Seconds of all CPUs together.
        tokens: Tokens written.
    """

    wall: float
    cpu: float
    tokens: int = 0


def cost(work: Callable[[], int]) -> Cost:
    """Runs something that says how many tokens it wrote."""
    wall, cpu = time.perf_counter(), time.process_time()
    tokens = work()
    return Cost(time.perf_counter() - wall, time.process_time() - cpu, tokens)


class Peer(Protocol):
    """What every peer can do.

    Attributes:
        language: Its language model and tokenizer.
    """

    language: LanguageModel

    def first_token(self, prompt: Prompt) -> Cost:
        """The time to the first token of an answer."""
        ...

    def chats(self, prompts: Sequence[Prompt], tokens: int) -> Cost:
        """Answers of so many tokens to all prompts."""
        ...

    def decode(self, prompt: Prompt, tokens: int) -> Cost:
        """An answer without its first token."""
        ...


class Ours:
    """One of our engines."""

    def __init__(self, model: MiniGPT4, engine: Engine) -> None:
        self.language = model.language
        self._engine = engine
        torch.manual_seed(3)
        self._picture = torch.randn(model.queries, model.language.width) * 0.02

    def first_token(self, prompt: Prompt) -> Cost:
        """See `Peer`."""
        return self._answer(prompt, 8)[0]

    def decode(self, prompt: Prompt, tokens: int) -> Cost:
        """See `Peer`."""
        return self._answer(prompt, tokens)[1]

    def chats(self, prompts: Sequence[Prompt], tokens: int) -> Cost:
        """See `Peer`."""

        def work() -> int:
            with ThreadPoolExecutor(len(prompts)) as threads:
                return sum(threads.map(lambda prompt: self._answer(prompt, tokens)[2], prompts))

        return cost(work)

    def _answer(self, prompt: Prompt, tokens: int) -> tuple[Cost, Cost, int]:
        wall, cpu = time.perf_counter(), time.process_time()
        first, written = Cost(0, 0), 0
        pictures = {
            piece.key: self._picture + 0.001 * int(piece.key)
            for piece in prompt.pieces
            if isinstance(piece, ImageSlot)
        }
        settings = GenerationSettings(
            max_new_tokens=tokens, temperature=0, repetition_penalty=1, top_p=1
        )
        for step in self._engine.stream(prompt, pictures, settings, (), threading.Event()):
            written = step.tokens
            if written and not first.tokens:
                first = Cost(time.perf_counter() - wall, time.process_time() - cpu, 1)
        rest = Cost(
            time.perf_counter() - wall - first.wall,
            time.process_time() - cpu - first.cpu,
            written - 1,
        )
        return first, rest, written


class FirstToken(BaseStreamer):
    """Takes the time when `generate` has its first token."""

    def __init__(self) -> None:
        self._puts = 0
        self.wall = self.cpu = 0.0

    def put(self, value: torch.Tensor) -> None:
        """Called with the prompt, then with each token."""
        del value
        self._puts += 1
        if self._puts == 2:
            self.wall, self.cpu = time.perf_counter(), time.process_time()

    def end(self) -> None:
        """Called after the last token."""


class OneAfterAnother:
    """A peer that runs `generate` over the whole conversation at every turn."""

    def __init__(
        self, language: LanguageModel, generate: Callable[[Prompt, int, BaseStreamer | None], int]
    ) -> None:
        self.language = language
        self._generate = generate

    def first_token(self, prompt: Prompt) -> Cost:
        """See `Peer`."""
        return cost(lambda: self._generate(prompt, 1, None))

    def decode(self, prompt: Prompt, tokens: int) -> Cost:
        """See `Peer`."""
        first = FirstToken()
        self._generate(prompt, tokens, first)
        wall, cpu = time.perf_counter(), time.process_time()
        return Cost(wall - first.wall, cpu - first.cpu, tokens - 1)

    def chats(self, prompts: Sequence[Prompt], tokens: int) -> Cost:
        """See `Peer`."""
        asked = prompts[:ONE_AFTER_ANOTHER]
        return cost(lambda: sum(self._generate(prompt, tokens, None) for prompt in asked))


def greedy(tokens: int) -> GenerationConfig:
    """Transformers' settings for an answer of exactly so many tokens."""
    config: Any = GenerationConfig  # its constructor has no types
    made: GenerationConfig = config(max_new_tokens=tokens, do_sample=False, pad_token_id=2)
    return made


def release(size: Size, folder: Path) -> Peer:
    """The release's way: embeds the whole conversation, then reads it from the start."""
    model = load_model(size, folder)
    torch.manual_seed(3)
    picture = torch.randn(model.queries, model.language.width) * 0.02

    def generate(prompt: Prompt, tokens: int, streamer: BaseStreamer | None) -> int:
        keys = [piece.key for piece in prompt.pieces if isinstance(piece, ImageSlot)]
        embeds = model.embed_prompt(prompt, dict.fromkeys(keys, picture))
        mask = torch.ones(embeds.shape[:2], dtype=torch.long)
        causal: Any = model.language.model
        ids = causal.generate(
            inputs_embeds=embeds,
            attention_mask=mask,
            generation_config=greedy(tokens),
            streamer=streamer,
        )
        return int(ids.shape[1])

    return OneAfterAnother(model.language, generate)


def instructblip(size: Size, folder: Path) -> Peer:
    """Transformers' own model of the kind, used as its documentation shows."""
    model: Any = load_instructblip(size, folder)
    language = LanguageModel(model.language_model, *load_tokenizer(folder / "language"))
    pixels = torch.zeros(1, 3, size.image_size, size.image_size, dtype=size.dtype)
    question = torch.randint(5, 900, (1, 12))

    def generate(prompt: Prompt, tokens: int, streamer: BaseStreamer | None) -> int:
        tokenised = tokenize_prompt(prompt, language, QUERIES)
        ids = torch.tensor([tokenised.ids])
        for start, _ in tokenised.slots:
            ids[0, start : start + QUERIES] = size.vocabulary - 1
        out = model.generate(
            pixel_values=pixels,
            qformer_input_ids=question,
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            generation_config=greedy(tokens),
            streamer=streamer,
        )
        return int(out.shape[1] - ids.shape[1])

    return OneAfterAnother(language, generate)


def turn_prompt(language: LanguageModel, number: int, turn: int, history: int) -> Prompt:
    """The prompt of a turn, from 1, of a chat that began with so many tokens."""
    word = " sand"
    length = len(language.encode(word * 50)) / 50
    words = int((history - QUERIES) / length)
    pieces = [SpecialToken("bos"), Text(f"{number} "), ImageSlot(str(number))]
    pieces.append(Text(word * words))
    for past in range(1, turn):
        pieces += [Text(f" what is {past}?"), Text(" it is a red circle" * 4)]
    return Prompt((*pieces, Text(f" what is {turn}?")))


def chat_prompt(language: LanguageModel, number: int) -> Prompt:
    """A short question about a picture."""
    return turn_prompt(language, number, 1, 2 * QUERIES)


def encode(model: MiniGPT4, size: Size, pictures: int) -> Cost:
    """The time to look at so many pictures at once."""
    pixels = torch.zeros(pictures, 3, size.image_size, size.image_size)
    return cost(lambda: int(model.encode_images(pixels).shape[0]))


def peak_kilobytes() -> int:
    """The most memory this process had; what its parent had before does not count."""
    try:
        status = Path("/proc/self/status").read_text("utf-8").splitlines()
    except OSError:  # no Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))


def serve(peer: Peer, model: MiniGPT4 | None, size: Size, replies: TextIO) -> None:
    """Answers commands until there are no more."""
    language = peer.language
    numbers = iter(range(1, 1_000_000))
    for line in sys.stdin:
        command = json.loads(line)
        match command["do"]:
            case "first_token":
                number = next(numbers)
                # A peer that keeps nothing need not be asked for the turns between.
                turns = command["turns"]
                asked = range(1, max(turns) + 1) if isinstance(peer, Ours) else turns
                costs = {
                    turn: peer.first_token(turn_prompt(language, number, turn, command["history"]))
                    for turn in asked
                }
                result = [costs[turn] for turn in turns]
            case "chats":
                prompts = [chat_prompt(language, next(numbers)) for _ in range(command["chats"])]
                result = [peer.chats(prompts, command["tokens"])]
            case "decode":
                result = [peer.decode(chat_prompt(language, next(numbers)), command["tokens"])]
            case "encode" if model is not None:
                result = [encode(model, size, command["pictures"])]
            case _:
                result = [Cost(0, 0, peak_kilobytes())]
        reply = [[each.wall, each.cpu, each.tokens] for each in result]
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


def load_peer(
    name: str, size: Size, folder: Path, vllm_url: str | None
) -> tuple[Peer, MiniGPT4 | None]:
    """A peer, and our model if it is ours."""
    if name == "release":
        return release(size, folder), None
    if name == "instructblip":
        return instructblip(size, folder), None
    model = load_model(size, folder)
    engine: Engine
    if name == "vllm":
        engine = VllmEngine(model, [vllm_url or ""], places=16)
    else:
        engine = new_batching_engine(model, free_bytes=8 * 2**30, context_tokens=2048)
    return Ours(model, engine), model


def main() -> None:
    """Loads the peer and serves."""
    parser = argparse.ArgumentParser()
    parser.add_argument("peer")
    parser.add_argument("size")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--vllm-url")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    size, replies = SIZES[given.size], sys.stdout
    with redirect_stdout(sys.stderr), torch.inference_mode():
        peer, model = load_peer(given.peer, size, given.folder, given.vllm_url)
        replies.write(json.dumps("ready") + "\n")
        replies.flush()
        serve(peer, model, size, replies)


if __name__ == "__main__":
    main()
