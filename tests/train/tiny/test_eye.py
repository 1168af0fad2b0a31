"""The eye's training in a few steps at a tiny size: what it is asked, that it resumes, what it saves."""

import json
import math
from dataclasses import replace

import pytest
import torch

from minigpt4.checkpoints.native import load_part
from minigpt4.models.presets import TINY as TINY_PRESET
from minigpt4.models.presets import Preset, QFormerConfig, VisionConfig
from minigpt4.models.qformer import QFormer
from minigpt4.models.vision import VisionEncoder
from tests.train.tiny.conftest import steps
from train.cartoon.draw import look_of
from train.cartoon.scene import (
    BACKGROUNDS,
    COLORS,
    HELD_OUT_PAIRS,
    HELD_OUT_SEEDS,
    KINDS,
    Scene,
    Thing,
    make_scene,
    strange_scene,
)
from train.cartoon.signs import sign_layout
from train.cartoon.words import SIGN_WORDS, UNSEEN_SIGN_WORDS
from train.errors import TrainingError
from train.tiny.attributes import (
    IGNORED,
    LETTERS,
    NO_KIND,
    NO_LETTER,
    NO_RANK,
    STRANGE,
    attribute_losses,
    labels_of,
)
from train.tiny.eye import (
    Eye,
    EyeSettings,
    eye_losses,
    pixel_values,
    save_eye,
    train_eye,
    training_batch,
    training_scene,
)
from train.tiny.eye_run import run
from train.tiny.eye_scores import held_out, score
from train.tiny.false_colors import GRAY, shows_held_out
from train.tiny.slots import QUERIES
from train.tiny.steps import load_weights

SMALL = Preset(
    name="small",
    vision=VisionConfig(
        "vit", image_size=48, patch_size=8, width=32, depth=1, heads=2, mlp_ratio=2
    ),
    qformer=QFormerConfig(
        QUERIES, width=32, depth=1, heads=2, intermediate=32, cross_attention_every=1
    ),
)
SETTINGS = EyeSettings(preset=SMALL, held_out_scenes=8, steps=steps(4))
SIGN = Thing("sign", "blue", "large", 0.4, 0.6, 0.3, "STOP")


def _scene(*things, background="beach"):
    return Scene(seed=5, background=background, things=things)


def _ignore_check(eye, step, losses):
    pass


def test_a_cell_is_asked_about_its_thing_and_an_empty_one_only_whether_it_is_empty():
    car = Thing("car", "red", "small", 0.9, 0.3, 0.09)
    labels = labels_of([_scene(car)], 6)
    assert labels["kind"][0, 7] == KINDS.index("car")
    assert labels["color"][0, 7] == COLORS.index("red")
    assert labels["size"][0, 7] == 0
    assert labels["third"][0, 7] == 2
    assert labels["background"].tolist() == [BACKGROUNDS.index("beach")]
    assert (labels["kind"] == NO_KIND).sum() == 15
    for name in ("color", "size", "third"):
        assert (labels[name] == IGNORED).sum() == 15


def test_what_is_no_drawing_has_no_thing_no_letter_and_a_background_of_its_own():
    labels = labels_of([strange_scene(3)], 6)
    assert labels["background"].tolist() == [STRANGE]
    assert (labels["kind"] == NO_KIND).all()
    assert (labels["letter"] == NO_LETTER).all()
    assert (labels["left_rank"] == NO_RANK).all()


def test_letters_are_spelled_and_found_in_the_half_patch_that_holds_their_centre():
    labels = labels_of([_scene(SIGN)], 6)
    assert labels["letter"][0].tolist() == [*(LETTERS.index(each) for each in "STOP"), NO_LETTER]
    halves = torch.stack([labels["left_letter"][0], labels["right_letter"][0]], dim=1)
    ranks = torch.stack([labels["left_rank"][0], labels["right_rank"][0]], dim=1)
    for rank, box in enumerate(sign_layout(SIGN)):
        row, column = int(box.y * 6), int(box.x * 12)
        patch, side = 6 * row + column // 2, column % 2
        assert halves[patch, side] == LETTERS.index(box.letter)
        assert ranks[patch, side] == rank
    assert (halves != NO_LETTER).sum() == 4
    assert ((halves != NO_LETTER) == (ranks != NO_RANK)).all()


