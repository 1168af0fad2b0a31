"""Drawings by another hand, and what a model makes of them.

The pictures in `other_hand/` were drawn for this test, in three sets, by people who had not seen
the code of the picture world, in styles of their own choosing (clip-art, crayon, watercolour, pen,
pixels). No training sees them: they tell whether a model knows drawings, or one illustrator. What
the first set showed changed the world's drawings (pens, lines of the cells); what the second showed
of a finished model changed which pictures the eye of the next one is shown. The third was drawn
while the eye of ADR 20 learned, and changed nothing of it.
"""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from minigpt4.models.minigpt4 import MiniGPT4
from train.cartoon.scene import RADII, Scene, Thing
from train.tiny import judging
from train.tiny.evaluate import answers_to, ask_each, questions_about, scores_of, see, share

FOLDER = Path(__file__).with_name("other_hand")
# Places are left out: where these things stand, no line of a grid was kept clear.
_TYPES = ("color", "exists", "exists_color", "count", "total", "background", "sign")
SETS = ("first", "second", "third")
_FIRST_SEED = 2_000_000_000


def drawings(name: str) -> list[tuple[Scene, Image.Image]]:
    """The pictures of one of `SETS` and what they show, as its maker wrote it down."""
    folder = FOLDER / name
    lines = (folder / "truth.jsonl").read_text(encoding="utf-8").splitlines()
    found = []
    for number, line in enumerate(lines):
        row = json.loads(line)
        things = [
            Thing(
                each["kind"],
                each["color"],
                each["size"],
                each["x"],
                each["y"],
                sum(RADII[each["size"]]) / 2,
                each.get("word", ""),
            )
            for each in row["things"]
        ]
        ordered = tuple(sorted(things, key=lambda thing: thing.cell))
        with Image.open(folder / row["file"]) as picture:
            shown = picture.convert("RGB")
        found.append((Scene(_FIRST_SEED + number, row["background"], ordered), shown))
    return found


def other_hand_scores(model: MiniGPT4) -> dict[str, dict[str, float]]:
    """Shares over all drawings by another hand, by set.

    Returns:
        Of each set `number` of drawings and of `things`; of descriptions `recall` and `precision`
        (kind and colour), `background` and `hedged`; and by type of question the share of right
        answers.
    """
    return {name: _scores(model, drawings(name)) for name in SETS}


def _scores(model: MiniGPT4, pictures: Sequence[tuple[Scene, Image.Image]]) -> dict[str, float]:
    seen = see(model, [picture for _, picture in pictures])
    scenes = [scene for scene, _ in pictures]
    told = ask_each(model, ["Describe this image in detail."] * len(scenes), list(seen))
    counts: Counter[str] = Counter()
    for scene, answer in zip(scenes, told, strict=True):
        counts.update(dict(judging.tally(scene, answer.text, ended=answer.ended)))
    asked = [each for each in questions_about(scenes, len(scenes)) if each.question_type in _TYPES]
    answers = answers_to(model, asked, seen=dict(zip(scenes, seen, strict=True)))
    right = {name: each["right"] for name, each in scores_of(asked, answers).items()}
    return {
        "number": len(scenes),
        "things": counts["there"],
        "recall": share(counts["found"], counts["there"]),
        "precision": share(counts["found"], counts["said"]),
        "background": share(counts["background"], len(scenes)),
        "hedged": share(counts["hedged"], len(scenes)),
        **{f"asked_{name}": each for name, each in right.items()},
    }
