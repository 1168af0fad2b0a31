"""The commands of `train/curate.py` and their options, as `--help` shows them."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

_EXAMPLES = """\
a minute with the embedded model, which can only read drawings:
  python -m train.cartoon.make runs/drawn --number 20
  python train/curate.py describe runs/curation --pictures runs/drawn \\
      --projection assets:tiny/projection_stage1.safetensors \\
      --prompt "Describe this image in detail."
  python train/curate.py repair runs/curation --rules
  python train/curate.py filter runs/curation
  python train/curate.py review runs/curation
  python train/curate.py export runs/curation
  python train/run.py --stage 2 --data runs/curation/stage2

Every step adds rows to a file of its own in the folder, and goes on where it was interrupted. A row
that fails is written with its reason; the same command tries it again. "COMMAND --help" has more.

exit codes: 0 every row is done, 1 some are not, or it failed, 2 wrong usage, 130 interrupted
"""
_DESCRIBE_EXAMPLES = """\
examples:
  python train/curate.py describe runs/curation --pictures photos \\
      --cfg-path minigpt4_vicuna_7b --projection runs/stage1/projection.safetensors
  python train/curate.py describe runs/curation --pictures "cc/{00000..00009}.tar" --number 5000
  python train/curate.py describe runs/curation --pictures rows.jsonl --set generation.seed=1

a row of rows.jsonl; paths start at its folder:
  {"image": "photo.jpg"}
"""
_REPAIR_EXAMPLES = """\
examples:
  python train/curate.py repair runs/curation --rules
  OPENAI_API_KEY=... python train/curate.py repair runs/curation \\
      --endpoint https://api.openai.com/v1 --model NAME --at-once 16 --per-minute 500
  python train/curate.py repair runs/curation --endpoint http://127.0.0.1:8000/v1 --model NAME

The key is read from OPENAI_API_KEY only, and written nowhere. Without --endpoint the address is
that of OPENAI_BASE_URL. Only texts are sent, no pictures.
"""
_FILTER_EXAMPLES = """\
examples:
  python train/curate.py filter runs/curation
  python train/curate.py filter runs/curation --min-words 20 --max-words 160

Run again, it judges all texts anew; what a person decided about unchanged texts stays.
"""
_REVIEW_EXAMPLES = """\
examples:
  python train/curate.py review runs/curation
  python train/curate.py review runs/curation --port 7870 --name ida

The page is for this machine only. From another one: ssh -L 7870:127.0.0.1:7870 HOST. Every decision
is on the disk before the next text is shown. Ctrl-C ends it; it goes on where it was left.
"""
_EXPORT_EXAMPLES = """\
examples:
  python train/curate.py export runs/curation
  python train/curate.py export runs/curation --unreviewed --to data/stage2

exports what was accepted, or also what nobody decided about.
"""

_Parser: TypeAlias = argparse.ArgumentParser
_Commands: TypeAlias = "argparse._SubParsersAction[_Parser]"  # noqa: SLF001 - its only name


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line.

    Raises:
        SystemExit: With 2 for wrong usage, with 0 after --help.
    """
    parser = argparse.ArgumentParser(
        prog="python train/curate.py",
        description=(
            "Makes pictures with good descriptions out of pictures alone, as the paper made its"
            " stage-2 data: the stage-1 model describes them, a language model or rules repair what"
            " it wrote, filters and a person choose, and the result is the folder that stage 2"
            " reads."
        ),
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, dest="command", metavar="COMMAND")
    _describe(commands)
    _repair(commands)
    _filter(commands)
    _review(commands)
    _export(commands)
    _command(commands, "status", "say how many rows each step has", "")
    return parser.parse_args(arguments)


def _describe(commands: _Commands) -> None:
    about = "the stage-1 model says what it sees on each picture"
    describe = _command(commands, "describe", about, _DESCRIBE_EXAMPLES)
    describe.add_argument(
        "--pictures",
        required=True,
        metavar="SOURCE",
        help="a folder, a .jsonl file, or tar shards as img2dataset writes them",
    )
    describe.add_argument("--number", type=_count, metavar="N", help="the first N pictures (all)")
    describe.add_argument(
        "--cfg-path",
        default="tiny",
        metavar="FILE",
        help="the model's configuration (%(default)s)",
    )
    describe.add_argument(
        "--projection", metavar="FILE", help="the stage-1 projection (the configuration's)"
    )
    describe.add_argument("--device", help="auto, cpu, cuda, cuda:1 or mps (the configuration's)")
    describe.add_argument(
        "--set",
        dest="overrides",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="settings that win over the configuration's, such as generation.temperature=0",
    )
    _add_prompt(describe, "prompts/curation/describe.txt, the paper's")
    describe.add_argument(
        "--enough-tokens",
        type=_number,
        default=80,
        metavar="N",
        help="a description of at most so many tokens is continued (%(default)s)",
    )


