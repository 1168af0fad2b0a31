"""Both stages on the release's own files, at tiny size: what stage1.yaml and stage2.yaml offer."""

import json
import shlex
from contextlib import closing
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from minigpt4.build import build_chat
from minigpt4.config import GenerationSettings, load_config
from minigpt4.models.presets import EVA_VIT_G_PATCHES
from tests.checkpoints.parts import RELEASE
from tests.train.test_shards import write_shard
from train import run
from train.run_folder import RunFolder, read_lines

ROOT = Path(__file__).parents[2]
PARTS = {
    "vision": RELEASE / "eva_vit.pth",
    "qformer": RELEASE / "blip2_pretrained.pth",
    "language_model": RELEASE / "llama",
    "image_size": 56,
    "vision_heads": 4,
    "qformer_heads": 4,
}
SMALL = [*(f"model.{name}={value}" for name, value in PARTS.items())]
SHORT = [
    "schedule.steps=3", "schedule.warmup_steps=1", "batch_size=2", "device=cpu",
    "precision=float32", "check_samples=2", "check_pictures=1", "check_tokens=3",
]  # fmt: skip


def train(stage: int, output: Path, *changes: str, config: Path | None = None) -> int:
    config = config or ROOT / f"train/configs/stage{stage}.yaml"
    arguments = ["--stage", str(stage), "--config", str(config), "--output", str(output)]
    return run.main([*arguments, "--set", *SMALL, *SHORT, *changes])


def curated(folder: Path) -> Path:
    """The release's folder of stage 2."""
    (folder / "image").mkdir(parents=True)
    rows = []
    for number in range(12):
        Image.new("RGB", (30, 20), (20 * number, 90, 30)).save(folder / f"image/{number}.jpg")
        rows.append({"image_id": str(number), "caption": f"The {number} th picture."})
    (folder / "filter_cap.json").write_text(json.dumps({"annotations": rows}))
    return folder


def losses(folder: Path) -> list[float]:
    return [row["loss"] for row in read_lines(RunFolder(folder).metrics)]


def test_stage_1_then_stage_2_then_a_demo(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_shard(tmp_path / "laion/0.tar", 80)
    write_shard(tmp_path / "cc/0.tar", 80)
    settings = yaml.safe_load((ROOT / "train/configs/stage1.yaml").read_text())
    for source, name in zip(settings["shards"]["sources"], ("laion", "cc"), strict=True):
        source["urls"] = str(tmp_path / name / "0.tar")
    first = tmp_path / "stage1.yaml"
    first.write_text(yaml.safe_dump(settings))

    one, two = tmp_path / "one", tmp_path / "two"
    assert train(1, one, config=first) == 0, capsys.readouterr().err
    start = f"start={RunFolder(one).projection}"
    assert train(2, two, start, f"own_data.path={curated(tmp_path / 'curated')}") == 0
    assert len(losses(one)) == len(losses(two)) == 3
    before, after = (load_file(RunFolder(each).projection) for each in (one, two))
    assert {name: tensor.dtype for name, tensor in after.items()} == dict.fromkeys(
        ("weight", "bias"), torch.float32
    )
    assert not torch.equal(before["weight"], after["weight"])

    told = capsys.readouterr().out
    (line,) = [line for line in told.splitlines() if line.strip().startswith("python demo.py")]
    overrides = [each for each in shlex.split(line)[2:] if each != "--set"]
    config = load_config(ROOT / "eval_configs/tiny.yaml", [*overrides, "device=cpu"])
    with closing(build_chat(config)) as chat:
        session = chat.new_session().attach(chat.encode_image(Image.new("RGB", (30, 20))))
        *_, last = chat.stream_answer(session, "What is it?", GenerationSettings(max_new_tokens=3))
    assert last.tokens


def test_stage_2_starts_from_the_releases_own_projection(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, data = tmp_path / "run", curated(tmp_path / "curated")
    released = RELEASE / "pretrained_minigpt4.pth"
    few = ("schedule.learning_rate=1e-12", "schedule.final_learning_rate=1e-13",
           "schedule.warmup_learning_rate=1e-13", "weight_decay=0")  # fmt: skip
    assert train(2, folder, f"start={released}", f"own_data.path={data}", *few) == 0
    assert "(the release's)" in capsys.readouterr().out
    stored = torch.load(released, weights_only=True)["model"]
    trained = load_file(RunFolder(folder).projection)
    torch.testing.assert_close(trained["weight"], stored["llama_proj.weight"])


def test_a_model_without_a_qformer_trains(tmp_path: Path) -> None:
    folder, data = tmp_path / "run", curated(tmp_path / "curated")
    changes = (f"model.preset={EVA_VIT_G_PATCHES.name}", "model.qformer=", "start=")
    changes = (*changes, "model.qformer_heads=null", f"own_data.path={data}")
    assert train(2, folder, *changes) == 0
    assert load_file(RunFolder(folder).projection)["weight"].shape == (48, 160)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("start=nowhere.pth", "nowhere.pth"),
        (f"start={RELEASE / 'eva_vit.pth'}", "holds no projection"),
        (f"model.vision={RELEASE / 'blip2_pretrained.pth'}", "size of a vision transformer"),
        ("model.quantize=8bit", "works on a CUDA device only"),
    ],
)
def test_what_does_not_fit_is_told(
    change: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = f"own_data.path={curated(tmp_path / 'curated')}"
    assert train(2, tmp_path / "run", "start=", data, change) == 1
    assert said in capsys.readouterr().err


def test_our_own_parts_take_no_settings_of_the_releases(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--stage", "2", "--output", str(tmp_path / "run"), "--set", "model.image_size=56"]
    assert run.main(asked) == 1
    assert "model.image_size: 56 given; preset tiny does not take it" in capsys.readouterr().err
