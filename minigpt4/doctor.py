"""Says whether a demo would start, without loading it: what is there, what fits, what it needs.

It reads headers and settings only, needs no torch and no network beyond the vLLM servers of the
configuration, and takes a second or two.
"""

import importlib.metadata
import importlib.util
import platform
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx

from minigpt4.checkpoints.configured import (
    PARTS,
    check_own_parts,
    check_settings,
    plan_paths,
    references_of,
)
from minigpt4.checkpoints.files import Header, check_sha256, read_header
from minigpt4.checkpoints.hub import find
from minigpt4.checkpoints.language_files import inspect_language
from minigpt4.checkpoints.memory import available_memory, check_fits, in_gib
from minigpt4.checkpoints.plan import Plan
from minigpt4.config import Config, load_config, locate
from minigpt4.errors import CheckpointError, ConfigError, MiniGPT4Error
from minigpt4.models.presets import Preset, preset_named
from minigpt4.references import Reference, published_at

State = Literal["ok", "warning", "wrong"]
PACKAGES = ("torch", "transformers", "timm", "sentencepiece", "safetensors", "gradio", "pillow")
_QUICK_TO_READ = 64 * 2**20  # of larger files, checksums are compared at the start only
_LICENCES: tuple[tuple[str, str], ...] = (
    ("eva_vit_g", "EVA-CLIP: MIT"),
    ("blip2", "BLIP-2: BSD-3-Clause"),
    ("rained_minigpt4", "MiniGPT-4: BSD-3-Clause"),
    ("llama-2", "Llama 2 Community License"),
    ("llama2", "Llama 2 Community License"),
    ("v1.5", "Llama 2 Community License"),
    ("vicuna", "LLaMA 1: non-commercial"),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        state: Whether the demo can start with it.
        what: The part or the thing that was looked at.
        said: What was found, in a few words.
    """

    state: State
    what: str
    said: str


@dataclass(frozen=True, slots=True)
class Report:
    """All lines of a report."""

    findings: tuple[Finding, ...]

    @property
    def would_start(self) -> bool:
        """Whether the demo would start."""
        return all(finding.state != "wrong" for finding in self.findings)

    def __str__(self) -> str:
        marks = {"ok": "ok     ", "warning": "warning", "wrong": "WRONG  "}
        width = max((len(finding.what) for finding in self.findings), default=0)
        lines = []
        for finding in self.findings:
            first, *rest = finding.said.splitlines() or [""]
            lines.append(f"{marks[finding.state]}  {finding.what:<{width}}  {first}")
            lines += [" " * (width + 11) + line for line in rest]
        verdict = "The demo would start." if self.would_start else "The demo would not start."
        return "\n".join([*lines, "", verdict])


def examine(path: Path | str, overrides: Sequence[str] = ()) -> Report:
    """Looks at everything a configuration needs.

    Args:
        path: The configuration's file.
        overrides: Settings that win over the file's.
    """
    try:
        config = load_config(path, overrides)
        preset = preset_named(config.model.preset)
        references = references_of(config, preset)
    except MiniGPT4Error as error:
        return Report((Finding("wrong", "configuration", str(error)),))
    findings = [Finding("ok", "configuration", str(path))]
    found = {key: find(reference) for key, reference in references.items()}
    findings += _parts(references, found)
    paths = {key: place for key, place in found.items() if place is not None}
    whole = all(each.state != "wrong" for each in findings) and len(paths) == len(references)
    gpus = _gpus()
    misfits = list(_device(config, preset, gpus))
    findings += misfits
    if whole:
        findings += _model(config, preset, paths, gpus, device_fits=not misfits)
    findings += _examples(config)
    findings += _servers(config)
    findings += _machine(config, gpus)
    return Report(tuple(findings))


def _servers(config: Config) -> Iterator[Finding]:
    """Whether the vLLM servers of a configuration are there; one of them is enough to start."""
    urls = config.engine.urls
    well = {url: _is_well(url) for url in urls}
    for number, url in enumerate(urls, start=1):
        what = "vLLM server" if len(urls) == 1 else f"vLLM server {number}"
        if well[url]:
            yield Finding("ok", what, f"{url}: it is well; its model is checked at the start")
        else:
            state: State = "warning" if any(well.values()) else "wrong"
            yield Finding(state, what, f"{url}: no answer. docs/scale.md says how to start one")


def _is_well(url: str) -> bool:
    base = url.rstrip("/").removesuffix("/v1")
    try:
        return httpx.get(f"{base}/health", timeout=5, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _parts(
    references: Mapping[str, Reference], found: Mapping[str, Path | None]
) -> Iterator[Finding]:
    for key, reference in references.items():
        name = key.removeprefix("model.")
        path = found[key]
        if path is None and not reference.local:
            yield Finding("warning", name, f"{reference.text}: not here yet, will be downloaded")
        elif path is None:
            place = published_at(locate(reference.local).name)
            cure = f"\nget it from {place}" if place else ""
            yield Finding("wrong", name, f"{locate(reference.local)} is missing{cure}")
        else:
            yield _part(name, path, reference.sha256)


def _part(name: str, path: Path, sha256: str) -> Finding:
    try:
        if sha256 and path.stat().st_size <= _QUICK_TO_READ:
            check_sha256(path, sha256)
        if name == PARTS[2]:
            language = inspect_language(path)
            header = language.header
            said = (
                f"width {language.width}, {language.layers} layers, {language.vocabulary:,} tokens,"
                f" context {language.context:,}"
            )
        else:
            header = read_header(path)
            said = f"{len(header.tensors):,} tensors"
    except CheckpointError as error:
        return Finding("wrong", name, str(error))
    size = sum(part.stat().st_size for part in set(header.shards.values()))
    licence = _licence(path)
    return Finding("ok", name, f"{path.name}: {in_gib(size)}, {_dtypes(header)}, {said}{licence}")


def _dtypes(header: Header) -> str:
    numbers: dict[str, int] = {}
    for info in header.tensors.values():
        numbers[info.dtype] = numbers.get(info.dtype, 0) + info.numbers
    return max(numbers, key=lambda dtype: numbers[dtype], default="?")


def _licence(path: Path) -> str:
    name = path.name.lower()
    return next((f" ({licence})" for mark, licence in _LICENCES if mark in name), "")


def _model(
    config: Config,
    preset: Preset,
    paths: Mapping[str, Path],
    gpus: Sequence["Gpu"],
    *,
    device_fits: bool,
) -> Iterator[Finding]:
    """Whether the parts belong together, and whether they fit into memory."""
    try:
        if preset.vision.architecture != "eva":
            warnings = check_own_parts(config, preset, paths)
            yield Finding("ok", "together", f"prompt format {config.model.prompt_format}")
            yield from (Finding("warning", "together", warning) for warning in warnings)
            return
        plan = plan_paths(config, preset, paths)
    except MiniGPT4Error as error:
        yield Finding("wrong", "together", str(error))
        return
    vision = plan.preset.vision
    widths = f"{plan.preset.query_width} to {plan.language.width}"
    yield Finding(
        "ok",
        "together",
        f"{vision.width} x {vision.depth} vision, {vision.image_size} pixels, projection "
        f"{widths}, prompt format {config.model.prompt_format}",
    )
    for warning in plan.warnings:
        yield Finding("warning", "together", warning)
    if device_fits:
        yield _memory(config, plan, gpus)


def _on_gpu(config: Config, gpus: Sequence["Gpu"]) -> bool:
    return bool(gpus) if config.device == "auto" else config.device.startswith("cuda")


def _gpu_index(config: Config) -> int:
    return int(config.device.partition(":")[2] or 0)


def _device(config: Config, preset: Preset, gpus: Sequence["Gpu"]) -> Iterator[Finding]:
    """What the device lacks that the settings ask for."""
    device, on_gpu = config.device, _on_gpu(config, gpus)
    if on_gpu and not gpus:
        yield Finding("wrong", "device", f"device: {device} given; no CUDA device was found")
    elif on_gpu and _gpu_index(config) >= len(gpus):
        said = f"device: {device} given; there are {len(gpus)} CUDA devices"
        yield Finding("wrong", "device", said)
    elif device == "mps" and platform.system() != "Darwin":
        yield Finding("wrong", "device", "device: mps given; this machine has no Apple GPU")
    elif not on_gpu and config.quantize != "none":
        said = f"quantize: {config.quantize} works on a CUDA device only"
        yield Finding("wrong", "device", said)
    try:
        check_settings(config, preset, on_gpu=on_gpu)
    except ConfigError as error:
        yield Finding("wrong", "settings", str(error))


def _memory(config: Config, plan: Plan, gpus: Sequence["Gpu"]) -> Finding:
    on_gpu = _on_gpu(config, gpus)
    free: float = available_memory() or float("inf")
    if on_gpu:
        free = sum(gpu.free for gpu in gpus) if config.spread else gpus[_gpu_index(config)].free
    precision = "bfloat16" if config.precision == "auto" else config.precision
    try:
        needed = check_fits(
            plan,
            precision,
            config.quantize,
            free,
            on_gpu=on_gpu,
            context=config.limits.max_context_tokens,
            served=config.engine.kind == "vllm",
        )
    except ConfigError as error:
        return Finding("wrong", "memory", str(error))
    said = (
        f"needs about {in_gib(needed.total)} (weights {in_gib(needed.weights)}, context "
        f"{in_gib(needed.cache)}), {in_gib(free)} free on {'the GPU' if on_gpu else 'the CPU'}"
    )
    return Finding("ok", "memory", said)


def _examples(config: Config) -> Iterator[Finding]:
    for example in config.page.examples:
        if not locate(example.picture).is_file():
            yield Finding("wrong", "example", f"{example.picture} is missing")


@dataclass(frozen=True, slots=True)
class Gpu:
    """A CUDA device as the driver tells it.

    Attributes:
        name: Of the product.
        free: Bytes of its memory that are free.
    """

    name: str
    free: int


def _gpus() -> tuple[Gpu, ...]:
    """The CUDA devices, asked of the driver's own tool: torch takes seconds to import."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ()
    query = [tool, "--query-gpu=name,memory.free", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=2, check=True)  # noqa: S603 - a fixed command
    except (OSError, subprocess.SubprocessError):
        return ()
    rows = (line.rpartition(",") for line in done.stdout.splitlines())
    return tuple(
        Gpu(name.strip(), int(free) * 2**20) for name, _, free in rows if free.strip().isdigit()
    )


def _machine(config: Config, gpus: Sequence[Gpu]) -> Iterator[Finding]:
    named = ", ".join(f"{gpu.name} ({in_gib(gpu.free)} free)" for gpu in gpus)
    memory = f"{in_gib(available_memory())} of memory free"
    yield Finding("ok", "device", f"{config.device}: {named or 'no CUDA device'}, {memory}")
    python = platform.python_version()
    yield Finding("ok", "versions", ", ".join([f"python {python}", *_versions()]))
    absent = [name for name in PACKAGES if not _version(name)]
    if absent:
        yield Finding("wrong", "versions", f"not installed: {', '.join(absent)}")
    if config.quantize != "none" and importlib.util.find_spec("bitsandbytes") is None:
        yield Finding("wrong", "versions", "quantize needs bitsandbytes: pip install bitsandbytes")


def _versions() -> Iterator[str]:
    for name in PACKAGES:
        if version := _version(name):
            yield f"{name} {version}"


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
