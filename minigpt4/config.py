"""The configuration of one demo, checked whole before anything is loaded.

A new setting is one line in a dataclass here; `minigpt4.settings_file` says what a line can be.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from minigpt4.errors import ConfigError
from minigpt4.prompt_formats import PROMPT_FORMATS
from minigpt4.references import local_path, parse_reference, published_at
from minigpt4.server_config import ServerConfig
from minigpt4.settings_file import Rule, matching, one_of, read_settings, some_text, within

ASSETS = Path(__file__).parent / "assets"
"""Files that come with this package."""
_ASSETS_PREFIX = "assets:"
FOLDER_PREFIX = "folder:"
"""Stands for the folder of the file in which it is written."""

_WEIGHTS = some_text("a path such as assets:tiny/projection.safetensors")


_LABEL = matching(
    r"(?!Compare$)\S(.{0,28}\S)?", "1 to 30 characters, such as Stage 1, and not Compare"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectionConfig:
    """A projection besides the main one, trained on the same frozen parts."""

    label: str = field(metadata=_LABEL)
    """What the page calls it."""
    weights: str = field(metadata=_WEIGHTS)
    """Its file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Which model, and where its parts are; `locate` finds them."""

    preset: str = field(metadata=some_text("a preset such as tiny"))
    """Sizes of the parts; checked where the model is built, against the presets there are."""
    prompt_format: str = field(metadata=one_of(PROMPT_FORMATS))
    """How conversations are written down; it must be the one the language model was taught."""
    vision: str = field(metadata=_WEIGHTS)
    """Weights of the vision part."""
    qformer: str = field(
        default="",
        metadata=matching(
            r"(.*\S.*)?", "a path such as assets:tiny/qformer.safetensors, or nothing"
        ),
    )
    """Weights of the Q-Former; empty for a preset without one."""
    language_model: str = field(metadata=_WEIGHTS)
    """Folder of the language model and its tokeniser."""
    projection: str = field(metadata=_WEIGHTS)
    """Weights of the projection, the one part MiniGPT-4 trains."""
    projection_label: str = field(default="Trained", metadata=_LABEL)
    """What the page calls it where there are others."""
    other_projections: tuple[ProjectionConfig, ...] = ()
    """Projections that the page can look through instead, or beside it: before and after."""
    image_size: int | None = field(default=None, metadata=within(14, 2048))
    """Side of the square pictures in pixels; None takes what the vision part was trained on."""
    vision_heads: int | None = field(default=None, metadata=within(1, 256))
    """Attention heads of a vision part that is not of the preset's width."""
    qformer_heads: int | None = field(default=None, metadata=within(1, 256))
    """The same of the Q-Former."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationSettings:
    """How an answer is drawn from the model's probabilities.

    Source: the release's defaults (temperature 1.0, top_p 0.9, repetition_penalty 1.05).
    """

    max_new_tokens: int = field(default=300, metadata=within(1, 4096))
    """The longest answer, in tokens."""
    temperature: float = field(default=1.0, metadata=within(0, 2))
    """0 always takes the likeliest token; 1 draws as the model says; above, wilder."""
    top_p: float = field(default=0.9, metadata=within(0.05, 1))
    """Draw only among the likeliest tokens that together have this probability."""
    repetition_penalty: float = field(default=1.05, metadata=within(1, 2))
    """Above 1 makes tokens that the answer already holds less likely."""
    num_beams: int = field(default=1, metadata=within(1, 5))
    """Above 1 follows that many answers at once and keeps the likeliest; the text then comes in one
    piece at the end."""
    seed: int | None = field(default=None, metadata=within(0, 2**31 - 1))
    """Makes a drawn answer repeatable; None draws anew every time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """What turns prompts into answers, and how much memory it may take."""

    kind: Literal["batching", "generate", "vllm"] = "batching"
    """batching writes many answers together; generate one at a time, as the reference; vllm asks
    vLLM servers at `urls`."""
    max_answers: int = field(default=16, metadata=within(1, 1024))
    """Answers written at a time; more questions wait."""
    cache_mb: int | None = field(default=None, metadata=within(1, 10_000_000))
    """Memory for what was read of the chats (the KV cache); None takes a share of what is free."""
    picture_cache_mb: int = field(default=64, metadata=within(0, 1_000_000))
    """Memory for the visual tokens of pictures seen lately, so that none is looked at twice."""
    urls: tuple[str, ...] = field(
        default=(), metadata=matching(r"https?://[^\s/]+\S*", "an address: http://127.0.0.1:8000")
    )
    """vLLM servers, replicas of one model, such as http://127.0.0.1:8000."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsConfig:
    """What one user may ask of a server that others use too."""

    queue_size: int = field(default=16, metadata=within(1, 1000))
    """Questions that may wait; one more is refused."""
    max_upload_mb: int = field(default=20, metadata=within(1, 20))
    """The largest file of a picture."""
    max_question_characters: int = field(default=2_000, metadata=within(1, 20_000))
    max_context_tokens: int | None = field(default=None, metadata=within(64, 1_000_000))
    """Prompt and answer together; None reads it from the language model."""
    max_pictures: int = field(default=8, metadata=within(1, 64))
    """Pictures of one chat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleConfig:
    """A card on the empty page."""

    picture: str = field(metadata=some_text("a picture such as assets:examples/harbour.png"))
    question: str = field(metadata=some_text("a question"))
    label: str = ""
    """What the card says; the question if empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageConfig:
    """What the web page says about itself."""

    title: str = field(default="MiniGPT-4", metadata=some_text("a title"))
    claim: str = "Talk about pictures with an open vision-language model"
    """A few words under the title."""
    notice: str = ""
    """One sentence on what this model can and cannot do."""
    link: str = field(default="", metadata=matching("(https?://.+)?", "a web address or nothing"))
    """Where to read more; empty for no link."""
    picture_question: str = field(
        default="Describe this picture in detail.", metadata=some_text("a question")
    )
    """What is asked when a picture is sent without words."""
    examples: tuple[ExampleConfig, ...] = ()
    camera: bool = True
    """Whether a picture may be taken with the camera of whoever opens the page."""
    feedback_file: str = ""
    """File, one line of JSON each, for what people think of answers; empty for no such buttons."""
    feedback_pictures: bool = False
    """Whether the pictures of such answers are kept beside that file. Tell your users if so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything a demo is told."""

    model_type: Literal["minigpt4"] = "minigpt4"
    """What kind of model a config.json is of; programs of the Hugging Face hub read it."""
    format_version: int = field(
        default=1,
        metadata={"rule": Rule("that is 1, the only version", lambda version: version == 1)},
    )
    """Of a config.json that `save_pretrained` wrote."""
    model: ModelConfig
    device: str = field(
        default="auto",
        metadata=matching(
            r"auto|cpu|mps|cuda(:\d{1,3})?",
            "auto, cpu, mps, cuda or cuda:N",
            ["auto", "cpu", "mps", "cuda"],
        ),
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    quantize: Literal["none", "8bit", "4bit"] = "none"
    """Holds the language model in fewer bits, on a CUDA device."""
    spread: bool = False
    """Lays the language model over all CUDA devices; the rest stays on the first."""
    generation: GenerationSettings = GenerationSettings()
    engine: EngineConfig = EngineConfig()
    limits: LimitsConfig = LimitsConfig()
    server: ServerConfig = ServerConfig()  # noqa: RUF009 - it is frozen
    page: PageConfig = PageConfig()


def load_config(path: Path | str, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration file.

    ``folder:`` in front of a part or a picture is the folder of this file.

    Args:
        path: The YAML file, or the config.json of a saved model.
        overrides: Settings that win over the file's, each as ``generation.temperature=0.5``.

    Raises:
        ConfigError: With every problem of the file and the overrides.
    """
    return _anchored(read_settings(Config, path, overrides, _disagreements), Path(path).parent)


