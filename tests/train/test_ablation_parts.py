"""What the paper's ablations train: it learns, nothing else does, and a demo loads what it left."""

import shlex
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from minigpt4.build import build_chat
from minigpt4.config import GenerationSettings, load_config
from minigpt4.conversation import Conversation, Turn
from minigpt4.errors import MiniGPT4Error
from minigpt4.models.minigpt4 import MiniGPT4
from minigpt4.models.patches import JoinedPatches
from minigpt4.models.presets import TINY, TINY_PATCHES
from minigpt4.models.projection_layers import new_projection
from minigpt4.prompt_formats import CAPTION
from tests.checkpoints.parts import RELEASE
from tests.conftest import SMALLER
from train import run
from train.cartoon.scene import HELD_OUT_SEEDS
from train.frozen import start_projection
from train.loop import backward, new_accelerator, new_optimizer
from train.run_folder import RunFolder, read_lines
from train.samples import Batches, Sample, training_seed
from train.settings import ROOT, TrainSettings, load_settings
from train.stages import check_frozen, learned_parameters, stage_of

ARMS = ("no_qformer", "three_layers", "tuned_qformer")
FEW = [
    "schedule.steps=2", "schedule.warmup_steps=1", "batch_size=2", "check_every=2",
    "check_samples=2", "check_pictures=1", "check_tokens=3", "device=cpu",
]  # fmt: skip


def config(arm: str, stage: int) -> Path:
    return ROOT / f"train/configs/ablations/{arm}_stage{stage}.yaml"


def settings_of(arm: str, *overrides: str) -> TrainSettings:
    return load_settings(config(arm, 1), [*FEW, *overrides])


@pytest.fixture(params=["base", *ARMS])
def arm(request):
    """A small model as an arm of the ablations trains it, with the arm's settings."""
    return request.param


@pytest.fixture
def settings(arm) -> TrainSettings:
    return settings_of("three_layers", "projection=linear") if arm == "base" else settings_of(arm)


@pytest.fixture
def model(arm, settings, tiny_model: MiniGPT4) -> MiniGPT4:
    if arm == "no_qformer":
        eye = JoinedPatches(SMALLER.vision, 1)
        preset = replace(SMALLER, name="patches", joined_patches=1)
        tiny_model = MiniGPT4(preset, tiny_model.vision, eye, tiny_model.language)
    start_projection(tiny_model, settings, "f" * 64)
    return tiny_model


def batch_of(model: MiniGPT4, count: int = 2):
    def sample(seed: int) -> Sample:
        picture = Image.new("RGB", (32, 32), (90 * seed, 30, 200 - 90 * seed))
        turn = Turn("", f"a {('red', 'blue', 'green')[seed]} circle", (str(seed),))
        return Sample(str(seed), Conversation((turn,)), lambda: picture)

    return Batches(model, CAPTION, sample).of_samples([sample(seed) for seed in range(count)])


def test_gradients_reach_all_that_learns_and_nothing_else(arm, model, settings) -> None:
    check_frozen(model)
    model.train()
    assert not any(
        each.training for part in (model.vision, model.qformer) for each in part.modules()
    )
    before = {name: each.clone() for name, each in model.state_dict().items()}
    accelerator = new_accelerator(settings)
    optimizer = new_optimizer(model, settings)
    backward(model, [batch_of(model)], accelerator)
    reached = {name for name, each in model.named_parameters() if each.grad is not None}
    wanted = ("projection.", "qformer.") if arm == "tuned_qformer" else ("projection.",)
    assert reached == {name for name, _ in model.named_parameters() if name.startswith(wanted)}
    # A key's bias moves all scores of a softmax alike: its gradient is nothing but rounding.
    assert all(
        each.grad.abs().max() > 0
        for name, each in model.named_parameters()
        if name in reached and not name.endswith("key.bias")
    )
    optimizer.step()
    changed = {
        name for name, now in model.state_dict().items() if not torch.equal(before[name], now)
    }
    assert changed <= reached
    assert any(name.startswith(wanted[-1]) for name in changed)


def test_the_optimiser_has_every_learned_weight_once(arm, model, settings) -> None:
    # The tiny model's own settings have no decay, which would hide whom it is for.
    groups = new_optimizer(model, replace(settings, weight_decay=0.05)).param_groups
    inside = [each for group in groups for each in group["params"]]
    assert {id(each) for each in inside} == {id(each) for each in learned_parameters(model)}
    assert len(inside) == len(learned_parameters(model))
    for group in groups:
        decays = group["weight_decay"] > 0
        assert all((each.ndim > 1) == decays for each in group["params"])
    assert {group["share"] for group in groups} == ({1.0, 0.1} if arm == "tuned_qformer" else {1.0})


