"""`python -m minigpt4 batch`: answers, bad rows, folders, shards, going on after a crash."""

import contextlib
import io
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from minigpt4 import batch, cli
from minigpt4.api import LoadedChat, load
from minigpt4.batch import in_flight
from minigpt4.batch_rows import plan
from minigpt4.chat import AnswerPart
from minigpt4.config import ASSETS
from minigpt4.errors import BusyError, ConfigError, MiniGPT4Error
from minigpt4.images import image_key, load_image
from tests.truth import true_answer
from tests.waiting import until
from train.cartoon.draw import draw_scene
from train.cartoon.scene import make_scene

HARBOUR, STREET = (str(ASSETS / "examples" / f"{name}.png") for name in ("harbour", "street"))
QUESTION = "What color is the boat?"
ROWS: list[dict[str, object]] = [
    {"image": HARBOUR, "question": QUESTION, "id": 7},
    {"image": HARBOUR, "question": "How big is the boat?"},
    {"image": [STREET], "question": "What does the sign say?", "who": "Zoë"},
]
SHOWN = ("harbour", "harbour", "street")
ANSWERS = [true_answer(shown, row["question"]) for shown, row in zip(SHOWN, ROWS, strict=True)]


@pytest.fixture(scope="module")
def chat() -> LoadedChat:
    return load(device="cpu")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write(tmp_path / "in.jsonl", ROWS)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def write(path: Path, rows) -> Path:
    lines = (row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def answered(path: Path) -> list[dict[str, object]]:
    """The rows of the output in the order of the input."""
    return sorted(read(path), key=lambda row: row.get("line", row["image"]))


def run(source: Path, target: Path, chat: LoadedChat, **more) -> tuple[bool, str]:
    said: list[str] = []
    return batch.run(source, target, lambda: chat, said.append, **more), "\n".join(said)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of 24 pictures, and of things that are none."""
    folder = tmp_path / "photos"
    (folder / "summer" / ".thumbnails").mkdir(parents=True)
    for seed in range(24):
        place = folder / "summer" if seed % 2 else folder
        draw_scene(make_scene(seed, min_things=2), 224).save(place / f"{seed:02}.PNG")
    (folder / "notes.txt").write_text("no picture")
    (folder / "summer" / ".thumbnails" / "x.png").write_bytes(b"hidden")
    return folder


def test_every_row_is_answered(source: Path, target: Path, chat: LoadedChat) -> None:
    whole, said = run(source, target, chat)
    assert whole
    assert said == f"Rows answered: 3. The answers are in {target}"
    told = answered(target)
    assert [row["answer"] for row in told] == ANSWERS
    assert [row["line"] for row in told] == [1, 2, 3]
    assert all(given.items() <= row.items() for given, row in zip(ROWS, told, strict=True))
    assert {"tokens", "seconds", "finish"} <= told[0].keys()


def test_the_command_runs_it(
    tmp_path: Path, target: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also that a path starts at the folder of the questions, wherever the command is run."""
    (tmp_path / "photo.png").write_bytes(Path(HARBOUR).read_bytes())
    source = write(tmp_path / "in.jsonl", [{"image": "photo.png", "question": QUESTION}])
    assert cli.main(["batch", str(source), str(target), "--device", "cpu"]) == 0
    assert read(target)[0]["answer"] == ANSWERS[0]
    assert capsys.readouterr().out == ""
    assert cli.main(["batch", str(tmp_path / "none.jsonl"), str(target)]) == 2
    assert "there is no such file" in capsys.readouterr().err


def test_bad_rows_are_told_and_skipped(tmp_path: Path, target: Path, chat: LoadedChat) -> None:
    bad = {
        "{half": "no JSON",
        "[1]": "Expected an object",
        '{"question": "What?"}': '"image" must be',
        f'{{"image": "{HARBOUR}"}}': '"question" must be',
        '{"image": "nowhere.png", "question": "What?"}': "no image file",
        f'{{"image": "{HARBOUR}", "question": " "}}': "type a question",
        f'{{"image": "{HARBOUR}", "question": "What?", "answer": "x"}}': "another name",
        f'{{"image": "{HARBOUR}", "question": "Wh\\ud83dat?"}}': "half a character",
        f'{{"image": "{HARBOUR}", "question": "What?", "score": NaN}}': "NaN",
        f'{{"image": "{HARBOUR}", "question": "What?", "score": 1e999}}': "without end",
        '{"image": "a\\u0000b.png", "question": "What?"}': "no image file",
    }
    source = write(tmp_path / "in.jsonl", [ROWS[0], "", *bad, ROWS[2]])
    whole, said = run(source, target, chat)
    assert not whole
    assert [row["line"] for row in answered(target)] == [1, len(bad) + 3]
    for line, reason in enumerate(bad.values(), start=3):
        assert any(
            each.startswith(f"{source}, line {line}: ") and reason in each
            for each in said.splitlines()
        ), (line, said)
    assert f"Rows answered: 2, bad and skipped: {len(bad)}." in said
    assert cli.main(["batch", str(source), str(target)]) == 1  # and it tries them again


def test_many_rows_are_answered_at_a_time_and_written_as_they_end(
    photos: Path, target: Path, chat: LoadedChat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row that is held back longest comes last, though it was the first."""
    stream_answer, held_back = chat._chat.stream_answer, []

    def held(session, question, *rest):
        first = not held_back
        held_back.extend(session.pending)
        parts = list(stream_answer(session, question, *rest))
        if first:
            until(lambda: len(read(target)) == 23, 150)
        yield from parts

    monkeypatch.setattr(chat._chat, "stream_answer", held)
    whole, said = run(photos, target, chat, question=DESCRIBE)
    assert whole, said
    last = read(target)[-1]
    assert image_key(load_image(photos / str(last["image"]))) == held_back[0]


DESCRIBE = "Describe this image in detail."


def test_a_folder_of_pictures_is_asked_one_question(
    photos: Path, target: Path, chat: LoadedChat
) -> None:
    whole, said = run(photos, target, chat, question=DESCRIBE)
    assert whole
    assert "Rows answered: 24." in said
    told = answered(target)
    assert [row["image"] for row in told[:2]] == ["00.PNG", "02.PNG"]
    assert told[-1]["image"] == "summer/23.PNG"
    for row in told:
        assert set(row) == {"image", "question", "answer", "tokens", "seconds", "finish"}
        assert row["answer"] == chat.ask(photos / str(row["image"]), DESCRIBE)
    # Another picture moves none of those that are answered.
    draw_scene(make_scene(99), 224).save(photos / "0.png")
    whole, said = run(photos, target, chat, question=DESCRIBE)
    assert "Rows answered: 1, answered before: 24." in said


def test_rows_may_come_from_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their pictures start at the current folder, and the same rows go on where they were."""
    (tmp_path / "photo.png").write_bytes(Path(HARBOUR).read_bytes())
    monkeypatch.chdir(tmp_path)
    row = json.dumps({"image": "photo.png", "question": QUESTION})
    command = ["batch", "-", "out.jsonl", "--device", "cpu"]
    for lines, said in (([row], "answered: 1."), ([row, row], "answered: 1, answered before: 1.")):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("\n".join(lines).encode())))
        assert cli.main(command) == 0
        assert said in capsys.readouterr().err
    assert [row["answer"] for row in read(Path("out.jsonl"))] == [ANSWERS[0]] * 2
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert cli.main(command) == 2
    assert "cannot share standard input" in capsys.readouterr().err


