"""The page's handlers, used as a browser would use them."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import fields, replace
from pathlib import Path

from minigpt4.config import GenerationSettings, LimitsConfig
from minigpt4.ui.handlers import PageHandlers
from minigpt4.ui.sessions import SessionStore
from minigpt4.ui.settings import setting_table
from minigpt4.ui.views import View
from minigpt4.ui.worker import ModelWorker
from tests.ui.fake_chat import COLOURS, FakeChat
from tests.ui.server import fake_config, plain
from tests.waiting import SECONDS


class Desk:
    """Handlers with a fake chat behind them, and the page of each tab as a user would see it."""

    def __init__(
        self, folder: Path, *, words: int = 400, waiting: int = 16, at_once: int = 16
    ) -> None:
        self.uploads = folder / "uploads"
        self.uploads.mkdir()
        self.chat = FakeChat(0.001, words, at_once, waiting)
        config = replace(fake_config(folder), limits=LimitsConfig(queue_size=waiting))
        self.worker = ModelWorker(lambda: self.chat, waiting, at_once)
        self.worker.start()
        self.store = SessionStore(self.uploads, closed_seconds=0)
        table = setting_table(GenerationSettings(temperature=0.7, repetition_penalty=1.0))
        self.page = PageHandlers(self.worker, self.store, config, table)
        self.screens: dict[str, View] = {}

    def upload(self, colour: str) -> str:
        return str(plain(self.uploads / f"{colour}.png", COLOURS[colour]))

    async def play(self, tab: str, views: AsyncIterator[View]) -> list[View]:
        played = []
        async for view in views:
            self.show(tab, view)
            played.append(view)
        return played

    def show(self, tab: str, view: View) -> View:
        old = self.screens.get(tab, View())
        changes = {f.name: getattr(view, f.name) for f in fields(View)}
        changed = {name: value for name, value in changes.items() if value is not None}
        self.screens[tab] = replace(old, **changed)
        return self.screens[tab]

    async def ask(self, tab: str, text: str, *files: str) -> View:
        await self.play(tab, self.page.ask(tab, text, files, ()))
        return self.screens[tab]


async def until(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not happened():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