def locate(reference: str) -> Path:
    """Return the path of a model part or a picture.

    ``assets:`` stands for the folder of files that come with this package; any other reference is a
    path, a relative one from the current directory.
    """
    if reference.startswith(_ASSETS_PREFIX):
        return ASSETS / reference.removeprefix(_ASSETS_PREFIX)
    return local_path(reference)


def check_files(config: Config) -> None:
    """Check that every file the configuration names is there, before the first is loaded.

    Raises:
        ConfigError: With every file that is missing.
    """
    named = {
        f"model.{part}": getattr(config.model, part)
        for part in ("vision", "qformer", "language_model", "projection")
        if getattr(config.model, part)
    }
    for index, other in enumerate(config.model.other_projections):
        named[f"model.other_projections[{index}].weights"] = other.weights
    for index, example in enumerate(config.page.examples):
        named[f"page.examples[{index}].picture"] = example.picture
    problems = []
    for key, text in named.items():
        try:
            reference = parse_reference(text)
        except ConfigError as error:
            problems += [f"{key}: {problem}" for problem in error.problems]
            continue
        # Files of the hub may still have to be fetched.
        if reference.local and not locate(reference.local).exists():
            path = locate(reference.local)
            place = published_at(path.name)
            cure = f" Get it from {place}." if place else ""
            problems.append(f"{key}: {text!r} given, but there is no {path}.{cure}")
    if problems:
        raise ConfigError(problems)