def _repair(commands: _Commands) -> None:
    about = "a language model or rules take the faults out of the texts"
    repair = _command(commands, "repair", about, _REPAIR_EXAMPLES)
    who = repair.add_mutually_exclusive_group()
    who.add_argument("--rules", action="store_true", help="repair without a language model")
    who.add_argument(
        "--endpoint", metavar="URL", help="a server that speaks OpenAI's API, up to /v1"
    )
    repair.add_argument("--model", metavar="NAME", help="which of the server's models")
    _add_prompt(repair, "prompts/curation/repair.txt")
    repair.add_argument(
        "--temperature", type=float, metavar="T", help="0 to 2; not sent unless it is given"
    )
    repair.add_argument(
        "--at-once", type=_count, default=8, metavar="N", help="requests at a time (%(default)s)"
    )
    repair.add_argument("--per-minute", type=_count, metavar="N", help="most requests a minute")
    repair.add_argument(
        "--tries", type=_count, default=6, metavar="N", help="of a request (%(default)s)"
    )
    repair.add_argument(
        "--first-pause",
        type=float,
        default=1.0,
        metavar="S",
        help="seconds before the second try; every further pause is twice as long (%(default)s)",
    )
    repair.add_argument(
        "--timeout",
        type=float,
        default=120,
        metavar="S",
        help="seconds for an answer (%(default)s)",
    )


def _filter(commands: _Commands) -> None:
    about = "say of each text whether it is fit to learn from, and why not"
    judge = _command(commands, "filter", about, _FILTER_EXAMPLES)
    judge.add_argument("--min-words", type=_number, default=8, metavar="N", help="(%(default)s)")
    judge.add_argument("--max-words", type=_count, default=250, metavar="N", help="(%(default)s)")
    judge.add_argument(
        "--most-repeated",
        type=float,
        default=0.2,
        metavar="SHARE",
        help="of the runs of four words, how many may have stood there before (%(default)s)",
    )
    judge.add_argument(
        "--language", choices=("english", "any"), default="english", help="(%(default)s)"
    )
    judge.add_argument(
        "--unrepaired", action="store_true", help="judge texts that were not repaired as they are"
    )


def _review(commands: _Commands) -> None:
    about = "a page to accept, edit or reject texts by hand"
    review = _command(commands, "review", about, _REVIEW_EXAMPLES)
    review.add_argument("--port", type=_port, default=7870, metavar="N", help="port (%(default)s)")
    review.add_argument("--name", default="", help="who reviews; it is written into the rows")


def _export(commands: _Commands) -> None:
    about = "write the folder that stage 2 reads"
    export = _command(commands, "export", about, _EXPORT_EXAMPLES)
    export.add_argument("--to", type=Path, metavar="PATH", help="where to (FOLDER/stage2)")
    export.add_argument(
        "--unreviewed",
        action="store_true",
        help="also what the filter kept and nobody decided about",
    )


def _command(commands: _Commands, name: str, about: str, examples: str) -> _Parser:
    raw = argparse.RawDescriptionHelpFormatter
    text = about[0].upper() + about[1:] + "."
    options: dict[str, Any] = {"help": about, "description": text, "epilog": examples}
    parser = commands.add_parser(name, formatter_class=raw, **options)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="of the curation")
    return parser


def _add_prompt(parser: _Parser, default: str) -> None:
    prompt = parser.add_mutually_exclusive_group()
    prompt.add_argument("--prompt", metavar="TEXT", help=f"what is said instead of {default}")
    prompt.add_argument("--prompt-file", type=Path, metavar="FILE", help="a file that holds it")


def _port(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 65_535:
        raise argparse.ArgumentTypeError(f"{text} given; expected 1 to 65535")
    return number


def _number(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} given; expected 0 or more")
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} given; expected 1 or more")
    return number
