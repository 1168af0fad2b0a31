"""Measures whether the maps of "Where it looks" point at what a word names.

    python -m train.tiny.pointing

Asks the embedded default about one thing in each of many scenes it has never seen, and takes the
maps of the words that name the thing and its property. Scored are the share of a map that lies
inside the thing's box, against the box's share of the picture; how often the brightest point does;
and how often the thing's box is brighter than that of every other thing in the scene. Ways to make
a map are compared on one half of the scenes; the figures are those of the other half.
"""

import argparse
import json
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from minigpt4.build import build_model
from minigpt4.config import load_config
from minigpt4.conversation import Conversation, Turn, render
from minigpt4.images import to_pixel_values
from minigpt4.looking.look import Looking, as_map, first_centre, spread_over
from minigpt4.looking.words import Word, split_words, tokens_of_words
from minigpt4.models.minigpt4 import MiniGPT4
from minigpt4.models.presets import TINY as TINY_PRESET
from minigpt4.prompt_formats import TINY
from train.cartoon.asking import ask
from train.cartoon.draw import draw_scene
from train.cartoon.scene import COLORS, KINDS, Scene, Thing, make_scene
from train.cartoon.signs import sign_board
from train.cartoon.wordings import DESCRIBE_INSTRUCTIONS, PLACE_PHRASES
from train.tiny.evaluate import FIRST_SEED, answer_all, see
from train.tiny.saliency import LANGUAGE, PICTURE, Tracer

ROOT = Path(__file__).parents[2]
CHOSEN = ("rollout, squared", "last, squared")
"""What `minigpt4.looking` does."""
_DEVELOPMENT_SEED = FIRST_SEED + 200_000
_REPORT_SEED = FIRST_SEED + 300_000
_TYPES = ("color", "size", "where", "describe")
_SIDE = TINY_PRESET.vision.image_size
_FIRST_CENTRE = first_centre(TINY_PRESET.vision)


@dataclass(frozen=True, slots=True)
class Probe:
    """A question about one thing of a scene.

    Attributes:
        scene: What is true.
        thing: The only one of its kind there.
        question: What is asked.
        question_type: One of color, size, where, describe.
    """

    scene: Scene
    thing: Thing
    question: str
    question_type: str

    def words(self, answer: str) -> Iterator[tuple[str, Word]]:
        """The answer's words that name the thing and its property, each with which it is."""
        words = split_words(answer)
        texts = [word.text for word in words]
        if self.thing.kind not in texts:
            return
        name = texts.index(self.thing.kind)
        yield "name", words[name]
        wanted = {
            "color": self.thing.color,
            "size": self.thing.size,
            "where": PLACE_PHRASES[self.thing.place].split()[-1],
            "describe": self.thing.color,
        }[self.question_type]
        # A description has other things' colours too: this one stands right before the name.
        place = name - 1 if self.question_type == "describe" else _last(texts, wanted)
        if place >= 0 and texts[place] == wanted:
            yield "property", words[place]


@dataclass(frozen=True, slots=True)
class Score:
    """How well one map points.

    Attributes:
        inside: Share of the map that lies in the thing's box.
        hit: Whether its brightest point does.
        best: Whether the thing's box is brighter than every other thing's.
    """

    inside: float
    hit: bool
    best: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description='Measure the maps of "Where it looks".')
    parser.add_argument("--config", type=Path, default=ROOT / "eval_configs" / "tiny.yaml")
    parser.add_argument("--output", type=Path, default=ROOT / "docs")
    parser.add_argument("--scenes", type=int, default=300, help="of each half (%(default)s)")
    given = parser.parse_args(arguments)
    model = build_model(load_config(given.config, ["device=cpu"]))
    development = probes(_DEVELOPMENT_SEED, given.scenes)
    reported = probes(_REPORT_SEED, given.scenes)
    figures = {
        "scenes": given.scenes,
        "chosen": dict(zip(("language", "picture"), CHOSEN, strict=True)),
        "words": word_scores(model, reported),
        "vocabulary": vocabulary_scores(model, [probe.scene for probe in reported]),
        "examples": examples(model, reported, given.output / "pictures" / "looking.png"),
        # Last, for it changes the model.
        **compare(model, development, reported),
    }
    text = json.dumps(figures, indent=1)
    (given.output / "looking.json").write_text(text + "\n", encoding="utf-8")
    return 0


