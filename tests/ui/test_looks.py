"""What the panel "Where it looks" is told, without a browser."""

import asyncio
import base64
import io
from dataclasses import replace

import pytest
from PIL import Image

from minigpt4.config import LimitsConfig
from minigpt4.ui.handlers import PageHandlers
from minigpt4.ui.looks import CRASHED, Looks
from minigpt4.ui.sessions import FORGOTTEN, SessionStore, Side, Sides
from minigpt4.ui.settings import setting_table
from minigpt4.ui.worker import ModelWorker
from tests.ui.desk import Desk, until
from tests.ui.fake_chat import COLOURS
from tests.ui.looking_chat import GRID, TOKENS, LookingChat
from tests.ui.server import fake_config


class LookingDesk(Desk):
    """A desk whose chat can be looked into."""

    def __init__(self, folder) -> None:
        self.uploads = folder / "uploads"
        self.uploads.mkdir()
        self.chat = LookingChat(0.001)
        config = replace(fake_config(folder), limits=LimitsConfig(queue_size=2))
        self.config = config
        self.worker = ModelWorker(lambda: self.chat, 2, 4)
        self.worker.start()
        self.store = SessionStore(self.uploads, closed_seconds=0)
        table = setting_table(config.generation)
        self.page = PageHandlers(self.worker, self.store, config, table)
        self.screens = {}
        self.looks = Looks(self.worker, self.store, config)


@pytest.fixture
def desk(tmp_path):
    desk = LookingDesk(tmp_path)
    yield desk
    desk.chat.sight.set()
    desk.worker.close()


def brightest(packed: str) -> int:
    levels = base64.b64decode(packed)
    assert len(levels) == GRID * GRID
    assert max(levels) == 255
    return levels.index(255)


def colour(picture: dict) -> tuple[int, ...]:
    head, data = picture["src"].split(",")
    assert head == "data:image/webp;base64"
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    assert image.size == (picture["width"], picture["height"])
    return image.convert("RGB").getpixel((5, 5))


