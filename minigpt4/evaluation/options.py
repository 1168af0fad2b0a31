"""The command line of `python -m minigpt4.evaluation`, as `--help` shows it."""

import argparse
from pathlib import Path
from typing import Any, TypeAlias

from minigpt4.commands import GENERATION, add_overrides

EXAMPLES = """\
examples:
  python -m minigpt4.evaluation failures photos --output runs/failures
  python -m minigpt4.evaluation pope coco_pope_random.json --images val2014 --output runs/pope
  python -m minigpt4.evaluation chair drawings.jsonl --objects cartoon --output runs/chair
  python -m minigpt4.evaluation vqa aokvqa_v1p0_val.json --images val2017 --output runs/vqa
  python -m minigpt4.evaluation captions captions.json --images val2014 --output runs/captions
  python -m minigpt4.evaluation score pope coco_pope_random.json --answers LLaVA=answers.jsonl \\
    --images val2014 --output runs/others

"COMMAND --help" has more of each; docs/evaluation.md has the files' layouts and the rules.

Each writes into its output folder scores.json, results.jsonl and report.html, and its scores to
standard output. The same command goes on where an earlier run was interrupted.

exit codes: 0 every item was answered and judged, 1 some were not, 2 wrong usage, files or
configuration, 130 interrupted
"""
_MODEL_EXAMPLES = """
  ... --cfg-path minigpt4_vicuna_7b --device cuda
  ... --projection "stage 1=runs/stage1/projection.safetensors" \\
      --projection "stage 2=runs/stage2/projection.safetensors"

Answers are the likeliest ones (--temperature 0) unless you say otherwise, every item in a chat of
its own. With --projection, each of them answers, side by side in one report.
"""
TASK_EXAMPLES = {
    "failures": """\
  python -m minigpt4.evaluation failures photos --output runs/failures
  python -m minigpt4.evaluation failures photos --question "Write a poem about this image." \\
    --output runs/poems""",
    "pope": """\
  python -m minigpt4.evaluation pope coco_pope_random.json --images val2014 --output runs/pope
  python -m minigpt4.evaluation pope coco_pope_random.json --images val2014 --number 300 \\
    --question "{question} Please answer yes or no." --output runs/pope-300""",
    "chair": """\
  python -m minigpt4.evaluation chair instances_val2014.json --captions captions_val2014.json \\
    --objects synonyms.txt --images val2014 --number 500 --output runs/chair
  python -m minigpt4.evaluation chair drawings.jsonl --objects cartoon --output runs/chair""",
    "vqa": """\
  python -m minigpt4.evaluation vqa questions.json --annotations annotations.json \\
    --images val2014 --output runs/vqa
  python -m minigpt4.evaluation vqa testdev_balanced_questions.json --images images \\
    --output runs/gqa
  python -m minigpt4.evaluation vqa aokvqa_v1p0_val.json --multiple-choice --images val2017 \\
    --output runs/aokvqa""",
    "captions": """\
  python -m minigpt4.evaluation captions captions_val2014.json --images val2014 --number 5000 \\
    --output runs/captions""",
}
_HELP = {
    "failures": ("rate of failed descriptions", "a folder of pictures, or JSONL with image"),
    "pope": ("yes or no: is it in the picture?", "JSONL with question_id, image, text and label"),
    "chair": (
        "share of named objects that are not there",
        "COCO's instances, or JSONL with image and objects",
    ),
    "vqa": (
        "accuracy of short answers",
        "VQAv2, OK-VQA, GQA or A-OKVQA, or JSONL with image, question and answers",
    ),
    "captions": (
        "CIDEr and BLEU",
        "COCO's captions, or JSONL with image and captions",
    ),
}

_Parser: TypeAlias = argparse.ArgumentParser
_Commands: TypeAlias = "argparse._SubParsersAction[_Parser]"  # noqa: SLF001 - its only name


