"""The errors of training, beside those that `minigpt4.errors` names."""

from minigpt4.errors import MiniGPT4Error


class TrainingError(MiniGPT4Error):
    """Training cannot start or go on; the message says why and what to do."""


class TrainingInterruptedError(MiniGPT4Error):
    """Training was asked to stop, and saved its checkpoint first.

    Attributes:
        signal: Number of the signal that asked.
    """

    def __init__(self, signal: int, step: int) -> None:
        super().__init__(f"Stopped after step {step}, and saved. Add --resume to go on.")
        self.signal = signal

    @property
    def exit_code(self) -> int:
        """What a process stopped by this signal returns: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.signal
