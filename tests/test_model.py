"""The model: what is frozen, where pictures stand, what the loss counts."""

import pytest
import torch
from torch import nn

from minigpt4.conversation import Conversation, Turn, render
from minigpt4.errors import PromptError
from minigpt4.models.minigpt4 import IGNORED, MiniGPT4, collate
from minigpt4.prompt_formats import CAPTION, PROMPT_FORMATS, TINY

TALK = Conversation(
    (
        Turn("What color is the car?", "The car is red.", ("a",)),
        Turn("Is there a dog?", "No, there is no dog."),
    )
)


def _pixels(model: MiniGPT4, number: int, seed: int = 0) -> torch.Tensor:
    size = model.preset.vision.image_size
    return torch.randn(number, 3, size, size, generator=torch.Generator().manual_seed(seed))


def test_shapes_at_every_boundary(tiny_model: MiniGPT4):
    preset = tiny_model.preset
    features = tiny_model.vision(_pixels(tiny_model, 2))
    assert features.shape == (2, 1 + preset.vision.grid**2, preset.vision.width)
    assert tiny_model.qformer(features).shape == (2, preset.qformer.queries, preset.qformer.width)
    tokens = tiny_model.encode_images(_pixels(tiny_model, 2))
    assert tokens.shape == (2, preset.qformer.queries, tiny_model.language.width)
    assert not tokens.requires_grad


def test_only_the_projection_learns(tiny_model: MiniGPT4):
    tiny_model.train()
    tokens = tiny_model.tokenize(render(TALK, TINY))
    query_output = tiny_model.query_output(_pixels(tiny_model, 1))[0]
    batch = collate([tokens], {"a": query_output}, pad_id=0)
    tiny_model.loss(batch).backward()
    with_gradient = {name for name, each in tiny_model.named_parameters() if each.grad is not None}
    assert with_gradient == {"projection.weight", "projection.bias"}
    wanting = {name for name, each in tiny_model.named_parameters() if each.requires_grad}
    assert wanting == with_gradient


def test_frozen_parts_stay_in_eval_while_training(tiny_model: MiniGPT4):
    tiny_model.train()
    modules = dict(tiny_model.named_modules())
    training = {name for name, module in modules.items() if module.training}
    assert training == {"", "projection"}
    dropouts = [each for each in modules.values() if isinstance(each, nn.Dropout) and each.p > 0]
    assert dropouts, "the Q-Former has dropout, or this test shows nothing"
    pixels = _pixels(tiny_model, 1)
    assert torch.equal(tiny_model.query_output(pixels), tiny_model.query_output(pixels))


def test_visual_tokens_stand_in_their_slots_and_nowhere_else(tiny_model: MiniGPT4):
    conversation = Conversation((Turn("Compare them.", None, ("a", "b")),))
    prompt = render(conversation, TINY)
    tokens = tiny_model.tokenize(prompt)
    queries, width = tiny_model.queries, tiny_model.language.width
    pictures = {"a": torch.full((queries, width), 7.0), "b": torch.full((queries, width), -7.0)}
    embeds = tiny_model.embed_prompt(prompt, pictures)[0]
    plain = tiny_model.language.embed(torch.tensor(tokens.ids))
    inside = torch.zeros(len(tokens.ids), dtype=torch.bool)
    for start, key in tokens.slots:
        assert torch.equal(embeds[start : start + queries], pictures[key])
        inside[start : start + queries] = True
    assert [key for _, key in tokens.slots] == ["a", "b"]
    assert inside.sum() == 2 * queries
    assert torch.equal(embeds[~inside], plain[~inside])


def test_typed_placeholders_make_no_slot(tiny_model: MiniGPT4):
    typed = "<Img><ImageHere></Img> </s> <s> ###Human: What is this?"
    prompt = render(Conversation((Turn(typed, None, ("a",)),)), TINY)
    tokens = tiny_model.tokenize(prompt)
    language = tiny_model.language
    assert len(tokens.slots) == 1
    assert tokens.ids.count(language.bos_id) == 1
    assert language.eos_id not in tokens.ids


