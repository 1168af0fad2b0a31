"""The commands, from a file of questions to scores: with the embedded model, and without any."""

import json
import re
from pathlib import Path

import pytest

from minigpt4.config import ASSETS
from minigpt4.evaluation import answering
from minigpt4.evaluation.command import main
from tests.evaluation.conftest import Kept
from tests.evaluation.data import (
    aokvqa,
    draw,
    gqa,
    read_lines,
    write_json,
    write_lines,
)
from train.cartoon.draw import draw_scene
from train.cartoon.scene import make_scene

HARBOUR = ASSETS / "examples" / "harbour.png"


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("A model was loaded.")

    monkeypatch.setattr(answering, "load", refuse)


def pope_file(folder: Path) -> Path:
    """Write four questions about the harbour, which shows a boat and a sun and neither cat nor car."""
    (folder / "harbour.png").write_bytes(HARBOUR.read_bytes())
    rows = [("boat", "yes"), ("sun", "yes"), ("tree", "no"), ("car", "no")]
    return write_lines(
        folder / "pope.json",
        [
            {
                "question_id": number,
                "image": "harbour.png",
                "text": f"Is there a {thing} in the image?",
                "label": label,
            }
            for number, (thing, label) in enumerate(rows, start=1)
        ],
    )


def scores(output: Path, label: str = "model") -> dict[str, float]:
    told = json.loads((output / "scores.json").read_text())["models"][label]["scores"]
    return {name: score["value"] for name, score in told.items()}


