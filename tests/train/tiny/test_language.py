"""What the language model reads in stage 0, and how its answers are scored."""

import string
from dataclasses import replace

import pytest
import torch

from minigpt4.conversation import render
from minigpt4.models.minigpt4 import IGNORED
from minigpt4.prompt_formats import TINY
from tests.train.tiny.conftest import SMALL
from train.cartoon.asking import ATTRIBUTE_WORDS
from train.cartoon.scene import (
    BACKGROUNDS,
    COLORS,
    HELD_OUT_PAIRS,
    KINDS,
    SIZES,
    Scene,
    Thing,
    make_scene,
    strange_scene,
)
from train.cartoon.words import SIGN_WORDS, UNSEEN_SIGN_WORDS
from train.samples import conversation_of
from train.tiny import language as training
from train.tiny.language import gate, gate_samples, new_language_model, place_slots, train_language
from train.tiny.lessons import Lessons
from train.tiny.slots import (
    BACKGROUND_QUERY,
    FIRST_LETTER_QUERY,
    QUERIES,
    FusedSlots,
    doubted,
    slot_words,
)
from train.tiny.steps import load_weights, save_weights

CAR = Thing("car", "red", "small", 0.55, 0.55, 0.09)
SIGN = Thing("sign", "blue", "large", 0.2, 0.1, 0.2, "OK")
SCENE = Scene(seed=0, background="beach", things=(SIGN, CAR))
LENGTH = 200


@pytest.fixture
def lessons(language):
    return Lessons(language, plain_weight=0.2, length=LENGTH)


def test_every_slot_has_the_words_that_are_true_there():
    words = slot_words(SCENE)
    assert len(words) == QUERIES
    assert words[SIGN.cell] == ("large", "blue", "sign", "top", "left")
    assert words[CAR.cell] == ("small", "red", "car", "center")
    assert words[BACKGROUND_QUERY] == ("background", "beach")
    assert words[FIRST_LETTER_QUERY:] == [("O",), ("K",), *[("nothing",)] * 3]
    free = [words[cell] for cell in range(BACKGROUND_QUERY) if cell not in {SIGN.cell, CAR.cell}]
    assert free == [("nothing",)] * 14


def test_a_strange_picture_has_nothing_but_a_strange_background():
    words = slot_words(strange_scene(3))
    assert words.pop(BACKGROUND_QUERY) == ("background", "strange")
    assert set(words) == {("nothing",)}


def test_a_slot_is_the_sum_of_its_words(language):
    slots = FusedSlots(language)
    generator = torch.Generator().manual_seed(0)
    made = slots.embed(slots.ids([SCENE]), 0.0, generator)[0]
    ids = torch.tensor([language.encode(word)[0] for word in slot_words(SCENE)[CAR.cell]])
    assert torch.allclose(made[CAR.cell], language.embed(ids).sum(dim=0), atol=1e-6)
    noisy = slots.embed(slots.ids([SCENE]), 0.4, generator)[0]
    off = (noisy - made).norm(dim=-1)
    assert (off > 0).all()
    assert (off < 2 * made.norm(dim=-1)).all()


def test_words_that_carry_something_are_one_piece(language):
    assert {word for word in ATTRIBUTE_WORDS if len(language.encode(word)) != 1} == set()


def test_signs_are_read_letter_by_letter(language):
    letters = {letter: language.encode(f'"{letter}"')[1:-1] for letter in "ABCDEFGHIJKLMNOPQRST"}
    for word in (*SIGN_WORDS, *UNSEEN_SIGN_WORDS):
        pieces = language.encode(f'"{word}"')
        assert len(pieces) == len(word) + 2, word
        known = [index for index, letter in enumerate(word) if letter in letters]
        assert all([pieces[index + 1]] == letters[word[index]] for index in known), word


def test_the_same_seeds_give_the_same_batch(lessons):
    first, again, other = (
        lessons.training(seeds, 6) for seeds in (range(8), range(8), range(8, 16))
    )
    for name in ("ids", "labels", "weights", "slot_rows", "slot_starts", "words"):
        assert getattr(first, name).equal(getattr(again, name)), name
    assert not first.ids.equal(other.ids)
    rows = lessons.rows(range(8), 6, any_pairs=True)
    assert lessons.batch(rows, length=LENGTH).ids.equal(first.ids)


def test_texts_alone_tell_of_pairs_that_no_picture_shows(lessons):
    def pairs(scenes):
        return {(thing.color, thing.kind) for scene in scenes for thing in scene.things}

    read = [scene for scene, _ in lessons.rows(range(300), 6, any_pairs=True)]
    shown = [scene for scene, _ in lessons.rows(range(300), 6)]
    assert len(pairs(read) & HELD_OUT_PAIRS) > 10
    assert not pairs(shown) & HELD_OUT_PAIRS


