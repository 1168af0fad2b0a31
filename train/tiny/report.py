"""Scores the embedded default and writes its model card.

    python -m train.tiny.report

writes scores.json and MODEL_CARD.md beside the weights, and a contact sheet of held-out pictures
with questions and answers, right ones and wrong ones, into docs/pictures.
"""

import argparse
import json
import random
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from minigpt4.build import build_model
from minigpt4.config import ASSETS, load_config
from minigpt4.conversation import Conversation, Turn, render
from minigpt4.models.minigpt4 import MiniGPT4
from minigpt4.prompt_formats import TINY
from train.cartoon.describe import QUESTION_TYPES, ask, describe
from train.cartoon.draw import draw_scene
from train.cartoon.scene import make_scene
from train.tiny.evaluate import FIRST_SEED, answer_all, evaluate, mean_of, see

ROOT = Path(__file__).parents[2]
_CARD = Path(__file__).with_name("model_card.md")
_SHEET_SEED = FIRST_SEED + 50_000


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Score the embedded default, write its card.")
    parser.add_argument("--config", type=Path, default=ROOT / "eval_configs" / "tiny.yaml")
    parser.add_argument("--output", type=Path, default=ASSETS / "tiny")
    parser.add_argument("--pictures", type=Path, default=ROOT / "docs" / "pictures")
    parser.add_argument("--scenes", type=int, default=500, help="held-out scenes (%(default)s)")
    parser.add_argument("--card-only", action="store_true", help="from the scores of the last time")
    given = parser.parse_args(arguments)
    scores_file = given.output / "scores.json"
    if not given.card_only:
        stage2 = build_model(load_config(given.config))
        number = given.scenes
        scores = {
            "stage2": evaluate(
                stage2, scenes=number, pairs=min(300, number), wordings=min(200, number)
            )
        }
        given.pictures.mkdir(parents=True, exist_ok=True)
        contact_sheet(stage2).save(given.pictures / "tiny-contact-sheet.png", optimize=True)
        projection = "model.projection=assets:tiny/projection_stage1.safetensors"
        stage1 = build_model(load_config(given.config, [projection]))
        few = max(4, number // 4)
        scores["stage1"] = evaluate(stage1, scenes=few, pairs=few, wordings=few)
        scores_file.write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
    scores = json.loads(scores_file.read_text(encoding="utf-8"))
    card = _CARD.read_text(encoding="utf-8").replace("{{scores}}", tables(scores))
    (given.output / "MODEL_CARD.md").write_text(card, encoding="utf-8")
    return 0


def tables(scores: Mapping[str, Any]) -> str:
    """The scores as Markdown tables."""
    final, early = scores["stage2"], scores["stage1"]
    columns = (
        ("asked", final["number"], "{}"),
        ("right", final["answers"], "{:.1%}"),
        ("blind", final["blind"], "{:.1%}"),
        ("unseen pairs", final["unseen_pairs"], "{:.1%}"),
        ("blind there", final["blind_unseen_pairs"], "{:.1%}"),
        ("about the pair", final["about_unseen_pairs"], "{:.1%}"),
        ("unseen wordings", final["unseen_wordings"], "{:.1%}"),
        ("stage 1 only", early["answers"], "{:.1%}"),
    )
    lines = [
        "| question | " + " | ".join(title for title, _, _ in columns) + " |",
        "|---|" + "--:|" * len(columns),
    ]
    for name in final["answers"]:
        cells = [form.format(of[name]) if name in of else "" for _, of, form in columns]
        lines.append(f"| {name.replace('_', ' ')} | " + " | ".join(cells) + " |")
    whole = [len(of) == len(final["answers"]) for _, of, _ in columns[1:]]
    means = [
        f"{mean_of(of):.1%}" if all_types else ""
        for (_, of, _), all_types in zip(columns[1:], whole, strict=True)
    ]
    lines += [f"| **mean** | | {' | '.join(means)} |", "", *_description_table(final, early)]
    return "\n".join(lines)


def _description_table(final: Mapping[str, Any], early: Mapping[str, Any]) -> list[str]:
    columns = {
        "stage 2": final["descriptions"],
        "blind": final["descriptions_blind"],
        "unseen pairs": final["descriptions_unseen_pairs"],
        "stage 1 only": early["descriptions"],
    }
    rows = {
        "objects named, colour and kind (recall)": "recall",
        "objects named that are there (precision)": "precision",
        "recall with size as well": "full_recall",
        "precision with size as well": "full_precision",
        "background named": "background",
        "whole description exact": "exact",
        "failures (no end, repetition, not in the world's language)": "failures",
    }
    lines = ["| description | " + " | ".join(columns) + " |", "|---|" + "--:|" * len(columns)]
    for title, key in rows.items():
        lines.append(
            f"| {title} | " + " | ".join(f"{of[key]:.1%}" for of in columns.values()) + " |"
        )
    return lines


def contact_sheet(model: MiniGPT4, number: int = 24, asked: int = 4) -> Image.Image:
    """Held-out pictures with questions and answers; wrong answers are red and told the truth.

    Args:
        model: Answers.
        number: How many pictures, in columns of three.
        asked: Questions a picture, besides a description.
    """
    scenes = [make_scene(_SHEET_SEED + index, held_out=index % 3 == 2) for index in range(number)]
    seen = see(model, scenes)
    rows = []
    for scene, tokens in zip(scenes, seen, strict=True):
        rng = random.Random(scene.seed)
        types = rng.sample(QUESTION_TYPES, len(QUESTION_TYPES))
        exchanges = [each for name in types if (each := ask(scene, name, rng))][:asked]
        rows += [
            (
                tokens,
                "Describe this image in detail.",
                {describe(scene, random.Random(n)) for n in range(12)},
            )
        ]
        rows += [(tokens, each.question, {each.answer}) for each in exchanges]
    prompts = [
        render(Conversation((Turn(question, None, ("picture",)),)), TINY) for _, question, _ in rows
    ]
    answers = answer_all(model, prompts, [tokens for tokens, _, _ in rows], 160)
    width, height, columns = 560, 290, 3
    sheet = Image.new("RGB", (width * columns, height * -(-number // columns)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for index, scene in enumerate(scenes):
        left, top = width * (index % columns) + 8, height * (index // columns) + 8
        sheet.paste(draw_scene(scene, 192), (left, top))
        if index % 3 == 2:
            draw.text((left, top + 198), "has an unseen pair", font=font, fill="#666666")
        line = top
        for row in range(index * (asked + 1), (index + 1) * (asked + 1)):
            _, question, true = rows[row]
            right = answers[row] in true
            shown = f"{question} \u00bb {answers[row]}"
            if not right and len(true) == 1:
                shown += f" [{next(iter(true))}]"
            for part in textwrap.wrap(shown, 52):
                draw.text(
                    (left + 200, line), part, font=font, fill="#111111" if right else "#c1121f"
                )
                line += 16
            line += 3
    return sheet


if __name__ == "__main__":
    sys.exit(main())
