"""How many pictures a second `python -m minigpt4 batch` describes, against two other ways.

    python -m benchmarks.batch                500 pictures, about five minutes on two cores
    python -m benchmarks.batch --pictures 60

All describe the same drawings with the language model that comes with this package:

- batch: what the command does, with many pictures in flight.
- loop: `chat.ask` for one picture after the other.
- instructblip: transformers' `InstructBlipForConditionalGeneration` of equal sizes and with the
  same language model, `generate` on batches of eight. Its picture side has random weights, so its
  words mean nothing; a batch writes as many tokens as the longest answer of ours about the same
  eight pictures, which is what it would do with our weights. Its pictures are decoded and resized
  by our own code.

They take turns of 50 pictures each, and the best turn of each is kept: what else the machine does
disturbs that least. No picture is seen twice by any of them. Seconds on the clock and of the CPUs
are both told. Writes results/batch.json.
"""

import argparse
import io
import json
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    GenerationConfig,
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
)

from minigpt4 import batch
from minigpt4.api import LoadedChat, find_config, load
from minigpt4.batch_rows import Work, plan
from minigpt4.build import build_model
from minigpt4.config import load_config
from minigpt4.conversation import Conversation, Turn, render
from minigpt4.engines.sizing import thread_count
from minigpt4.images import load_image, to_pixel_values
from minigpt4.models.minigpt4 import MiniGPT4
from minigpt4.prompt_formats import TINY
from train.cartoon.draw import draw_scene
from train.cartoon.scene import make_scene

RESULTS = Path(__file__).parent / "results"
QUESTION = "Describe this image in detail."
PEER_BATCH = 8
PICTURE_ID = 1024
"""Stands for a picture in the peer's prompts: the first id after the tokenizer's."""
PICTURES, TURN = 500, 50
OVERRIDES = ("precision=float32", "generation.temperature=0")


@dataclass(slots=True)
class Spent:
    """What one way has spent so far.

    Attributes:
        turns: Of each turn the pictures, seconds on the clock, and seconds of all CPUs together.
    """

    turns: list[tuple[int, float, float]] = field(default_factory=list)

    def add(self, pictures: Sequence[Path], work: Callable[[Sequence[Path]], None]) -> None:
        """Does some work and counts it."""
        wall, cpu = time.perf_counter(), time.process_time()
        work(pictures)
        seconds = time.perf_counter() - wall, time.process_time() - cpu
        self.turns.append((len(pictures), *seconds))

    @property
    def best(self) -> tuple[float, float]:
        """Pictures a second of the turn that was disturbed least, on the clock and of the CPUs."""
        return (
            max(pictures / wall for pictures, wall, _ in self.turns),
            max(pictures / cpu for pictures, _, cpu in self.turns),
        )

    def told(self, ours: "Spent") -> dict[str, float]:
        """Figures for people, and how many times as fast ours is."""
        pictures, wall, _ = (sum(column) for column in zip(*self.turns, strict=True))
        return {
            "pictures_per_second": round(self.best[0], 2),
            "pictures_per_cpu_second": round(self.best[1], 2),
            "pictures_per_second_over_all": round(pictures / wall, 2),
            "ours_is_faster_by": round(ours.best[0] / self.best[0], 2),
            "ours_is_faster_by_cpu": round(ours.best[1] / self.best[1], 2),
        }


