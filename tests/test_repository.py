"""The repository keeps what its README, its pages and its requirements say."""

import ast
import re
import shlex
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from minigpt4.cli import parse
from minigpt4.config import load_config
from train.curation.options import parse as parse_curation
from train.settings import DEFAULT_CONFIGS, load_settings

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = (
    README,
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").rglob("*.md")),
)
SETTINGS_FILES = (
    *sorted((ROOT / "eval_configs").glob("*.yaml")),
    *sorted((ROOT / "train/configs").rglob("*.yaml")),
)
SCRIPTS = ("demo.py", "train/run.py")
CURATION = "train/curate.py"  # its options belong to its commands
HEAVY = {"torch", "torchvision", "gradio", "transformers", "timm", "numpy", "PIL", "matplotlib"}
MOST_BYTES = 10_000_000

# What the Hub documents for the front matter of a Space. Source: "Spaces Configuration Reference"
# of the Hub's documentation; `license` is metadata of every repository on the Hub.
COLORS = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
HARDWARE = {
    *("cpu-basic", "cpu-upgrade", "t4-small", "t4-medium", "l4x1", "l4x4", "a10g-small"),
    *("a10g-large", "a10g-largex2", "a10g-largex4", "a100-large"),
}
FIELDS: dict[str, Any] = {
    "title": lambda value: isinstance(value, str) and value.strip(),
    "emoji": lambda value: isinstance(value, str) and value and not value.isascii(),
    "colorFrom": COLORS.__contains__,
    "colorTo": COLORS.__contains__,
    "sdk": {"gradio", "docker", "static"}.__contains__,
    "sdk_version": lambda value: isinstance(value, str) and re.fullmatch(r"\d+\.\d+\.\d+", value),
    # Unquoted, 3.10 would be the number 3.1.
    "python_version": lambda value: isinstance(value, str) and re.fullmatch(r"3\.\d+", value),
    "app_file": lambda value: (ROOT / value).is_file(),
    "pinned": lambda value: isinstance(value, bool),
    "license": lambda value: value == "bsd-3-clause",
    "suggested_hardware": HARDWARE.__contains__,
    "short_description": lambda value: isinstance(value, str) and 0 < len(value) <= 60,
    "fullWidth": lambda value: isinstance(value, bool),
    "tags": lambda value: all(isinstance(tag, str) for tag in value),
}
NEEDED = {"title", "emoji", "colorFrom", "colorTo", "sdk", "sdk_version", "app_file", "license"}

# Distributions whose modules have another name.
MODULES = {"pillow": "PIL", "pyyaml": "yaml", "protobuf": "google.protobuf"}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def front_matter() -> dict[str, Any]:
    opening, block, _ = README.read_text(encoding="utf-8").split("---\n", 2)
    assert opening == "", "The front matter must be the first thing in README.md."
    content = yaml.safe_load(block)
    assert isinstance(content, dict)
    return content


@cache
def requirements(name: str = "requirements.txt") -> dict[str, Requirement]:
    lines = (line.partition("#")[0].strip() for line in (ROOT / name).read_text().splitlines())
    parsed = [Requirement(line) for line in lines if line and not line.startswith("-r")]
    return {each.name.lower(): each for each in parsed}


