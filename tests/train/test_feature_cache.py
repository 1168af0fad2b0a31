"""The feature cache: each picture looked at once, the same data after it, and never a stale number."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from minigpt4.checkpoints import native
from minigpt4.models.minigpt4 import MiniGPT4
from tests.train.caching import files, looks, prepared, small_parts
from train import feature_build, feature_cache
from train.errors import TrainingError
from train.feature_cache import FeatureCache
from train.settings import OWN_DATA_CONFIGS, TrainSettings, load_settings


@pytest.fixture
def settings(data: Path, parts: list[str], tmp_path: Path) -> TrainSettings:
    """A user's thirty rows about six pictures, with a cache."""
    wanted = [f"own_data.path={data}", f"cache_features={tmp_path / 'features'}"]
    return load_settings(OWN_DATA_CONFIGS[2], [*parts, *wanted])


# The same data


def test_losses_are_those_without_a_cache(
    tiny_model: MiniGPT4, settings: TrainSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = looks(monkeypatch)
    plain = prepared(tiny_model, replace(settings, cache_features=""))[1]
    assert len(looked) == 6
    said, cached, _ = prepared(tiny_model, settings)
    assert said.startswith("Looks at 6 pictures once")
    assert "Features of 6 pictures are read from" in said
    assert len(looked) == 12
    for step in range(9):  # more than two epochs
        one, other = (list(each.of_step(2, step, 4, 2)) for each in (plain, cached))
        for mine, theirs in zip(one, other, strict=True):
            assert torch.equal(mine.ids, theirs.ids)
            assert torch.equal(mine.labels, theirs.labels)
            # Half precision keeps eleven bits.
            torch.testing.assert_close(
                theirs.query_output, mine.query_output, rtol=2**-11, atol=1e-6
            )
            loss = tiny_model.loss(mine).item()
            assert tiny_model.loss(theirs).item() == pytest.approx(loss, rel=1e-4)
    assert len(looked) == 12  # no step looked at anything


def test_a_second_run_reads_what_the_first_one_made(
    tiny_model: MiniGPT4, settings: TrainSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    prepared(tiny_model, settings)
    before = files(tmp_path / "features")
    assert sorted(before) == ["00000.json", "00000.npy", "manifest.json"]
    looked = looks(monkeypatch)
    moved = tmp_path / "elsewhere"
    (tmp_path / "features").rename(moved)
    said, batches, stage = prepared(tiny_model, replace(settings, cache_features=str(moved)))
    assert "Looks at" not in said
    list(batches.of_step(2, 0, 8, 1))
    batches.of_samples(stage.for_loss)
    assert looked == []
    assert files(moved) == before


def test_numbers_are_mapped_not_loaded(
    tiny_model: MiniGPT4, settings: TrainSettings, tmp_path: Path
) -> None:
    prepared(tiny_model, settings)
    cache = FeatureCache(tmp_path / "features")
    key = json.loads((tmp_path / "features/00000.json").read_text())["keys"][3]
    output = cache[key]
    assert output.shape == (4, 32)
    assert output.dtype == torch.float32
    assert isinstance(cache._arrays[0], np.memmap)
    assert cache._arrays[0].dtype == np.float16
    assert "never seen" not in cache
    with pytest.raises(KeyError):
        cache["never seen"]


def test_workers_read_the_cache_too(tiny_model: MiniGPT4, settings: TrainSettings) -> None:
    helped = prepared(tiny_model, replace(settings, workers=2))[1]  # they also build it
    alone = prepared(tiny_model, settings)[1]
    for step in range(3):
        one, other = (list(each.of_step(2, step, 4, 1)) for each in (helped, alone))
        assert torch.equal(one[0].query_output, other[0].query_output)


# Killed while it is built


def test_a_build_that_is_killed_anywhere_goes_on_and_looks_at_the_rest(
    tiny_model: MiniGPT4, settings: TrainSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Killed at every fsync in turn: while each file is written, and after each was begun."""
    small_parts(monkeypatch)
    whole = tmp_path / "whole"
    prepared(tiny_model, replace(settings, cache_features=str(whole)))
    expected = files(whole)
    assert sorted(expected) == [
        *(f"0000{part}.{kind}" for part in range(3) for kind in ("json", "npy")),
        "manifest.json",
    ]
    syncs, kept = 0, set()
    while True:
        syncs += 1
        folder = tmp_path / f"killed-{syncs}"
        ours = replace(settings, cache_features=str(folder))
        if not _killed(lambda: prepared(tiny_model, ours), at_sync=syncs):  # noqa: B023
            break
        there = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
        assert "manifest.json" not in there or (folder / "building.json").is_file()
        done = sum(f"0000{part}.json" in there for part in range(3))
        with pytest.MonkeyPatch.context() as patch:
            looked = looks(patch)
            said = prepared(tiny_model, ours)[0]
        if "manifest.json" not in there:
            assert len(looked) == 6 - 2 * done
            assert f"Looks at {6 - 2 * done:,} pictures" in said
            assert (f"{2 * done} were looked at before" in said) == (done > 0)
        found = files(folder)
        found.pop("building.json", None)  # of a build that was killed after its very last write
        assert {name: each for name, each in found.items() if name != "manifest.json"} == {
            name: each for name, each in expected.items() if name != "manifest.json"
        }
        kept.add(done)
    assert kept == {0, 1, 2, 3}
    assert syncs > 10


def _killed(work: Callable[[], object], *, at_sync: int) -> bool:
    """Does some work in a process that is killed at an fsync; whether it came to that."""
    child = os.fork()
    if child == 0:
        seen = 0
        sync = os.fsync

        def fatal(handle: int) -> None:
            nonlocal seen
            seen += 1
            if seen == at_sync:
                os.kill(os.getpid(), signal.SIGKILL)
            sync(handle)

        native.os.fsync = fatal
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL)
    return status != 0


def test_a_build_for_other_weights_does_not_go_on(
    tiny_model: MiniGPT4, settings: TrainSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    small_parts(monkeypatch)
    assert _killed(lambda: prepared(tiny_model, settings), at_sync=5)
    before = files(tmp_path / "features")
    assert "building.json" in before
    _change(tiny_model)
    with pytest.raises(TrainingError, match="was made for something else"):
        prepared(tiny_model, settings)
    assert files(tmp_path / "features") == before


# Another one


def _change(model: MiniGPT4) -> None:
    with torch.no_grad():
        next(model.qformer.parameters()).view(-1)[0] += 1e-3


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("weights", "vision encoder and Q-Former: "),
        ("precision", "vision encoder and Q-Former: "),
        ("transform", "picture to pixel values: 32 x 32, 0.48"),
        ("code", "picture to pixel values: 32 x 32, 0.48"),
        ("picture", "pictures: 6 with content "),
        ("picture less", "pictures: 6 with content "),
    ],
)
def test_a_stale_cache_is_refused_with_both_values(
    tiny_model: MiniGPT4,
    settings: TrainSettings,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
    told: str,
) -> None:
    prepared(tiny_model, settings)
    before = files(tmp_path / "features")
    made_of = json.loads(before["manifest.json"])["made_of"]
    if change == "weights":
        _change(tiny_model)
    elif change == "precision":
        tiny_model.vision.to(torch.bfloat16)
    elif change == "transform":
        tiny_model.preset = replace(tiny_model.preset, mean=(0.5, 0.5, 0.5))
    elif change == "code":
        flip = Image.Image.transpose
        true = feature_cache.to_pixel_values
        monkeypatch.setattr(
            feature_cache, "to_pixel_values",
            lambda image, *how: true(flip(image, Image.Transpose.ROTATE_180), *how),
        )  # fmt: skip
    elif change == "picture":
        Image.new("RGB", (12, 8), (1, 2, 3)).save(data.parent / "3.png")
    else:
        Image.open(data.parent / "2.png").save(data.parent / "3.png")
    with pytest.raises(TrainingError) as caught:
        prepared(tiny_model, settings)
    message = str(caught.value)
    assert told in message
    assert str(data) in message
    (line,) = [line for line in message.splitlines() if told in line]
    then, now = line.partition(": ")[2].split(" in the cache, ")
    assert then in made_of.values()
    assert now.endswith(" now")
    assert now.removesuffix(" now") != then
    if change == "picture less":
        assert now.startswith("5 with content ")
    assert f"delete {tmp_path / 'features'} to have it built anew" in message
    assert "--cache-features FOLDER" in message
    assert files(tmp_path / "features") == before


def test_texts_and_new_rows_about_old_pictures_leave_it_valid(
    tiny_model: MiniGPT4, settings: TrainSettings, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(tiny_model, settings)
    looked = looks(monkeypatch)
    data.write_text(data.read_text() + '{"image": "3.png", "answer": "Another text."}\n')
    prepared(tiny_model, settings)
    assert looked == []


def test_an_eye_that_learns_is_refused(tiny_model: MiniGPT4, settings: TrainSettings) -> None:
    next(tiny_model.qformer.parameters()).requires_grad_(True)
    with pytest.raises(TrainingError, match=r"The Q-Former learns in this run, .* Leave"):
        prepared(tiny_model, settings)


def test_for_a_q_former_that_learns_the_cache_holds_what_it_reads(
    tiny_model: MiniGPT4, settings: TrainSettings
) -> None:
    tiny_model.freeze(but_qformer=True)
    plain = prepared(tiny_model, replace(settings, cache_features=""))[1]
    cached = prepared(tiny_model, settings)[1]
    _change(tiny_model)  # as a step does; the cache stays that of the vision encoder
    cached = prepared(tiny_model, settings)[1]
    one, other = (next(each.of_step(2, 0, 4, 1)) for each in (plain, cached))
    assert one.query_output.shape[1:] == other.query_output.shape[1:] == (5, 32)
    assert tiny_model.loss(other).item() == pytest.approx(tiny_model.loss(one).item(), rel=1e-4)
    tiny_model.freeze()
    with pytest.raises(TrainingError, match=r"shape: \[5, 32\] in the cache, \[4, 32\] now"):
        prepared(tiny_model, settings)


# What can go wrong on a disk


def test_room_is_looked_at_first(
    tiny_model: MiniGPT4, settings: TrainSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    free = shutil.disk_usage(tmp_path)._replace(free=64 * 2**20)
    monkeypatch.setattr(feature_build.shutil, "disk_usage", lambda _: free)
    with pytest.raises(TrainingError) as caught:
        prepared(tiny_model, settings)
    assert "needs 0.0 MB for 6 pictures, and 64.0 MB are free" in str(caught.value)
    assert not (tmp_path / "features").exists()


def test_a_folder_with_other_things_is_left_alone(
    tiny_model: MiniGPT4, settings: TrainSettings, tmp_path: Path
) -> None:
    (tmp_path / "features").mkdir()
    (tmp_path / "features/00000.npy").write_bytes(b"mine")
    with pytest.raises(TrainingError, match="holds other files, and no feature cache"):
        prepared(tiny_model, settings)
    assert files(tmp_path / "features") == {"00000.npy": b"mine"}
    file = replace(settings, cache_features=str(tmp_path / "features/00000.npy"))
    with pytest.raises(TrainingError, match="is a file; expected a folder"):
        prepared(tiny_model, file)


@pytest.mark.parametrize("name", ["00001.npy", "00001.json", "manifest.json"])
@pytest.mark.parametrize("how", ["cut", "gone", "empty"])
def test_a_damaged_cache_is_refused(
    tiny_model: MiniGPT4,
    settings: TrainSettings,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    how: str,
) -> None:
    small_parts(monkeypatch)
    prepared(tiny_model, settings)
    path = tmp_path / "features" / name
    content = path.read_bytes()
    path.unlink()
    if how == "cut":
        path.write_bytes(content[:-9])
    if how == "empty":
        path.write_bytes(b"{}")
    with pytest.raises(TrainingError) as caught:
        prepared(tiny_model, settings)
    if (name, how) == ("manifest.json", "gone"):
        assert "holds other files, and no feature cache" in str(caught.value)
    else:
        assert "is damaged" in str(caught.value)
        assert name in str(caught.value)
        assert "Delete it" in str(caught.value)


def test_numbers_that_half_precision_cannot_hold_are_refused(
    tiny_model: MiniGPT4, settings: TrainSettings, tmp_path: Path
) -> None:
    with torch.no_grad():
        for parameter in tiny_model.qformer.parameters():
            parameter.mul_(1e6)
    with pytest.raises(TrainingError, match=r"What the eye makes of picture .* 65,504"):
        prepared(tiny_model, settings)
    assert not (tmp_path / "features/manifest.json").exists()


# Several processes


class _OneOfTwo:
    """A process that finds the other one's parts written when it has waited."""

    num_processes = 2

    def __init__(self, process_index: int, wait: Callable[[], None]) -> None:
        self.process_index = process_index
        self.is_main_process = process_index == 0
        self.wait_for_everyone = wait


def test_two_processes_share_the_looks(
    tiny_model: MiniGPT4, settings: TrainSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    small_parts(monkeypatch)
    whole = tmp_path / "whole"
    prepared(tiny_model, replace(settings, cache_features=str(whole)))
    seen: list[str] = []

    def second() -> None:
        """The other process does its part while the first one waits for it."""
        if "building.json" in seen:
            return
        seen.extend(path.name for path in (tmp_path / "features").iterdir())
        with monkeypatch.context() as patch:
            patch.setattr(feature_build._Build, "finish", None)  # it must not be the one to finish
            with pytest.raises(TrainingError, match="manifest"):  # which it waits for in vain here
                prepared(tiny_model, settings, on=_OneOfTwo(1, lambda: None))

    prepared(tiny_model, settings, on=_OneOfTwo(0, second))
    assert seen == ["building.json"]
    made, alone = files(tmp_path / "features"), files(whole)
    made.pop("manifest.json")
    alone.pop("manifest.json")
    assert made == alone


def test_machines_without_a_common_folder_are_told(
    tiny_model: MiniGPT4, settings: TrainSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_parts(monkeypatch)
    with pytest.raises(TrainingError, match=r"lacks 00001, which another process was to write"):
        prepared(tiny_model, settings, on=_OneOfTwo(0, lambda: None))
