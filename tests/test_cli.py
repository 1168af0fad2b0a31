"""`python -m minigpt4 ask` and `chat`, and every example of docs/python.md."""

import io
import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from minigpt4 import cli, terminal
from minigpt4.api import LoadedChat, load
from minigpt4.config import ASSETS
from minigpt4.errors import ImageError
from tests.engines.asking import slow_down
from tests.truth import true_answer

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs" / "python.md"
EXAMPLES = ASSETS / "examples"
HARBOUR = str(EXAMPLES / "harbour.png")
STREET = str(EXAMPLES / "street.png")
QUESTION = "What color is the boat?"
ANSWER = true_answer("harbour", QUESTION)
HEAVY = ("torch", "transformers", "timm", "numpy", "PIL", "gradio", "fastapi", "starlette")


@pytest.fixture(scope="module")
def chat() -> LoadedChat:
    return load(device="cpu")


def shell_examples(page: Path) -> list[str]:
    """Every call of `python -m minigpt4` in the code of a page, with what is piped into it."""
    text = page.read_text(encoding="utf-8")
    lines = [line.partition("  #")[0].strip() for line in text.splitlines()]
    lines += re.findall(r"`(python -m [^`]+)`", text)
    return [line for line in lines if re.match(r"((cat|echo) .+ \| )?python -m minigpt4 ", line)]


