"""One way of training, in a process of its own: steps on the same samples, and what they cost."""

import resource
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaForCausalLM

from benchmarks.serving_models import SIZES as SERVED
from benchmarks.serving_models import TOKENIZER, Size, load_model
from minigpt4.build import build_frozen_parts
from minigpt4.config import ASSETS
from minigpt4.images import load_image, to_pixel_values
from minigpt4.models.language import LanguageModel, load_tokenizer
from minigpt4.models.minigpt4 import IGNORED, MiniGPT4, TrainingBatch, collate, place_visual_tokens
from minigpt4.models.presets import preset_named
from minigpt4.models.qformer import QFormer
from minigpt4.models.vision import VisionEncoder
from minigpt4.prompt_formats import CAPTION, TINY
from train.feature_build import open_or_build
from train.feature_cache import MadeOf, eye_digest, transform_words
from train.feature_pictures import FeaturePictures
from train.loop import backward
from train.samples import (
    Batches,
    Sample,
    Share,
    aligned_sample,
    caption_sample,
    training_seed,
)
from train.settings import CartoonSettings

WAYS = ("plain", "longest", "ours", "cached")
SIZES: dict[str, Size | None] = {
    "tiny": None,  # the embedded parts
    # The picture side has the share of the work that ViT-g has beside a 7B model in stage 1.
    "60M": replace(SERVED["60M"], picture_width=320, picture_depth=6),
    "quick": SERVED["quick"],
    "7B": Size("7B", torch.bfloat16, width=4096, depth=32, heads=32, intermediate=11008),
}
INSTRUCTIONS = ("Describe this image in detail.", "Take a look at this image and describe it.")


@dataclass(frozen=True, slots=True)
class Job:
    """What a process is to do.

    Attributes:
        way: One of `WAYS`.
        size: One of `SIZES`.
        stage: 1 or 2.
        steps: Optimiser steps of a turn, always the same ones.
        batch: Samples of a step.
        threads: Of the process.
        folder: Holds the pictures and the model's files.
        device: cpu or cuda.
    """

    way: str
    size: str
    stage: int
    steps: int
    batch: int
    threads: int
    folder: Path
    device: str = "cpu"


