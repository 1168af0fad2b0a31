"""Stage 0: a tiny language model from nothing, on the sentences of the synthetic world.

It reads scenes as fused slots (see `slots.py`), so that it has learned to answer about what stands
in an image slot before any picture is shown to it.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from sentencepiece import SentencePieceProcessor
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, LlamaTokenizer

from minigpt4.conversation import Conversation, Prompt, Turn, render
from minigpt4.models.language import LanguageModel
from minigpt4.models.minigpt4 import IGNORED, place_visual_tokens, tokenize_prompt
from minigpt4.prompt_formats import CAPTION, TINY
from train.cartoon.describe import (
    ATTRIBUTE_WORDS,
    QUESTION_TYPES,
    Exchange,
    ask,
    ask_to_describe,
    caption,
    dialogue,
    small_talk,
)
from train.cartoon.scene import Scene, make_scene
from train.cartoon.wordings import NO_PICTURE
from train.embedded.steps import Report, StepSettings, train_steps
from train.tiny.slots import QUERIES, FusedSlots

HELD_OUT_SEEDS = 1_000_000_000  # training never draws a scene from a seed at or above this


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageSettings:
    """How the tiny language model is made.

    Attributes:
        width: Width D of an embedding.
        depth: Transformer blocks.
        heads: Attention heads.
        intermediate: Hidden width of a block's MLP.
        questions: Questions a dialogue asks about one scene.
        noise: How far fused slots may be off, see `FusedSlots.embed`.
        plain_weight: Loss weight of words that carry nothing seen, against 1 for those that do.
        curriculum: From which share of the run on scenes hold at most how many things.
        steps: The loop's own settings.
    """

    width: int = 160
    depth: int = 4
    heads: int = 5
    intermediate: int = 480
    questions: int = 8
    noise: float = 0.4
    plain_weight: float = 0.15
    curriculum: tuple[tuple[float, int], ...] = ((0.0, 2), (0.15, 3), (0.3, 5))
    steps: StepSettings = field(
        default_factory=lambda: StepSettings(
            steps=2000, batch_size=32, learning_rate=2e-3, warmup_steps=200, weight_decay=0.02
        )
    )


def new_language_model(folder: Path, settings: LanguageSettings) -> LanguageModel:
    """A language model with random weights and the tokenizer of a folder."""
    tokenizer = LlamaTokenizer.from_pretrained(folder, local_files_only=True)
    pieces = SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    config = LlamaConfig(
        vocab_size=pieces.vocab_size(),
        hidden_size=settings.width,
        num_hidden_layers=settings.depth,
        num_attention_heads=settings.heads,
        intermediate_size=settings.intermediate,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=pieces.bos_id(),
        eos_token_id=pieces.eos_id(),
    )
    model = LlamaForCausalLM(config)
    std = settings.width**-0.5
    with torch.no_grad():
        nn.init.normal_(model.model.embed_tokens.weight, std=std)
        for layer in model.model.layers:
            attention = layer.self_attn
            for projection in (attention.q_proj, attention.v_proj):
                nn.init.normal_(projection.weight, std=std)
            # A head that starts out finding its own words and handing them on unchanged learns to
            # look things up in the slots much sooner.
            attention.k_proj.weight.copy_(attention.q_proj.weight)
            attention.o_proj.weight.copy_(0.5 * attention.v_proj.weight.T)
    return LanguageModel(model, tokenizer, pieces)


@dataclass(frozen=True, slots=True)
class LanguageBatch:
    """Ids, labels and weights `(B, T)`, slot places `(P,)`, words of the slots `(P, Q, W)`."""

    ids: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor
    mask: torch.Tensor
    slot_rows: torch.Tensor
    slot_starts: torch.Tensor
    words: torch.Tensor


class LanguageBatches:
    """Makes batches of dialogues, descriptions and captions with fused slots."""

    def __init__(self, language: LanguageModel, settings: LanguageSettings) -> None:
        self._language = language
        self._settings = settings
        self._slots = FusedSlots(language)
        self._heavy = {
            token for word in ATTRIBUTE_WORDS if len(token_ids := language.encode(word)) == 1
            for token in token_ids
        }  # fmt: skip

    def training(self, step: int) -> LanguageBatch:
        """The batch of a step; the same step always gives the same batch."""
        settings = self._settings
        done = step / settings.steps.steps
        most = [most for start, most in settings.curriculum if done >= start][-1]
        first = step * settings.steps.batch_size
        samples = []
        for seed in range(first, first + settings.steps.batch_size):
            scene = make_scene(seed, max_things=most)
            samples.append((scene, _text_of(scene, random.Random(seed), settings.questions)))
        return self.batch(samples)

    def batch(self, samples: Sequence[tuple[Scene, Prompt]]) -> LanguageBatch:
        """Tokenises prompts and pads them to one length."""
        rows = [tokenize_prompt(prompt, self._language, QUERIES) for _, prompt in samples]
        length = max(len(row.ids) for row in rows)
        shape = (len(rows), length)
        ids = torch.zeros(shape, dtype=torch.long)
        labels = torch.full(shape, IGNORED)
        mask = torch.zeros(shape, dtype=torch.long)
        slots = []
        for row, tokens in enumerate(rows):
            end = len(tokens.ids)
            ids[row, :end] = torch.tensor(tokens.ids)
            labels[row, :end] = torch.tensor(tokens.labels)
            mask[row, :end] = 1
            slots += [(row, start) for start, _ in tokens.slots]
        heavy = torch.isin(labels, torch.tensor(sorted(self._heavy)))
        return LanguageBatch(
            ids=ids,
            labels=labels,
            weights=torch.where(heavy, 1.0, self._settings.plain_weight),
            mask=mask,
            slot_rows=torch.tensor([row for row, _ in slots], dtype=torch.long),
            slot_starts=torch.tensor([start for _, start in slots], dtype=torch.long),
            words=self._slots.ids([samples[row][0] for row, _ in slots]),
        )

    def fused_slots(
        self, batch: LanguageBatch, noise: float, generator: torch.Generator
    ) -> torch.Tensor:
        """What a perfect eye would put into a batch's slots, `(P, Q, D)`; see `FusedSlots`."""
        return self._slots.embed(batch.words, noise, generator)


