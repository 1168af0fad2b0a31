"""A saved model: a folder, here or on the Hugging Face hub, that holds all of a model.

    config.json              a configuration, whose parts lie in this folder ("folder:...")
    vision.safetensors       and qformer.safetensors, projection.safetensors: our own format
    language/                the language model, in Hugging Face's layout
    README.md                the model card

`minigpt4.checkpoints.pretrained` writes it. What is read of it may come from strangers, so it says
which model this is and nothing about the machine that runs it. Nothing here needs torch.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

from minigpt4.config import FOLDER_PREFIX, Config, check_files, load_config
from minigpt4.errors import CheckpointError, ConfigError
from minigpt4.references import Reference, parse_reference

CONFIG_FILE = "config.json"
LANGUAGE_FOLDER = "language"
SAVED_SETTINGS = (
    "model_type",
    "format_version",
    "model",
    "precision",
    "generation",
    "limits.max_question_characters",
    "limits.max_context_tokens",
    "limits.max_pictures",
    "page.title",
    "page.claim",
    "page.notice",
    "page.link",
    "page.picture_question",
    "page.examples",
)
"""What a saved model says. All else is for whoever runs it."""
_FETCHED = (
    CONFIG_FILE,
    *("README.md", "LICENSE", "scores.json"),  # for who saves it again
    "*.safetensors",
    "examples/*",
    *(f"{LANGUAGE_FOLDER}/{name}" for name in ("*.json", "*.model", "*.safetensors")),
)


def saved_config(folder: Path) -> Path:
    """Return the configuration of a saved model, once it may be trusted.

    Raises:
        ConfigError: It is none, reaches out of its folder, or decides what is not its business.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise ConfigError([f"{folder} holds no saved model: there is no {CONFIG_FILE} in it."])
    problems = [f"{path}: {problem}" for problem in _problems(load_config(path), folder)]
    if problems:
        raise ConfigError(problems)
    return path


def fetch_saved(reference: Reference) -> Path:
    """Bring a saved model of the hub here; what is here already needs no network.

    Returns:
        Its configuration.

    Raises:
        ConfigError: It is no saved model.
        CheckpointError: It cannot be fetched.
    """
    from huggingface_hub import snapshot_download  # noqa: PLC0415 - a second to import
    from huggingface_hub.errors import LocalEntryNotFoundError  # noqa: PLC0415

    def fetched(*, local: bool) -> Path:
        return Path(
            snapshot_download(
                reference.repository,
                revision=reference.revision,
                allow_patterns=list(_FETCHED),
                local_files_only=local,
            )
        )

    try:
        path = saved_config(fetched(local=True))
        check_files(load_config(path))
    except (LocalEntryNotFoundError, OSError, ConfigError):
        # Not here, or only a part of it: a download can stop half-way.
        pass
    else:
        return path
    try:
        folder = fetched(local=False)
    except Exception as error:
        message = (
            f"{reference.text} could not be fetched: {type(error).__name__}: {error}. Check the"
            " name and the network; a private model needs a token in HF_TOKEN."
        )
        raise CheckpointError(message) from error
    return saved_config(folder)


def is_saved_reference(text: str) -> bool:
    """Whether a text names a whole repository of the hub.

    Raises:
        ConfigError: It names one without a commit.
    """
    reference = parse_reference(text)
    return bool(reference.repository) and not reference.file and not reference.space


def saved_settings(config: Config) -> dict[str, Any]:
    """Return what a saved model says of a configuration, for its config.json."""
    content: dict[str, Any] = {}
    for key, value in _flat(asdict(config)).items():
        if _is_saved(key) and value is not None:
            *groups, name = key.split(".")
            at = content
            for group in groups:
                at = at.setdefault(group, {})
            at[name] = value
    return content


def _problems(config: Config, folder: Path) -> Iterator[str]:
    plain = _flat(asdict(Config(model=config.model)))
    for key, value in _flat(asdict(config)).items():
        if not _is_saved(key) and value != plain[key]:
            yield f"{key}: {value!r} given; a saved model says nothing about that. Leave it out."
    places = {
        f"model.{part}": getattr(config.model, part)
        for part in ("vision", "qformer", "language_model", "projection")
    }
    for index, other in enumerate(config.model.other_projections):
        places[f"model.other_projections[{index}].weights"] = other.weights
    for index, example in enumerate(config.page.examples):
        places[f"page.examples[{index}].picture"] = example.picture
    for key, text in places.items():
        local = parse_reference(text).local if text else ""
        if local and not _is_inside(local, folder):
            yield (
                f"{key}: {text!r} given; a saved model's files lie in its own folder:"
                f" {FOLDER_PREFIX}FILE."
            )


def _is_inside(local: str, folder: Path) -> bool:
    # Not resolved: in the hub's cache every file is a link to somewhere else.
    if local.startswith("assets:"):
        inner = PurePosixPath(local.removeprefix("assets:"))
    else:
        try:
            inner = PurePosixPath(Path(local).relative_to(folder).as_posix())
        except ValueError:
            return False
    return ".." not in inner.parts and not inner.is_absolute()


def _is_saved(key: str) -> bool:
    return any(key == saved or key.startswith(f"{saved}.") for saved in SAVED_SETTINGS)


def _flat(groups: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in groups.items():
        inner = isinstance(value, Mapping)
        flat |= _flat(value, f"{before}{name}.") if inner else {f"{before}{name}": value}
    return flat
