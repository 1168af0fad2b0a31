"""Brings the files of a model to this machine: from a path, the hub's cache, or the hub.

Downloads resume and are put in place whole by huggingface_hub, which keeps them in its cache; once
they are there, nothing asks the network again.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path

from minigpt4.checkpoints.files import check_sha256
from minigpt4.checkpoints.language_files import inspect_language
from minigpt4.config import locate
from minigpt4.errors import CheckpointError, ConfigError
from minigpt4.references import Reference, published_at

# huggingface_hub takes a second to import and is needed for hub references only: hence the imports
# within functions.
_NEEDED = ("config.json", "tokenizer.model", "tokenizer_config.json")


def find(reference: Reference) -> Path | None:
    """The file or folder on this machine, without the network; None if it is not there."""
    if reference.local:
        path = locate(reference.local)
        return path if path.exists() else None
    from huggingface_hub import snapshot_download, try_to_load_from_cache  # noqa: PLC0415
    from huggingface_hub.errors import LocalEntryNotFoundError  # noqa: PLC0415

    kind = "space" if reference.space else "model"
    if reference.file:
        cached = try_to_load_from_cache(
            reference.repository, reference.file, revision=reference.revision, repo_type=kind
        )
        return Path(cached) if isinstance(cached, str) else None
    try:
        folder = snapshot_download(
            reference.repository,
            revision=reference.revision,
            repo_type=kind,
            local_files_only=True,
        )
    except (LocalEntryNotFoundError, OSError):
        return None
    return Path(folder) if _is_whole(Path(folder)) else None


def fetch_all(references: Mapping[str, Reference]) -> dict[str, Path]:
    """All files of a model on this machine, downloaded where they are not.

    Nothing is downloaded before every path is known to be there.

    Args:
        references: By the setting that names them, such as `model.vision`.

    Raises:
        ConfigError: With every file that is missing, and where to get it.
        CheckpointError: If a file is not the one whose checksum is given.
    """
    found = {key: find(reference) for key, reference in references.items()}
    missing = list(_missing(references, found))
    if missing:
        raise ConfigError(missing)
    failed = []
    for key, reference in references.items():
        if found[key] is None:
            try:
                found[key] = _download(reference)
            except CheckpointError as error:
                failed.append(f"{key}: {error}")
    if failed:
        raise ConfigError(failed)
    paths = {key: path for key, path in found.items() if path is not None}
    for key, reference in references.items():
        if reference.sha256:
            check_sha256(paths[key], reference.sha256)
    return paths


def folder_patterns(names: Iterable[str]) -> list[str]:
    """Which files of a language model's repository are needed.

    Many repositories hold the same weights twice; the safetensors are taken where there are any.
    """
    safe = any(fnmatch(name, "model*.safetensors") for name in names)
    return ["*.json", "*.model", "model*.safetensors" if safe else "pytorch_model*.bin"]


def _missing(
    references: Mapping[str, Reference], found: Mapping[str, Path | None]
) -> Iterator[str]:
    for key, reference in references.items():
        if reference.local and found[key] is None:
            path = locate(reference.local)
            place = published_at(path.name)
            cure = f" Get it from {place}." if place else ""
            yield f"{key}: {reference.text!r} given, but there is no {path}.{cure}"


def _is_whole(folder: Path) -> bool:
    """Whether a cached language model has all its files; a download can stop half-way."""
    if any(not (folder / name).exists() for name in _NEEDED):
        return False
    try:
        inspect_language(folder)
    except CheckpointError as error:
        # Only what is not there calls for the network; what is wrong with it is told later.
        return "There is no weights file" not in str(error) and "none of" not in str(error)
    return True


def _download(reference: Reference) -> Path:
    from huggingface_hub import HfApi, hf_hub_download, snapshot_download  # noqa: PLC0415

    kind = "space" if reference.space else "model"

    def one_file() -> str:
        return hf_hub_download(
            reference.repository, reference.file, revision=reference.revision, repo_type=kind
        )

    def whole_folder() -> str:
        return snapshot_download(
            reference.repository,
            revision=reference.revision,
            repo_type=kind,
            allow_patterns=folder_patterns(
                HfApi().list_repo_files(
                    reference.repository, revision=reference.revision, repo_type=kind
                )
            ),
        )

    return Path(_told(reference, one_file if reference.file else whole_folder))


def _told(reference: Reference, download: Callable[[], str]) -> str:
    """Runs a download and says what went wrong in a sentence."""
    from huggingface_hub.errors import (  # noqa: PLC0415
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return download()
    except GatedRepoError:
        reason = "its licence must be accepted on its page first; then run `hf auth login`"
    except RepositoryNotFoundError:
        reason = "the hub has no such repository, or it is private; check the name"
    except RevisionNotFoundError:
        reason = "the repository has no such commit"
    except LocalEntryNotFoundError:
        reason = "it is not in the cache and the hub cannot be reached (offline?)"
    except EntryNotFoundError:
        reason = "the repository has no such file at this commit"
    except (HfHubHTTPError, OSError, ValueError) as error:
        first = str(error).strip().splitlines()
        reason = f"the download failed ({first[0] if first else type(error).__name__})"
    raise CheckpointError(f"{reference.text!r} could not be fetched: {reason}.")
