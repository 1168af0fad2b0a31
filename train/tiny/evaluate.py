"""Scores the embedded default on scenes it has never seen; `judging.py` has the rules.

Of every answer two things are told: whether it is exactly the true one, and whether it concludes
the same. The questions are asked once more with the pictures shuffled among the scenes: what a
model scores then, it guesses.
"""

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL import Image

from minigpt4.conversation import Conversation, Prompt, Turn, render
from minigpt4.images import to_pixel_values
from minigpt4.models.minigpt4 import MiniGPT4
from minigpt4.prompt_formats import TINY
from train.cartoon.asking import QUESTION_TYPES, ask, follow_up
from train.cartoon.casual import casual
from train.cartoon.draw import draw_scene
from train.cartoon.scene import HELD_OUT_PAIRS, HELD_OUT_SEEDS, Scene, make_scene
from train.cartoon.wordings import DESCRIBE_INSTRUCTIONS
from train.tiny import judging

# Apart from the held-out seeds that training runs show while they go on.
FIRST_SEED = HELD_OUT_SEEDS + 100_000
LONGEST_ANSWER = 160
_BATCH = 64

Scores = dict[str, dict[str, float]]
"""By question type the shares `exact` and `right`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said, and whether it came to an end of its own."""

    text: str
    ended: bool


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
def see(model: MiniGPT4, pictures: Iterable[Image.Image]) -> torch.Tensor:
    """Visual tokens `(N, Q, D)` of pictures, read as the chat reads them."""
    preset = model.preset
    size = preset.vision.image_size
    values = [to_pixel_values(each, size, preset.mean, preset.std) for each in pictures]
    starts = range(0, len(values), _BATCH)
    parts = [torch.stack(values[first : first + _BATCH]) for first in starts]
    return torch.cat([model.encode_images(part) for part in parts])


def see_scenes(
    model: MiniGPT4, scenes: Sequence[Scene], *, blind: bool = False
) -> dict[Scene, torch.Tensor]:
    """Visual tokens `(Q, D)` of every scene; blind, of another one: none keeps its own."""
    size = model.preset.vision.image_size
    seen = see(model, (draw_scene(scene, size) for scene in scenes))
    if not blind:
        return dict(zip(scenes, seen, strict=True))
    order = list(range(len(scenes)))
    random.Random(0).shuffle(order)
    following = [*order[1:], order[0]]
    return {scenes[own]: seen[other] for own, other in zip(order, following, strict=True)}


@torch.no_grad()
def answer_all(
    model: MiniGPT4, prompts: Sequence[Prompt], pictures: Sequence[torch.Tensor]
) -> list[Answer]:
    """Greedy answers to prompts about one picture each, `LONGEST_ANSWER` tokens at most.

    Args:
        model: Answers.
        prompts: Each with image slots of one key; like ones side by side are answered sooner.
        pictures: For every prompt the visual tokens `(Q, D)`.
    """
    answers = []
    for first in range(0, len(prompts), _BATCH):
        embeds = [
            model.embed_prompt(prompt, dict.fromkeys(prompt.image_keys, picture))[0]
            for prompt, picture in zip(
                prompts[first : first + _BATCH], pictures[first : first + _BATCH], strict=True
            )
        ]
        answers += _generate(model, embeds)
    return answers


def _generate(model: MiniGPT4, embeds: Sequence[torch.Tensor]) -> list[Answer]:
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
        max_new_tokens=LONGEST_ANSWER,
        do_sample=False,
        # The end symbol's own id ends a row; a model that spells it otherwise runs on and is wrong.
        eos_token_id=[language.eos_id, language.encode("###")[0]],
        pad_token_id=language.eos_id,
    )
    answers = []
    for row in ids.tolist():
        text, end, _ = language.decode(row).partition("###")
        answers.append(Answer(text.strip(), bool(end) or language.eos_id in row))
    return answers


def ask_each(
    model: MiniGPT4, questions: Sequence[str], pictures: Sequence[torch.Tensor]
) -> list[Answer]:
    """Answers to one question a picture `(Q, D)`."""
    turns = [Turn(question, None, ("picture",)) for question in questions]
    return answer_all(model, [render(Conversation((turn,)), TINY) for turn in turns], pictures)