def test_a_word_in_doubt_has_a_share_of_another_of_its_sort(language, lessons):
    ids = lessons.slots.ids([make_scene(seed, min_things=4) for seed in range(16)])
    (nothing,) = language.encode("nothing")
    plain = language.embed(ids.clamp(min=0))
    found, again = (
        doubted(plain, ids, nothing, 0.4, torch.Generator().manual_seed(0)) for _ in range(2)
    )
    assert found.equal(again)
    sorts = [SIZES, COLORS, KINDS]
    changed = ((found - plain).abs().amax(dim=-1) > 0).nonzero()
    assert 0 < len(changed) < 0.2 * (ids >= 0).sum()
    for row, slot, column in changed.tolist():
        assert ids[row, slot, column] >= 0
        assert ids[row, slot, 0] != nothing
        words = (
            sorts[column]
            if slot < BACKGROUND_QUERY and column < 3
            else ("top", "bottom", "left", "right", "center")
            if slot < BACKGROUND_QUERY
            else ("background", *BACKGROUNDS)
            if slot == BACKGROUND_QUERY
            else ()
        )
        sort = [language.encode(word)[0] for word in words]
        letters = [language.encode(f'"{letter}"')[1] for letter in string.ascii_uppercase]
        others = language.embed(torch.tensor(sort or letters))
        shares = (found - plain)[row, slot, column]
        to_each = others - plain[row, slot, column]
        lengths = to_each.norm(dim=-1)
        along = (to_each @ shares) / lengths.square().clamp(min=1e-9)
        fits = ((along[:, None] * to_each - shares).norm(dim=-1) < 1e-4) & (lengths > 0)
        assert fits.any()
        assert 0 < along[fits].max() < 0.4


