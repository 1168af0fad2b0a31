"""A crowd at one page: people who ask, stop, leave in the middle and send rubbish, for minutes.

    python -m benchmarks.load                                  64 at a time, ten minutes
    python -m benchmarks.load --people 8 --seconds 20

Starts `demo.py` with the embedded model in a process of its own. Half of the people ask through
`gradio_client`, as a script would, and half over plain HTTP, the OpenAI way. The model is greedy,
so every answer has one right text, which a serial run says first. Writes results/load.json and a
plot of the server's memory; the exit code is 1 if one answer was wrong, or the server failed once.

People who find too many waiting are refused in words; that is what a full server should do, and it
is counted. Client and server share the machine: first-token times are upper bounds.
"""

import argparse
import base64
import json
import os
import random
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "minigpt4" / "assets" / "examples"
RESULTS = ROOT / "benchmarks" / "results"
QUESTIONS = (
    "Describe this image in detail.",
    "What color is the boat?",
    "How many objects are there?",
    "What does the sign say?",
    "Is there a star?",
    "What is in the background?",
)
BUSY = "Many people are asking right now"
THINKING = (0.5, 6.0)
"""Seconds a person waits before the next question."""


@dataclass
class Tally:
    """What the people met, from all their threads."""

    met: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    first_tokens: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str, first_token: float | None = None) -> None:
        """One more of something."""
        with self.lock:
            self.met[what] += 1
            if first_token is not None:
                self.first_tokens.append(first_token)

    def check(self, asked: tuple[str, str], answer: str, expected: str) -> None:
        """A finished answer, against the one right text."""
        if answer != expected:
            with self.lock:
                self.wrong.append(f"{asked}: {answer!r}, expected {expected!r}")

    def failure(self, what: str) -> None:
        """The server did what it must never do."""
        with self.lock:
            self.failures.append(what)


