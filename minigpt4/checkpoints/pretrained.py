"""Saves a model as a folder, and publishes one on the Hugging Face hub.

The names are transformers': `save_pretrained`, `push_to_hub`. What is saved is what the files hold,
in their own precision, not what a device holds of them: loading it gives the same model again, bit
for bit. Files of our format and language models in safetensors are copied; the release's files and
`pytorch_model*.bin` are written anew in safetensors. A language model that is on the hub stays
there, named with its commit.
"""

import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from huggingface_hub import ModelCard
from safetensors.torch import save_file

from minigpt4.checkpoints.configured import (
    check_own_parts,
    fetch_parts,
    plan_paths,
    references_of,
)
from minigpt4.checkpoints.files import read_header
from minigpt4.checkpoints.fingerprints import fingerprint
from minigpt4.checkpoints.language_files import inspect_language
from minigpt4.checkpoints.loading import stored_weights
from minigpt4.checkpoints.model_cards import model_card
from minigpt4.checkpoints.native import write_file, write_tensors
from minigpt4.checkpoints.plan import Plan
from minigpt4.checkpoints.release import native_record
from minigpt4.checkpoints.saved import (
    CONFIG_FILE,
    LANGUAGE_FOLDER,
    saved_config,
    saved_settings,
)
from minigpt4.checkpoints.tensors import read_tensors
from minigpt4.config import FOLDER_PREFIX, Config, ExampleConfig, load_config, locate
from minigpt4.errors import CheckpointError, ConfigError
from minigpt4.models.presets import Preset, preset_named

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo

SCORES = "scores.json"
"""Found beside a projection or given, it becomes the model card's tables."""
_LICENCE = Path(__file__).parents[2] / "LICENSE"
_OURS = "bsd-3-clause"
_SUFFIX = ".safetensors"
_SHARDS = "model.safetensors.index.json"
_BEFORE = ".config.json.before"
"""Stands in for config.json while a folder is being written: it is ours, and no whole model."""


def save_model(
    config: Config, folder: Path, *, licence: str | None = None, scores: Path | None = None
) -> None:
    """Write the model of a configuration into a folder; `minigpt4.load` reads it.

    The config.json comes last: a folder that has one is whole.

    Args:
        config: Says where the parts are.
        folder: Where they go; a saved model that is there is replaced.
        licence: The hub's name of the model's licence. None is ours for a model that comes with
            this package, what its card says for a saved one, and "other" for every other.
        scores: A file of scores for the model card; None takes scores.json beside the projection.

    Raises:
        ConfigError: If a part is missing, or what is given as scores is none.
        CheckpointError: If parts do not fit each other, or the folder holds something else.
    """
    preset = preset_named(config.model.preset)
    references = references_of(config, preset)
    paths = fetch_parts(config, preset)
    plan = _checked(config, preset, paths)
    told = _scores(scores, paths["model.projection"])
    licence, text = _licence(config, paths["model.projection"].parent, licence)
    _claim(folder)
    places = {"model.language_model": config.model.language_model}
    saved_at = dict(paths)
    changed = False
    for part in ("vision", "qformer"):
        if (key := f"model.{part}") in paths:
            saved_at[key], places[key] = _place(folder, f"{part}{_SUFFIX}")
            changed |= _save_part(paths[key], saved_at[key], part, preset, plan)
    if references[(key := "model.language_model")].local:
        saved_at[key], places[key] = _place(folder, LANGUAGE_FOLDER)
        changed |= _save_language(paths[key], saved_at[key])
    else:
        shutil.rmtree(folder / LANGUAGE_FOLDER, ignore_errors=True)  # of the model before
    key = "model.projection"
    saved_at[key], places[key] = _place(folder, f"projection{_SUFFIX}")
    _save_projection(paths[key], saved_at, config, plan, changed=changed)
    model = replace(
        config.model,
        vision=places["model.vision"],
        qformer=places.get("model.qformer", ""),
        language_model=places["model.language_model"],
        projection=places["model.projection"],
        other_projections=(),  # one model is saved; other projections are files of their own
    )
    page = replace(config.page, examples=_saved_examples(config, folder))
    saved = replace(config, model=model, page=page)
    if told is not None:
        write_file(folder / SCORES, told)
    if text is not None:
        write_file(folder / "LICENSE", text)
    settings = saved_settings(saved)
    numbers = None if told is None else json.loads(told)
    card = model_card(saved, settings, _files(folder), numbers, licence)
    write_file(folder / "README.md", card.encode())
    write_file(folder / CONFIG_FILE, f"{json.dumps(settings, indent=2)}\n".encode())
    (folder / _BEFORE).unlink(missing_ok=True)
    _check_saved(folder)