class Way:
    """A model, its data, and one way of training on them."""

    def __init__(self, job: Job) -> None:
        torch.set_num_threads(job.threads)
        self.job = job
        self.device = torch.device(job.device)
        self.model = _model(job).to(self.device)
        self.model.freeze()
        self._optimizer = torch.optim.AdamW(self.model.projection.parameters(), lr=1e-4)
        self._accelerator = Accelerator(cpu=job.device == "cpu")
        self._format = CAPTION if job.stage == 1 else TINY
        self.build: dict[str, float] = {}
        self._batches = Batches(self.model, self._format, self._sample_of)
        seeds = [seed for step in range(job.steps) for seed in self._seeds(step)]
        # The longest sample of all is what fixed padding pads to.
        self._longest = max(
            len(tokens.ids) for seed in seeds for tokens in [self._tokens(self._sample_of(seed))]
        )
        if job.way == "cached":
            self._build_cache(seeds)
        self._loaded = _memory(self.device)

    def turn(self) -> dict[str, float]:
        """Every step once."""
        _reset_peak(self.device)
        wall, cpu = time.perf_counter(), time.process_time()
        losses = [self._step(step) for step in range(self.job.steps)]
        samples = self.job.steps * self.job.batch
        return {
            "first_loss": losses[0],
            "samples_per_second": samples / (time.perf_counter() - wall),
            "samples_per_cpu_second": samples / (time.process_time() - cpu),
            "peak_mb": _peak(self.device),
            "grown_mb": _peak(self.device) - self._loaded,
        }

    def work(self) -> dict[str, float]:
        """Arithmetic and padding of the first step; counted, so nothing disturbs it."""
        batches = list(self._made(0))
        with FlopCounterMode(display=False) as counter:
            for batch in self._made(0):
                self._loss(batch).backward()
        self._optimizer.zero_grad()
        positions = sum(batch.ids.numel() for batch in batches)
        real = sum(int(batch.attention_mask.sum()) for batch in batches)
        return {
            "gflop_per_sample": counter.get_total_flops() / self.job.batch / 1e9,
            "padding_share": 1 - real / positions,
            **self.build,
        }

    def _step(self, step: int) -> float:
        self._optimizer.zero_grad(set_to_none=True)
        if self.job.way in ("ours", "cached"):
            loss = backward(self.model, list(self._made(step)), self._accelerator)
        else:
            (batch,) = self._made(step)
            of_batch = self._loss(batch)
            of_batch.backward()
            loss = of_batch.item()
        nn.utils.clip_grad_norm_(self.model.projection.parameters(), 1.0)
        self._optimizer.step()
        return loss

    def _made(self, step: int) -> Iterator[TrainingBatch]:
        if self.job.way in ("ours", "cached"):
            yield from self._batches.of_step(self.job.stage, step, self.job.batch, 1)
            return
        samples = [self._sample_of(seed) for seed in self._seeds(step)]
        preset = self.model.preset
        values = [
            to_pixel_values(each.load(), preset.vision.image_size, preset.mean, preset.std)
            for each in samples
        ]
        outputs = self.model.query_output(torch.stack(values))
        keys = [each.key for each in samples]
        batch = collate(
            [self._tokens(each) for each in samples],
            dict(zip(keys, outputs, strict=True)),
            self.model.language.eos_id,
        )
        yield self._padded(batch) if self.job.way == "plain" else batch

    def _padded(self, batch: TrainingBatch) -> TrainingBatch:
        more = (0, self._longest - batch.ids.shape[1])
        return TrainingBatch(
            nn.functional.pad(batch.ids, more, value=self.model.language.eos_id),
            nn.functional.pad(batch.labels, more, value=IGNORED),
            nn.functional.pad(batch.attention_mask, more),
            batch.slot_rows,
            batch.slot_starts,
            batch.query_output,
        )

    def _loss(self, batch: TrainingBatch) -> torch.Tensor:
        """The release's: logits at every position. Ours has its own in the model."""
        if self.job.way in ("ours", "cached"):
            return self.model.loss(batch)
        language = self.model.language
        embeds = place_visual_tokens(
            language.embed(batch.ids.to(self.device)),
            self.model.project(batch.query_output),
            batch.slot_rows.to(self.device),
            batch.slot_starts.to(self.device),
        )
        loss: torch.Tensor = language.model(
            inputs_embeds=embeds,
            attention_mask=batch.attention_mask.to(self.device),
            labels=batch.labels.to(self.device),
            use_cache=False,
        ).loss
        return loss

    def _seeds(self, step: int) -> list[int]:
        return Share(self.job.stage, self.job.batch, 1).seeds(step)

    def _sample_of(self, seed: int) -> Sample:
        """A generated conversation; its picture is read from a file, as in real training."""
        world = CartoonSettings()
        if self.job.stage == 1:
            drawn = caption_sample(seed, world)
        else:
            drawn = aligned_sample(seed, world, INSTRUCTIONS)
        number = seed - training_seed(self.job.stage, 0)
        path = picture_path(self.job.folder, self.job.stage, number)
        return Sample(drawn.key, drawn.conversation, partial(load_image, path))

    def _tokens(self, sample: Sample) -> Any:  # noqa: ANN401 - PromptTokens
        return self._batches._tokens(sample.conversation)  # noqa: SLF001 - the very same

    def _build_cache(self, seeds: Sequence[int]) -> None:
        samples = [self._sample_of(seed) for seed in seeds]
        pictures = FeaturePictures(
            "benchmark",
            "benchmark",
            len(samples),
            "benchmark",
            lambda place: (samples[place].key, samples[place].load()),
        )
        made_of = MadeOf(
            eye_digest(self.model),
            transform_words(self.model),
            pictures.content,
            pictures.source,
            self.model.frozen_output_shape,
        )
        folder = self.job.folder / f"features-{self.job.size}-{self.job.stage}"
        cpu = time.process_time()
        outputs = self._batches.query_outputs
        cache = open_or_build(folder, made_of, pictures, outputs, self._accelerator)
        outputs.read_from(cache)
        self.build = {"build_cpu_ms_per_picture": 1e3 * (time.process_time() - cpu) / len(samples)}


def serve(job: Job, parent: Connection) -> None:
    """Does what it is asked until it is told to end."""
    way = Way(job)
    parent.send({"ready": 1.0})
    while (asked := parent.recv()) != "end":
        parent.send(way.turn() if asked == "turn" else way.work())


def picture_path(folder: Path, stage: int, number: int) -> Path:
    """Where the picture of a sample lies."""
    return folder / "pictures" / f"{stage}-{number}.jpg"


def _model(job: Job) -> MiniGPT4:
    size = SIZES[job.size]
    torch.manual_seed(1)
    if size is None:
        tiny = ASSETS / "tiny"
        files = (tiny / "vision.safetensors", tiny / "qformer.safetensors", tiny / "language")
        model = build_frozen_parts(preset_named("tiny"), *files)
        nn.init.normal_(model.projection.weight, std=0.02)
        return model
    if job.size != "7B":
        return load_model(size, job.folder / job.size)
    # Full size: too much to go through files, so it is made where it is used.
    preset = preset_named("eva_vit_g")
    torch.set_default_dtype(size.dtype)
    with torch.device(job.device):
        causal = LlamaForCausalLM(size.language)
        vision = VisionEncoder(preset.vision)
        reader = QFormer(preset.qformer, preset.vision.width)
    torch.set_default_dtype(torch.float32)
    language = LanguageModel(causal, *load_tokenizer(TOKENIZER))
    return MiniGPT4(preset, vision, reader, language)


def _memory(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device) / 2**20
    return _status("VmRSS")


def _peak(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return _status("VmHWM")


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        Path("/proc/self/clear_refs").write_text("5")  # Linux: VmHWM begins anew


def _status(name: str) -> float:
    status = Path("/proc/self/status")
    if not status.is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    (line,) = [line for line in status.read_text().splitlines() if line.startswith(name)]
    return int(line.split()[1]) / 1024
