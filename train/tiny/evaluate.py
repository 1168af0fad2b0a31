"""Scores the embedded default on scenes it has never seen, by rules that read the scene.

Every question has one true sentence, and only that sentence counts as right. The same questions are
asked once more with the pictures shuffled among the scenes: what a model scores then, it guesses.
"""

import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from minigpt4.conversation import Conversation, Prompt, Turn, render
from minigpt4.images import to_pixel_values
from minigpt4.models.minigpt4 import MiniGPT4
from minigpt4.prompt_formats import TINY
from train.cartoon.describe import QUESTION_TYPES, ask, describe, follow_up
from train.cartoon.draw import draw_scene
from train.cartoon.scene import COLORS, HELD_OUT_PAIRS, KINDS, SIZES, Scene, make_scene
from train.cartoon.wordings import BACKGROUND_PHRASES, DESCRIBE_INSTRUCTIONS
from train.tiny.language import HELD_OUT_SEEDS

# Apart from the held-out seeds that training runs show while they go on.
FIRST_SEED = HELD_OUT_SEEDS + 100_000
_BATCH = 50


@dataclass(frozen=True, slots=True)
class Asked:
    """One question of the evaluation.

    Attributes:
        scene: What is true.
        turns: Earlier turns, with their true answers, and the open question.
        answer: The true answer.
        question_type: What the score is filed under.
        kind: The one thing it is about; empty where it is about none or several.
    """

    scene: Scene
    turns: tuple[Turn, ...]
    answer: str
    question_type: str
    kind: str = ""

    @property
    def about_unseen_pair(self) -> bool:
        """Whether the thing it is about has a colour that training never draws it in."""
        return any(
            thing.kind == self.kind and (thing.color, thing.kind) in HELD_OUT_PAIRS
            for thing in self.scene.things
        )


@torch.no_grad()
def see(model: MiniGPT4, scenes: Sequence[Scene]) -> torch.Tensor:
    """Visual tokens `(N, Q, D)` of scenes, drawn and encoded."""
    preset = model.preset
    tokens = []
    for first in range(0, len(scenes), _BATCH):
        values = [
            to_pixel_values(
                draw_scene(scene, preset.vision.image_size),
                preset.vision.image_size,
                preset.mean,
                preset.std,
            )
            for scene in scenes[first : first + _BATCH]
        ]
        tokens.append(model.encode_images(torch.stack(values)))
    return torch.cat(tokens)


@torch.no_grad()
def answer_all(
    model: MiniGPT4, prompts: Sequence[Prompt], pictures: Sequence[torch.Tensor], most: int
) -> list[str]:
    """Greedy answers to prompts about one picture each.

    Args:
        model: Answers.
        prompts: Each with image slots of one key.
        pictures: For every prompt the visual tokens `(Q, D)`.
        most: The longest answer, in tokens.
    """
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index].text))
    found: dict[int, str] = {}
    for first in range(0, len(order), _BATCH):
        chosen = order[first : first + _BATCH]
        embeds = [
            model.embed_prompt(
                prompts[index], dict.fromkeys(prompts[index].image_keys, pictures[index])
            )[0]
            for index in chosen
        ]
        found.update(zip(chosen, _generate(model, embeds, most), strict=True))
    return [found[index] for index in range(len(prompts))]


def _generate(model: MiniGPT4, embeds: Sequence[torch.Tensor], most: int) -> list[str]:
    length = max(len(each) for each in embeds)
    padded = torch.zeros(len(embeds), length, embeds[0].shape[-1])
    mask = torch.zeros(len(embeds), length, dtype=torch.long)
    for row, each in enumerate(embeds):
        padded[row, length - len(each) :] = each
        mask[row, length - len(each) :] = 1
    language = model.language
    causal: Any = language.model
    ids = causal.generate(
        inputs_embeds=padded,
        attention_mask=mask,
        max_new_tokens=most,
        do_sample=False,
        # The end symbol's own id ends a row; a model that spells it otherwise runs on and is wrong.
        eos_token_id=[language.eos_id, language.encode("###")[0]],
        pad_token_id=language.eos_id,
    )
    return [language.decode(row).partition("###")[0].strip() for row in ids.tolist()]


def questions(
    scenes: Sequence[Scene], number: int, *, held_out_wording: bool = False
) -> list[Asked]:
    """Up to `number` questions of every type, one a scene and type."""
    asked = []
    for question_type in (*QUESTION_TYPES, "follow_up"):
        of_type: list[Asked] = []
        for scene in scenes:
            if len(of_type) == number:
                break
            rng = random.Random(f"evaluate-{scene.seed}-{question_type}")
            one = _one(scene, question_type, rng, held_out_wording=held_out_wording)
            if one is not None:
                of_type.append(one)
        asked += of_type
    return asked


def _one(
    scene: Scene, question_type: str, rng: random.Random, *, held_out_wording: bool
) -> Asked | None:
    first = ask(
        scene, "where" if question_type == "follow_up" else question_type, rng,
        held_out=held_out_wording,
    )  # fmt: skip
    if first is None:
        return None
    if question_type != "follow_up":
        asked = Turn(first.question, None, ("picture",))
        return Asked(scene, (asked,), first.answer, question_type, first.kind)
    then = follow_up(scene, first, rng, held_out=held_out_wording)
    if then is None:
        return None
    turns = (Turn(first.question, first.answer, ("picture",)), Turn(then.question))
    return Asked(scene, turns, then.answer, question_type, then.kind)


