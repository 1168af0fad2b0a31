"""Pixel values, vision encoder, Q-Former and visual tokens against the released code."""

import numpy as np
import pytest
import torch

from minigpt4.checkpoints.loading import load_picture_side
from tests.parity.golden import ACTIVATIONS, golden, worst

PIXELS = 1e-6
"""Pixel values are up to 2.6: one rounding of float32."""


def test_pixel_values() -> None:
    size = golden().facts["dims"]["image_size"]
    assert worst(golden().pictures(size), golden().pixel_values) <= PIXELS


def test_sizes_come_from_the_files() -> None:
    dims, preset = golden().facts["dims"], golden().plan().preset
    vision, qformer = preset.vision, preset.qformer
    assert (vision.width, vision.patch_size) == (dims["vit"]["embed_dim"], dims["patch_size"])
    assert vision.depth == dims["vit"]["depth_used"]
    assert int(vision.width * vision.mlp_ratio) == dims["vit"]["mlp_hidden"]
    expected = dims["qformer"]
    assert qformer.queries == expected["num_query_tokens"]
    assert qformer.width == expected["hidden_size"]
    assert qformer.depth == expected["num_hidden_layers"]
    assert qformer.intermediate == expected["intermediate_size"]
    assert qformer.cross_attention_every == expected["cross_attention_freq"]


def test_every_block_of_the_vision_encoder() -> None:
    transformer = golden().model.vision.transformer
    outputs: list[torch.Tensor] = []
    hooks = [
        block.register_forward_hook(lambda _module, _input, output: outputs.append(output))
        for block in transformer.blocks
    ]
    with torch.no_grad():
        features = transformer.forward_features(golden().pixel_values)
    for hook in hooks:
        hook.remove()
    assert worst(torch.stack(outputs), golden().tensor("vit_blocks")) <= ACTIVATIONS
    # The last block's output is the result: no final norm.
    assert worst(features, golden().tensor("vit_out")) <= ACTIVATIONS


def test_layer_norm_behind_the_vision_encoder() -> None:
    with torch.no_grad():
        features = golden().model.vision(golden().pixel_values)
    assert worst(features, golden().tensor("ln_vision_out")) <= ACTIVATIONS


def test_every_layer_of_the_qformer() -> None:
    qformer = golden().model.qformer
    with torch.no_grad():
        output = qformer.transformer(
            query_embeds=qformer.query_tokens.expand(len(golden().pixel_values), -1, -1),
            encoder_hidden_states=golden().tensor("ln_vision_out"),
            output_hidden_states=True,
        )
    theirs = golden().tensor("qformer_hidden_states")
    assert worst(torch.stack(output.hidden_states), theirs) <= ACTIVATIONS


def test_query_output() -> None:
    output = golden().model.query_output(golden().pixel_values)
    assert worst(output, golden().tensor("qformer_out")) <= ACTIVATIONS


def test_visual_tokens() -> None:
    tokens = golden().model.encode_images(golden().pixel_values)
    assert worst(tokens, golden().tensor("soft_prompts")) <= ACTIVATIONS


def test_another_picture_size_interpolates_the_positions() -> None:
    if "interp_pixel_values" not in golden().arrays:
        pytest.skip("this golden folder has no second picture size")
    pixel_values = golden().tensor("interp_pixel_values")
    size = pixel_values.shape[-1]
    assert worst(golden().pictures(size)[:1], pixel_values) <= PIXELS
    vision, _, _ = load_picture_side(golden().plan(image_size=size))
    positions = vision.transformer.pos_embed
    assert worst(positions, golden().tensor("interp_pos_embed")) <= 1e-6
    with torch.no_grad():
        features = vision.transformer.forward_features(pixel_values)
    assert worst(features, golden().tensor("interp_vit_out")) <= ACTIVATIONS


def test_without_a_qformer_patches_are_joined() -> None:
    model = golden().patches_model
    names = [
        name
        for name in golden().arrays
        if name.endswith("_soft_prompts") and model and golden().arrays[name].ndim == 3
    ]
    if model is None or not names:
        pytest.skip("this golden folder has no model without a Q-Former")
    for name in names:
        pixels = name.replace("soft_prompts", "pixel_values")
        known = pixels if pixels in golden().arrays else "pixel_values"
        theirs = golden().tensor(name)
        ours = model.encode_images(golden().tensor(known)[: len(theirs)])
        assert worst(ours, theirs) <= ACTIVATIONS


def test_golden_arrays_are_the_size_their_list_says() -> None:
    for name, entry in golden().facts["arrays"].items():
        assert list(np.shape(golden().arrays[name])) == list(entry["shape"]), name
