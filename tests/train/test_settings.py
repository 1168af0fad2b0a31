"""Training settings: every config in the repository is right, and mistakes are told together."""

from dataclasses import asdict
from pathlib import Path

import pytest

from minigpt4.errors import ConfigError
from train.settings import (
    DEFAULT_CONFIGS,
    ROOT,
    changed_parts,
    load_settings,
    parts_overrides,
    settings_from,
)

CONFIGS = sorted((ROOT / "train/configs").rglob("*.yaml"))
ACCELERATES = "fsdp.yaml"  # no settings of ours


@pytest.mark.parametrize("path", [each for each in CONFIGS if each.name != ACCELERATES], ids=str)
def test_every_config_is_right_and_opens_with_its_command(path: Path) -> None:
    settings = load_settings(path)
    assert settings_from(asdict(settings)) == settings
    first = path.read_text().splitlines()[0]
    assert first.startswith(f"# python train/run.py --stage {settings.stage}")


def test_the_defaults_are_the_embedded_default_and_chain() -> None:
    one, two = (load_settings(DEFAULT_CONFIGS[stage]) for stage in (1, 2))
    assert (one.stage, two.stage) == (1, 2)
    assert one.model == two.model
    assert one.start == ""
    assert "stage1" in two.start


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(
            DEFAULT_CONFIGS[2],
            ["schedule.step=3", "batch_size=0", "model.preset=tinny", "data.max_things=12"],
        )
    assert len(caught.value.problems) == 4
    assert "Did you mean steps?" in str(caught.value)
    assert "Did you mean tiny?" in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["schedule.warmup_steps=1300"], "schedule.warmup_steps: 1,300"),
        (["schedule.final_learning_rate=0.1"], "schedule.final_learning_rate: 0.1"),
        (["data.fewest_turns=9"], "data.fewest_turns: 9"),
    ],
)
def test_settings_that_do_not_go_together_are_told(overrides: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load_settings(DEFAULT_CONFIGS[2], overrides)


def test_the_next_command_names_every_part_that_is_not_the_default() -> None:
    assert changed_parts(load_settings(DEFAULT_CONFIGS[2])) == []
    overrides = parts_overrides(Path("runs/stage0"))
    assert changed_parts(load_settings(DEFAULT_CONFIGS[1], overrides)) == overrides
    assert overrides[0] == "model.vision=runs/stage0/vision.safetensors"