def push_folder(
    folder: Path,
    repo_id: str,
    *,
    private: bool | None = None,
    commit_message: str = "Upload a MiniGPT-4 model",
    token: str | None = None,
    revision: str | None = None,
    create_pr: bool = False,
) -> "CommitInfo":
    """Publish a saved model on the hub, in one commit.

    Args:
        folder: What `save_model` wrote.
        repo_id: Owner and name; a repository that does not exist is made.
        private: Whether a new repository is for its owner only; None does as the owner's
            organisation has it.
        commit_message: What the history says.
        token: Of an account that may write there; None takes the one huggingface_hub knows.
        revision: Branch; None is main.
        create_pr: Whether to open a pull request instead.

    Returns:
        The commit; ``load(f"{repo_id}@{commit.oid}")`` loads what was published.

    Raises:
        ConfigError: If the folder holds no saved model.
        CheckpointError: If the hub does not take it.
    """
    from huggingface_hub import HfApi  # noqa: PLC0415 - a second to import

    saved_config(folder)
    api = HfApi(token=token)
    try:
        api.create_repo(repo_id, private=private, exist_ok=True)
        return api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            commit_message=commit_message,
            revision=revision,
            create_pr=create_pr,
            # Nothing that happens to lie there as well.
            allow_patterns=[
                *(CONFIG_FILE, "README.md", "LICENSE", SCORES, "*.safetensors"),
                *("examples/*", f"{LANGUAGE_FOLDER}/*"),
            ],
        )
    except Exception as error:
        raise CheckpointError(
            f"{repo_id} could not be published: {type(error).__name__}: {error}. Check the name and"
            " the network, and log in with `hf auth login` or set HF_TOKEN."
        ) from error


def _checked(config: Config, preset: Preset, paths: Mapping[str, Path]) -> Plan | None:
    """Check parts as loading does; the plan of a model of the released kind."""
    if preset.vision.architecture == "eva":
        return plan_paths(config, preset, paths)
    check_own_parts(config, preset, paths)
    return None


def _check_saved(folder: Path) -> None:
    config = load_config(saved_config(folder))
    preset = preset_named(config.model.preset)
    _checked(config, preset, fetch_parts(config, preset))


def _claim(folder: Path) -> None:
    """Make a folder ours; it stops being a whole model until the new one is."""
    before = folder / _BEFORE
    if folder.is_dir() and any(folder.iterdir()):
        config = folder / CONFIG_FILE
        try:
            content = json.loads((config if config.exists() else before).read_text("utf-8"))
        except (OSError, ValueError):
            content = None
        if not isinstance(content, dict) or content.get("model_type") != "minigpt4":
            raise CheckpointError(
                f"{folder} is not empty and holds no saved MiniGPT-4. Choose another folder."
            )
        if config.exists():
            config.replace(before)
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(f"{folder} could not be made: {error.strerror}.") from error
    write_file(before, b'{"model_type": "minigpt4"}\n')


def _scores(given: Path | None, projection: Path) -> bytes | None:
    """The file of scores, read and checked before anything is written; None if there is none."""
    path = given or projection.with_name(SCORES)
    if given is None and not path.is_file():
        return None
    try:
        content = path.read_bytes()
        stages = json.loads(content)
    except OSError as error:
        raise ConfigError([f"scores: {path} cannot be read ({error.strerror})."]) from error
    except ValueError as error:
        raise ConfigError([f"scores: {path} is no JSON."]) from error
    measures = list(stages.values()) if isinstance(stages, dict) else [None]
    rows = [row for each in measures for row in (each.values() if isinstance(each, dict) else [0])]
    if not all(isinstance(row, dict) for row in rows):
        raise ConfigError(
            [f"scores: {path} does not read {{stage: {{measure: {{what: number}}}}}}."]
        )
    return content


def _save_part(source: Path, target: Path, part: str, preset: Preset, plan: Plan | None) -> bool:
    """Copy or convert a part.

    Returns:
        Whether its bytes are others than the source's.
    """
    if plan is None or native_record(read_header(source)).get("part") == part:
        _copy(source, target)
        return False
    header = {"part": part, "preset": preset.name}
    write_tensors(target, stored_weights(plan, part), header)
    return True


