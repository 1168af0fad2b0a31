"""Names the frozen parts of a model by their content, so that a projection knows where it belongs.

Nothing here needs torch.
"""

import hashlib
import os
from pathlib import Path

from minigpt4.errors import CheckpointError

_BLOCK = 2**20
_WHOLE_FILE = 64 * _BLOCK


def fingerprint(vision: Path, qformer: Path, language_model: Path) -> str:
    """Names the frozen parts by the content of their files.

    It does not depend on the precision the parts are loaded in, nor on where the files lie. Of a
    file above 64 MiB, 64 blocks of 1 MiB are read, evenly spaced from its first to its last byte.

    Args:
        vision: File of the vision encoder.
        qformer: File of the Q-Former.
        language_model: The language model's folder: its weights and its tokenizer count.

    Returns:
        64 hexadecimal digits.

    Raises:
        CheckpointError: If a file is missing or cannot be read.
    """
    weights = sorted(
        path
        for pattern in ("*.safetensors", "pytorch_model*.bin")
        for path in language_model.glob(pattern)
    )
    digest = hashlib.sha256()
    for path in (vision, qformer, *weights, language_model / "tokenizer.model"):
        try:
            digest.update(_file_digest(path))
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read: {error.strerror}.") from error
    return digest.hexdigest()


def check_trained_on(projection: Path, trained: str, found: str) -> None:
    """Makes sure that a projection stands on the parts it was trained on.

    Args:
        projection: Its file.
        trained: Fingerprint of the parts it was trained on.
        found: Fingerprint of the parts it is to work with.

    Raises:
        CheckpointError: If they are others.
    """
    if trained != found:
        message = (
            f"{projection.name} was trained on other parts: on vision, Q-Former and language model "
            f"{trained[:12]}, and these are {found[:12]}. Use the parts it was trained on, or "
            "train a projection for these with train/run.py."
        )
        raise CheckpointError(message)


def _file_digest(path: Path) -> bytes:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        digest.update(str(size).encode())
        if size <= _WHOLE_FILE:
            digest.update(file.read())
        else:
            blocks = _WHOLE_FILE // _BLOCK
            for index in range(blocks):
                file.seek(index * (size - _BLOCK) // (blocks - 1))
                digest.update(file.read(_BLOCK))
    return digest.digest()
