"""Every error this package raises on purpose.

    MiniGPT4Error
    |-- ConfigError            a configuration file or a command-line override is wrong
    |-- ImageError             a picture cannot be used
    |-- PromptError            a question cannot be asked
    |   `-- ContextOverflowError   a question and its pictures are longer than the model reads
    |-- CheckpointError        weights are missing, damaged or belong to another model
    `-- EngineError            text generation failed
        |-- NoBeamsError           the engine follows one answer at a time
        |-- NoRoomError            a chat and its answer are longer than the KV cache
        `-- BusyError              too many questions wait already
            `-- ClosingError           the server is being stopped

A message says what is wrong, where, both values and the cure, without a traceback. The page shows
ImageError, PromptError and EngineError to its users as they are: these hold no path of the server.
ConfigError and CheckpointError are for whoever starts the server, and name files in full. A stopped
answer is no error but a finish reason.
"""

from collections.abc import Sequence


class MiniGPT4Error(Exception):
    """The base of every error below; ``str(error)`` is a sentence for the user."""


class ConfigError(MiniGPT4Error):
    """A configuration is wrong; all its problems are told at once.

    Attributes:
        problems: One line for each problem, each naming the key, the value and what is expected.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(tuple(problems))
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return _listed(self.problems)


class ImageError(MiniGPT4Error):
    """A picture cannot be used.

    Attributes:
        code: A short name that does not change between versions, such as ``"too_many_pixels"``.
        message: One plain sentence for the user.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return self.message


class PromptError(MiniGPT4Error):
    """A question or a conversation cannot become a prompt."""


class ContextOverflowError(PromptError):
    """One question with its pictures is longer than the model can read.

    Attributes:
        length: Tokens that the prompt needs.
        limit: Tokens that are free for it.
    """

    def __init__(self, length: int, limit: int) -> None:
        super().__init__(length, limit)
        self.length = length
        self.limit = limit

    def __str__(self) -> str:
        return (
            f"This question and the pictures of this chat need {self.length:,} tokens, and the"
            f" model has room for {max(0, self.limit):,}. Ask a shorter question, or start a new"
            " chat with fewer pictures."
        )


class CheckpointError(MiniGPT4Error):
    """Weights are missing, damaged or belong to another model."""


class EngineError(MiniGPT4Error):
    """Text generation failed."""


class NoBeamsError(EngineError):
    """More than one beam is asked of an engine that follows one answer at a time."""


class NoRoomError(EngineError):
    """A chat with its longest answer is longer than the KV cache, however long it waits."""


class BusyError(EngineError):
    """More questions wait for the model than the server accepts."""

    def __str__(self) -> str:
        return "Many people are asking right now. Please try again in a minute."


class ClosingError(BusyError):
    """The server is being stopped and takes no more questions."""

    def __str__(self) -> str:
        return "The server is being stopped. Please try again in a few minutes."


def _listed(problems: Sequence[str]) -> str:
    if len(problems) == 1:
        return problems[0]
    heading = f"The configuration has {len(problems)} problems:"
    return "\n".join([heading, *(f"  - {problem}" for problem in problems)])