def _save_projection(
    source: Path,
    saved_at: Mapping[str, Path],
    config: Config,
    plan: Plan | None,
    *,
    changed: bool,
) -> None:
    """Copy a projection, or write it anew if it or what it was trained on has other bytes now."""
    target = saved_at["model.projection"]
    record = dict(native_record(read_header(source)))
    if record and not changed:
        _copy(source, target)
        return
    vision = saved_at["model.vision"]
    reader = saved_at.get("model.qformer", vision)
    header: dict[str, Any] = {
        "part": "projection",
        "preset": config.model.preset,
        "prompt_format": config.model.prompt_format,
        **record,
        "frozen": fingerprint(vision, reader, saved_at["model.language_model"]),
    }
    header.pop("version", None)
    if plan is None:
        found = read_header(source)
        tensors = {name: tensor.clone() for name, tensor in read_tensors(found, found.tensors)}
    else:
        tensors = stored_weights(plan, "projection")
    write_tensors(target, tensors, header)


def _save_language(source: Path, target: Path) -> bool:
    """Copy a language model and its tokeniser; weights in pickles become safetensors.

    Returns:
        Whether its bytes are others than the source's.
    """
    if target.exists() and target.samefile(source):
        return False
    # Weights of a model that was here would be read before ours.
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(exist_ok=True)
    for pattern in ("*.json", "*.model"):
        for file in sorted(source.glob(pattern)):
            if not file.name.endswith(".index.json"):
                _copy(file, target / file.name)
    header = inspect_language(source).header
    if header.kind == "safetensors":
        shards = sorted(set(header.shards.values()))
        for shard in shards:
            _copy(shard, target / shard.name)
        if (source / _SHARDS).is_file():
            _copy(source / _SHARDS, target / _SHARDS)
        return False
    files = sorted(set(header.shards.values()))
    names: dict[str, str] = {}
    for number, shard in enumerate(files, start=1):
        of_all = f"-{number:05}-of-{len(files):05}" if len(files) > 1 else ""
        name = f"model{of_all}.safetensors"
        wanted = [each for each, file in header.shards.items() if file == shard]
        tensors = {
            each: tensor.clone().contiguous()
            for each, tensor in read_tensors(header, dict.fromkeys(wanted))
        }
        _write_shard(target / name, tensors)
        names |= dict.fromkeys(tensors, name)
    if len(files) > 1:
        size = sum(info.bytes for info in header.tensors.values())
        index = {"metadata": {"total_size": size}, "weight_map": names}
        write_file(target / _SHARDS, f"{json.dumps(index, indent=2)}\n".encode())
    return True


def _write_shard(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    # Not `write_tensors`: a shard may be ten gigabytes, which need not be in memory twice.
    partial = path.with_name(f".{path.name}.partial")
    try:
        save_file(dict(tensors), partial, metadata={"format": "pt"})
        partial.replace(path)
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()


def _saved_examples(config: Config, folder: Path) -> tuple[ExampleConfig, ...]:
    examples = []
    for number, example in enumerate(config.page.examples, start=1):
        source = locate(example.picture)
        if example.picture.startswith("assets:"):
            examples.append(example)
            continue
        name = f"examples/{number}{source.suffix.lower()}"
        _copy(source, folder / name)
        examples.append(replace(example, picture=f"{FOLDER_PREFIX}{name}"))
    return tuple(examples)


def _copy(source: Path, target: Path) -> None:
    """Copy a file so that the copy is there whole or not at all."""
    if target.exists() and target.samefile(source):
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    try:
        shutil.copyfile(source, partial)
        partial.replace(target)
    except OSError as error:
        raise CheckpointError(f"{target} could not be written ({error.strerror}).") from error
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()


def _place(folder: Path, name: str) -> tuple[Path, str]:
    """Where a part of a saved model lies, and how its config.json says so."""
    return folder / name, f"{FOLDER_PREFIX}{name}"


def _licence(config: Config, source: Path, given: str | None) -> tuple[str, bytes | None]:
    """The licence of a model, and its text if there is one: a saved model's goes on as it was."""
    model = config.model
    parts = (model.vision, model.qformer, model.language_model, model.projection)
    ours = all(part.startswith("assets:") for part in parts if part)
    card, text = source / "README.md", source / "LICENSE"
    known = _OURS if ours else None
    if (source / CONFIG_FILE).is_file() and card.is_file():
        known = ModelCard.load(card).data.license
    name = given or known or "other"
    if known is not None and name == known and text.is_file():
        return name, text.read_bytes()
    return name, _LICENCE.read_bytes() if name == _OURS and _LICENCE.is_file() else None


def _files(folder: Path) -> dict[str, int]:
    """The weight files of a saved model, and their bytes."""
    found = sorted(folder.rglob("*.safetensors"))
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in found}
