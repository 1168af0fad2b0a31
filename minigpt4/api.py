"""The model from Python: `load` it, ask it, stream its answers, talk over several turns.

Importing this module is cheap; PyTorch is imported when a model is loaded.
"""

import logging
import tempfile
import threading
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeAlias, TypedDict, Unpack

from minigpt4.checkpoints.saved import fetch_saved, is_saved_reference, saved_config
from minigpt4.config import Config, GenerationSettings, check_files, load_config
from minigpt4.errors import ConfigError, ImageError, PromptError
from minigpt4.references import local_path, parse_reference
from minigpt4.settings_file import changed, did_you_mean

if TYPE_CHECKING:
    import torch
    from huggingface_hub import CommitInfo
    from PIL import Image

    from minigpt4.chat import AnswerPart, Chat, Session
    from minigpt4.conversation import Turn

logger = logging.getLogger(__name__)

Picture: TypeAlias = "str | Path | bytes | Image.Image"
"""A file's path, a file's content, or an open picture."""
Pictures: TypeAlias = "Picture | Iterable[Picture]"
"""One picture, or any number of them."""
CONFIGS = Path(__file__).parents[1] / "eval_configs"
"""The configurations that come with the code; `load` finds them by name."""


class AnswerSettings(TypedDict, total=False):
    """What may be said about one answer; what is not said is as the configuration has it.

    `minigpt4.config.GenerationSettings` tells what each means and which values it takes.
    """

    max_new_tokens: int
    temperature: float
    top_p: float
    repetition_penalty: float
    num_beams: int
    seed: int | None


def load(
    config: str | Path = "tiny", overrides: Sequence[str] = (), device: str | None = None
) -> "LoadedChat":
    """Loads a model to talk with.

    Args:
        config: The path of a YAML file, the name of one in eval_configs, the folder of a saved
            model, or one on the Hugging Face hub as ``owner/name@commit``.
        overrides: Settings that win over the file's, each as ``generation.temperature=0.5``.
        device: auto, cpu, cuda, cuda:1 or mps; None takes the file's.

    Raises:
        ConfigError: With every problem of the configuration, or every file that is missing.
        CheckpointError: If weights are damaged or do not fit each other.
    """
    path = find_config(config)
    settings = load_config(path, [*overrides, *([f"device={device}"] if device else [])])
    check_files(settings)  # before PyTorch, which takes seconds to import
    from minigpt4.build import build_chat  # noqa: PLC0415

    return LoadedChat(build_chat(settings), settings)


def find_config(config: str | Path) -> Path:
    """The file of a configuration that is given by its path, its name, or its saved model.

    Raises:
        ConfigError: If it is the name of none. A path is not looked up.
        CheckpointError: If a model of the hub cannot be fetched.
    """
    path = local_path(config)
    named = {file.stem: file for file in sorted(CONFIGS.glob("*.yaml"))}
    if path.is_dir() and config not in named:
        return saved_config(path)
    if isinstance(config, str) and is_saved_reference(config):
        return fetch_saved(parse_reference(config))
    if isinstance(config, Path) or path.suffix or len(path.parts) > 1 or path.is_file():
        return path
    if config not in named:
        hint = did_you_mean(config, named)
        raise ConfigError([f"config: {config!r} is no file and no known name. {hint}"])
    return named[config]


def open_picture(picture: Picture, name: str = "") -> "Image.Image":
    """Checks and decodes a picture.

    Args:
        picture: Whatever `ask` takes for a picture.
        name: What an error calls it; a path is called by itself.

    Raises:
        ImageError: If it is no picture we read; the message opens with the name.
    """
    from PIL import Image  # noqa: PLC0415

    from minigpt4.images import load_image  # noqa: PLC0415

    if isinstance(picture, str | Path):
        name = str(picture)
        picture = local_path(picture)
    elif not isinstance(picture, bytes | Image.Image):
        kind = type(picture).__name__
        message = f"A picture is a path, the bytes of a file or a PIL image; {kind} given."
        raise ImageError("not_supported", message)
    try:
        return load_image(picture)
    except ImageError as error:
        message = f"{name}: {error.message}" if name else error.message
        raise ImageError(error.code, message) from error


