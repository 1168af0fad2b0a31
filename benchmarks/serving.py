"""How fast answers come: our engine against others that do the same work on the same machine.

    python -m benchmarks.serving                     both sizes, about twelve minutes on two cores
    python -m benchmarks.serving --sizes 60M --repeats 3
    python -m benchmarks.serving --vllm-url http://127.0.0.1:8000 --keep models

Peers, each in a process of its own, with the same random weights and the same prompts:

- ours: `engine.kind: batching`.
- release: the way of the release, as its code is described: the whole conversation is embedded and
  read anew at every turn, one user after the other.
- instructblip: transformers' `InstructBlipForConditionalGeneration` at equal sizes.
- vllm: our `engine.kind: vllm` in front of a server that holds the language model (--keep writes
  its folder), where one is named.

They are asked in turns, repeat by repeat, and the best of each is kept: what else the machine does
hits all of them. Seconds on the clock and of the CPUs are both told. Writes results/serving.json,
serving.md and serving.png.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import machine_facts
from benchmarks.serving_models import SIZES, Size, write_model
from benchmarks.serving_report import write_report
from minigpt4.engines.sizing import thread_count

RESULTS = Path(__file__).parent / "results"
TURNS = (1, 3, 6)
CHATS = (1, 4, 8, 16)
ENCODED = (1, 8)


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured.

    Attributes:
        history: Tokens of the first turn.
        tokens: Length of an answer.
        repeats: How often everything is measured.
        chats: Numbers of chats at a time.
    """

    history: int = 1000
    tokens: int = 32
    repeats: int = 1
    chats: tuple[int, ...] = CHATS


class Asked:
    """A peer's process."""

    def __init__(self, name: str, size: Size, folder: Path, vllm_url: str | None) -> None:
        self.name = name
        command = [sys.executable, "-m", "benchmarks.serving_peer", name, size.name, str(folder)]
        command += ["--threads", str(torch.get_num_threads())]
        command += ["--vllm-url", vllm_url] if vllm_url else []
        started = time.perf_counter()
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._reply()
        self.startup = time.perf_counter() - started

    def ask(self, do: str, **given: object) -> list[list[float]]:
        """What it measured: wall and CPU seconds and tokens, one or more times."""
        if self._process.stdin is None:
            raise RuntimeError("The peer's input is closed.")
        self._process.stdin.write(json.dumps({"do": do, **given}) + "\n")
        self._process.stdin.flush()
        reply: list[list[float]] = self._reply()
        return reply

    def close(self) -> None:
        """Ends the process."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _reply(self) -> Any:  # noqa: ANN401 - JSON
        line = self._process.stdout.readline() if self._process.stdout is not None else ""
        if not line:
            message = f"The peer {self.name} ended with {self._process.wait()}."
            raise RuntimeError(message)
        return json.loads(line)


@dataclass(slots=True)
class Measured:
    """What one peer did: for every measure the best seconds, on the clock and of the CPUs.

    Attributes:
        first_token: By turn.
        tokens_per_second: By number of chats.
        decode: Tokens a second of one answer, without the first.
        encode: Seconds a picture, by pictures at a time.
        startup: Seconds until it was ready.
        peak_mb: The most memory it had.
    """

    first_token: dict[int, tuple[float, float]] = field(default_factory=dict)
    tokens_per_second: dict[int, tuple[float, float]] = field(default_factory=dict)
    decode: tuple[float, float] = (0.0, 0.0)
    encode: dict[int, tuple[float, float]] = field(default_factory=dict)
    startup: float = 0.0
    peak_mb: float = 0.0

    def add(self, peer: Asked, plan: Plan, chats: int) -> None:
        """Measures throughput once more and keeps the better."""
        [[wall, cpu, tokens]] = peer.ask("chats", chats=chats, tokens=plan.tokens)
        before = self.tokens_per_second.get(chats, (0.0, 0.0))
        self.tokens_per_second[chats] = _larger(before, (tokens / wall, tokens / cpu))

    def add_first_tokens(self, peer: Asked, plan: Plan) -> None:
        """Measures first tokens once more and keeps the better."""
        costs = peer.ask("first_token", turns=TURNS, history=plan.history)
        for turn, (wall, cpu, _) in zip(TURNS, costs, strict=True):
            before = self.first_token.get(turn, (wall, cpu))
            self.first_token[turn] = (min(before[0], wall), min(before[1], cpu))

    def add_decode(self, peer: Asked, plan: Plan) -> None:
        """Measures one answer once more and keeps the better."""
        [[wall, cpu, tokens]] = peer.ask("decode", tokens=2 * plan.tokens)
        self.decode = _larger(self.decode, (tokens / wall, tokens / cpu))

    def add_encode(self, peer: Asked) -> None:
        """Measures the picture side once more and keeps the better."""
        for pictures in ENCODED:
            [[wall, cpu, _]] = peer.ask("encode", pictures=pictures)
            new = (wall / pictures, cpu / pictures)
            before = self.encode.get(pictures, new)
            self.encode[pictures] = (min(before[0], new[0]), min(before[1], new[1]))


def _larger(before: tuple[float, float], new: tuple[float, float]) -> tuple[float, float]:
    return max(before[0], new[0]), max(before[1], new[1])


def bandwidth(size: Size, seconds: float) -> tuple[float, float]:
    """The most bytes a second at which one vector is multiplied by large matrices.

    Returns:
        By seconds on the clock and of the CPUs.
    """
    width = 4096 if size.name != "quick" else 256
    count = max(2, 2**29 // (width * width * size.dtype.itemsize)) if size.name != "quick" else 2
    matrices = [torch.ones(width, width, dtype=size.dtype) for _ in range(count)]
    vector = torch.ones(1, width, dtype=size.dtype)
    read = count * width * width * size.dtype.itemsize
    best, end = (0.0, 0.0), time.perf_counter() + seconds
    with torch.inference_mode():
        while time.perf_counter() < end:
            wall, cpu = time.perf_counter(), time.process_time()
            for matrix in matrices:
                torch.nn.functional.linear(vector, matrix)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            best = _larger(best, (read / wall, read / max(cpu, 1e-6)))
    return best


def read_bytes(size: Size) -> int:
    """Weights that one token reads: all of the language model but its table of embeddings."""
    layer = 4 * size.width**2 + 3 * size.width * size.intermediate
    return (size.depth * layer + size.vocabulary * size.width) * size.dtype.itemsize


@contextmanager
def peers(names: Sequence[str], size: Size, folder: Path, url: str | None) -> Iterator[list[Asked]]:
    """The peers' processes, started one after the other."""
    with ExitStack() as stack:
        started = []
        for name in names:
            peer = Asked(name, size, folder, url)
            stack.callback(peer.close)
            started.append(peer)
        yield started


