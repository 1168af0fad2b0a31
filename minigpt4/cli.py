"""The commands of `python -m minigpt4`.

Exit codes: 0 it went well, 1 it failed, 2 wrong usage or a wrong configuration, 130 interrupted.
"""

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from minigpt4 import batch, terminal
from minigpt4.api import LoadedChat, load, open_picture
from minigpt4.errors import ConfigError, MiniGPT4Error

_GENERATION: tuple[tuple[str, Callable[[str], Any], str], ...] = (
    ("max_new_tokens", int, "the longest answer, in tokens"),
    ("temperature", float, "0 takes the likeliest words; 1 draws as the model says"),
    ("top_p", float, "draw only among the likeliest tokens of this probability"),
    ("repetition_penalty", float, "above 1, words that were said become less likely"),
    ("num_beams", int, "above 1, follow that many answers and keep the likeliest"),
    ("seed", int, "makes a drawn answer repeatable"),
)
_EXIT_CODES = "exit codes: 0 answered, 1 failed, 2 wrong usage or configuration"
_EXAMPLES = """\
examples:
  python -m minigpt4 ask photo.png "What is in the picture?"
  python -m minigpt4 chat photo.png
  python -m minigpt4 batch questions.jsonl answers.jsonl
  python -m minigpt4 doctor --cfg-path eval_configs/minigpt4_vicuna_7b.yaml

"COMMAND --help" has more of each. "python demo.py" opens the page in a browser.
"""
_ASK_EXAMPLES = f"""\
examples:
  python -m minigpt4 ask photo.png "What is in the picture?"
  python -m minigpt4 ask before.png after.png "What has changed?"
  cat photo.png | python -m minigpt4 ask - "What color is the boat?"
  python -m minigpt4 ask --json photo.png "What is this?" | jq -r .answer
  python -m minigpt4 ask --temperature 0.7 --seed 1 photo.png "Describe this picture."

{_EXIT_CODES}
"""
_CHAT_EXAMPLES = f"""\
examples:
  python -m minigpt4 chat
  python -m minigpt4 chat photo.png --temperature 0.7

in the chat: /picture PATH attaches a picture, /undo takes a turn back, /new starts anew, /quit
leaves, Ctrl-C stops an answer.

{_EXIT_CODES}
"""
_BATCH_EXAMPLES = """\
examples:
  python -m minigpt4 batch questions.jsonl answers.jsonl
  python -m minigpt4 batch questions.jsonl answers.jsonl --max-new-tokens 60

a row of questions.jsonl; paths start at its folder, other fields are carried over:
  {"image": "photo.png", "question": "What color is the boat?", "id": 17}

The same command goes on where an earlier run was interrupted. Bad rows are told and skipped.

exit codes: 0 every row is answered, 1 some are not, 2 wrong usage or configuration
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        The exit code; for `doctor`, 1 if the demo would not start.

    Raises:
        SystemExit: With 2 for wrong usage, with 0 after --help.
    """
    given = parse(arguments)
    try:
        code: int = given.run(given)
        sys.stdout.flush()
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except MiniGPT4Error as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return 130
    except BrokenPipeError:
        # Who read us has gone, as `head` does. Python would complain again when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads a command line; options may stand anywhere among the pictures.

    Raises:
        SystemExit: With 2 for wrong usage, with 0 after --help.
    """
    parser, commands = _parsers()
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
        if given.pictures.count("-") > 1:
            command.error("standard input, -, can be one picture only")
        if "-" in given.pictures and sys.stdin.isatty():
            command.error("- reads the picture from a pipe, as in: cat photo.png | ...")
    return given


def _parsers() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m minigpt4",
        description="MiniGPT-4: give a picture, talk about it.",
        epilog=_EXAMPLES,
        formatter_class=raw,
    )
    commands = parser.add_subparsers(required=True, dest="command", metavar="COMMAND")
    ask = commands.add_parser(
        "ask",
        help="ask one question about pictures",
        usage="%(prog)s [options] PICTURE... QUESTION",
        description="Ask one question about one picture or several; the answer streams to stdout.",
        epilog=_ASK_EXAMPLES,
        formatter_class=raw,
    )
    ask.add_argument(
        "words",
        nargs="+",
        metavar="PICTURE... QUESTION",
        help="files, or - for standard input; the question comes last",
    )
    ask.add_argument(
        "--json",
        action="store_true",
        help="write one line of JSON: answer, tokens, seconds, finish, notice",
    )
    ask.set_defaults(run=_ask)
    chat = commands.add_parser(
        "chat",
        help="chat about pictures in the terminal",
        description="Chat about pictures in the terminal.",
        epilog=_CHAT_EXAMPLES,
        formatter_class=raw,
    )
    chat.add_argument(
        "words", nargs="*", metavar="PICTURE", help="what the first question is about"
    )
    chat.set_defaults(run=_chat)
    rows = commands.add_parser(
        "batch",
        help="answer the questions of a JSONL file",
        description="Answer the questions of a JSONL file, into another one.",
        epilog=_BATCH_EXAMPLES,
        formatter_class=raw,
    )
    rows.add_argument("questions", type=Path, metavar="QUESTIONS.JSONL", help="what to answer")
    rows.add_argument("answers", type=Path, metavar="ANSWERS.JSONL", help="where the answers go")
    rows.set_defaults(run=_batch)
    for command in (ask, chat, rows):
        _add_configuration(command, "tiny", "a YAML file, or the name of one in eval_configs")
        command.add_argument("--device", help="auto, cpu, cuda, cuda:1 or mps (the file's)")
        for name, kind, text in _GENERATION:
            option = f"--{name.replace('_', '-')}"
            command.add_argument(option, type=kind, metavar="N", help=f"{text} (the file's)")
    doctor = commands.add_parser(
        "doctor",
        help="say whether a demo would start",
        description=(
            "Look at every part a configuration names, without loading any: what is there, whether "
            "the parts belong together, the memory they need. Exits with 1 if the demo would not "
            "start."
        ),
    )
    _add_configuration(doctor, "eval_configs/tiny.yaml", "the configuration")
    doctor.set_defaults(run=_doctor)
    return parser, dict(commands.choices)


def _add_configuration(parser: argparse.ArgumentParser, default: str, text: str) -> None:
    parser.add_argument("--cfg-path", default=default, metavar="FILE", help=f"{text} (%(default)s)")
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting that wins over the file's; may be given several times",
    )


def _ask(given: argparse.Namespace) -> int:
    # Before the model is loaded: a misspelt path is told at once.
    pictures = [open_picture(*_source(name)) for name in given.pictures]
    _write_utf8()
    terminal.ask(_load(given), pictures, given.question, as_json=given.json)
    return 0


def _chat(given: argparse.Namespace) -> int:
    pictures = [open_picture(name) for name in given.words]
    _write_utf8()
    if sys.stdin.isatty():
        with contextlib.suppress(ImportError):  # Windows has none
            import readline  # noqa: F401, PLC0415 - gives `input` a history and line editing
    terminal.say("Loading the model ...")
    terminal.talk(_load(given), pictures)
    return 0


def _batch(given: argparse.Namespace) -> int:
    whole = batch.run(given.questions, given.answers, lambda: _load(given), terminal.say)
    return 0 if whole else 1


def _doctor(given: argparse.Namespace) -> int:
    from minigpt4.doctor import examine  # noqa: PLC0415

    report = examine(given.cfg_path, given.overrides)
    sys.stdout.write(f"{report}\n")
    return 0 if report.would_start else 1


def _load(given: argparse.Namespace) -> LoadedChat:
    flags = {name: getattr(given, name) for name, _, _ in _GENERATION}
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
