"""What people think of answers, written to a file of the host's if the host wants it.

One line of JSON a click, in UTF-8; docs/spaces.md lists the fields. Nothing of who clicked is
written: no address, no session. Pictures are written only if the host enables that too.
"""

import json
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from minigpt4.errors import ConfigError
from minigpt4.ui.pictures import Picture
from minigpt4.ui.views import ShownTurn


class FeedbackFile:
    """Appends to a JSONL file.

    Args:
        file: Where; made if it is not there.
        model: Name of the model, which every line repeats.
        pictures: Whether the pictures that an answer is about are kept beside the file.

    Raises:
        ConfigError: The file cannot be written.
    """

    def __init__(self, file: Path, model: str, *, pictures: bool = False) -> None:
        self._file = file
        self._model = model
        self._pictures = file.with_name(f"{file.stem}-pictures") if pictures else None
        self._lock = threading.Lock()
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("a", encoding="utf-8"):
                pass
        except OSError as error:
            problem = (
                f"page.feedback_file: {str(file)!r} given, which cannot be written"
                f" ({error.strerror}). Choose another place, or leave it out."
            )
            raise ConfigError([problem]) from error

    def write(
        self, turn: ShownTurn, number: int, pictures: Sequence[tuple[str, Picture]], opinion: str
    ) -> None:
        """Append one opinion.

        Args:
            turn: What it is about.
            number: The turn's place in its chat, counted from 1.
            pictures: All pictures of the chat up to that turn, each with its content key.
            opinion: "like", "dislike" or "withdrawn".

        Raises:
            OSError: The disk is full, or the file is gone.
        """
        kept = [side.label for side in turn.sides if side.kept]
        line = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "model": self._model,
            "projection": kept[0] if kept else None,
            "opinion": opinion,
            "turn": number,
            "question": turn.question,
            "answer": turn.answer,
            "other_answers": {side.label: side.text for side in turn.sides if not side.kept},
            "pictures": [key for key, _ in pictures],
        }
        written = json.dumps(line, ensure_ascii=False) + "\n"
        with self._lock:
            for key, picture in pictures if self._pictures is not None else ():
                self._keep(key, picture)
            with self._file.open("a", encoding="utf-8") as file:
                file.write(written)

    def _keep(self, key: str, picture: Picture) -> None:
        if self._pictures is None:
            return
        self._pictures.mkdir(exist_ok=True)
        path = self._pictures / f"{key}.webp"
        if picture.copy and not path.exists():
            path.write_bytes(picture.copy)
