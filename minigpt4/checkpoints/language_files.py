"""What a language model's folder holds, and whether it is whole, without loading it or torch."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sentencepiece import SentencePieceProcessor

from minigpt4.checkpoints.files import Header, problem_list, read_header
from minigpt4.checkpoints.sizes import Shape, language_tensors
from minigpt4.errors import CheckpointError

_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
EMBEDDINGS = "model.embed_tokens.weight"
_HEAD = "lm_head.weight"
_NEEDED_NUMBERS = (
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "num_hidden_layers",
    "vocab_size",
)
_LLAMA_2_CONTEXT = 4096
_VICUNA_V0_FORMATS = ("vicuna_v0", "alignment")


@dataclass(frozen=True, slots=True)
class LanguageFiles:
    """A language model as its folder describes it.

    Attributes:
        folder: Where it lies.
        header: The weights' table of contents.
        width: Width D of an embedding.
        layers: Transformer blocks.
        key_value_width: Width of the keys (and of the values) of one position in one layer.
        vocabulary: Tokens it knows.
        context: Tokens it can read.
        dtype: Of its biggest tensor, as stored.
        numbers: How many weights it has.
        warnings: What is odd but no reason to stop.
    """

    folder: Path
    header: Header
    width: int
    layers: int
    key_value_width: int
    vocabulary: int
    context: int
    dtype: str
    numbers: int
    warnings: tuple[str, ...]


def inspect_language(folder: Path, prompt_format: str | None = None) -> LanguageFiles:
    """Reads what a language model's folder says about itself.

    Args:
        folder: In Hugging Face's layout, with its sentencepiece tokenizer.
        prompt_format: What it will be asked in; a doubtful choice is warned of.

    Raises:
        CheckpointError: With everything that keeps it from being used.
    """
    if not folder.is_dir():
        raise CheckpointError(f"There is no language model folder at {folder}.")
    problems: list[str] = []
    config = _read_json(folder / "config.json", problems)
    settings = _read_json(folder / "tokenizer_config.json", problems)
    pieces = _read_pieces(folder / "tokenizer.model", problems)
    names = _special_tokens(folder, settings)
    problems += _blank_tokens(names)
    weights = next((folder / name for name in _WEIGHTS if (folder / name).is_file()), None)
    header = None
    if weights is None:
        problems.append(f"none of {', '.join(_WEIGHTS)} is there")
    else:
        try:
            header = read_header(weights)
        except CheckpointError as error:
            problems.append(str(error))
    problems += _config_problems(config, header)
    if problems or header is None or pieces is None:
        raise problem_list(f"The language model in {folder} cannot be used:", problems)
    heads = int(config["num_attention_heads"])
    width = int(config["hidden_size"])
    key_value_heads = int(config.get("num_key_value_heads") or heads)
    biggest = max(header.tensors.values(), key=lambda info: info.numbers)
    return LanguageFiles(
        folder=folder,
        header=header,
        width=width,
        layers=int(config["num_hidden_layers"]),
        key_value_width=width // heads * key_value_heads,
        vocabulary=int(config["vocab_size"]),
        context=int(config.get("max_position_embeddings", 2048)),
        dtype=biggest.dtype,
        numbers=sum(
            info.numbers for name, info in header.tensors.items() if "rotary_emb" not in name
        ),
        warnings=(
            *_id_warnings(folder, config, pieces, names),
            *_version_warnings(folder, config, prompt_format),
        ),
    )


def _read_json(path: Path, problems: list[str]) -> dict[str, int]:
    """A JSON file's object. Typed for the numbers in it, which `_config_problems` checks."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except OSError:
        problems.append(f"{path.name} is missing")
        return {}
    except ValueError:
        problems.append(f"{path.name} is no JSON (an unfinished download, or a Git LFS pointer?)")
        return {}
    if not isinstance(content, dict):
        problems.append(f"{path.name} holds no settings")
        return {}
    return content


