"""`train/run.py --data` as a person runs it: it trains, resumes, checks, and tells what it drops."""

import json
from pathlib import Path

import pytest
from PIL import Image

from train.run import main
from train.run_folder import append_lines, read_lines
from train.settings import OWN_DATA_CONFIGS, ROOT, load_settings
from train.stages import check_own_data

EXAMPLE = ROOT / "examples/own_data"


@pytest.mark.parametrize("stage", [1, 2])
def test_the_example_trains_and_resumes(
    tmp_path: Path, parts: list[str], capsys: pytest.CaptureFixture[str], stage: int
) -> None:
    def run(name: str, *options: str) -> tuple[int, str]:
        arguments = ["--stage", str(stage), "--output", str(tmp_path / name), *options]
        code = main(arguments)
        return code, "".join(capsys.readouterr())

    data = ["--data", str(EXAMPLE / "data.jsonl")]
    code, said = run("a", *data, "--set", *parts, "schedule.steps=4")
    assert code == 0
    assert "JSON lines; 20 rows, 20 of them usable, with 20 pictures." in said
    assert "19 samples to learn from, 1 held out; 4 steps of 8 are 1.7 epochs." in said
    assert "Looks at 20 pictures once" in said
    assert "held-out loss" in said
    assert (tmp_path / "a/dropped_rows.jsonl").read_text() == ""
    record = json.loads((tmp_path / "a/data.json").read_text())
    assert (record["usable"], record["dropped"]) == (20, {})
    sides = [row["side"] for row in read_lines(tmp_path / "a/samples.jsonl")]
    assert sides == ["held out", *["learned from"] * 4] * 2

    assert run("a", "--resume", *data)[0] == 0
    code, said = run("a", "--resume", "--data", "other.jsonl")
    assert code == 1
    assert "was begun with" in said


def test_a_run_goes_on_with_the_samples_it_stopped_before(
    tmp_path: Path, data: Path, parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    def losses(name: str) -> list[float]:
        return [row["loss"] for row in read_lines(tmp_path / name / "metrics.jsonl")]

    fixed = [
        "--stage",
        "2",
        "--data",
        str(data),
        "--set",
        *parts,
        "schedule.steps=6",
        "batch_size=7",
    ]
    assert main([*fixed, "save_every=3", "--output", str(tmp_path / "a")]) == 0
    assert main([*fixed, "save_every=3", "--output", str(tmp_path / "b")]) == 0
    assert losses("a") == losses("b")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.loop._check_skipped", _kill_at(5))
        with pytest.raises(RuntimeError, match="killed"):
            main([*fixed, "save_every=3", "--output", str(tmp_path / "c")])
    assert main(["--stage", "2", "--resume", "--output", str(tmp_path / "c")]) == 0
    assert losses("c") == losses("a")

    data.write_text(data.read_text().replace("red 7", "blue 7"))
    capsys.readouterr()
    assert main(["--stage", "2", "--resume", "--output", str(tmp_path / "c")]) == 1
    assert "was begun with 30 other rows" in capsys.readouterr().err


def _kill_at(step: int):
    def check(_run: object, position: object) -> None:
        if position.step == step:  # type: ignore[attr-defined]
            raise RuntimeError("killed")

    return check


def test_dropped_rows_are_written_down(tmp_path: Path, data: Path, parts: list[str]) -> None:
    rows = [f'{{"image": "1.png", "answer": "Number {number}."}}' for number in range(120)]
    data.write_text("\n".join([*rows, '{"image": "1.png"}']))
    run = ["--stage", "2", "--output", str(tmp_path / "run"), "--data", str(data)]
    assert main([*run, "--set", *parts, "schedule.steps=1"]) == 0
    assert read_lines(tmp_path / "run/dropped_rows.jsonl") == [
        {
            "line": 121,
            "cause": "no answer",
            "problem": "answer is missing. Given: image.",
            "row": '{"image": "1.png"}',
        }
    ]


def test_check_data_trains_nothing(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    check = ["--stage", "2", "--check-data", "--data", str(data), "--set"]
    check.append(f"model.language_model={tmp_path / 'nowhere'}")
    assert main(check) == 1
    assert "nowhere cannot be read" in capsys.readouterr().err
    assert main(["--stage", "2", "--check-data"]) == 1
    assert "--check-data needs --data" in capsys.readouterr().err
    assert main(["--stage", "0", "--data", str(data)]) == 1
    assert "no --data" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_check_data_tells_and_returns_what_training_would(
    tmp_path: Path, data: Path, parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    check = ["--stage", "2", "--check-data", "--data", str(data), "--set", *parts]
    assert main(check) == 0
    assert "30 rows, 30 of them usable, with 6 pictures." in capsys.readouterr().out
    data.write_text(data.read_text() + '{"image": "9.png", "answer": "A."}\n')
    assert main(check) == 1
    said = capsys.readouterr()
    assert "line 31: missing picture" in said.out
    assert "3.23 % of the rows cannot be used" in said.err
    assert not (tmp_path / "runs").exists()

    rows = [json.loads(row) for row in data.read_text().splitlines()]
    talk = {"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A."}]}
    data.write_text(json.dumps([talk, *rows]))
    assert main(check) == 1
    said = capsys.readouterr().out
    assert "32 rows, 30 of them usable" in said
    assert "1 row without a picture: text only, passed over." in said
    assert "line 1, entry 32: missing picture" in said


def test_the_example_is_small_and_right(parts: list[str]) -> None:
    files = [path for path in EXAMPLE.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 400_000
    for picture in EXAMPLE.glob("pictures/*.png"):
        with Image.open(picture) as image:
            assert image.size == (224, 224)
    for stage in (1, 2):
        data = f"own_data.path={EXAMPLE}"  # the folder will do
        checked = check_own_data(load_settings(OWN_DATA_CONFIGS[stage], [*parts, data]))
        assert (len(checked.rows), checked.pictures, checked.faults) == (20, 20, ())
        assert checked.cut == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full disk here")
def test_a_disk_that_is_full_between_two_saves_is_told(
    tmp_path: Path,
    data: Path,
    parts: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    full = lambda _path, rows: append_lines(Path("/dev/full"), rows)  # noqa: E731
    run = ["--stage", "2", "--output", str(tmp_path / "run"), "--data", str(data)]
    run += ["--set", *parts, "schedule.steps=2"]
    with monkeypatch.context() as patch:
        patch.setattr("train.loop.append_lines", full)
        assert main(run) == 1
    said = capsys.readouterr().err
    assert "The disk takes no more: No space left on device." in said
    assert "Make room, then go on with --resume auto." in said
    assert main([*run, "--resume", "auto"]) == 0
