"""Where an answer came from: worked out anew, of the right picture, and without a trace."""

import threading
from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch import nn

from minigpt4.build import build_model
from minigpt4.chat import Chat, Session
from minigpt4.config import GenerationSettings
from minigpt4.conversation import Conversation, Turn, render
from minigpt4.encoder import EncodedImage, PictureEncoder
from minigpt4.engines.generate import GenerateEngine
from minigpt4.errors import EngineError, PromptError
from minigpt4.images import to_pixel_values
from minigpt4.looking.attention import patch_attention
from minigpt4.looking.look import spread_over
from minigpt4.looking.words import split_words, tokens_of_words
from minigpt4.models.language import load_tokenizer
from minigpt4.models.language_input import LanguageInput
from minigpt4.models.minigpt4 import MiniGPT4
from minigpt4.models.patches import JoinedPatches
from minigpt4.models.projections import named_projections
from minigpt4.models.vision import VisionEncoder
from minigpt4.prompt_formats import TINY as FORMAT
from minigpt4.prompt_formats import VICUNA_V0
from tests.looking.parts import (
    ANSWER,
    CLOSE,
    PRESET,
    looking,
    picture,
    reference_patches,
    reference_rollout,
    said,
    seen,
)


def test_maps_are_the_product_of_both_attentions(model):
    """Worked out anew from transformers' weights, for a word of several tokens and for others."""
    image = picture(1)
    tokens = seen(model, image)
    look = looking(model).answer(said("a"), 0, {"a": tokens}, {"a": image}, 100)
    assert [each.word.text for each in look.words] == [w.text for w in split_words(ANSWER)]
    assert (look.pictures, look.dropped) == (("a",), 0)

    prompt = render(Conversation((Turn("What is this?", None, ("a",)),)), FORMAT)
    before = model.embed_prompt(prompt, {"a": tokens})
    ids = model.language.encode(ANSWER)
    embeds = torch.cat([before, model.language.embed(torch.tensor([ids]))], dim=1)
    whole = reference_rollout(model.language, embeds)
    slot = (before[0, :, None] == tokens[None]).all(-1).nonzero()[:, 0]
    assert len(slot) == 5
    preset = model.preset
    values = to_pixel_values(image, 64, preset.mean, preset.std)
    patches = reference_patches(model.qformer, model.vision(values[None]))
    spelled = tokens_of_words(model.language, ids, split_words(ANSWER))
    assert max(map(len, spelled)) > 2
    for each, places in zip(look.words, spelled, strict=True):
        # What stands at position t was predicted at t - 1.
        rows = [before.shape[1] + place - 1 for place in places]
        shares = whole[rows][:, slot].mean(0)
        expected = (shares**2 @ patches**2).reshape(4, 4)
        found = each.maps["a"]
        torch.testing.assert_close(found, expected / expected.sum(), **CLOSE)
        assert (found >= 0).all()
        assert found.sum() == pytest.approx(1)
        assert each.shares == {"a": pytest.approx(1)}
    apart = torch.stack([each.maps["a"] for each in look.words])
    assert (apart - apart[0]).abs().amax() > 1e-3, "maps that are all alike would show nothing"


@pytest.mark.parametrize("prompt_format", [FORMAT, VICUNA_V0], ids=lambda each: each.name)
def test_each_of_several_pictures_has_its_own_map(model, prompt_format):
    """Also one that stands in two slots: both count for it."""
    images = {"a": picture(1), "b": picture(2, (30, 80))}
    tokens = {key: seen(model, image) for key, image in images.items()}
    conversation = Conversation(
        (
            Turn("What is this?", "A car.", ("a",)),
            Turn("And these?", ANSWER, ("b", "a")),
            Turn("What came later?", "It does not matter.", ("b",)),
        )
    )
    look = looking(model, prompt_format=prompt_format).answer(conversation, 1, tokens, images, 100)
    assert look.pictures == ("a", "b")

    asked = Conversation((*conversation.turns[:1], Turn("And these?", None, ("b", "a"))))
    before = model.embed_prompt(render(asked, prompt_format), tokens)
    ids = model.language.encode(ANSWER)
    embeds = torch.cat([before, model.language.embed(torch.tensor([ids]))], dim=1)
    whole = reference_rollout(model.language, embeds)
    last = look.words[-1]
    place = tokens_of_words(model.language, ids, split_words(ANSWER))[-1]
    row = whole[[before.shape[1] + each - 1 for each in place]].mean(0)
    mass = {}
    for key, value in tokens.items():
        columns = (before[0][:, None] == value[None]).all(-1).nonzero()[:, 0]
        assert len(columns) == (10 if key == "a" else 5)
        shares = row[columns].reshape(-1, 5).sum(0)
        mass[key] = float(shares.sum())
        values = to_pixel_values(images[key], 64, PRESET.mean, PRESET.std)
        patches = reference_patches(model.qformer, model.vision(values[None]))
        expected = (shares**2 @ patches**2).reshape(4, 4)
        torch.testing.assert_close(last.maps[key], expected / expected.sum(), **CLOSE)
    total = sum(mass.values())
    assert last.shares == pytest.approx({key: value / total for key, value in mass.items()})


