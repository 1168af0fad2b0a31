"""Training data: the same for the same step, true to the renderer, never a held-out picture."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from minigpt4.conversation import Conversation, ImageSlot, Text, Turn, render
from minigpt4.models.minigpt4 import IGNORED, MiniGPT4, TrainingBatch
from minigpt4.models.presets import TINY as TINY_PRESET
from minigpt4.prompt_formats import CAPTION, TINY
from train.cartoon.asking import QUESTION_TYPES, dialogue
from train.cartoon.scene import HELD_OUT_SEEDS, make_scene
from train.cartoon.wordings import DESCRIBE_INSTRUCTIONS, NO_DRAWING
from train.errors import TrainingError
from train.samples import (
    Batches,
    aligned_sample,
    caption_sample,
    learned_tokens,
    read_instructions,
    training_seed,
)
from train.settings import ROOT, CartoonSettings

WORLD = CartoonSettings()
INSTRUCTIONS = ("Say what you see.", "Tell me everything.")


def test_the_same_seed_gives_the_same_sample() -> None:
    for sample_of in (
        lambda seed: caption_sample(seed, WORLD),
        lambda seed: aligned_sample(seed, WORLD, INSTRUCTIONS),
    ):
        first, again, other = sample_of(7), sample_of(7), sample_of(8)
        assert first.conversation == again.conversation
        assert first.picture.tobytes() == again.picture.tobytes()
        assert first.conversation != other.conversation


def test_pictures_are_drawn_as_large_as_the_eye_that_the_world_is_for_sees_them() -> None:
    assert WORLD.picture_size == TINY_PRESET.vision.image_size
    assert caption_sample(7, WORLD).picture.size == (WORLD.picture_size,) * 2


def test_no_stage_draws_held_out_pictures_or_those_of_another() -> None:
    last = 100_000_000 - 1
    assert training_seed(1, last) < training_seed(2, 0)
    assert training_seed(2, last) < HELD_OUT_SEEDS
    with pytest.raises(TrainingError, match="100,000,000"):
        training_seed(2, last + 1)


def test_stage_1_is_a_caption_without_an_instruction() -> None:
    conversation = caption_sample(3, WORLD).conversation
    assert [turn.question for turn in conversation.turns] == [""]
    pieces = render(conversation, CAPTION).pieces
    assert [type(piece).__name__ for piece in pieces] == ["SpecialToken", "ImageSlot", "Text"]
    assert isinstance(pieces[-1], Text)
    assert pieces[-1].text == f"{conversation.turns[0].answer}\n"


def test_stage_2_draws_an_instruction_for_every_sample() -> None:
    samples = [aligned_sample(seed, WORLD, INSTRUCTIONS) for seed in range(60)]
    first = [sample.conversation.turns[0].question for sample in samples]
    assert {*INSTRUCTIONS} <= {*first}
    assert {*DESCRIBE_INSTRUCTIONS} & {*first}
    lengths = {len(sample.conversation.turns) for sample in samples}
    assert lengths == {1, 4, 5, 6, 7, 8}
    for sample in samples:
        assert sample.conversation.image_keys == (sample.key,)
        assert sample.conversation.turns[0].images == (sample.key,)


def test_some_pictures_are_no_drawing_and_some_are_page_sketches() -> None:
    samples = [aligned_sample(seed, WORLD, INSTRUCTIONS) for seed in range(1200)]
    said = [" ".join(turn.answer or "" for turn in each.conversation.turns) for each in samples]
    strange = sum(NO_DRAWING in each for each in said) / len(said)
    sketches = sum("of a web page" in each for each in said) / len(said)
    assert 0.02 < strange < 0.06
    assert 0.03 < sketches < 0.07
    assert any("<!doctype html>" in each for each in said)
    captions = [caption_sample(seed, WORLD).conversation.turns[0].answer for seed in range(600)]
    assert 0.02 < sum("web page" in (each or "") for each in captions) / len(captions) < 0.08
    none = replace(WORLD, strange_share=0.0, sketch_share=0.0)
    assert not any(
        "web page that says" in (caption_sample(seed, none).conversation.turns[0].answer or "")
        for seed in range(200)
    )


def test_dialogues_ask_everything_that_the_world_can_be_asked() -> None:
    asked = {
        exchange.question_type
        for seed in range(400)
        for exchange in dialogue(make_scene(seed), random.Random(seed), 8)
    }
    assert asked == {*QUESTION_TYPES, "chat"}


def test_a_training_prompt_without_its_answers_is_the_serving_prompt(tiny_model: MiniGPT4) -> None:
    for seed in range(20):
        conversation = aligned_sample(seed, WORLD, INSTRUCTIONS).conversation
        trained = tiny_model.tokenize(render(conversation, TINY))
        for number, turn in enumerate(conversation.turns):
            asked = Conversation(
                (*conversation.turns[:number], Turn(turn.question, None, turn.images))
            )
            served = tiny_model.tokenize(render(asked, TINY))
            assert trained.ids[: len(served.ids)] == served.ids
            assert served.slots == trained.slots
            answer = tiny_model.language.encode(turn.answer or "")
            rest = trained.ids[len(served.ids) :]
            assert list(rest[: len(answer)]) == answer


def test_labels_cover_the_answers_and_their_end_symbols_alone(tiny_model: MiniGPT4) -> None:
    samples = [aligned_sample(seed, WORLD, INSTRUCTIONS) for seed in range(6)]
    batch = Batches(tiny_model, TINY, lambda seed: samples[seed]).of_samples(samples)
    encode = tiny_model.language.encode
    for row, sample in enumerate(samples):
        expected: list[int] = []
        for turn in sample.conversation.turns:
            expected += encode(turn.answer or "") + encode("###")
        labels = batch.labels[row]
        assert labels[labels != IGNORED].tolist() == expected
        assert (labels == batch.ids[row])[labels != IGNORED].all()
        assert (batch.attention_mask[row] == 1)[labels != IGNORED].all()
    assert learned_tokens(batch) == int((batch.labels != IGNORED).sum())
    assert batch.query_output.shape == (6, 4, 32)


def test_a_batch_does_not_depend_on_the_steps_before_it(tiny_model: MiniGPT4) -> None:
    batches = Batches(tiny_model, CAPTION, lambda seed: caption_sample(seed, WORLD))
    one, two = batches.of_step(1, 5, 2, 2)
    joined = list(batches.of_step(1, 5, 4, 1))
    assert len(one.ids) == len(two.ids) == 2
    assert one.ids.shape[1] >= two.ids.shape[1]  # like lengths stand together

    def learned(*parts: TrainingBatch) -> list[list[int]]:
        return [row[row != IGNORED].tolist() for part in parts for row in part.labels]

    assert sorted(learned(one, two)) == sorted(learned(*joined))


def test_a_picture_stands_in_every_slot(tiny_model: MiniGPT4) -> None:
    prompt = render(aligned_sample(1, WORLD, INSTRUCTIONS).conversation, TINY)
    assert sum(isinstance(piece, ImageSlot) for piece in prompt.pieces) == 1
    (start, key), *others = tiny_model.tokenize(prompt).slots
    assert key == "1"
    assert start > 0
    assert not others


def test_the_instructions_of_the_project_are_read_whole() -> None:
    instructions = read_instructions(ROOT / "prompts/alignment.txt")
    assert len(instructions) == 4
    assert "Describe this image in detail." in instructions


@pytest.mark.parametrize("content", ["Describe it.\n", "\n", "x <Img><ImageHere></Img> Look.\n"])
def test_a_wrong_file_of_instructions_is_told(tmp_path: Path, content: str) -> None:
    path = tmp_path / "instructions.txt"
    path.write_text(content)
    with pytest.raises(TrainingError, match=r"instructions\.txt"):
        read_instructions(path)
    with pytest.raises(TrainingError, match=r"nowhere\.txt"):
        read_instructions(tmp_path / "nowhere.txt")


def test_instructions_as_windows_writes_them(tmp_path: Path) -> None:
    path = tmp_path / "instructions.txt"
    path.write_bytes("\ufeff<Img><ImageHere></Img> Qu\u2028oi ?\r\n".encode())
    assert read_instructions(path) == ("Qu\u2028oi ?",)
    path.write_bytes("<Img><ImageHere></Img> Où ?\n".encode("latin-1"))
    with pytest.raises(TrainingError, match=r"instructions\.txt are no UTF-8"):
        read_instructions(path)
