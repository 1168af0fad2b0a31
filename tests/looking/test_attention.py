"""Attention weights beside the model, against transformers' own; and where patches lie."""

from dataclasses import replace

import pytest
import torch

from minigpt4.looking import attention
from minigpt4.looking.attention import mean_attention, patch_attention, rollout
from minigpt4.looking.look import first_centre, spread_over
from minigpt4.models.patches import JoinedPatches
from minigpt4.models.presets import EVA_VIT_G, TINY
from minigpt4.models.vision import VisionEncoder
from tests.looking.parts import (
    CLOSE,
    PRESET,
    eager,
    reference_patches,
    reference_rollout,
)


def test_mean_attention_is_what_transformers_returns(language):
    embeds = torch.randn(1, 23, 64, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        expected = eager(language)(inputs_embeds=embeds, output_attentions=True).attentions
    found = list(mean_attention(language, embeds))
    assert len(found) == len(expected) == 3
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs[0].mean(0), **CLOSE)
        assert mine.triu(1).count_nonzero() == 0


def test_heads_taken_one_by_one_make_no_difference(language, monkeypatch):
    embeds = torch.randn(1, 23, 64, generator=torch.Generator().manual_seed(3))
    whole = list(mean_attention(language, embeds))
    monkeypatch.setattr(attention, "_WEIGHTS_AT_ONCE", 1)
    for mine, theirs in zip(mean_attention(language, embeds), whole, strict=True):
        torch.testing.assert_close(mine, theirs, **CLOSE)


def test_rollout_is_the_product_of_all_layers(language):
    embeds = torch.randn(1, 19, 64, generator=torch.Generator().manual_seed(4))
    expected = reference_rollout(language, embeds)
    sources = torch.tensor([2, 3, 11])
    torch.testing.assert_close(rollout(language, embeds, sources), expected[:, sources], **CLOSE)
    everything = rollout(language, embeds, torch.arange(19))
    assert (everything >= 0).all()
    torch.testing.assert_close(everything.sum(1), torch.ones(19))


def test_patch_attention_is_the_last_cross_attention_of_transformers(model):
    features = torch.randn(1, 17, 32, generator=torch.Generator().manual_seed(5))
    found = patch_attention(model.qformer, features)
    assert found.shape == (5, 16)
    torch.testing.assert_close(found, reference_patches(model.qformer, features), **CLOSE)
    assert found.std() > 0.01, "a test on even attention would show nothing"


def test_joined_patches_are_made_of_their_own_patches(model):
    joined = JoinedPatches(PRESET.vision, 2)
    found = patch_attention(joined, torch.randn(1, 17, 32))
    assert found.shape == (8, 16)
    assert found[3].nonzero().flatten().tolist() == [6, 7]
    torch.testing.assert_close(found.sum(1), torch.ones(8))
    features = torch.arange(16.0)[None, :, None].expand(1, 16, 32)
    tokens = joined(torch.cat([torch.zeros(1, 1, 32), features], dim=1))[0]
    assert tokens[3].unique().tolist() == [6, 7], "the module joins the same patches"


@pytest.mark.parametrize("size", [(300, 100), (40, 260), (64, 64)])
@pytest.mark.parametrize("first", [0.5, 0.03125])
def test_a_square_of_patches_is_stretched_over_the_picture(size, first):
    width, height = size
    heat = torch.zeros(4, 4)
    heat[1, 3] = 1
    large = spread_over(heat, size, first)
    assert large.shape == (height, width)
    assert large.sum() == pytest.approx(1, abs=1e-4)
    assert (large >= 0).all()
    row, column = divmod(int(large.argmax()), width)
    # Within a pixel: the brightest one lies next to the centre of the patch.
    assert row + 0.5 == pytest.approx((1 + first) / 4 * height, abs=1)
    assert column + 0.5 >= (3 + first) / 4 * width - 1
    even = spread_over(torch.full((4, 4), 1 / 16), size, first)
    torch.testing.assert_close(even, torch.full_like(even, 1 / (width * height)))


def test_patches_lie_where_the_stem_looks():
    """By the gradient of each patch's vector before any attention, in pixels."""
    for config in (
        TINY.vision,
        replace(EVA_VIT_G.vision, image_size=56, width=32, depth=1, heads=2),
    ):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            stem = VisionEncoder(config).transformer.patch_embed.eval()
            values = torch.rand(8, 3, config.image_size, config.image_size, requires_grad=True)
        patches = stem(values).reshape(8, config.grid, config.grid, -1)
        middle = config.grid // 2
        (gradient,) = torch.autograd.grad(patches[:, middle, middle].square().sum(), values)
        column = gradient.abs().sum((0, 1, 2))
        reached = column.nonzero().flatten().tolist()
        expected = (middle + first_centre(config)) * config.patch_size
        assert (reached[0] + reached[-1] + 1) / 2 == pytest.approx(expected, abs=0.01)
