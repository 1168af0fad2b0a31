"""The last step: the folder that stage 2 reads, as the release had it.

    FOLDER/
      filter_cap.json     {"annotations": [{"image_id": "1", "caption": "..."}, ...]}
      image/1.jpg         every picture upright; a JPEG without metadata as it was
      provenance.jsonl    for each image_id: where it came from, and its text before every step
      curation.json       how many rows each step left, and what made them

It is written beside its place and moved there as a whole.
"""

import io
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from minigpt4.errors import ImageError
from minigpt4.images import image_key, load_image
from train.curation.errors import CurationError, RowError
from train.curation.folder import Caption, Folder, now
from train.curation.ledger import Fields
from train.curation.sources import picture_bytes

CAPTIONS, RECORD = "filter_cap.json", "curation.json"
_QUALITY = 95
_JPEG = b"\xff\xd8\xff"


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export wrote.

    Attributes:
        written: Pictures with their texts.
        lost: Names of rows that could not be written, with the reason.
    """

    written: int
    lost: tuple[tuple[str, str], ...]


def chosen(captions: Iterable[Caption], *, unreviewed: bool) -> list[tuple[Caption, str]]:
    """Rows to export with their texts.

    Args:
        captions: All there are.
        unreviewed: Also those that the filter kept and nobody decided about.
    """
    rows = []
    for each in captions:
        decision = each.reviewed["decision"] if each.reviewed is not None else ""
        if decision in ("accepted", "edited") and each.reviewed is not None:
            rows.append((each, each.reviewed["text"]))
        elif decision != "rejected" and unreviewed and each.filtered and each.filtered["kept"]:
            rows.append((each, each.text))
    return rows


def export(folder: Folder, rows: Sequence[tuple[Caption, str]], target: Path) -> Exported:
    """Writes the folder that stage 2 reads.

    Raises:
        CurationError: If there is nothing to write, or the target is something else.
    """
    target = target.resolve()  # a link stays one, and what it leads to changes
    if target.exists() and not target.is_dir():
        raise CurationError(f"{target} is a file. Choose a folder: --to.")
    if target.exists() and any(target.iterdir()) and not (target / RECORD).is_file():
        message = f"{target} holds something else than an export of curation. Choose another --to."
        raise CurationError(message)
    beside = target.with_name(f".{target.name}.new")
    shutil.rmtree(beside, ignore_errors=True)
    (beside / "image").mkdir(parents=True)
    annotations: list[dict[str, str]] = []
    lines: list[str] = []
    lost: list[tuple[str, str]] = []
    seen: dict[str, str] = {}
    for caption, text in tqdm(rows, "writing", unit="picture", disable=None):
        try:
            content, key = _jpeg(caption)
        except RowError as error:
            lost.append((caption.id, str(error)))
            continue
        if key in seen:
            lost.append((caption.id, f"the same picture as {seen[key]}"))
            continue
        seen[key] = caption.id
        name = str(len(annotations) + 1)
        (beside / "image" / f"{name}.jpg").write_bytes(content)
        annotations.append({"image_id": name, "caption": text})
        lines.append(_told(name, caption))
    if not annotations:
        shutil.rmtree(beside)
        raise CurationError("No row can be exported: accept some with `review` first.")
    _write(
        beside / CAPTIONS, json.dumps({"annotations": annotations}, ensure_ascii=False, indent=1)
    )
    _write(beside / "provenance.jsonl", "".join(lines).rstrip("\n"))
    record = {
        "pictures": len(annotations),
        "steps": [line.strip() for line in folder.told()],
        "runs": folder.runs(),
        "lost": dict(lost),
        "exported": now(),
    }
    _write(beside / RECORD, json.dumps(record, ensure_ascii=False, indent=2))
    _take_place(beside, target)
    return Exported(len(annotations), tuple(lost))


def _jpeg(caption: Caption) -> tuple[bytes, str]:
    """A picture as a JPEG file, and the key of what it shows."""
    content = picture_bytes(caption.picture)
    try:
        picture = load_image(content)
        key = image_key(picture)
        if content.startswith(_JPEG) and _bare(content):
            return content, key
    except ImageError as error:
        raise RowError(str(error)) from error
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_QUALITY, subsampling=0)
    return file.getvalue(), key


def _bare(content: bytes) -> bool:
    """Whether a JPEG says nothing besides its pixels: no place, no camera, no turn."""
    with Image.open(io.BytesIO(content)) as picture:
        said = picture.info.keys() - {"jfif", "jfif_version", "jfif_unit", "jfif_density", "dpi"}
        return picture.mode == "RGB" and not said - {"progressive", "progression"}


def _told(name: str, caption: Caption) -> str:
    row: Fields = {
        "image_id": name,
        "id": caption.id,
        "picture": caption.picture,
        "described": _without(caption.described, "id", "picture"),
        "repaired": _without(caption.repaired, "id", "of"),
        "filtered": _without(caption.filtered, "id", "of", "text"),
        "reviewed": _without(caption.reviewed, "id", "of"),
    }
    return json.dumps(row, ensure_ascii=False) + "\n"


def _without(row: Fields | None, *names: str) -> Fields | None:
    return None if row is None else {key: each for key, each in row.items() if key not in names}


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8", errors="replace") as file:
        file.write(f"{text}\n")
        file.flush()
        os.fsync(file.fileno())


def _take_place(beside: Path, target: Path) -> None:
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    beside.rename(target)
    shutil.rmtree(old, ignore_errors=True)
