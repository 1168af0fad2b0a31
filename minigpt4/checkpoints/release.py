"""Where every tensor of a released file goes: tables of names, and how they are applied.

Three layouts share one target, the parameter names of `MiniGPT4`:

- the release's: `eva_vit_g.pth` (a flat ViT), `blip2_pretrained*.pth` (Q-Former and `ln_vision`),
  `pretrained_minigpt4*.pth` and `checkpoint_N.pth` (`llama_proj`);
- Hugging Face's BLIP-2 (`vision_model.*`, `qformer.*`, `query_tokens`);
- our own (`native`), where the names are already ours.

A name that no table knows makes a file unfit. What is left out on purpose stands in the tables too,
with the reason. Nothing here needs torch.

Source: minigpt4/models/{eva_vit,Qformer,minigpt4}.py of the release; BLIP-2 in transformers.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from minigpt4.checkpoints.files import Header, TensorInfo
from minigpt4.errors import CheckpointError

Part = Literal["vision", "qformer", "projection"]
FORMAT_VERSION = 1
"""Of the files that we write; `minigpt4.checkpoints.native` does."""


@dataclass(frozen=True, slots=True)
class Rule:
    r"""What becomes of the tensors whose whole name matches a pattern.

    Attributes:
        pattern: Regular expression.
        target: Our name, with groups of the pattern as `\\\\1`; None leaves the tensor out.
        thirds: The tensor is three of ours in one, along its first dimension; an empty name means
            that this third must be zero.
        why: Why a tensor is left out.
    """

    pattern: str
    target: str | None = None
    thirds: tuple[str, str, str] | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where one of our tensors comes from.

    Attributes:
        header: The file.
        name: The tensor's name in it.
        third: Which third of that tensor it is, if it is not the whole.
    """

    header: Header
    name: str
    third: int | None = None

    @property
    def info(self) -> TensorInfo:
        """Shape and dtype as stored (of the third, if it is one)."""
        info = self.header.tensors[self.name]
        if self.third is None:
            return info
        return TensorInfo((info.shape[0] // 3, *info.shape[1:]), info.dtype)


@dataclass(frozen=True, slots=True)
class Offer:
    """What a file has for us.

    Attributes:
        header: The file.
        layout: The table that knows its names.
        origins: Our names, and where each is found.
        left_out: Names that are knowingly not used.
        unknown: Names that no rule knows.
        zeros: Parts of tensors that our models have no place for and that must be zero.
    """

    header: Header
    layout: str
    origins: Mapping[str, Origin]
    left_out: tuple[str, ...]
    unknown: tuple[str, ...]
    zeros: tuple[Origin, ...] = field(default=())


_VIT = "vision.transformer."
_QFORMER = "qformer.transformer."
_ENDING = r"(weight|bias)"
_TEXT_BRANCH = "the Q-Former's text branch, which reads no pictures"
_BUFFER = "a constant that is computed, not learned"

EVA_VIT: tuple[Rule, ...] = (
    Rule(rf"(cls_token|pos_embed|patch_embed\.proj\.{_ENDING})", _VIT + r"\1"),
    Rule(r"(blocks\.\d+\.(?:norm1|norm2|attn|mlp)\..+)", _VIT + r"\1"),
    Rule(rf"(norm|fc_norm)\.{_ENDING}", why="the final norm, which the release does not apply"),
    Rule(rf"(head|lm_head)\.{_ENDING}|mask_token", why="used by EVA's own training only"),
)
BLIP2: tuple[Rule, ...] = (
    Rule("query_tokens", "qformer.query_tokens"),
    Rule(rf"ln_vision\.{_ENDING}", r"vision.layer_norm.\1"),
    Rule(rf"Qformer\.bert\.embeddings\.LayerNorm\.{_ENDING}", _QFORMER + r"layernorm.\1"),
    Rule(
        rf"Qformer\.bert\.(encoder\.layer\.\d+\.(?:cross)?attention)"
        rf"\.self\.((?:query|key|value)\.{_ENDING})",
        _QFORMER + r"\1.attention.\2",
    ),
    Rule(
        rf"Qformer\.bert\.(encoder\.layer\.\d+\.(?:attention\.output|crossattention\.output"
        rf"|output_query)\.(?:dense|LayerNorm)\.{_ENDING})",
        _QFORMER + r"\1",
    ),
    Rule(
        rf"Qformer\.bert\.(encoder\.layer\.\d+\.intermediate_query\.dense\.{_ENDING})",
        _QFORMER + r"\1",
    ),
    Rule(
        rf"Qformer\.bert\.encoder\.layer\.\d+\.(?:intermediate|output)\.(?:dense|LayerNorm)"
        rf"\.{_ENDING}",
        why=_TEXT_BRANCH,
    ),
    Rule(
        r"Qformer\.bert\.embeddings\.(?:word_embeddings|position_embeddings)\.weight",
        why=_TEXT_BRANCH,
    ),
    Rule(r"Qformer\.cls\..+", why=_TEXT_BRANCH),
    Rule(r"Qformer\.bert\.embeddings\.position_ids", why=_BUFFER),
    Rule(
        rf"(?:t5_proj|opt_proj|vision_proj|text_proj|itm_head)\.{_ENDING}|temp",
        why="heads of BLIP-2's own training",
    ),
)
MINIGPT4: tuple[Rule, ...] = (
    Rule(rf"llama_proj\.{_ENDING}", r"projection.\1"),
    Rule(r"llama_model\..*rotary_emb\.(?:inv_freq|cos_cached|sin_cached)", why=_BUFFER),
    Rule(r"Qformer\.bert\.embeddings\.position_ids", why=_BUFFER),
)
_HF_BLOCK = r"vision_model\.encoder\.layers\.(\d+)\."
_VIT_BLOCK = _VIT + r"blocks.\1."
HUGGING_FACE: tuple[Rule, ...] = (
    Rule(r"vision_model\.embeddings\.class_embedding", _VIT + "cls_token"),
    Rule(r"vision_model\.embeddings\.position_embedding", _VIT + "pos_embed"),
    Rule(rf"vision_model\.embeddings\.patch_embedding\.{_ENDING}", _VIT + r"patch_embed.proj.\1"),
    Rule(_HF_BLOCK + rf"layer_norm([12])\.{_ENDING}", _VIT_BLOCK + r"norm\2.\3"),
    Rule(_HF_BLOCK + rf"(mlp\.fc[12])\.{_ENDING}", _VIT_BLOCK + r"\2.\3"),
    Rule(_HF_BLOCK + rf"self_attn\.projection\.{_ENDING}", _VIT_BLOCK + r"attn.proj.\2"),
    Rule(_HF_BLOCK + r"self_attn\.qkv\.weight", _VIT_BLOCK + "attn.qkv.weight"),
    Rule(
        _HF_BLOCK + r"self_attn\.qkv\.bias",
        thirds=(_VIT_BLOCK + "attn.q_bias", "", _VIT_BLOCK + "attn.v_bias"),
    ),
    Rule(rf"vision_model\.post_layernorm\.{_ENDING}", r"vision.layer_norm.\1"),
    Rule("query_tokens", "qformer.query_tokens"),
    Rule(
        r"qformer\.((?:layernorm|encoder\.layer\.\d+\.(?:attention|crossattention"
        r"|intermediate_query|output_query))\..+)",
        _QFORMER + r"\1",
    ),
    Rule(r"qformer\.encoder\.layer\.\d+\.(?:intermediate|output)\..+", why=_TEXT_BRANCH),
    Rule(r"(?:qformer\.)?embeddings\..+", why=_TEXT_BRANCH),
    Rule(r"language_model\..+|language_projection\..+", why="BLIP-2's own language model"),
    Rule(r"(?:vision_projection|text_projection|itm_head)\..+|temp", why="other heads of BLIP-2"),
)
# A layout is recognised by a name that only it has.
LAYOUTS: tuple[tuple[str, str, tuple[Rule, ...]], ...] = (
    ("hugging_face", r"vision_model\..+|qformer\.(?:layernorm|encoder)\..+", HUGGING_FACE),
    ("eva_vit", r"blocks\.\d+\.attn\.qkv\.weight", EVA_VIT),
    ("blip2", r"Qformer\.bert\.encoder\..+", BLIP2),
    ("minigpt4", r"llama_proj\..+", MINIGPT4),
)
EXPECTED_FILE: Mapping[Part, str] = {
    "vision": "eva_vit_g.pth, or a BLIP-2 model in Hugging Face's layout",
    "qformer": "blip2_pretrained_flant5xxl.pth, or a BLIP-2 model in Hugging Face's layout",
    "projection": "pretrained_minigpt4*.pth, or a checkpoint of a training run",
}


def read_offer(header: Header) -> Offer | None:
    """Sorts the names of a file by the table of its layout; None if it is none of ours.

    Raises:
        CheckpointError: If another version of MiniGPT-4 wrote it in a form of its own.
    """
    record = native_record(header)
    if part := record.get("part"):
        if record.get("version") != FORMAT_VERSION:
            message = (
                f"{header.path.name} has format version {record.get('version')}, and this "
                f"MiniGPT-4 reads version {FORMAT_VERSION}. Update MiniGPT-4, or convert the file."
            )
            raise CheckpointError(message)
        origins = {f"{part}.{name}": Origin(header, name) for name in header.tensors}
        return Offer(header, "native", origins, (), ())
    for layout, sign, rules in LAYOUTS:
        if any(re.fullmatch(sign, name) for name in header.tensors):
            return _sorted(header, layout, rules)
    return None


def native_record(header: Header) -> Mapping[str, object]:
    """What a file of our own says about itself; empty for any other file."""
    try:
        record = json.loads(header.metadata.get("minigpt4", "{}"))
    except (ValueError, TypeError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _sorted(header: Header, layout: str, rules: Iterable[Rule]) -> Offer:
    compiled = [(re.compile(rule.pattern), rule) for rule in rules]
    origins: dict[str, Origin] = {}
    zeros: list[Origin] = []
    left_out: list[str] = []
    unknown: list[str] = []
    for name in header.tensors:
        found = ((match, rule) for regex, rule in compiled if (match := regex.fullmatch(name)))
        match, rule = next(found, (None, None))
        if match is None or rule is None:
            unknown.append(name)
        elif rule.thirds is not None:
            for third, target in enumerate(rule.thirds):
                origin = Origin(header, name, third)
                if target:
                    origins[match.expand(target)] = origin
                else:
                    zeros.append(origin)
        elif rule.target is None:
            left_out.append(name)
        else:
            origins[match.expand(rule.target)] = Origin(header, name)
    return Offer(header, layout, origins, tuple(left_out), tuple(unknown), tuple(zeros))


def of_part(offer: Offer, part: str) -> Iterator[tuple[str, Origin]]:
    """The tensors of an offer that belong to one part (`vision.layer_norm` is one, too)."""
    for name, origin in offer.origins.items():
        if name.startswith(f"{part}."):
            yield name, origin
