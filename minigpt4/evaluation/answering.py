"""Asks a model the questions of a benchmark: many at a time, each in a fresh chat, resumable.

`minigpt4.batch` does the asking. What it reads and writes lies in the output folder:

    questions.jsonl     the questions
    answers.jsonl       the answers; with several projections, answers.LABEL.jsonl of each
    run.json            which model answered, and how: answers of two models are never mixed
"""

import hashlib
import json
import re
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from minigpt4 import batch
from minigpt4.api import LoadedChat, find_config, load
from minigpt4.batch_rows import Shard
from minigpt4.commands import GENERATION
from minigpt4.config import Config, load_config, locate
from minigpt4.errors import ConfigError
from minigpt4.evaluation.files import read_rows
from minigpt4.evaluation.items import Answer, Item
from minigpt4.references import parse_reference

MODEL = "model"
"""What the model is called where there is but one."""
_LABEL = re.compile(r"[\w][\w .+-]{0,29}")


@dataclass(frozen=True, slots=True)
class Asked:
    """A model that is to answer.

    Attributes:
        label: What reports call it.
        file: Where its answers go, in the output folder.
        overrides: Settings that win over the configuration's.
        config: With all of them.
    """

    label: str
    file: str
    overrides: tuple[str, ...]
    config: Config


def models(given: Namespace, max_new_tokens: int) -> tuple[Asked, ...]:
    """The models of a command line: one for each projection, or the configuration's own.

    Answers are the likeliest ones unless something else is said, for they can be had again.

    Raises:
        ConfigError: If a setting or a label is wrong.
    """
    chosen = {"max_new_tokens": max_new_tokens, "temperature": 0.0, "seed": given.seed}
    flags = {name: getattr(given, name) for name, _, _ in GENERATION if name != "seed"}
    chosen |= {name: value for name, value in flags.items() if value is not None}
    settings = [f"generation.{name}={value}" for name, value in chosen.items()]
    common = batch.with_many_answers([*settings, *given.overrides])
    if given.device:
        common.append(f"device={given.device}")
    labelled = labels(given.projection, "--projection") if given.projection else {MODEL: ""}
    asked = []
    for label, weights in labelled.items():
        overrides = (*common, *([f"model.projection={weights}"] if weights else []))
        config = load_config(find_config(given.cfg_path), overrides)
        name = re.sub(r"\W+", "-", label.lower()).strip("-")
        file = "answers.jsonl" if not weights else f"answers.{name}.jsonl"
        asked.append(Asked(label, file, overrides, config))
    if len({each.file for each in asked}) < len(asked):
        raise ConfigError(["--projection: two labels differ in no letter and no figure."])
    return tuple(asked)


def labels(given: Sequence[str], option: str) -> dict[str, str]:
    """Splits each LABEL=VALUE.

    Raises:
        ConfigError: If one is nothing like that, or a label comes twice.
    """
    found: dict[str, str] = {}
    for text in given:
        label, _, value = (part.strip() for part in text.partition("="))
        if not value or not _LABEL.fullmatch(label):
            raise ConfigError([f'{option}: {text!r} given; expected such as "stage 1=FILE".'])
        if label in found:
            raise ConfigError([f"{option}: {label!r} given twice. Give each its own label."])
        found[label] = value
    return found


def ask(
    items: Sequence[Item],
    asked: Sequence[Asked],
    given: Namespace,
    say: Callable[[str], None],
) -> dict[str, dict[str, Answer]]:
    """Asks each model all questions, but for those it has answered in an earlier run.

    Args:
        items: The questions.
        asked: The models, one after the other.
        given: The command line.
        say: Gets sentences for the person.

    Returns:
        For each label the answers by their items' keys; those that failed are not among them.

    Raises:
        MiniGPT4Error: If a model cannot be loaded, or the folder holds answers of other models.
    """
    if Shard.of_environment() is not None:
        problem = "Several processes were started, which would each ask everything."
        raise ConfigError([f"{problem} Start one, or see --questions-only in docs/evaluation.md."])
    _check_pictures(items)
    output: Path = given.output
    text = _questions(items)
    make_folder(output)
    _check_same(output, asked, text)
    questions = output / "questions.jsonl"
    questions.write_text(text, encoding="utf-8")
    answers = {}
    for each in asked:
        if len(asked) > 1:
            say(f"{each.label}:")
        target = output / each.file
        with ExitStack() as loaded:

            def loading(each: Asked = each, loaded: ExitStack = loaded) -> LoadedChat:
                return loaded.enter_context(load(given.cfg_path, each.overrides))

            batch.run(questions, target, loading, say)
        answers[each.label] = _read(target)
    return answers


