"""Chats, their pictures and the small values of the page."""

from pathlib import Path

import pytest
from PIL import Image

from minigpt4.config import GenerationSettings
from minigpt4.errors import ImageError
from minigpt4.ui.contract import model_name
from minigpt4.ui.pictures import HELD_SIDE, SHOWN_SIDE, PictureFolder
from minigpt4.ui.sessions import SessionStore
from minigpt4.ui.settings import choose_settings, setting_table
from minigpt4.ui.views import (
    ShownPicture,
    ShownTurn,
    Status,
    chat_messages,
    notice_html,
    status_html,
    turn_of_message,
)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> SessionStore:
    return SessionStore(tmp_path, 3, idle_seconds=100, closed_seconds=10, clock=clock)


def test_every_tab_has_its_own_chat(store):
    first = store.open("a")
    assert store.open("a") is first
    assert store.open("b") is not first
    assert store.find("c") is None


def test_the_chat_idle_longest_goes_first(store):
    store.open("a")
    store.open("b")
    store.open("c")
    store.open("a")
    store.open("d")
    assert store.find("b") is None
    assert len(store) == 3


def test_a_closed_tab_may_return_for_a_while(store, clock):
    chat = store.open("a")
    store.close("a")
    assert chat.cancel.is_set()
    clock.now = 9
    assert store.open("a") is chat
    clock.now = 30
    store.sweep()
    assert store.find("a") is chat
    store.close("a")
    clock.now = 40
    store.sweep()
    assert store.find("a") is None


def test_an_idle_chat_goes_with_its_pictures(store, clock, tmp_path):
    chat = store.open("a")
    picture = chat.folder.add(Image.new("RGB", (8, 8)))
    assert picture.path.exists()
    clock.now = 101
    store.open("b")
    assert store.find("a") is None
    assert not picture.path.exists()
    assert list(tmp_path.iterdir()) == []


def test_copies_are_ours_small_and_written_again(tmp_path):
    upload = tmp_path / "photo.jpg"
    photo = Image.effect_noise((3200, 300), 30).convert("RGB")
    exif = photo.getexif()
    exif[0x010E] = "taken at home"
    photo.save(upload, exif=exif)
    folder = PictureFolder(tmp_path)
    picture = folder.read(str(upload))
    assert picture.image is not None
    assert max(picture.image.size) == HELD_SIDE
    with Image.open(picture.path) as copy:
        assert max(copy.size) == SHOWN_SIDE
        assert not copy.getexif()
    assert b"taken at home" not in picture.copy
    assert folder.read(str(picture.path)) is picture
    picture.path.unlink()
    assert picture.keep_file().read_bytes() == picture.copy


def test_small_pictures_are_shown_exactly(tmp_path):
    drawing = Image.radial_gradient("L").convert("RGB")
    picture = PictureFolder(tmp_path).add(drawing)
    with Image.open(picture.path) as copy:
        assert copy.convert("RGB").tobytes() == drawing.tobytes()


def test_links_out_of_the_upload_folder_are_no_uploads(tmp_path):
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    (uploads / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(ImageError, match="Please upload the picture"):
        PictureFolder(uploads).read(str(uploads / "link.png"))


def test_messages_and_turns_find_each_other(tmp_path):
    pictures = tuple(ShownPicture(tmp_path / f"{number}.webp", number) for number in (1, 2))
    turns = (ShownTurn("one", "1 < 2 & 3", pictures), ShownTurn("two", None))
    messages = chat_messages(turns)
    assert [message["role"] for message in messages] == [
        "user",
        "user",
        "user",
        "assistant",
        "user",
    ]
    assert messages[1]["content"]["alt_text"] == "Picture 2"
    assert messages[3]["content"][0]["text"] == "1 &lt; 2 &amp; 3"
    found = [turn_of_message(turns, index) for index in range(-1, 6)]
    assert found == [None, 0, 0, 0, 0, 1, None]


def test_what_is_shown_is_escaped():
    assert "<script>" not in notice_html("<script>") + status_html(Status("ready", "<script>"))
    assert notice_html("") == ""


def test_settings_come_back_in_range():
    defaults = GenerationSettings(temperature=0.2, max_new_tokens=200, seed=3)
    table = setting_table(defaults)
    assert choose_settings(table, [setting.default for setting in table]) == defaults
    assert choose_settings(table, []) == defaults
    sent = choose_settings(table, [-1, 2, 1e9, 1.5, 2.6, "12"])
    assert sent == GenerationSettings(
        temperature=0.0,
        top_p=1.0,
        max_new_tokens=200,
        repetition_penalty=1.5,
        num_beams=3,
        seed=12,
    )
    assert isinstance(sent.num_beams, int)
    assert choose_settings(table, [0, 1, 1, 1, 1, ""]).seed is None
    assert choose_settings(table, [None] * 6) == defaults


def test_models_have_names_for_people():
    assert model_name("tiny") == "MiniGPT-4 tiny"
    assert model_name("minigpt4_vicuna_7b") == "MiniGPT-4 Vicuna 7B"
