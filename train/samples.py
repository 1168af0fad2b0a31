"""What is shown to the model: pictures and the texts that belong to them, step by step.

Everything is a function of the step, so a resumed run reads what it would have read anyway. The
samples here are generated, and nothing of them is kept on disk; `train.own_data` has a user's own.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import TypeAlias

from PIL import Image

from minigpt4.conversation import Conversation, Turn, render
from minigpt4.models.minigpt4 import IGNORED, MiniGPT4, PromptTokens, TrainingBatch, collate
from minigpt4.prompt_formats import PromptFormat
from train.answer_limit import cut_answers
from train.cartoon.describe import Exchange, ask_to_describe, caption, describe, dialogue
from train.cartoon.draw import draw_scene
from train.cartoon.scene import Scene, make_scene
from train.errors import TrainingError
from train.query_outputs import QueryOutputs
from train.settings import CartoonSettings

_STAGE_SEEDS = 100_000_000
"""Stage n draws its scenes from n times this on: no two stages see the same picture, and none sees
one of the held-out seeds, which begin at `train.tiny.language.HELD_OUT_SEEDS`."""
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
        lines = path.read_text(encoding="utf-8").splitlines()
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
    scene = make_scene(seed, max_things=settings.max_things)
    rng = random.Random(f"stage1-{salt}-{seed}")
    turn = Turn("", caption(scene, rng), (str(seed),))
    picture = partial(draw_scene, scene, settings.picture_size)
    return Sample(str(seed), Conversation((turn,)), picture)


def aligned_sample(
    seed: int, settings: CartoonSettings, instructions: Sequence[str], *, salt: int = 0
) -> Sample:
    """A picture, and either a detailed description of it or a dialogue about it (stage 2)."""
    scene = make_scene(seed, max_things=settings.max_things)
    rng = random.Random(f"stage2-{salt}-{seed}")
    if rng.random() < settings.description_share:
        exchanges = [_description(scene, rng, instructions)]
    else:
        turns = rng.randint(settings.fewest_turns, settings.most_turns)
        exchanges = dialogue(scene, rng, turns)
        if rng.random() < settings.description_share:
            exchanges[rng.randrange(turns)] = _description(scene, rng, instructions)
    picture = partial(draw_scene, scene, settings.picture_size)
    return Sample(str(seed), _conversation(exchanges, str(seed)), picture)


def training_seed(stage: int, number: int) -> int:
    """The seed of a stage's sample, counted from 0.

    Raises:
        TrainingError: If the stage has used up its seeds.
    """
    if not 0 <= number < _STAGE_SEEDS:
        message = f"Stage {stage} has {_STAGE_SEEDS:,} samples, and number {number:,} is asked for."
        raise TrainingError(message)
    return stage * _STAGE_SEEDS + number


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
    ) -> None:
        """Joins the parts.

        Args:
            model: Its frozen eye looks, and its tokeniser reads.
            prompt_format: How samples are written down.
            sample_of: Samples by seed.
            answer_tokens: The longest answer; None leaves all as long as they are.
        """
        self._model = model
        self._prompt_format = prompt_format
        self._sample_of = sample_of
        self._answer_tokens = answer_tokens
        self.query_outputs = QueryOutputs(model)

    def of_step(
        self, stage: int, step: int, batch_size: int, accumulation: int
    ) -> Iterator[TrainingBatch]:
        """Yields the `accumulation` batches of one optimiser step; the same step, the same data."""
        first = step * batch_size * accumulation
        for start in range(first, first + batch_size * accumulation, batch_size):
            seeds = [training_seed(stage, number) for number in range(start, start + batch_size)]
            yield self.of_samples([self._sample_of(seed) for seed in seeds])

    def of_samples(self, samples: Sequence[Sample]) -> TrainingBatch:
        """Draws together samples, with one query output `(Q, Dq)` a picture."""
        model = self._model
        outputs = self.query_outputs.of({each.key: each.load for each in samples})
        tokens = [self._tokens(sample.conversation) for sample in samples]
        batch = collate(tokens, outputs, model.language.eos_id)
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


def _description(scene: Scene, rng: random.Random, instructions: Sequence[str]) -> Exchange:
    """Half of the instructions are the project's own, half are the world's."""
    if rng.random() < 0.5:
        return Exchange(rng.choice(instructions), describe(scene, rng), "describe")
    return ask_to_describe(scene, rng)


def _conversation(exchanges: Sequence[Exchange], key: str) -> Conversation:
    return Conversation(
        tuple(
            Turn(each.question, each.answer, (key,) if index == 0 else ())
            for index, each in enumerate(exchanges)
        )
    )
