"""One renderer for training and serving: the release's prompts, and no way for text to be structure."""

import json
from pathlib import Path
from typing import Any

import pytest

from minigpt4.conversation import (
    Conversation,
    ImageSlot,
    Prompt,
    SpecialToken,
    Text,
    Turn,
    fit,
    render,
)
from minigpt4.errors import ContextOverflowError, PromptError
from minigpt4.prompt_formats import (
    ALIGNMENT,
    CAPTION,
    LLAMA2_ALIGNMENT,
    LLAMA2_CHAT,
    PROMPT_FORMATS,
    TINY,
    VICUNA_V0,
    VICUNA_V1,
    PromptFormat,
)

RELEASE = json.loads((Path(__file__).parent / "golden" / "prompts.json").read_text("utf-8"))
INSTRUCTIONS = Path(__file__).parents[1] / "prompts" / "alignment.txt"
CHAT_FORMATS = [each for each in PROMPT_FORMATS.values() if each.takes_question]


def conversation_of(steps: list[list[Any]]) -> Conversation:
    """Build the conversation that the release's calls describe; pictures wait for a question."""
    conversation = Conversation()
    waiting: list[str] = []
    for call, value in steps:
        if call == "img":
            waiting.append(str(value))
        elif call == "ask":
            conversation = conversation.with_question(value, waiting)
            waiting = []
        else:
            conversation = conversation.with_answer(value)
    return conversation


def asked(question: str, *images: str) -> Conversation:
    return Conversation().with_question(question, images)


# The release, character for character


@pytest.mark.parametrize("name", RELEASE["conversations"])
def test_vicuna_v0_is_the_serving_prompt_of_the_release(name: str) -> None:
    golden = RELEASE["conversations"][name]
    conversation = conversation_of(golden["steps"])
    prompt = render(conversation, VICUNA_V0)
    assert prompt.text == "<s>" + golden["prompt"]
    assert [each.text for each in prompt.pieces if isinstance(each, Text)] == golden["segments"]
    assert prompt.image_keys == conversation.image_keys
    assert prompt.image_keys == tuple(
        str(value) for call, value in golden["steps"] if call == "img"
    )


def test_llama2_chat_is_the_serving_prompt_of_the_release() -> None:
    golden = RELEASE["llama2"]
    prompt = render(conversation_of(golden["steps"]), LLAMA2_CHAT)
    assert prompt.text == "<s>" + golden["prompt"]
    assert [each for each in prompt.pieces if isinstance(each, SpecialToken)] == [
        SpecialToken("bos")
    ] * 4


@pytest.mark.parametrize(
    ("name", "conversation"),
    [
        ("empty", Conversation()),
        ("text only", asked("Hello")),
        ("image then question", asked("Hello", "0")),
        ("image without question", asked("", "0")),
        ("llama2 image then question", Conversation((Turn("Hello", "Hi", ("0",)), Turn("x")))),
    ],
)
def test_other_prompts_of_the_release(name: str, conversation: Conversation) -> None:
    (golden,) = [case for case in RELEASE["cases"] if case["name"] == name]
    used = LLAMA2_CHAT if golden["template"] == "CONV_VISION_LLama2" else VICUNA_V0
    assert render(conversation, used).text == "<s>" + golden["prompt"]


def test_an_empty_answer_keeps_its_separator() -> None:
    conversation = Conversation((Turn("one", "", ("0",)), Turn("two")))
    (golden,) = [case for case in RELEASE["cases"] if case["name"] == "empty answer"]
    assert "###Assistant: Human: two" in golden["prompt"]  # what the release did
    mended = golden["prompt"].replace("Assistant: Human:", "Assistant: ###Human:")
    assert render(conversation, VICUNA_V0).text == "<s>" + mended
    for prompt_format in CHAT_FORMATS:
        empty = render(conversation, prompt_format).text
        full = render(Conversation((Turn("one", "@", ("0",)), Turn("two"))), prompt_format).text
        assert empty == full.replace("@", "")


