"""How fast the projection is trained: our loop against a plain one on the same parts and samples.

    python -m benchmarks.train_throughput                   two sizes, both stages, about 15 minutes
    python -m benchmarks.train_throughput --sizes tiny --turns 3
    python -m benchmarks.train_throughput --gpu-full-size   7B and ViT-g; one GPU with 40 GB or more

Ways, each in a process of its own, with the same weights and the same samples in the same steps:

- plain: one batch a step, padded to the longest sample of all; logits at every position; the vision
  encoder looks at every picture in every step.
- longest: the same, padded to the longest sample of its batch, as the release's own code does.
- ours: logits at answers alone, like lengths together, the eye in every step.
- cached: the same with `--cache-features`; making the cache is not counted, and told beside it.

They take turns, and the best turn of each is kept: what else the machine does hits all of them.
Seconds on the clock and of the CPUs are both told. What a step computes is also counted, in
floating-point operations: that figure knows no noise. All ways must have the same loss. Memory is
the most that a turn had, and how much of that came on top of the loaded model. Writes
results/train_throughput.json and train_throughput.md.

On a GPU, utilisation (MFU) is arithmetic that our loop really does, as it is counted, over
`--peak-tflops`. That mode has not been run on one yet.
"""

import argparse
import json
import multiprocessing
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine import machine_facts
from benchmarks.serving_models import write_model
from benchmarks.train_throughput_ways import SIZES, WAYS, Job, picture_path, serve
from train.cartoon.draw import draw_scene
from train.cartoon.scene import make_scene

RESULTS = Path(__file__).parent / "results"
STEPS = {"tiny": 6, "60M": 2, "quick": 2, "7B": 8}
BATCH = {"tiny": 16, "60M": 8, "quick": 4, "7B": 64}
PICTURE_SIDE = 256
STAGE_1_SAMPLES, STAGE_2_SAMPLES = 5_120_000, 4_800
LABELS = {
    "plain": "plain loop",
    "longest": "plain, padded to its batch",
    "ours": "ours",
    "cached": "ours, features cached",
}


