"""Tiny datasets in the layouts in which the benchmarks are published, with drawn pictures."""

import json
from collections.abc import Sequence
from pathlib import Path

from train.cartoon.draw import draw_scene
from train.cartoon.scene import make_scene


def write_json(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def write_lines(path: Path, rows: Sequence[object]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def draw(folder: Path, *names: str) -> Path:
    """Draw a picture of each name; the first of a folder is always the same, and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        draw_scene(make_scene(9_000_000 + number, min_things=2), 96).save(folder / name)
    return folder


def people(**said: int) -> list[dict]:
    """Return answers of people as VQA has them: people(red=3, blue=7)."""
    each = [answer for answer, number in said.items() for _ in range(number)]
    return [
        {"answer": answer, "answer_confidence": "yes", "answer_id": number}
        for number, answer in enumerate(each, start=1)
    ]


def vqa_v2(folder: Path) -> tuple[Path, Path]:
    """Write questions and annotations as VQAv2 and OK-VQA publish them."""
    questions = [
        {"image_id": 42, "question": "What color is it?", "question_id": 42000},
        {"image_id": 42, "question": "Is it big?", "question_id": 42001},
        {"image_id": 7, "question": "How many are there?", "question_id": 7000},
        {"image_id": 7, "question": "Nobody answered this.", "question_id": 7001},
    ]
    annotations = [
        {"question_id": 42000, "image_id": 42, "question_type": "what color is",
         "answer_type": "other", "multiple_choice_answer": "blue", "answers": people(red=3, blue=7)},
        {"question_id": 42001, "image_id": 42, "question_type": "is it",
         "answer_type": "yes/no", "multiple_choice_answer": "yes", "answers": people(yes=10)},
        {"question_id": 7000, "image_id": 7, "question_type": "how many",
         "answer_type": "number", "multiple_choice_answer": "2", "answers": people(**{"2": 9, "3": 1})},
    ]  # fmt: skip
    subtype = {"data_type": "mscoco", "data_subtype": "val2014", "task_type": "Open-Ended"}
    return (
        write_json(folder / "v2_OpenEnded_mscoco_val2014_questions.json", {**subtype, "questions": questions}),
        write_json(folder / "v2_mscoco_val2014_annotations.json", {**subtype, "annotations": annotations}),
    )  # fmt: skip


def gqa(folder: Path) -> Path:
    """Write questions as GQA publishes them."""
    types = {"detailed": "color", "semantic": "attr", "structural": "query"}
    return write_json(
        folder / "testdev_balanced_questions.json",
        {
            "201": {"imageId": "n5", "question": "What color is the boat?", "answer": "red",
                    "fullAnswer": "The boat is red.", "isBalanced": True, "types": types},
            "202": {"imageId": "2405722", "question": "Is there a cat?", "answer": "no",
                    "fullAnswer": "No.", "isBalanced": True,
                    "types": {**types, "structural": "verify"}},
        },
    )  # fmt: skip


def aokvqa(folder: Path) -> Path:
    """Write questions as A-OKVQA publishes them."""
    common = {"split": "val", "rationales": ["It is so."]}
    return write_json(
        folder / "aokvqa_v1p0_val.json",
        [
            {**common, "image_id": 42, "question_id": "easy", "question": "What is it for?",
             "choices": ["tennis", "table tennis", "golf", "chess"], "correct_choice_idx": 1,
             "direct_answers": ["ping pong"] * 2 + ["table tennis"] * 5 + ["sport"] * 3,
             "difficult_direct_answer": False},
            {**common, "image_id": 7, "question_id": "hard", "question": "Why?",
             "choices": ["fun", "rain", "work", "food"], "correct_choice_idx": 0,
             "direct_answers": ["a"] * 10, "difficult_direct_answer": True},
        ],
    )  # fmt: skip


def coco(folder: Path) -> tuple[Path, Path]:
    """Write instances and captions as COCO publishes them: a dog; a man and a hot dog; nothing."""
    images = [
        {"id": number, "file_name": f"COCO_val2014_{number:012}.jpg", "width": 96, "height": 96}
        for number in (1, 2, 3)
    ]
    categories = [
        {"id": 1, "name": "person", "supercategory": "person"},
        {"id": 18, "name": "dog", "supercategory": "animal"},
        {"id": 58, "name": "hot dog", "supercategory": "food"},
    ]
    annotations = [
        {"id": 1, "image_id": 1, "category_id": 18, "bbox": [0, 0, 9, 9]},
        {"id": 2, "image_id": 2, "category_id": 1, "bbox": [0, 0, 9, 9]},
    ]
    captions = [
        {"id": 1, "image_id": 1, "caption": "A puppy."},
        {"id": 2, "image_id": 2, "caption": "A man with two hot dogs."},
        {"id": 3, "image_id": 2, "caption": "Somebody eats."},
    ]
    return (
        write_json(folder / "instances_val2014.json",
                   {"images": images, "annotations": annotations, "categories": categories}),
        write_json(folder / "captions_val2014.json", {"images": images, "annotations": captions}),
    )  # fmt: skip


SYNONYMS = """\
person, man, woman, child, baby
dog, puppy
hot dog
chair, seat
toilet
tie
wine glass
bus
"""