def parser() -> _Parser:
    """Builds the parser; what it leaves has `task`, and `answers` if there are some already."""
    whole = _Parser(
        prog="python -m minigpt4.evaluation",
        description="Measure what a model answers, on benchmarks as they are published.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = whole.add_subparsers(required=True, dest="task", metavar="COMMAND")
    for name, (text, _) in _HELP.items():
        epilog = f"examples:\n{TASK_EXAMPLES[name]}\n{_MODEL_EXAMPLES}"
        command = _command(commands, name, text, epilog)
        _add_task(command, name)
        _add_model(command)
        command.set_defaults(answers=None)
    text = "judge answers that another program gave, without a model"
    score = _command(commands, "score", text, f"{EXAMPLES.partition('exit codes')[0]}")
    judged = score.add_subparsers(required=True, dest="task", metavar="TASK")
    for name, (help_text, _) in _HELP.items():
        objects = " --objects cartoon" if name == "chair" else ""
        epilog = (
            f"example:\n  python -m minigpt4.evaluation score {name} DATA{objects} \\\n"
            "    --answers ours=a.jsonl --answers theirs=b.jsonl --output runs/both\n\n"
            'a row of such a file: {"question_id": 1, "answer": "Yes, there is."}\n'
        )
        command = _command(judged, name, help_text, epilog)
        _add_task(command, name)
        command.add_argument(
            "--answers",
            action="append",
            required=True,
            metavar="LABEL=FILE",
            help="answers, and what to call who gave them; may be given several times",
        )
    return whole


def _add_task(command: _Parser, name: str) -> None:
    command.add_argument("data", type=Path, metavar="DATA", help=_HELP[name][1])
    command.add_argument(
        "--output", type=Path, required=True, metavar="FOLDER", help="where everything goes"
    )
    command.add_argument(
        "--images", type=Path, metavar="FOLDER", help="where the pictures are (DATA's folder)"
    )
    command.add_argument("--number", type=_count, metavar="N", help="draw so many items at random")
    command.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of that, and of answers (%(default)s)"
    )
    command.add_argument(
        "--question", metavar="TEXT", help="what to ask; {question} is the item's own"
    )
    command.add_argument(
        "--report-items",
        type=_count,
        default=300,
        metavar="N",
        help="items in report.html; results.jsonl has all (%(default)s)",
    )
    if name == "chair":
        command.add_argument(
            "--objects",
            required=True,
            metavar="FILE",
            help="CHAIR's synonyms.txt, a line an object; cartoon is the picture world's",
        )
        command.add_argument(
            "--captions",
            type=Path,
            action="append",
            default=[],
            metavar="FILE",
            help="COCO's captions of the same pictures: what they name is there",
        )
    if name == "vqa":
        command.add_argument(
            "--annotations", type=Path, metavar="FILE", help="answers of VQAv2 or OK-VQA"
        )
        command.add_argument(
            "--multiple-choice", action="store_true", help="offer A-OKVQA's choices"
        )


def _add_model(command: _Parser) -> None:
    command.add_argument(
        "--cfg-path",
        default="tiny",
        metavar="FILE",
        help="the model: a YAML file, one of eval_configs, or a saved model (%(default)s)",
    )
    command.add_argument(
        "--projection",
        action="append",
        default=[],
        metavar="LABEL=FILE",
        help="compare: answer with this projection; may be given several times",
    )
    command.add_argument(
        "--questions-only",
        action="store_true",
        help="write questions.jsonl for `python -m minigpt4 batch`, and ask nothing",
    )
    command.add_argument("--device", help="auto, cpu, cuda, cuda:1 or mps (the file's)")
    add_overrides(command)
    for name, kind, text in GENERATION:
        if name != "seed":
            option = f"--{name.replace('_', '-')}"
            command.add_argument(option, type=kind, metavar="N", help=text)


def _command(commands: _Commands, name: str, text: str, epilog: str) -> _Parser:
    raw: Any = argparse.RawDescriptionHelpFormatter
    return commands.add_parser(
        name, help=text, description=f"{text.capitalize()}.", epilog=epilog, formatter_class=raw
    )


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} given; expected 1 or more")
    return number