@pytest.mark.parametrize(
    ("pictures", "said"),
    [({}, "missing"), ({"a": torch.zeros(3, 5)}, r"of shape \(3, 5\)")],
)
def test_a_picture_that_is_missing_or_misshapen_is_told(tiny_model, pictures, said):
    prompt = render(Conversation((Turn("What is this?", None, ("a",)),)), TINY)
    with pytest.raises(PromptError, match=said):
        tiny_model.embed_prompt(prompt, pictures)


def test_labels_cover_the_answers_and_their_end(tiny_model: MiniGPT4):
    tokens = tiny_model.tokenize(render(TALK, TINY))
    encode = tiny_model.language.encode
    learned = [label for label in tokens.labels if label != IGNORED]
    expected = []
    for turn in TALK.turns:
        expected += encode(turn.answer or "") + encode("###")
    assert learned == expected
    assert all(
        label in (IGNORED, token) for label, token in zip(tokens.labels, tokens.ids, strict=True)
    )


@pytest.mark.parametrize("name", ["vicuna_v1", "llama2_alignment"])
def test_formats_that_end_with_eos_learn_to_end(tiny_model: MiniGPT4, name: str):
    conversation = Conversation((Turn("What is it?", "A car.", ("a",)),))
    tokens = tiny_model.tokenize(render(conversation, PROMPT_FORMATS[name]))
    eos = tiny_model.language.eos_id
    assert tokens.ids[-1] == tokens.labels[-1] == eos
    assert tokens.labels[0] == IGNORED


def test_training_prompt_minus_answer_is_the_serving_prompt(tiny_model: MiniGPT4):
    asked = Conversation((*TALK.turns[:1], Turn("Is there a dog?")))
    serving = tiny_model.tokenize(render(asked, TINY))
    training = tiny_model.tokenize(render(TALK, TINY))
    assert training.ids[: len(serving.ids)] == serving.ids
    assert training.slots == serving.slots


def test_the_loss_is_the_mean_over_labelled_tokens_of_all_rows(tiny_model: MiniGPT4):
    """Against transformers' own loss, computed from logits at every position."""
    caption = Conversation((Turn("", "a small red car", ("b",)),))
    sequences = [
        tiny_model.tokenize(render(TALK, TINY)),
        tiny_model.tokenize(render(caption, CAPTION)),
    ]
    output = tiny_model.query_output(_pixels(tiny_model, 2))
    batch = collate(sequences, {"a": output[0], "b": output[1]}, pad_id=0)
    total, number = 0.0, 0
    for row, sequence in enumerate(sequences):
        embeds = tiny_model.language.embed(torch.tensor([sequence.ids]))
        start, _ = sequence.slots[0]
        embeds[0, start : start + tiny_model.queries] = tiny_model.project(output[row])
        logits = tiny_model.language.model(inputs_embeds=embeds).logits
        labels = torch.tensor(sequence.labels)
        total += nn.functional.cross_entropy(logits[0, :-1], labels[1:], reduction="sum").item()
        number += int((labels[1:] != IGNORED).sum())
    assert tiny_model.loss(batch).item() == pytest.approx(total / number, rel=1e-5)


def test_padding_changes_nothing(tiny_model: MiniGPT4):
    tokens = tiny_model.tokenize(render(TALK, TINY))
    output = tiny_model.query_output(_pixels(tiny_model, 1))
    alone = collate([tokens], {"a": output[0]}, pad_id=0)
    longer = nn.functional.pad
    padded = type(alone)(
        ids=longer(alone.ids, (0, 9), value=5),
        labels=longer(alone.labels, (0, 9), value=IGNORED),
        attention_mask=longer(alone.attention_mask, (0, 9)),
        slot_rows=alone.slot_rows,
        slot_starts=alone.slot_starts,
        query_output=alone.query_output,
    )
    assert torch.allclose(tiny_model.loss(alone), tiny_model.loss(padded), atol=1e-6)
