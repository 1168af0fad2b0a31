"""What stays of a language model when a server runs it: its tokenizer and its embeddings."""

from typing import NoReturn

import torch
from sentencepiece import SentencePieceProcessor
from torch import nn
from transformers import LlamaTokenizer

from minigpt4.errors import EngineError
from minigpt4.models.language import LanguageModel


class LanguageInput(LanguageModel):
    """Turns text into embeddings and ids into text; cannot continue a sequence by itself.

    A prompt is put together here, and only its embeddings travel to the server. Of a language
    model of 13.5 GB, this holds 0.26.

    Attributes:
        embeddings: One row `(D,)` a token.
    """

    def __init__(
        self,
        embeddings: nn.Embedding,
        tokenizer: LlamaTokenizer,
        pieces: SentencePieceProcessor,
    ) -> None:
        """Joins the parts.

        Args:
            embeddings: The language model's own.
            tokenizer: See `LanguageModel`.
            pieces: See `LanguageModel`.
        """
        nn.Module.__init__(self)  # not LanguageModel's: there is no transformer
        self.embeddings = embeddings
        self.tokenizer = tokenizer
        self._pieces = pieces

    @property
    def width(self) -> int:
        """Width D of an embedding."""
        return self.embeddings.embedding_dim

    @property
    def model(self) -> NoReturn:  # type: ignore[override] # on purpose: there is none
        """Tells whoever wants to run the language model that it is not here."""
        raise EngineError("The language model runs on a server; here is only its tokenizer.")

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """Embeddings `(..., D)` of token ids `(...)`."""
        embeddings: torch.Tensor = self.embeddings(ids)
        return embeddings