class Batch:
    """The command's own way."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._chat = load(device="cpu", overrides=batch.with_many_answers(OVERRIDES))
        self.answers: dict[str, str] = {}
        self.tokens: dict[str, int] = {}

    def describe(self, pictures: Sequence[Path]) -> None:
        """Describes pictures of the folder."""
        work = plan(self._folder, self._folder / "none.jsonl", QUESTION)
        names = {picture.name for picture in pictures}
        rows = tuple(row for row in work.rows if row.key in names)
        output = io.StringIO()
        for _ in batch.answer(self._chat, Work(rows, (), 0), output, _refuse):
            pass
        for line in output.getvalue().splitlines():
            told = json.loads(line)
            self.answers[told["image"]] = told["answer"]
            self.tokens[told["image"]] = told["tokens"]


class Loop:
    """One picture after the other."""

    def __init__(self) -> None:
        self._chat: LoadedChat = load(device="cpu", overrides=OVERRIDES)
        self.answers: dict[str, str] = {}

    def describe(self, pictures: Sequence[Path]) -> None:
        """Describes pictures."""
        for picture in pictures:
            self.answers[picture.name] = self._chat.ask(picture, QUESTION)


class InstructBlip:
    """Transformers' own model of the kind, of our sizes.

    Args:
        tokens: For every picture the length of our answer.
    """

    def __init__(self, tokens: dict[str, int]) -> None:
        self._ours = build_model(load_config(find_config("tiny"), ["device=cpu", *OVERRIDES]))
        self._model: Any = new_instructblip(self._ours)
        self._tokens = tokens
        prompt = render(Conversation((Turn(QUESTION, None, ("picture",)),)), TINY)
        tokenised = self._ours.tokenize(prompt)
        ids = torch.tensor(tokenised.ids)
        for start, _ in tokenised.slots:
            ids[start : start + self._ours.queries] = PICTURE_ID
        self._ids = ids
        self._question = torch.tensor(self._ours.language.encode(QUESTION))

    def describe(self, pictures: Sequence[Path]) -> None:
        """Describes pictures, eight at a time."""
        preset = self._ours.preset
        for first in range(0, len(pictures), PEER_BATCH):
            some = pictures[first : first + PEER_BATCH]
            pixels = torch.stack(
                [
                    to_pixel_values(
                        load_image(each), preset.vision.image_size, preset.mean, preset.std
                    )
                    for each in some
                ]
            )
            ids = self._ids.expand(len(some), -1)
            question = self._question.expand(len(some), -1)
            config: Any = GenerationConfig  # its constructor has no types
            self._model.generate(
                pixel_values=pixels,
                qformer_input_ids=question,
                qformer_attention_mask=torch.ones_like(question),
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                generation_config=config(
                    max_new_tokens=max(self._tokens[each.name] for each in some),
                    do_sample=False,
                    pad_token_id=2,
                ),
            )


def new_instructblip(ours: MiniGPT4) -> InstructBlipForConditionalGeneration:
    """A model of the same sizes, whose language model is ours with one more id for pictures."""
    vision, qformer = ours.preset.vision, ours.preset.qformer
    language: Any = ours.language.model
    vocabulary = language.config.vocab_size
    config = InstructBlipConfig(
        vision_config={
            "hidden_size": vision.width,
            "intermediate_size": int(vision.width * vision.mlp_ratio),
            "num_hidden_layers": vision.depth,
            "num_attention_heads": vision.heads,
            "image_size": vision.image_size,
            "patch_size": vision.patch_size,
        },
        qformer_config={
            "vocab_size": vocabulary,
            "hidden_size": qformer.width,
            "intermediate_size": qformer.intermediate,
            "num_hidden_layers": qformer.depth,
            "num_attention_heads": qformer.heads,
            "encoder_hidden_size": vision.width,
            "cross_attention_frequency": qformer.cross_attention_every,
        },
        text_config=language.config.to_dict(),
        num_query_tokens=qformer.queries,
        image_token_index=PICTURE_ID,
    )
    torch.manual_seed(0)
    model: Any = InstructBlipForConditionalGeneration(config)
    model.language_model.load_state_dict(language.state_dict())
    model.resize_token_embeddings(PICTURE_ID + 1, mean_resizing=False)
    made: InstructBlipForConditionalGeneration = model.eval()
    return made


def _refuse(row: object, reason: str) -> None:
    message = f"{row} was refused: {reason}"
    raise RuntimeError(message)


def measure(count: int, turn: int) -> dict[str, Any]:
    """Describes so many pictures in every way, some at a time."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        pictures = [folder / f"{seed:04}.png" for seed in range(count + PEER_BATCH)]
        for seed, picture in enumerate(pictures):
            draw_scene(make_scene(seed, min_things=1), 224).save(picture)
        ours, loop = Batch(folder), Loop()
        peer = InstructBlip(ours.tokens)
        spent = {"batch": Spent(), "loop": Spent(), "instructblip": Spent()}
        ways = {"batch": ours.describe, "loop": loop.describe, "instructblip": peer.describe}
        with torch.inference_mode():
            for describe in ways.values():
                describe(pictures[count:])  # the first of everything is slow
            for first in range(0, count, turn):
                for name, describe in ways.items():
                    spent[name].add(pictures[first : min(count, first + turn)], describe)
    same = sum(ours.answers[name] == answer for name, answer in loop.answers.items())
    return {
        "machine": {
            "processor": torch.backends.cpu.get_cpu_capability(),
            "threads": thread_count(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        "pictures": count,
        "question": QUESTION,
        "tokens_per_answer": round(sum(ours.tokens.values()) / len(ours.tokens), 1),
        "answers_equal_to_the_loop": round(same / len(loop.answers), 4),
        "ways": {name: each.told(spent["batch"]) for name, each in spent.items()},
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and writes the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pictures", type=int, default=PICTURES)
    parser.add_argument("--turn", type=int, default=TURN, help="pictures of one way in a row")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args(arguments)
    found = measure(given.pictures, given.turn)
    given.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found, indent=2)
    (given.out / "batch.json").write_text(f"{text}\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
