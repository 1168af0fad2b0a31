"""Stage 0: a small language model from nothing, on the sentences of the picture world.

It reads scenes as fused slots (see `slots.py`), so that it has learned to answer about what stands
in an image slot before any picture is shown to it.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from sentencepiece import SentencePieceProcessor
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, LlamaTokenizer

from minigpt4.conversation import render
from minigpt4.models.language import LanguageModel
from minigpt4.models.minigpt4 import IGNORED, place_visual_tokens
from minigpt4.prompt_formats import TINY
from train.cartoon.asking import QUESTION_TYPES, Exchange, ask, ask_to_describe
from train.cartoon.scene import HELD_OUT_SEEDS, MAX_THINGS, Scene, make_scene
from train.cartoon.sketch import MAX_SKETCHED, make_sketch
from train.samples import conversation_of
from train.tiny.compiling import compiled, reduced_precision
from train.tiny.lessons import LanguageBatch, Lessons
from train.tiny.processes import is_first_process, part_of_step
from train.tiny.steps import Report, StepSettings, load_weights, train_steps


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageSettings:
    """How the language model is made.

    Attributes:
        width: Width D of an embedding.
        depth: Transformer blocks.
        heads: Attention heads.
        intermediate: Hidden width of a block's MLP.
        length: Tokens of a training row.
        noise: How far fused slots may be off, see `FusedSlots.embed`.
        plain_weight: Loss weight of words that carry nothing seen, against 1 for those that do.
        even_from: From which share of the run on all words weigh 1. At first the weights show it
            where to look; in the end they make it say too often what weighs more: "and" where a
            list is over.
        first_seed: Seed of the first scene; a run that goes on from weights begins behind theirs.
        fixed_embeddings: Whether embeddings stay as they are. Slots are made of them, so an eye
            that was fitted to the slots before the run fits them after it.
        curriculum: From which share of the run on scenes hold at most how many things.
        steps: The loop's own settings.
    """

    width: int = 160
    depth: int = 5
    heads: int = 5
    intermediate: int = 480
    length: int = 256
    noise: float = 0.4
    plain_weight: float = 0.2
    even_from: float = 0.8
    first_seed: int = 0
    fixed_embeddings: bool = False
    curriculum: tuple[tuple[float, int], ...] = ((0.0, 2), (0.12, 3), (0.25, 4), (0.4, 6))
    steps: StepSettings = field(
        default_factory=lambda: StepSettings(
            steps=20_000,
            batch_size=16,
            learning_rate=2e-3,
            warmup_steps=300,
            weight_decay=0.02,
            check_every=500,
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
    model.set_attn_implementation("eager")  # on a CPU faster in training than the fused kernel
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


def place_slots(language: LanguageModel, batch: LanguageBatch, slots: torch.Tensor) -> torch.Tensor:
    """Embeddings `(B, T, D)` of a batch with `(P, Q, D)` in its slots."""
    embeds = language.embed(batch.ids)
    if not len(batch.slot_rows):
        return embeds
    return place_visual_tokens(embeds, slots, batch.slot_rows, batch.slot_starts)


def answer_loss_of(
    language: LanguageModel,
) -> Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]:
    """The loss as a function that can be compiled.

    Returns:
        Takes embeddings `(B, T, D)`, labels and weights `(B, T)`; gives the weighted mean cross
        entropy. Rows are padded at their end only, so that the causal mask is all they need.
    """

    def loss(embeds: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        with reduced_precision():
            hidden = language.model.model(inputs_embeds=embeds, use_cache=False).last_hidden_state
            logits = language.model.lm_head(hidden[:, :-1])
        each = nn.functional.cross_entropy(
            logits.float().flatten(0, 1),
            labels[:, 1:].flatten(),
            ignore_index=IGNORED,
            reduction="none",
        )
        counted = weights[:, 1:].flatten()
        return (each * counted).sum() / counted.sum()

    return loss


@torch.no_grad()
def gate(
    language: LanguageModel,
    lessons: Lessons,
    number: int,
    *,
    max_things: int = MAX_THINGS,
    types: tuple[str, ...] = (*QUESTION_TYPES, "describe"),
    see: Callable[[Sequence[Scene]], torch.Tensor] | None = None,
) -> dict[str, float]:
    """Share of exact answers a question type, given the true scene as fused slots without noise.

    An answer counts when every one of its tokens is the model's first choice after the true ones
    before it, which is the same as greedy decoding giving exactly that answer.

    Args:
        language: Answers.
        lessons: Tokenises.
        number: Questions of every type.
        max_things: The most objects of a scene.
        types: Which types to ask.
        see: Gives visual tokens `(B, Q, D)` of scenes; they stand in the slots in place of the
            fused ones.
    """
    scores = {}
    for question_type in types:
        samples = gate_samples(question_type, number, max_things)
        prompts = [
            (scene, lessons.tokens(render(conversation_of([exchange]), TINY)))
            for scene, exchange in samples
        ]
        batch = lessons.batch(prompts)
        slots = (
            lessons.slots.embed(batch.words)
            if see is None
            else see([scene for scene, _ in samples])
        )
        embeds = place_slots(language, batch, slots)
        hidden = language.model.model(inputs_embeds=embeds, use_cache=False).last_hidden_state
        found = language.model.lm_head(hidden[:, :-1]).argmax(dim=-1)
        wanted = batch.labels[:, 1:]
        right = ((found == wanted) | (wanted == IGNORED)).all(dim=1)
        scores[question_type] = right.float().mean().item()
    return scores


def gate_samples(question_type: str, number: int, max_things: int) -> list[tuple[Scene, Exchange]]:
    """Held-out scenes with a question of a type each; a web page is asked for of sketches."""
    samples: list[tuple[Scene, Exchange]] = []
    seed = HELD_OUT_SEEDS
    while len(samples) < number:
        seed += 1
        rng = random.Random(seed)
        if question_type == "webpage":
            scene = make_sketch(seed, max_things=min(max(max_things, 2), MAX_SKETCHED))
        else:
            scene = make_scene(seed, max_things=max_things)
        if question_type == "describe":
            samples.append((scene, ask_to_describe(scene, rng)))
        elif (exchange := ask(scene, question_type, rng)) is not None:
            samples.append((scene, exchange))
    return samples


def train_language(
    folder: Path,
    settings: LanguageSettings,
    state: Path,
    report: Report,
    warm_start: Path | None = None,
) -> LanguageModel:
    """Trains the language model and saves it beside its tokenizer.

    Args:
        folder: Holds the tokenizer; receives config.json and model.safetensors.
        settings: Sizes, data and schedule.
        state: Where the run keeps what it needs to resume.
        report: Called with the gate's scores while it runs and at the end.
        warm_start: File with weights to begin from, if the run has no state yet.

    Raises:
        TrainingError: If the state or the weights do not fit.
    """
    torch.manual_seed(0)
    language = new_language_model(folder, settings)
    if warm_start is not None and not state.is_file():
        load_weights(language, warm_start)
    language.model.get_input_embeddings().requires_grad_(not settings.fixed_embeddings)
    lessons = Lessons(language, plain_weight=settings.plain_weight, length=settings.length)
    loss_of = compiled(answer_loss_of(language))
    generator = torch.Generator(torch.get_default_device())
    total, batch_size = settings.steps.steps, settings.steps.batch_size

    def loss(step: int) -> torch.Tensor:
        most = [most for start, most in settings.curriculum if step / total >= start][-1]
        seeds = part_of_step(step, batch_size, settings.first_seed)
        even = 1.0 if step / total >= settings.even_from else None
        batch = lessons.training(seeds, most, plain_weight=even)
        # A resumed run draws the same noise, and no process that of another.
        generator.manual_seed((seeds.start - settings.first_seed) // len(seeds))
        slots = lessons.slots.embed(batch.words, settings.noise, generator)
        return loss_of(place_slots(language, batch, slots), batch.labels, batch.weights)

    def check(step: int) -> None:
        language.eval()
        for most in (4, MAX_THINGS):
            scores = gate(language, lessons, 100, max_things=most)
            mean = sum(scores.values()) / len(scores)
            report({"step": step, "things": most, "mean": mean, **scores})
        language.train()

    language.train()
    train_steps(language, loss, settings.steps, state, check, title="language")
    language.eval()
    if is_first_process():
        language.model.save_pretrained(folder)
    return language
