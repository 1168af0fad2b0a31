"""Opinions about answers: written only where the host wants them, and only what docs/spaces.md lists."""

import asyncio
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from minigpt4.config import load_config
from minigpt4.errors import ConfigError
from minigpt4.ui.handlers import NOT_WRITTEN, PageHandlers
from minigpt4.ui.settings import COMPARE
from tests.ui.desk import Desk
from tests.ui.server import fake_config

CONFIG = Path(__file__).parents[2] / "eval_configs" / "tiny.yaml"
DOCS = Path(__file__).parents[2] / "docs" / "spaces.md"
COMPARED = (*(None,) * 6, COMPARE)


def desk_with(folder: Path, **page: object) -> Desk:
    desk = Desk(folder)
    config = fake_config(folder)
    config = replace(config, page=replace(config.page, **page))
    desk.page = PageHandlers(desk.worker, desk.store, config, desk.page.table)
    return desk


def lines(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


async def rated(desk: Desk) -> None:
    await desk.play("a", desk.page.ask("a", "Wie? ünïcode", [desk.upload("red")], ()))
    await desk.play("a", desk.page.ask("a", "two", [], COMPARED))
    assert await desk.page.rate("a", 2, liked=True) == ""
    assert await desk.page.rate("a", 4, liked=False) == ""
    assert await desk.page.rate("a", 4, liked="") == ""


def test_what_is_written(tmp_path):
    file = tmp_path / "host" / "opinions.jsonl"
    desk = desk_with(tmp_path, feedback_file=str(file))
    asyncio.run(rated(desk))
    first, second, third = lines(file)
    assert first["question"] == "Wie? ünïcode"
    assert first["answer"] == "I see red. You asked: Wie? ünïcode"
    assert (first["opinion"], first["turn"], first["projection"]) == ("like", 1, None)
    assert (second["opinion"], second["turn"], second["projection"]) == ("dislike", 2, "Stage 2")
    assert second["other_answers"] == {"Stage 1": "Through Stage 1 I see fog. You asked: two"}
    assert third["opinion"] == "withdrawn"
    assert [len(each["pictures"]) for each in (first, second)] == [1, 1]
    assert not (tmp_path / "host" / "opinions-pictures").exists()
    _, table = DOCS.read_text(encoding="utf-8").split("| field |")
    listed = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert listed == list(first)
    desk.worker.close()


def test_pictures_only_where_that_is_enabled_too(tmp_path):
    file = tmp_path / "opinions.jsonl"
    desk = desk_with(tmp_path, feedback_file=str(file), feedback_pictures=True)
    asyncio.run(rated(desk))
    (key,) = lines(file)[0]["pictures"]
    kept = [path.name for path in (tmp_path / "opinions-pictures").iterdir()]
    assert kept == [f"{key}.webp"]
    desk.worker.close()


def test_without_a_file_nothing_is_written(tmp_path):
    desk = Desk(tmp_path)
    asyncio.run(rated(desk))
    assert not list(tmp_path.rglob("*.jsonl"))
    desk.worker.close()


def test_nonsense_and_a_full_disk_are_told(tmp_path):
    file = tmp_path / "opinions.jsonl"
    desk = desk_with(tmp_path, feedback_file=str(file))

    async def talk() -> None:
        assert await desk.page.rate("nobody", 1, liked=True) == ""
        await desk.ask("a", "one")
        assert "cleared" in await desk.page.rate("a", 99, liked=True)
        file.unlink()
        file.mkdir()
        assert await desk.page.rate("a", 1, liked=True) == NOT_WRITTEN

    asyncio.run(talk())
    desk.worker.close()


def test_a_file_that_cannot_be_written_is_told_at_the_start(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(ConfigError, match=r"page\.feedback_file: .* cannot be written"):
        desk_with(tmp_path, feedback_file=str(tmp_path / "taken" / "opinions.jsonl"))
    with pytest.raises(ConfigError, match=r"feedback_file is not set"):
        load_config(CONFIG, ["page.feedback_pictures=true"])