def _config_problems(config: Mapping[str, object], header: Header | None) -> Iterator[str]:
    if not config:
        return
    kind = config.get("model_type")
    if kind != "llama":
        yield f"config.json says model_type {kind!r}; only llama (LLaMA, Vicuna, Llama 2) is read"
        return
    numbers = {name: value for name, value in config.items() if isinstance(value, int)}
    wrong = [name for name in _NEEDED_NUMBERS if numbers.get(name, 0) < 1]
    if wrong:
        yield f"config.json lacks {', '.join(wrong)}"
        return
    if header is None:
        return
    embeddings = header.tensors.get(EMBEDDINGS)
    expected = (config["vocab_size"], config["hidden_size"])
    if embeddings is None:
        yield f"{header.path.name} has no {EMBEDDINGS}: it is no model in Hugging Face's layout"
    elif embeddings.shape != expected:
        yield (
            f"{header.path.name}: embeddings are {embeddings.shape}, config.json says {expected}. "
            "Weights and config.json belong to different models"
        )
    else:
        yield from weight_problems(header, language_tensors(numbers))


def weight_problems(header: Header, expected: Mapping[str, Shape]) -> Iterator[str]:
    """What keeps a file's tensors from being those of a model.

    Args:
        header: The file.
        expected: Name and shape of every tensor of the model.
    """
    for name, shape in expected.items():
        found = header.tensors.get(name)
        if found is None:
            yield f"missing: {name} {shape}"
        elif found.shape != shape:
            yield f"{name} is {found.shape}, expected {shape}"
    for name in header.tensors:
        # A head that is tied to the embeddings and constants that are computed do no harm.
        if name not in expected and name != _HEAD and "rotary_emb." not in name:
            yield f"{name} {header.tensors[name].shape} has no place in this model"


def _read_pieces(path: Path, problems: list[str]) -> SentencePieceProcessor | None:
    if not path.is_file():
        problems.append(
            "tokenizer.model is missing: a Llama needs the sentencepiece file it was trained with"
        )
        return None
    if path.read_bytes()[:23] == b"version https://git-lfs":
        problems.append(
            "tokenizer.model is a Git LFS pointer. Run `git lfs pull` where it was cloned"
        )
        return None
    try:
        return SentencePieceProcessor(model_file=str(path))
    except (OSError, RuntimeError):
        problems.append("tokenizer.model is damaged or no sentencepiece model. Fetch it again")
        return None


def _blank_tokens(names: Mapping[str, str]) -> Iterator[str]:
    blank = [name for name in _SPECIAL if name in names and not names[name]]
    if blank:
        cure = ", ".join(f'"{name}": "{_SPECIAL[name]}"' for name in blank)
        yield (
            f"{', '.join(blank)} are blank, as in Vicuna's first releases. Write {cure} into "
            "tokenizer_config.json and special_tokens_map.json"
        )


def _special_tokens(folder: Path, settings: Mapping[str, object]) -> dict[str, str]:
    """The names of the special tokens; special_tokens_map.json wins, as in transformers."""
    path = folder / "special_tokens_map.json"
    chosen = {**settings, **(_read_json(path, []) if path.is_file() else {})}
    names: dict[str, str] = {}
    for name in _SPECIAL:
        value = chosen.get(name)
        content = value.get("content") if isinstance(value, dict) else value
        if isinstance(content, str):
            names[name] = content
    return names


def _id_warnings(
    folder: Path,
    config: Mapping[str, object],
    pieces: SentencePieceProcessor,
    names: Mapping[str, str],
) -> Iterator[str]:
    tokens = ("bos_token", "eos_token")
    said = tuple(config.get(f"{token}_id") for token in tokens)
    own = tuple(pieces.piece_to_id(names.get(token, _SPECIAL[token])) for token in tokens)
    if said != own:
        yield (
            f"{folder.name}/config.json says bos, eos = {said[0]}, {said[1]}; the tokenizer's own "
            f"ids are used, {own[0]} and {own[1]}."
        )


def _version_warnings(
    folder: Path, config: Mapping[str, object], prompt_format: str | None
) -> Iterator[str]:
    name = f"{folder.name} {config.get('_name_or_path', '')}".lower()
    newer = next((mark for mark in ("v1.1", "v1.3", "v1.5") if mark in name), None)
    long_context = config.get("max_position_embeddings") == _LLAMA_2_CONTEXT
    if prompt_format in _VICUNA_V0_FORMATS and (newer or long_context):
        yield (
            f"{folder.name} looks like Vicuna {newer or 'v1.5 or Llama 2'}, and prompt_format "
            f"{prompt_format} is Vicuna v0's. The released projections were trained on v0; answers "
            "will be worse."
        )
