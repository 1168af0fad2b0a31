"""The eye learns to say what it sees as slots: through which projection, and what is counted."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from minigpt4.models.presets import TINY as TINY_PRESET
from tests.train.tiny.conftest import steps
from train.cartoon.scene import make_scene
from train.tiny.bridge import seen_through
from train.tiny.eye import Eye, EyeSettings, training_batch
from train.tiny.fitting import (
    FIRST_SEED,
    FittingSettings,
    color_basis,
    fit_eye,
    slot_error,
    solve_projection,
)
from train.tiny.slots import BACKGROUND_QUERY, FusedSlots

SMALL_PRESET = replace(
    TINY_PRESET,
    vision=replace(TINY_PRESET.vision, depth=1, mlp_ratio=1.0),
    qformer=replace(TINY_PRESET.qformer, depth=1, intermediate=64),
)
EYE = EyeSettings(preset=SMALL_PRESET, steps=steps(2))


@pytest.fixture
def eye():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return Eye(SMALL_PRESET).eval()


def test_a_solved_projection_is_nearer_to_fused_slots(eye, language):
    slots = FusedSlots(language)
    scenes = [make_scene(seed) for seed in range(40)]
    wanted = slots.embed(slots.ids(scenes))
    projection = nn.Linear(SMALL_PRESET.qformer.width, language.width)
    with torch.no_grad():
        solve_projection(eye, projection, slots, scenes, SMALL_PRESET)
        found = seen_through(eye, projection, SMALL_PRESET)(scenes)
    mean = wanted.mean(dim=(0, 1))
    assert (found - wanted).square().mean() < 0.9 * (wanted - mean).square().mean()


def test_the_projection_is_solved_for_without_dropout(language, output):
    """The eye comes freshly built, its Q-Former in training mode."""
    torch.manual_seed(1)
    fresh, settings = Eye(SMALL_PRESET), FittingSettings(solved_on=40, steps=steps(0))
    fitted = fit_eye(fresh, language, settings, EYE, state=output / "a.pt", check=lambda *_: None)
    scenes = [make_scene(FIRST_SEED - 1 - number) for number in range(3, 40)]
    slots = FusedSlots(language)
    wanted, plain = slots.embed(slots.ids(scenes)), nn.Linear(*fitted.projection.weight.shape[::-1])
    with torch.no_grad():
        solve_projection(fresh.eval(), plain, slots, scenes, SMALL_PRESET)
        found = seen_through(fresh, fitted.projection, SMALL_PRESET)(scenes)
        best = seen_through(fresh, plain, SMALL_PRESET)(scenes)
    assert (found - wanted).square().mean() < 1.2 * (best - wanted).square().mean()


def test_a_killed_fitting_goes_on_where_it_stood(language, output):
    four = FittingSettings(solved_on=8, steps=steps(4))

    def fit(name, check=lambda *_: None):
        torch.manual_seed(1)
        eye = Eye(SMALL_PRESET)
        fit_eye(eye, language, four, EYE, state=output / name, check=check)
        return eye.state_dict()

    straight = fit("straight.pt")

    def dies_at_the_end(_, step):
        if step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit("killed.pt", dies_at_the_end)
    again = fit("killed.pt")
    assert all(each.equal(straight[name]) for name, each in again.items())


def test_fitting_trains_the_whole_eye_and_no_word(eye, language, output):
    before = {name: each.clone() for name, each in eye.named_parameters()}
    words = copy.deepcopy(language.model.state_dict())
    seen = []
    fit_eye(
        eye,
        language,
        FittingSettings(solved_on=8, steps=steps(2)),
        EYE,
        state=output / "state.pt",
        check=lambda fitted, step: seen.append((step, fitted.eye.training)),
    )
    assert seen == [(2, False)]
    assert not [name for name, each in eye.named_parameters() if each.equal(before[name])]
    assert all(each.equal(words[name]) for name, each in language.model.state_dict().items())


def test_of_pictures_in_untrue_colours_no_colour_counts(language):
    slots, basis = FusedSlots(language), color_basis(language)
    batch = training_batch(
        0, replace(EYE, gray_share=1.0, false_color_share=0.0, steps=steps(2, batch_size=8))
    )
    batch = replace(batch, untrue=torch.ones_like(batch.untrue))
    scene = make_scene(5, min_things=2)
    cell = scene.things[0].cell
    wanted = slots.embed(slots.ids([scene] * 8))
    red, blue, cat = (language.embed(torch.tensor(language.encode(word)))[0]
                      for word in ("red", "blue", "cat"))  # fmt: skip
    recolored, other_kind = wanted.clone(), wanted.clone()
    recolored[:, cell] += red - blue
    other_kind[:, cell] += cat
    assert slot_error(recolored, wanted, batch, basis) < 1e-6
    assert slot_error(other_kind, wanted, batch, basis) > 1e-3
    true = replace(batch, untrue=torch.zeros_like(batch.untrue))
    assert slot_error(recolored, wanted, true, basis) > 1e-3


def test_a_background_in_untrue_colours_does_not_count(language):
    slots, basis = FusedSlots(language), color_basis(language)
    batch = training_batch(
        0, replace(EYE, gray_share=1.0, false_color_share=0.0, steps=steps(2, batch_size=40))
    )
    wanted = slots.embed(slots.ids(batch.scenes))
    asked = batch.labels["background"] >= 0
    assert 0 < asked.sum() < len(asked)  # pages, and what is no drawing
    off = torch.zeros_like(wanted)
    off[~asked, BACKGROUND_QUERY] = 1.0
    assert slot_error(wanted + off, wanted, batch, basis) == 0
    off[asked, BACKGROUND_QUERY] = 1.0
    assert slot_error(wanted + off, wanted, batch, basis) > 0
