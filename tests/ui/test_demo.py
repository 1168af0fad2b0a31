"""demo.py from the outside, as a person starts it."""

import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

import demo
from minigpt4.server.app import reason
from tests.ports import free_port

SECONDS = 100  # a busy machine with two cores is slow
ROOT = Path(__file__).parents[2]
CONFIG = """\
model:
  preset: tiny
  prompt_format: tiny
  vision: {folder}/weights
  qformer: {folder}/weights
  language_model: {folder}
  projection: {folder}/weights
"""
WITH_A_FAKE = """\
import sys, types
from minigpt4.errors import CheckpointError
build = types.ModuleType("minigpt4.build")
def build_chat(config):
    if config.device == "mps":
        raise CheckpointError("These weights fit another model.")
    return types.SimpleNamespace(close=lambda: None)
build.build_chat = build_chat
sys.modules["minigpt4.build"] = build
import demo
sys.exit(demo.main(sys.argv[1:]))
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "weights").touch()
    path = tmp_path / "demo.yaml"
    path.write_text(CONFIG.format(folder=tmp_path))
    return path


def start(*arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WITH_A_FAKE, *map(str, arguments)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_help_imports_nothing_heavy():
    shown = subprocess.run(
        [sys.executable, "-X", "importtime", "demo.py", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for flag in ("--cfg-path", "--host", "--port", "--share", "--device", "--set"):
        assert flag in shown.stdout
    imported = {line.rsplit("|", 1)[-1].strip() for line in shown.stderr.splitlines()}
    assert imported.isdisjoint({"torch", "gradio", "transformers", "minigpt4"})


def test_the_flags_and_the_space(monkeypatch):
    for name in ("SPACE_ID", "MINIGPT4_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    plain = demo._parse([])
    assert (plain.host, plain.port, plain.share, plain.overrides) == ("127.0.0.1", 7860, False, [])
    assert Path(plain.cfg_path).is_file()
    monkeypatch.setenv("SPACE_ID", "somebody/minigpt4")
    monkeypatch.setenv("MINIGPT4_CONFIG", "other.yaml")
    space = demo._parse(["--set", "a.b=1", "--set", "c=2"])
    assert (space.host, space.cfg_path) == ("0.0.0.0", "other.yaml")
    assert space.overrides == ["a.b=1", "c=2"]


def test_every_problem_of_a_configuration_is_told(config, capsys):
    wrong = ["--set", "page.titel=x", "--set", "limits.queue_size=0", "--device", "gpu"]
    assert demo.main(["--cfg-path", str(config), *wrong]) == 2
    told = capsys.readouterr().err
    for part in ("Did you mean title?", "queue_size", "device"):
        assert part in told
    (config.parent / "weights").unlink()
    assert demo.main(["--cfg-path", str(config)]) == 2
    assert "model.projection" in capsys.readouterr().err


@pytest.mark.load
def test_the_page_is_served_until_an_interrupt(config, request):
    port = free_port()
    process = start("--cfg-path", config, "--port", port)
    request.addfinalizer(process.kill)
    said = []
    for line in process.stderr:
        said.append(line)
        if "ready" in line:
            break
    assert f"http://127.0.0.1:{port}/" in "".join(said)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=SECONDS) as answer:
        assert b"MiniGPT-4" in answer.read()
    folder = Path(f"/proc/{process.pid}/cwd")
    # What the page shows, and nothing else.
    assert not folder.exists() or [each.name for each in folder.iterdir()] == ["icon.png"]
    taken = start("--cfg-path", config, "--port", port)
    request.addfinalizer(taken.kill)
    assert f"Port {port} is in use." in taken.communicate(timeout=SECONDS)[1]
    assert taken.returncode == 1
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=SECONDS) == 0
    process.stderr.close()


@pytest.mark.load
def test_relative_paths_mean_the_folder_in_which_the_demo_was_started(config, tmp_path):
    shutil.copy(ROOT / "minigpt4" / "assets" / "examples" / "harbour.png", tmp_path / "mine.png")
    relative = config.read_text().replace(str(tmp_path), ".")
    config.write_text(f"{relative}page: {{examples: [{{picture: mine.png, question: Q}}]}}\n")
    code = WITH_A_FAKE.replace(
        "return types.SimpleNamespace(close=lambda: None)", "raise CheckpointError(repr(config))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "--cfg-path", "demo.yaml", "--port", str(free_port())],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    told = process.communicate(timeout=SECONDS)[1]
    assert f"picture='{tmp_path / 'mine.png'}'" in told
    assert f"projection='{tmp_path / 'weights'}'" in told


def test_only_gradios_words_mean_a_port_in_use():
    taken = OSError("Cannot find empty port in range: 7860-7860.")
    assert reason(taken, 7860).startswith("Port 7860 is in use.")
    other = OSError("Could not import the weights report")
    assert reason(other, 7860) == f"The server could not start: OSError: {other}"


@pytest.mark.load
def test_weights_that_do_not_fit_end_the_demo_in_one_sentence(config, request):
    process = start("--cfg-path", config, "--port", free_port(), "--device", "mps")
    request.addfinalizer(process.kill)
    told = process.communicate(timeout=SECONDS)[1]
    assert process.returncode == 1
    assert "These weights fit another model." in told
    assert "Traceback" not in told