def test_before_and_after_with_the_embedded_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both projections answer, each in its file; the second run asks nothing."""
    photos = draw(tmp_path / "photos", "a.png", "b.png")
    # The two projections are alike on many drawings; on this one they are known to differ.
    crowded = make_scene(9_000_012, min_things=6)
    draw_scene(crowded, 96).save(photos / "b.png")
    output = tmp_path / "out"
    command = ["failures", str(photos), "--output", str(output), "--device", "cpu"]
    for stage, name in ((1, "projection_stage1"), (2, "projection")):
        command += ["--projection", f"stage {stage}=assets:tiny/{name}.safetensors"]
    assert main(command) == 0
    first, second = (read_lines(output / f"answers.stage-{n}.jsonl") for n in (1, 2))
    assert {row["id"] for row in first} == {row["id"] for row in second} == {"a.png", "b.png"}
    assert [row["answer"] for row in first] != [row["answer"] for row in second]
    assert all(row["question"] == "Describe this image in detail." for row in first)
    written = capsys.readouterr()
    assert re.search(r"^failed +\d+\.\d % .*\d+\.\d % ", written.out, re.MULTILINE)
    assert written.err.count("Rows answered: 2.") == 2
    results = read_lines(output / "results.jsonl")
    answers = {row["id"]: row["answer"] for row in second}
    for row in results:
        assert row["answers"]["stage 2"]["answer"] == answers[row["id"]]
    failed = [row["answers"]["stage 1"]["mark"] == "wrong" for row in results]
    assert scores(output, "stage 1")["failed"] == sum(failed) / 2
    assert main(command) == 0
    assert capsys.readouterr().err.count("Rows answered: 0, answered before: 2.") == 2


def test_pope_with_the_embedded_model(tmp_path: Path, kept: Kept) -> None:
    output = tmp_path / "out"
    command = ["pope", str(pope_file(tmp_path)), "--output", str(output)]
    assert main(command) == 0
    assert scores(output)["accuracy"] == 1
    assert scores(output)["yes-ratio"] == 0.5
    answers = read_lines(output / "answers.jsonl")
    assert sorted(row["id"] for row in answers) == ["1", "2", "3", "4"]
    # Cut off in the middle of an answer, the next run asks that one alone.
    whole = (output / "answers.jsonl").read_text()
    (output / "answers.jsonl").write_text(whole[:-30])
    assert main(command) == 0
    again = read_lines(output / "answers.jsonl")
    assert again[:-1] == answers[:-1]
    assert again[-1]["answer"] == answers[-1]["answer"]
    assert "generation.temperature=0.0" in kept.loaded[0]
    assert "generation.seed=0" in kept.loaded[0]
    assert "engine.max_answers=64" in kept.loaded[0]


def test_answers_of_two_models_are_never_mixed(
    tmp_path: Path, kept: Kept, capsys: pytest.CaptureFixture[str]
) -> None:
    path, output = pope_file(tmp_path), tmp_path / "out"
    command = ["pope", str(path), "--output", str(output)]
    assert main(command) == 0
    assert main([*command, "--temperature", "0.5", "--max-new-tokens", "9"]) == 2
    told = capsys.readouterr().err
    assert (
        "answered with other settings (generation.max_new_tokens, generation.temperature)" in told
    )
    assert (
        main([*command, "--set", "model.projection=assets:tiny/projection_stage1.safetensors"]) == 2
    )
    assert "(model.projection, projection)" in capsys.readouterr().err
    assert main([*command, "--number", "2"]) == 2
    assert "holds answers to other questions" in capsys.readouterr().err
    assert main([*command, "--set", "engine.max_answers=3"]) == 0  # the same answers, only slower


def test_what_cannot_be_asked_is_told_and_left_out(
    tmp_path: Path, kept: Kept, capsys: pytest.CaptureFixture[str]
) -> None:
    path, output = pope_file(tmp_path), tmp_path / "out"
    rows = read_lines(path)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    rows += [{**rows[0], "question_id": 5, "image": "broken.png"}, {**rows[0], "question_id": 6}]
    rows[-1]["image"] = "nowhere.png"
    write_lines(path, [*rows, "{half"])
    assert main(["pope", str(path), "--output", str(output)]) == 1
    told = capsys.readouterr().err
    assert "line 7: This is no JSON." in told
    assert "line 5: " in told
    assert "There is no image file at this place" in told
    assert "model: 2 of 6 items have no answer." in told
    assert scores(output)["accuracy"] == 1
    assert [row["answers"]["model"] is None for row in read_lines(output / "results.jsonl")] == [
        *[False] * 4,
        *[True] * 2,
    ]


@pytest.mark.usefixtures("no_model")
def test_a_wrong_folder_of_pictures_is_told_before_a_model_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = pope_file(tmp_path)
    (tmp_path / "empty").mkdir()
    command = ["pope", str(path), "--output", str(tmp_path / "out")]
    assert main([*command, "--images", str(tmp_path / "empty")]) == 2
    assert "None of the 4 pictures is there" in capsys.readouterr().err
    assert main(["pope", str(tmp_path / "no.json"), "--output", str(tmp_path / "out")]) == 2
    assert main([*command, "--projection", "nothing"]) == 2
    assert 'expected such as "stage 1=FILE"' in capsys.readouterr().err
    assert main([*command, "--projection", "a b=x.pt", "--projection", "a-b=y.pt"]) == 2
    assert "differ in no letter" in capsys.readouterr().err


@pytest.mark.usefixtures("no_model")
@pytest.mark.parametrize(
    "rows",
    [
        [{"question_id": 1, "text": "Yes."}, {"question_id": 2, "text": "No."},
         {"question_id": 3, "text": "No."}, {"question_id": 4, "text": "No."}],
        [{"id": "4", "answer": "no"}, {"id": "3", "answer": "no"},
         {"id": "2", "answer": "no"}, {"id": "1", "answer": "yes"}],
        [{"question": "?", "answer": answer} for answer in ("yes", "no", "no", "no")],
    ],
    ids=["LLaVA's", "ours", "POPE's, in order"],
)  # fmt: skip
def test_answers_of_others_are_judged_without_a_model(tmp_path: Path, rows: list[dict]) -> None:
    """Three of four are right, and the sun was missed."""
    path, output = pope_file(tmp_path), tmp_path / "out"
    command = ["score", "pope", str(path), "--output", str(output), "--answers"]
    assert main([*command, f"theirs={write_lines(tmp_path / 'a.jsonl', rows)}"]) == 0
    assert scores(output, "theirs")["accuracy"] == 0.75
    assert scores(output, "theirs")["recall"] == 0.5
    listed = write_json(tmp_path / "a.json", rows)
    assert main([*command, f"theirs={listed}"]) == 0
    assert scores(output, "theirs")["accuracy"] == 0.75


@pytest.mark.usefixtures("no_model")
def test_what_others_left_out_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, output = pope_file(tmp_path), tmp_path / "out"
    rows = [
        {"question_id": 1, "answer": "Yes."},
        {"question_id": 1, "answer": "No."},
        {"question_id": 9, "answer": "No."},
        {"question_id": 2},
    ]
    answers = write_lines(tmp_path / "a.jsonl", rows)
    command = ["score", "pope", str(path), "--output", str(output), "--answers"]
    assert main([*command, f"a={answers}"]) == 1
    told = capsys.readouterr().err
    assert "line 2: '1' is answered already" in told
    assert "line 3: '9' is none of the questions" in told
    assert "line 4: No answer" in told
    assert "a: 3 of 4 items have no answer." in told
    assert scores(output, "a")["accuracy"] == 1
    write_lines(answers, [{"answer": "yes"}])
    assert main([*command, f"a={answers}"]) == 2
    assert "1 rows without ids for 4 questions" in capsys.readouterr().err
    write_lines(answers, [{"question_id": 9, "answer": "yes"}])
    assert main([*command, f"a={answers}"]) == 1
    assert "no item was answered" in capsys.readouterr().err


@pytest.mark.usefixtures("no_model")
def test_several_processes_are_refused_and_may_have_the_questions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    command = ["pope", str(pope_file(tmp_path)), "--output", str(tmp_path / "out")]
    assert main(command) == 2
    assert "Several processes were started" in capsys.readouterr().err
    assert main([*command, "--questions-only"]) == 0
    rows = read_lines(tmp_path / "out" / "questions.jsonl")
    assert [row["id"] for row in rows] == ["1", "2", "3", "4"]
    assert rows[0]["question"] == "Is there a boat in the image?"
    assert Path(rows[0]["image"]) == tmp_path / "harbour.png"


@pytest.mark.usefixtures("no_model")
def test_predictions_of_aokvqa_are_read(tmp_path: Path) -> None:
    path, output = aokvqa(tmp_path), tmp_path / "out"
    said = {"direct_answer": "ping pong", "multiple_choice": "golf"}
    answers = write_json(tmp_path / "a.json", {"easy": said})
    command = ["score", "vqa", str(path), "--output", str(output), "--answers", f"a={answers}"]
    assert main(command) == 0
    assert scores(output, "a")["accuracy"] == pytest.approx(2 / 3, abs=1e-6)
    assert main([*command, "--multiple-choice"]) == 1  # the hard question has no answer
    assert scores(output, "a")["accuracy"] == 0


@pytest.mark.usefixtures("no_model")
def test_an_object_of_answers_is_read(tmp_path: Path) -> None:
    path, output = gqa(tmp_path), tmp_path / "out"
    answers = write_json(tmp_path / "a.json", {"201": "The red.", "202": "yes"})
    command = ["score", "vqa", str(path), "--output", str(output), "--answers", f"a={answers}"]
    assert main(command) == 0
    assert scores(output, "a")["accuracy"] == 0.5


@pytest.mark.parametrize(
    "command", [[], ["vote"], ["pope"], ["pope", "a.json", "--output", "x", "--number", "0"]]
)
def test_wrong_usage_ends_with_2(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_an_interrupt_ends_with_130(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: Kept
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(answering.batch, "run", interrupt)
    assert main(["pope", str(pope_file(tmp_path)), "--output", str(tmp_path / "out")]) == 130


def test_a_damaged_record_is_told_and_a_kill_damages_none(
    tmp_path: Path,
    kept: Kept,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = ["pope", str(pope_file(tmp_path)), "--output", str(tmp_path / "out")]
    assert main(command) == 0
    record = tmp_path / "out" / "run.json"
    whole = record.read_text()

    def killed(path: Path, *_: object, **__: object) -> None:
        path.write_bytes(b"")
        raise KeyboardInterrupt

    with monkeypatch.context() as moment:
        moment.setattr(Path, "write_text", killed)
        assert main(command) == 130
    assert record.read_text() == whole
    assert main(command) == 0
    record.write_text(whole[:20])
    assert main(command) == 2
    assert "this is no JSON, so nobody knows which model answered" in capsys.readouterr().err


@pytest.mark.usefixtures("no_model")
def test_an_output_that_is_a_file_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = pope_file(tmp_path)
    answers = write_lines(tmp_path / "a.jsonl", [{"question_id": 1, "answer": "Yes."}])
    command = ["score", "pope", str(path), "--answers", f"a={answers}", "--output", str(answers)]
    assert main(command) == 2
    assert "a.jsonl: cannot be made" in capsys.readouterr().err