@pytest.mark.parametrize(
    "command", ["", "ask", "chat", "batch", "serve", "doctor", "save", "push", "completion"]
)
def test_help_teaches_and_imports_nothing_heavy(command: str) -> None:
    code = (
        "import sys; from minigpt4.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: code = end.code\n"
        f"assert not set({HEAVY}) & sys.modules.keys(); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command.split(), "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "python -m minigpt4" in done.stdout
    assert "examples:" in done.stdout
    assert "exit codes:" in done.stdout or command == "completion"


def test_it_answers(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ask", HARBOUR, QUESTION, "--device", "cpu"]) == 0
    assert capsys.readouterr().out == f"{ANSWER}\n"


def test_it_answers_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    command = ["ask", HARBOUR, "--json", STREET, QUESTION, "--set", "device=cpu"]
    assert cli.main(command) == 0
    told = json.loads(capsys.readouterr().out)
    assert told.keys() == {"answer", "tokens", "seconds", "finish", "notice"}
    assert told["answer"]
    assert told["finish"] == "stop"
    assert told["tokens"] > 0
    assert told["seconds"] > 0


def test_flags_are_settings_of_the_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--max-new-tokens", "2", "--json", "--cfg-path", str(ROOT / "eval_configs/tiny.yaml")]
    assert cli.main(["ask", *flags, HARBOUR, QUESTION]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["finish"], told["tokens"]) == ("length", 2)


def test_it_reads_standard_input_in_a_process_of_its_own() -> None:
    """The whole of it: module, pipe, answer, and a standard output that holds nothing else."""
    done = subprocess.run(
        [sys.executable, "-m", "minigpt4", "ask", "-", QUESTION],
        cwd=ROOT,
        input=Path(HARBOUR).read_bytes(),
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, f"{ANSWER}\n".encode()), done.stderr


def test_the_question_may_come_from_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = io.BytesIO(f"{QUESTION}\n".encode())
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(data))
    assert cli.main(["ask", HARBOUR, "-", "--device", "cpu"]) == 0
    assert capsys.readouterr().out == f"{ANSWER}\n"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["ask", "nowhere.png", "What?"], 1, "nowhere.png: There is no image file"),
        (["ask", str(ROOT / "README.md"), "What?"], 1, "README.md: "),
        (["ask", HARBOUR, " "], 1, "type a question"),
        (["chat", "nowhere.png"], 1, "nowhere.png: There is no image file"),
        (["ask", HARBOUR, "What?", "--temperature", "9"], 2, "generation.temperature: 9.0 given"),
        (["ask", HARBOUR, "What?", "--device", "gpu"], 2, "device: 'gpu' given"),
        (["ask", HARBOUR, "What?", "--cfg-path", "tinny"], 2, "Did you mean tiny?"),
        (["ask", HARBOUR, "What?", "--cfg-path", "none.yaml"], 2, "there is no such file"),
        (["doctor", "--cfg-path", "tinny"], 2, "Did you mean tiny?"),
        (["serve", "--cfg-path", "tinny"], 2, "Did you mean tiny?"),
        (["serve", "--set", "server.metrics=all"], 2, "local, everyone or off"),
        (["serve", "--device", "gpu"], 2, "device: 'gpu' given"),
    ],
)
def test_failures_are_one_sentence_and_an_exit_code(
    arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == code
    written = capsys.readouterr()
    assert written.out == ""
    assert said in written.err
    assert "Traceback" not in written.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "required: COMMAND"),
        (["aks"], "invalid choice"),
        (["ask"], "required"),
        (["ask", "photo.png"], "expected pictures and a question"),
        (["ask", "photo.png", "--jsn", "What?"], "unrecognized arguments: --jsn"),
        (["ask", "-", "-", "What?"], "one picture only"),
        (["ask", "-", "-"], "or the question"),
        (["batch", "questions.jsonl", "-"], "into a file"),
        (["ask", "photo.png", "What?", "--seed", "x"], "invalid int"),
        (["doctor", "photo.png"], "unrecognized arguments: photo.png"),
        (["serve", "--port", "x"], "invalid int"),
        (["completion", "fish"], "invalid choice"),
    ],
)
def test_wrong_usage_ends_with_two(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_terminal_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    for command in (["ask", "-", "What?"], ["ask", HARBOUR, "-"], ["batch", "-", "out.jsonl"]):
        with pytest.raises(SystemExit):
            cli.main(command)
        assert "from a pipe" in capsys.readouterr().err


def test_an_interrupt_ends_it_quietly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "load", interrupted)
    assert cli.main(["ask", HARBOUR, "What?"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_reader_that_leaves_is_no_traceback() -> None:
    command = shlex.join([sys.executable, "-m", "minigpt4", "doctor"])
    shell = f"set -o pipefail; {command} | true"
    done = subprocess.run(["bash", "-c", shell], cwd=ROOT, capture_output=True, check=False)
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr


def test_doctor_takes_names_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--cfg-path", "tiny"]) == 0
    assert cli.main(["doctor"]) == 0
    assert capsys.readouterr().out
    assert cli.main(["doctor", "--cfg-path", "minigpt4_vicuna_7b"]) == 1
    assert "vicuna-7b" in capsys.readouterr().out


def typed(*lines: str | Callable[[], str]) -> Callable[[str], str]:
    """A person who types these lines and then leaves by Ctrl-D."""
    rest = iter(lines)

    def read_line(_prompt: str) -> str:
        line = next(rest, None)
        if line is None:
            raise EOFError
        return line if isinstance(line, str) else line()

    return read_line


def test_a_chat_in_the_terminal(chat: LoadedChat, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        QUESTION,
        "How big is it?",
        "/undo",
        "",
        "/new",
        f"/picture '{STREET}'",
        "What does the sign say?",
        "/quit",
        "never reached",
    ]
    terminal.talk(chat, [HARBOUR], typed(*lines))
    written = capsys.readouterr()
    assert written.out.splitlines() == [
        ANSWER,
        true_answer("harbour", "How big is it?", about="boat"),
        true_answer("street", "What does the sign say?"),
    ]
    assert "Taken back: How big is it?" in written.err
    assert "is attached to your next question" in written.err


def test_what_goes_wrong_in_a_chat_does_not_end_it(
    chat: LoadedChat, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt() -> str:
        raise KeyboardInterrupt

    lines = ["/picture", "/picture nowhere.png", "/foo", "/undo", "/help", interrupt, "x" * 3000]
    terminal.talk(chat, [HARBOUR], typed(*lines, QUESTION))
    written = capsys.readouterr()
    assert written.out == f"{ANSWER}\n"
    for said in (
        "Which one?",
        "nowhere.png: There is no image file",
        "There is no command /foo",
        "no turn",
        "/quit leaves",
        "the limit is 2,000",
    ):
        assert said in written.err
    with pytest.raises(ImageError):
        terminal.talk(chat, ["nowhere.png"], typed())


def test_ctrl_c_stops_the_answer_and_the_chat_goes_on(
    chat: LoadedChat, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGINT)
    whole = chat.ask(HARBOUR, "Describe this image in detail.")
    stream_answer = chat._chat.stream_answer
    slow_down(chat._chat._engine, monkeypatch, 0.1)
    pressed = []

    def pressing(*args, **kwargs):
        for part in stream_answer(*args, **kwargs):
            if not pressed:
                pressed.append(part)
                signal.raise_signal(signal.SIGINT)
            yield part

    monkeypatch.setattr(chat._chat, "stream_answer", pressing)
    terminal.talk(chat, [HARBOUR], typed("Describe this image in detail.", QUESTION))
    written = capsys.readouterr()
    first, second = written.out.splitlines()
    assert whole.startswith(first)
    assert len(first) < len(whole)
    assert second == ANSWER
    assert "Stopped; the answer so far is kept." in written.err
    assert signal.getsignal(signal.SIGINT) is before


def test_an_answer_cannot_command_the_terminal(
    chat: LoadedChat, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    *_, last = chat.conversation(HARBOUR).parts(QUESTION)
    part = type(last)("a\x1b[2Jb\nc", 3, 0.1, "stop", last.session)
    monkeypatch.setattr(chat._chat, "stream_answer", lambda *_args, **_kwargs: iter([part]))
    terminal.ask(chat, [HARBOUR], QUESTION, as_json=False)
    assert capsys.readouterr().out == "a[2Jb\nc\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the pictures that the guide's examples name, and their working directory."""
    for name in ("photo.png", "harbour.png"):
        shutil.copy(HARBOUR, tmp_path / name)
    shutil.copy(STREET, tmp_path / "street.png")
    row = re.search(r"```json\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert row is not None
    (tmp_path / "questions.jsonl").write_text(row[1], encoding="utf-8")
    (tmp_path / "photos").mkdir()
    shutil.copy(HARBOUR, tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_python_of_the_guide_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One block after the other, as a reader would type them; `# ->` tells what is printed."""
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 4
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, str(GUIDE), "exec"), names)  # our own page
        written = capsys.readouterr().out
        for expected in re.findall(r"# -> (.+)", block):
            assert expected in written, (expected, written)


def test_the_python_of_the_readme_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"^    from minigpt4 import load\n(?:    .*\n)+", text, re.MULTILINE)
    assert found is not None
    exec(textwrap.dedent(found[0]), {})  # our own page
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("page", [GUIDE, ROOT / "README.md"], ids=lambda page: page.name)
def test_the_commands_of_the_pages_run(
    page: Path,
    folder: Path,
    chat: LoadedChat,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    examples = shell_examples(page)
    assert examples
    monkeypatch.setattr("builtins.input", typed())
    for example in examples:
        piped, _, command = example.rpartition("| ")
        what, *pipe = shlex.split(piped) or ["echo"]
        data = (folder / pipe[0]).read_bytes() if what == "cat" else " ".join(pipe).encode()
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))
        arguments = shlex.split(command)[3:]
        if arguments[0] == "doctor":
            monkeypatch.chdir(ROOT)
        code = cli.main(arguments)
        assert code == 0, (example, capsys.readouterr().err)
        monkeypatch.chdir(folder)
