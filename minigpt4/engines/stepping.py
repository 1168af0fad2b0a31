"""One step of the language model over many answers."""

import copy
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import LlamaForCausalLM, LlamaModel

from minigpt4.engines.answers import Answer
from minigpt4.engines.blocks import Lease
from minigpt4.engines.paged import ATTENTION, PagedKV, Plan, Span
from minigpt4.models.language import LanguageModel


@dataclass(frozen=True, slots=True)
class Share:
    """What an answer gets of a step.

    Attributes:
        answer: It has a lease.
        count: Tokens that are run, from `answer.read` on.
    """

    answer: Answer
    count: int

    @property
    def writes(self) -> bool:
        """Whether the step comes to the answer's end, so that a new token follows."""
        return self.answer.read + self.count == len(self.answer.ids)


class Stepper:
    """Runs the language model with the paged cache.

    The model's own modules are left as they are for everyone else: transformers keeps the kind of
    attention in a module's configuration, so the transformer is copied without its weights, which
    the copy shares.
    """

    def __init__(self, language: LanguageModel, blocks: int, dtype: torch.dtype) -> None:
        """Prepares model and cache.

        Args:
            language: Model and vocabulary.
            blocks: Size of the cache.
            dtype: What keys and values are held in.
        """
        self._head = language.model.lm_head
        self._model = _paged_model(language.model)
        devices = [next(layer.parameters()).device for layer in self._model.layers]
        self._cache = PagedKV(language.model.config, blocks, dtype, devices)

    @torch.inference_mode()
    def run(self, shares: Sequence[Share]) -> torch.Tensor:
        """Runs every answer's share of tokens.

        Args:
            shares: Answers that have a past and run one token come first.

        Returns:
            Logits `(W, V)`, a row for each share that writes, in order.
        """
        spans = [_span(share) for share in shares]
        embeds = _embeddings(shares)
        positions = [position for span in spans for position in range(span.start, span.end)]
        hidden = self._model(
            inputs_embeds=embeds[None],
            position_ids=torch.tensor([positions], device=embeds.device),
            use_cache=False,
            plan=Plan(self._cache, spans),
        ).last_hidden_state[0]
        ends = itertools.accumulate(share.count for share in shares)
        rows = [end - 1 for end, share in zip(ends, shares, strict=True) if share.writes]
        if len(rows) < len(hidden):
            hidden = hidden[torch.tensor(rows, dtype=torch.long, device=hidden.device)]
        logits: torch.Tensor = self._head(hidden)
        return logits

    def free(self) -> None:
        """Gives the cache's memory back; nothing can be run any more."""
        self._cache.layers.clear()


def in_order(shares: Sequence[Share]) -> list[Share]:
    """Shares as `Stepper.run` wants them."""
    return sorted(shares, key=lambda share: not (share.count == 1 and share.answer.read))


def _span(share: Share) -> Span:
    lease = leased(share.answer)
    return Span(share.answer.read, share.count, lease.blocks, lease.adjacent)


def leased(answer: Answer) -> Lease:
    """The blocks of an answer that has some."""
    if answer.lease is None:
        message = "An answer without blocks was to be run."
        raise RuntimeError(message)
    return answer.lease


def _embeddings(shares: Sequence[Share]) -> torch.Tensor:
    parts = []
    # Answers that are being written are looked up at once.
    for written, group in itertools.groupby(shares, _written):
        members = [(share.answer, share.answer.read, share.count) for share in group]
        if written:
            parts.append(members[0][0].embed([answer.ids[at] for answer, at, _ in members]))
        else:
            parts += [answer.embeddings(at, at + count) for answer, at, count in members]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _written(share: Share) -> bool:
    """Whether it runs one token of the answer itself, so no part of a picture."""
    return share.count == 1 and share.answer.read >= share.answer.prompt_length


def _paged_model(model: LlamaForCausalLM) -> LlamaModel:
    tensors = itertools.chain(model.parameters(), model.buffers())
    shared = {id(tensor): tensor for tensor in tensors}
    # What deepcopy finds in its second argument it takes for copied.
    decoder: LlamaModel = copy.deepcopy(model.model, shared)
    decoder.set_attn_implementation(ATTENTION)
    return decoder
