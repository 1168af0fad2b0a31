"""`train/run.py` as a person runs it: light help, both stages, resume, and errors without tracebacks."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from minigpt4.checkpoints.native import load_projection
from train.run import main
from train.run_folder import read_lines
from train.settings import ROOT, parts_overrides

HEAVY = {"torch", "transformers", "timm", "accelerate", "matplotlib", "PIL", "numpy", "yaml"}


@pytest.fixture
def parts(parts_folder: Path) -> list[str]:
    """What `--set` needs to train on the fixture's random parts, in three steps."""
    return [
        *parts_overrides(parts_folder),
        "schedule.steps=3",
        "schedule.warmup_steps=1",
        "batch_size=2",
        "check_every=2",
        "check_samples=2",
        "check_pictures=2",
        "check_tokens=4",
        "device=cpu",
    ]


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import runpy, sys\n"
        "sys.argv = ['train/run.py', '--help']\n"
        "try:\n"
        "    runpy.run_path('train/run.py', run_name='__main__')\n"
        "except SystemExit as done:\n"
        "    sys.stderr.write(f'{done.code} ' + ' '.join(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    code, *modules = done.stderr.split()
    assert code == "0"
    assert not HEAVY & set(modules)
    assert "--resume" in done.stdout
    assert all(f"--stage {stage}" in done.stdout for stage in (0, 1, 2))


def test_wrong_settings_are_told_at_once_from_any_folder(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "train/run.py", "--stage", "1", "--set", "batch_size=none"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "batch_size" in done.stderr
    assert "Traceback" not in done.stderr


def test_both_stages_run_one_after_the_other(
    tmp_path: Path,
    parts: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--stage", "1", "--set", *parts]) == 0
    said = capsys.readouterr().out
    assert "language model" in said
    assert "Projection: random (seed 0)" in said
    assert "--stage 2 --set start=runs/stage1/projection.safetensors" in said

    start = "start=runs/stage1/projection.safetensors"
    assert main(["--stage", "2", "--set", *parts, "--set", start]) == 0
    said = capsys.readouterr().out
    assert "(stage 1, step 3)" in said
    assert "python demo.py --set model.projection=runs/stage2/projection.safetensors" in said

    for stage, prompt_format in ((1, "caption"), (2, "tiny")):
        folder = Path(f"runs/stage{stage}")
        rows = read_lines(folder / "metrics.jsonl")
        assert [row["step"] for row in rows] == [1, 2, 3]
        speeds = {"samples_per_second", "tokens_per_second"}
        assert set(rows[0]) == {"step", "loss", "learning_rate", "seconds", *speeds}
        record = load_projection(folder / "projection.safetensors", torch.nn.Linear(128, 64))
        assert (record.stage, record.step, record.prompt_format) == (stage, 3, prompt_format)
        looks = read_lines(folder / "samples.jsonl")
        assert [row["step"] for row in looks] == [0, 0, 2, 2, 3, 3]
        assert all(row["true_answer"] and row["held_out_loss"] > 0 for row in looks)
        assert f"| true | {looks[0]['true_answer']} |" in (folder / "samples.md").read_text()
        assert (folder / looks[0]["picture"]).is_file()
        with Image.open(folder / "loss.png") as curve:
            assert curve.width > curve.height > 300


def test_a_second_run_gets_a_folder_of_its_own_and_resume_takes_the_newest(
    tmp_path: Path, parts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["--stage", "1", "--resume"]) == 1
    assert main(["--stage", "1", "--set", *parts, "schedule.steps=1"]) == 0
    assert main(["--stage", "1", "--set", *parts, "schedule.steps=1"]) == 0
    assert sorted(path.name for path in Path("runs").iterdir()) == ["stage1", "stage1-2"]
    assert main(["--stage", "1", "--resume"]) == 0
    assert main(["--stage", "2", "--resume", "--output", "runs/stage1"]) == 1


def test_a_run_is_not_overwritten(
    tmp_path: Path, parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--stage", "1", "--output", str(tmp_path), "--set", *parts, "schedule.steps=1"]
    assert main(arguments) == 0
    assert main(arguments) == 1
    assert "holds a run already" in capsys.readouterr().err


def test_resume_auto_begins_anew_what_was_killed_before_its_first_checkpoint(
    tmp_path: Path, parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    arguments = ["--stage", "1", "--output", str(folder), "--set", *parts]
    assert main(arguments) == 0
    for saved in ("checkpoint.safetensors", "projection.safetensors"):
        (folder / saved).unlink()
    with (folder / "metrics.jsonl").open("a") as lines:
        lines.write('{"step": 4, "lo')
    for picture in (folder / "samples").iterdir():  # of other data, or cut off
        picture.write_bytes(picture.read_bytes()[:50])
    (folder / "notes.txt").write_text("mine")

    assert main(arguments) == 1
    assert "holds a run already" in capsys.readouterr().err
    assert main([*arguments, "--resume", "auto"]) == 0
    assert [row["step"] for row in read_lines(folder / "metrics.jsonl")] == [1, 2, 3]
    looks = [row["step"] for row in read_lines(folder / "samples.jsonl")]
    assert looks == [0, 0, 2, 2, 3, 3]
    assert len(list((folder / "tensorboard").glob("events.*"))) == 1
    assert (folder / "notes.txt").is_file()


def test_stage_0_takes_no_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--stage", "0", "--set", "steps=3"]) == 1
    assert "no --set" in capsys.readouterr().err


def test_what_is_missing_is_told_in_a_sentence(
    tmp_path: Path, parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = "start=nowhere.safetensors"
    arguments = ["--stage", "2", "--output", str(tmp_path / "run"), "--set", *parts, nowhere]
    assert main(arguments) == 1
    assert "There is no projection at nowhere.safetensors" in capsys.readouterr().err
