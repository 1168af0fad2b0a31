"""What is shown to the model: pictures and the texts that belong to them, step by step.

Everything is a function of the step, so a resumed run reads what it would have read anyway. The
samples here are generated, and nothing of them is kept on disk; `train.own_data` has a user's own.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from minigpt4.conversation import Conversation, Turn, render
from minigpt4.models.minigpt4 import IGNORED, MiniGPT4, PromptTokens, TrainingBatch, collate
from minigpt4.prompt_formats import PromptFormat
from train.answer_limit import cut_answers
from train.cartoon.asking import Exchange, ask_to_describe, dialogue
from train.cartoon.describe import caption, describe
from train.cartoon.draw import draw_scene
from train.cartoon.mixture import mixed_scene
from train.cartoon.scene import Scene, with_random_word
from train.errors import TrainingError
from train.lengths import grouped, worth_a_pass
from train.prefetch import in_order
from train.query_outputs import QueryOutputs
from train.settings import CartoonSettings

_STAGE_SEEDS = 100_000_000
"""Stage n draws its scenes from n times this on: no two stages see the same picture, and none sees
one of the held-out seeds, which begin at `train.cartoon.scene.HELD_OUT_SEEDS`."""
_PICTURE_MARK = "<Img><ImageHere></Img>"


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture and a closed conversation about it.

    Attributes:
        key: The picture's key, which one of the conversation's turns names.
        conversation: Every turn is answered. Stage 1: one turn without a question.
        load: Draws or reads the picture; one whose query output is kept is not needed again.
    """

    key: str
    conversation: Conversation
    load: Callable[[], Image.Image]

    @property
    def picture(self) -> Image.Image:
        """The RGB picture."""
        return self.load()


SampleOf: TypeAlias = Callable[[int], Sample]
"""The sample that belongs to a seed."""


