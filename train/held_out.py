"""A look at pictures that no stage is trained on: their loss, and what the model says of them."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import ImageOps
from transformers import StoppingCriteria, StoppingCriteriaList

from minigpt4.checkpoints.native import Json, write_file
from minigpt4.conversation import Conversation, Prompt, Turn, render
from minigpt4.models.language import LanguageModel
from minigpt4.models.minigpt4 import MiniGPT4
from minigpt4.prompt_formats import PromptFormat
from train.run_folder import RunFolder, append_lines, read_lines
from train.samples import Batches, Sample, learned_tokens

_LOSS_BATCH = 16
_SHOWN = (256, 256)
"""The largest size in pixels in which pictures stand beside answers."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one look found.

    Attributes:
        loss: Mean loss over the learned tokens of held-out samples.
        right: Answers that are the true ones word for word.
        answers: What the model said, in the order of the pictures.
        learned_answers: The same of pictures that are trained on.
        learned_right: How many of those are the true ones word for word.
    """

    loss: float
    right: int
    answers: tuple[str, ...]
    learned_answers: tuple[str, ...] = ()
    learned_right: int = 0


class HeldOut:
    """Held-out pictures, and the questions that are put to the model about them."""

    def __init__(
        self,
        model: MiniGPT4,
        batches: Batches,
        prompt_format: PromptFormat,
        *,
        asked: Sequence[Sample],
        for_loss: Sequence[Sample],
        tokens: int,
        learned: Sequence[Sample] = (),
    ) -> None:
        """Joins the parts.

        Args:
            model: Answers.
            batches: Makes the batches whose loss is computed.
            prompt_format: How questions are written down.
            asked: Held-out samples whose first question is asked.
            for_loss: Held-out samples whose loss is computed.
            tokens: The longest answer.
            learned: Samples that are trained on, asked too and told apart.
        """
        self._tokens = tokens
        self._model = model
        self._prompt_format = prompt_format
        self._batches = batches
        self._for_loss = for_loss
        self.samples = asked
        self.learned = learned

    @torch.no_grad()
    def look(self) -> Look:
        """Computes the loss and asks every picture's first question, greedily."""
        total, tokens = 0.0, 0
        for start in range(0, len(self._for_loss), _LOSS_BATCH):
            batch = self._batches.of_samples(self._for_loss[start : start + _LOSS_BATCH])
            count = learned_tokens(batch)
            total += self._model.loss(batch).item() * count
            tokens += count
        answers = tuple(self._answer(sample) for sample in self.samples)
        learned = tuple(self._answer(sample) for sample in self.learned)
        return Look(
            total / tokens,
            _exact(answers, self.samples),
            answers,
            learned,
            _exact(learned, self.learned),
        )

    def _answer(self, sample: Sample) -> str:
        output = self._batches.query_outputs.of({sample.key: sample.load})[sample.key]
        seen = self._model.visual_tokens(output[None].to(self._model.device))
        visual_tokens = {sample.key: seen[0]}
        turn = sample.conversation.turns[0]
        prompt = render(
            Conversation((Turn(turn.question, None, turn.images),)), self._prompt_format
        )
        stop_strings = self._prompt_format.stop_strings
        return greedy_answer(self._model, prompt, visual_tokens, stop_strings, self._tokens)


def _exact(answers: Sequence[str], samples: Sequence[Sample]) -> int:
    return sum(
        answer == sample.conversation.turns[0].answer
        for answer, sample in zip(answers, samples, strict=True)
    )


@torch.no_grad()
def greedy_answer(
    model: MiniGPT4,
    prompt: Prompt,
    visual_tokens: Mapping[str, torch.Tensor],
    stop_strings: Sequence[str],
    most_tokens: int,
) -> str:
    """The likeliest continuation of a prompt up to its end, without what ends it.

    Args:
        model: Answers.
        prompt: Ends with the assistant role.
        visual_tokens: For every key of a slot the picture's visual tokens `(Q, D)`.
        stop_strings: Each ends the answer.
        most_tokens: The longest answer.
    """
    embeds = model.embed_prompt(prompt, visual_tokens)
    language = model.language
    causal: Any = language.model  # transformers' types leave generate to protocols of its own
    ids = causal.generate(
        inputs_embeds=embeds,
        attention_mask=torch.ones(embeds.shape[:2], dtype=torch.long, device=embeds.device),
        max_new_tokens=most_tokens,
        do_sample=False,
        eos_token_id=language.eos_id,
        pad_token_id=language.eos_id,
        stopping_criteria=StoppingCriteriaList([_Stops(language, stop_strings)]),
    )
    text = language.decode(ids[0].tolist())
    ends = [place for stop in stop_strings if (place := text.find(stop)) >= 0]
    return text[: min(ends, default=len(text))].strip()


def write_samples(folder: RunFolder, held_out: HeldOut, look: Look, step: int) -> None:
    """Adds the answers of a look to the run's samples, as lines and as a page."""
    pictures = folder.path / "samples"
    rows: list[dict[str, Json]] = []
    both = (
        ("held out", held_out.samples, look.answers),
        ("learned from", held_out.learned, look.learned_answers),
    )
    for side, samples, answers in both:
        for number, (sample, answer) in enumerate(zip(samples, answers, strict=True), start=1):
            name = f"{number}.png" if side == "held out" else f"learned-{number}.png"
            if not (pictures / name).is_file():
                content = io.BytesIO()
                ImageOps.contain(sample.picture, _SHOWN).save(content, "PNG")
                write_file(pictures / name, content.getvalue())  # half a one would stay for good
            turn = sample.conversation.turns[0]
            rows.append(
                {
                    "step": step,
                    "picture": f"samples/{name}",
                    "side": side,
                    "question": turn.question,
                    "true_answer": turn.answer,
                    "answer": answer,
                    "held_out_loss": look.loss,
                }
            )
    append_lines(folder.samples, rows)
    folder.samples_page.write_text(_page(folder), encoding="utf-8")


def _page(folder: RunFolder) -> str:
    """One table a picture, the answers in the order of the steps."""
    rows = read_lines(folder.samples)
    lines = ["# Answers about pictures", ""]
    for picture in dict.fromkeys(row["picture"] for row in rows):
        own = [row for row in rows if row["picture"] == picture]
        first = own[0]
        lines += [f"![{picture}]({picture}) {first['side']}", ""]
        if first["question"]:
            lines += [f"**{_cell(first['question'])}**", ""]
        lines += ["| step | answer |", "|--:|:--|", f"| true | {_cell(first['true_answer'])} |"]
        lines += [f"| {row['step']} | {_cell(row['answer'])} |" for row in own]
        lines.append("")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


class _Stops(StoppingCriteria):
    """Ends generation when the text so far holds a stop string."""

    def __init__(self, language: LanguageModel, stop_strings: Sequence[str]) -> None:
        self._language = language
        self._stop_strings = stop_strings

    def __call__(self, input_ids: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
        """Tells row by row whether to stop: `(B,)`."""
        stopped = [
            any(stop in self._language.decode(row) for stop in self._stop_strings)
            for row in input_ids.tolist()
        ]
        return torch.tensor(stopped, device=input_ids.device)
