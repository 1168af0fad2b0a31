"""Stage 0: the parts that the paper takes ready-made, at tiny size and from nothing.

1. A tokenizer and a language model, on the synthetic world's sentences.
2. A vision encoder and a Q-Former, on its pictures; they do not need the language model, so the two
   run side by side.
3. The Q-Former once more, through a throwaway projection into the frozen language model.

What comes out are the parts that the settings of stages 1 and 2 name under `model`.
"""

import json
import logging
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch

from minigpt4.checkpoints.native import save_part
from minigpt4.models.language import load_language_model
from train.cartoon.scene import make_scene
from train.embedded.steps import Report
from train.tiny.bridge import Bridge, BridgeSettings, train_bridge
from train.tiny.language import HELD_OUT_SEEDS, LanguageSettings, train_language
from train.tiny.tokenizer import train_tokenizer
from train.tiny.vision import Eye, VisionSettings, score, train_vision

logger = logging.getLogger(__name__)


def run(
    output: Path,
    language: LanguageSettings | None = None,
    vision: VisionSettings | None = None,
    bridge: BridgeSettings | None = None,
) -> None:
    """Makes the parts, going on from where an earlier run in the same folder stopped.

    Args:
        output: Receives vision.safetensors, qformer.safetensors, language/ and the runs' states.
        language: Sizes, data and schedule of the language model.
        vision: Those of the vision encoder and the Q-Former.
        bridge: Those of the third step.
    """
    language, vision = language or LanguageSettings(), vision or VisionSettings()
    threads = max(1, (os.cpu_count() or 2) // 2)
    # Started afresh, not forked: a forked child inherits torch's threads in an unknown state.
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        jobs = (
            pool.submit(_make_language, output, language, threads),
            pool.submit(_make_vision, output, vision, threads),
        )
        for job in jobs:
            job.result()
    make_bridge(output, vision, bridge or BridgeSettings())


def _make_language(output: Path, settings: LanguageSettings, threads: int) -> None:
    _begin_process(threads)
    folder = output / "language"
    if not (folder / "tokenizer.model").is_file():
        train_tokenizer(folder)
    train_language(folder, settings, output / "state-language.pt", _reporter(output, "language"))


def _make_vision(output: Path, settings: VisionSettings, threads: int) -> None:
    _begin_process(threads)
    number = settings.held_out_scenes
    held_out = [
        make_scene(seed, held_out=bool(seed % 2))
        for seed in range(HELD_OUT_SEEDS, HELD_OUT_SEEDS + number)
    ]
    report = _reporter(output, "vision")
    eye = train_vision(settings, output / "state-vision.pt", held_out, report)
    torch.save(eye.state_dict(), output / "eye.pt")


def _begin_process(threads: int) -> None:
    torch.set_num_threads(threads)
    logging.basicConfig(level=logging.INFO, format="%(message)s")


def make_bridge(output: Path, vision: VisionSettings, settings: BridgeSettings) -> None:
    """Runs the third step on what the first two left in the folder, and saves the parts."""
    eye = Eye(vision.preset)
    eye.load_state_dict(torch.load(output / "eye.pt", weights_only=True))
    eye.eval()
    language = load_language_model(output / "language", torch.float32)
    bridge = Bridge(eye.qformer, eye.query_heads, language.width)
    held_out = [make_scene(HELD_OUT_SEEDS + number) for number in range(200)]

    def report(scores: dict[str, float]) -> None:
        eye.eval()
        _reporter(output, "bridge")({**scores, **score(eye, held_out, vision.preset)})
        bridge.train()

    train_bridge(
        eye.vision, bridge, language, settings, state=output / "state-bridge.pt", report=report
    )
    eye.eval()
    save_part(output / "vision.safetensors", eye.vision, "vision", preset=vision.preset.name)
    save_part(output / "qformer.safetensors", eye.qformer, "qformer", preset=vision.preset.name)


def _reporter(output: Path, name: str) -> Report:
    log = output / f"scores-{name}.jsonl"

    def report(scores: dict[str, float]) -> None:
        rounded = {key: round(value, 4) for key, value in scores.items()}
        with log.open("a") as lines:
            lines.write(json.dumps(rounded) + "\n")
        logger.info("%s %s", name, rounded)

    return report
