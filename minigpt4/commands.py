"""The commands of `python -m minigpt4` and their options, as `--help` shows them.

What they do is in `minigpt4.cli`.
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

from minigpt4.errors import ConfigError, MiniGPT4Error

GENERATION: tuple[tuple[str, Callable[[str], Any], str], ...] = (
    ("max_new_tokens", int, "the longest answer, in tokens"),
    ("temperature", float, "0 takes the likeliest words; 1 draws as the model says"),
    ("top_p", float, "draw only among the likeliest tokens of this probability"),
    ("repetition_penalty", float, "above 1, words that were said become less likely"),
    ("num_beams", int, "above 1, follow that many answers and keep the likeliest"),
    ("seed", int, "makes a drawn answer repeatable"),
)
"""Options that are generation settings: name, type, and what each does."""
_CONFIGURATION = (
    "a YAML file, the name of one in eval_configs, the folder of a saved model, or one on the "
    "Hugging Face hub as OWNER/NAME@COMMIT"
)
_DEVICE = "auto, cpu, cuda, cuda:1 or mps (the file's)"
FILES = (
    *("FILE", "FOLDER", "PICTURE", "PICTURE... QUESTION"),
    *("QUESTIONS.JSONL", "ANSWERS.JSONL"),
)
"""What stands for a file in the usage; a shell completes file names there."""
_EXIT_CODES = "exit codes: 0 answered, 1 failed, 2 wrong usage or configuration"
_EXAMPLES = """\
examples:
  python -m minigpt4 ask photo.png "What is in the picture?"
  python -m minigpt4 chat photo.png
  python -m minigpt4 batch questions.jsonl answers.jsonl
  python -m minigpt4 serve --port 8000
  python -m minigpt4 doctor --cfg-path minigpt4_vicuna_7b
  python -m minigpt4 save my-model
  eval "$(python -m minigpt4 completion bash)"

"COMMAND --help" has more of each.

exit codes: 0 it went well, 1 it failed, 2 wrong usage or configuration, 130 interrupted
"""
_ASK_EXAMPLES = f"""\
examples:
  python -m minigpt4 ask photo.png "What is in the picture?"
  python -m minigpt4 ask before.png after.png "What has changed?"
  cat photo.png | python -m minigpt4 ask - "What color is the boat?"
  cat question.txt | python -m minigpt4 ask photo.png -
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
  python -m minigpt4 batch photos answers.jsonl --question "Describe this picture."
  head -5 questions.jsonl | python -m minigpt4 batch - answers.jsonl
  python -m minigpt4 batch questions.jsonl answers.jsonl --shard 2/8
  torchrun --nproc-per-node 8 -m minigpt4 batch questions.jsonl answers.jsonl

a row of questions.jsonl; paths start at its folder (with -, where you are), other fields are
carried over:
  {"image": "photo.png", "question": "What color is the boat?", "id": 17}

Answers are written in the order in which they end. The same command goes on where an earlier run
was interrupted. Bad rows are told and skipped. A shard writes its answers into a file of its own,
such as answers.2-of-8.jsonl; together they are all answers.

exit codes: 0 every row is answered, 1 some are not, 2 wrong usage or configuration
"""
_SERVE_EXAMPLES = """\
examples:
  python -m minigpt4 serve
  python -m minigpt4 serve --cfg-path minigpt4_vicuna_7b --device cuda
  MINIGPT4_API_KEYS=key1,key2 python -m minigpt4 serve --host 0.0.0.0 --port 8000

One server, one port: the page at /, OpenAI's API at /v1, /healthz, /readyz and /metrics. Keys of
/v1 stand in the variable MINIGPT4_API_KEYS. docs/api.md has all of it.

exit codes: 0 stopped by Ctrl+C, 143 by SIGTERM, 1 the page or the model could not start, 2 wrong
usage or configuration
"""
_DOCTOR_EXAMPLES = """\
examples:
  python -m minigpt4 doctor
  python -m minigpt4 doctor --cfg-path minigpt4_vicuna_7b --set quantize=8bit

