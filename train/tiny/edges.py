"""What the embedded default can do besides answering, and whether it knows what it cannot."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from minigpt4.models.minigpt4 import MiniGPT4
from train.cartoon.asking import ask
from train.cartoon.scene import KINDS, Scene, make_scene, strange_scene
from train.cartoon.sketch import make_sketch
from train.cartoon.strange import draw_strange
from train.cartoon.wordings import QUESTIONS
from train.tiny import judging
from train.tiny.evaluate import FIRST_SEED, ask_each, held_out_scenes, see, see_scenes, share

# Away from the seeds of `evaluate`.
_FIRST = FIRST_SEED + 20_000
PHOTO_QUESTIONS = ("Describe this image in detail.", "What color is the car?")
_FILES = {".png", ".jpg", ".jpeg", ".webp", ".gif", ".tif", ".tiff", ".bmp"}


def sign_scores(model: MiniGPT4, number: int = 200) -> dict[str, dict[str, float]]:
    """How well signs are read, with words that training has and with words that it has not.

    Returns:
        By `seen` and `unseen`: `number` of signs, shares of `words` and of `letters` read rightly,
        letters place by place.
    """
    return {
        "seen": _reading(model, _with_a_sign(number)),
        "unseen": _reading(
            model, [make_scene(_FIRST + each, unseen_words=True) for each in range(number)]
        ),
    }


def _with_a_sign(number: int) -> list[Scene]:
    scenes: list[Scene] = []
    seed = _FIRST
    while len(scenes) < number:
        seed += 1
        scene = make_scene(seed)
        if scene.has_word:
            scenes.append(scene)
    return scenes


def _reading(model: MiniGPT4, scenes: Sequence[Scene]) -> dict[str, float]:
    words = [next(thing.word for thing in scene.things if thing.word) for scene in scenes]
    wordings = QUESTIONS["sign"]
    questions = [wordings[index % len(wordings)] for index in range(len(scenes))]
    seen = see_scenes(model, scenes)
    answers = ask_each(model, questions, [seen[scene] for scene in scenes])
    read = [judging.word_on_sign(answer.text) for answer in answers]
    letters = sum(judging.letters_right(word, each) for word, each in zip(words, read, strict=True))
    return {
        "number": len(scenes),
        "words": share(sum(a == b for a, b in zip(words, read, strict=True)), len(words)),
        "letters": share(letters, sum(len(word) for word in words)),
    }


def ability_scores(model: MiniGPT4, number: int = 25) -> dict[str, dict[str, float]]:
    """How often each ability is shown, on so many held-out pictures; `blind` on shuffled ones."""
    scores: dict[str, dict[str, float]] = {}
    for ability in judging.ABILITIES:
        scenes = ability_scenes(ability, number)
        questions = [ask(scene, ability, random.Random(scene.seed)) for scene in scenes]
        wordings = [each.question for each in questions if each is not None]
        right = {}
        for name, blind in (("right", False), ("blind", True)):
            seen = see_scenes(model, scenes, blind=blind)
            answers = ask_each(model, wordings, [seen[scene] for scene in scenes])
            right[name] = sum(
                judging.judge_ability(ability, scene, answer.text)
                for scene, answer in zip(scenes, answers, strict=True)
            )
        scores[ability] = {"number": len(scenes), **right}
    return scores


def ability_scenes(ability: str, number: int) -> list[Scene]:
    """Held-out scenes that an ability can be shown on; half of those for `odd` have nothing odd."""
    scenes: list[Scene] = []
    seed = _FIRST + 10_000
    while len(scenes) < number:
        seed += 1
        scene = make_sketch(seed) if ability == "webpage" else make_scene(seed)
        answerable = ability != "odd" or ask(scene, ability, random.Random(seed)) is not None
        if answerable and judging.allows(ability, scene, len(scenes)):
            scenes.append(scene)
    return scenes


def strange_scores(model: MiniGPT4, number: int = 200) -> dict[str, float]:
    """Share of hedged answers to pictures that are no drawings of the world.

    `made` ones come from the generator that training uses too, with new seeds; `noise` and `blank`
    ones do not. `drawings` is the share of real drawings that are taken for strange ones.
    """
    size = model.preset.vision.image_size
    seeds = range(_FIRST, _FIRST + number)
    pictures = {
        "made": [draw_strange(strange_scene(seed).seed, size) for seed in seeds],
        "noise": list(_noise(size, max(1, number // 4))),
        "blank": list(_blank(size, max(1, number // 4))),
    }
    scores = {name: _hedged(model, each) for name, each in pictures.items()}
    drawn = see_scenes(model, held_out_scenes(number, first=_FIRST))
    answers = ask_each(model, [PHOTO_QUESTIONS[0]] * number, list(drawn.values()))
    scores["drawings"] = share(sum(judging.is_hedged(each.text) for each in answers), number)
    return scores


def _noise(size: int, number: int) -> Iterator[Image.Image]:
    rng = np.random.default_rng(0)
    for index in range(number):
        grain = (1, 2, 4)[index % 3]
        shape = (size // grain, size // grain, 3 if index % 2 else 1)
        values = rng.random(shape) if index % 4 < 2 else 0.5 + 0.2 * rng.standard_normal(shape)
        pixels = np.clip(255 * values, 0, 255).astype(np.uint8)
        if shape[2] == 1:
            pixels = np.repeat(pixels, 3, axis=2)
        yield Image.fromarray(pixels).resize((size, size), Image.Resampling.NEAREST)


def _blank(size: int, number: int) -> Iterator[Image.Image]:
    rng = random.Random("blank")
    yield Image.new("RGB", (size, size), "white")
    for index in range(1, number):
        level = rng.randrange(256)
        any_color = (rng.randrange(256), rng.randrange(256), rng.randrange(256))
        yield Image.new("RGB", (size, size), (level, level, level) if index % 2 else any_color)


def _hedged(model: MiniGPT4, pictures: Sequence[Image.Image], question: str | None = None) -> float:
    """Share of hedged answers; by default every second question is for a thing's colour."""
    rng = random.Random("hedged")
    questions = [
        question or (PHOTO_QUESTIONS[0] if index % 2 else f"What color is the {rng.choice(KINDS)}?")
        for index in range(len(pictures))
    ]
    answers = ask_each(model, questions, list(see(model, pictures)))
    return share(sum(judging.is_hedged(each.text) for each in answers), len(answers))


def photo_scores(model: MiniGPT4, folder: Path) -> dict[str, Any]:
    """Share of hedged answers to the photographs of a folder.

    Args:
        model: Answers.
        folder: Every picture in it and below that can be read is asked about.

    Returns:
        `number` of pictures, `hedged` by question, and the names of those `missed` that were
        described as drawings.
    """
    files, pictures = [], []
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() in _FILES and (picture := _read(file)) is not None:
            files.append(file.relative_to(folder).as_posix())
            pictures.append(picture)
    if not pictures:
        return {"number": 0, "hedged": {}, "missed": []}
    seen = list(see(model, pictures))
    hedged = {}
    missed: list[str] = []
    for question in PHOTO_QUESTIONS:
        answers = ask_each(model, [question] * len(seen), seen)
        found = [judging.is_hedged(answer.text) for answer in answers]
        hedged[question] = share(sum(found), len(found))
        missed = missed or [file for file, each in zip(files, found, strict=True) if not each]
    return {"number": len(pictures), "hedged": hedged, "missed": missed}


def _read(file: Path) -> Image.Image | None:
    try:
        with Image.open(file) as picture:
            return picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None  # no picture that Pillow reads
