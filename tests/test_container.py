"""The container files, without a container: what they name is there, and their steps run.

No Docker engine is needed. The image's files are copied as the Dockerfile says, the command that it
runs is run on that copy, and its health check is asked.
"""

import ast
import contextlib
import fnmatch
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from minigpt4.cli import parse
from tests.ports import free_port

ROOT = Path(__file__).parents[1]
DOCKERFILE = ROOT / "Dockerfile"
SECRET = re.compile(r"key|token|password|secret", re.IGNORECASE)
START_SECONDS = 120


@dataclass(frozen=True)
class Step:
    """One instruction of the Dockerfile, and the stage it belongs to."""

    stage: str
    name: str
    words: str


@cache
def steps() -> tuple[Step, ...]:
    text = re.sub(r"(?m)^#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"))
    lines = re.sub(r"\\\n", " ", text).splitlines()
    found: list[Step] = []
    stage, number = "", 0
    for line in filter(str.strip, lines):
        name, words = line.split(None, 1)
        if name == "FROM":
            parts = words.split()
            stage = parts[2] if len(parts) == 3 else f"stage-{number}"
            number += 1
        found.append(Step(stage, name, " ".join(words.split())))
    return tuple(found)


def last(name: str) -> str:
    """What the image itself says last of something; earlier stages do not count."""
    stage = steps()[-1].stage
    return [step.words for step in steps() if step.name == name and step.stage == stage][-1]


def listed(name: str) -> list[str]:
    words: list[str] = json.loads(last(name))
    return words


def health_command() -> list[str]:
    words: list[str] = json.loads(last("HEALTHCHECK").split(" CMD ")[1])
    return words