def test_a_name_that_looks_like_a_home_is_a_name(
    tmp_path: Path, chat: LoadedChat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``batch .`` asks about ``~draft.png`` of this folder, not of the home of somebody."""
    (tmp_path / "~draft.png").write_bytes(Path(HARBOUR).read_bytes())
    monkeypatch.chdir(tmp_path)
    whole, said = run(Path(), Path("out.jsonl"), chat, question=QUESTION)
    assert whole, said
    assert [row["answer"] for row in read(Path("out.jsonl"))] == [ANSWERS[0]]


def test_a_folder_and_a_question_belong_together(
    photos: Path, source: Path, target: Path, chat: LoadedChat, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="Say what to ask"):
        run(photos, target, chat)
    with pytest.raises(ConfigError, match="this is no folder"):
        run(source, target, chat, question=DESCRIBE)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="no picture in this folder"):
        run(tmp_path / "empty", target, chat, question=DESCRIBE)
    run(photos, target, chat, question=DESCRIBE)
    with pytest.raises(ConfigError, match="answers no row"):
        run(photos, target, chat, question="Another question?")


def test_a_picture_of_a_folder_that_is_broken_is_told_by_name(
    photos: Path, target: Path, chat: LoadedChat
) -> None:
    (photos / "summer" / "broken.jpg").write_bytes(b"no picture")
    whole, said = run(photos, target, chat, question=DESCRIBE)
    assert not whole
    assert f"{photos}, summer/broken.jpg: " in said
    assert len(read(target)) == 24


def test_it_goes_on_where_it_was_interrupted(
    source: Path, target: Path, chat: LoadedChat, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream_answer, asked, again = chat._chat.stream_answer, [], []

    def interrupted(session, question, *rest):
        asked.append(question)
        if question == QUESTION_2 and not again:
            until(lambda: len(read(target)) == 2)
            raise KeyboardInterrupt
        return stream_answer(session, question, *rest)

    monkeypatch.setattr(chat._chat, "stream_answer", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(source, target, chat)
    assert len(read(target)) == 2
    assert not [each for each in threading.enumerate() if each.name.startswith("row")]
    with target.open("a", encoding="utf-8") as file:
        file.write('{"image": "half a li')  # as a crash in the middle of a write leaves it
    asked.clear()
    again.append(True)
    whole, said = run(source, target, chat)
    assert whole
    assert "Rows answered: 1, answered before: 2." in said
    assert [row["answer"] for row in answered(target)] == ANSWERS
    assert asked == [QUESTION_2]


QUESTION_2 = ROWS[1]["question"]


@pytest.mark.load
def test_a_run_that_is_killed_goes_on(photos: Path, target: Path, chat: LoadedChat) -> None:
    """Without a word of warning, with many rows in flight."""
    command = [sys.executable, "-m", "minigpt4", "batch", str(photos), str(target)]
    command += ["--question", DESCRIBE, "--device", "cpu"]
    with subprocess.Popen(
        command, cwd=Path(__file__).parents[1], stderr=subprocess.DEVNULL
    ) as killed:
        deadline = time.monotonic() + 150
        while not (target.exists() and target.read_bytes().count(b"\n") >= 2):
            assert time.monotonic() < deadline
            assert killed.poll() is None or target.read_bytes().count(b"\n") == 24
            time.sleep(0.001)
        with contextlib.suppress(ProcessLookupError):
            killed.send_signal(signal.SIGKILL)
    whole, _ = run(photos, target, chat, question=DESCRIBE)
    assert whole
    told = answered(target)
    assert len({row["image"] for row in told}) == len(told) == 24
    for row in told:
        assert row["answer"] == chat.ask(photos / str(row["image"]), DESCRIBE)


def test_an_interruption_stops_all_rows_soon(
    photos: Path, target: Path, chat: LoadedChat, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, begun = plan(photos, target, DESCRIBE), []

    def endless(session, question, settings, cancel):
        """The last row to begin presses Ctrl-C, once the main thread waits for an answer."""
        begun.append(question)
        last = len(begun) == min(len(work.rows), in_flight(chat.config))
        while not cancel.is_set():
            time.sleep(1 if last else 0.005)
            if last:
                signal.raise_signal(signal.SIGINT)
                last = False
            yield AnswerPart("", 1, 0.0)
        yield AnswerPart("half", 1, 0.0, "cancelled", session)

    monkeypatch.setattr(chat._chat, "stream_answer", endless)
    with target.open("w") as output:
        rows = batch.answer(chat, work, output, lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            next(rows)
    assert not [each for each in threading.enumerate() if each.name.startswith("row")]
    assert read(target) == []


def test_a_model_that_is_put_away_ends_the_run(
    photos: Path, target: Path, chat: LoadedChat, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(session, question, settings, cancel):
        yield AnswerPart("half", 1, 0.0, "cancelled", session)

    monkeypatch.setattr(chat._chat, "stream_answer", ended)
    ends: list[tuple[bool, str]] = []
    running = threading.Thread(
        target=lambda: ends.append(run(photos, target, chat, question=DESCRIBE)), daemon=True
    )
    running.start()
    running.join(60)
    ((whole, said),) = ends
    assert not whole
    assert said.count("put away") == 24
    assert read(target) == []


def test_a_refused_row_is_asked_again(
    source: Path, target: Path, chat: LoadedChat, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream_answer, refused = chat._chat.stream_answer, []

    def busy(session, question, *rest):
        if question not in refused:
            refused.append(question)
            raise BusyError
        return stream_answer(session, question, *rest)

    monkeypatch.setattr(chat._chat, "stream_answer", busy)
    whole, _ = run(source, target, chat)
    assert whole
    assert len(refused) == 3
    assert [row["answer"] for row in answered(target)] == ANSWERS


def test_the_reference_engine_will_do_too(photos: Path, target: Path, chat: LoadedChat) -> None:
    with load(device="cpu", overrides=["engine.kind=generate", "limits.queue_size=2"]) as other:
        whole, said = run(photos, target, other, question=DESCRIBE)
    assert whole, said
    for row in read(target):
        assert row["answer"] == chat.ask(photos / str(row["image"]), DESCRIBE)


def test_when_nothing_is_left_no_model_is_loaded(
    source: Path, target: Path, chat: LoadedChat
) -> None:
    run(source, target, chat)

    def refuse() -> LoadedChat:
        raise AssertionError

    said: list[str] = []
    assert batch.run(source, target, refuse, said.append)
    assert said == [f"Rows answered: 0, answered before: 3. The answers are in {target}"]


@pytest.mark.parametrize(
    "stranger", ["notes\n", "notes", '{"a": 1}', '{"line": 1, "answer": "x"}\n', "[]\n", "\n"]
)
def test_a_file_of_other_things_is_left_alone(
    stranger: str, source: Path, target: Path, chat: LoadedChat
) -> None:
    target.write_text(stranger)
    with pytest.raises(ConfigError, match="line 1: this answers no row of"):
        run(source, target, chat)
    assert target.read_text() == stranger


def test_answers_never_overwrite_the_questions(source: Path, chat: LoadedChat) -> None:
    before = source.read_bytes()
    with pytest.raises(ConfigError, match="cannot go into the file of the questions"):
        run(source, source, chat)
    assert source.read_bytes() == before
    with pytest.raises(MiniGPT4Error, match="cannot be written"):
        run(source, source.parent / "none" / "out.jsonl", chat)


def test_a_picture_is_looked_at_once(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with load(device="cpu") as chat:
        run(source, target, chat)
        statistics = chat._chat.statistics().encoder
    assert (statistics.encoded, statistics.cached) == (2, 1)