def probes(first: int, number: int) -> list[Probe]:
    """So many questions, one a scene, each about a thing that is the only one of its kind."""
    found: list[Probe] = []
    seed = first
    while len(found) < number:
        scene, rng = make_scene(seed), random.Random(f"point-{seed}")
        seed += 1
        kinds = [thing.kind for thing in scene.things]
        single = [thing for thing in scene.things if kinds.count(thing.kind) == 1]
        question_type = _TYPES[len(found) % len(_TYPES)]
        if not single:
            continue
        if question_type == "describe":
            instruction = rng.choice(DESCRIBE_INSTRUCTIONS[:5])
            found.append(Probe(scene, rng.choice(single), instruction, question_type))
            continue
        asked = ask(scene, question_type, rng)
        about = [thing for thing in single if asked is not None and thing.kind == asked.kind]
        if asked is not None and about:
            found.append(Probe(scene, about[0], asked.question, question_type))
    return found


def answered(
    model: MiniGPT4, asked: Sequence[Probe]
) -> Iterator[tuple[Probe, torch.Tensor, str, str, Word]]:
    """The model's own answers: probe, visual tokens `(Q, D)`, answer, kind of word, word."""
    pictures = list(see(model, (_drawn(probe) for probe in asked)))
    prompts = [render(_asked(probe), TINY) for probe in asked]
    answers = answer_all(model, prompts, pictures)
    for probe, tokens, answer in zip(asked, pictures, answers, strict=True):
        for kind, word in probe.words(answer.text):
            yield probe, tokens, answer.text, kind, word


def word_scores(model: MiniGPT4, asked: Sequence[Probe]) -> dict[str, Any]:
    """Scores of the maps that the page shows, by kind of word and type of question."""
    looking = _looking(model)
    scores: dict[str, list[tuple[Score, Probe]]] = {}
    for probe, tokens, answer, kind, word in answered(model, asked):
        heat = _page_map(looking, probe, tokens, answer, word)
        for group in ("all", kind, f"{kind}, {probe.question_type}"):
            scores.setdefault(group, []).append((score(heat, probe), probe))
    return {group: _summary(rows) for group, rows in sorted(scores.items())}


def compare(
    model: MiniGPT4, development: Sequence[Probe], reported: Sequence[Probe]
) -> dict[str, Any]:
    """Scores of every way to make a map, on both halves; switches the model's attention."""
    tracer = Tracer(model)
    halves = {"development": development, "reported": reported}
    return {name: _compared(model, tracer, asked) for name, asked in halves.items()}


def _compared(model: MiniGPT4, tracer: Tracer, asked: Sequence[Probe]) -> list[dict[str, Any]]:
    scores: dict[tuple[str, str], list[tuple[Score, Probe]]] = {}
    for probe, _, answer, _, word in answered(model, asked):
        preset, ids = model.preset, model.language.encode(answer)
        words = split_words(answer)
        tokens = tokens_of_words(model.language, ids, words)[words.index(word)]
        values = to_pixel_values(_drawn(probe), _SIDE, preset.mean, preset.std)
        traced = tracer.trace(values[None], render(_asked(probe), TINY), ids, tokens)
        parts = {name: read(traced) for name, read in PICTURE.items()}
        for language, read in LANGUAGE.items():
            shares = read(traced)
            for picture, patches in parts.items():
                heat = as_map((shares @ patches)[1:].clamp(min=0))
                scores.setdefault((language, picture), []).append((score(heat, probe), probe))
    rows = [
        {"language": language, "picture": picture, **_summary(rows)}
        for (language, picture), rows in scores.items()
    ]
    return sorted(rows, key=lambda row: -(row["inside"] + row["hit"]))


def score(heat: torch.Tensor, probe: Probe) -> Score:
    """Scores a map `(G, G)`."""
    large = spread_over(heat, (_SIDE, _SIDE), _FIRST_CENTRE)
    brightest = int(large.argmax())
    row, column = divmod(brightest, _SIDE)
    rows, columns = box(probe.thing)
    density = {thing: float(large[box(thing)].mean()) for thing in probe.scene.things}
    return Score(
        inside=float(large[rows, columns].sum()),
        hit=rows.start <= row < rows.stop and columns.start <= column < columns.stop,
        best=max(density, key=density.__getitem__) == probe.thing,
    )


def box(thing: Thing) -> tuple[slice, slice]:
    """Rows and columns of a thing in a picture as the model sees it; of a sign, its board."""

    def span(centre: float, half: float) -> slice:
        low, high = centre - half, centre + half
        return slice(max(0, round(low * _SIDE)), min(_SIDE, round(high * _SIDE)))

    if thing.word:
        board = sign_board(thing)
        return span(board.y, board.height), span(board.x, board.width)
    return span(thing.y, thing.radius), span(thing.x, thing.radius)


