"""How fast the embedded default answers, and how much it weighs."""

import io
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from minigpt4.build import build_engine
from minigpt4.chat import Chat
from minigpt4.config import Config, GenerationSettings
from minigpt4.encoder import PictureEncoder
from minigpt4.models.minigpt4 import MiniGPT4
from minigpt4.prompt_formats import TINY
from train.cartoon.draw import draw_scene
from train.cartoon.scene import MAX_THINGS, make_scene
from train.tiny.evaluate import FIRST_SEED

_SIDE = 640  # of an uploaded picture
_QUESTION = "Describe this image in detail."


def speed_of(
    model: MiniGPT4, config: Config, *, threads: int = 2, pictures: int = 15
) -> dict[str, float]:
    """Measures answers through the chat that the page uses.

    Args:
        model: Answers.
        config: Which engine writes; of the rest nothing is read.
        threads: Of the processor.
        pictures: How many are described, each seen for the first time.

    Returns:
        Medians: `first_token_ms` from a picture's bytes to the first token of its description,
        `tokens_per_second` after that.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    engine, context_tokens = build_engine(config, model)
    encoder = PictureEncoder(model, cache_bytes=2**20)
    chat = Chat(model, engine, TINY, encoder=encoder, context_tokens=context_tokens)
    firsts, rates = [], []
    try:
        for index in range(pictures + 1):
            file = io.BytesIO()
            scene = make_scene(FIRST_SEED + index, min_things=MAX_THINGS)
            draw_scene(scene, _SIDE).save(file, "PNG")
            first, rate = _asked(chat, file.getvalue())
            if index:  # the first of everything is slow
                firsts.append(first)
                rates.append(rate)
    finally:
        chat.close()
        torch.set_num_threads(before)
    return {
        "threads": threads,
        "first_token_ms": round(1000 * statistics.median(firsts), 1),
        "tokens_per_second": round(statistics.median(rates), 1),
    }


def _asked(chat: Chat, picture: bytes) -> tuple[float, float]:
    """Seconds until the first token, and tokens a second behind it."""
    settings = GenerationSettings(temperature=0, max_new_tokens=120)
    began = time.perf_counter()
    session = chat.new_session().attach(chat.encode_image(picture))
    first, tokens, early = 0.0, 0, 0
    for part in chat.stream_answer(session, _QUESTION, settings):
        if not first and part.tokens:
            first, early = time.perf_counter() - began, part.tokens
        tokens = part.tokens
    rest = time.perf_counter() - began - first
    return first, (tokens - early) / max(rest, 1e-9)


def parts_of(model: MiniGPT4) -> dict[str, Any]:
    """Parameters by part, and the bytes that all of them take in bfloat16."""
    parts = {
        "vision encoder": model.vision,
        "Q-Former": model.qformer,
        "projection": model.projection,
        "language model": model.language,
    }
    counts = {name: sum(each.numel() for each in part.parameters()) for name, part in parts.items()}
    return {"parameters": counts, "bytes_bfloat16": 2 * sum(counts.values())}


def weights_on_disk(folder: Path) -> dict[str, int]:
    """Bytes of every file of weights in a folder and below, by name."""
    files = sorted(folder.rglob("*.safetensors"))
    return {file.relative_to(folder).as_posix(): file.stat().st_size for file in files}
