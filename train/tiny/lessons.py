"""What the embedded default's language model reads in stage 0: packed dialogues about scenes."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from minigpt4.conversation import Conversation, Prompt, Turn, render
from minigpt4.models.language import LanguageModel
from minigpt4.models.minigpt4 import IGNORED, PromptTokens, tokenize_prompt
from minigpt4.prompt_formats import CAPTION, TINY
from train.cartoon.asking import (
    ATTRIBUTE_WORDS,
    ask_to_describe,
    dialogue,
    small_talk,
)
from train.cartoon.casual import casual, unmarked
from train.cartoon.describe import caption
from train.cartoon.mixture import mixed_scene
from train.cartoon.scene import Scene, with_random_word
from train.cartoon.sketch import MAX_SKETCHED
from train.cartoon.wordings import NO_PICTURE
from train.samples import conversation_of
from train.tiny.slots import QUERIES, TAGS, FusedSlots, inner_pieces

# Of the scenes of a language model's lessons: it has little to learn about them.
STRANGE_SHARE = 0.04
SKETCH_SHARE = 0.15

# A row holds one text of each of these; the rest of the row is empty.
_MOST_QUESTIONS = 9
# Of the questions; see `casual`.
CASUAL_SHARE = 0.3
# Of the signs; see `with_random_word`.
_RANDOM_WORD_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class LanguageBatch:
    """Ids, labels and weights `(B, T)`, slot places `(P,)`, words of the slots `(P, Q, W)`."""

    ids: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor
    slot_rows: torch.Tensor
    slot_starts: torch.Tensor
    words: torch.Tensor


class Lessons:
    """Makes batches of dialogues, descriptions and captions with fused slots.

    Args:
        language: Tokenises.
        plain_weight: Loss weight of words that carry nothing seen, against 1 for those that do.
        length: Tokens of a row in training. A dialogue asks as many questions as fit, so that
            hardly any of a row is padding and every batch has one shape.
    """

    def __init__(self, language: LanguageModel, *, plain_weight: float, length: int) -> None:
        self._language = language
        self._plain_weight = plain_weight
        self._length = length
        self.slots = FusedSlots(language)
        heavy = {ids[0] for word in ATTRIBUTE_WORDS if len(ids := language.encode(word)) == 1}
        # Letters of signs, and what ends or goes on with an enumeration.
        letters = language.encode('"ABCDEFGHIJKLMNOPQRSTUVWXYZ",')
        heavy.update(letters)
        for tag in TAGS.values():
            heavy.update(inner_pieces(language, tag))
        self._heavy = torch.zeros(int(language.model.config.vocab_size), dtype=torch.bool)
        self._heavy[sorted(heavy)] = True

    def training(
        self, seeds: Sequence[int], most_things: int, *, plain_weight: float | None = None
    ) -> LanguageBatch:
        """The batch of some seeds; the same seeds always give the same batch.

        Args:
            seeds: Where scenes and texts come from.
            most_things: The most objects of a scene.
            plain_weight: Of words that carry nothing seen, where it is not that of all lessons.
        """
        rows = self.rows(seeds, most_things, any_pairs=True)
        return self.batch(rows, length=self._length, plain_weight=plain_weight)

    def rows(
        self,
        seeds: Sequence[int],
        most_things: int,
        *,
        strange_share: float = STRANGE_SHARE,
        sketch_share: float = SKETCH_SHARE,
        any_pairs: bool = False,
    ) -> list[tuple[Scene, PromptTokens]]:
        """Scenes with what is said about them; the same seeds always give the same rows.

        Args:
            seeds: Where scenes and texts come from.
            most_things: The most objects of a scene.
            strange_share: How many of the scenes are no drawings of this world.
            sketch_share: How many of the scenes are page sketches.
            any_pairs: Whether the scenes have colours on kinds that no drawing of training shows.
                A language model has read of everything; only the eye must not have seen it.
        """
        samples = []
        for seed in seeds:
            rng = random.Random(f"lesson-{seed}")
            scene = mixed_scene(
                seed,
                rng.random(),
                strange_share=strange_share,
                sketch_share=sketch_share,
                max_things=most_things,
                max_sketched=min(max(most_things, 2), MAX_SKETCHED),
                any_pairs=any_pairs,
            )
            if rng.random() < _RANDOM_WORD_SHARE:
                scene = with_random_word(scene, rng)
            samples.append((scene, self._row(scene, rng)))
        return samples

    def batch(
        self,
        samples: Sequence[tuple[Scene, PromptTokens]],
        *,
        length: int = 0,
        plain_weight: float | None = None,
    ) -> LanguageBatch:
        """Pads rows to one length.

        Args:
            samples: Scenes with what is said about them.
            length: Length of the batch; 0 takes that of the longest row.
            plain_weight: Of words that carry nothing seen, where it is not that of all lessons.
        """
        rows = [tokens for _, tokens in samples]
        length = length or max(len(row.ids) for row in rows)
        ids = torch.zeros((len(rows), length), dtype=torch.long)
        labels = torch.full_like(ids, IGNORED)
        for index, row in enumerate(rows):
            ids[index, : len(row.ids)] = torch.tensor(row.ids)
            labels[index, : len(row.labels)] = torch.tensor(row.labels)
        slots = [(index, start) for index, row in enumerate(rows) for start, _ in row.slots]
        heavy = self._heavy[labels.clamp(min=0)]
        # How an answer begins says whether there is anything to tell: "There is", "I see".
        heavy[:, 1:] |= labels[:, :-1] == IGNORED
        plain = self._plain_weight if plain_weight is None else plain_weight
        weights = torch.where(heavy, 1.0, plain)
        return LanguageBatch(
            ids=ids,
            labels=labels,
            weights=torch.where(labels == IGNORED, 0.0, weights),
            slot_rows=torch.tensor([row for row, _ in slots], dtype=torch.long),
            slot_starts=torch.tensor([start for _, start in slots], dtype=torch.long),
            words=self.slots.ids([samples[row][0] for row, _ in slots]),
        )

    def tokens(self, prompt: Prompt) -> PromptTokens:
        """A prompt as ids and labels."""
        return tokenize_prompt(prompt, self._language, QUERIES)

    def _row(self, scene: Scene, rng: random.Random) -> PromptTokens:
        """As many turns as a row holds."""
        draw = rng.random()
        if draw < 0.04:
            turn = Turn("", caption(scene, rng), ("scene",))
            return self.tokens(render(Conversation((turn,)), CAPTION))
        if draw < 0.06:
            conversation = _without_picture(scene, rng)
        else:
            exchanges = dialogue(scene, rng, _MOST_QUESTIONS, casual_share=CASUAL_SHARE)
            if draw < 0.22:
                wanted = ask_to_describe(scene, rng)
                if rng.random() < CASUAL_SHARE:
                    wanted = replace(wanted, question=casual(wanted.question, rng))
                exchanges.insert(rng.randrange(3), wanted)
            conversation = conversation_of(exchanges)
        turns = conversation.turns
        tokens = self.tokens(render(conversation, TINY))
        while len(tokens.ids) > self._length:
            turns = turns[:-1]
            tokens = self.tokens(render(Conversation(turns), TINY))
        return tokens


def _without_picture(scene: Scene, rng: random.Random) -> Conversation:
    """A chat before any picture is attached: small talk goes on, questions are turned down."""
    turns = []
    for exchange in dialogue(scene, rng, 6, casual_share=CASUAL_SHARE):
        if rng.random() < 0.3:
            talk = small_talk(rng)
            said = unmarked(talk.question) if rng.random() < CASUAL_SHARE else talk.question
            turns.append(Turn(said, talk.answer))
        elif exchange.question_type != "chat":
            turns.append(Turn(exchange.question, NO_PICTURE))
    return Conversation(tuple(turns) or (Turn("What is this?", NO_PICTURE),))
