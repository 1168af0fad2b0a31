"""The embedded model, loaded once for all runs of a file of tests."""

import pytest

from minigpt4.api import LoadedChat, load
from minigpt4.evaluation import answering


@pytest.fixture(scope="module")
def chat() -> LoadedChat:
    return load(device="cpu")


class Kept:
    """Lends one loaded model to many runs, which each would close their own."""

    def __init__(self, chat: LoadedChat) -> None:
        self.chat = chat
        self.loaded: list[tuple[str, ...]] = []

    def __call__(self, _config, overrides=(), _device=None):
        self.loaded.append(tuple(overrides))
        return self

    def __enter__(self) -> LoadedChat:
        return self.chat

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def kept(chat: LoadedChat, monkeypatch: pytest.MonkeyPatch) -> Kept:
    kept = Kept(chat)
    monkeypatch.setattr(answering, "load", kept)
    return kept
