"""Uploaded files on their way in, and the copies that the page shows.

An upload is read once, checked by `minigpt4.images.load_image` and shown as our own re-encoded
copy, so no byte a user sent is ever served back. Files of a chat lie in a folder of its own with a
name that cannot be guessed; the folder goes when the chat goes.
"""

import io
import secrets
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from minigpt4.errors import ImageError
from minigpt4.images import limit_side, load_image

if TYPE_CHECKING:
    from minigpt4.encoder import EncodedImage

HELD_SIDE = 3072
"""Longest side of a picture that waits for the model, in pixels; many may wait at a time, and no
vision part reads more than a fraction of it."""
SHOWN_SIDE = 1024
"""Longest side of a copy, in pixels."""
LOSSLESS_SIDE = 512
"""Up to this side copies are exact: drawings stay crisp, and photographs are still small files."""


@dataclass(slots=True)
class Picture:
    """A picture of one chat.

    Attributes:
        image: The checked RGB picture; dropped once it is encoded.
        path: Where our copy lies.
        copy: The bytes of that copy; empty if there is none, or none any more.
        encoded: Its visual tokens, once the model has seen it.
    """

    image: Image.Image | None
    path: Path
    copy: bytes
    encoded: "EncodedImage | None" = None

    def keep_file(self) -> Path:
        """Return the path of the copy, writing it again if a cache sweep has deleted it.

        What its chat has deleted stays deleted, also if an answer that is still ending asks for it.
        """
        if self.copy and not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_bytes(self.copy)
        return self.path


@dataclass(slots=True)
class PictureFolder:
    """The pictures of one chat, by the path of their copy.

    Attributes:
        root: Gradio's upload folder; it serves files from nowhere else.
    """

    root: Path
    name: str = field(default_factory=lambda: secrets.token_hex(20))
    pictures: dict[str, Picture] = field(default_factory=dict)

    def read(self, path: str) -> Picture:
        """Read an uploaded file, or find the picture whose copy lies at this path.

        Raises:
            ImageError: The file is no usable picture, is gone, or is not an upload at all.
        """
        known = self.pictures.get(path)
        if known is not None:
            return known
        return self.add(_read_upload(self.root, path))

    def take(self, file: Path) -> Picture:
        """Read a picture of our own, such as an example."""
        return self.add(load_image(file))

    def add(self, image: Image.Image) -> Picture:
        """Keep a checked picture and write the copy that the page shows."""
        copy = _encode_copy(image)
        path = self.root / self.name / f"picture-{len(self.pictures) + 1}.webp"
        picture = Picture(limit_side(image, HELD_SIDE), path, copy)
        picture.keep_file()
        self.pictures[str(path)] = picture
        return picture

    def write(self, name: str, content: bytes) -> Path:
        """Write another file of this chat beside its pictures."""
        path = self.root / self.name / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def clear(self) -> None:
        """Forget all pictures and delete every file of the chat."""
        for picture in self.pictures.values():
            picture.copy = b""
        self.pictures.clear()
        shutil.rmtree(self.root / self.name, ignore_errors=True)
        self.name = secrets.token_hex(20)


def read_unshown(root: Path, path: str) -> Picture:
    """Read an upload that only the model will see: it gets no copy.

    Args:
        root: Gradio's upload folder.
        path: Where the upload should lie.

    Raises:
        ImageError: The file is no usable picture, is gone, or is not an upload at all.
    """
    return Picture(limit_side(_read_upload(root, path), HELD_SIDE), Path(path), b"")


def _read_upload(root: Path, path: str) -> Image.Image:
    file = Path(path).resolve()
    if not file.is_relative_to(root.resolve()):
        raise ImageError("not_uploaded", "Please upload the picture.")
    if not file.is_file():
        raise ImageError("gone", "The picture is no longer here. Please attach it again.")
    return load_image(file)


def _encode_copy(image: Image.Image) -> bytes:
    shown = limit_side(image, SHOWN_SIDE)
    buffer = io.BytesIO()
    lossless = max(shown.size) <= LOSSLESS_SIDE
    shown.save(buffer, "WEBP", lossless=lossless, quality=70 if lossless else 88, method=2)
    return buffer.getvalue()