@cache
def files() -> tuple[Path, ...]:
    """Return every file that is tracked, or would be if everything were added now."""
    ours = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others"]
    listed = subprocess.run(
        [*ours, "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    paths = (ROOT / name for name in listed.split("\0") if name)
    return tuple(path for path in paths if path.is_file())


def commands(page: Path, program: str) -> list[str]:
    """Return the arguments of every call of a program: in code of a page, in a YAML's comments."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(rf"`{program} ([^`]+)`", text)
    fenced = False
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith(("    ", "# ")):
            call = line.removeprefix("#").strip().partition("  #")[0]
            if call.startswith(f"{program} "):
                found.append(call.removeprefix(f"{program} ").strip())
    return found


def python_commands() -> list[tuple[str, str]]:
    return [
        (relative(page), command)
        for page in (*PAGES, *SETTINGS_FILES)
        for command in commands(page, "python")
    ]


@cache
def help_of(script: str) -> tuple[str, frozenset[str]]:
    """Return what --help writes, and the packages it imports on the way."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", script, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=200,
    )
    lines = (line for line in done.stderr.splitlines() if line.startswith("import time:"))
    imported = (line.rpartition("|")[2].strip().partition(".")[0] for line in lines)
    return done.stdout, frozenset(imported)


def test_front_matter_has_documented_fields_with_allowed_values() -> None:
    given = front_matter()
    assert given.keys() >= NEEDED
    assert given.keys() <= FIELDS.keys()
    wrong = {name: value for name, value in given.items() if not FIELDS[name](value)}
    assert wrong == {}


def test_the_space_runs_the_gradio_that_is_tested() -> None:
    pinned = front_matter()["sdk_version"]
    assert pinned in requirements()["gradio"].specifier
    cure = "try the page with it, then change sdk_version in README.md"
    assert pinned == version("gradio"), f"gradio {version('gradio')} is installed: {cure}."


def test_the_space_runs_a_python_that_the_project_allows() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    least = re.search(r'requires-python = ">=([\d.]+)"', project)
    assert least is not None
    assert Version(front_matter()["python_version"]) >= Version(least[1])


def test_the_readme_is_short_and_shows_the_page_first() -> None:
    lines = README.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
    first_screen = "\n".join(lines).split("---\n", 2)[2].split("\n## ")[0]
    for part in ("](docs/pictures/", "    make demo", "    make test"):
        assert part in first_screen


def test_the_licence_is_the_one_the_readme_names() -> None:
    assert front_matter()["license"] == "bsd-3-clause"
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith("BSD 3-Clause License")


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = {target.partition("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", text)}
    ours = {target for target in targets if target and not re.match(r"[a-z]+:", target)}
    assert [target for target in sorted(ours) if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_files_named_in_text_exist(page: Path) -> None:
    folders = "demo|docs|eval_configs|minigpt4|prompts|tests|train"
    named = re.findall(rf"`((?:{folders})[/.][\w./-]+)`", page.read_text(encoding="utf-8"))
    paths = {name for name in named if "/" in name or name.endswith(".py")}
    assert [name for name in sorted(paths) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_make_targets_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    named = {command.split()[0] for command in commands(page, "make")}
    assert named <= targets


def test_the_readme_has_commands_to_check() -> None:
    found = {command.split()[0] for command in commands(README, "python")}
    assert found - {CURATION} == {*SCRIPTS, "-m"}


@pytest.mark.parametrize(("page", "command"), python_commands())
def test_commands_run_a_script_with_options_it_has(page: str, command: str) -> None:
    script, *arguments = shlex.split(command)
    if script == "-m":
        assert find_spec(arguments[0].partition(".")[0]) is not None
        module = ROOT / arguments[0].replace(".", "/")
        assert module.with_suffix(".py").is_file() or (module / "__main__.py").is_file()
        if arguments[0] == "minigpt4" and len(arguments) > 2:  # else the command is only named
            parse(arguments[1:])  # ends the test if there is no such command or option
        return
    if script == CURATION:
        if "--help" not in arguments:  # which ends it too, and is there
            parse_curation(arguments)  # ends the test if there is no such command or option
        return
    assert script in SCRIPTS
    options = {argument.partition("=")[0] for argument in arguments if argument[:2] == "--"}
    known = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", help_of(script)[0]))
    assert options <= known


@pytest.mark.parametrize(("page", "command"), python_commands())
def test_commands_give_settings_that_there_are(page: str, command: str) -> None:
    script, *arguments = shlex.split(command)
    values: dict[str, list[str]] = {}
    option = ""
    for argument in arguments:
        if argument.startswith("--"):
            option = argument
        else:
            values.setdefault(option, []).append(argument)
    overrides = values.get("--set", [])
    if script == "demo.py":
        configuration = values.get("--cfg-path", ["eval_configs/tiny.yaml"])[-1]
        load_config(ROOT / configuration, overrides)
    elif script == "train/run.py" and (stage := values.get("--stage", ["0"])[-1]) in ("1", "2"):
        default = DEFAULT_CONFIGS[int(stage)]
        given = values.get("--config")
        load_settings(ROOT / given[-1] if given else default, overrides)


@pytest.mark.parametrize("path", SETTINGS_FILES, ids=relative)
def test_a_settings_file_opens_with_the_command_that_runs_it(path: Path) -> None:
    comment = path.read_text(encoding="utf-8").partition("\n\n")[0]
    wanted = f"--cfg-path {relative(path)}" if path.parent.name == "eval_configs" else "--stage"
    program = "python"
    if path.name == "fsdp.yaml":  # accelerate's, not ours
        program, wanted = "accelerate launch", f"--config_file {relative(path)}"
    assert any(wanted in command for command in commands(path, program))
    assert comment.startswith("#")


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_imports_nothing_heavy(script: str) -> None:
    written, imported = help_of(script)
    assert written.startswith("usage:")
    assert "argparse" in imported  # so the list is read as it should be
    assert imported & HEAVY == set()


@pytest.mark.parametrize("name", sorted(requirements()))
def test_requirements_are_installed_and_importable(name: str) -> None:
    assert version(name) in requirements()[name].specifier
    module = MODULES.get(name, name.replace("-", "_"))
    assert find_spec(module) is not None


BROUGHT_BY_SPACES = ("minigpt4/ui/zero_gpu.py", "spaces")


def test_every_import_is_a_requirement() -> None:
    ours = {"minigpt4", "train", "demo", *sys.stdlib_module_names}
    known = {MODULES.get(name, name.replace("-", "_")).partition(".")[0] for name in requirements()}
    strangers = set()
    sources = [
        ROOT / "demo.py",
        *(ROOT / "minigpt4").rglob("*.py"),
        *(ROOT / "train").rglob("*.py"),
    ]
    for source in sources:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            else:
                continue
            roots = {name.partition(".")[0] for name in names} - ours - known
            strangers |= {(relative(source), root) for root in roots}
    assert strangers == {BROUGHT_BY_SPACES}


def test_no_file_is_large() -> None:
    large = [relative(path) for path in files() if path.stat().st_size > MOST_BYTES]
    assert large == []


def test_no_file_names_a_place_on_one_machine() -> None:
    folders = "home|mnt|opt|private|root|tmp|Users|var/folders|work"
    place = re.compile(rf"(?<![\w./:*~$}}\])-])/(?:{folders})/[\w.]|\b[A-Z]:\\\\?Users\b")
    found = []
    for path in files():
        content = path.read_bytes()
        if b"\0" in content[:8192]:
            continue
        for number, line in enumerate(content.decode(errors="replace").splitlines(), start=1):
            if place.search(line):
                found.append(f"{relative(path)}:{number}: {line.strip()[:80]}")
    assert found == []


def test_decisions_are_short_and_complete() -> None:
    pages = sorted((ROOT / "docs/adr").glob("*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 60, page.name
        assert text.startswith(f"# {int(page.name[:4])}. "), page.name
        assert re.search(r"^Status: \w+, \d{4}-\d{2}-\d{2}$", text, re.MULTILINE), page.name
        headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
        assert headings == ["Context", "Decision", "Rejected", "Consequences"], page.name


def test_the_contributor_is_told_the_layers_that_are_checked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    layers = next(each["layers"] for each in contracts if each["type"] == "layers")
    told = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    block = told.split("\n    demo.py\n")[1].split("\n\n")[0]
    assert [line.strip().partition("   ")[0] for line in block.splitlines()] == layers


def test_the_changelog_has_a_place_for_what_comes() -> None:
    assert "\n## [Unreleased]\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "page", [path for path in files() if path.suffix == ".md"], ids=lambda path: path.name
)
def test_no_page_has_an_unfilled_place(page):
    if page.name not in ("model_card.md", "tiny_model.md"):  # the templates themselves
        text = page.read_text(encoding="utf-8")
        assert "{{" not in text
        assert "<!--" not in text
