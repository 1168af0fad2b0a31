"""The ablations as one command: every arm alike, resumed after a kill, and a page of what came out."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from train import run
from train.ablation import experiment
from train.ablation.__main__ import main
from train.ablation.arms import ABLATIONS, BASE, Arm, Plan, arms_of
from train.ablation.figures import Share, arms_in, difference
from train.ablation.page import page
from train.run_folder import RunFolder, read_lines
from train.tiny import evaluate

FRACTIONS = (0.0, 0.25)
_SCORES = {"color": 0.5, "count": 1.0}


@pytest.fixture
def arguments(parts_folder: Path, tmp_path: Path) -> list[str]:
    """The command at its smallest: two steps a stage."""
    return [
        "--output", str(tmp_path / "out"), "--docs", str(tmp_path / "docs"),
        "--parts", str(parts_folder), "--steps-scale", "0.001", "--scenes", "2",
        "--fractions", "0", "0.25", "--device", "cpu",
    ]  # fmt: skip


def plan_of(tmp_path: Path, **changes) -> Plan:
    return Plan(output=tmp_path, arms=arms_of(FRACTIONS), device="cpu", **changes)


def test_arms_differ_in_nothing_but_what_they_are_about(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, steps_scale=0.2, seeds=(7,))
    for stage in (1, 2):
        base = plan.settings(plan.arms[0], 7, stage)
        assert base.seed == 7
        for arm in plan.arms[1:]:
            if stage not in arm.stages:
                continue
            settings = plan.settings(arm, 7, stage)
            same = replace(
                settings, model=base.model, start=base.start, projection="linear", qformer_rate=0.0,
                data=replace(settings.data, samples=None),
            )  # fmt: skip
            assert same == base, arm.name
            changes = [
                settings.model.preset != base.model.preset,
                settings.projection != "linear",
                settings.qformer_rate != 0,
                settings.data.samples is not None or arm.data == 0,
            ]
            assert sum(changes) == (0 if arm.data < 1 and stage == 2 and arm.data else 1), arm.name


def test_a_share_of_the_data_is_one_of_samples_not_of_steps(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, steps_scale=0.5)
    quarter = next(arm for arm in plan.arms if arm.data == 0.25)
    settings, base = (plan.settings(arm, 0, 1) for arm in (quarter, plan.arms[0]))
    assert settings.schedule == base.schedule
    assert settings.data.samples == base.schedule.steps * base.samples_per_step / 4
    assert plan.settings(quarter, 0, 2).data.samples is None
    without = next(arm for arm in plan.arms if arm.data == 0)
    assert without.stages == (2,)
    assert plan.settings(without, 0, 2).start == ""


def test_stage_2_starts_from_the_same_arms_stage_1(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    for arm in plan.arms:
        if 1 in arm.stages:
            first = plan.folder(arm, 0, 1)
            settings = plan.settings(arm, 0, 2)
            assert settings.start == str(first.projection)
            own = settings.model.qformer == str(first.qformer)
            assert own == (arm.name == "tuned_qformer")


def test_looks_are_shared_where_eye_and_pictures_are_the_same(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    shared = {
        (arm.name, stage)
        for arm in plan.arms
        for stage in arm.stages
        if experiment._shares_looks(plan, arm, 0, stage)
    }
    assert shared == {
        (BASE, 1), (BASE, 2), ("three_layers", 1), ("three_layers", 2), ("data_0", 2),
        ("data_25", 2),
    }  # fmt: skip


def test_one_command_trains_scores_and_writes_the_page(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Stopped in the middle, then started again: what was done is not done again."""
    begun: list[str] = []
    # Random weights never end an answer by themselves, and long ones take minutes.
    monkeypatch.setattr(evaluate, "LONGEST_ANSWER", 4)

    def stopped_in_the_third(command: list[str]) -> int:
        folder = RunFolder(Path(command[command.index("--output") + 1]))
        begun.append("/".join(folder.path.parts[-3:]))
        return 143 if len(begun) == 3 else run_main(command)

    run_main = run.main
    some = ["--only", "no_qformer", "data_25"]
    with monkeypatch.context() as patched:
        patched.setattr(run, "main", stopped_in_the_third)
        assert main([*arguments, *some]) == 143
    assert begun == ["base/seed0/stage1", "base/seed0/stage2", "no_qformer/seed0/stage1"]
    assert not (tmp_path / "docs/ablations.md").exists()

    done = tmp_path / "out/base/seed0/stage2/scores.json"
    before = done.stat().st_mtime_ns
    assert main([*arguments, *some]) == 0, capsys.readouterr().err
    assert done.stat().st_mtime_ns == before
    steps = read_lines(tmp_path / "out/no_qformer/seed0/stage2/metrics.jsonl")
    assert [row["step"] for row in steps] == [1, 2]

    found = json.loads((tmp_path / "docs/ablations.json").read_text())
    assert [arm["name"] for arm in found["arms"]] == [BASE, "no_qformer", "data_25"]
    for arm in found["arms"]:
        scores = arm["seeds"]["0"]
        assert scores["cpu_seconds"] > 0
        for stage in ("stage1", "stage2"):
            assert scores[stage]["answers"].keys() == scores[stage]["asked"].keys()
            assert 0 <= scores[stage]["descriptions"]["failures"] <= 1
    written = (tmp_path / "docs/ablations.md").read_text()
    for title in ("one linear layer", "no Q-Former", "25 %", "| color |"):
        assert title in written
    for theme in ("light", "dark"):
        with Image.open(tmp_path / f"docs/pictures/ablations-{theme}.png") as picture:
            assert picture.width > 2 * picture.height
        assert f"pictures/ablations-{theme}.png" in written

    # Another plan in the same folder would mix what cannot be compared.
    assert main([*arguments, "--scenes", "3"]) == 1
    assert "scenes: 2 then, 3 now" in capsys.readouterr().err
    assert main([*arguments, "--only", "four_layers"]) == 1
    assert "no arm four_layers" in capsys.readouterr().err