def absolute(config: Config) -> Config:
    """Return a configuration whose files are found from whatever directory is the current one.

    Raises:
        ConfigError: If the place of a part cannot be understood.
    """
    placed = _with_places(config, _absolute)
    feedback = config.page.feedback_file and str(locate(config.page.feedback_file).absolute())
    return replace(placed, page=replace(placed.page, feedback_file=feedback))


def _with_places(config: Config, place: Callable[[str], str]) -> Config:
    """Return a configuration with the place of every part and picture changed."""
    model = replace(
        config.model,
        vision=place(config.model.vision),
        qformer=place(config.model.qformer),
        language_model=place(config.model.language_model),
        projection=place(config.model.projection),
        other_projections=tuple(
            replace(other, weights=place(other.weights)) for other in config.model.other_projections
        ),
    )
    examples = tuple(
        replace(example, picture=place(example.picture)) for example in config.page.examples
    )
    return replace(config, model=model, page=replace(config.page, examples=examples))


def _anchored(config: Config, folder: Path) -> Config:
    """Return a configuration in which ``folder:`` has become a path."""

    def place(text: str) -> str:
        if not text.startswith(FOLDER_PREFIX):
            return text
        return str(folder / text.removeprefix(FOLDER_PREFIX))

    return _with_places(config, place)


def _absolute(text: str) -> str:
    local = parse_reference(text).local if text else ""
    if not local or local.startswith(_ASSETS_PREFIX):
        return text
    return f"{locate(local).absolute()}{text.removeprefix(local)}"


def _disagreements(config: Config) -> Iterator[str]:
    """Yield a sentence for settings that are right alone but not together."""
    if config.page.feedback_pictures and not config.page.feedback_file:
        yield "page.feedback_pictures: true given, but page.feedback_file is not set."
    labels = [config.model.projection_label]
    for index, other in enumerate(config.model.other_projections):
        if other.label in labels:
            yield (
                f"model.other_projections[{index}].label: {other.label!r} given, which another"
                " projection is called too. Give each its own name."
            )
        labels.append(other.label)
    yield from _served_disagreements(config)
    answer, context = config.generation.max_new_tokens, config.limits.max_context_tokens
    if context is not None and answer >= context:
        yield (
            f"generation.max_new_tokens: {answer} given, which leaves no room for a question in"
            f" limits.max_context_tokens, {context}."
        )


def _served_disagreements(config: Config) -> Iterator[str]:
    """Yield a sentence for settings that model servers cannot follow, or that need them."""
    if config.engine.kind != "vllm":
        if config.engine.urls:
            yield (
                f"engine.urls: {', '.join(config.engine.urls)} given, which engine.kind"
                f" {config.engine.kind} does not ask. Set engine.kind to vllm, or leave them out."
            )
        return
    if not config.engine.urls:
        yield (
            "engine.urls: none given, and engine.kind is vllm. Name at least one server, such as"
            " http://127.0.0.1:8000; docs/scale.md says how to start it."
        )
    if len(set(config.engine.urls)) < len(config.engine.urls):
        yield f"engine.urls: {', '.join(config.engine.urls)} given. Name each server once."
    if config.generation.num_beams > 1:
        yield (
            f"generation.num_beams: {config.generation.num_beams} given; vLLM servers follow one"
            " answer at a time. Set it to 1, or engine.kind to generate."
        )
    if config.quantize != "none" or config.spread:
        name = "spread" if config.spread else "quantize"
        yield (
            f"{name}: {getattr(config, name)} given; with engine.kind vllm the servers hold the"
            " language model. Leave it out, and start them as you want it."
        )