exit codes: 0 it would start, 1 it would not, 2 wrong usage or configuration
"""
_COMPLETION_EXAMPLES = """\
examples:
  eval "$(python -m minigpt4 completion bash)"
  eval "$(python -m minigpt4 completion zsh)"   # after compinit

In the shell's start-up file, such a line is there in every shell.

It also makes `minigpt4` a short name for `python -m minigpt4`, for completion goes by a command's
first word.
"""
_SAVE_EXAMPLES = """\
examples:
  python -m minigpt4 save my-model
  python -m minigpt4 save my-model --set model.projection=runs/mine/projection.safetensors
  python -m minigpt4 ask photo.png "What is it?" --cfg-path my-model

exit codes: 0 saved, 1 it failed, 2 wrong usage or configuration
"""
_PUSH_EXAMPLES = """\
examples:
  python -m minigpt4 save my-model
  python -m minigpt4 push my-model OWNER/NAME --private

It asks for nothing: log in once with `hf auth login`, or set HF_TOKEN. Look at README.md in the
folder first; it becomes the model's page. Without --private, everybody can read it.

exit codes: 0 published, 1 it failed, 2 wrong usage or configuration
"""

_Parser: TypeAlias = argparse.ArgumentParser
_Commands: TypeAlias = "argparse._SubParsersAction[_Parser]"  # noqa: SLF001 - its only name


def parsers() -> tuple[_Parser, dict[str, _Parser]]:
    """Builds the parser of the whole command line, and returns those of the commands with it."""
    parser = argparse.ArgumentParser(
        prog="python -m minigpt4",
        description="MiniGPT-4: give a picture, talk about it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, dest="command", metavar="COMMAND")
    for command in (_ask(commands), _chat(commands), _batch(commands)):
        _add_configuration(command, "tiny")
        command.add_argument("--device", help=_DEVICE)
        for name, kind, text in GENERATION:
            option = f"--{name.replace('_', '-')}"
            command.add_argument(option, type=kind, metavar="N", help=f"{text} (the file's)")
    _serve(commands)
    _doctor(commands)
    _save(commands)
    _push(commands)
    _completion(commands)
    return parser, dict(commands.choices)


def _ask(commands: _Commands) -> _Parser:
    ask = _command(
        commands,
        "ask",
        help="ask one question about pictures",
        usage="%(prog)s [options] PICTURE... QUESTION",
        description="Ask one question about one picture or several; the answer streams to stdout.",
        epilog=_ASK_EXAMPLES,
    )
    ask.add_argument(
        "words",
        nargs="+",
        metavar="PICTURE... QUESTION",
        help="files, and the question last; - reads one of them from standard input",
    )
    ask.add_argument(
        "--json",
        action="store_true",
        help="write one line of JSON: answer, tokens, seconds, finish, notice",
    )
    return ask


def _chat(commands: _Commands) -> _Parser:
    chat = _command(
        commands,
        "chat",
        help="chat about pictures in the terminal",
        description="Chat about pictures in the terminal.",
        epilog=_CHAT_EXAMPLES,
    )
    chat.add_argument(
        "words", nargs="*", metavar="PICTURE", help="what the first question is about"
    )
    return chat


def _batch(commands: _Commands) -> _Parser:
    rows = _command(
        commands,
        "batch",
        help="answer the questions of a JSONL file, or one about every picture of a folder",
        description=(
            "Answer the questions of a JSONL file, or one about every picture of a folder, into a "
            "JSONL file: many at a time, each written when its answer is there."
        ),
        epilog=_BATCH_EXAMPLES,
    )
    rows.add_argument(
        "questions",
        type=Path,
        metavar="QUESTIONS.JSONL",
        help="what to answer, - for standard input, or a folder",
    )
    rows.add_argument("answers", type=Path, metavar="ANSWERS.JSONL", help="where the answers go")
    rows.add_argument("--question", metavar="TEXT", help="what to ask of a folder's pictures")
    rows.add_argument(
        "--shard",
        metavar="K/N",
        help="answer the K-th of N parts, into ANSWERS.K-of-N.jsonl (torchrun's rank, if it runs)",
    )
    return rows


def _serve(commands: _Commands) -> None:
    serve = _command(
        commands,
        "serve",
        help="serve the page, and programs beside it",
        description="Serve the page, OpenAI's API, health and metrics, until it is interrupted.",
        epilog=_SERVE_EXAMPLES,
    )
    _add_configuration(serve, os.environ.get("MINIGPT4_CONFIG") or "tiny")
    serve.add_argument("--device", help=_DEVICE)
    host = "127.0.0.1"
    serve.add_argument("--host", default=host, help="address to listen on (%(default)s)")
    serve.add_argument("--port", type=int, default=7860, metavar="N", help="port (%(default)s)")
    serve.add_argument(
        "--share", action="store_true", help="also open a public link through Gradio's servers"
    )


def _doctor(commands: _Commands) -> None:
    doctor = _command(
        commands,
        "doctor",
        help="say whether a demo would start",
        description=(
            "Look at every part a configuration names, without loading any: what is there, whether "
            "the parts belong together, the memory they need. Exits with 1 if the demo would not "
            "start."
        ),
        epilog=_DOCTOR_EXAMPLES,
    )
    _add_configuration(doctor, "tiny")


def _save(commands: _Commands) -> None:
    save = _command(
        commands,
        "save",
        help="save a model as a folder, as Hugging Face does",
        description=(
            "Write all parts of a model into one folder: config.json, safetensors, a model card."
        ),
        epilog=_SAVE_EXAMPLES,
    )
    save.add_argument("folder", type=Path, metavar="FOLDER", help="a new one, or a saved model")
    _add_configuration(save, "tiny")
    save.add_argument("--licence", metavar="NAME", help="of the model, for the card")
    save.add_argument("--scores", type=Path, metavar="FILE", help="JSON, for the card")


def _push(commands: _Commands) -> None:
    push = _command(
        commands,
        "push",
        help="publish a saved model on the Hugging Face hub",
        description="Publish a folder that `save` wrote on the Hugging Face hub, in one commit.",
        epilog=_PUSH_EXAMPLES,
    )
    push.add_argument("folder", type=Path, metavar="FOLDER", help="what `save` wrote")
    push.add_argument("repository", metavar="OWNER/NAME", help="made if there is none yet")
    push.add_argument("--private", action="store_true", help="a new one is for its owner only")
    push.add_argument(
        "--message", default="Upload a MiniGPT-4 model", help="what the history says (%(default)s)"
    )


def _completion(commands: _Commands) -> None:
    completion = _command(
        commands,
        "completion",
        help="write what makes a shell complete these commands",
        description="Write a script that makes a shell complete these commands and their options.",
        epilog=_COMPLETION_EXAMPLES,
    )
    completion.add_argument("shell", choices=("bash", "zsh"), help="for which shell")


def _command(commands: _Commands, name: str, **texts: Any) -> _Parser:  # noqa: ANN401 - argparse's
    raw = argparse.RawDescriptionHelpFormatter
    return commands.add_parser(name, formatter_class=raw, **texts)


def exit_code_of(work: Callable[[], int]) -> int:
    """Does a command's work, and tells what went wrong in a line of standard error.

    Returns:
        What the work returns; 2 for wrong settings, 1 for other errors of ours, 130 after Ctrl-C.
    """
    try:
        return work()
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except MiniGPT4Error as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return 130


def _add_configuration(parser: _Parser, default: str) -> None:
    parser.add_argument(
        "--cfg-path", default=default, metavar="FILE", help=f"{_CONFIGURATION} (%(default)s)"
    )
    add_overrides(parser)


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Adds `--set`, for settings that win over those of the file."""
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting that wins over the file's; may be given several times",
    )