def write_questions(items: Sequence[Item], output: Path) -> Path:
    """Writes the questions as `python -m minigpt4 batch` reads them, and asks nothing.

    Raises:
        ConfigError: If no picture is there, or the folder cannot be made.
    """
    _check_pictures(items)
    make_folder(output)
    path = output / "questions.jsonl"
    path.write_text(_questions(items), encoding="utf-8")
    return path


def _questions(items: Sequence[Item]) -> str:
    rows = (
        {"image": str(item.picture.absolute()), "question": item.question, "id": item.key}
        for item in items
    )
    text = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
    return text.encode("utf-8", "replace").decode()  # half a character of JSON is no UTF-8


def make_folder(folder: Path) -> None:
    """Makes the folder that everything goes into.

    Raises:
        ConfigError: If it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError([f"{folder}: cannot be made ({error.strerror})."]) from error


def _check_pictures(items: Sequence[Item]) -> None:
    """Raises if no picture is there at all: then the folder is wrong, not the pictures."""
    if not any(item.picture.is_file() for item in items):
        first = items[0].picture
        problem = f"None of the {len(items):,} pictures is there; the first would be {first}."
        raise ConfigError([f"{problem} Say where they are: --images FOLDER."])


def _check_same(output: Path, asked: Sequence[Asked], questions: str) -> None:
    """Raises if the folder holds answers to other questions, or of other models."""
    file = output / "run.json"
    before: dict[str, Any] = {}
    if file.exists():
        try:
            before = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            problem = f"{file}: this is no JSON, so nobody knows which model answered."
            raise ConfigError(
                [f"{problem} Give another --output, or remove that folder."]
            ) from error
    digest = hashlib.sha256(questions.encode()).hexdigest()
    told = {each.file: _told(each.config) for each in asked}
    earlier: dict[str, Any] = before.get("answers", {})
    cure = "Give another --output, or remove that folder."
    if any(output.glob("answers*.jsonl")) and before.get("questions") != digest:
        raise ConfigError([f"{output}: holds answers to other questions. {cure}"])
    for name, model in told.items():
        if (output / name).exists() and earlier.get(name) != model:
            changed = ", ".join(sorted(_differing(earlier.get(name, {}), model)))
            problem = f"{output / name}: answered with other settings ({changed})."
            raise ConfigError([f"{problem} {cure}"])
    now = {"questions": digest, "answers": earlier | told}
    # Beside its place first: a run that is killed here must leave what tells its answers' model.
    beside = file.with_name(f"{file.name}.new")
    beside.write_text(f"{json.dumps(now, indent=1)}\n", encoding="utf-8")
    beside.replace(file)


def _told(config: Config) -> dict[str, Any]:
    """All of a configuration that an answer depends on, in words that JSON has."""
    told: dict[str, Any] = {f"model.{key}": value for key, value in asdict(config.model).items()}
    for name in ("projection_label", "other_projections"):  # the page's
        del told[f"model.{name}"]
    told |= {f"generation.{key}": value for key, value in asdict(config.generation).items()}
    told |= {"precision": config.precision, "quantize": config.quantize}
    local = parse_reference(config.model.projection).local
    if local and (path := locate(local)).is_file():
        # A training run writes its projection anew under the same name.
        told["projection"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return json.loads(json.dumps(told))  # type: ignore[no-any-return]


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> set[str]:
    return {key for key in {*before, *now} if before.get(key) != now.get(key)}


def _read(path: Path) -> dict[str, Answer]:
    if not path.exists():
        return {}
    return {
        row["id"]: Answer(row["answer"], row["finish"])
        for _, row in read_rows(path)
        if isinstance(row, dict)
    }
