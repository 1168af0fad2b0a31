"""Properties that hold for anything anybody sends, tried on inputs that a machine makes up."""

import io
import itertools
import re

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from minigpt4.conversation import (
    Conversation,
    ImageSlot,
    SpecialToken,
    Text,
    Turn,
    clean_question,
    clean_text,
    fit,
    render,
)
from minigpt4.engines.base import StopStringFilter
from minigpt4.errors import ContextOverflowError, ImageError, PromptError
from minigpt4.images import image_key, load_image
from minigpt4.prompt_formats import LLAMA2_CHAT, PROMPT_FORMATS, TINY

CHAT_FORMATS = [each for each in PROMPT_FORMATS.values() if each.takes_question]

# The same examples in every run: CI must not fail by chance. `make torture` tries other ones too.
tried = settings(max_examples=150, deadline=None, derandomize=True)

_FRAGMENTS = (
    "#", "##", "###", "Human: ", "Assistant:", "[", "INST]", "[/INST]", "<<SYS>>", "<s>", "</s>",
    "USER:", "ASSISTANT", ":", "<Img>", "<ImageHere>", "</Img>", " ", "\n", "\x00", "\ud800",
    "\u202e", "\u200b", "a", "What is it?",
)  # fmt: skip
texts = st.lists(st.sampled_from(_FRAGMENTS) | st.text(max_size=5), max_size=8).map("".join)
pictures = st.lists(st.sampled_from("abcdef"), max_size=3, unique=True).map(tuple)
turns = st.builds(Turn, texts, texts, pictures)
conversations = st.builds(
    lambda closed, last: Conversation((*closed, last)),
    st.lists(turns, max_size=3),
    turns | st.builds(Turn, texts, st.none(), pictures),
)
formats = st.sampled_from(CHAT_FORMATS)


def calm(conversation: Conversation) -> Conversation:
    """The same conversation with harmless words wherever somebody said something."""

    def word(text: str | None) -> str | None:
        return text and "word"

    return Conversation(
        tuple(
            Turn(word(each.question), word(each.answer), each.images) for each in conversation.turns
        )
    )


@tried
@given(conversations, formats)
def test_a_prompt_has_the_structure_of_its_conversation_and_no_other(conversation, prompt_format):
    said, harmless = (render(each, prompt_format) for each in (conversation, calm(conversation)))

    def structure(prompt):
        return [each for each in prompt.pieces if isinstance(each, SpecialToken | ImageSlot)]

    assert structure(said) == structure(harmless)
    assert said.image_keys == conversation.image_keys
    for reserved in prompt_format.reserved:
        pattern = f"(?={re.escape(reserved)})"
        assert len(re.findall(pattern, said.text)) == len(re.findall(pattern, harmless.text))
    for piece in said.pieces:
        if isinstance(piece, Text):
            piece.text.encode()  # no lone surrogate


@tried
@given(
    st.lists(turns, min_size=1, max_size=3), st.builds(Turn, texts, st.none(), pictures), formats
)
def test_what_was_said_never_changes_by_what_is_said_next(closed, last, prompt_format):
    before = render(
        Conversation((*closed[:-1], Turn(closed[-1].question, None, closed[-1].images))),
        prompt_format,
    )
    after = render(Conversation((*closed, last)), prompt_format)
    assert after.text.startswith(before.text)
    if not prompt_format.join_text:
        assert after.pieces[: len(before.pieces)] == before.pieces


@tried
@given(conversations, st.integers(1, 400))
def test_fitting_drops_as_few_turns_as_it_can_and_no_picture(conversation, limit):
    def length(prompt):
        return len(prompt.text) + 10 * len(prompt.image_keys)

    try:
        fitted, dropped = fit(conversation, TINY, length, limit)
    except ContextOverflowError:
        last = conversation.turns[-1]
        alone = Conversation((Turn(last.question, last.answer, conversation.image_keys),))
        assert length(render(alone, TINY)) > limit
        return
    assert length(render(fitted, TINY)) <= limit
    assert fitted.image_keys == conversation.image_keys
    assert len(fitted.turns) == len(conversation.turns) - dropped
    assert fitted.turns[-1].question == conversation.turns[-1].question
    if dropped:
        assert length(render(conversation, TINY)) > limit


