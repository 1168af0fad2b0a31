"""Frozen language model: transformers' Llama and the tokenizer that belongs to it."""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from sentencepiece import SentencePieceProcessor
from torch import nn
from transformers import BitsAndBytesConfig, LlamaForCausalLM, LlamaTokenizer

from minigpt4.errors import CheckpointError, ConfigError


class LanguageModel(nn.Module):
    """A causal language model that is fed embeddings, and its tokenizer.

    Attributes:
        model: The transformer with its output head.
        tokenizer: transformers' tokenizer; it knows the special tokens and decodes.
    """

    def __init__(
        self, model: LlamaForCausalLM, tokenizer: LlamaTokenizer, pieces: SentencePieceProcessor
    ) -> None:
        """Joins the parts.

        Args:
            model: The language model.
            tokenizer: Its tokenizer.
            pieces: The tokenizer's own sentencepiece model. Text is encoded by it, not by
                `tokenizer`: since transformers 5 the latter merges a leading space into the first
                word, where the released code and its training had a piece of its own.
        """
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self._pieces = pieces

    @property
    def width(self) -> int:
        """Width D of an embedding, which a visual token must have."""
        return int(self.model.config.hidden_size)

    @property
    def bos_id(self) -> int:
        """Id of the token every sequence starts with."""
        return int(self.tokenizer.bos_token_id)

    @property
    def eos_id(self) -> int:
        """Id of the token that ends a text."""
        return int(self.tokenizer.eos_token_id)

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text. No text ever becomes a special token."""
        ids: list[int] = self._pieces.encode(text)
        return ids

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """Embeddings `(..., D)` of token ids `(...)`."""
        embeddings: torch.Tensor = self.model.get_input_embeddings()(ids)
        return embeddings

    def text_stream(self) -> "TextStream":
        """A decoder for one answer, fed id by id."""
        return TextStream(self._pieces)

    def decode(self, ids: list[int]) -> str:
        """The text of generated ids, special tokens left out."""
        stream = self.text_stream()
        return "".join(stream.step(token) for token in ids)


class TextStream:
    """Decodes ids one at a time into pieces of text that are each valid UTF-8.

    A character that spans several byte tokens comes out whole with the last of them. Every byte
    that is part of no character becomes U+FFFD, as in the release; a character that is still open
    at the end is dropped. The tokenizer's own space before the first word is left out, as are
    special tokens.
    """

    def __init__(self, pieces: SentencePieceProcessor) -> None:
        self._pieces = pieces
        self._open = b""  # the first bytes of a character
        self._begun = False

    def step(self, token: int) -> str:
        """The text that this id completes; empty while a character is still open."""
        pieces = self._pieces
        if not 0 <= token < pieces.get_piece_size():
            return ""  # added to the vocabulary behind the tokenizer's back, such as [PAD]
        if pieces.is_control(token) or pieces.is_unknown(token):
            return ""
        piece: str = pieces.id_to_piece(token)
        if pieces.is_byte(token):
            return self._decoded(bytes([int(piece[1:-1], 16)]))
        text = piece.replace("\u2581", " ")
        return self._decoded((text if self._begun else text.removeprefix(" ")).encode())

    def _decoded(self, content: bytes) -> str:
        self._begun = True
        self._open += content
        text = ""
        while self._open:
            try:
                whole, self._open = self._open.decode(), b""
                return text + whole
            except UnicodeDecodeError as error:
                text += self._open[: error.start].decode()
                if error.reason == "unexpected end of data":
                    self._open = self._open[error.start :]
                    return text
                text += "\ufffd" * (error.end - error.start)
                self._open = self._open[error.end :]
        return text


def load_language_model(
    folder: Path,
    dtype: torch.dtype,
    *,
    device: torch.device | None = None,
    quantize: Literal["none", "8bit", "4bit"] = "none",
    spread: bool = False,
) -> LanguageModel:
    """Loads a language model from a folder in Hugging Face's layout.

    Args:
        folder: Holds config.json, the weights, tokenizer.model and tokenizer_config.json.
        dtype: What the weights are held in.
        device: Where they go, straight from the file; None is the CPU.
        quantize: Hold the blocks' weights in fewer bits, by bitsandbytes on a CUDA device.
        spread: Lay the layers over all CUDA devices.

    Raises:
        CheckpointError: If the folder or one of its files is missing or does not fit.
        ConfigError: If `quantize` is asked for where it does not work.
    """
    placement: dict[str, Any] = {}
    check_quantization(quantize, device or torch.device("cpu"))
    if quantize != "none":
        placement["quantization_config"] = _quantization(quantize, dtype)
    if spread:
        placement["device_map"] = "auto"
    elif device is not None and device.type != "cpu":
        placement["device_map"] = {"": device}
    missing = [name for name in _NEEDED if not (folder / name).is_file()]
    if missing:
        message = (
            f"The language model folder {folder} lacks {', '.join(missing)}. It must hold a Llama "
            "model in Hugging Face's layout together with its sentencepiece tokenizer."
        )
        raise CheckpointError(message)
    try:
        loaded: Any = LlamaForCausalLM.from_pretrained(
            folder, dtype=dtype, local_files_only=True, output_loading_info=True, **placement
        )
    except (OSError, ValueError, RuntimeError) as error:
        message = f"The language model in {folder} could not be read: {error}"
        raise CheckpointError(message) from error
    model, report = loaded
    problems = [*_loading_problems(report), *_broken_weights(model)]
    if problems:
        message = f"The weights in {folder} do not fit their config.json: {'; '.join(problems)}"
        raise CheckpointError(message)
    return LanguageModel(model, *load_tokenizer(folder))


def load_tokenizer(folder: Path) -> tuple[LlamaTokenizer, SentencePieceProcessor]:
    """Loads the tokenizer of a language model's folder.

    Raises:
        CheckpointError: If it cannot be read.
    """
    try:
        tokenizer = LlamaTokenizer.from_pretrained(folder, local_files_only=True)
        return tokenizer, SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    except (OSError, ValueError, RuntimeError) as error:
        message = f"The tokenizer in {folder} could not be read: {error}"
        raise CheckpointError(message) from error


_NEEDED = ("config.json", "tokenizer.model", "tokenizer_config.json")


def _loading_problems(report: dict[str, object]) -> Iterator[str]:
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        keys = report.get(what) or ()
        if isinstance(keys, (list, tuple, set, frozenset)) and keys:
            shown = ", ".join(sorted(str(key) for key in keys)[:5])
            yield f"{len(keys)} {what.replace('_', ' ')} ({shown})"


def _broken_weights(model: nn.Module) -> Iterator[str]:
    broken = [
        name
        for name, weight in model.named_parameters()
        if weight.is_floating_point() and not torch.isfinite(weight.sum(dtype=torch.float32))
    ]
    if broken:
        yield f"{len(broken)} tensors are not finite ({', '.join(broken[:5])})"


def check_quantization(quantize: str, device: torch.device) -> None:
    """Makes sure that a language model can be quantised as asked, before anything is loaded.

    Raises:
        ConfigError: If the device is no CUDA device, or bitsandbytes is not installed.
    """
    if quantize == "none":
        return
    if device.type != "cuda":
        message = (
            f"quantize: {quantize} given on {device.type}; it works on a CUDA device only. Set "
            "quantize to none; on a CPU, precision bfloat16 halves the memory of float32."
        )
        raise ConfigError([message])
    if find_spec("bitsandbytes") is None:
        message = f"quantize: {quantize} needs bitsandbytes. Install it: pip install bitsandbytes"
        raise ConfigError([message])


def _quantization(quantize: Literal["8bit", "4bit"], dtype: torch.dtype) -> BitsAndBytesConfig:
    """What transformers needs to know to quantise while it loads."""
    settings: Callable[..., BitsAndBytesConfig] = BitsAndBytesConfig
    if quantize == "8bit":
        return settings(load_in_8bit=True)
    return settings(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)