def answer_logits(
    language: LanguageModel, batch: LanguageBatch, slots: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """What a language model expects where a batch is labelled.

    Args:
        language: The language model.
        batch: N labelled positions.
        slots: `(P, Q, D)`, what stands in the batch's slots.

    Returns:
        Logits `(N, V)` and a mask `(B, T - 1)` of where they are.
    """
    embeds = language.embed(batch.ids)
    embeds = place_visual_tokens(embeds, slots, batch.slot_rows, batch.slot_starts)
    hidden = language.model.model(
        inputs_embeds=embeds, attention_mask=batch.mask, use_cache=False
    ).last_hidden_state
    learned = batch.labels[:, 1:] != IGNORED
    return language.model.lm_head(hidden[:, :-1][learned]), learned


def answer_loss(language: LanguageModel, batch: LanguageBatch, slots: torch.Tensor) -> torch.Tensor:
    """Cross entropy over the labelled positions, each by its weight; see `answer_logits`."""
    logits, learned = answer_logits(language, batch, slots)
    each = nn.functional.cross_entropy(logits, batch.labels[:, 1:][learned], reduction="none")
    weights = batch.weights[:, 1:][learned]
    return (each * weights).sum() / weights.sum()


def conversation_of(exchanges: Sequence[Exchange], key: str = "scene") -> Conversation:
    """A closed conversation about one picture."""
    return Conversation(
        tuple(
            Turn(each.question, each.answer, (key,) if index == 0 else ())
            for index, each in enumerate(exchanges)
        )
    )


def _text_of(scene: Scene, rng: random.Random, questions: int) -> Prompt:
    """What is said about a scene in training: questions, some descriptions and captions."""
    draw = rng.random()
    if draw < 0.05:
        return render(Conversation((Turn("", caption(scene, rng), ("scene",)),)), CAPTION)
    if draw < 0.08:
        return render(_without_picture(scene, rng), TINY)
    if draw < 0.25:
        exchanges = [ask_to_describe(scene, rng), *dialogue(scene, rng, 3)]
    else:
        exchanges = dialogue(scene, rng, questions)
        if rng.random() < 0.1:
            exchanges[rng.randrange(questions)] = ask_to_describe(scene, rng)
    return render(conversation_of(exchanges), TINY)


def _without_picture(scene: Scene, rng: random.Random) -> Conversation:
    """A chat before any picture is attached: small talk goes on, questions are turned down."""
    turns = []
    for exchange in dialogue(scene, rng, 3):
        if rng.random() < 0.3:
            talk = small_talk(rng)
            turns.append(Turn(talk.question, talk.answer))
        elif exchange.question_type != "chat":
            turns.append(Turn(exchange.question, NO_PICTURE))
    return Conversation(tuple(turns) or (Turn("What is this?", NO_PICTURE),))


@torch.no_grad()
def gate(language: LanguageModel, settings: LanguageSettings, number: int) -> dict[str, float]:
    """Share of exact answers a question type, given the true scene as fused slots without noise.

    An answer counts when every one of its tokens is the model's first choice after the true ones
    before it, which is the same as greedy decoding giving exactly that answer.
    """
    batches = LanguageBatches(language, settings)
    generator = torch.Generator().manual_seed(0)
    scores = {}
    for question_type in QUESTION_TYPES:
        samples: list[tuple[Scene, Prompt]] = []
        seed = HELD_OUT_SEEDS
        while len(samples) < number:
            seed += 1
            scene = make_scene(seed)
            exchange = ask(scene, question_type, random.Random(seed))
            if exchange is not None:
                samples.append((scene, render(conversation_of([exchange]), TINY)))
        batch = batches.batch(samples)
        slots = batches.fused_slots(batch, 0.0, generator)
        logits, learned = answer_logits(language, batch, slots)
        right = torch.ones_like(learned)
        right[learned] = logits.argmax(dim=-1) == batch.labels[:, 1:][learned]
        scores[question_type] = right.all(dim=1).float().mean().item()
    return scores


def train_language(
    folder: Path,
    settings: LanguageSettings,
    state: Path,
    report: Report,
) -> LanguageModel:
    """Trains the tiny language model and saves it beside its tokenizer.

    Args:
        folder: Holds the tokenizer; receives config.json and model.safetensors.
        settings: Sizes, data and schedule.
        state: Where the run keeps what it needs to resume.
        report: Called with the gate's scores while it runs and at the end.
    """
    torch.manual_seed(0)
    language = new_language_model(folder, settings)
    batches = LanguageBatches(language, settings)
    generator = torch.Generator()

    def loss(step: int) -> torch.Tensor:
        batch = batches.training(step)
        generator.manual_seed(step)  # a resumed run draws the same noise
        slots = batches.fused_slots(batch, settings.noise, generator)
        return answer_loss(language, batch, slots)

    def check(step: int) -> None:
        language.eval()
        scores = gate(language, settings, 100)
        report({"step": step, **scores})
        language.train()

    language.train()
    train_steps(language, loss, settings.steps, state, check, title="language")
    language.eval()
    language.model.save_pretrained(folder)
    return language