@cache
def sent() -> frozenset[str]:
    """Files that .dockerignore lets into the build, by the rules Docker documents.

    The last rule that matches decides; a rule of a folder counts for all in it.
    """
    rules = [
        line
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    listing = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return frozenset(name for name in names.split("\0") if name and is_sent(name, rules))


def is_sent(name: str, rules: list[str]) -> bool:
    goes = True
    parts = name.split("/")
    parents = ["/".join(parts[: end + 1]) for end in range(len(parts))]
    for rule in rules:
        pattern = rule.removeprefix("!")
        if any(matches(parent, pattern) for parent in parents):
            goes = rule.startswith("!")
    return goes


def matches(path: str, pattern: str) -> bool:
    if pattern.startswith("**/"):
        return any(
            matches("/".join(path.split("/")[start:]), pattern[3:])
            for start in range(path.count("/") + 1)
        )
    return path.count("/") == pattern.count("/") and fnmatch.fnmatchcase(path, pattern)


def copies() -> list[tuple[list[str], str]]:
    """Sources and target of every copy from the build's files."""
    found = []
    for step in steps():
        if step.name == "COPY" and not step.words.startswith("--from"):
            *sources, target = step.words.split()
            found.append((sources, target))
    return found


def linted(hadolint: str, file: Path) -> subprocess.CompletedProcess[str]:
    command = [hadolint, "--no-color", str(file)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def fails(command: list[str]) -> bool:
    return subprocess.run(command, check=False, capture_output=True).returncode != 0


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        assert sys.platform != "linux", "make check installs hadolint"
        pytest.skip("hadolint is not packaged for this system")
    done = linted(hadolint, DOCKERFILE)
    assert (done.returncode, done.stdout) == (0, "")


def test_hadolint_would_say_something(tmp_path: Path) -> None:
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        pytest.skip("hadolint is not packaged for this system")
    worse = tmp_path / "Dockerfile"
    text = DOCKERFILE.read_text(encoding="utf-8")
    worse.write_text(text.replace("python:3.11-slim-bookworm", "python"), encoding="utf-8")
    done = linted(hadolint, worse)
    assert done.returncode == 1
    assert "DL3006" in done.stdout


def test_both_variants_have_a_stage_and_cpu_is_the_default() -> None:
    stages = [step.stage for step in steps() if step.name == "FROM"]
    assert {"packages-cpu", "packages-cuda"} <= set(stages)
    chosen = [step.words for step in steps() if step.name == "FROM" and "$" in step.words]
    assert chosen == ["packages-${VARIANT} AS packages"]
    assert [step.words for step in steps() if step.name == "ARG" and not step.stage] == [
        "VARIANT=cpu"
    ]


def test_images_and_stages_that_are_built_upon_are_known() -> None:
    stages = {step.stage for step in steps()}
    for step in steps():
        if step.name == "FROM" and "$" not in step.words:
            image = step.words.split()[0]
            assert image in stages or re.fullmatch(r"[\w./-]+:\d[\w.-]*", image), image
        for source in re.findall(r"--from=(\S+)", step.words):
            assert source in stages


def test_the_python_is_the_one_that_is_tested() -> None:
    image = next(step.words for step in steps() if step.name == "FROM").split()[0]
    assert image.startswith("python:3.11-")


def test_what_is_copied_is_there_and_not_ignored() -> None:
    assert len(copies()) >= 4
    for sources, _ in copies():
        for source in sources:
            inside = [name for name in sent() if name == source or name.startswith(f"{source}/")]
            assert inside, source


def test_only_what_is_copied_is_sent_and_no_weights_or_histories_are() -> None:
    wanted = [source for sources, _ in copies() for source in sources]
    others = [
        name
        for name in sent()
        if not any(name == source or name.startswith(f"{source}/") for source in wanted)
    ]
    assert others == []
    assert not any(re.search(r"(^|/)(\.git|tests|runs|weights|\.venv\w*)(/|$)", n) for n in sent())


@pytest.mark.parametrize(
    ("name", "goes"),
    [
        ("minigpt4/build.py", True),
        ("minigpt4/assets/tiny/language/config.json", True),
        ("minigpt4/ui/__pycache__/app.pyc", False),
        ("minigpt4/x.pyc", False),
        ("train/run.py", False),
        (".env", False),
        ("weights/vicuna-7b/model.safetensors", False),
        ("demo.py", True),
        ("runs/demo.py", False),
    ],
)
def test_the_rules_of_dockerignore_are_read_as_docker_does(name, goes):
    rules = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert is_sent(name, [rule for rule in rules if rule and not rule.startswith("#")]) is goes


def test_packages_are_those_of_ci() -> None:
    cpu, cuda = (
        next(step.words for step in steps() if step.name == "RUN" and step.stage == stage)
        for stage in ("packages-cpu", "packages-cuda")
    )
    installs = [part for part in cpu.split("&&") if "pip install" in part]
    assert len(installs) == 2
    assert all("--constraint /build/constraints.txt" in part for part in installs)
    assert "--require-hashes --requirement /build/requirements.lock" in cuda
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    locked = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    for package in ("torch", "torchvision", "transformers", "gradio", "httpx"):
        version = re.search(rf"(?m)^{package}==(\S+)$", pinned)
        assert version is not None
        assert re.search(rf"(?m)^{package}=={re.escape(version[1])}\b", locked), package


def test_packages_come_before_the_code_so_that_a_change_of_code_is_quick() -> None:
    for sources, _ in copies()[:2]:
        assert all(re.fullmatch(r"(requirements|constraints)[\w.]*", name) for name in sources)


def test_nobody_is_root_and_no_secret_is_in_the_image() -> None:
    assert re.fullmatch(r"(?!0:)\d+:(?!0$)\d+", last("USER"))
    for step in steps():
        if step.name in ("ENV", "ARG"):
            assert not any(SECRET.search(name) for name in re.findall(r"(\w+)=", step.words))


def test_the_command_is_one_of_ours_and_listens_where_it_says() -> None:
    entry, words = listed("ENTRYPOINT"), listed("CMD")
    assert entry == ["python", "-m", "minigpt4"]
    given = parse(words)
    assert (given.command, given.host, given.port) == ("serve", "0.0.0.0", int(last("EXPOSE")))


def test_the_health_check_asks_this_servers_port() -> None:
    python, option, code = health_command()
    assert (python, option) == ("python", "-c")
    ast.parse(code)
    assert f", {last('EXPOSE')}, " in code
    assert "'/healthz'" in code


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image's /app, made by the Dockerfile's own copies."""
    root = tmp_path_factory.mktemp("image")
    for sources, target in copies():
        if not target.startswith("/app"):
            continue
        for source in sources:
            for name in sent():
                if name == source or name.startswith(f"{source}/"):
                    inner = name.removeprefix(source).lstrip("/")
                    place = root / target.strip("/") / (inner or name)
                    place.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(ROOT / name, place)
    return root / "app"


@contextlib.contextmanager
def running(app: Path, home: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The image's command on its files, on another port of this machine only."""
    port = free_port()
    words = [str(port) if word == last("EXPOSE") else word for word in listed("CMD")]
    words = ["127.0.0.1" if word == "0.0.0.0" else word for word in words]
    settings = dict(pair.split("=", 1) for pair in shlex.split(last("ENV")))
    settings = {name: re.sub(r"^/(data|tmp)", f"{home}/\\1", v) for name, v in settings.items()}
    (home / "tmp").mkdir(parents=True)
    (home / "data").mkdir()
    process = subprocess.Popen(
        [sys.executable, *listed("ENTRYPOINT")[1:], *words],
        cwd=app,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": str(home / "tmp"),
            "OMP_NUM_THREADS": "1",
            **settings,
        },
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process, port
    finally:
        process.kill()
        process.communicate()


def contents(folder: Path) -> dict[str, float]:
    return {str(path): path.stat().st_mtime for path in folder.rglob("*")}


@pytest.mark.slow
@pytest.mark.load
def test_the_image_starts_answers_its_health_check_and_writes_nothing_into_itself(
    image: Path, tmp_path: Path
) -> None:
    before = contents(image)
    _, option, code = health_command()
    with running(image, tmp_path / "writable") as (process, port):
        check = [sys.executable, option, code.replace(last("EXPOSE"), str(port))]
        limit = time.monotonic() + START_SECONDS
        while fails(check):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < limit
            time.sleep(0.5)
        url = f"http://127.0.0.1:{port}"
        while httpx.get(f"{url}/readyz", timeout=60, trust_env=False).status_code != 200:
            assert time.monotonic() < limit
            time.sleep(0.5)
        question = {"model": "tiny", "messages": [{"role": "user", "content": "Hello"}]}
        answer = httpx.post(
            f"{url}/v1/chat/completions", json=question, timeout=60, trust_env=False
        )
        assert answer.status_code == 200, answer.text
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) in (0, 143)
        assert fails(check)
    assert contents(image) == before
    assert not list((tmp_path / "writable/data").iterdir())


def test_stages_are_in_an_order_that_docker_can_build() -> None:
    names = [step.stage for step in steps() if step.name == "FROM"]
    assert len(names) == len(set(names))
    assert all(one != other for one, other in pairwise(names))
