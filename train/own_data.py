"""A user's own rows as training samples: split, order and instructions, all from the seed.

Which rows are shown at a step is a function of the step, as with generated pictures: sample number
`n` of a run is place `n mod rows` of the permutation of its epoch. So a resumed run goes on at the
very sample it stopped before, also in the middle of an epoch.
"""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import cast

from minigpt4.checkpoints.native import Json
from minigpt4.conversation import Conversation
from train.query_outputs import QueryOutputs
from train.samples import Sample, training_seed
from train.validation import Checked, OwnRow, read_picture

HELD_OUT_SHARE = 0.05
MOST_HELD_OUT = 32
SHOWN = 4
"""Rows that are learned from and shown at every look."""


class OwnData:
    """Training samples by seed, and those that are held out."""

    def __init__(
        self,
        rows: Sequence[OwnRow],
        instructions: Sequence[str],
        *,
        stage: int,
        seed: int,
        each_turn: bool = False,
    ) -> None:
        """Splits the rows.

        Args:
            rows: Two at least.
            instructions: What a question that a row lacks is drawn from; none in stage 1.
            stage: Seeds are counted from this stage's first.
            seed: Decides the split, the order and the instructions.
            each_turn: Every answer of a dialogue is a sample of its own, with the turns before it:
                for prompt formats of which one sample teaches the last answer only.
        """
        self._instructions = tuple(instructions)
        self._seed = seed
        self._first = training_seed(stage, 0)
        self.training_rows, self.held_out_rows = split(rows, seed)
        self._items = [
            (row, turns)
            for row in self.training_rows
            for turns in _lengths(row, each_turn=each_turn)
        ]
        self._order = lru_cache(maxsize=2)(self._order_of)

    @property
    def epoch_samples(self) -> int:
        """Samples after which every one has been shown once."""
        return len(self._items)

    @property
    def held_out(self) -> tuple[Sample, ...]:
        """The samples that no step shows."""
        return tuple(
            self._sample(row, len(row.conversation.turns), -1) for row in self.held_out_rows
        )

    @property
    def shown(self) -> tuple[Sample, ...]:
        """A few samples of the first epoch, to be looked at beside the held-out ones."""
        return tuple(self.sample_of(self._first + n) for n in range(min(SHOWN, len(self._items))))

    def sample_of(self, seed: int) -> Sample:
        """The training sample that belongs to a seed."""
        epoch, place = divmod(seed - self._first, len(self._items))
        row, turns = self._items[self._order(epoch)[place]]
        return self._sample(row, turns, epoch)

    def _order_of(self, epoch: int) -> list[int]:
        order = list(range(len(self._items)))
        random.Random(f"order-{self._seed}-{epoch}").shuffle(order)
        return order

    def _sample(self, row: OwnRow, turns: int, epoch: int) -> Sample:
        first, *others = row.conversation.turns[:turns]
        if not first.question and self._instructions:
            rng = random.Random(f"instruction-{self._seed}-{epoch}-{row.content}")
            first = replace(first, question=rng.choice(self._instructions))
        conversation = Conversation((first, *others))
        return Sample(row.key, conversation, partial(read_picture, row.path))


def split(rows: Sequence[OwnRow], seed: int) -> tuple[list[OwnRow], list[OwnRow]]:
    """Rows to learn from and rows to be held out: the last of a seeded hash's order, one in twenty.

    The hash is of a row's content, so neither the order of the file nor a row added to it moves the
    others.
    """
    places = [hashlib.sha256(f"{seed} {row.content}".encode()).digest() for row in rows]
    count = min(MOST_HELD_OUT, max(1, int(HELD_OUT_SHARE * len(rows))))
    last = set(sorted(set(places))[-count:])
    sides: tuple[list[OwnRow], list[OwnRow]] = ([], [])
    for row, place in zip(rows, places, strict=True):
        sides[place in last].append(row)
    return sides


def record_of(checked: Checked) -> dict[str, Json]:
    """What a run writes down of its data; the fingerprint names the rows by content and order."""
    digest = hashlib.sha256()
    for row in checked.rows:
        digest.update(f"{row.content}\n".encode())
    return {
        "path": str(checked.source.path),
        "layout": checked.source.layout,
        "rows": len(checked.source.rows),
        "text_only": checked.source.text_only,
        "usable": len(checked.rows),
        "pictures": checked.pictures,
        "dropped": cast(Json, checked.causes),
        "ignored_keys": cast(Json, dict(checked.source.ignored)),
        "cut_answers": checked.cut,
        "answer_tokens": checked.answer_tokens,
        "fingerprint": digest.hexdigest(),
    }


def keep_pictures(query_outputs: QueryOutputs, rows: Sequence[OwnRow], most_mb: int) -> str:
    """Lets the frozen eye look at every picture once, if there is room to keep what it sees.

    Returns:
        Which of the two it is, a line for a person; nothing if there are no rows.
    """
    if not rows:
        return ""
    pictures = {row.key: partial(read_picture, row.path) for row in rows}
    needed = query_outputs.bytes_of(len(pictures)) / 2**20
    if needed > most_mb:
        return (
            f"Looks at the pictures anew in every step: what the eye makes of {len(pictures):,} "
            f"pictures needs {needed:,.0f} MB, and own_data.keep_mb is {most_mb:,}.\n"
        )
    query_outputs.keep(pictures)
    return f"Looks at {len(pictures):,} pictures once, and keeps what it sees: {needed:,.1f} MB.\n"


def _lengths(row: OwnRow, *, each_turn: bool) -> range:
    """How many turns the samples of a row have; the picture is in each of them."""
    turns = row.conversation.turns
    with_picture = next(number for number, turn in enumerate(turns, start=1) if turn.images)
    return range(with_picture if each_turn else len(turns), len(turns) + 1)
