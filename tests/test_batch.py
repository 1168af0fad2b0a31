"""`python -m minigpt4 batch`: answers, bad rows, and going on after an interruption."""

import json
from pathlib import Path

import pytest

from minigpt4 import batch, cli
from minigpt4.api import LoadedChat, load
from minigpt4.config import ASSETS
from minigpt4.errors import ConfigError, MiniGPT4Error

HARBOUR = str(ASSETS / "examples" / "harbour.png")
STREET = str(ASSETS / "examples" / "street.png")
QUESTION = "What color is the boat?"
ROWS: list[dict[str, object]] = [
    {"image": HARBOUR, "question": QUESTION, "id": 7},
    {"image": HARBOUR, "question": "How big is the boat?"},
    {"image": [STREET], "question": "What does the sign say?", "who": "Zoë"},
]
ANSWERS = ["The boat is red.", "The boat is large.", "The sign says CAFE."]


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


def run(source: Path, target: Path, chat: LoadedChat) -> tuple[bool, str]:
    said: list[str] = []
    return batch.run(source, target, lambda: chat, said.append), "\n".join(said)


def test_every_row_is_answered(source: Path, target: Path, chat: LoadedChat) -> None:
    whole, said = run(source, target, chat)
    assert whole
    assert said == f"Rows answered: 3. The answers are in {target}"
    told = read(target)
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
    }
    source = write(tmp_path / "in.jsonl", [ROWS[0], "", *bad, ROWS[2]])
    whole, said = run(source, target, chat)
    assert not whole
    assert [row["line"] for row in read(target)] == [1, len(bad) + 3]
    for line, reason in enumerate(bad.values(), start=3):
        assert any(
            each.startswith(f"{source}, line {line}: ") and reason in each
            for each in said.splitlines()
        ), (line, said)
    assert "Rows answered: 2, bad and skipped: 7." in said
    assert cli.main(["batch", str(source), str(target)]) == 1  # and it tries them again


def test_it_goes_on_where_it_was_interrupted(
    source: Path, target: Path, chat: LoadedChat, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream_answer, asked = chat._chat.stream_answer, []

    def interrupted(session, question, *rest):
        asked.append(question)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return stream_answer(session, question, *rest)

    monkeypatch.setattr(chat._chat, "stream_answer", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(source, target, chat)
    assert len(read(target)) == 1
    with target.open("a", encoding="utf-8") as file:
        file.write('{"image": "half a li')  # as a crash in the middle of a write leaves it
    whole, said = run(source, target, chat)
    assert whole
    assert "Rows answered: 2, answered before: 1." in said
    assert [row["answer"] for row in read(target)] == ANSWERS
    assert asked[1:] == [QUESTION_2, QUESTION_2, ROWS[2]["question"]]


QUESTION_2 = ROWS[1]["question"]


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


def test_a_picture_is_looked_at_once_for_rows_in_turn(
    source: Path, target: Path, chat: LoadedChat, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode, seen = chat._chat.encode_image, []
    monkeypatch.setattr(
        chat._chat, "encode_image", lambda image: seen.append(image) or encode(image)
    )
    run(source, target, chat)
    assert len(seen) == 2
