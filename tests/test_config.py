"""A configuration is checked whole, and every problem names setting, value and cure."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from minigpt4.config import (
    ASSETS,
    Config,
    ExampleConfig,
    GenerationSettings,
    absolute,
    check_files,
    load_config,
    locate,
)
from minigpt4.errors import ConfigError
from minigpt4.prompt_formats import PROMPT_FORMATS
from minigpt4.settings_file import one_of, read_settings, within

CONFIGS = sorted((Path(__file__).parents[1] / "eval_configs").glob("*.yaml"))
MODEL = """\
model:
  preset: tiny
  prompt_format: tiny
  vision: a.safetensors
  qformer: b.safetensors
  language_model: language
  projection: assets:c.safetensors
"""


def config_of(tmp_path: Path, text: str = "", *overrides: str, model: str = MODEL) -> Config:
    path = tmp_path / "demo.yaml"
    path.write_text(model + text, "utf-8")
    return load_config(path, overrides)


def problems_of(tmp_path: Path, text: str, *overrides: str, model: str = MODEL) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config_of(tmp_path, text, *overrides, model=model)
    return [problem.replace(f"{tmp_path / 'demo.yaml'}: ", "") for problem in caught.value.problems]


# What comes with the project


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_configuration_of_the_project_is_valid(path: Path) -> None:
    config = load_config(path)
    assert config.model.prompt_format in PROMPT_FORMATS
    assert f"--cfg-path eval_configs/{path.name}" in path.read_text("utf-8")


def test_the_tiny_demo_needs_nothing_but_the_package() -> None:
    (path,) = [each for each in CONFIGS if each.name == "tiny.yaml"]
    config = load_config(path)
    parts = dataclasses.asdict(config.model)
    del parts["preset"], parts["prompt_format"], parts["projection_label"]
    (before,) = parts.pop("other_projections")
    assert before["weights"] == "assets:tiny/projection_stage1.safetensors"
    assert all(
        str(reference).startswith("assets:tiny/") for reference in parts.values() if reference
    )
    assert (config.device, config.generation.temperature, config.page.notice != "") == (
        "auto",
        0,
        True,
    )


# What is read


def test_defaults(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    assert config.generation == GenerationSettings()
    assert (config.limits.queue_size, config.limits.max_context_tokens) == (16, None)
    assert hash(config) == hash(config_of(tmp_path))


def test_yaml_means_what_it_looks_like(tmp_path: Path) -> None:
    config = config_of(
        tmp_path,
        """
generation: {temperature: 1e-1, top_p: 1, seed: 010}
limits:
page:
  title: no
  notice: 2024-01-01
  claim: 12:30
  examples:
  - {picture: a.png, question: "What?"}
""",
    )
    assert (config.generation.temperature, config.generation.seed) == (0.1, 10)
    assert (config.generation.top_p, type(config.generation.top_p)) == (1.0, float)
    assert (config.page.title, config.page.notice, config.page.claim) == (
        "no",
        "2024-01-01",
        "12:30",
    )
    assert config.page.examples == (ExampleConfig(picture="a.png", question="What?"),)


def test_overrides_win(tmp_path: Path) -> None:
    config = config_of(
        tmp_path,
        "generation: {temperature: 0.5, seed: 3}\n",
        "generation.temperature=1e-2",
        "generation.seed=null",
        "page.title=2024: a = b",
        "page.notice=",
        "device=cuda:1",
        "precision=bfloat16",
        "limits.max_pictures=3",
        "limits.max_pictures=4",
        "page.examples=[{picture: a, question: b}]",
        "generation={top_p: 0.5}",
        "generation.num_beams = 2",
    )
    assert config.generation == GenerationSettings(top_p=0.5, num_beams=2)
    assert (config.page.title, config.page.notice) == ("2024: a = b", "")
    assert (config.device, config.precision, config.limits.max_pictures) == (
        "cuda:1",
        "bfloat16",
        4,
    )
    assert config.page.examples[0].question == "b"


# What is refused


def test_every_problem_is_told_at_once(tmp_path: Path) -> None:
    problems = problems_of(
        tmp_path,
        """
