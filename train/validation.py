"""A user's data before it is trained on: what cannot be used, where, and why.

Every row ends as usable or as a fault with its line; none is left out in silence. Training starts
only with at most one bad row in a hundred, and with two rows at least.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image
from sentencepiece import SentencePieceProcessor
from tqdm import tqdm

from minigpt4.config import locate
from minigpt4.conversation import Conversation, Turn, clean_question, clean_text, render
from minigpt4.errors import ImageError, PromptError
from minigpt4.images import image_key, load_image
from minigpt4.models.presets import Preset
from minigpt4.prompt_formats import PromptFormat
from train.answer_limit import Length, length_of
from train.captions import clean_caption
from train.errors import TrainingError
from train.own_layouts import Source
from train.own_rows import Fault, Row, fault
from train.settings import PartsSettings

MOST_BAD = 0.01
"""The share of bad rows with which training still starts."""
FEWEST_ROWS = 2
"""One to learn from and one to be held out."""
_SHOWN_FAULTS = 5
_SHOW_PROGRESS_FROM = 500
_SHOWN_PATH = 200


@dataclass(frozen=True, slots=True)
class OwnRow:
    """A row that can be trained on.

    Attributes:
        line: Where it stands in its file.
        path: The picture's file.
        conversation: Its pictures' keys are those of their content. A first question that is empty
            is drawn anew for every sample.
    """

    line: int
    path: Path
    conversation: Conversation

    @property
    def key(self) -> str:
        """The picture's content key."""
        return self.conversation.image_keys[0]

    @property
    def content(self) -> str:
        """Picture and texts as one string: equal rows, equal content."""
        turns = [[each.question, each.answer, *each.images] for each in self.conversation.turns]
        return json.dumps(turns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a text has to fit into, known without loading a weight.

    Attributes:
        prompt_format: How conversations are written down.
        encode: The tokeniser.
        queries: Visual tokens of a picture.
        context: Positions that the language model has.
        answer_tokens: The longest answer; a longer one is cut.
        longest_instruction: What is put in for a question that is drawn.
    """

    prompt_format: PromptFormat
    encode: Callable[[str], Sequence[int]]
    queries: int
    context: int
    answer_tokens: int
    longest_instruction: str = ""

    def length(self, conversation: Conversation) -> Length:
        """Measure a closed conversation."""
        first, *others = conversation.turns
        if not first.question and self.prompt_format.takes_question:
            first = Turn(self.longest_instruction, first.answer, first.images)
        prompt = render(Conversation((first, *others)), self.prompt_format)
        return length_of(prompt, self.encode, self.queries, self.answer_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What a check found.

    Attributes:
        source: The data.
        rows: The rows that can be trained on.
        faults: The others.
        pictures: Different pictures among the rows.
        cut: Answers that are cut.
        answer_tokens: What they are cut to.
        longest_answer: Tokens of the longest answer.
        unused: Instructions that stage 1 has no place for.
    """

    source: Source
    rows: tuple[OwnRow, ...]
    faults: tuple[Fault, ...]
    pictures: int
    cut: int
    answer_tokens: int
    longest_answer: int
    unused: int

    @property
    def stops(self) -> str:
        """Why training does not start; empty if it does."""
        total = len(self.source.rows)
        different = len({row.content for row in self.rows})
        if different < FEWEST_ROWS:
            return (
                f"{_counted(different, 'different row')} can be used; training needs {FEWEST_ROWS} "
                "at least, one of them to be held out."
            )
        if len(self.faults) > MOST_BAD * total:
            return (
                f"{100 * len(self.faults) / total:.3g} % of the rows cannot be used; training "
                f"starts with at most {100 * MOST_BAD:g} %. Mend these rows or take them out."
            )
        return ""

    @property
    def causes(self) -> dict[str, int]:
        """Number of faults by cause, the most frequent first."""
        return dict(Counter(each.cause for each in self.faults).most_common())

    def lines(self) -> Iterator[str]:
        """Tell a person what was found."""
        source = self.source
        total = len(source.rows) + source.text_only
        yield (
            f"{source.path}: {source.layout}; {_counted(total, 'row')}, {len(self.rows):,} of them "
            f"usable, with {_counted(self.pictures, 'picture')}."
        )
        for key, count in source.ignored.items():
            name = key or "what has no name"
            yield f"  Nothing is read from {name}, given in {_counted(count, 'row')}."
        if source.text_only:
            counted = _counted(source.text_only, "row")
            yield f"  {counted} without a picture: text only, passed over."
        if self.unused:
            yield (
                f"  Stage 1 has no place for instructions: those of {_counted(self.unused, 'row')} "
                "are not used."
            )
        if self.cut:
            yield (
                f"  {_counted(self.cut, 'answer')} longer than {self.answer_tokens} tokens (the "
                f"longest has {self.longest_answer:,}): the rest is cut, and the end is not taught "
                "there. own_data.answer_tokens sets the length."
            )
        if not self.faults:
            return
        yield f"  {_counted(len(self.faults), 'row')} cannot be used:"
        yield from (f"  {count:>6,} x {cause}" for cause, count in self.causes.items())
        first = self.faults[:_SHOWN_FAULTS]
        yield "  The first of them:" if len(self.faults) > len(first) else "  These are:"
        yield from (f"    {each.place}: {each.cause}: {each.problem}" for each in first)


def limits_of(
    parts: PartsSettings,
    preset: Preset,
    prompt_format: PromptFormat,
    answer_tokens: int,
    instructions: Sequence[str],
) -> Limits:
    """Reads what a text has to fit into from the language model's folder.

    Raises:
        TrainingError: If the folder has no tokeniser or no configuration.
    """
    folder = locate(parts.language_model)
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        pieces = SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
        context = int(config["max_position_embeddings"])
    except (OSError, ValueError, KeyError) as error:
        message = (
            f"The language model's folder {folder} cannot be read ({error}); expected config.json "
            "and tokenizer.model in it. Set model.language_model."
        )
        raise TrainingError(message) from error
    return Limits(
        prompt_format=prompt_format,
        encode=pieces.encode,
        queries=_visual_tokens(parts, preset),
        context=context,
        answer_tokens=answer_tokens,
        longest_instruction=max(instructions, key=len, default=""),
    )


def _visual_tokens(parts: PartsSettings, preset: Preset) -> int:
    """Positions that a picture takes."""
    if not preset.joined_patches:
        return preset.qformer.queries
    side = parts.image_size or preset.vision.image_size
    return (side // preset.vision.patch_size) ** 2 // preset.joined_patches


def check_rows(source: Source, limits: Limits) -> Checked:
    """Looks at every row of a user's data, its picture included."""
    pictures: dict[Path, str | ImageError] = {}
    rows: list[OwnRow] = []
    faults: list[Fault] = []
    cut = longest = unused = 0
    few = len(source.rows) < _SHOW_PROGRESS_FROM
    for each in tqdm(source.rows, "checking rows", unit="row", disable=few, leave=False):
        row = each if isinstance(each, Fault) else _checked(each, limits, pictures)
        if isinstance(row, Fault):
            faults.append(row)
            continue
        rows.append(row)
        length = limits.length(row.conversation)
        cut, longest = cut + length.cut, max(longest, length.longest_answer)
        captioned = not limits.prompt_format.takes_question
        unused += captioned and isinstance(each, Row) and bool(each.exchanges[0][0])
    return Checked(
        source=source,
        rows=tuple(rows),
        faults=tuple(faults),
        pictures=len({row.key for row in rows}),
        cut=cut,
        answer_tokens=limits.answer_tokens,
        longest_answer=longest,
        unused=unused,
    )


def _checked(row: Row, limits: Limits, pictures: dict[Path, str | ImageError]) -> OwnRow | Fault:
    """Return the row ready to be trained on, or what is wrong with it."""
    captioned = not limits.prompt_format.takes_question
    if captioned and len(row.exchanges) > 1:
        problem = f"{len(row.exchanges)} turns given; stage 1 learns one caption a picture."
        return _fault(row, "several turns", problem)
    turns = []
    for number, (question, answer) in enumerate(row.exchanges, start=1):
        where = f"turn {number}: " if len(row.exchanges) > 1 else ""
        cleaned = clean_caption(clean_text(answer)) if captioned else clean_text(answer).strip()
        if not cleaned:
            left = f" Nothing is left of {answer[:40]!r}." if answer.strip() else ""
            return _fault(row, "empty answer", f"{where}the answer is empty.{left}")
        try:
            asked = clean_question(question) if question and not captioned else ""
        except PromptError as error:
            return _fault(row, "question", f"{where}{error}")
        turns.append(Turn(asked, cleaned))
    if row.path not in pictures:
        pictures[row.path] = _key_of(row.path)
    key = pictures[row.path]
    if isinstance(key, ImageError):
        missing = key.code == "not_found"
        cause = "missing picture" if missing else "unreadable picture"
        path = str(row.path)
        place = path if len(path) <= _SHOWN_PATH else f"...{path[-_SHOWN_PATH:]}"
        return _fault(row, cause, f"{place}: {key}")
    shown = turns[row.picture_turn]
    turns[row.picture_turn] = Turn(shown.question, shown.answer, (key,))
    conversation = Conversation(tuple(turns))
    length = limits.length(conversation)
    if length.tokens > limits.context:
        problem = (
            f"{_counted(len(turns), 'turn')} and the picture need {length.tokens:,} tokens, and the"
            f" language model reads {limits.context:,}. Split the conversation."
        )
        return _fault(row, "longer than the context", problem)
    return OwnRow(row.line, row.path, conversation)


def read_picture(path: Path) -> Image.Image:
    """A picture of a user's data, as its check saw it.

    Raises:
        TrainingError: If it was there when the data were checked, and cannot be read now.
    """
    try:
        return load_image(path)
    except ImageError as error:
        message = f"{path} was read when training began, and now: {error}"
        raise TrainingError(message) from error


def fault_records(faults: Iterable[Fault]) -> Iterator[Mapping[str, str | int]]:
    """Faults as lines of a file, for a person to mend them by."""
    for each in faults:
        yield {
            "line": each.line,
            **({"entry": each.entry} if each.entry else {}),
            "cause": each.cause,
            "problem": each.problem,
            "row": each.content,
        }


def _key_of(path: Path) -> str | ImageError:
    try:
        return image_key(load_image(path))
    except ImageError as error:
        return error


def _fault(row: Row, cause: str, problem: str) -> Fault:
    return replace(fault(row.line, cause, problem, row.content), entry=row.entry)


def _counted(number: int, singular: str) -> str:
    return f"{number:,} {singular}{'' if number == 1 else 's'}"