def test_old_turns_that_did_not_fit_have_no_part(model):
    images = {"a": picture(1), "b": picture(2)}
    tokens = {key: seen(model, image) for key, image in images.items()}
    old = Turn("Tell me about " + "the red car and " * 12 + "it", "A car. " * 20, ("a",))
    long = Conversation((old, Turn("And this?", ANSWER, ("b",))))
    short = Conversation((Turn("And this?", ANSWER, ("a", "b")),))
    context = 250
    look = looking(model, context).answer(long, 1, tokens, images, 100)
    expected = looking(model, context).answer(short, 0, tokens, images, 100)
    assert (look.dropped, expected.dropped) == (1, 0)
    assert look.pictures == ("a", "b"), "pictures stay when their turn goes"
    for mine, theirs in zip(look.words, expected.words, strict=True):
        torch.testing.assert_close(mine.maps["a"], theirs.maps["a"], **CLOSE)
        torch.testing.assert_close(mine.maps["b"], theirs.maps["b"], **CLOSE)


def test_what_cannot_be_looked_at_is_refused_in_words(model):
    look = looking(model).answer
    with pytest.raises(PromptError, match="no answer 2 to look at; this chat has 1"):
        look(said("a"), 1, {}, {}, 100)
    with pytest.raises(PromptError, match="no answer -"):
        look(said("a"), -2, {}, {}, 100)
    with pytest.raises(PromptError, match="no answer yet"):
        look(Conversation((Turn("What?", None, ("a",)),)), 0, {}, {}, 100)
    with pytest.raises(PromptError, match="seen no picture"):
        look(said(), 0, {}, {}, 100)


def test_a_model_without_a_q_former_is_looked_at_too(language):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        vision = VisionEncoder(PRESET.vision)
        model = MiniGPT4(
            replace(PRESET, joined_patches=4), vision, JoinedPatches(PRESET.vision, 4), language
        )
    image = picture(1)
    look = looking(model).answer(said("a"), 0, {"a": seen(model, image)}, {"a": image}, 100)
    heat = look.words[3].maps["a"]
    assert heat.sum() == pytest.approx(1)
    rows = heat.unique(dim=1)
    assert rows.shape == (4, 1), "a row of four patches is one visual token"
    assert len(looking(model).visual_tokens(seen(model, image), image)) == 4


def test_looking_changes_nothing(model):
    """No hook, no other implementation, no gradient, no random number."""
    image = picture(1)
    tokens = seen(model, image)
    hooks = [
        (len(part._forward_hooks), len(part._forward_pre_hooks), part.training)
        for part in model.modules()
    ]
    state = torch.get_rng_state()
    looking(model).answer(said("a"), 0, {"a": tokens}, {"a": image}, 100)
    looking(model).visual_tokens(tokens, image)
    assert torch.equal(torch.get_rng_state(), state)
    assert model.language.model.config._attn_implementation == "sdpa"
    assert model.qformer.transformer.config._attn_implementation == "sdpa"
    assert hooks == [
        (len(part._forward_hooks), len(part._forward_pre_hooks), part.training)
        for part in model.modules()
    ]
    assert all(weight.grad is None for weight in model.parameters())
    assert torch.is_grad_enabled()


def test_answers_of_others_go_on_as_if_nobody_looked(model):
    image = picture(1)
    tokens = seen(model, image)
    chat = Chat(
        model, GenerateEngine(model), FORMAT, encoder=PictureEncoder(model), context_tokens=800
    )
    session = Session(images={"a": EncodedImage("a", tokens, image.size)}, pending=("a",))
    settings = GenerationSettings(temperature=0, repetition_penalty=1.0, max_new_tokens=150)

    def answer() -> str:
        return list(chat.stream_answer(session, "What is this?", settings))[-1].text

    alone = answer()
    done, looks, failures = threading.Event(), [], []

    def keep_looking() -> None:
        while not done.is_set():
            try:
                look = looking(model).answer(said("a"), 0, {"a": tokens}, {"a": image}, 100)
                looks.append(look.words[-1].maps["a"])
            except Exception as error:  # noqa: BLE001 - whatever it is, the test tells it
                failures.append(error)
                return

    watcher = threading.Thread(target=keep_looking)
    watcher.start()
    try:
        beside = []
        while len(beside) < 3 or (len(looks) < 4 and not failures):
            beside.append(answer())
    finally:
        done.set()
        watcher.join(60)
        chat.close()
    assert failures == []
    assert set(beside) == {alone}
    for each in looks:
        torch.testing.assert_close(each, looks[0], **CLOSE)


