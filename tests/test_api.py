"""The model from Python: what the README's five lines promise, and the errors they can meet."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import pytest
import torch
from PIL import Image

import minigpt4
from minigpt4.api import LoadedChat, find_config, load
from minigpt4.config import ASSETS
from minigpt4.errors import BusyError, ConfigError, EngineError, ImageError, PromptError
from tests.engines.asking import slow_down
from tests.truth import true_answer

EXAMPLES = ASSETS / "examples"
HARBOUR = EXAMPLES / "harbour.png"
STREET = EXAMPLES / "street.png"
OPENED = Image.open(BytesIO(HARBOUR.read_bytes()))
QUESTION = "What color is the boat?"
ANSWER = true_answer("harbour", QUESTION)


@pytest.fixture(scope="module")
def chat() -> LoadedChat:
    return load(device="cpu")


def test_importing_it_imports_nothing_heavy() -> None:
    """Both the package and `load`."""
    assert said_by("from minigpt4 import load; told = 'imported'") == "imported []"


def said_by(code: str) -> str:
    """What a fresh process has in `told` after some code, and what it has imported that is heavy."""
    heavy = "{'torch', 'transformers', 'timm', 'numpy', 'PIL', 'gradio'}"
    code += f"\nimport sys; print(told, sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_the_package_offers_what_it_says() -> None:
    assert minigpt4.__all__ == ["load"]
    assert minigpt4.load is load
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        _ = minigpt4.lod  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "picture",
    [str(HARBOUR), HARBOUR, HARBOUR.read_bytes(), OPENED, [HARBOUR], iter([HARBOUR])],
    ids=["text", "path", "bytes", "PIL", "list", "iterator"],
)
def test_a_picture_may_be_given_in_many_ways(chat: LoadedChat, picture) -> None:
    assert chat.ask(picture, QUESTION) == ANSWER


def test_a_stream_is_the_answer_in_pieces(chat: LoadedChat) -> None:
    question = "Describe this image in detail."
    pieces = list(chat.stream(HARBOUR, question))
    assert len(pieces) > 5
    assert all(pieces)
    assert "".join(pieces) == chat.ask(HARBOUR, question)


def test_a_conversation_remembers(chat: LoadedChat) -> None:
    talk = chat.conversation(HARBOUR)
    assert talk.ask(QUESTION) == ANSWER
    assert talk.ask("How big is it?") == true_answer("harbour", "How big is it?", about="boat")
    assert [turn.question for turn in talk.turns] == [QUESTION, "How big is it?"]
    assert talk.undo() == "How big is it?"
    assert len(talk.turns) == 1
    talk.attach(STREET, str(HARBOUR))
    assert talk.ask(QUESTION)
    assert [len(turn.images) for turn in talk.turns] == [1, 2]


def test_without_a_picture_it_still_answers(chat: LoadedChat) -> None:
    assert "picture" in chat.ask([], QUESTION)
    assert "picture" in chat.conversation().ask(QUESTION)


def test_encode_gives_visual_tokens(chat: LoadedChat) -> None:
    tokens = chat.encode(HARBOUR)
    assert tokens.ndim == 2
    assert tokens.device.type == "cpu"
    assert torch.equal(tokens, chat.encode(HARBOUR.read_bytes()))
    assert not torch.equal(tokens, chat.encode(STREET))


def test_settings_are_of_one_answer(chat: LoadedChat) -> None:
    question = "Describe this image in detail."
    drawn = {"temperature": 2.0, "top_p": 1.0, "seed": 3}
    first, second = (chat.ask(HARBOUR, question, **drawn) for _ in range(2))
    assert first == second
    assert chat.ask(HARBOUR, question) != first
    assert len(chat.ask(HARBOUR, question, max_new_tokens=3)) < 30


def test_wrong_settings_are_told_at_once(chat: LoadedChat) -> None:
    with pytest.raises(ConfigError) as caught:
        chat.ask(HARBOUR, QUESTION, temprature=0, top_p=7, seed="one")  # type: ignore[call-arg]
    assert len(caught.value.problems) == 3
    assert "Did you mean temperature?" in str(caught.value)
    assert "top_p: 7" in str(caught.value)
    with pytest.raises(ConfigError, match="temperature"):
        chat.stream(HARBOUR, QUESTION, temperature=9)  # before the first piece is read


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        ("nowhere/photo.png", "nowhere/photo.png: There is no image file"),
        (b"no picture", "Please use a JPEG"),
        (b"", "empty"),
        (7, "int given"),
        ([HARBOUR, b"no picture"], "Picture 2: "),
    ],
)
def test_a_bad_picture_is_told(chat: LoadedChat, picture, said: str) -> None:
    with pytest.raises(ImageError, match=said):
        chat.ask(picture, QUESTION)


def test_a_failed_question_changes_nothing(chat: LoadedChat) -> None:
    talk = chat.conversation(HARBOUR)
    with pytest.raises(PromptError, match="type a question"):
        talk.ask("  ")
    before = talk.session
    with pytest.raises(ImageError):
        talk.attach(STREET, "nowhere.png")
    assert talk.session is before
    assert talk.ask(QUESTION) == ANSWER


def test_a_closed_stream_changes_nothing_and_frees_the_model(chat: LoadedChat) -> None:
    talk = chat.conversation(HARBOUR)
    stream = talk.stream("Describe this image in detail.")
    next(stream)
    with pytest.raises(PromptError, match="still streaming"):
        talk.ask(QUESTION)
    stream.close()
    assert talk.turns == ()
    assert talk.ask(QUESTION) == ANSWER


@pytest.mark.parametrize("kind", ["batching", "generate"])
def test_several_streams_are_read_by_one_thread(kind: str) -> None:
    """In any order: one that is not read holds up no other, whatever the engine."""
    question = "Describe this image in detail."
    with load(device="cpu", overrides=[f"engine.kind={kind}"]) as chat:
        whole = [chat.ask(picture, question) for picture in (HARBOUR, STREET)]
        first, second = (chat.stream(picture, question) for picture in (HARBOUR, STREET))
        begun = [next(first), next(second)]
        assert chat.ask(HARBOUR, QUESTION) == ANSWER
        assert begun[1] + "".join(second) == whole[1]
        assert begun[0] + "".join(first) == whole[0]


def test_a_closed_model_says_so() -> None:
    with load(device="cpu") as chat:
        stream = chat.stream(HARBOUR, "Describe this image in detail.")
        begun = next(stream)
        whole = chat.ask(HARBOUR, "Describe this image in detail.")
    assert whole.startswith(begun + "".join(stream))
    with pytest.raises(EngineError):
        chat.ask(HARBOUR, QUESTION)
    chat.close()  # again is nothing


@pytest.mark.parametrize("kind", ["batching", "generate"])
def test_a_program_may_end_in_the_middle_of_an_answer(kind: str) -> None:
    code = (
        "from minigpt4 import load;"
        f"chat = load(device='cpu', overrides=['engine.kind={kind}']);"
        f"stream = chat.stream({str(HARBOUR)!r}, 'Describe this image in detail.');"
        "print(next(stream))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "The\n"), done.stderr
    assert "terminate" not in done.stderr


def test_too_many_questions_are_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = ["engine.kind=generate", "limits.queue_size=1"]
    with load(device="cpu", overrides=overrides) as chat:
        slow_down(chat._chat._engine, monkeypatch, 0.1)
        talks = [chat.conversation() for _ in range(3)]
        parts = [talk.parts("Describe this image in detail.") for talk in talks]
        next(parts[0])
        assert next(parts[1]).ahead == 1
        with pytest.raises(BusyError, match="Many people"):
            next(parts[2])


def test_streams_are_turns_in_the_order_in_which_they_are_read(chat: LoadedChat) -> None:
    talk = chat.conversation(HARBOUR)
    streams = talk.stream(QUESTION), talk.stream("How big is it?")
    assert ["".join(stream) for stream in streams] == [
        ANSWER,
        true_answer("harbour", "How big is it?", about="boat"),
    ]
    assert len(talk.turns) == 2


def test_a_cancelled_answer_is_kept(chat: LoadedChat, monkeypatch: pytest.MonkeyPatch) -> None:
    slow_down(chat._chat._engine, monkeypatch, 0.1)
    talk, cancel = chat.conversation(HARBOUR), threading.Event()
    parts = talk.parts("Describe this image in detail.", cancel)
    next(parts)
    cancel.set()
    *_, last = parts
    assert last.finish == "cancelled"
    assert talk.turns[0].answer == last.text


def test_many_threads_ask_at_the_same_time(chat: LoadedChat) -> None:
    asked = {HARBOUR: "What color is the boat?", STREET: "What does the sign say?"}
    expected = {HARBOUR: ANSWER, STREET: true_answer("street", "What does the sign say?")}
    pictures = [HARBOUR, STREET] * 12
    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda picture: chat.ask(picture, asked[picture]), pictures))
    assert answers == [expected[picture] for picture in pictures]


def test_a_configuration_is_found_by_name_or_path(tmp_path: Path) -> None:
    named = find_config("tiny")
    assert named.is_file()
    assert find_config(str(named)) == find_config(named) == named
    assert find_config("minigpt4_vicuna_7b").is_file()
    with pytest.raises(ConfigError, match=r"Did you mean tiny\?"):
        find_config("tinny")
    with pytest.raises(ConfigError, match="no such file"):
        load(tmp_path / "none.yaml")


def test_what_is_missing_is_told_before_torch_is_imported() -> None:
    code = (
        "from minigpt4 import load\n"
        "try: load(overrides=['model.vision=gone.safetensors'])\n"
        "except Exception as error: told = type(error).__name__"
    )
    assert said_by(code) == "ConfigError []"
    with pytest.raises(ConfigError, match=r"vision: 'gone.safetensors'"):
        load(overrides=["model.vision=gone.safetensors"])
    with pytest.raises(ConfigError, match="device: 'gpu' given"):
        load(device="gpu")
