"""Projections of every kind as files: they come back whole, say what they are, and are held to it."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from minigpt4.checkpoints.loading import load_picture_side, load_projection_of
from minigpt4.checkpoints.native import (
    ProjectionRecord,
    load_projection,
    read_projection,
    save_projection,
    write_tensors,
)
from minigpt4.checkpoints.sizes import projection_tensors
from minigpt4.errors import CheckpointError
from minigpt4.models.presets import PROJECTION_KINDS
from minigpt4.models.projection_layers import kind_of, new_projection, weight_of
from minigpt4.models.projections import named_projections
from tests.checkpoints.parts import copy_release, plan

RECORD = ProjectionRecord(
    preset="smaller", prompt_format="tiny", stage=2, step=400, frozen="0123456789abcdef" * 4
)


@pytest.fixture(params=PROJECTION_KINDS)
def kind(request):
    return request.param


def _same(one, other) -> bool:
    left, right = one.state_dict(), other.state_dict()
    return left.keys() == right.keys() and all(
        torch.equal(left[name], right[name]) for name in left
    )


def test_it_comes_back_bit_for_bit_as_what_it_is(kind, tmp_path: Path) -> None:
    path, written = tmp_path / "projection.safetensors", new_projection(kind, 5, 7)
    save_projection(path, written, RECORD)
    read = read_projection(path, 5, 7)
    assert kind_of(read) == kind
    assert _same(written, read)
    assert load_projection(path, new_projection(kind, 5, 7), frozen=RECORD.frozen) == RECORD
    shapes = {f"projection.{name}": tuple(each.shape) for name, each in load_file(path).items()}
    assert shapes == projection_tensors(5, 7, kind)


def test_it_maps_every_query_by_itself_to_the_language_models_width(kind) -> None:
    projection, queries = new_projection(kind, 5, 7), torch.randn(2, 3, 5)
    tokens = projection(queries)
    assert tokens.shape == (2, 3, 7)
    torch.testing.assert_close(tokens[1, 2], projection(queries[1, 2]))
    linear = torch.allclose(
        projection(2 * queries) + projection(0 * queries), 2 * tokens, atol=1e-5
    )
    assert linear == (kind == "linear")


def test_other_widths_are_refused_by_what_they_belong_to(kind, tmp_path: Path) -> None:
    path = tmp_path / "projection.safetensors"
    save_projection(path, new_projection(kind, 5, 7), RECORD)
    with pytest.raises(CheckpointError, match=r"writes 7 numbers.*reads 9"):
        read_projection(path, 5, 9)
    with pytest.raises(CheckpointError, match=r"reads 5 numbers per query.*gives 6"):
        read_projection(path, 6, 7)


def test_another_kind_is_refused_and_the_layer_keeps_its_weights(tmp_path: Path) -> None:
    path = tmp_path / "projection.safetensors"
    for kind, other in (PROJECTION_KINDS, PROJECTION_KINDS[::-1]):
        save_projection(path, new_projection(kind, 5, 7), RECORD)
        layer = new_projection(other, 5, 7)
        before = {name: each.clone() for name, each in layer.state_dict().items()}
        with pytest.raises(CheckpointError, match=f"of kind {kind}.*Set projection to {kind}"):
            load_projection(path, layer)
        assert all(torch.equal(before[name], now) for name, now in layer.state_dict().items())


def test_a_file_that_says_no_kind_is_linear_and_one_of_the_future_is_refused(
    tmp_path: Path,
) -> None:
    path, linear = tmp_path / "projection.safetensors", new_projection("linear", 5, 7)
    header = {"part": "projection", "preset": "smaller", "prompt_format": "tiny", "stage": 2,
              "step": 1, "frozen": "f" * 64}  # fmt: skip
    write_tensors(path, linear.state_dict(), header)
    assert _same(read_projection(path, 5, 7), linear)
    write_tensors(path, linear.state_dict(), {**header, "kind": "sixteen_layers"})
    with pytest.raises(CheckpointError, match=r"sixteen_layers.*linear, three_layers"):
        read_projection(path, 5, 7)


def test_released_parts_take_every_kind(kind, tmp_path: Path) -> None:
    sources = copy_release(tmp_path)
    widths = plan(sources).preset.query_width, plan(sources).language.width
    written = new_projection(kind, *widths)
    save_projection(tmp_path / "ours.safetensors", written, RECORD)
    sources = replace(sources, projection=tmp_path / "ours.safetensors")
    made = plan(sources)
    assert made.projection_kind == kind
    assert _same(load_picture_side(made)[2], written)
    assert _same(load_projection_of(made), written)

    save_projection(tmp_path / "ours.safetensors", new_projection(kind, 5, widths[1]), RECORD)
    with pytest.raises(CheckpointError, match="its projection reads 5 numbers"):
        plan(sources)


def test_a_model_can_look_through_every_kind(kind) -> None:
    layer = new_projection(kind, 5, 7)
    (named,) = named_projections({"other": layer})
    queries = torch.randn(3, 5)
    torch.testing.assert_close(named.visual_tokens(queries), layer(queries).detach())
    assert not any(each.requires_grad for each in layer.parameters())
    assert weight_of(layer).dtype == torch.float32
    with torch.no_grad():
        weight_of(layer).add_(1)
    assert named_projections({"other": layer})[0].key != named.key
