"""References: how a configuration says where a part of the model is.

A reference is one of

    weights/eva_vit_g.pth                         a path
    assets:tiny/vision.safetensors                a file that comes with this package
    owner/name@<commit>:file.pth                  a file of a model on the Hugging Face hub
    owner/name@<commit>                           a whole model on the hub (a language model)
    spaces/owner/name@<commit>:file.pth           a file of a Space

each with an optional `#sha256=<64 hex digits>` behind it. A hub reference names a commit, never a
branch, so that it means the same files for ever. Nothing here touches a network.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from minigpt4.errors import ConfigError

_HUB = re.compile(
    r"(?P<space>spaces/)?(?P<repo>[\w.-]+/[\w.-]+)@(?P<revision>[^:@\s]+)(?::(?P<file>[^:\s]+))?"
)
_CHECKSUM = re.compile(r"(?P<rest>.*)#sha256=(?P<sha256>.*)")
_LAVIS = "https://storage.googleapis.com/sfr-vision-language-research/LAVIS/models/BLIP2/"

# Where the released files are published, by a pattern of their name. See docs/checkpoints.md.
PUBLISHED: tuple[tuple[str, str], ...] = (
    (r"eva_vit_g\.pth", f"{_LAVIS}eva_vit_g.pth (2.0 GB)"),
    (r"blip2_pretrained_flant5xxl\.pth", f"{_LAVIS}blip2_pretrained_flant5xxl.pth (0.4 GB)"),
    (
        r"pre?t?rained_minigpt4_7b\.pth",
        "https://huggingface.co/spaces/Vision-CAIR/minigpt4 (named prerained_minigpt4_7b.pth)",
    ),
    (r"pretrained_minigpt4\.pth", "https://huggingface.co/Vision-CAIR/MiniGPT-4 (13B)"),
    (
        r"pretrained_minigpt4_llama2_7b\.pth",
        "https://drive.google.com/file/d/11nAPjEok8eAGGEG1N2vXo3kBLCg0WgUk (save it by this name)",
    ),
    (r"vicuna-7b(-v0)?", "https://huggingface.co/Vision-CAIR/vicuna-7b (13.5 GB)"),
    (r"vicuna-13b(-v0)?", "https://huggingface.co/Vision-CAIR/vicuna (26 GB)"),
    (r"llama-?2-7b-chat(-hf)?", "https://huggingface.co/meta-llama/Llama-2-7b-chat-hf (13.5 GB)"),
)


@dataclass(frozen=True, slots=True)
class Reference:
    """Where a file or folder is.

    Attributes:
        text: The reference as it was written.
        local: A path or an asset, for `minigpt4.config.locate`; empty for the hub.
        repository: Owner and name on the hub.
        revision: Commit, 40 hexadecimal digits.
        file: The file in the repository; empty for all of it.
        space: The repository is a Space, not a model.
        sha256: What the file's checksum must be; empty if it is not known.
    """

    text: str
    local: str = ""
    repository: str = ""
    revision: str = ""
    file: str = ""
    space: bool = False
    sha256: str = ""


def local_path(text: str | Path) -> Path:
    """Returns a path, with the home folder in the place of a leading ``~`` or ``~user``.

    A name that only looks so, such as that of the file ``~draft.png``, stays as it is.
    """
    path = Path(text)
    try:
        return path.expanduser()
    except RuntimeError:  # nobody of this name has a home here
        return path


def parse_reference(text: str) -> Reference:
    """Understands a reference.

    Raises:
        ConfigError: If it is a hub reference without a commit, or its checksum is none.
    """
    sha256, rest = "", text
    if match := _CHECKSUM.fullmatch(text):
        sha256, rest = match["sha256"].lower(), match["rest"]
        if not re.fullmatch(r"[0-9a-f]{64}", sha256):
            raise ConfigError([f"{text!r}: a sha256 has 64 hexadecimal digits."])
    match = _HUB.fullmatch(rest)
    if match is None or Path(rest).exists():
        return Reference(text, local=rest, sha256=sha256)
    if not re.fullmatch(r"[0-9a-f]{40}", match["revision"]):
        raise ConfigError(
            [
                (
                    f"{text!r}: {match['revision']!r} is no commit. A branch or a tag can change; "
                    "write the 40 hexadecimal digits of the commit, which the hub shows under "
                    "History."
                )
            ]
        )
    if sha256 and not match["file"]:
        raise ConfigError(
            [
                (
                    f"{text!r}: a whole repository has no sha256; its commit already says what is "
                    "in it. Leave #sha256= out, or name a file."
                )
            ]
        )
    return Reference(
        text,
        repository=match["repo"],
        revision=match["revision"],
        file=match["file"] or "",
        space=bool(match["space"]),
        sha256=sha256,
    )


def published_at(name: str) -> str:
    """Where a released file can be had; empty if the name is none of theirs."""
    for pattern, place in PUBLISHED:
        if re.fullmatch(pattern, name, re.IGNORECASE):
            return place
    return ""