class Asked:
    """A way's process."""

    def __init__(self, job: Job) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(job, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self._pipe.recv()

    def ask(self, what: str) -> dict[str, float]:
        """What it found."""
        self._pipe.send(what)
        found: dict[str, float] = self._pipe.recv()
        return found

    def close(self) -> None:
        """Ends the process."""
        self._pipe.send("end")
        self._process.join(timeout=30)


@contextmanager
def processes(jobs: Sequence[Job]) -> Iterator[dict[str, Asked]]:
    """One for each way, started one after the other."""
    with ExitStack() as stack:
        asked = {}
        for job in jobs:
            asked[job.way] = Asked(job)
            stack.callback(asked[job.way].close)
        yield asked


def measure(jobs: Sequence[Job], turns: int) -> dict[str, dict[str, float]]:
    """What each way costs, its best turn."""
    best: dict[str, dict[str, float]] = {}
    with processes(jobs) as asked:
        # Counting does a step of everything, of which the first is slow.
        work = {way: each.ask("work") for way, each in asked.items()}
        for _ in range(turns):
            for way, each in asked.items():
                found = each.ask("turn")
                before = best.get(way, found)
                speeds = {key: max(before[key], found[key]) for key in found if "second" in key}
                memory = {key: min(before[key], found[key]) for key in found if "_mb" in key}
                best[way] = {**found, **speeds, **memory}
    return {way: {**found, **work[way]} for way, found in best.items()}


def compare(ways: Mapping[str, dict[str, float]]) -> None:
    """How many times as fast as the first way each is."""
    first = next(iter(ways.values()))
    for found in ways.values():
        for key in ("samples_per_cpu_second", "samples_per_second"):
            found[f"times_first_{key}"] = found[key] / first[key]


def write_pictures(folder: Path, stage: int, samples: int) -> None:
    """Draws what the samples of a stage are shown with."""
    for number in range(samples):
        path = picture_path(folder, stage, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_scene(make_scene(number, max_things=5), PICTURE_SIDE).save(path, quality=90)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and writes the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["tiny", "60M"])
    parser.add_argument("--stages", nargs="+", type=int, choices=(1, 2), default=[1, 2])
    parser.add_argument("--turns", type=int, default=3, help="of each way")
    parser.add_argument("--steps", type=int, help="of a turn")
    parser.add_argument("--threads", type=int, default=1, help="of each way")
    parser.add_argument("--gpu-full-size", action="store_true", help="7B and ViT-g on a GPU")
    parser.add_argument("--peak-tflops", type=float, default=790, help="of that GPU, in bfloat16")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--add", action="store_true", help="keep other sizes of earlier results")
    given = parser.parse_args(arguments)
    if given.gpu_full_size and not torch.cuda.is_available():
        parser.error("--gpu-full-size: there is no CUDA device here.")
    sizes = ["7B"] if given.gpu_full_size else given.sizes
    found: dict[str, Any] = {
        "machine": machine_facts(given.threads),
        "turns": given.turns,
        "sizes": {},
    }
    name = "train_throughput_gpu" if given.gpu_full_size else "train_throughput"
    if given.add:
        found["sizes"] = json.loads((given.out / f"{name}.json").read_text("utf-8"))["sizes"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for size in sizes:
            steps, batch = given.steps or STEPS[size], BATCH[size]
            made = SIZES[size]
            if made is not None and size != "7B":
                write_model(made, folder / size)
            for stage in given.stages:
                write_pictures(folder, stage, steps * batch)
                device = "cuda" if given.gpu_full_size else "cpu"
                ways = ("ours", "cached") if given.gpu_full_size else WAYS
                jobs = [
                    Job(way, size, stage, steps, batch, given.threads, folder, device)
                    for way in ways
                ]
                # On a GPU one after the other: two models of this size may not fit.
                groups = [[job] for job in jobs] if given.gpu_full_size else [jobs]
                results: dict[str, dict[str, float]] = {}
                for group in groups:
                    results |= measure(group, given.turns)
                compare(results)
                if given.gpu_full_size:
                    project(results, stage, given.peak_tflops)
                entry = {"steps": steps, "batch": batch, "ways": results}
                found["sizes"].setdefault(size, {})[f"stage {stage}"] = entry
                # What is known so far is written down before the next one begins.
                write_report(found, given.out, name)


def project(ways: Mapping[str, dict[str, float]], stage: int, peak_tflops: float) -> None:
    """What the whole of a stage would take on this GPU, and the share of its arithmetic in use."""
    samples = STAGE_1_SAMPLES if stage == 1 else STAGE_2_SAMPLES
    for found in ways.values():
        rate = found["samples_per_second"]
        found["mfu"] = rate * found["gflop_per_sample"] / 1e3 / peak_tflops
        found["projected_hours"] = samples / rate / 3600


def write_report(found: Mapping[str, Any], folder: Path, name: str) -> None:
    """Writes the figures as JSON and as a page."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    (folder / f"{name}.md").write_text("\n".join(_page(found)) + "\n")


def _page(found: Mapping[str, Any]) -> Iterator[str]:
    machine = found["machine"]
    yield (
        f"{machine['threads']} thread, {machine['processor']}, torch {machine['torch']}, "
        f"transformers {machine['transformers']}; best of {found['turns']} turns. Samples a CPU "
        "second; in brackets by the clock, which also counts what else the machine did."
    )
    for size, stages in found["sizes"].items():
        for stage, entry in stages.items():
            yield from ("", f"### {size}, {stage}", "")
            yield f"{entry['steps']} steps of {entry['batch']} samples a turn."
            yield ""
            yield "| | samples/CPU s | times first | GFLOP a sample | padding | MB | grown by |"
            yield "|--|--:|--:|--:|--:|--:|--:|"
            for way, each in entry["ways"].items():
                yield (
                    f"| {LABELS[way]} | {each['samples_per_cpu_second']:.2f} "
                    f"({each['samples_per_second']:.2f}) | "
                    f"{each['times_first_samples_per_cpu_second']:.2f} "
                    f"({each['times_first_samples_per_second']:.2f}) | "
                    f"{each['gflop_per_sample']:.3g} | {each['padding_share']:.0%} | "
                    f"{each['peak_mb']:,.0f} | {each['grown_mb']:,.0f} |"
                )
            cached = entry["ways"]["cached"]
            yield ""
            yield (
                f"Making the cache took {cached['build_cpu_ms_per_picture']:.0f} CPU ms a picture."
            )
            if "mfu" in cached:
                for way, each in entry["ways"].items():
                    yield (
                        f"{LABELS[way]}: MFU {each['mfu']:.0%}, the whole stage "
                        f"{each['projected_hours']:.2f} hours."
                    )


if __name__ == "__main__":
    main()
