"""Questions with answers, in the layouts in which VQAv2, OK-VQA, GQA and A-OKVQA are published.

VQAv2, OK-VQA   {"questions": [{"question_id": 1, "image_id": 42, "question": "..."}]}, and in a
                file of its own {"annotations": [{"question_id": 1, "answer_type": "...",
                "answers": [{"answer": "...", "answer_id": 1}, ...]}]}
GQA             {"1": {"imageId": "n42", "question": "...", "answer": "..."}}
A-OKVQA         [{"question_id": "a", "image_id": 42, "question": "...", "choices": [...],
                "correct_choice_idx": 0, "direct_answers": [...],
                "difficult_direct_answer": false}]
one's own       a line each {"image": "a.png", "question": "...", "answers": ["..."]}
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from minigpt4.errors import ConfigError
from minigpt4.evaluation.files import (
    NO_OBJECT,
    PictureFolder,
    group_of,
    is_lines,
    items_of,
    read_json,
    read_rows,
    text_of,
    texts_of,
)
from minigpt4.evaluation.items import Data, Item

_CHOICES = "{question} Options: {choices}."


def read_vqa(
    path: Path,
    pictures: PictureFolder,
    *,
    annotations: Path | None = None,
    multiple_choice: bool = False,
) -> Data:
    """Reads a benchmark; which one it is shows in the file.

    Args:
        path: Its questions.
        pictures: Its pictures.
        annotations: Its answers, where they are in a file of their own.
        multiple_choice: Offers A-OKVQA's choices instead of taking any answer.

    Raises:
        ConfigError: If a file cannot be read, or is of no layout that is known.
    """
    if is_lines(path):
        layout, data = "own", _own(path, pictures)
    else:
        layout, data = _published(
            path, read_json(path), pictures, annotations, multiple_choice=multiple_choice
        )
    if annotations is not None and layout != "VQA":
        raise ConfigError([f"--annotations: {annotations} given, but {path} has its own answers."])
    if multiple_choice and layout != "A-OKVQA":
        raise ConfigError([f"--multiple-choice: {path} has no choices; A-OKVQA has them."])
    return data


def _published(
    path: Path,
    content: Any,  # noqa: ANN401 - whatever the file holds
    pictures: PictureFolder,
    annotations: Path | None,
    *,
    multiple_choice: bool,
) -> tuple[str, Data]:
    if isinstance(content, dict) and isinstance(content.get("questions"), list):
        if annotations is None:
            problem = f"{path}: these questions have no answers."
            raise ConfigError([f"{problem} Give --annotations FILE."])
        return "VQA", _vqa(content["questions"], _annotated(annotations), pictures)
    if isinstance(content, dict) and any(
        isinstance(each, dict) and "imageId" in each for each in content.values()
    ):
        return "GQA", _gqa(content, pictures)
    if isinstance(content, list) and any(
        isinstance(each, dict) and "direct_answers" in each for each in content
    ):
        return "A-OKVQA", (_choices if multiple_choice else _direct)(content, pictures)
    layouts = "VQAv2, OK-VQA, GQA and A-OKVQA, and JSONL with image, question and answers"
    raise ConfigError([f"{path}: this is no layout that is known. Known are {layouts}."])


def _annotated(path: Path) -> dict[str, dict[str, Any]]:
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("annotations"), list):
        raise ConfigError([f'{path}: no answers: expected an object with "annotations", a list.'])
    return {
        str(each["question_id"]): each
        for each in content["annotations"]
        if isinstance(each, dict) and "question_id" in each
    }


def _vqa(
    questions: list[Any], annotated: dict[str, dict[str, Any]], pictures: PictureFolder
) -> Data:
    def item(row: dict[str, Any]) -> Item:
        key, image = text_of(row, "question_id"), text_of(row, "image_id")
        truth = annotated.get(key, {})
        given = truth.get("answers")
        people = [each.get("answer") if isinstance(each, dict) else each for each in given or ()]
        # Of ten people one may have written nothing, which is an answer all the same.
        answers = tuple(each for each in people if isinstance(each, str))
        if not any(answers) or len(answers) < len(people):
            raise ValueError(f"question_id {key} has no answers among the annotations.")
        group = group_of(truth, "answer_type")
        return Item(key, pictures.of_id(image), text_of(row, "question"), answers, group, "ten")

    return items_of(_numbered(questions), item)


def _gqa(content: dict[str, Any], pictures: PictureFolder) -> Data:
    def item(row: dict[str, Any]) -> Item:
        kinds = row.get("types")
        group = group_of(kinds, "structural") if isinstance(kinds, dict) else ""
        picture, answer = pictures.of_id(text_of(row, "imageId")), text_of(row, "answer")
        return Item(row["key"], picture, text_of(row, "question"), (answer,), group, "one")

    rows = (
        (f"question {key}", {**row, "key": key} if isinstance(row, dict) else NO_OBJECT)
        for key, row in content.items()
    )
    return items_of(rows, item)


def _direct(content: list[Any], pictures: PictureFolder) -> Data:
    def item(row: dict[str, Any]) -> Item:
        key, picture = text_of(row, "question_id"), pictures.of_id(text_of(row, "image_id"))
        answers = texts_of(row, "direct_answers")
        if not answers:
            raise ValueError('"direct_answers" must hold at least one answer.')
        return Item(key, picture, text_of(row, "question"), answers, rule="three")

    asked = [
        row
        for row in content
        if not isinstance(row, dict) or not row.get("difficult_direct_answer")
    ]
    data = items_of(_numbered(asked), item)
    if not (left_out := len(content) - len(asked)):
        return data
    note = f"{left_out:,} questions that A-OKVQA marks as difficult for direct answers left out."
    return replace(data, notes=(note,))


def _choices(content: list[Any], pictures: PictureFolder) -> Data:
    def item(row: dict[str, Any]) -> Item:
        key, picture = text_of(row, "question_id"), pictures.of_id(text_of(row, "image_id"))
        choices, right = texts_of(row, "choices"), row.get("correct_choice_idx")
        if not isinstance(right, int) or not 0 <= right < len(choices):
            raise ValueError(f'"correct_choice_idx" must be from 0 to {len(choices) - 1}.')
        asked = _CHOICES.format(question=text_of(row, "question"), choices=", ".join(choices))
        return Item(key, picture, asked, (choices[right],), rule="choice", choices=choices)

    return items_of(_numbered(content), item)


def _own(path: Path, pictures: PictureFolder) -> Data:
    def item(row: dict[str, Any]) -> Item:
        key, answers = text_of(row, "id", "question_id", "line"), texts_of(row, "answers")
        if not answers:
            raise ValueError('"answers" must hold at least one answer.')
        picture, group = pictures.named(text_of(row, "image")), group_of(row, "type")
        # The official rule needs the answers of several people; of fewer than four, one is enough.
        rule = "ten" if len(answers) > 3 else "one"
        return Item(key, picture, text_of(row, "question"), answers, group, rule)

    rows = (
        (place, {"line": place.removeprefix("line "), **row} if isinstance(row, dict) else row)
        for place, row in read_rows(path)
    )
    return items_of(rows, item)


def _numbered(rows: list[Any]) -> Iterator[tuple[str, dict[str, Any] | str]]:
    for number, row in enumerate(rows, start=1):
        yield f"entry {number}", row if isinstance(row, dict) else NO_OBJECT
