"""MiniGPT-4: a frozen eye, a frozen language model, and one linear layer between them.

The paper's ablations change one thing each: no Q-Former (`JoinedPatches`), three layers for one
(`minigpt4.models.projection_layers`), or a Q-Former that learns too (`MiniGPT4.freeze`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import nn

from minigpt4.conversation import ImageSlot, Prompt, SpecialToken
from minigpt4.errors import PromptError
from minigpt4.models.language import LanguageModel
from minigpt4.models.patches import JoinedPatches
from minigpt4.models.presets import Preset
from minigpt4.models.projection_layers import ProjectionLayer, new_projection, weight_of
from minigpt4.models.qformer import QFormer
from minigpt4.models.vision import VisionEncoder

IGNORED = -100  # torch's cross entropy leaves positions with this label out


@dataclass(frozen=True, slots=True)
class PromptTokens:
    """A prompt in token ids, with room left where the visual tokens go.

    Attributes:
        ids: One id a position; 0 where a visual token will stand.
        labels: The id where the model is to learn it (answers and their end), else `IGNORED`.
        slots: For every image slot its first position and the key of its picture.
    """

    ids: tuple[int, ...]
    labels: tuple[int, ...]
    slots: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """What one training step reads.

    Attributes:
        ids: Token ids `(B, T)`, right-padded.
        labels: `(B, T)`, `IGNORED` but on answers.
        attention_mask: `(B, T)`, 1 on real positions.
        slot_rows: `(P,)`, the row of each picture's slot.
        slot_starts: `(P,)`, the first position of each picture's slot.
        query_output: `(P, Q, Dq)`, what the Q-Former makes of each picture; where the Q-Former
            learns too, `(P, N, Dv)`, what it reads.
    """

    ids: torch.Tensor
    labels: torch.Tensor
    attention_mask: torch.Tensor
    slot_rows: torch.Tensor
    slot_starts: torch.Tensor
    query_output: torch.Tensor


class MiniGPT4(nn.Module):
    """Answers about pictures.

    1. `vision` turns pixel values into image features.
    2. `qformer` turns image features into the query output, one vector a query (for Llama 2, the
       release has `JoinedPatches` in its place).
    3. `projection`, the only part that is trained (but see `freeze`), maps it to visual tokens.
    4. The visual tokens stand in the image slots of a prompt's embeddings, a soft prompt.
    5. `language` continues the sequence.

    Source: Zhu et al., 2023, section 3; the release's `MiniGPT4`.
    """

    def __init__(
        self,
        preset: Preset,
        vision: VisionEncoder,
        qformer: QFormer | JoinedPatches,
        language: LanguageModel,
        projection: ProjectionLayer | None = None,
    ) -> None:
        super().__init__()
        self.preset = preset
        self.vision = vision
        self.qformer = qformer
        self.language = language
        self.projection: ProjectionLayer = projection or new_projection(
            "linear", qformer.config.width, language.width
        )
        self.freeze()

    @property
    def queries(self) -> int:
        """Number Q of visual tokens a picture takes."""
        return self.qformer.config.queries

    @property
    def device(self) -> torch.device:
        """Where the projection, and so the model's inputs, live."""
        return weight_of(self.projection).device

    @property
    def learned_parts(self) -> dict[str, nn.Module]:
        """What training changes, by the names of the parts: all else is frozen."""
        projection: dict[str, nn.Module] = {"projection": self.projection}
        return {**projection, "qformer": self.qformer} if self._qformer_learns else projection

    @property
    def frozen_output_shape(self) -> tuple[int, int]:
        """One picture's `frozen_output`: `(Q, Dq)`, or `(N, Dv)` where the Q-Former learns."""
        if self._qformer_learns:
            return self.preset.vision.grid**2 + 1, self.preset.vision.width
        return self.queries, self.qformer.config.width

    def freeze(self, *, but_qformer: bool = False) -> None:
        """Leaves gradients to the projection alone, and puts every other part in eval mode.

        Args:
            but_qformer: The Q-Former learns too. It stays in eval mode all the same: without
                dropout a run that is resumed does what it would have done.

        Raises:
            ValueError: If there is no Q-Former to learn.
        """
        if but_qformer and isinstance(self.qformer, JoinedPatches):
            raise ValueError(f"Preset {self.preset.name} has no Q-Former that could learn.")
        self._qformer_learns = but_qformer
        for part in (self.vision, self.qformer, self.language):
            part.requires_grad_(requires_grad=but_qformer and part is self.qformer)
            part.eval()

    def train(self, mode: bool = True) -> Self:  # noqa: FBT001, FBT002 - torch's signature
        """Switches the projection. Other parts stay in eval: their dropout would be noise."""
        super().train(mode)
        for part in (self.vision, self.qformer, self.language):
            part.eval()
        return self

    @torch.no_grad()
    def query_output(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """What the frozen eye makes of pictures; a training run may keep it.

        Args:
            pixel_values: `(B, 3, S, S)`.

        Returns:
            `(B, Q, Dq)`.
        """
        return self._read(self._image_features(pixel_values))

    @torch.no_grad()
    def frozen_output(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """What the frozen parts of the eye make of pictures; a training run may keep it.

        Args:
            pixel_values: `(B, 3, S, S)`.

        Returns:
            The query output `(B, Q, Dq)`; if the Q-Former learns, the image features `(B, N, Dv)`.
        """
        features = self._image_features(pixel_values)
        return features if self._qformer_learns else self._read(features)

    def visual_tokens(self, frozen_output: torch.Tensor) -> torch.Tensor:
        """Visual tokens `(B, Q, D)` of what `frozen_output` gave, through all that learns."""
        return self.project(self._read(frozen_output) if self._qformer_learns else frozen_output)

    def project(self, query_output: torch.Tensor) -> torch.Tensor:
        """Visual tokens `(B, Q, D)` of query outputs `(B, Q, Dq)`."""
        tokens: torch.Tensor = self.projection(query_output.to(weight_of(self.projection).dtype))
        return tokens

    def _image_features(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Image features `(B, N, Dv)` of pixel values `(B, 3, S, S)`."""
        dtype = next(self.vision.parameters()).dtype
        features: torch.Tensor = self.vision(pixel_values.to(self.device, dtype))
        return features

    def _read(self, image_features: torch.Tensor) -> torch.Tensor:
        """Query output `(B, Q, Dq)` of image features `(B, N, Dv)`."""
        weights = self.qformer.parameters()
        dtype = next((weight.dtype for weight in weights), image_features.dtype)
        output: torch.Tensor = self.qformer(image_features.to(dtype))
        return output

    @torch.no_grad()
    def encode_images(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Visual tokens `(B, Q, D)` of pixel values `(B, 3, S, S)`."""
        return self.project(self.query_output(pixel_values))

    def tokenize(self, prompt: Prompt) -> PromptTokens:
        """Turns a prompt into ids, leaving `queries` positions at every image slot.

        Slots come from the prompt's structure, never from its text: no text a person types can
        become one.
        """
        return tokenize_prompt(prompt, self.language, self.queries)

    @torch.no_grad()
    def embed_prompt(
        self, prompt: Prompt, visual_tokens: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        """The sequence the language model reads.

        Args:
            prompt: Text and image slots.
            visual_tokens: For every key of a slot the picture's visual tokens `(Q, D)`.

        Returns:
            `inputs_embeds` `(1, T, D)`.

        Raises:
            PromptError: If a slot's picture is missing or of another shape.
        """
        tokens = self.tokenize(prompt)
        self.check_pictures(tokens, visual_tokens)
        embeds = self.language.embed(torch.tensor([tokens.ids], device=self.device))
        for start, key in tokens.slots:
            embeds[0, start : start + self.queries] = visual_tokens[key].to(embeds)
        return embeds

    def check_pictures(
        self, tokens: PromptTokens, visual_tokens: Mapping[str, torch.Tensor]
    ) -> None:
        """Makes sure that every image slot has its picture.

        Raises:
            PromptError: If a slot's picture is missing or of another shape.
        """
        expected = (self.queries, self.language.width)
        for _, key in tokens.slots:
            picture = visual_tokens.get(key)
            if picture is None or tuple(picture.shape) != expected:
                found = "missing" if picture is None else f"of shape {tuple(picture.shape)}"
                message = f"The visual tokens of picture {key[:8]} are {found}, not {expected}."
                raise PromptError(message)

    def loss(self, batch: TrainingBatch) -> torch.Tensor:
        """Mean cross entropy over all labelled tokens of a batch, a scalar.

        Gradients reach the learned parts only. Logits are computed at labelled positions alone,
        which is where most of a big vocabulary's memory would go.
        """
        visual_tokens = self.visual_tokens(batch.query_output)
        embeds = self.language.embed(batch.ids)
        embeds = place_visual_tokens(embeds, visual_tokens, batch.slot_rows, batch.slot_starts)
        hidden = self.language.model.model(
            inputs_embeds=embeds, attention_mask=batch.attention_mask, use_cache=False
        ).last_hidden_state
        # Position t predicts token t + 1.
        targets = batch.labels[:, 1:]
        learned = targets != IGNORED
        logits = self.language.model.lm_head(hidden[:, :-1][learned])
        return nn.functional.cross_entropy(logits.float(), targets[learned])


def tokenize_prompt(prompt: Prompt, language: LanguageModel, queries: int) -> PromptTokens:
    """See `MiniGPT4.tokenize`; needs the language model only.

    Args:
        prompt: Text, special tokens and image slots.
        language: Encodes the text.
        queries: Positions of an image slot.
    """
    ids: list[int] = []
    labels: list[int] = []
    slots: list[tuple[int, str]] = []
    for piece in prompt.pieces:
        if isinstance(piece, ImageSlot):
            slots.append((len(ids), piece.key))
            new, learned = [0] * queries, False
        elif isinstance(piece, SpecialToken):
            new = [language.bos_id if piece.name == "bos" else language.eos_id]
            learned = piece.part in ("answer", "end")
        else:
            new, learned = language.encode(piece.text), piece.part in ("answer", "end")
        ids += new
        labels += new if learned else [IGNORED] * len(new)
    return PromptTokens(tuple(ids), tuple(labels), tuple(slots))


def place_visual_tokens(
    embeds: torch.Tensor,
    visual_tokens: torch.Tensor,
    rows: torch.Tensor,
    starts: torch.Tensor,
) -> torch.Tensor:
    """Puts pictures into their slots, keeping gradients.

    Args:
        embeds: Embeddings `(B, T, D)`.
        visual_tokens: `(P, Q, D)`.
        rows: `(P,)`, the row of each slot.
        starts: `(P,)`, the first position of each slot.

    Returns:
        A new tensor `(B, T, D)`.
    """
    columns = starts[:, None] + torch.arange(visual_tokens.shape[1], device=starts.device)
    return embeds.index_put(
        (rows[:, None].expand_as(columns), columns), visual_tokens.to(embeds.dtype)
    )


def collate(
    sequences: Sequence[PromptTokens], query_outputs: Mapping[str, torch.Tensor], pad_id: int
) -> TrainingBatch:
    """Pads sequences to one length and lines up the pictures of their slots.

    Args:
        sequences: Tokenised prompts with answers.
        query_outputs: For every slot's key the picture's query output `(Q, Dq)`.
        pad_id: What stands in padding; masked out of attention and loss.
    """
    length = max(len(sequence.ids) for sequence in sequences)
    shape = (len(sequences), length)
    ids = torch.full(shape, pad_id)
    labels = torch.full(shape, IGNORED)
    mask = torch.zeros(shape, dtype=torch.long)
    slots = []
    for row, sequence in enumerate(sequences):
        end = len(sequence.ids)
        ids[row, :end] = torch.tensor(sequence.ids)
        labels[row, :end] = torch.tensor(sequence.labels)
        mask[row, :end] = 1
        slots += [(row, start, key) for start, key in sequence.slots]
    return TrainingBatch(
        ids=ids,
        labels=labels,
        attention_mask=mask,
        slot_rows=torch.tensor([row for row, _, _ in slots]),
        slot_starts=torch.tensor([start for _, start, _ in slots]),
        query_output=torch.stack([query_outputs[key] for _, _, key in slots]),
    )