class LoadedChat:
    """A loaded model that answers questions about pictures.

    Any number of threads may use it, and one thread may read several streams at a time: the engine
    writes `engine.max_answers` of them together, and the others wait for their turn. As a context
    manager, it is closed at the end.

    Attributes:
        config: The configuration it was loaded from, with all overrides.
    """

    def __init__(self, chat: "Chat", config: Config) -> None:
        self.config = config
        self._chat = chat

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends answers that are being written, and frees what is kept of pictures and chats.

        The weights go when nothing refers to this object any more.
        """
        self._chat.close()

    def ask(
        self,
        pictures: Pictures,
        question: str,
        **settings: Unpack[AnswerSettings],
    ) -> str:
        """Asks one question about one picture or several.

        Args:
            pictures: One picture, or any number in the order in which the question counts them.
            question: What is asked.
            settings: Of this answer, such as ``temperature=0.7`` or ``max_new_tokens=60``.

        Raises:
            ConfigError: If a setting is unknown or out of its range.
            ImageError: If a picture cannot be used.
            PromptError: If the question is empty or too long, or there are too many pictures.
            BusyError: If more questions wait than `limits.queue_size`.
            EngineError: If the model fails.
        """
        return self._conversation(pictures).ask(question, **settings)

    def stream(
        self,
        pictures: Pictures,
        question: str,
        **settings: Unpack[AnswerSettings],
    ) -> Generator[str, None, None]:
        """Asks like `ask`, and gives the answer piece by piece while it is written.

        Joined, the pieces are the answer. Closing the generator stops the model.
        """
        return self._conversation(pictures).stream(question, **settings)

    def conversation(self, *pictures: Picture) -> "OpenConversation":
        """Opens a conversation of several turns.

        Args:
            pictures: What the first question is about; `OpenConversation.attach` adds more.

        Raises:
            ImageError: If a picture cannot be used.
        """
        return self._conversation(pictures)

    def encode(self, picture: Picture) -> "torch.Tensor":
        """What the language model sees of a picture: its visual tokens `(Q, D)`, on the CPU.

        Raises:
            ImageError: If the picture cannot be used.
            EngineError: If the model fails on it.
        """
        return self._chat.encode_image(open_picture(picture)).visual_tokens

    def save_pretrained(
        self, folder: str | Path, *, licence: str | None = None, scores: str | Path | None = None
    ) -> None:
        """Writes the model into a folder, which `load` takes for a configuration.

        The files are saved as they are, in their own precision: loading them gives this model
        again. Other projections than the model's own are left out.

        Args:
            folder: A new one, an empty one, or a saved model to replace.
            licence: The hub's name of the model's licence, for the model card.
            scores: A JSON file of scores, for the model card.

        Raises:
            CheckpointError: If the folder holds something else or cannot be written.
        """
        from minigpt4.checkpoints.pretrained import save_model  # noqa: PLC0415

        scores = None if scores is None else Path(scores)
        save_model(self.config, local_path(folder), licence=licence, scores=scores)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        commit_message: str = "Upload a MiniGPT-4 model",
        token: str | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        licence: str | None = None,
        scores: str | Path | None = None,
    ) -> "CommitInfo":
        """Publishes on the Hugging Face hub what `save_pretrained` writes, in one commit.

        Args:
            repo_id: Owner and name; made if there is none yet.
            private: Whether a new repository is for its owner only.
            commit_message: What the history says.
            token: Of an account that may write there; None takes the one huggingface_hub knows.
            revision: Branch; None is main.
            create_pr: Whether to open a pull request instead.
            licence: The hub's name of the model's licence, for the model card.
            scores: A JSON file of scores, for the model card.

        Returns:
            The commit; ``load(f"{repo_id}@{commit.oid}")`` loads what was published.
        """
        from minigpt4.checkpoints.pretrained import push_folder  # noqa: PLC0415

        with tempfile.TemporaryDirectory(prefix="minigpt4-push-") as folder:
            self.save_pretrained(folder, licence=licence, scores=scores)
            return push_folder(
                Path(folder),
                repo_id,
                private=private,
                commit_message=commit_message,
                token=token,
                revision=revision,
                create_pr=create_pr,
            )

    def _conversation(self, pictures: Pictures) -> "OpenConversation":
        opened = OpenConversation(self._chat, self.config)
        opened.attach(*_each(pictures))
        return opened


class OpenConversation:
    """A conversation with a loaded model; `LoadedChat.conversation` opens one.

    It remembers its questions, answers and pictures. A question that fails, or whose stream is
    closed before its end, leaves it as it was. It is of one thread at a time, and each of its
    answers is read to its end before the next question.

    Attributes:
        session: All of it as one value: assigning an older one goes back to it.
    """

    def __init__(self, chat: "Chat", config: Config) -> None:
        self.session: Session = chat.new_session()
        self._chat = chat
        self._config = config
        self._answering = threading.Lock()

    @property
    def turns(self) -> "tuple[Turn, ...]":
        """The questions with their answers so far."""
        return self.session.conversation.turns

    def attach(self, *pictures: Picture) -> None:
        """Adds pictures to the next question; either all of them or none.

        Raises:
            ImageError: If a picture cannot be used.
            EngineError: If the model fails on it.
        """
        named = len(pictures) > 1
        opened = [
            open_picture(picture, f"Picture {number}" if named else "")
            for number, picture in enumerate(pictures, start=1)
        ]
        session = self.session
        for encoded in self._chat.encode_images(opened):
            session = session.attach(encoded)
        self.session = session

    def ask(self, question: str, **settings: Unpack[AnswerSettings]) -> str:
        """Asks the next question; `LoadedChat.ask` tells the settings and the errors."""
        return "".join(self.stream(question, **settings))

    def stream(
        self, question: str, **settings: Unpack[AnswerSettings]
    ) -> Generator[str, None, None]:
        """Asks the next question and gives the answer piece by piece."""
        return _pieces(self.parts(question, **settings))

    def parts(
        self,
        question: str,
        cancel: threading.Event | None = None,
        **settings: Unpack[AnswerSettings],
    ) -> "Generator[AnswerPart, None, None]":
        """Asks the next question and gives all there is to know about the growing answer.

        Args:
            question: What is asked.
            cancel: Stops the answer when set; the text so far is then kept as the answer.
            settings: Of this answer.

        Returns:
            Parts with the whole text so far, tokens and seconds; the last one has `finish`. While
            the question waits for its turn, parts without text tell how many come `ahead`.
        """
        chosen = changed(self._config.generation, settings)
        return self._answer(question, chosen, cancel)

    def undo(self) -> str:
        """Takes the last turn back; its pictures are attached again.

        Returns:
            The question that was taken back.

        Raises:
            PromptError: If there is no turn.
        """
        self.session, turn = self.session.rewind(-1)
        return turn.question

    def _answer(
        self, question: str, settings: GenerationSettings, cancel: threading.Event | None
    ) -> "Generator[AnswerPart, None, None]":
        if not self._answering.acquire(blocking=False):
            # The next question follows this answer: what it was must be known.
            raise PromptError(
                "An answer of this conversation is still streaming. Read it to its end, or close()"
                " it, before the next question; another conversation can go on meanwhile."
            )
        try:
            for part in self._chat.stream_answer(self.session, question, settings, cancel):
                if part.session is not None:
                    self.session = part.session
                yield part
        finally:
            self._answering.release()


def _pieces(parts: "Iterable[AnswerPart]") -> Generator[str, None, None]:
    """The new text of each part; spaces at the end wait, as the last part has none."""
    sent = 0
    for part in parts:
        text = part.text.rstrip()
        if len(text) > sent:
            yield text[sent:]
            sent = len(text)
        if part.finish is not None and part.notice:
            logger.warning("%s", part.notice)


def _each(pictures: Pictures) -> tuple[Picture, ...]:
    one = isinstance(pictures, str | Path | bytes) or not isinstance(pictures, Iterable)
    return (pictures,) if one else tuple(pictures)  # type: ignore[arg-type, return-value]
