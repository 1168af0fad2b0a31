"""The configuration of one demo, checked whole before anything is loaded.

A new setting is one line in a dataclass here; `minigpt4.settings_file` says what a line can be.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from minigpt4.errors import ConfigError
from minigpt4.prompt_formats import PROMPT_FORMATS
from minigpt4.references import parse_reference, published_at
from minigpt4.settings_file import matching, one_of, read_settings, some_text, within

ASSETS = Path(__file__).parent / "assets"
"""Files that come with this package."""
_ASSETS_PREFIX = "assets:"

_WEIGHTS = some_text("a path such as assets:tiny/projection.safetensors")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything a demo is told."""

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
    limits: LimitsConfig = LimitsConfig()
    page: PageConfig = PageConfig()


def load_config(path: Path | str, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration file.

    Args:
        path: The YAML file.
        overrides: Settings that win over the file's, each as ``generation.temperature=0.5``.

    Raises:
        ConfigError: With every problem of the file and the overrides.
    """
    return read_settings(Config, path, overrides, _disagreements)


def locate(reference: str) -> Path:
    """Return the path of a model part or a picture.

    ``assets:`` stands for the folder of files that come with this package; any other reference is a
    path, a relative one from the current directory.
    """
    if reference.startswith(_ASSETS_PREFIX):
        return ASSETS / reference.removeprefix(_ASSETS_PREFIX)
    return Path(reference).expanduser()


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
    model = replace(
        config.model,
        vision=_absolute(config.model.vision),
        qformer=_absolute(config.model.qformer),
        language_model=_absolute(config.model.language_model),
        projection=_absolute(config.model.projection),
    )
    examples = tuple(
        replace(example, picture=_absolute(example.picture)) for example in config.page.examples
    )
    return replace(config, model=model, page=replace(config.page, examples=examples))


def _absolute(text: str) -> str:
    local = parse_reference(text).local if text else ""
    if not local or local.startswith(_ASSETS_PREFIX):
        return text
    return f"{locate(local).absolute()}{text.removeprefix(local)}"


def _disagreements(config: Config) -> Iterator[str]:
    """Yield a sentence for settings that are right alone but not together."""
    answer, context = config.generation.max_new_tokens, config.limits.max_context_tokens
    if context is not None and answer >= context:
        yield (
            f"generation.max_new_tokens: {answer} given, which leaves no room for a question in"
            f" limits.max_context_tokens, {context}."
        )
