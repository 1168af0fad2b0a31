"""Several processes share every batch, and train what one process trains."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from train import run
from train.run_folder import RunFolder, read_lines

pytestmark = [pytest.mark.load, pytest.mark.timeout(480)]

ROOT = Path(__file__).parents[2]
SETTINGS = (
    "batch_size=5", "accumulation=2", "schedule.steps=6", "schedule.warmup_steps=2",
    "save_every=3", "check_every=6", "check_samples=2", "check_pictures=1", "check_tokens=4",
    "device=cpu",
)  # fmt: skip


def arguments(output: Path, *more: str) -> list[str]:
    return ["--stage", "2", "--output", str(output), "--set", *SETTINGS, *more]


def torchrun(output: Path, *more: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    command += ["--standalone", "train/run.py", *arguments(output, *more)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def losses(folder: Path) -> list[float]:
    return [row["loss"] for row in read_lines(RunFolder(folder).metrics)]


def same_projections(one: Path, other: Path) -> None:
    ours, theirs = (load_file(RunFolder(each).projection) for each in (one, other))
    for name, tensor in ours.items():
        # Adam divides by the size of a gradient, which enlarges the rounding of its sum.
        torch.testing.assert_close(theirs[name], tensor, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def one_process(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one") / "run"
    assert run.main(arguments(folder)) == 0
    return folder


def test_two_processes_train_what_one_trains(one_process: Path, tmp_path: Path) -> None:
    folder = tmp_path / "two"
    done = torchrun(folder)
    said, complaints = done.communicate(timeout=300)
    assert done.returncode == 0, complaints[-2000:]
    assert losses(folder) == pytest.approx(losses(one_process), rel=1e-5)
    same_projections(one_process, folder)
    assert "2 processes" in said
    assert said.count("Done: 6 steps") == 1  # the second process keeps quiet
    assert len(read_lines(RunFolder(folder).metrics)) == 6  # and writes nothing


def test_a_language_model_shared_out_by_accelerates_file_trains_what_a_whole_one_trains(
    one_process: Path, tmp_path: Path
) -> None:
    """FSDP with the shipped file, on two CPU processes."""
    folder = tmp_path / "shared"
    command = [sys.executable, "-m", "accelerate.commands.launch"]
    command += ["--config_file", "train/configs/fsdp.yaml", "--main_process_port", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "train/run.py", *arguments(folder)],
        cwd=ROOT,
        env=environment,
        text=True,
        capture_output=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    held, total = re.search(r"holds ([\d,]+) of their ([\d,]+) weights", done.stdout).groups()
    assert 2 * int(held.replace(",", "")) == int(total.replace(",", ""))
    assert losses(folder) == pytest.approx(losses(one_process), rel=1e-5)
    same_projections(one_process, folder)
    # Both processes had to answer, and one wrote it down.
    looks, expected = (
        [(row["step"], row["answer"]) for row in read_lines(RunFolder(each).samples)]
        for each in (folder, one_process)
    )
    assert looks == expected
    assert [step for step, _ in looks] == [0, 6]


def test_what_cannot_be_shared_out_is_told_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "1")
    monkeypatch.setenv("FSDP_CPU_RAM_EFFICIENT_LOADING", "true")
    assert run.main(arguments(tmp_path / "run", "precision=float16")) == 1
    told = capsys.readouterr().err
    for problem in ("fsdp_version: expected 2", "efficient_loading: expected false", "precision"):
        assert problem in told
    assert "train/configs/fsdp.yaml is a file that works" in told
    assert not (tmp_path / "run").exists()


def test_a_run_stopped_with_two_processes_goes_on_with_one(
    one_process: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "stopped"
    # The look after the first step takes far longer than the signal does, on a busy machine too.
    begun = torchrun(folder, "check_every=1", "check_pictures=3", "check_tokens=100")
    deadline = time.monotonic() + 200
    while not RunFolder(folder).metrics.is_file() and time.monotonic() < deadline:
        time.sleep(0.01)
    begun.send_signal(signal.SIGTERM)
    _, complaints = begun.communicate(timeout=200)
    steps = len(losses(folder))
    header = json.loads(_header(RunFolder(folder).checkpoint))
    assert header["position"]["step"] == steps >= 1, complaints[-2000:]
    assert (begun.returncode == 0) == (steps == 6)
    assert run.main([*arguments(folder), "--resume", "auto"]) == 0
    assert losses(folder) == pytest.approx(losses(one_process), rel=1e-5)
    same_projections(one_process, folder)


def _header(path: Path) -> str:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        (content,) = file.metadata().values()
    return content


def test_more_processes_than_samples_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from train import loop

    class Crowd:
        num_processes = 6

        def __init__(self, **_: object) -> None: ...

    monkeypatch.setattr(loop, "Accelerator", Crowd)
    assert run.main(arguments(tmp_path / "run")) == 1
    told = capsys.readouterr().err
    assert "6 processes were started for batches of 5" in told
    assert "raise batch_size" in told