@dataclass(frozen=True)
class Person:
    """One of the crowd.

    Attributes:
        url: Where the page is.
        answers: The right answer for every picture and question.
        tally: Where everything is counted.
        chance: This person's own.
    """

    url: str
    answers: dict[tuple[str, str], str]
    tally: Tally
    chance: random.Random

    def live(self, until: float, *, by_http: bool) -> None:
        """Does one thing after the other until the time is over."""
        # The server closes a connection that was idle for 5 s; who would use it at that very moment
        # meets a closed door, whatever the server. So idle ones are given up before.
        limits = httpx.Limits(keepalive_expiry=3)
        with httpx.Client(base_url=self.url, timeout=120, limits=limits) as http:
            client = None if by_http else Client(self.url, verbose=False, analytics_enabled=False)
            while time.monotonic() < until:
                does = self.chance.choices(
                    ("ask", "stop", "leave", "rubbish"), weights=(70, 10, 10, 10)
                )[0]
                try:
                    if does == "rubbish":
                        self._send_rubbish(http)
                    elif client is None:
                        self._ask_http(http, does)
                    else:
                        self._ask_gradio(client, does)
                except Exception as error:  # noqa: BLE001 - counted, whatever it is
                    self.tally.failure(f"{does}: {type(error).__name__}: {error}"[:300])
                time.sleep(self.chance.uniform(*THINKING))
            if client is not None:
                client.close()

    def _ask_gradio(self, client: Client, does: str) -> None:
        asked = self.chance.choice(sorted(self.answers))
        began = time.monotonic()
        job = client.submit(handle_file(EXAMPLES / asked[0]), asked[1], api_name="/chat")
        try:
            first = None
            answer = ""
            for text in job:
                answer = text
                first = first or time.monotonic() - began
                if does != "ask":
                    job.cancel()
                    self.tally.count("stopped")
                    return
            job.result()
        except AppError as error:
            if BUSY not in str(error):
                raise
            self.tally.count("refused, busy")
            return
        self.tally.check(asked, answer, self.answers[asked])
        self.tally.count("answered", first)

    def _ask_http(self, http: httpx.Client, does: str) -> None:
        asked = self.chance.choice(sorted(self.answers))
        began = time.monotonic()
        with http.stream("POST", "/v1/chat/completions", json=_request(*asked)) as reply:
            if reply.status_code in (429, 503):
                reply.read()
                if BUSY not in reply.text:
                    self.tally.failure(f"{reply.status_code}: {reply.text[:200]}")
                self.tally.count("refused, busy")
                return
            if reply.status_code != 200:
                reply.read()
                self.tally.failure(f"{reply.status_code}: {reply.text[:200]}")
                return
            first = None
            text = ""
            for line in reply.iter_lines():
                if not line.startswith("data: ") or line == "data: [DONE]":
                    continue
                told = json.loads(line.removeprefix("data: "))
                if "error" in told:
                    if BUSY in json.dumps(told):
                        self.tally.count("refused, busy")
                    else:
                        self.tally.failure(f"in a stream: {told}"[:300])
                    return
                piece = (told["choices"] or [{"delta": {}}])[0]["delta"].get("content") or ""
                if piece:
                    first = first or time.monotonic() - began
                    text += piece
                    if does != "ask":  # closing the connection is how one leaves
                        self.tally.count("left")
                        return
        self.tally.check(asked, text, self.answers[asked])
        self.tally.count("answered", first)

    def _send_rubbish(self, http: httpx.Client) -> None:
        chance = self.chance
        noise = chance.randbytes(chance.randrange(1, 5_000))
        picture = f"data:image/png;base64,{base64.b64encode(noise).decode()}"
        kind, send = chance.choice(
            (
                ("no JSON", lambda: http.post("/v1/chat/completions", content=noise)),
                ("no picture", lambda: http.post(
                    "/v1/chat/completions", json=_request("", "What is it?", picture))),
                ("long question", lambda: http.post(
                    "/v1/chat/completions", json=_request("harbour.png", "x" * 200_000))),
                ("unknown place", lambda: http.get(f"/{chance.getrandbits(64):x}")),
                ("unknown call", lambda: http.post("/gradio_api/call/nothing", json={"data": []})),
                ("odd upload", lambda: http.post(
                    "/gradio_api/upload", files={"files": ("../../x.png", noise)})),
                ("odd queue", lambda: http.post(
                    "/gradio_api/queue/join", json={"fn_index": -7, "data": noise.hex()})),
            )
        )  # fmt: skip
        reply = send()
        self.tally.count(f"rubbish, {kind}: {reply.status_code}")
        told_well = "Traceback" not in reply.text and str(ROOT) not in reply.text
        gradios_own = kind in (
            "unknown call",
            "odd queue",
        )  # 500 is its word for "no such function"
        if not told_well or (reply.status_code >= 500 and not gradios_own):
            self.tally.failure(f"rubbish, {kind}: {reply.status_code} {reply.text[:200]}")


def _request(picture: str, question: str, url: str = "") -> dict[str, object]:
    url = (
        url
        or "data:image/png;base64," + base64.b64encode((EXAMPLES / picture).read_bytes()).decode()
    )
    content = [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "text", "text": question},
    ]
    return {
        "model": "tiny",
        "messages": [{"role": "user", "content": content}],
        "temperature": 0,
        "stream": True,
    }


def right_answers() -> dict[tuple[str, str], str]:
    """Every question about every example picture, answered one after the other."""
    from minigpt4 import load  # brings torch, in this process only for this

    chat = load("tiny", ["engine.kind=generate"])
    return {
        (path.name, question): chat.ask(path, question)
        for path in sorted(EXAMPLES.glob("*.png"))
        for question in QUESTIONS
    }