def questions_about(
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
    opening = rng.choice(("where", "color", "size")) if question_type == "follow_up" else ""
    first = ask(scene, opening or question_type, rng, held_out=held_out_wording)
    if first is None:
        return None
    if not opening:
        turn = Turn(first.question, None, ("picture",))
        return Asked(scene, (turn,), first.answer, question_type, first.kind)
    then = follow_up(scene, first, rng, held_out=held_out_wording)
    if then is None:
        return None
    turns = (Turn(first.question, first.answer, ("picture",)), Turn(then.question))
    return Asked(scene, turns, then.answer, question_type, then.kind)


def said_loosely(asked: Asked) -> Asked:
    """The same question as people type it, never quite as it was; see `casual`."""
    rng = random.Random(f"loosely-{asked.scene.seed}-{asked.question_type}")
    turn = asked.turns[-1]
    said = turn.question
    while said == turn.question:
        said = casual(turn.question, rng)
    return replace(asked, turns=(*asked.turns[:-1], replace(turn, question=said)))


def answers_to(
    model: MiniGPT4,
    asked: Sequence[Asked],
    *,
    blind: bool = False,
    seen: Mapping[Scene, torch.Tensor] | None = None,
) -> list[Answer]:
    """What a model answers to questions; blind, it is shown another scene's picture.

    Args:
        model: Answers.
        asked: The questions.
        blind: Whether every scene's picture is another one's.
        seen: Visual tokens `(Q, D)` of the scenes, where their pictures are not to be drawn.
    """
    scenes = list(dict.fromkeys(each.scene for each in asked))
    seen = seen or see_scenes(model, scenes, blind=blind)
    prompts = [render(Conversation(each.turns), TINY) for each in asked]
    return answer_all(model, prompts, [seen[each.scene] for each in asked])


def scores_of(asked: Sequence[Asked], answers: Sequence[Answer]) -> Scores:
    """Shares of exact and of right answers by question type."""
    exact: Counter[str] = Counter()
    right: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for each, answer in zip(asked, answers, strict=True):
        name = each.question_type
        total[name] += 1
        exact[name] += answer.text == each.answer
        right[name] += judging.is_right(name, answer.text, each.answer)
    return {
        name: {"exact": share(exact[name], total[name]), "right": share(right[name], total[name])}
        for name in total
    }


def description_scores(
    model: MiniGPT4, scenes: Sequence[Scene], *, blind: bool = False
) -> dict[str, float]:
    """How much of scenes their descriptions name, and how often a description fails.

    `recall` and `precision` count objects by colour and kind; `full_*` by size as well.
    """
    seen = see_scenes(model, scenes, blind=blind)
    wordings = [DESCRIBE_INSTRUCTIONS[n % len(DESCRIBE_INSTRUCTIONS)] for n in range(len(scenes))]
    answers = ask_each(model, wordings, [seen[scene] for scene in scenes])
    tallies: Counter[str] = Counter()
    for scene, answer in zip(scenes, answers, strict=True):
        tallies.update(dict(judging.tally(scene, answer.text, ended=answer.ended)))
    return {
        "recall": share(tallies["found"], tallies["there"]),
        "precision": share(tallies["found"], tallies["said"]),
        "full_recall": share(tallies["full_found"], tallies["there"]),
        "full_precision": share(tallies["full_found"], tallies["said"]),
        "exact": share(tallies["exact"], len(scenes)),
        "background": share(tallies["background"], len(scenes)),
        "hedged": share(tallies["hedged"], len(scenes)),
        "failures": share(tallies["failed"], len(scenes)),
    }


def failure_share(answers: Sequence[Answer]) -> float:
    """How many answers do not end, repeat themselves or leave the world's language."""
    failed = sum(judging.is_failure(each.text, ended=each.ended) for each in answers)
    return share(failed, len(answers))


def share(part: float, whole: float) -> float:
    """A part of a whole, in four digits; 0 of nothing."""
    return round(part / whole, 4) if whole else 0.0


def held_out_scenes(number: int, *, pairs: bool = False, first: int = FIRST_SEED) -> list[Scene]:
    """Scenes of seeds that no training draws; with `pairs`, each has an unseen colour and kind."""
    return [make_scene(seed, held_out=pairs) for seed in range(first, first + number)]


def mean_of(scores: Mapping[str, Mapping[str, float]], key: str = "right") -> float:
    """The plain mean over question types."""
    return share(sum(each[key] for each in scores.values()), len(scores))


def evaluate(
    model: MiniGPT4, *, scenes: int = 1000, pairs: int = 300, wordings: int = 200
) -> dict[str, Any]:
    """What a model answers about held-out scenes.

    Args:
        model: The whole model, projection included.
        scenes: Held-out scenes with pairs of colour and kind that training has seen.
        pairs: Held-out scenes with a pair that training has never seen.
        wordings: Questions of every type in wordings that training has never used, and as many in
            known wordings said loosely.
    """
    plain = held_out_scenes(scenes)
    unseen = held_out_scenes(pairs, pairs=True)
    asked, asked_unseen = questions_about(plain, scenes), questions_about(unseen, pairs)
    about = [index for index, each in enumerate(asked_unseen) if each.about_unseen_pair]
    reworded = questions_about(plain, wordings, held_out_wording=True)
    loose = [said_loosely(each) for each in questions_about(plain, wordings)]
    answers, on_unseen = answers_to(model, asked), answers_to(model, asked_unseen)
    return {
        "number": dict(Counter(each.question_type for each in asked)),
        "answers": scores_of(asked, answers),
        "blind": scores_of(asked, answers_to(model, asked, blind=True)),
        "unseen_pairs": scores_of(asked_unseen, on_unseen),
        "blind_unseen_pairs": scores_of(asked_unseen, answers_to(model, asked_unseen, blind=True)),
        "about_unseen_pairs": scores_of(
            [asked_unseen[index] for index in about], [on_unseen[index] for index in about]
        ),
        "unseen_wordings": scores_of(reworded, answers_to(model, reworded)),
        "loosely": scores_of(loose, answers_to(model, loose)),
        "failures": failure_share(answers),
        "false_alarms": share(sum(judging.is_hedged(each.text) for each in answers), len(answers)),
        "descriptions": description_scores(model, plain),
        "descriptions_blind": description_scores(model, plain[: max(2, scenes // 4)], blind=True),
        "descriptions_unseen_pairs": description_scores(model, unseen),
    }


def evaluate_briefly(model: MiniGPT4, *, scenes: int = 250) -> dict[str, Any]:
    """Answers and descriptions on some of the scenes of `evaluate`, to compare projections."""
    plain = held_out_scenes(scenes)
    asked = questions_about(plain, scenes)
    answers = answers_to(model, asked)
    return {
        "answers": scores_of(asked, answers),
        "failures": failure_share(answers),
        "descriptions": description_scores(model, plain),
    }
