"""Errors speak in sentences and survive a trip between processes."""

import pickle

import pytest

from minigpt4.errors import (
    ConfigError,
    ContextOverflowError,
    ImageError,
    MiniGPT4Error,
    PromptError,
)

ERRORS = [
    ConfigError(["a: 1 given; expected text."]),
    ConfigError(["a: wrong.", "b: wrong."]),
    ImageError("empty", "The file is empty."),
    PromptError("Please type a question."),
    ContextOverflowError(2312, 2048),
]


@pytest.mark.parametrize("error", ERRORS)
def test_errors_survive_pickling(error: MiniGPT4Error) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_one_problem_is_a_sentence_and_several_are_a_list() -> None:
    assert str(ERRORS[0]) == "a: 1 given; expected text."
    assert str(ERRORS[1]).splitlines()[1:] == ["  - a: wrong.", "  - b: wrong."]


def test_an_overflow_tells_both_numbers() -> None:
    assert "2,312" in str(ERRORS[4])
    assert "2,048" in str(ERRORS[4])
    assert isinstance(ERRORS[4], PromptError)
    assert "has room for 0." in str(ContextOverflowError(2312, -5))