def test_rows_are_never_longer_than_told_and_nearly_full(lessons):
    rows = [tokens for _, tokens in lessons.rows(range(120), 6)]
    lengths = [len(row.ids) for row in rows]
    assert max(lengths) <= LENGTH
    assert sorted(lengths)[len(lengths) // 2] > 0.7 * LENGTH
    assert lessons.training(range(4), 6).ids.shape == (4, LENGTH)


def test_few_pictures_are_strange_and_curricula_hold(lessons):
    scenes = [scene for scene, _ in lessons.rows(range(300), 2)]
    assert max(len(scene.things) for scene in scenes) == 2
    assert 1 <= sum(scene.strange for scene in scenes) <= 30
    assert not any(scene.strange for scene, _ in lessons.rows(range(50), 2, strange_share=0.0))


def test_labels_stand_on_answers_and_their_ends_alone(lessons, language):
    for _, exchange in gate_samples("count", 5, 4):
        tokens = lessons.tokens(render(conversation_of([exchange]), TINY))
        labelled = [label for label in tokens.labels if label != IGNORED]
        said = language.decode(labelled)
        assert said.partition("###")[0].strip() == exchange.answer
        assert all(
            label in {IGNORED, token}
            for token, label in zip(tokens.ids, tokens.labels, strict=True)
        )


def test_words_that_carry_something_weigh_more(lessons, language):
    batch = lessons.training(range(8), 4)
    assert batch.weights[batch.labels == IGNORED].unique().tolist() == [0.0]
    weighed = {
        int(label): round(weight, 3)
        for label, weight in zip(
            batch.labels.flatten().tolist(), batch.weights.flatten().tolist(), strict=True
        )
        if label != IGNORED
    }
    assert set(weighed.values()) == {0.2, 1.0}
    assert weighed[language.encode("picture")[0]] == 0.2
    heavy = {language.encode(word)[0] for word in ("red", "small", "car", "top", "two")}
    assert {weighed.get(token, 1.0) for token in heavy} == {1.0}


def test_in_the_end_all_words_weigh_the_same(lessons):
    early, late = (lessons.training(range(8), 4, plain_weight=each) for each in (None, 1.0))
    assert late.labels.equal(early.labels)
    assert late.weights.equal((late.labels != IGNORED).float())


def test_the_last_part_of_a_run_weighs_all_words_the_same(
    output, tmp_path, uncompiled, monkeypatch
):
    monkeypatch.setattr(training, "gate", lambda *_, **__: {"color": 0.5})
    weights = []
    batched = Lessons.training

    def watched(self, *given, **named):
        batch = batched(self, *given, **named)
        weights.append(float(batch.weights[batch.weights > 0].min()))
        return batch

    monkeypatch.setattr(Lessons, "training", watched)
    steps = replace(SMALL.steps, steps=4)
    settings = replace(SMALL, steps=steps, even_from=0.5)
    train_language(output / "language", settings, tmp_path / "state.pt", lambda _: None)
    assert weights == pytest.approx([0.2, 0.2, 1.0, 1.0])


def test_slots_stand_where_the_prompt_has_them(lessons, language):
    batch = lessons.batch(lessons.rows(range(6), 4))
    slots = torch.full((len(batch.slot_rows), QUERIES, language.width), 7.0)
    embeds = place_slots(language, batch, slots)
    placed = (embeds == 7.0).all(dim=-1)
    assert placed.sum().item() == QUERIES * len(batch.slot_rows)
    for row, start in zip(batch.slot_rows.tolist(), batch.slot_starts.tolist(), strict=True):
        assert placed[row, start : start + QUERIES].all()
        assert (batch.labels[row, start : start + QUERIES] == IGNORED).all()


def test_some_signs_say_letters_at_random_and_none_an_unseen_word(lessons):
    scenes = [scene for scene, _ in lessons.rows(range(200), 6)]
    words = [thing.word for scene in scenes for thing in scene.things if thing.word]
    known = [word for word in words if word in SIGN_WORDS]
    assert 0.2 * len(words) < len(known) < 0.8 * len(words)
    assert not set(words) & set(UNSEEN_SIGN_WORDS)


def test_the_gate_is_not_passed_by_guessing(lessons, language):
    assert set(gate(language, lessons, 4).values()) == {0.0}


def test_the_gate_counts_whole_answers(lessons, language, monkeypatch):
    """A stand-in that knows every answer but for one token of the first row."""
    types = ("color", "count")
    wanted = {}

    def remember(prompts, **_):
        batch = Lessons.batch(lessons, prompts)
        wanted["labels"] = batch.labels
        return batch

    def knows(hidden):
        labels = wanted["labels"][:, 1:].clamp(min=0).clone()
        first = int((wanted["labels"][0, 1:] != IGNORED).nonzero()[0])
        labels[0, first] += 1
        return torch.nn.functional.one_hot(labels, 1024).float()

    monkeypatch.setattr(lessons, "batch", remember)
    monkeypatch.setattr(language.model, "lm_head", torch.nn.Identity())
    monkeypatch.setattr(language.model.lm_head, "forward", knows)
    assert gate(language, lessons, 4, types=types) == {"color": 0.75, "count": 0.75}


def test_what_an_eye_sees_may_stand_in_the_slots(lessons, language):
    asked = []

    def see(scenes):
        asked.extend(scenes)
        return torch.zeros(len(scenes), QUERIES, language.width)

    gate(language, lessons, 3, types=("color",), see=see)
    assert asked == [scene for scene, _ in gate_samples("color", 3, 6)]


def test_a_killed_run_goes_on_where_it_stood(output, tmp_path, uncompiled, monkeypatch):
    monkeypatch.setattr(training, "gate", lambda *_, **__: {"color": 0.5})
    four = training.LanguageSettings(
        width=64, depth=1, heads=2, intermediate=64, length=LENGTH,
        steps=training.StepSettings(
            steps=4, batch_size=2, learning_rate=1e-3, warmup_steps=2, weight_decay=0.02,
            check_every=2,
        ),
    )  # fmt: skip
    straight = train_language(output / "language", four, tmp_path / "a.pt", lambda _: None)

    class KilledError(Exception):
        pass

    def kill(scores):
        if scores["step"] == 4:
            raise KilledError

    with pytest.raises(KilledError):
        train_language(output / "language", four, tmp_path / "b.pt", kill)
    resumed = train_language(output / "language", four, tmp_path / "b.pt", lambda _: None)
    weights = straight.state_dict()
    assert all(each.equal(weights[name]) for name, each in resumed.state_dict().items())
    assert SMALL.steps.steps == 2


def test_fixed_embeddings_stay_and_the_rest_learns(output, tmp_path, uncompiled, monkeypatch):
    monkeypatch.setattr(training, "gate", lambda *_, **__: {"color": 0.5})
    start = tmp_path / "start.safetensors"
    language = new_language_model(output / "language", SMALL)
    save_weights(language, start)
    load_weights(language, start)  # as they are in half precision
    before = {name: each.clone() for name, each in language.state_dict().items()}
    fixed = replace(SMALL, fixed_embeddings=True)
    trained = train_language(
        output / "language", fixed, tmp_path / "state.pt", lambda _: None, start
    )
    same = {name for name, each in trained.state_dict().items() if each.equal(before[name])}
    # The output head is tied to the embeddings.
    assert same == {"model.model.embed_tokens.weight", "model.lm_head.weight"}
