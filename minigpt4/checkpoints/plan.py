"""Which tensor of which file becomes which weight: decided and checked before anything is read.

A plan is made from headers alone. All problems of all parts are told at once: files of the wrong
kind, missing, unknown and misshapen tensors, and pairs of parts that do not belong together.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from minigpt4.checkpoints.files import problem_list, read_header
from minigpt4.checkpoints.language_files import LanguageFiles, inspect_language
from minigpt4.checkpoints.release import (
    EXPECTED_FILE,
    Offer,
    Origin,
    Part,
    native_record,
    of_part,
    read_offer,
)
from minigpt4.checkpoints.sizes import (
    Heads,
    Shape,
    projection_ends,
    projection_kind,
    projection_tensors,
    qformer_sizes,
    qformer_tensors,
    sized,
    vision_sizes,
    vision_tensors,
)
from minigpt4.errors import CheckpointError
from minigpt4.models.presets import Preset, ProjectionKind, VisionConfig

_POSITIONS = "vision.transformer.pos_embed"
_LAYER_NORM = "vision.layer_norm."
_MODEL_SIZES = {4096: "7B", 5120: "13B"}


@dataclass(frozen=True, slots=True)
class Sources:
    """The files of a model, all on this machine.

    Attributes:
        vision: Vision encoder.
        qformer: Q-Former and the LayerNorm before it; None for joined patches.
        projection: The trained layer; None where it is yet to be trained.
        language_model: Folder of the language model.
    """

    vision: Path
    qformer: Path | None
    projection: Path | None
    language_model: Path


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is known about a model before its weights are read.

    Attributes:
        preset: Sizes, those of the files.
        origins: For every weight of the picture side and the projection, by its name in `MiniGPT4`,
            where it comes from.
        zeros: Stored tensors that our model has no place for and that must be zero.
        language: The language model.
        offers: What each file holds, by part.
        warnings: What is odd but no reason to stop.
        projection_kind: What the projection is made of.
    """

    preset: Preset
    origins: Mapping[str, Origin]
    zeros: tuple[Origin, ...]
    language: LanguageFiles
    offers: Mapping[Part, Offer]
    warnings: tuple[str, ...]
    projection_kind: ProjectionKind = "linear"


def plan_model(
    sources: Sources,
    preset: Preset,
    *,
    prompt_format: str | None = None,
    heads: Heads | None = None,
    image_size: int | None = None,
) -> Plan:
    """Checks the files of a model against each other.

    Args:
        sources: Where the parts are.
        preset: The kind of model; sizes that files tell are taken from them.
        prompt_format: What the model will be asked in.
        heads: Attention heads where they are not the preset's.
        image_size: Side of the pictures; another one than the file's resizes its positions.

    Raises:
        CheckpointError: With what is wrong, in at most ten lines.
    """
    heads = heads or Heads()
    language = inspect_language(sources.language_model, prompt_format)
    offers = _offers(sources)
    vision = vision_sizes(offers["vision"], preset, heads=heads.vision, image_size=image_size)
    _check_grid(vision, preset.joined_patches)
    qformer = None
    expected = vision_tensors(vision)
    if "qformer" in offers:
        qformer = qformer_sizes(offers["qformer"], preset, heads=heads.qformer)
        expected |= qformer_tensors(qformer, vision.width)
        query_width = qformer.width
    else:
        query_width = vision.width * preset.joined_patches
        expected = {name: at for name, at in expected.items() if not name.startswith(_LAYER_NORM)}
    kind: ProjectionKind = "linear"
    if sources.projection is not None:
        header = offers["projection"].header
        kind = projection_kind(header.path.name, native_record(header))
        expected |= projection_tensors(query_width, language.width, kind)
    pairs = list(_pair_problems(offers, vision.width, query_width, language, kind))
    if pairs:
        raise problem_list("These files do not belong together:", pairs)
    origins = _origins(offers)
    problems = list(_tensor_problems(offers, origins, expected, vision.depth))
    if problems:
        raise problem_list(
            f"These weights cannot be used, {len(problems):,} tensors are wrong:", problems
        )
    return Plan(
        preset=sized(preset, vision, qformer),
        origins={name: origins[name] for name in expected},
        zeros=tuple(zero for zero in offers["vision"].zeros if _used(zero, vision.depth)),
        language=language,
        offers=offers,
        warnings=(*language.warnings, *_projection_warnings(offers, prompt_format)),
        projection_kind=kind,
    )


def _projection_warnings(offers: Mapping[Part, Offer], prompt_format: str | None) -> Iterator[str]:
    if "projection" in offers:
        header = offers["projection"].header
        yield from format_warnings(header.path, native_record(header), prompt_format)


def _check_grid(vision: VisionConfig, joined: int) -> None:
    side, patch = vision.image_size, vision.patch_size
    if side % patch:
        message = (
            f"Pictures of {side} pixels cannot be cut into patches of {patch}. Set "
            f"model.image_size to a multiple of {patch}, such as {max(1, side // patch) * patch}."
        )
        raise CheckpointError(message)
    if joined and vision.grid**2 % joined:
        grid = next(grid for grid in count(vision.grid) if grid**2 % joined == 0)
        message = (
            f"{vision.grid**2} patches ({side} pixels by {patch}) cannot be joined by {joined}. "
            f"Set model.image_size to one that fits, such as {grid * patch}."
        )
        raise CheckpointError(message)


