"""What the pill says, in plain words."""

import pytest

from minigpt4.chat import AnswerPart, ChatStatistics
from minigpt4.encoder import EncoderStatistics
from minigpt4.engines.statistics import EngineStatistics
from minigpt4.ui.status import rest_status, waiting_status
from minigpt4.ui.views import Status, status_html
from minigpt4.ui.worker import Waiting


def statistics(**engine: float) -> ChatStatistics:
    return ChatStatistics(EngineStatistics(**engine), EncoderStatistics())


def test_a_new_page_says_which_model_and_how_loading_stands():
    assert rest_status("Tiny", "loading") == Status("loading", "loading …", "Tiny")
    assert rest_status("Tiny", "failed").text == "could not be loaded"
    assert rest_status("Tiny", "ready") == Status("ready", "ready", "Tiny")


def test_after_an_answer_it_says_how_fast_and_how_much_room_is_left():
    last = AnswerPart("x", 50, 2.0, "stop", prompt_tokens=110, context_tokens=640)
    status = rest_status("Tiny", "ready", last, statistics(running=2, waiting=1, answered=1234))
    assert (status.text, status.more) == ("25 tokens/s", "75% of the context left")
    details = dict(status.details)
    assert details["Last answer"] == "50 tokens in 2.0 s"
    assert details["Context used"].startswith("160 of 640 tokens")
    assert details["Answering now"] == "2 chats"
    assert details["Waiting"] == "1 chat"
    assert details["Answered since the start"] == "1,234"
    assert "All chats together" not in details
    assert not {"Written together", "First word", "Known from before", "Memory for chats"} & {
        *details
    }
    busy = statistics(
        batch_size=3.25,
        first_token_counts=(1, 3),
        first_token_sum=0.5,
        prompt_tokens=1000,
        cached_tokens=804,
        cache_share=0.24,
    )
    details = dict(rest_status("Tiny", "ready", last, busy).details)
    assert details["Written together"] == "3.2 answers at a time lately"
    assert details["First word"] == "after 0.12 s in the mean"
    assert details["Known from before"] == "80% of what was to be read"
    assert details["Memory for chats"] == "24% in use"
    fast = rest_status("Tiny", "ready", last, statistics(tokens_per_second=41.7))
    assert dict(fast.details)["All chats together"] == "42 tokens/s lately"


@pytest.mark.parametrize(("tokens", "seconds"), [(1, 2.0), (5, 0.0)])
def test_no_speed_is_made_up(tokens, seconds):
    assert rest_status("Tiny", "ready", AnswerPart("x", tokens, seconds)).text == "ready"


def test_a_full_context_is_not_less_than_empty():
    last = AnswerPart("x", 50, 2.0, prompt_tokens=90, context_tokens=100)
    assert rest_status("Tiny", "ready", last).more == "0% of the context left"


def test_what_a_question_waits_for():
    assert "once the model is loaded" in waiting_status(Waiting(0, loading=True)).text
    assert waiting_status(Waiting(1, loading=False)).text == "Waiting: 1 question before yours"
    assert waiting_status(Waiting(7, loading=False)).text == "Waiting: 7 questions before yours"
    assert waiting_status(Waiting(0, loading=False)).kind == "answering"


def test_names_are_never_markup():
    attack = "<img src=x>"
    details = ((attack, attack),)
    for status in (
        Status("ready", attack, attack, attack),
        Status("ready", attack, attack, attack, details, opened=True),
    ):
        written = status_html(status)
        assert "<img" not in written
        assert written.count("&lt;img") >= 3
    assert '<details class="about-pill" open>' in written