@tried
@given(texts | st.text())
def test_cleaning_is_done_once_and_for_all(text):
    once = clean_text(text)
    assert clean_text(once) == once
    try:
        question = clean_question(text)
    except PromptError:
        return
    assert question == question.strip() == clean_question(question)
    assert len(render(Conversation().with_question(question), LLAMA2_CHAT).text) > len(question)


@tried
@given(
    st.text("ab#\n", max_size=30),
    st.lists(st.text("ab#\n", min_size=1, max_size=4), max_size=3),
    st.lists(st.integers(0, 30)),
)
def test_a_stop_string_is_found_however_the_text_is_cut(text, stops, cuts):
    found = [at for stop in stops if (at := text.find(stop)) >= 0]
    expected = text[: min(found)] if found else text
    places = sorted({0, *(min(cut, len(text)) for cut in cuts), len(text)})
    watched = StopStringFilter(stops)
    shown = "".join(watched.feed(text[a:b]) for a, b in itertools.pairwise(places))
    shown += "" if watched.stopped else watched.flush()
    assert watched.stopped == bool(found)
    if len(stops) == 1:
        assert shown == expected
    elif found:  # of two that overlap, the one that is whole first may count
        assert any(text.startswith(shown + stop) for stop in stops)
    else:
        assert shown == text


_HEADS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP", b"GIF89a", b"BM", b"")


@tried
@given(st.sampled_from(_HEADS), st.binary(max_size=400))
def test_bytes_are_a_picture_or_one_clean_error(head, rest):
    try:
        image = load_image(head + rest)
    except ImageError as error:
        said = error.message
    else:
        said = f"{image.mode} {image.info}"
    assert said == "RGB {}" or re.fullmatch(r"[A-Z][^/]*[.]", said)


@st.composite
def rgba_arrays(draw):
    height, width = draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    content = draw(st.binary(min_size=4 * height * width, max_size=4 * height * width))
    return np.frombuffer(content, np.uint8).reshape(height, width, 4)


@tried
@given(rgba_arrays(), st.sampled_from(["PNG", "WEBP"]))
def test_a_transparent_picture_stands_on_white(pixels, file_format):
    buffer = io.BytesIO()
    options = {"lossless": True, "exact": True} if file_format == "WEBP" else {}
    Image.fromarray(pixels, "RGBA").save(buffer, file_format, **options)
    seen = np.asarray(load_image(buffer.getvalue())).astype(float)
    alpha = pixels[..., 3:] / 255
    expected = pixels[..., :3] * alpha + 255 * (1 - alpha)
    assert np.abs(seen - expected).max() <= 1  # rounding


@tried
@given(rgba_arrays(), st.integers(0, 11), st.integers(0, 2), st.integers(1, 255))
def test_a_pixel_more_or_less_is_another_key(pixels, place, channel, change):
    assume(place < pixels.shape[1])
    other = pixels.copy()
    other[0, place, channel] = (int(other[0, place, channel]) + change) % 256
    keys = [image_key(Image.fromarray(each[..., :3].copy(), "RGB")) for each in (pixels, other)]
    assert keys[0] != keys[1]
    turned = pixels[..., :3].swapaxes(0, 1).copy()
    if turned.shape != pixels[..., :3].shape:
        assert image_key(Image.fromarray(turned, "RGB")) != keys[0]


@pytest.mark.parametrize("prompt_format", CHAT_FORMATS, ids=lambda each: each.name)
def test_the_properties_would_notice(prompt_format):
    """What the first property compares is there to be compared."""
    prompt = render(Conversation((Turn("###", "[INST]", ("a",)), Turn("x"))), prompt_format)
    assert len([each for each in prompt.pieces if isinstance(each, ImageSlot)]) == 1
    assert any(isinstance(each, SpecialToken) for each in prompt.pieces)
