"""What a language model's folder holds, and whether it is whole, without loading it or torch."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from minigpt4.checkpoints.files import Header, problem_list, read_header
from minigpt4.errors import CheckpointError

_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
_EMBEDDINGS = "model.embed_tokens.weight"
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
    problems += _tokenizer_problems(folder, settings)
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
    if problems or header is None:
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
        warnings=tuple(_warnings(folder, config, prompt_format)),
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
    needed = ("hidden_size", "num_attention_heads", "num_hidden_layers", "vocab_size")
    wrong = [name for name in needed if not isinstance(config.get(name), int)]
    if wrong:
        yield f"config.json lacks {', '.join(wrong)}"
        return
    if header is None:
        return
    embeddings = header.tensors.get(_EMBEDDINGS)
    expected = (config["vocab_size"], config["hidden_size"])
    if embeddings is None:
        yield f"{header.path.name} has no {_EMBEDDINGS}: it is no model in Hugging Face's layout"
    elif embeddings.shape != expected:
        yield (
            f"{header.path.name}: embeddings are {embeddings.shape}, config.json says {expected}. "
            "Weights and config.json belong to different models"
        )
    last = f"model.layers.{int(str(config['num_hidden_layers'])) - 1}.self_attn.q_proj.weight"
    if embeddings is not None and last not in header.tensors:
        yield f"{header.path.name} lacks {last}, which config.json promises. A shard is missing"


def _tokenizer_problems(folder: Path, settings: Mapping[str, object]) -> Iterator[str]:
    path = folder / "tokenizer.model"
    if not path.is_file():
        yield "tokenizer.model is missing: a Llama needs the sentencepiece file it was trained with"
    elif path.read_bytes()[:23] == b"version https://git-lfs":
        yield "tokenizer.model is a Git LFS pointer. Run `git lfs pull` where it was cloned"
    names = _special_tokens(folder, settings)
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


def _warnings(
    folder: Path, config: Mapping[str, object], prompt_format: str | None
) -> Iterator[str]:
    ids = tuple(config.get(name) for name in ("bos_token_id", "eos_token_id"))
    if ids != (1, 2):
        yield (
            f"{folder.name}/config.json says bos, eos = {ids[0]}, {ids[1]}; the tokenizer's own "
            "ids are used."
        )
    name = f"{folder.name} {config.get('_name_or_path', '')}".lower()
    newer = next((mark for mark in ("v1.1", "v1.3", "v1.5") if mark in name), None)
    long_context = config.get("max_position_embeddings") == _LLAMA_2_CONTEXT
    if prompt_format in _VICUNA_V0_FORMATS and (newer or long_context):
        yield (
            f"{folder.name} looks like Vicuna {newer or 'v1.5 or Llama 2'}, and prompt_format "
            f"{prompt_format} is Vicuna v0's. The released projections were trained on v0; answers "
            "will be worse."
        )