def exact_scores(model: MiniGPT4, asked: Sequence[Asked], *, blind: bool = False) -> dict[str, Any]:
    """Share of exactly right answers by question type.

    Args:
        model: Answers.
        asked: The questions.
        blind: Show every question another scene's picture.
    """
    scenes = list(dict.fromkeys(each.scene for each in asked))
    seen = _pictures(model, scenes, blind=blind)
    pictures = [seen[each.scene] for each in asked]
    prompts = [render(Conversation(each.turns), TINY) for each in asked]
    answers = answer_all(model, prompts, pictures, 40)
    right: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for each, answer in zip(asked, answers, strict=True):
        total[each.question_type] += 1
        right[each.question_type] += answer == each.answer
    return {name: round(right[name] / total[name], 4) for name in total}


def _pictures(
    model: MiniGPT4, scenes: Sequence[Scene], *, blind: bool
) -> dict[Scene, torch.Tensor]:
    """The picture of every scene; blind, that of another scene: none keeps its own."""
    seen = list(see(model, scenes))
    if not blind:
        return dict(zip(scenes, seen, strict=True))
    order = list(range(len(scenes)))
    random.Random(0).shuffle(order)
    following = [*order[1:], order[0]]
    return {scenes[own]: seen[other] for own, other in zip(order, following, strict=True)}


_OBJECT = re.compile(rf"\b({'|'.join(SIZES)}) ({'|'.join(COLORS)}) ({'|'.join(KINDS)})\b")


def description_scores(
    model: MiniGPT4, scenes: Sequence[Scene], *, blind: bool = False
) -> dict[str, float]:
    """How much of scenes their descriptions name, and how often a description fails.

    `recall` and `precision` count objects by colour and kind; `full_*` by size as well. A
    description fails when it does not end, repeats a sentence, or says what no description says.
    """
    seen = _pictures(model, scenes, blind=blind)
    prompts = [
        render(Conversation((Turn(DESCRIBE_INSTRUCTIONS[index % 5], None, ("picture",)),)), TINY)
        for index in range(len(scenes))
    ]
    pictures = [seen[scene] for scene in scenes]
    answers = answer_all(model, prompts, pictures, 160)
    tallies: Counter[str] = Counter()
    for scene, answer in zip(scenes, answers, strict=True):
        tallies.update(dict(_tally(scene, answer)))
    return {
        "recall": _share(tallies["found"], tallies["there"]),
        "precision": _share(tallies["found"], tallies["said"]),
        "full_recall": _share(tallies["full_found"], tallies["there"]),
        "full_precision": _share(tallies["full_found"], tallies["said"]),
        "exact": _share(tallies["exact"], len(scenes)),
        "background": _share(tallies["background"], len(scenes)),
        "failures": _share(tallies["failed"], len(scenes)),
    }


def _tally(scene: Scene, answer: str) -> Iterator[tuple[str, int]]:
    said = Counter(_OBJECT.findall(answer))
    there = Counter((thing.size, thing.color, thing.kind) for thing in scene.things)
    yield "there", there.total()
    yield "said", said.total()
    yield "full_found", (said & there).total()
    yield "found", (_without_size(said) & _without_size(there)).total()
    yield "background", int(BACKGROUND_PHRASES[scene.background] in answer)
    possible = {describe(scene, random.Random(number)) for number in range(12)}
    yield "exact", int(answer in possible)
    sentences = [sentence for sentence in answer.split(". ") if sentence]
    ended = answer.endswith(".")
    repeated = len(set(sentences)) < len(sentences)
    known = any(phrase in answer for phrase in BACKGROUND_PHRASES.values())
    yield "failed", int(not ended or repeated or not known)


def _without_size(things: Counter[tuple[str, str, str]]) -> Counter[tuple[str, str]]:
    plain: Counter[tuple[str, str]] = Counter()
    for (_, color, kind), number in things.items():
        plain[color, kind] += number
    return plain


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0


def held_out_scenes(number: int, *, pairs: bool = False, first: int = FIRST_SEED) -> list[Scene]:
    """Scenes of seeds that no training draws; with `pairs`, each has an unseen colour and kind."""
    return [make_scene(seed, held_out=pairs) for seed in range(first, first + number)]


def mean_of(scores: Mapping[str, float]) -> float:
    """The plain mean over question types."""
    return round(float(np.mean(list(scores.values()))), 4)


def evaluate(
    model: MiniGPT4, *, scenes: int = 500, pairs: int = 300, wordings: int = 200
) -> dict[str, Any]:
    """Everything the model card reports.

    Args:
        model: The whole model, projection included.
        scenes: Held-out scenes with pairs of colour and kind that training has seen.
        pairs: Held-out scenes with a pair that training has never seen.
        wordings: Questions of every type in wordings that training has never used.
    """
    plain = held_out_scenes(scenes)
    unseen = held_out_scenes(pairs, pairs=True)
    asked = questions(plain, scenes)
    asked_unseen = questions(unseen, pairs)
    about_unseen = [each for each in asked_unseen if each.about_unseen_pair]
    reworded = questions(plain, wordings, held_out_wording=True)
    return {
        "number": dict(Counter(each.question_type for each in asked)),
        "answers": exact_scores(model, asked),
        "blind": exact_scores(model, asked, blind=True),
        "unseen_pairs": exact_scores(model, asked_unseen),
        "blind_unseen_pairs": exact_scores(model, asked_unseen, blind=True),
        "about_unseen_pairs": exact_scores(model, about_unseen),
        "unseen_wordings": exact_scores(model, reworded),
        "descriptions": description_scores(model, plain[: max(1, scenes // 2)]),
        "descriptions_blind": description_scores(model, plain[: max(1, scenes // 5)], blind=True),
        "descriptions_unseen_pairs": description_scores(model, unseen[: max(1, pairs // 3)]),
    }
