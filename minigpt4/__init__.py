"""MiniGPT-4, rebuilt: give a picture, talk about it.

    from minigpt4 import load

    chat = load()
    print(chat.ask("photo.png", "What is in the picture?"))

Importing this package imports nothing else: `load` is fetched when it is asked for, and PyTorch
when it is called.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from minigpt4.api import load

__all__ = ["load"]


def __getattr__(name: str) -> object:
    if name == "load":
        from minigpt4.api import load  # noqa: PLC0415 - importing the package stays free

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
