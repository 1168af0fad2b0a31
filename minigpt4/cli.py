"""What the commands of `python -m minigpt4` do; `minigpt4.commands` has their options.

Exit codes: 0 it went well, 1 it failed, 2 wrong usage or a wrong configuration, 130 interrupted
(`serve`: 0, for an interrupt is how it ends, and 143 after SIGTERM).
"""

import argparse
import contextlib
import io
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from minigpt4 import batch, terminal
from minigpt4.api import LoadedChat, find_config, load, open_picture
from minigpt4.batch_rows import STANDARD_INPUT, Shard
from minigpt4.commands import FILES, GENERATION, exit_code_of, parsers
from minigpt4.config import check_files, load_config
from minigpt4.errors import ConfigError

MOST_QUESTION_BYTES = 2**20
"""So much of a question is read from standard input; the configuration's limit is far below."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        The exit code; for `doctor`, 1 if the demo would not start.

    Raises:
        SystemExit: With 2 for wrong usage, with 0 after --help.
    """
    given = parse(arguments)

    def work() -> int:
        code = _COMMANDS[given.command](given)
        sys.stdout.flush()
        return code

    try:
        return exit_code_of(work)
    except BrokenPipeError:
        # Who read us has gone, as `head` does. Python would complain again when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads a command line; options may stand anywhere among the pictures.

    Raises:
        SystemExit: With 2 for wrong usage, with 0 after --help.
    """
    parser, commands = parsers()
    given, others = parser.parse_known_args(arguments)
    command = commands[given.command]
    if given.command in ("ask", "chat"):
        # argparse closes a list at the first option; what stands behind it is still of the list.
        given.words += [word for word in others if word == "-" or not word.startswith("-")]
        others = [word for word in others if word != "-" and word.startswith("-")]
    if others:
        command.error(f"unrecognized arguments: {' '.join(others)}")
    if given.command == "ask":
        *given.pictures, given.question = given.words
        if not given.pictures:
            command.error('expected pictures and a question, as in: photo.png "What is it?"')
        if given.words.count("-") > 1:
            command.error("standard input, -, can be one picture only, or the question")
        if "-" in given.words and sys.stdin.isatty():
            command.error("- reads the picture from a pipe, as in: cat photo.png | ...")
    if given.command == "batch":
        if given.answers == STANDARD_INPUT:
            command.error("answers go into a file, for the next run goes on from there")
        if given.questions == STANDARD_INPUT and sys.stdin.isatty():
            command.error("- reads the rows from a pipe, as in: cat questions.jsonl | ...")
    return given


def _ask(given: argparse.Namespace) -> int:
    # Before the model is loaded: a misspelt path is told at once.
    pictures = [open_picture(*_source(name)) for name in given.pictures]
    question = given.question
    if question == "-":
        question = sys.stdin.buffer.read(MOST_QUESTION_BYTES).decode(errors="replace")
    _write_utf8()
    # Closed, for a thread that PyTorch still works in when Python ends aborts the process.
    with _load(given) as chat:
        terminal.ask(chat, pictures, question, as_json=given.json)
    return 0


def _chat(given: argparse.Namespace) -> int:
    pictures = [open_picture(name) for name in given.words]
    _write_utf8()
    if sys.stdin.isatty():
        with contextlib.suppress(ImportError):  # Windows has none
            import readline  # noqa: F401, PLC0415 - gives `input` a history and line editing
    terminal.say("Loading the model ...")
    with _load(given) as chat:
        terminal.talk(chat, pictures)
    return 0


def _batch(given: argparse.Namespace) -> int:
    ranked = Shard.of_environment()
    if given.shard and ranked:
        raise ConfigError(["--shard given under torchrun, which deals the rows out itself."])
    if ranked and given.questions == STANDARD_INPUT:
        raise ConfigError(["-: torchrun's processes cannot share standard input; name a file."])
    given.overrides = batch.with_many_answers(given.overrides)
    with contextlib.ExitStack() as loaded:
        whole = batch.run(
            given.questions,
            given.answers,
            lambda: loaded.enter_context(_load(given)),
            terminal.say,
            question=given.question,
            shard=Shard.parse(given.shard) if given.shard else ranked,
        )
    return 0 if whole else 1


def _serve(given: argparse.Namespace) -> int:
    from minigpt4.server.app import serve  # noqa: PLC0415 - brings the web server

    overrides = [*given.overrides, *([f"device={given.device}"] if given.device else [])]
    return serve(given.cfg_path, overrides, host=given.host, port=given.port, share=given.share)


def _save(given: argparse.Namespace) -> int:
    config = load_config(find_config(given.cfg_path), given.overrides)
    check_files(config)  # before PyTorch, which takes seconds to import
    from minigpt4.checkpoints.pretrained import save_model  # noqa: PLC0415

    save_model(config, given.folder, licence=given.licence, scores=given.scores)
    terminal.say(f"Saved. `python -m minigpt4 ask PICTURE QUESTION --cfg-path {given.folder}`")
    return 0


def _push(given: argparse.Namespace) -> int:
    from minigpt4.checkpoints.pretrained import push_folder  # noqa: PLC0415

    private = given.private or None
    commit = push_folder(
        given.folder, given.repository, private=private, commit_message=given.message
    )
    sys.stdout.write(f"{given.repository}@{commit.oid}\n")
    return 0


def _completion(given: argparse.Namespace) -> int:
    import shtab  # noqa: PLC0415

    parser, commands = parsers()
    parser.prog = "minigpt4"
    for name, command in commands.items():
        command.prog = f"minigpt4 {name}"
        for action in command._actions:  # noqa: SLF001 - argparse has no other way to its options
            if action.metavar in FILES:
                action.complete = shtab.FILE  # type: ignore[attr-defined] # shtab's way to say it
    run = f"{shlex.quote(sys.executable)} -m minigpt4"
    script = shtab.complete(parser, shell=given.shell)
    # `complete` must find the name that a person types; an alias would not do in zsh.
    sys.stdout.write(f'minigpt4() {{ {run} "$@"; }}\n{script}')
    return 0


def _doctor(given: argparse.Namespace) -> int:
    from minigpt4.doctor import examine  # noqa: PLC0415

    report = examine(find_config(given.cfg_path), given.overrides)
    sys.stdout.write(f"{report}\n")
    return 0 if report.would_start else 1


def _load(given: argparse.Namespace) -> LoadedChat:
    flags = {name: getattr(given, name) for name, _, _ in GENERATION}
    overrides = [f"generation.{name}={value}" for name, value in flags.items() if value is not None]
    return load(given.cfg_path, [*given.overrides, *overrides], given.device)


def _source(name: str) -> tuple[bytes | Path, str]:
    """What stands for a picture, and what an error calls it."""
    if name != "-":
        return Path(name), name
    from minigpt4.images import MAX_BYTES  # noqa: PLC0415

    return sys.stdin.buffer.read(MAX_BYTES + 1), "standard input"


def _write_utf8() -> None:
    """Answers and JSON are UTF-8 whatever the locale is."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")


_COMMANDS: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "ask": _ask,
    "chat": _chat,
    "batch": _batch,
    "serve": _serve,
    "doctor": _doctor,
    "save": _save,
    "push": _push,
    "completion": _completion,
}
