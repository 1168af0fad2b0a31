"""The feature cache over generated pictures and shards."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from minigpt4.models.minigpt4 import MiniGPT4
from tests.train.caching import looks, prepared, small_parts
from tests.train.test_shards import faulty_shard, write_shard
from tests.train.test_shards import settings as shards
from train.errors import TrainingError
from train.settings import DEFAULT_CONFIGS, TrainSettings, load_settings


def test_generated_pictures_of_a_run_are_cached_and_later_ones_are_looked_at(
    tiny_model: MiniGPT4, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wanted = ["schedule.steps=3", "schedule.warmup_steps=1", "batch_size=4", "check_samples=2",
              "check_pictures=1", f"cache_features={tmp_path / 'features'}"]  # fmt: skip
    run = load_settings(DEFAULT_CONFIGS[1], wanted)
    looked = looks(monkeypatch)
    _, batches, stage = prepared(tiny_model, run)
    assert len(looked) == 12
    for step in range(3):
        list(batches.of_step(1, step, 4, 1))
    assert len(looked) == 12
    list(batches.of_step(1, 3, 4, 1))
    batches.of_samples(stage.for_loss)
    assert len(looked) == 12 + 4 + 2
    other_texts = replace(run, seed=5, data=replace(run.data, description_share=0.9))
    prepared(tiny_model, other_texts)
    larger = replace(run, data=replace(run.data, picture_size=run.data.picture_size + 8))
    with pytest.raises(TrainingError, match="pictures: 12 with content "):
        prepared(tiny_model, larger)


def shard_settings(folder: Path, *more: str) -> TrainSettings:
    few = ["schedule.steps=6", "schedule.warmup_steps=1", "batch_size=8", "check_samples=2",
           "check_pictures=1", *more]  # fmt: skip
    chosen = shards((str(folder / "a{0..2}.tar"), 2), (str(folder / "b0.tar"), 1), most_lost=1)
    return replace(load_settings(DEFAULT_CONFIGS[1], few), shards=chosen)


def test_shards_give_the_same_samples_and_losses_with_a_cache(
    tiny_model: MiniGPT4, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shard(tmp_path / "a0.tar", 70)
    faulty_shard(tmp_path / "a1.tar")
    (tmp_path / "a2.tar").write_bytes(b"no tar")
    write_shard(tmp_path / "b0.tar", 20)  # the keys of a0.tar, other pictures' captions aside
    small_parts(monkeypatch, 32)
    plain = shard_settings(tmp_path)
    cached = replace(plain, cache_features=str(tmp_path / "features"))
    found = []
    for each in (plain, cached, replace(cached, workers=2)):
        said, batches, stage = prepared(tiny_model, each)
        if each is cached:
            assert "Looks at 105 pictures once" in said  # 70 + 15 + 20, the unusable among them
            assert "Features of 95 pictures" in said
            looked = looks(monkeypatch)
        steps = [batch for step in range(12) for batch in batches.of_step(1, step, 8, 1)]
        found.append((steps, stage.web.read, stage.web.lost))
    assert looked == []
    (steps, read, lost), *others = found
    for other_steps, other_read, other_lost in others:
        assert (other_read, other_lost) == (read, lost)
        for mine, theirs in zip(steps, other_steps, strict=True):
            assert torch.equal(mine.ids, theirs.ids)
            torch.testing.assert_close(
                theirs.query_output, mine.query_output, rtol=2**-11, atol=1e-6
            )
    assert lost["picture: unreadable"] >= 1

    write_shard(tmp_path / "b0.tar", 21)
    with pytest.raises(TrainingError, match=r"pictures: 105 with content .* 106 with content"):
        prepared(tiny_model, cached)


def test_shards_that_moved_to_another_source_have_a_cache_of_their_own(
    tiny_model: MiniGPT4, tmp_path: Path
) -> None:
    """Keys count sources: b's pictures would be taken for c's, whose samples have the same keys."""
    for name in "abc":
        write_shard(tmp_path / f"{name}.tar", 70)
    a, b, c = (str(tmp_path / f"{name}.tar") for name in "abc")
    plain = replace(shard_settings(tmp_path), cache_features=str(tmp_path / "features"))
    prepared(tiny_model, replace(plain, shards=shards((f"{a}::{b}", 1), (c, 1))))
    with pytest.raises(TrainingError, match="pictures: 210 with content "):
        prepared(tiny_model, replace(plain, shards=shards((a, 1), (f"{b}::{c}", 1))))


def test_cached_pictures_of_shards_are_not_decoded_again(
    tiny_model: MiniGPT4, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a0", "a1", "a2", "b0"):
        write_shard(tmp_path / f"{name}.tar", 70)
    cached = replace(shard_settings(tmp_path), cache_features=str(tmp_path / "features"))
    _, batches, _ = prepared(tiny_model, cached)
    monkeypatch.setattr("train.shards.load_image", None)
    assert len(next(batches.of_step(1, 4, 8, 1)).ids) == 8


def test_shards_from_elsewhere_are_no_place_for_a_cache(
    tiny_model: MiniGPT4, tmp_path: Path
) -> None:
    write_shard(tmp_path / "0.tar", 70)
    chosen = shards((str(tmp_path / "0.tar"), 1), ("https://example.org/{0..3}.tar", 1))
    cached = replace(shard_settings(tmp_path), shards=chosen, cache_features="auto")
    with pytest.raises(TrainingError) as caught:
        prepared(tiny_model, cached)
    message = str(caught.value)
    assert "4 of 5 shards lie elsewhere, the first at https://example.org/0.tar" in message
    assert "leave --cache-features out" in message
