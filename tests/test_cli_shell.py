"""`python -m minigpt4 serve` from outside, and what shells complete of all the commands."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from minigpt4 import cli
from tests.ports import free_port

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_is_a_script_of_that_shell(
    shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["completion", shell]) == 0
    script = tmp_path / "completion"
    script.write_text(capsys.readouterr().out, encoding="utf-8")
    if not shutil.which(shell):
        pytest.skip(f"There is no {shell} on this machine.")
    subprocess.run([shell, "-n", str(script)], check=True)


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["b"], {"batch"}),
        (["ask", "--te"], {"--temperature"}),
        (["serve", "--s"], {"--set", "--share"}),
        (["completion", ""], {"bash", "zsh"}),
        (["ask", "--cfg-path", "mi"], {"mine.yaml"}),
        (["ask", "har"], {"harbour.png"}),
        (["batch", "questions.jsonl", "ans"], {"answers.jsonl"}),
    ],
)
def test_bash_completes(
    words: list[str],
    offered: set[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cli.main(["completion", "bash"])
    script = capsys.readouterr().out
    for name in ("mine.yaml", "harbour.png", "questions.jsonl", "answers.jsonl"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    line = shlex.join(["minigpt4", *words])
    pressed = (
        f"COMP_WORDS=({line}); COMP_CWORD={len(words)}; "
        "eval \"$(complete -p minigpt4 | sed 's/.*-F \\([^ ]*\\).*/\\1/')\"; "
        'printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "-c", f"{script}\n{pressed}"], capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) == offered, done.stderr


@pytest.mark.load
def test_serve_is_page_and_programs_in_one(tmp_path: Path) -> None:
    """The command itself: from the start to an answer over HTTP and a quiet end."""
    port = free_port()
    command = [sys.executable, "-m", "minigpt4", "serve", "--port", str(port), "--device", "cpu"]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "MINIGPT4_API_KEYS": "one,two"},
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stderr is not None
        try:
            said = []
            for line in server.stderr:
                said.append(line)
                if "is ready" in line:
                    break
            told = "".join(said)
            assert f"http://127.0.0.1:{port}/v1" in told, told
            address = f"http://127.0.0.1:{port}"
            with httpx.Client(base_url=address, timeout=60, trust_env=False) as http:
                assert "MiniGPT-4" in http.get("/").text
                assert http.get("/readyz").status_code == 200
                assert http.get("/v1/models").status_code == 401
                asked = {"model": "tiny", "messages": [{"role": "user", "content": "Hello?"}]}
                key = {"Authorization": "Bearer two"}
                answer = http.post("/v1/chat/completions", json=asked, headers=key)
                assert answer.status_code == 200, answer.text
                assert answer.json()["choices"][0]["message"]["content"]
        finally:
            server.send_signal(signal.SIGINT)
        rest = server.stderr.read()
        assert server.wait(100) == 0, rest
        assert "Traceback" not in rest