def test_of_two_letters_in_one_half_the_one_nearer_to_its_centre_is_asked_for():
    small = replace(SIGN, size="small", radius=(4 * 0.074 + 0.05) / 2)
    grid = 3  # halves of a sixth hold two letters of a small sign
    labels = labels_of([_scene(small)], grid)
    centres = {}
    for box in sign_layout(small):
        column = int(box.x * 2 * grid)
        off = abs(box.x * 2 * grid - column - 0.5)
        centres.setdefault(column, []).append((off, box.letter))
    assert max(map(len, centres.values())) == 2
    row = int(sign_layout(small)[0].y * grid)
    for column, found in centres.items():
        side = ("left_letter", "right_letter")[column % 2]
        letter = labels[side][0, grid * row + column // 2]
        assert LETTERS[letter] == min(found)[1]


def test_a_batch_depends_on_its_step_alone():
    batch = training_batch(3, SETTINGS)
    torch.manual_seed(123)
    again, other = training_batch(3, SETTINGS), training_batch(4, SETTINGS)
    assert torch.equal(batch.values, again.values)
    assert all(torch.equal(each, again.labels[name]) for name, each in batch.labels.items())
    assert torch.equal(batch.untrue, again.untrue)
    assert not torch.equal(batch.values, other.values)


def test_pictures_without_colour_are_not_asked_about_it():
    settings = replace(
        SETTINGS,
        gray_share=1.0,
        false_color_share=0.0,
        rough_share=0.0,
        strange_share=0.3,
        steps=steps(4, batch_size=40),
    )
    batch = training_batch(0, settings)
    values, labels = batch.values, batch.labels
    kept = [shows_held_out(scene, GRAY) for scene in batch.scenes]
    assert batch.untrue.tolist() == [not each for each in kept]
    assert 0.5 < batch.untrue.float().mean() < 1
    values, labels = values[batch.untrue], {k: v[batch.untrue] for k, v in labels.items()}
    mean, std = torch.tensor(SMALL.mean)[:, None, None], torch.tensor(SMALL.std)[:, None, None]
    plain = values * std + mean
    assert (plain.amax(dim=1) - plain.amin(dim=1)).max() < 1e-5
    assert (labels["color"] == IGNORED).all()
    asked = set(labels["background"].tolist()) - {IGNORED}
    page = len(BACKGROUNDS)
    assert STRANGE in asked <= {page, STRANGE}


def test_some_pictures_come_in_false_colours_and_are_not_asked_about_them():
    settings = replace(
        SETTINGS,
        gray_share=0.0,
        false_color_share=0.5,
        rough_share=0.0,
        steps=steps(4, batch_size=40),
    )
    batch = training_batch(0, settings)
    plain = pixel_values(batch.scenes, SMALL)
    changed = (batch.values - plain).abs().amax(dim=(1, 2, 3)) > 0.05
    assert changed[~batch.untrue].sum() == 0
    assert 0.2 < batch.untrue.float().mean() < 0.8
    assert changed[batch.untrue].float().mean() > 0.5  # black and white ones look as before
    assert (batch.labels["color"][batch.untrue] == IGNORED).all()
    there = batch.labels["kind"] != NO_KIND
    drawn = torch.tensor([not scene.is_page for scene in batch.scenes])[:, None]
    asked = batch.labels["color"][there & drawn & ~batch.untrue[:, None]]
    assert len(asked) > 0
    assert (asked != IGNORED).all()


def test_training_pictures_have_the_shares_asked_for_and_never_what_is_held_out():
    settings = replace(SETTINGS, sign_share=0.5, strange_share=0.1)
    scenes = [training_scene(number, settings) for number in range(400)]
    signs = sum(any(thing.word for thing in scene.things) for scene in scenes)
    assert 0.5 < signs / 400 < 0.75
    assert 0.05 < sum(scene.strange for scene in scenes) / 400 < 0.16
    assert 0.02 < sum(scene.is_page for scene in scenes) / 400 < 0.09
    assert all(scene.seed < HELD_OUT_SEEDS for scene in scenes)
    things = [thing for scene in scenes for thing in scene.things]
    assert not {(thing.color, thing.kind) for thing in things} & HELD_OUT_PAIRS
    words = [thing.word for thing in things if thing.word]
    assert {thing.kind for thing in things if thing.word} == {"sign", "title"}
    assert not set(words) & set(UNSEEN_SIGN_WORDS)
    assert 0.35 < sum(word in SIGN_WORDS for word in words) / len(words) < 0.65


def test_hard_scenes_are_looked_for_in_the_share_asked_for():
    def share_of(hard_share: float) -> float:
        settings = replace(
            SETTINGS, sign_share=0, strange_share=0, hard_share=hard_share, alone_share=0
        )
        scenes = [training_scene(number, settings) for number in range(300)]
        scenes = [scene for scene in scenes if not scene.is_page]
        hard = [
            len(scene.things) >= 5 or look_of(scene).style in ("hollow", "textured")
            for scene in scenes
        ]
        assert all(scene.seed < HELD_OUT_SEEDS for scene in scenes)
        return sum(hard) / len(hard)

    assert share_of(0.0) < 0.55
    assert 0.65 < share_of(0.5) < 0.85
    assert share_of(1.0) == 1.0


def test_one_big_thing_is_looked_for_in_the_share_asked_for():
    def share_of(alone_share: float) -> float:
        settings = replace(
            SETTINGS, sign_share=0, strange_share=0, hard_share=0, alone_share=alone_share
        )
        scenes = [training_scene(number, settings) for number in range(300)]
        scenes = [scene for scene in scenes if not scene.is_page]
        big = [[thing.radius > 0.21 for thing in scene.things] == [True] for scene in scenes]
        return sum(big) / len(big)

    assert share_of(0.0) < 0.1
    assert 0.25 < share_of(0.3) < 0.45
    assert share_of(1.0) == 1.0


@pytest.mark.parametrize(
    ("shares", "told"),
    [
        ({"gray_share": 0.7, "false_color_share": 0.5}, "gray_share 0.7.*together 1.2"),
        ({"sign_share": 0.9, "strange_share": 0.1}, "sign_share 0.9.*together 1.05"),
    ],
)
def test_shares_beyond_everything_are_refused(shares, told):
    with pytest.raises(TrainingError, match=told):
        replace(SETTINGS, **shares)


def test_held_out_scenes_are_half_of_unseen_pairs():
    scenes = held_out(20)
    unseen = [
        any((thing.color, thing.kind) in HELD_OUT_PAIRS for thing in scene.things)
        for scene in scenes.scenes
    ]
    assert unseen == [False, True] * 10
    assert len(scenes.unseen_words) == len(scenes.strange) == 5
    assert all(scene.seed >= HELD_OUT_SEEDS for scene in scenes.scenes + scenes.unseen_words)


def test_a_batch_in_which_nothing_is_asked_costs_nothing():
    eye = Eye(SMALL)
    labels = labels_of([strange_scene(1)], 6)
    asked, _ = eye(pixel_values([strange_scene(1)], SMALL))
    losses = attribute_losses(asked, labels)
    assert losses["color"] == 0
    assert all(math.isfinite(loss.item()) for loss in losses.values())
    losses["color"].backward()
    assert all(each.grad is None or each.grad.isfinite().all() for each in eye.parameters())


def test_empty_cells_do_not_drown_the_few_that_hold_something():
    labels = {"kind": torch.tensor([[0] + 15 * [NO_KIND]])}
    always_empty = torch.zeros(1, 16, NO_KIND + 1)
    always_empty[..., NO_KIND] = 5.0
    loss = attribute_losses({"kind": always_empty}, labels)["kind"].item()
    plain = torch.nn.functional.cross_entropy(always_empty[0], labels["kind"][0]).item()
    assert loss > 2 * plain


def test_parts_of_the_loss_reach_every_weight_but_are_not_all_asked_of_both_ends():
    eye = Eye(SMALL)
    losses, queries = eye_losses(eye, training_batch(0, SETTINGS), SETTINGS)
    assert queries.shape == (len(training_batch(0, SETTINGS).scenes), 22, SMALL.qformer.width)
    assert {"kind", "third", "letter", "patch_kind", "patch_left_rank"} <= set(losses)
    assert "patch_third" not in losses
    torch.stack(list(losses.values())).sum().backward()
    without = {name for name, each in eye.named_parameters() if each.grad is None}
    assert not without


def test_training_leaves_out_the_dropout_of_the_q_former():
    eye = Eye(SMALL).train()
    assert eye.vision.training
    assert not eye.qformer.training
    features = torch.randn(2, 37, 32)
    assert torch.equal(eye.qformer(features), eye.qformer(features))


def test_a_run_that_stops_and_goes_on_ends_where_an_unbroken_one_does(tmp_path):
    whole = train_eye(SETTINGS, tmp_path / "whole.pt", _ignore_check)

    def stop(eye, step, losses):
        if step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_eye(SETTINGS, tmp_path / "broken.pt", stop)
    assert torch.load(tmp_path / "broken.pt", weights_only=True)["step"] == 2
    broken = train_eye(SETTINGS, tmp_path / "broken.pt", _ignore_check)
    for name, each in whole.state_dict().items():
        assert torch.equal(each, broken.state_dict()[name]), name


def test_a_run_can_begin_from_the_weights_of_another(tmp_path):
    first = train_eye(SETTINGS, tmp_path / "first.pt", _ignore_check)
    save_eye(first, tmp_path / "eye.pt")
    for file in ("first.pt", "eye.pt"):
        eye = Eye(SMALL)
        load_weights(eye, tmp_path / file)
        assert torch.equal(eye.qformer.query_tokens, first.qformer.query_tokens)
    second = train_eye(
        replace(SETTINGS, steps=steps(2, learning_rate=0.0)),
        tmp_path / "second.pt",
        _ignore_check,
        warm_start=tmp_path / "eye.pt",
    )
    assert torch.equal(second.qformer.query_tokens, first.qformer.query_tokens)


def test_weights_of_another_size_are_refused(tmp_path):
    save_eye(Eye(SMALL), tmp_path / "eye.pt")
    larger = replace(SMALL, qformer=replace(SMALL.qformer, width=64))
    with pytest.raises(TrainingError, match="does not fit what is trained"):
        load_weights(Eye(larger), tmp_path / "eye.pt")
    with pytest.raises(TrainingError, match="no weights at"):
        load_weights(Eye(SMALL), tmp_path / "none.pt")


def test_a_run_writes_scores_and_parts_that_see_what_the_eye_saw(tmp_path):
    eye = run(tmp_path, SETTINGS)
    lines = [json.loads(line) for line in (tmp_path / "eye_scores.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4]
    for name in (
        "kind",
        "unseen_pair",
        "occupied",
        "word",
        "unseen_word",
        "strange",
        "sketch_kind",
        "sketch_word",
    ):
        assert 0 <= lines[-1][name] <= 1
    assert all(loss > 0 for loss in lines[-1]["losses"].values())

    vision = VisionEncoder(SMALL.vision).eval()
    qformer = QFormer(SMALL.qformer, SMALL.vision.width).eval()
    load_part(tmp_path / "vision.safetensors", vision, "vision", preset="small")
    load_part(tmp_path / "qformer.safetensors", qformer, "qformer", preset="small")
    values = pixel_values([make_scene(8), make_scene(9)], SMALL)
    with torch.no_grad():
        # Fused attention there, plain products here: other orders of the same sums.
        torch.testing.assert_close(
            qformer(vision(values)), eye.qformer(eye.vision(values)), rtol=1e-4, atol=1e-4
        )


def test_an_eye_that_answers_rightly_scores_one_and_an_empty_answer_none():
    scenes = held_out(8)

    class Knows(torch.nn.Module):
        def __init__(self, confusion=0):
            super().__init__()
            self.confusion = confusion
            self.parts = iter((scenes.scenes, scenes.unseen_words, scenes.strange, scenes.sketches))

        def forward(self, values):
            labels = labels_of(next(self.parts), 6)
            logits = {
                name: torch.nn.functional.one_hot(each.clamp(min=0) + self.confusion, 40).float()
                for name, each in labels.items()
            }
            return logits, logits

    right = score(Knows(), scenes, SMALL)
    assert set(right.values()) == {1.0}
    assert {"unseen_word", "unseen_pair", "no_word", "drawing", "sketch_word"} <= set(right)
    wrong = score(Knows(confusion=1), scenes, SMALL)
    assert wrong["kind"] == wrong["letter"] == wrong["word"] == wrong["sketch_kind"] == 0
    assert wrong["strange"] == 0


def test_the_queries_are_as_many_as_there_are_questions():
    assert TINY_PRESET.qformer.queries == QUERIES == 22