@pytest.mark.parametrize("number", range(4))
def test_alignment_is_the_training_prompt_of_the_release(number: int) -> None:
    lines = INSTRUCTIONS.read_text("utf-8").splitlines()
    assert len(lines) == 4
    question = lines[number].removeprefix("<Img><ImageHere></Img> ")
    assert question != lines[number]
    for prompt_format in (ALIGNMENT, TINY):
        prompt = render(asked(question, "k"), prompt_format)
        assert prompt.text == "<s>" + RELEASE["alignment"][number]


def test_caption_is_a_picture_its_caption_and_a_line_break() -> None:
    prompt = render(Conversation((Turn("", "a red bus", ("k",)),)), CAPTION)
    assert prompt.pieces == (SpecialToken("bos"), ImageSlot("k"), Text("a red bus\n", "answer"))
    assert render(asked("", "k"), CAPTION).pieces == (SpecialToken("bos"), ImageSlot("k"))
    with pytest.raises(PromptError, match="no place for a question"):
        render(asked("What is this?", "k"), CAPTION)


def test_vicuna_v1_ends_answers_with_eos() -> None:
    prompt = render(Conversation((Turn("Hi", "Hello.", ("k",)), Turn("Why?"))), VICUNA_V1)
    assert prompt.text == (
        f"<s>{VICUNA_V1.system} USER: <Img><ImageHere></Img> Hi ASSISTANT: Hello.</s>"
        "USER: Why? ASSISTANT:"
    )


def test_llama2_training_ends_with_eos() -> None:
    prompt = render(Conversation((Turn("Q", "A", ("k",)),)), LLAMA2_ALIGNMENT)
    assert prompt.text == "<s>[INST] <Img><ImageHere></Img> Q [/INST] A</s>"
    assert prompt.pieces[-2:] == (Text("A", "answer"), SpecialToken("eos", "end"))


# The pieces


def test_tiny_has_a_piece_for_every_part() -> None:
    conversation = asked("Q", "k").with_answer("A").with_question("Q2")
    assert render(conversation, TINY).pieces == (
        SpecialToken("bos"),
        Text("###Human: "),
        Text("<Img>"),
        ImageSlot("k"),
        Text("</Img> "),
        Text("Q", "question"),
        Text(" ###Assistant: "),
        Text("A", "answer"),
        Text("###", "end"),
        Text("Human: "),
        Text("Q2", "question"),
        Text(" ###Assistant: "),
    )


def test_tiny_keeps_the_pictures_of_a_turn_in_one_message() -> None:
    assert render(asked("Q", "a", "b"), TINY).text == (
        "<s>###Human: <Img><ImageHere></Img> <Img><ImageHere></Img> Q ###Assistant: "
    )
    assert render(asked("Q"), TINY).text == "<s>###Human: Q ###Assistant: "


def test_a_joined_sample_trains_its_last_answer_as_one_string() -> None:
    conversation = Conversation((Turn("Q", "A", ("k",)), Turn("Q2", "B")))
    assert render(conversation, ALIGNMENT).pieces == (
        SpecialToken("bos"),
        Text("###Human: <Img>"),
        ImageSlot("k"),
        Text("</Img> Q ###Assistant: A###Human: Q2 ###Assistant: "),
        Text("B###", "answer"),
    )


@pytest.mark.parametrize("prompt_format", PROMPT_FORMATS.values(), ids=lambda each: each.name)
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_training_sees_exactly_what_serving_will_show(
    prompt_format: PromptFormat, turns: int
) -> None:
    question = "Q" if prompt_format.takes_question else ""
    given = tuple(Turn(question, f"A{n}", (f"k{n}",)) for n in range(turns))
    serving = render(
        Conversation((*given[:-1], Turn(question, None, given[-1].images))), prompt_format
    )
    training = render(Conversation(given), prompt_format)
    shared = len(serving.pieces)
    assert training.pieces[:shared] == serving.pieces
    rest = training.pieces[shared:]
    assert rest
    assert all(isinstance(each, Text | SpecialToken) for each in rest)
    assert {each.part for each in rest if not isinstance(each, ImageSlot)} <= {"answer", "end"}