@contextmanager
def server(port: int, log: Path) -> Iterator[tuple[str, int]]:
    """The page in a process of its own: where it is, and the number of the process."""
    command = [sys.executable, str(ROOT / "demo.py"), "--port", str(port)]
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
        try:
            url = f"http://127.0.0.1:{port}"
            _until(lambda: httpx.get(f"{url}/readyz").status_code == 200, process, log)
            yield url, process.pid
        finally:
            process.terminate()
            process.wait(60)


def _until(ready: Callable[[], bool], process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if ready():
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.5)
    raise SystemExit(f"The page did not start:\n{log.read_text()[-2000:]}")


def megabytes(process: int) -> float:
    """Memory of a process that is in use now."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def run(people: int, seconds: float, port: int) -> dict[str, object]:
    """Lets the crowd in, and says what it met."""
    answers = right_answers()
    tally = Tally()
    RESULTS.mkdir(parents=True, exist_ok=True)
    memory: list[tuple[float, float]] = []
    log = RESULTS / "load.log"
    with server(port, log) as (url, process):
        began = time.monotonic()
        crowd = [
            threading.Thread(
                target=Person(url, answers, tally, random.Random(number)).live,
                args=(began + seconds,),
                kwargs={"by_http": number % 2 == 0},
            )
            for number in range(people)
        ]
        for person in crowd:
            person.start()
        while any(person.is_alive() for person in crowd):
            memory.append((time.monotonic() - began, megabytes(process)))
            time.sleep(1)
        lasted = time.monotonic() - began
        healthy = httpx.get(f"{url}/readyz").status_code == 200
    printed = log.read_text()
    log.unlink()
    firsts = sorted(tally.first_tokens)
    warm = [amount for at, amount in memory if at > 0.25 * lasted] or [0.0]
    return {
        "people": people,
        "seconds": round(lasted, 1),
        "met": dict(sorted(tally.met.items())),
        "wrong": tally.wrong[:20],
        "failures": tally.failures[:20],
        "tracebacks_in_the_log": printed.count("Traceback"),
        "ready_at_the_end": healthy,
        "first_token_p50": round(statistics.median(firsts), 3) if firsts else None,
        "first_token_p95": round(firsts[int(0.95 * (len(firsts) - 1))], 3) if firsts else None,
        "answers_per_second": round(tally.met["answered"] / lasted, 2),
        "megabytes_after_a_quarter": round(warm[0], 1),
        "megabytes_at_the_end": round(warm[-1], 1),
        "megabytes_most": round(max(amount for _, amount in memory), 1),
        "memory": [(round(at, 1), round(amount, 1)) for at, amount in memory],
    }


def plot(found: dict[str, object], path: Path) -> None:
    """The server's memory over the time of the test."""
    import matplotlib as mpl  # only where a plot is wanted

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    times, amounts = zip(*found["memory"], strict=True)  # type: ignore[call-overload]
    figure, axes = plt.subplots(figsize=(7, 3), layout="constrained")
    axes.plot(times, amounts)
    axes.set(
        xlabel="seconds",
        ylabel="MB in use by the server",
        ylim=(0, None),
        title=f"{found['people']} people at one page",
    )
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> int:
    """Runs the test; 0 if every answer was right and the server never failed."""
    parser = argparse.ArgumentParser(description="Let a crowd loose on the page.")
    parser.add_argument("--people", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--port", type=int, default=7999)
    given = parser.parse_args()
    found = run(given.people, given.seconds, given.port)
    plot(found, RESULTS / "load.png")
    text = json.dumps(found, indent=1)
    (RESULTS / "load.json").write_text(f"{text}\n", encoding="utf-8")
    shown = {key: value for key, value in found.items() if key != "memory"}
    sys.stdout.write(f"{json.dumps(shown, indent=1)}\n")
    good = found["ready_at_the_end"] and not found["tracebacks_in_the_log"]
    return 0 if good and not found["wrong"] and not found["failures"] else 1


if __name__ == "__main__":
    sys.exit(main())
