"""Rough pictures: what each change does, and that the eye's lessons use them and nothing else does."""

import random
from dataclasses import replace

import pytest
import torch

from tests.train.tiny.test_eye import SETTINGS, SMALL
from train.cartoon.scene import make_scene
from train.tiny.eye import pixel_values, training_batch
from train.tiny.rough import blotched, brightened, make_rough, pixelated, posterized, rough_changes

PICTURE = torch.rand(3, 48, 48, generator=torch.Generator().manual_seed(0))


def test_a_coarse_raster_has_squares_of_one_colour_and_the_picture_s_mean():
    changed = pixelated(random.Random(0), fine=True)(PICTURE)
    squares = changed.unfold(1, 2, 2).unfold(2, 2, 2).flatten(3)
    assert (squares.amax(dim=3) - squares.amin(dim=3)).max() == 0
    assert changed.mean() == pytest.approx(PICTURE.mean().item(), abs=1e-5)


def test_a_raster_is_fine_where_letters_must_stay_readable():
    def tones(*, fine: bool) -> set[int]:
        column = torch.arange(48.0).expand(3, 48, 48) / 48
        return {
            len(pixelated(random.Random(seed), fine=fine)(column)[0, 0].unique())
            for seed in range(20)
        }

    assert tones(fine=True) == {24}
    assert tones(fine=False) == {16, 24}


def test_a_raster_that_does_not_fit_leaves_the_size_as_it_is():
    for seed in range(20):
        assert pixelated(random.Random(seed))(PICTURE[:, :46, :46]).shape == (3, 46, 46)


def test_blotches_are_smooth_and_the_same_for_the_same_seed():
    white = torch.full((3, 48, 48), 0.5)
    first, again = (blotched(random.Random(3))(white) for _ in range(2))
    assert torch.equal(first, again)
    assert first.std() > 0.005
    assert (first[:, 1:] - first[:, :-1]).abs().max() < 0.08
    assert torch.equal(first[0], first[1])  # lighter and darker, never of another colour


def test_few_tones_and_another_brightness():
    for seed in range(10):
        assert len(posterized(random.Random(seed))(PICTURE).unique()) <= 11
        changed = brightened(random.Random(seed))(PICTURE)
        order = PICTURE.flatten().argsort()
        assert (changed.flatten()[order].diff() >= 0).all()


def test_values_stay_colours():
    for seed in range(50):
        changed = make_rough(random.Random(seed))(PICTURE)
        assert changed.shape == PICTURE.shape
        assert changed.min() >= 0
        assert changed.max() <= 1
        assert not torch.equal(changed, PICTURE)


def test_some_of_the_bridge_s_pictures_are_rough_and_those_with_letters_finely(monkeypatch):
    scenes = [make_scene(seed) for seed in range(200)]
    monkeypatch.setattr("train.tiny.rough.make_rough", lambda _, *, fine: fine)
    changes = rough_changes(scenes, 0.3, random.Random(0))
    assert 0.2 < len(changes) / 200 < 0.4
    assert not rough_changes(scenes, 0.0, random.Random(0))
    for row, fine in changes.items():
        assert fine == any(thing.word for thing in scenes[row].things)
    assert len(set(changes.values())) == 2


def test_as_many_of_the_eye_s_pictures_are_rough_as_it_is_told_and_are_asked_everything():
    true = replace(SETTINGS, gray_share=0.0, false_color_share=0.0, strange_share=0.0)
    batches = {
        share: training_batch(0, replace(true, rough_share=share, steps=replace(
            SETTINGS.steps, batch_size=60)))
        for share in (0.0, 0.5)
    }  # fmt: skip
    clean = pixel_values(batches[0.0].scenes, SMALL)
    assert torch.equal(batches[0.0].values, clean)
    changed = (batches[0.5].values != clean).flatten(1).any(dim=1)
    assert 0.3 < changed.float().mean() < 0.7
    assert not batches[0.5].untrue.any()
    for name, labels in batches[0.0].labels.items():
        assert torch.equal(labels, batches[0.5].labels[name])