def near(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return all(abs(a - b) < 12 for a, b in zip(one, other, strict=True))


def test_the_panel_knows_the_answers_and_their_words_without_the_model(desk):
    async def visit():
        assert desk.looks.answers("a")["answers"] == []
        await desk.ask("a", "Is it 🚗 red?", desk.upload("red"))
        told = desk.looks.answers("a")
        (answer,) = told["answers"]
        assert answer["text"] == "I see red. You asked: Is it 🚗 red?"
        units = answer["text"].encode("utf-16-le")
        spelled = [units[2 * a : 2 * b].decode("utf-16-le") for a, b in answer["words"]]
        assert spelled == ["I", "see", "red", "You", "asked", "Is", "it", "red"]
        assert told["pictures"] == [1]
        assert desk.looks.answers("b")["answers"] == [], "another tab"
        assert desk.chat.looks == []

    asyncio.run(visit())


def test_a_look_has_a_map_for_every_word_that_has_one(desk):
    async def visit():
        await desk.ask("a", "an untraced 🚗 word", desk.upload("green"))
        told = await desk.looks.look("a", 0)
        answer = desk.looks.answers("a")["answers"][0]
        assert (told["kind"], told["turn"], told["text"]) == ("look", 0, answer["text"])
        words = {answer["text"].encode("utf-16-le")[2 * a : 2 * b].decode("utf-16-le"): str(a)
                 for a, b in answer["words"]}  # fmt: skip
        assert set(words.values()) - set(told["words"]) == {words["untraced"]}
        (shown,) = told["pictures"]
        assert shown["number"] == 1
        assert near(colour(shown), COLOURS["green"])
        green = list(COLOURS).index("green")
        assert brightest(told["words"][words["I"]]["maps"][0]) == green
        assert brightest(told["words"][words["see"]]["maps"][0]) == green + 1
        assert told["words"][words["I"]]["shares"] == [1]
        assert desk.chat.lengths == [desk.config.generation.max_new_tokens]
        assert desk.chat.projections == [None]

    asyncio.run(visit())


def test_every_tab_sees_its_own_pictures_only(desk):
    async def visit():
        for tab in ("red", "blue"):
            await desk.ask(tab, "What?", desk.upload(tab))
        for tab in ("red", "blue"):
            told = await desk.looks.look(tab, 0)
            assert near(colour(told["pictures"][0]), COLOURS[tab])
            tokens = await desk.looks.tokens(tab, 1)
            assert near(colour(tokens["picture"]), COLOURS[tab])
        told = await desk.looks.look("stranger", 0)
        assert (told["kind"], told["text"]) == ("notice", FORGOTTEN)
        assert "pictures" not in told

    asyncio.run(visit())


def test_pictures_keep_the_numbers_they_have_in_the_chat(desk):
    async def visit():
        red, blue = desk.upload("red"), desk.upload("blue")
        await desk.ask("a", "One?", red)
        await desk.ask("a", "Again?", red)
        await desk.ask("a", "Another?", blue)
        assert desk.looks.answers("a")["pictures"] == [1, 3]
        told = await desk.looks.look("a", 2)
        assert [each["number"] for each in told["pictures"]] == [1, 3]
        assert near(colour(told["pictures"][1]), COLOURS["blue"])
        first = await desk.looks.look("a", 0)
        assert [each["number"] for each in first["pictures"]] == [1]
        tokens = await desk.looks.tokens("a", 3)
        assert near(colour(tokens["picture"]), COLOURS["blue"])
        assert len(tokens["tokens"]) == TOKENS
        assert tokens["tokens"][2]["words"] == [["blue2", 0.75], ["<b>bold</b>", 0.5]]
        assert brightest(tokens["tokens"][2]["map"]) == list(COLOURS).index("blue") + 2
        assert (await desk.looks.tokens("a", 2))["kind"] == "notice"

    asyncio.run(visit())


@pytest.mark.parametrize("sent", [-1, 1, 99, None, "0", True, 0.0, [0], {"turn": 0}])
def test_what_is_not_there_is_said_in_words(desk, sent):
    async def visit():
        await desk.ask("a", "What?", desk.upload("red"))
        told = await desk.looks.look("a", sent)
        assert told["kind"] == "notice"
        assert "no longer part of the chat" in told["text"]
        if sent != 1 and sent is not True:
            told = await desk.looks.tokens("a", sent)
            assert told["kind"] == "notice"
        assert "look" not in desk.chat.looks

    asyncio.run(visit())


def test_failures_are_told_without_secrets(desk, caplog):
    async def visit():
        await desk.ask("a", "no picture here")
        assert "no picture" in (await desk.looks.look("a", 0))["text"]
        await desk.ask("b", "crush", desk.upload("red"))
        chat = desk.store.find("b")
        for word, told in (("fail", "ran out of memory"), ("crash", CRASHED)):
            turns = chat.session.conversation
            chat.session = replace(chat.session, conversation=turns.with_answer(f"It may {word}."))
            found = await desk.looks.look("b", 0)
            assert (found["kind"], told in found["text"]) == ("notice", True)
            assert "secret" not in str(found)
        assert "secret" in caplog.text, "the log has it"

    asyncio.run(visit())


def test_a_look_keeps_nobody_waiting_and_looks_queue_up_only_so_far(desk):
    async def visit():
        for tab in "abcde":
            await desk.ask(tab, "What?", desk.upload("red"))
        desk.chat.sight.clear()
        looks = [asyncio.create_task(desk.looks.look(tab, 0)) for tab in "abc"]
        await until(lambda: len(desk.chat.looks) == 1)
        await desk.ask("e", "And now?")
        assert desk.screens["e"].turns[-1].answer, "answers go on while somebody looks"
        refused = await desk.looks.look("d", 0)
        assert refused["kind"] == "notice"
        assert "Many people" in refused["text"] or "busy" in refused["text"].lower()
        desk.chat.sight.set()
        told = await asyncio.gather(*looks)
        assert [each["kind"] for each in told] == ["look"] * 3
        assert (await desk.looks.look("d", 0))["kind"] == "look"

    asyncio.run(visit())


def test_an_answer_is_looked_at_through_its_own_projection(desk):
    config = desk.config
    labels = ("Stage 2", "Stage 1")
    from minigpt4.config import ProjectionConfig

    model = replace(
        config.model,
        projection_label=labels[0],
        other_projections=(ProjectionConfig(label=labels[1], weights="none"),),
    )
    looks = Looks(desk.worker, desk.store, replace(config, model=model))

    async def visit():
        await desk.ask("a", "One?", desk.upload("red"))
        await desk.ask("a", "Two?")
        chat = desk.store.find("a")
        sides = tuple(Side(label, chat.session) for label in labels)
        chat.sides = {1: Sides(sides, kept=1)}
        await looks.look("a", 0)
        await looks.look("a", 1)
        chat.sides = {1: Sides(sides, kept=0)}
        await looks.look("a", 1)
        assert desk.chat.projections == [None, "Stage 1", None]

    asyncio.run(visit())


def test_nothing_is_looked_at_before_the_model_is_there(desk):
    async def visit():
        await desk.ask("a", "What?", desk.upload("red"))
        loading = ModelWorker(lambda: desk.chat)
        told = await Looks(loading, desk.store, desk.config).look("a", 0)
        assert (told["kind"], "not loaded yet" in told["text"]) == ("notice", True)
        loading.close()

    asyncio.run(visit())


def test_a_cleared_chat_is_looked_at_no_more(desk):
    async def visit():
        await desk.ask("a", "What?", desk.upload("red"))
        await desk.page.new_chat("a")
        assert desk.looks.answers("a")["answers"] == []
        assert (await desk.looks.look("a", 0))["kind"] == "notice"
        assert (await desk.looks.tokens("a", 1))["kind"] == "notice"

    asyncio.run(visit())