def test_formats_are_found_by_name() -> None:
    assert all(each.name == name for name, each in PROMPT_FORMATS.items())
    assert {"tiny", "vicuna_v0", "llama2_chat", "caption"} <= set(PROMPT_FORMATS)


def test_every_stop_string_is_reserved_so_that_no_answer_is_taught_to_hold_it() -> None:
    for prompt_format in CHAT_FORMATS:
        for stop in prompt_format.stop_strings:
            sample = render(Conversation((Turn("Q", f"a {stop} b", ("k",)),)), prompt_format)
            answer = "".join(
                each.text
                for each in sample.pieces
                if isinstance(each, Text) and each.part in ("answer", "end")
            )
            assert stop not in answer.removesuffix(prompt_format.assistant_separator)


# Conversations are values


def test_conversation_methods_return_new_values() -> None:
    empty = Conversation()
    one = empty.with_question("Q", ["k"])
    answered = one.with_answer("A")
    assert (empty.turns, one.open, answered.open, empty.open) == ((), True, False, False)
    assert answered.with_answer("B").turns[-1] == Turn("Q", "B", ("k",))
    assert answered.with_question("R", ["l", "k"]).image_keys == ("k", "l", "k")
    assert answered.without_last() == empty
    with pytest.raises(PromptError):
        empty.without_last()
    with pytest.raises(PromptError):
        empty.with_answer("A")


def test_only_the_last_turn_may_be_open() -> None:
    with pytest.raises(PromptError, match="Turn 1 of 2 has no answer"):
        Conversation((Turn("Q"), Turn("R")))


# The context


def length_of(prompt: Prompt) -> int:
    """Count 100 for a picture and one for a character."""
    return sum(
        100 if isinstance(each, ImageSlot) else len(each.text) if isinstance(each, Text) else 1
        for each in prompt.pieces
    )


def long_chat(turns: int) -> Conversation:
    given = [
        Turn(f"question {n}", f"answer {n}", (f"k{n}",) if n % 3 == 0 else ()) for n in range(turns)
    ]
    return Conversation((*given, Turn("the last question")))


@pytest.mark.parametrize("prompt_format", CHAT_FORMATS, ids=lambda each: each.name)
@pytest.mark.parametrize("limit", [700, 900, 1_200, 5_000])
def test_fit_drops_the_fewest_oldest_turns_and_no_picture(
    prompt_format: PromptFormat, limit: int
) -> None:
    chat = long_chat(12)
    kept, dropped = fit(chat, prompt_format, length_of, limit)
    assert length_of(render(kept, prompt_format)) <= limit
    assert len(kept.turns) == len(chat.turns) - dropped
    assert kept.image_keys == chat.image_keys
    assert kept.turns[1:] == chat.turns[dropped + 1 :]
    if dropped:
        moved = tuple(key for turn in chat.turns[: dropped + 1] for key in turn.images)
        assert kept.turns[0].images == moved
        assert kept.turns[0].question == chat.turns[dropped].question
        more, _ = fit(chat, prompt_format, length_of, limit + 40)
        assert len(more.turns) >= len(kept.turns)


def test_fit_leaves_what_fits() -> None:
    chat = long_chat(3)
    exact = length_of(render(chat, TINY))
    assert fit(chat, TINY, length_of, exact) == (chat, 0)
    assert fit(chat, TINY, length_of, exact - 1)[1] == 1


def test_fit_tells_both_numbers_when_the_last_turn_is_too_long() -> None:
    chat = long_chat(12)
    alone = Turn("the last question", None, chat.image_keys)
    needed = length_of(render(Conversation((alone,)), TINY))
    assert fit(chat, TINY, length_of, needed)[0] == Conversation((alone,))
    with pytest.raises(ContextOverflowError) as caught:
        fit(chat, TINY, length_of, needed - 1)
    assert (caught.value.length, caught.value.limit) == (needed, needed - 1)


def test_fit_measures_few_prompts() -> None:
    measured = []

    def count(prompt: Prompt) -> int:
        measured.append(prompt)
        return len(prompt.pieces)

    fit(long_chat(500), TINY, count, 800)
    assert len(measured) <= 12