def measure(
    size: Size, plan: Plan, folder: Path, names: Sequence[str], url: str | None
) -> dict[str, Any]:
    """Everything about one size."""
    results = {name: Measured() for name in names}
    rate = bandwidth(size, 3 if size.name != "quick" else 0.05)
    with peers(names, size, folder, url) as asked:
        for peer in asked:
            results[peer.name].startup = peer.startup
            peer.ask("chats", chats=1, tokens=4)  # the first of everything is slow
        for _ in range(plan.repeats):
            for peer in asked:
                results[peer.name].add_first_tokens(peer, plan)
            for peer in asked:
                results[peer.name].add_decode(peer, plan)
            for chats in plan.chats:
                for peer in asked:
                    results[peer.name].add(peer, plan, chats)
            for peer in asked:
                if peer.name == "ours":
                    results[peer.name].add_encode(peer)
            rate = _larger(rate, bandwidth(size, 2 if size.name != "quick" else 0.05))
        for peer in asked:
            [[_, _, kilobytes]] = peer.ask("memory")
            results[peer.name].peak_mb = kilobytes / 1024
    return {
        "plan": asdict(plan),
        "bandwidth_gb_s": [each / 1e9 for each in rate],
        "read_mb_per_token": read_bytes(size) / 1e6,
        "bandwidth_share": [
            decoded * read_bytes(size) / best
            for decoded, best in zip(results["ours"].decode, rate, strict=True)
        ],
        "peers": {
            name: {key: getattr(result, key) for key in Measured.__dataclass_fields__}
            for name, result in results.items()
        },
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and writes the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["60M", "1B"])
    parser.add_argument("--repeats", type=int, help="by default 3 for 60M and 1 for 1B")
    parser.add_argument("--tokens", type=int, default=32, help="length of an answer")
    parser.add_argument("--chats", type=int, nargs="+", default=CHATS, help="how many at a time")
    parser.add_argument("--vllm-url", help="a server that holds the language model of --keep")
    parser.add_argument("--keep", type=Path, help="folder for the models; a temporary one if none")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--add", action="store_true", help="keep other sizes of earlier results")
    parser.add_argument("--threads", type=int, default=thread_count(), help="of each peer")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    names = ["ours", "release", "instructblip", *(["vllm"] if given.vllm_url else [])]
    found: dict[str, Any] = {
        "machine": machine_facts(given.threads),
        "sizes": {},
    }
    if given.add:
        found["sizes"] = json.loads((given.out / "serving.json").read_text("utf-8"))["sizes"]
    with tempfile.TemporaryDirectory() as temporary:
        for name in given.sizes:
            size = SIZES[name]
            folder = (given.keep or Path(temporary)) / name
            if not folder.exists():
                write_model(size, folder)
            quick = name == "quick"
            plan = Plan(
                history=100 if quick else 1000,
                tokens=4 if quick else given.tokens,
                repeats=given.repeats or (3 if name == "60M" else 1),
                chats=(1, 4) if quick else tuple(given.chats),
            )
            found["sizes"][name] = measure(size, plan, folder, names, given.vllm_url)
            # What is known so far is written down before the next size begins.
            write_report(found, given.out)


if __name__ == "__main__":
    main()