def _offers(sources: Sources) -> dict[Part, Offer]:
    files: dict[Part, Path] = {"vision": sources.vision}
    if sources.projection is not None:
        files["projection"] = sources.projection
    if sources.qformer is not None:
        files["qformer"] = sources.qformer
    offers: dict[Part, Offer] = {}
    problems = []
    for part, path in files.items():
        try:
            offers[part] = read_part(path, part)
        except CheckpointError as error:
            problems.append(str(error))
    if len(problems) == 1:
        raise CheckpointError(problems[0])
    if problems:
        raise problem_list("Some files cannot be used:", problems)
    return offers


def read_part(path: Path, part: Part) -> Offer:
    """What a file has for a part.

    Raises:
        CheckpointError: If the file is damaged or holds another part.
    """
    header = read_header(path)
    offer = read_offer(header)
    if offer is not None and any(True for _ in of_part(offer, part)):
        return offer
    first = min(header.tensors)
    if offer is None:
        prefix = first.split(".")[0] + "."
        if all(name.startswith(prefix) for name in header.tensors):
            found = f"all its names start with {prefix!r}, such as {first!r}"
        else:
            found = f"its tensors have names like {first!r}, which no known layout has"
    else:
        found = f"it is laid out like {offer.layout}, with tensors like {first!r}"
    message = f"{path.name} holds no {part}: {found}. Expected {EXPECTED_FILE[part]}."
    raise CheckpointError(message)


def _origins(offers: Mapping[Part, Offer]) -> dict[str, Origin]:
    """Our names and their origins. The release keeps the vision part's LayerNorm with BLIP-2."""
    origins: dict[str, Origin] = {}
    if "qformer" in offers:
        vision = of_part(offers["qformer"], "vision")
        origins |= {name: origin for name, origin in vision if name.startswith(_LAYER_NORM)}
    for part, offer in offers.items():
        origins |= dict(of_part(offer, part))
    return origins


def _tensor_problems(
    offers: Mapping[Part, Offer],
    origins: Mapping[str, Origin],
    expected: Mapping[str, Shape],
    depth: int,
) -> Iterator[str]:
    for name, shape in expected.items():
        if name not in origins:
            yield f"missing: {name} {shape}"
            continue
        origin = origins[name]
        found = origin.info.shape
        if found != shape and not (name == _POSITIONS and len(found) == len(shape)):
            yield f"{origin.header.path.name}: {origin.name} is {found}, expected {shape}"
    for part, offer in offers.items():
        for name in offer.unknown:
            shape = offer.header.tensors[name].shape
            yield f"{offer.header.path.name}: {name} {shape} is not known"
        for name, origin in of_part(offer, part):
            if name not in expected and not _spare(offer, name, depth, expected):
                yield f"{offer.header.path.name}: {origin.name} has no place in this model"


def _spare(offer: Offer, name: str, depth: int, expected: Mapping[str, Shape]) -> bool:
    """Whether a tensor is knowingly left over: EVA's last block, or an unused LayerNorm."""
    if name.startswith(_LAYER_NORM):
        return f"{_LAYER_NORM}weight" not in expected
    return offer.layout == "eva_vit" and name.startswith(f"vision.transformer.blocks.{depth}.")


def _used(zero: Origin, depth: int) -> bool:
    return any(f".layers.{index}." in zero.name for index in range(depth))


def _projection_problems(
    offers: Mapping[Part, Offer], query_width: int, language: LanguageFiles, kind: ProjectionKind
) -> Iterator[str]:
    projection = offers["projection"]
    path = projection.header.path.name
    ends = [projection.origins.get(name) for name in projection_ends(kind)]
    shapes = [end.info.shape for end in ends if end is not None and len(end.info.shape) == 2]
    if len(shapes) == len(ends):
        written, read = shapes[-1][0], shapes[0][1]
        if (written, read) == (query_width, language.width) and written != read:
            yield f"{path}: the projection is transposed, {(written, read)}"
        elif written != language.width:
            yield (
                f"{path} does not fit {language.folder.name}: its projection writes "
                f"{_named(written)} numbers per visual token, this language model reads "
                f"{_named(language.width)}. Use the projection that was trained for it"
            )
        elif read != query_width:
            source = "Q-Former" if "qformer" in offers else "joined patches"
            yield (
                f"{path} does not fit the {source}: its projection reads {read} numbers, the "
                f"{source} give{'s' if 'qformer' in offers else ''} {query_width}"
            )


def _pair_problems(
    offers: Mapping[Part, Offer],
    vision_width: int,
    query_width: int,
    language: LanguageFiles,
    kind: ProjectionKind,
) -> Iterator[str]:
    if "projection" in offers:
        yield from _projection_problems(offers, query_width, language, kind)
    if "qformer" in offers:
        origin = offers["qformer"].origins.get(
            "qformer.transformer.encoder.layer.0.crossattention.attention.key.weight"
        )
        if origin is not None and origin.info.shape[-1] != vision_width:
            yield (
                f"{origin.header.path.name} does not fit {offers['vision'].header.path.name}: its "
                f"Q-Former reads image features of width {origin.info.shape[-1]}, the vision "
                f"encoder gives {vision_width}"
            )


def _named(width: int) -> str:
    name = _MODEL_SIZES.get(width)
    return f"{width} ({name})" if name else str(width)


def format_warnings(
    projection: Path, record: Mapping[str, object], prompt_format: str | None
) -> Iterator[str]:
    """Says so if a projection of ours was trained with another prompt format.

    Args:
        projection: Its file.
        record: What it says about itself.
        prompt_format: The one that is set.
    """
    trained = record.get("prompt_format")
    if trained and prompt_format and trained != prompt_format:
        yield (
            f"{projection.name} was trained with prompt format {trained}, and {prompt_format} is "
            "set."
        )