def _found(*arms: Arm, seeds: int = 1, **scores) -> dict:
    stage = {"asked": {"color": 100, "count": 25}, "answers": _SCORES, "visual_tokens": 10,
             "learned": 20_640, "descriptions": {"failures": 0.35, "recall": 0.5}, **scores}  # fmt: skip
    of_seed = {"cpu_seconds": 12.5, "stage2": stage}
    return {
        "made_with": {"parts": "0123456789ab", "preset": "tiny", "stage1_steps": 2000,
                      "stage2_steps": 1200, "samples_a_step": 16, "scenes": 100},
        "arms": [
            {"name": arm.name, "title": arm.title, "data": arm.data,
             "seeds": {str(seed): {**of_seed, **({"stage1": stage} if arm.data else {})}
                       for seed in range(seeds)}}
            for arm in arms
        ],
    }  # fmt: skip


def test_a_mean_knows_how_far_chance_moves_it() -> None:
    (arm,) = arms_in(_found(ABLATIONS[0]))
    exact = arm.exact(2)
    assert exact is not None
    assert exact.value == 0.75
    # Half of 100 colours right: 5 points either way. All of 25 counts: as of 26 of 27, 3.8 points.
    assert exact.error == pytest.approx((0.05**2 + 26 / 27**2 / 25) ** 0.5 / 2)
    one = exact.error
    (arm,) = arms_in(_found(ABLATIONS[0], seeds=4))
    exact = arm.exact(2)
    assert exact is not None
    assert exact.error == pytest.approx(one / 2)
    failures = arm.described(1, "failures", 100)
    assert failures is not None
    assert failures.value == pytest.approx(0.35)
    assert arm.exact(2, "blind") is None
    assert arms_in(_found(arms_of([0])[-1]))[0].exact(1) is None


def test_a_difference_within_chance_says_so() -> None:
    assert difference(Share(0.60, 0.01), Share(0.50, 0.01)) == "+10.0"
    assert difference(Share(0.48, 0.01), Share(0.50, 0.01)) == "-2.0 (within chance)"


def test_the_page_stands_the_papers_figures_beside_ours() -> None:
    text = page(_found(*arms_of([0, 0.1]), blind=_SCORES))
    assert (
        "| three layers | 75.0 | 75.0 | +0.0 (within chance) | 20,640 | 12 | 49.7 | 31.0 |" in text
    )
    assert "| no stage 1 |  | 35.0 | 50.0 |" in text
    assert "| 10 % | 75.0 | 75.0 | +0.0 (within chance) | 50.0 | 35.0 | 1.62 |" in text
    assert "answers 75.0 per cent after stage 2" in text
    assert "seed 0" in text
    assert "means of seeds 0, 1" in page(_found(*arms_of([0]), seeds=2))
    assert "{" not in text