device: gpu
device: cudo
precision: bf16
generation: {temprature: 1, top_p: "0.9", max_new_tokens: 1.5, num_beams: true, seed: -1}
limits: 3
page: {title: , link: ftp://x, examples: [{picture: a}, 3]}
1: 2
""",
        "limits",
        model="model: {preset: tiny, prompt_format: vicuna_0, vision: 3, qformer: ' '}",
    )
    weights = "expected a path such as assets:tiny/projection.safetensors."
    formats = "tiny, vicuna_v0, vicuna_v1, llama2_chat, alignment, llama2_alignment or caption"
    assert problems == [
        "line 3: device is set twice, first in line 2.",
        "--set 'limits': expected a setting and its value as key=value.",
        "1: no such setting. Known: model_type, format_version, model, device, precision, quantize, spread, generation, engine, limits, server, page.",
        f"model.prompt_format: 'vicuna_0' given; expected {formats}. Did you mean vicuna_v0?",
        f"model.vision: 3 given; {weights} In quotes it is text.",
        "model.qformer: ' ' given; expected a path such as assets:tiny/qformer.safetensors, or nothing.",
        f"model.language_model: missing; {weights}",
        f"model.projection: missing; {weights}",
        "device: 'cudo' given; expected auto, cpu, mps, cuda or cuda:N. Did you mean cuda?",
        "precision: 'bf16' given; expected auto, float32, bfloat16 or float16. Did you mean bfloat16?",
        "generation.temprature: no such setting. Did you mean temperature?",
        "generation.max_new_tokens: 1.5 given; expected a whole number from 1 to 4096.",
        "generation.top_p: '0.9' given; expected a number from 0.05 to 1.",
        "generation.num_beams: true given; expected a whole number from 1 to 5.",
        "generation.seed: -1 given; expected a whole number from 0 to 2147483647, or null.",
        "limits: 3 given; expected a group of settings.",
        "page.title: nothing given; expected a title.",
        "page.link: 'ftp://x' given; expected a web address or nothing.",
        "page.examples[0].question: missing; expected a question.",
        "page.examples[1]: 3 given; expected a group of settings.",
    ]


@pytest.mark.parametrize(
    "number", [".nan", ".inf", "1e999", "-0.1", "2.1", "1_0", "0x1", "9" * 400]
)
def test_odd_numbers(number: str, tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, f"generation: {{temperature: {number}}}\n")
    assert "generation.temperature" in problem
    assert "expected a number from 0 to 2." in problem


def test_problems_of_overrides_say_so(tmp_path: Path) -> None:
    problems = problems_of(
        tmp_path,
        "limits: 3\n",
        "generation.tempratur=1",
        "generation.top_p=2",
        "page=x",
        "limits.queue_size=4",
        "generation.num_beams=[",
        "=3",
        "model.preset.name=x",
    )
    assert [problem.partition(": ")[::2] for problem in problems] == [
        ("--set generation.num_beams", problems[0].partition(": ")[2]),
        ("--set '=3'", "expected a setting and its value as key=value."),
        ("--set model.preset.name", "model.preset is no group of settings."),
        ("--set generation.tempratur", "no such setting. Did you mean temperature?"),
        ("--set generation.top_p", "2.0 given; expected a number from 0.05 to 1."),
        ("limits", "3 given; expected a group of settings."),
        ("--set page", "'x' given; expected a group of settings."),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "line 1: this is no YAML"),
        ("a: b: c", "line 1: this is no YAML"),
        ("- a", "a list given; expected a group of settings."),
        ("just words", "'just words' given; expected a group of settings."),
        ("a: \x00", "this is no YAML"),
        ("a: !!python/object/apply:os.system [x]", "line 1: this is no YAML"),
        ("a: !!int x", "this is no YAML"),
        ("? [a]\n: b", "line 1: this is no YAML"),
        ("[" * 3000, "this is no YAML"),
    ],
)
def test_files_that_are_no_settings(text: str, said: str, tmp_path: Path) -> None:
    problems = problems_of(tmp_path, text, model="")
    assert len(problems) == 1
    assert said in problems[0]


def test_an_empty_file_misses_the_model(tmp_path: Path) -> None:
    assert len(problems_of(tmp_path, "", model="")) == 5


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text("", "utf-8")
    with pytest.raises(ConfigError, match=r"Did you mean .*tiny\.yaml"):
        load_config(tmp_path / "tinny.yaml")
    with pytest.raises(ConfigError, match="Is the current directory right"):
        load_config(tmp_path / "nowhere" / "tiny.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("a: é".encode("latin-1"))
    with pytest.raises(ConfigError, match="Save it as UTF-8"):
        load_config(tmp_path / "latin.yaml")


def test_settings_that_do_not_go_together(tmp_path: Path) -> None:
    (problem,) = problems_of(tmp_path, "limits: {max_context_tokens: 300}\n")
    assert problem.startswith("generation.max_new_tokens: 300 given, which leaves no room")
    config_of(tmp_path, "limits: {max_context_tokens: 301}\n")


# Files


def test_an_absolute_configuration_means_the_same_from_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    commit = "0" * 40
    config = config_of(
        tmp_path,
        "page: {examples: [{picture: a.png, question: Q}, {picture: 'assets:b.png', question: Q}]}",
        f"model.vision=a.safetensors#sha256={'0' * 64}",
        f"model.qformer=owner/name@{commit}:q.pth",
    )
    moved = absolute(config)
    assert moved.model.vision == f"{tmp_path / 'a.safetensors'}#sha256={'0' * 64}"
    assert moved.model.qformer == config.model.qformer
    assert moved.model.language_model == str(tmp_path / "language")
    assert moved.model.projection == "assets:c.safetensors"
    assert [example.picture for example in moved.page.examples] == [
        str(tmp_path / "a.png"),
        "assets:b.png",
    ]
    assert absolute(moved) == moved


def test_references(tmp_path: Path) -> None:
    assert locate("assets:tiny/language") == ASSETS / "tiny" / "language"
    assert locate("weights/a.pth") == Path("weights/a.pth")
    assert locate(str(tmp_path)) == tmp_path
    assert locate("~/a").is_absolute()


def test_missing_files_are_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = config_of(tmp_path, "page: {examples: [{picture: d.png, question: e}]}\n")
    (tmp_path / "b.safetensors").touch()
    with pytest.raises(ConfigError) as caught:
        check_files(config)
    assert [problem.partition(":")[0] for problem in caught.value.problems] == [
        "model.vision",
        "model.language_model",
        "model.projection",
        "page.examples[0].picture",
    ]
    for name in ("a.safetensors", "language", "d.png"):
        (tmp_path / name).touch()
    config = config_of(tmp_path, "", "model.projection=a.safetensors")
    check_files(config)


# Any dataclass can be a schema


@dataclass(frozen=True)
class Inner:
    rate: float = field(default=0.1, metadata=within(0, 1))


@dataclass(frozen=True)
class Schema:
    name: str | None = field(default=None, metadata=one_of(["left", "right"]))
    data: Path | None = None
    stage: Literal["one", "two"] = "one"
    fast: bool = False
    betas: tuple[float, ...] = (0.9, 0.98)
    inner: Inner | None = None
    groups: tuple[Inner, ...] = ()


def schema_of(tmp_path: Path, text: str, *overrides: str) -> Schema:
    path = tmp_path / "schema.yaml"
    path.write_text(text, "utf-8")
    return read_settings(Schema, path, overrides)


def test_types(tmp_path: Path) -> None:
    text = "{data: a/b, stage: two, fast: true, betas: [1, 0.5], inner: {}, groups: [{rate: 0}]}"
    assert schema_of(tmp_path, text, "name=left") == Schema(
        "left", Path("a/b"), "two", fast=True, betas=(1.0, 0.5), inner=Inner(), groups=(Inner(0.0),)
    )
    assert schema_of(tmp_path, "inner: null", "data=1") == Schema(data=Path("1"))
    assert schema_of(tmp_path, "", "fast=true", "betas=[]") == Schema(fast=True, betas=())


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name: up", "name: 'up' given; expected left or right, or null."),
        ("stage: tow", "stage: 'tow' given; expected one or two. Did you mean two?"),
        ("fast: no", "fast: 'no' given; expected true or false."),
        ("fast: 1", "fast: 1 given; expected true or false."),
        ("betas: 1", "betas: 1 given; expected a list."),
        ("betas: [1, x]", "betas[1]: 'x' given; expected a number."),
        ("data: 3", "data: 3 given; expected a path, or null. In quotes it is text."),
        ("inner: {rate: 2}", "inner.rate: 2.0 given; expected a number from 0 to 1."),
        ("groups: {}", "groups: a group of settings given; expected a list."),
    ],
)
def test_wrong_types(text: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        schema_of(tmp_path, text)
    assert [each.partition(": ")[2] for each in caught.value.problems] == [problem]