def read_instructions(path: Path) -> tuple[str, ...]:
    """Reads the instructions of stage 2, one a line, each with the mark where its picture stands.

    Returns:
        The instructions without the mark; the prompt format puts the picture before them.

    Raises:
        TrainingError: If the file is missing or empty, or a line has no mark. The release left such
            lines out without a word.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise TrainingError(f"The instructions {path} are no UTF-8. Save the file so.") from error
    except OSError as error:
        raise TrainingError(f"The instructions {path} cannot be read: {error.strerror}.") from error
    instructions = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        before, mark, instruction = line.partition(_PICTURE_MARK)
        if not mark or before.strip() or not instruction.strip():
            message = (
                f"{path}, line {number}: expected {_PICTURE_MARK} and an instruction: {line!r}"
            )
            raise TrainingError(message)
        instructions.append(instruction.strip())
    if not instructions:
        raise TrainingError(f"{path} holds no instruction; stage 2 needs at least one.")
    return tuple(instructions)


def caption_sample(seed: int, settings: CartoonSettings, *, salt: int = 0) -> Sample:
    """A picture of the synthetic world and a noisy caption (stage 1)."""
    scene = _scene(seed, settings)
    rng = random.Random(f"stage1-{salt}-{seed}")
    turn = Turn("", caption(scene, rng), (str(seed),))
    picture = partial(draw_scene, scene, settings.picture_size)
    return Sample(str(seed), Conversation((turn,)), picture)


def aligned_sample(
    seed: int, settings: CartoonSettings, instructions: Sequence[str], *, salt: int = 0
) -> Sample:
    """A picture, and either a detailed description of it or a dialogue about it (stage 2)."""
    scene = _scene(seed, settings)
    rng = random.Random(f"stage2-{salt}-{seed}")
    if rng.random() < settings.description_share:
        exchanges = [_description(scene, rng, instructions)]
    else:
        turns = rng.randint(settings.fewest_turns, settings.most_turns)
        exchanges = dialogue(scene, rng, turns)
        if rng.random() < settings.description_share:
            exchanges[rng.randrange(turns)] = _description(scene, rng, instructions)
    picture = partial(draw_scene, scene, settings.picture_size)
    return Sample(str(seed), conversation_of(exchanges, str(seed)), picture)


def training_seed(stage: int, number: int) -> int:
    """The seed of a stage's sample, counted from 0.

    Raises:
        TrainingError: If the stage has used up its seeds.
    """
    if not 0 <= number < _STAGE_SEEDS:
        message = f"Stage {stage} has {_STAGE_SEEDS:,} samples, and number {number:,} is asked for."
        raise TrainingError(message)
    return stage * _STAGE_SEEDS + number


class Tally(Protocol):
    """Counts of what was read, which are kept where the run is and arise in its workers."""

    def apart(self) -> None:
        """From here on somebody else adds the counts up and judges them."""

    def taken(self) -> Any:  # noqa: ANN401 - what `add` of the same kind takes
        """The counts since they were taken before."""

    def add(self, taken: Any) -> None:  # noqa: ANN401
        """Adds what was counted elsewhere.

        Raises:
            TrainingError: If too much was lost.
        """


@dataclass(frozen=True, slots=True)
class Share:
    """Which samples of every step a process takes.

    Attributes:
        stage: Which stage's samples.
        batch_size: Samples of a batch, in all parts together.
        accumulation: Batches of a step.
        part: Which of the `parts` of every batch.
        parts: In how many parts a batch is shared out.
    """

    stage: int
    batch_size: int
    accumulation: int
    part: int = 0
    parts: int = 1

    def seeds(self, step: int) -> list[int]:
        """The samples of a step, counted from 0, in order."""
        first = step * self.batch_size * self.accumulation
        return [
            training_seed(self.stage, number)
            for start in range(first, first + self.batch_size * self.accumulation, self.batch_size)
            for number in range(start + self.part, start + self.batch_size, self.parts)
        ]

    @property
    def rows(self) -> int:
        """The most samples of a batch of this part."""
        return len(range(self.part, self.batch_size, self.parts))


@dataclass(frozen=True, slots=True)
class Prepared:
    """A batch as far as it can be made without weights.

    Attributes:
        tokens: Its conversations.
        pictures: The keys of their pictures.
        pixel_values: `(3, S, S)`, of the pictures whose query output is not known yet.
    """

    tokens: tuple[PromptTokens, ...]
    pictures: tuple[str, ...]
    pixel_values: Mapping[str, NDArray[np.float32]]


class Batches:
    """Turns the samples of a step into what the model's loss reads.

    The frozen eye looks at every picture here, outside of the part that needs gradients.
    """

    def __init__(
        self,
        model: MiniGPT4,
        prompt_format: PromptFormat,
        sample_of: SampleOf,
        answer_tokens: int | None = None,
        *,
        workers: int = 0,
        tally: Tally | None = None,
    ) -> None:
        """Joins the parts.

        Args:
            model: Its frozen eye looks, and its tokeniser reads.
            prompt_format: How samples are written down.
            sample_of: Samples by seed.
            answer_tokens: The longest answer; None leaves all as long as they are.
            workers: Processes that prepare the next steps; 0 prepares each when it is asked for.
            tally: What `sample_of` counts by.
        """
        self._model = model
        self._prompt_format = prompt_format
        self._sample_of = sample_of
        self._answer_tokens = answer_tokens
        self._workers = workers
        self._tally = tally
        self._ahead: tuple[Share, int, Iterator[tuple[list[Prepared], Any]]] | None = None
        self.query_outputs = QueryOutputs(model)

    def of_step(
        self,
        stage: int,
        step: int,
        batch_size: int,
        accumulation: int,
        *,
        part: int = 0,
        parts: int = 1,
    ) -> Iterator[TrainingBatch]:
        """Yields the batches of one optimiser step; the same step, the same data.

        Samples of like length stand together; see `train.lengths`. There are `accumulation`
        batches, or a few more where that saves much padding and there is one part only.

        Args:
            stage: Which stage's samples.
            step: Counted from 0.
            batch_size: Samples of a batch, in all parts together.
            accumulation: Batches of a step.
            part: Which of the `parts` of every batch; each process takes one.
            parts: In how many parts a batch is shared out.
        """
        share = Share(stage, batch_size, accumulation, part, parts)
        for prepared in self._prepared(share, step):
            yield self._finished(prepared)

    def of_samples(self, samples: Sequence[Sample]) -> TrainingBatch:
        """Draws together samples, with one query output `(Q, Dq)` a picture."""
        tokens = [self._tokens(sample.conversation) for sample in samples]
        return self._finished(self._prepare(samples, tokens))

    def _prepared(self, share: Share, step: int) -> Iterator[Prepared]:
        """The batches of a step, from the workers if there are any."""
        if not self._workers:
            return self._prepare_step(share, step)
        if self._ahead is None or self._ahead[:2] != (share, step):
            self._ahead = (share, step, self._look_ahead(share, step))
        steps = self._ahead[2]
        prepared, counted = next(steps)
        self._ahead = (share, step + 1, steps)
        if self._tally is not None:
            self._tally.add(counted)
        return iter(prepared)

    def _look_ahead(self, share: Share, step: int) -> Iterator[tuple[list[Prepared], Any]]:
        tally = self._tally

        def make(number: int) -> tuple[list[Prepared], Any]:
            prepared = list(self._prepare_step(share, number))
            return prepared, None if tally is None else tally.taken()

        return in_order(
            make, count(step), self._workers, (lambda: None) if tally is None else tally.apart
        )

    def _prepare_step(self, share: Share, step: int) -> Iterator[Prepared]:
        samples = [self._sample_of(seed) for seed in share.seeds(step)]
        tokens = [self._tokens(sample.conversation) for sample in samples]
        lengths = [len(each.ids) for each in tokens]
        cut_saves = worth_a_pass(self._model.device.type) if share.parts == 1 else None
        for places in grouped(lengths, share.rows, cut_saves=cut_saves):
            yield self._prepare(
                [samples[place] for place in places], [tokens[place] for place in places]
            )

    def _prepare(self, samples: Sequence[Sample], tokens: Sequence[PromptTokens]) -> Prepared:
        loads = {each.key: each.load for each in samples}
        new = {key: load for key, load in loads.items() if not self.query_outputs.knows(key)}
        values = {key: self.query_outputs.pixel_values(load()) for key, load in new.items()}
        return Prepared(tuple(tokens), tuple(loads), values)

    def _finished(self, prepared: Prepared) -> TrainingBatch:
        model = self._model
        outputs = self.query_outputs.looked(prepared.pictures, prepared.pixel_values)
        batch = collate(prepared.tokens, outputs, model.language.eos_id)
        return TrainingBatch(
            **{each.name: getattr(batch, each.name).to(model.device) for each in fields(batch)}
        )

    def _tokens(self, conversation: Conversation) -> PromptTokens:
        tokens = self._model.tokenize(render(conversation, self._prompt_format))
        if self._answer_tokens is None:
            return tokens
        end = self._model.language.encode(self._prompt_format.assistant_separator)
        return cut_answers(tokens, self._answer_tokens, end)


def learned_tokens(batch: TrainingBatch) -> int:
    """Number of tokens the loss of a batch is the mean of."""
    return int((batch.labels[:, 1:] != IGNORED).sum())


def _scene(seed: int, settings: CartoonSettings) -> Scene:
    """The scene that belongs to a seed; some are no drawing, some a page sketch."""
    rng = random.Random(f"scene-{seed}")
    scene = mixed_scene(
        seed,
        rng.random(),
        strange_share=settings.strange_share,
        sketch_share=settings.sketch_share,
        max_things=settings.max_things,
    )
    return with_random_word(scene, rng) if rng.random() < settings.random_word_share else scene


def _description(scene: Scene, rng: random.Random, instructions: Sequence[str]) -> Exchange:
    """Half of the instructions are the project's own, half are the world's."""
    if rng.random() < 0.5:
        return Exchange(rng.choice(instructions), describe(scene), "describe")
    return ask_to_describe(scene, rng)


def conversation_of(exchanges: Sequence[Exchange], key: str = "scene") -> Conversation:
    """A closed conversation about one picture."""
    return Conversation(
        tuple(
            Turn(each.question, each.answer, (key,) if index == 0 else ())
            for index, each in enumerate(exchanges)
        )
    )