def test_what_is_kept_of_a_picture_gives_its_visual_tokens(arm, model) -> None:
    pictures = torch.rand(2, 3, 32, 32)
    kept = model.frozen_output(pictures)
    assert kept.shape == (2, *model.frozen_output_shape)
    assert not kept.requires_grad
    torch.testing.assert_close(model.visual_tokens(kept), model.encode_images(pictures))
    assert model.encode_images(pictures).shape == (2, model.queries, model.language.width)
    assert model.queries == (4 if arm == "no_qformer" else SMALLER.qformer.queries)


def test_training_refuses_a_tuned_qformer_that_is_frozen(tiny_model: MiniGPT4) -> None:
    start_projection(tiny_model, settings_of("tuned_qformer"), "f" * 64)
    tiny_model.qformer.query_tokens.requires_grad_(False)
    with pytest.raises(MiniGPT4Error, match="the qformer would not be trained"):
        check_frozen(tiny_model)


@pytest.mark.parametrize("name", ARMS)
def test_every_config_runs_and_a_demo_loads_what_it_leaves(
    name: str, parts_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = [f"model.vision={parts_folder / 'vision.safetensors'}",
             f"model.language_model={parts_folder / 'language'}"]  # fmt: skip
    qformer = parts_folder / "qformer.safetensors"
    if name != "no_qformer":
        parts.append(f"model.qformer={qformer}")
    one, two = (RunFolder(tmp_path / f"stage{stage}") for stage in (1, 2))
    first = ["--stage", "1", "--config", str(config(name, 1)), "--output", str(one.path)]
    assert run.main([*first, "--set", *FEW, *parts]) == 0, capsys.readouterr().err

    # The printed command goes on: it names the Q-Former that stage 1 left, and all that learns.
    overrides = _overrides(capsys.readouterr().out, "python train/run.py --stage 2")
    second = ["--stage", "2", "--output", str(two.path)]
    assert run.main([*second, "--set", *overrides, *FEW]) == 0, capsys.readouterr().err
    assert len(read_lines(two.metrics)) == 2
    told = capsys.readouterr().out
    assert ("Q-Former" in told) == (name != "no_qformer")

    # The arm's own settings of stage 2 ask for the same as that command.
    asked = load_settings(config(name, 2), [*overrides, *FEW])
    assert (asked.projection, asked.qformer_rate) == (
        two.stored_settings().projection, two.stored_settings().qformer_rate
    )  # fmt: skip

    assert two.qformer.is_file() == (name == "tuned_qformer")
    if name == "tuned_qformer":
        trained = [load_file(each.qformer)["query_tokens"] for each in (one, two)]
        given = load_file(qformer)["query_tokens"]
        assert not torch.equal(trained[0], given)
        assert not torch.equal(trained[0], trained[1])
    demo = [*_overrides(told, "python demo.py"), "device=cpu"]
    settings = load_config(ROOT / "eval_configs/tiny.yaml", demo)
    with closing(build_chat(settings)) as chat:
        session = chat.new_session().attach(chat.encode_image(Image.new("RGB", (30, 20))))
        *_, last = chat.stream_answer(session, "What is it?", GenerationSettings(max_new_tokens=3))
    assert last.tokens


def _overrides(told: str, command: str) -> list[str]:
    (line,) = [line.strip() for line in told.splitlines() if line.strip().startswith(command)]
    words = shlex.split(line.removeprefix(command))
    return [word for word in words if word != "--set"]


def test_a_projection_goes_with_the_qformer_it_was_saved_with(
    parts_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = [f"model.vision={parts_folder / 'vision.safetensors'}",
             f"model.language_model={parts_folder / 'language'}",
             f"model.qformer={parts_folder / 'qformer.safetensors'}"]  # fmt: skip
    folder = RunFolder(tmp_path / "run")
    command = ["--stage", "1", "--config", str(config("tuned_qformer", 1))]
    assert run.main([*command, "--output", str(folder.path), "--set", *FEW, *parts]) == 0
    demo = [*parts, f"model.projection={folder.projection}", "model.other_projections=[]"]
    with pytest.raises(MiniGPT4Error, match="was trained on other parts"):
        build_chat(load_config(ROOT / "eval_configs/tiny.yaml", [*demo, "device=cpu"]))


def test_a_tuned_qformer_goes_on_as_if_it_had_not_been_stopped(
    parts_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = [f"model.vision={parts_folder / 'vision.safetensors'}",
             f"model.language_model={parts_folder / 'language'}",
             f"model.qformer={parts_folder / 'qformer.safetensors'}"]  # fmt: skip
    whole, stopped = (RunFolder(tmp_path / name) for name in ("whole", "stopped"))
    few = [*FEW, "schedule.steps=4", "save_every=2", *parts]

    def start(folder: RunFolder) -> int:
        command = ["--stage", "1", "--config", str(config("tuned_qformer", 1)), "--resume", "auto"]
        return run.main([*command, "--output", str(folder.path), "--set", *few])

    assert start(whole) == 0
    save, saved = RunFolder.save, []

    def save_once(*given, **named):
        if saved:
            raise KeyboardInterrupt
        saved.append(save(*given, **named))

    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "save", save_once)
        assert start(stopped) == 130
    assert start(stopped) == 0
    for one, other in ((whole.qformer, stopped.qformer), (whole.projection, stopped.projection)):
        assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize(
    ("name", "overrides", "said"),
    [
        ("no_qformer", ["qformer_rate=0.1"], "no Q-Former that could learn"),
        ("no_qformer", ["model.qformer=assets:tiny/qformer.safetensors"], "Leave it empty"),
        ("three_layers", ["model.qformer="], "preset tiny needs one"),
        ("three_layers", ["start={linear}"], "Set projection to linear"),
        ("tuned_qformer", ["start={three}"], "Set projection to three_layers"),
    ],
)
def test_what_does_not_go_together_is_told(
    name: str, overrides: list[str], said: str, parts_folder: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from minigpt4.checkpoints.native import ProjectionRecord, save_projection

    files = {"linear": tmp_path / "linear.safetensors", "three": tmp_path / "three.safetensors"}
    record = ProjectionRecord(preset="tiny", prompt_format="caption", stage=1, step=1, frozen="")
    for kind, path in zip(("linear", "three_layers"), files.values(), strict=True):
        save_projection(path, new_projection(kind, TINY.qformer.width, 64), record)
    own = [f"model.vision={parts_folder / 'vision.safetensors'}",
           f"model.language_model={parts_folder / 'language'}"]  # fmt: skip
    if name != "no_qformer":
        own.append(f"model.qformer={parts_folder / 'qformer.safetensors'}")
    overrides = [each.format(**files) for each in overrides]
    command = ["--stage", "1", "--config", str(config(name, 1)), "--output", str(tmp_path / "run")]
    assert run.main([*command, "--set", *FEW, *own, *overrides]) == 1
    assert said in capsys.readouterr().err


def test_a_released_qformer_that_is_to_learn_wants_our_format_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = {"vision": RELEASE / "eva_vit.pth", "qformer": RELEASE / "blip2_pretrained.pth",
             "language_model": RELEASE / "llama", "image_size": 56, "vision_heads": 4,
             "qformer_heads": 4, "preset": "eva_vit_g"}  # fmt: skip
    given = [f"model.{name}={value}" for name, value in parts.items()]
    command = ["--stage", "1", "--config", str(config("tuned_qformer", 1))]
    assert run.main([*command, "--output", str(tmp_path / "run"), "--set", *FEW, *given]) == 1
    assert "python -m minigpt4 save" in capsys.readouterr().err


def test_few_samples_come_back_and_held_out_ones_stay_out() -> None:
    few = stage_of(settings_of("three_layers", "data.samples=3"))
    all_of_them = stage_of(settings_of("three_layers"))
    first = training_seed(1, 0)
    keys = [few.sample_of(first + number).key for number in range(7)]
    assert keys == [str(first + number) for number in (0, 1, 2, 0, 1, 2, 0)]
    assert few.sample_of(first + 4).conversation == few.sample_of(first + 1).conversation
    held_out = [each.key for each in few.for_loss]
    assert held_out == [each.key for each in all_of_them.for_loss]
    assert all(int(key) >= HELD_OUT_SEEDS for key in held_out)


def test_without_a_qformer_there_is_a_token_for_every_patch() -> None:
    patches = TINY.vision.grid**2
    assert JoinedPatches(TINY_PATCHES.vision, TINY_PATCHES.joined_patches).config.queries == patches
    assert TINY_PATCHES.query_width == TINY.vision.width
    assert TINY_PATCHES.parts_name == TINY.name
