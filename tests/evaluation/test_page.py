"""What docs/evaluation.md and --help offer, run on files of the benchmarks' layouts in miniature."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from minigpt4 import cli
from minigpt4.evaluation.command import main
from minigpt4.evaluation.options import EXAMPLES, TASK_EXAMPLES, parser
from tests.evaluation.conftest import Kept
from tests.evaluation.data import (
    SYNONYMS,
    aokvqa,
    coco,
    draw,
    gqa,
    vqa_v2,
    write_json,
    write_lines,
)

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "evaluation.md"
HEAVY = ("torch", "transformers", "timm", "numpy", "PIL", "gradio", "py3langid", "pycocoevalcap")
COMMANDS = ("failures", "pope", "chair", "vqa", "captions")


def prepare(folder: Path) -> None:
    """Put the files in place that the page and --help speak of, in miniature."""
    draw(folder / "photos", "a.png")
    names = [f"COCO_val2014_{number:012}.jpg" for number in (1, 2, 3, 7, 42)]
    draw(folder / "val2014", *names)
    draw(folder / "val2017", "000000000042.jpg", "000000000007.jpg")
    draw(folder / "images", "n5.jpg", "2405722.jpg")
    questions, annotations = vqa_v2(folder / "v2")
    content = json.loads(questions.read_text())
    content["questions"].pop()  # the one that nobody answered
    write_json(folder / "questions.json", content)
    annotations.rename(folder / "annotations.json")
    (folder / "answers.json").write_bytes((folder / "annotations.json").read_bytes())
    gqa(folder)
    aokvqa(folder)
    instances, captions = coco(folder)
    content = json.loads(captions.read_text())
    content["images"].pop()  # the one without captions
    write_json(captions, content)
    for name, source in (("instances.json", instances), ("captions.json", captions)):
        (folder / name).write_bytes(source.read_bytes())
    (folder / "synonyms.txt").write_text(SYNONYMS)
    write_lines(folder / "drawings.jsonl", [{"image": "photos/a.png", "objects": ["boat"]}])
    row = {"image": names[0], "text": "Is there a dog in the image?", "label": "no"}
    rows = [{**row, "question_id": number} for number in (1, 2)]
    write_lines(folder / "coco_pope_random.json", rows)
    for name in ("llava.jsonl", "answers.jsonl"):
        write_lines(folder / name, [{"question_id": number, "text": "No."} for number in (1, 2)])


def calls(text: str) -> list[list[str]]:
    """Return the arguments of every call of the program that a text has."""
    whole = text.replace("\\\n", " ")
    found = re.findall(r"^\s+python -m minigpt4\.evaluation (.+)$", whole, re.MULTILINE)
    return [shlex.split(each) for each in found]


def share_out(command: list[str], count: int, kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the processes that torchrun would start, one after the other."""
    monkeypatch.setattr(cli, "load", kept)
    for rank in range(count):
        with monkeypatch.context() as process:
            process.setenv("RANK", str(rank))
            process.setenv("WORLD_SIZE", str(count))
            assert cli.main(command) == 0


def test_every_command_of_the_page_runs(
    tmp_path: Path, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    page = PAGE.read_text(encoding="utf-8")
    assert {each[0] for each in calls(page)} == {*COMMANDS, "score"}
    for line in re.findall(r"^    (?=python|torchrun|cat)(.+)$", page, re.MULTILINE):
        words = shlex.split(line)
        if words[0] == "torchrun":
            share_out(words[words.index("batch") :], int(words[2]), kept, monkeypatch)
            continue
        if words[0] == "cat":
            subprocess.run(["sh", "-c", line], check=True)
            continue
        arguments = words[3:]
        assert main(arguments) == 0, arguments
        if "--questions-only" in arguments:
            continue
        output = tmp_path / arguments[arguments.index("--output") + 1]
        for name in ("scores.json", "results.jsonl", "report.html"):
            assert (output / name).stat().st_size > 0


@pytest.mark.parametrize(
    "command", ["", *COMMANDS, "score", *(f"score {name}" for name in COMMANDS)]
)
def test_help_teaches_and_imports_nothing_heavy(command: str) -> None:
    code = (
        "import sys; from minigpt4.evaluation.command import main\n"
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
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "example" in done.stdout
    for arguments in calls(done.stdout):
        parser().parse_args(arguments)  # ends the test if there is no such option


def test_every_example_of_the_help_runs(
    tmp_path: Path, kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    found = calls(EXAMPLES) + [call for text in TASK_EXAMPLES.values() for call in calls(text)]
    assert len(found) >= 12
    for number, arguments in enumerate(found):
        arguments[arguments.index("--output") + 1] = f"runs/{number}"
        assert main(arguments) == 0, arguments