def test_each_visual_token_has_its_map_and_its_words(model):
    image = picture(1)
    tokens = seen(model, image)
    values = to_pixel_values(image, 64, PRESET.mean, PRESET.std)
    patches = patch_attention(model.qformer, model.vision(values[None]))
    looks = looking(model).visual_tokens(tokens, image)
    assert len(looks) == 5
    for look, row in zip(looks, patches, strict=True):
        torch.testing.assert_close(look.map, (row / row.sum()).reshape(4, 4), **CLOSE)
        assert len(look.words) == 5


def test_a_chat_looks_through_the_projection_it_answered_with(model):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        other = nn.Linear(32, 64)
        nn.init.normal_(other.weight, std=2.0)
    chat = Chat(
        model,
        GenerateEngine(model),
        FORMAT,
        encoder=PictureEncoder(model, keep_query_output=True),
        context_tokens=800,
        others=named_projections({"Stage 1": other}),
    )
    image = picture(1)
    encoded = chat.encode_image(image)
    session = Session(said(encoded.key), {encoded.key: encoded})
    pictures = {encoded.key: image}
    own = chat.look(session, 0, pictures).words[-1].maps[encoded.key]
    before = chat.look(session, 0, pictures, projection="Stage 1").words[-1].maps[encoded.key]
    tokens = {encoded.key: encoded.visual_tokens}
    direct = looking(model).answer(session.conversation, 0, tokens, pictures, 100)
    torch.testing.assert_close(own, direct.words[-1].maps[encoded.key], **CLOSE)
    assert not torch.allclose(own, before, rtol=0.05)
    words = chat.look_at_tokens(session, encoded.key, image)
    others = chat.look_at_tokens(session, encoded.key, image, "Stage 1")
    assert [each.words for each in words] != [each.words for each in others]
    with pytest.raises(PromptError, match="no longer part of the chat"):
        chat.look_at_tokens(session, "gone", image)
    chat.close()


def test_a_failing_model_is_told_in_a_sentence(model, monkeypatch):
    def fail(*_: object) -> None:
        raise RuntimeError("secret: /srv/weights/model.bin")

    monkeypatch.setattr(model.vision, "forward", fail)
    tokens = torch.zeros(5, 64)
    with pytest.raises(EngineError) as told:
        looking(model).answer(said("a"), 0, {"a": tokens}, {"a": picture(1)}, 100)
    assert "secret" not in str(told.value)


def test_where_a_server_has_the_language_model_only_visual_tokens_can_be_seen(
    model, tokenizer_folder
):
    embeddings = model.language.model.get_input_embeddings()
    remote = LanguageInput(embeddings, *load_tokenizer(tokenizer_folder))
    other = MiniGPT4(PRESET, model.vision, model.qformer, remote, model.projection)
    image = picture(1)
    tokens = seen(other, image)
    with pytest.raises(EngineError, match="runs on a server"):
        looking(other).answer(said("a"), 0, {"a": tokens}, {"a": image}, 100)
    here, there = (looking(each).visual_tokens(tokens, image) for each in (model, other))
    assert [each.words for each in here] == [each.words for each in there]


@pytest.mark.slow
def test_the_shipped_model_looks_at_what_it_names():
    """The claim of docs/looking.md, on one picture."""
    from minigpt4.config import ASSETS, load_config
    from tests.truth import true_answer
    from tests.ui.screenshots import ROOT

    model = build_model(load_config(ROOT / "eval_configs" / "tiny.yaml", ["device=cpu"]))
    image = Image.open(ASSETS / "examples" / "harbour.png").convert("RGB")
    asked = "Describe this image in detail."
    question = Turn(asked, true_answer("harbour", asked), ("a",))
    look = looking(model).answer(
        Conversation((question,)), 0, {"a": seen(model, image)}, {"a": image}, 200
    )
    found = {each.word.text: each.maps["a"] for each in look.words}
    sun = spread_over(found["sun"], (96, 96), look.first_centre)
    boat = spread_over(found["boat"], (96, 96), look.first_centre)
    assert sun[:40, :40].sum() > 0.5
    assert boat[32:76, 32:76].sum() > 0.5
    assert boat[:40, :40].sum() < 0.2