def vocabulary_scores(model: MiniGPT4, scenes: Sequence[Scene], most: int = 3) -> dict[str, float]:
    """Of the kinds and colours among the words nearest to visual tokens, how many are there."""
    looking, known = _looking(model), {*KINDS, *COLORS}
    said = true = 0
    chance = 0.0
    pictures = [draw_scene(scene, _SIDE) for scene in scenes]
    for scene, picture, tokens in zip(scenes, pictures, see(model, pictures), strict=True):
        there = {word for thing in scene.things for word in (thing.kind, thing.color)}
        for look in looking.visual_tokens(tokens, picture):
            named = [near.text for near in look.words[:most] if near.text in known]
            said += len(named)
            true += sum(word in there for word in named)
        chance += len(there) / len(known) / len(scenes)
    return {"named": said, "there": round(true / max(said, 1), 4), "chance": round(chance, 4)}


def examples(
    model: MiniGPT4, asked: Sequence[Probe], path: Path, columns: int = 6
) -> dict[str, int]:
    """Draws the first maps of each type of question, chosen by nobody."""
    looking = _looking(model)
    rows: dict[str, list[tuple[Probe, str, torch.Tensor]]] = {name: [] for name in _TYPES}
    for probe, tokens, answer, kind, word in answered(model, asked):
        row = rows[probe.question_type]
        wanted = "name" if probe.question_type == "describe" else "property"
        if kind == wanted and len(row) < columns:
            row.append((probe, word.text, _page_map(looking, probe, tokens, answer, word)))
    figure = Figure(figsize=(9, 7.1), dpi=90, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for line, (name, row) in zip(axes, rows.items(), strict=True):
        line[0].set_ylabel(name, fontsize=10)
        for place in line:
            place.set(xticks=[], yticks=[])
            for side in place.spines.values():
                side.set_visible(False)
        for place, (probe, text, heat) in zip(line, row, strict=False):
            _draw(place, probe, heat)
            about = text if probe.question_type == "describe" else f"{probe.thing.kind}: {text}"
            place.set_title(about, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return {name: len(row) for name, row in rows.items()}


def _draw(axes: Any, probe: Probe, heat: torch.Tensor) -> None:  # noqa: ANN401 - matplotlib's
    side = 192
    large = spread_over(heat, (side, side), _FIRST_CENTRE)
    level = large / large.max()
    axes.imshow(draw_scene(probe.scene, side))
    veil = torch.zeros(side, side, 4)
    veil[..., 3] = 0.72 * (1 - level)
    axes.imshow(veil.numpy())
    rows, columns = box(probe.thing)
    scale = side / _SIDE
    across = [columns.start, columns.stop, columns.stop, columns.start, columns.start]
    down = [rows.start, rows.start, rows.stop, rows.stop, rows.start]
    axes.plot([x * scale for x in across], [y * scale for y in down], color="#ff3b30", linewidth=1)
    axes.set(xlim=(0, side), ylim=(side, 0))


def _page_map(
    looking: Looking, probe: Probe, tokens: torch.Tensor, answer: str, word: Word
) -> torch.Tensor:
    """The map `(G, G)` of a word as the page would show it."""
    said = _asked(probe).with_answer(answer)
    look = looking.answer(said, 0, {"picture": tokens}, {"picture": _drawn(probe)}, 200)
    return next(each.maps["picture"] for each in look.words if each.word == word)


def _looking(model: MiniGPT4) -> Looking:
    return Looking(model, TINY, int(model.language.model.config.max_position_embeddings))


def _asked(probe: Probe) -> Conversation:
    return Conversation((Turn(probe.question, None, ("picture",)),))


def _drawn(probe: Probe) -> Image.Image:
    return draw_scene(probe.scene, _SIDE)


def _last(texts: Sequence[str], wanted: str) -> int:
    return max((place for place, text in enumerate(texts) if text == wanted), default=-1)


def _summary(rows: Sequence[tuple[Score, Probe]]) -> dict[str, float]:
    """Means over words, and what chance would score."""
    number = len(rows)

    def mean(values: Sequence[float]) -> float:
        return round(sum(values) / number, 4)

    areas = [
        (across.stop - across.start) * (down.stop - down.start) / _SIDE**2
        for across, down in (box(probe.thing) for _, probe in rows)
    ]
    return {
        "number": number,
        "inside": mean([each.inside for each, _ in rows]),
        "hit": mean([each.hit for each, _ in rows]),
        "possible_hit": mean([_holds_a_centre(probe) for _, probe in rows]),
        "best": mean([each.best for each, _ in rows]),
        "chance_inside": mean(areas),
        "chance_best": mean([1 / len(probe.scene.things) for _, probe in rows]),
    }


def _holds_a_centre(probe: Probe) -> bool:
    """Whether any patch's centre, where alone a map can be brightest, lies in the thing's box."""
    size = TINY_PRESET.vision.patch_size
    centres = range(round(_FIRST_CENTRE * size - 0.5), _SIDE, size)
    return all(
        any(span.start <= centre < span.stop for centre in centres) for span in box(probe.thing)
    )


if __name__ == "__main__":
    sys.exit(main())
