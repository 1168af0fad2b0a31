"""Words, the tokens that spell them, and the words that visual tokens are like."""

import pytest
import torch

from minigpt4.looking.vocabulary import nearest_words
from minigpt4.looking.words import split_words, tokens_of_words
from tests.looking.parts import (
    ANSWER,
)


def test_words_are_cut_where_people_cut_them():
    text = "I don't see 3.5 well-known cars.A “naïve” 日本 fish!\n(x_1)"
    words = split_words(text)
    expected = ["I", "don't", "see", "3.5", "well-known", "cars", "A", "naïve", "日", "本"]
    assert [word.text for word in words] == [*expected, "fish", "x_1"]
    assert all(text[word.start : word.end] == word.text for word in words)
    assert split_words("... !?") == ()


@pytest.mark.parametrize(
    "text",
    [
        ANSWER,
        "A red, red car: “naïve” ☃ and 日本.",
        "an  odd   spacing of words",
        "car car car",
        "x",
    ],
)
def test_tokens_of_a_word_spell_it_and_nothing_else_does(language, text):
    ids, words = language.encode(text), split_words(text)
    tokens = tokens_of_words(language, ids, words)
    for word, places in zip(words, tokens, strict=True):
        assert places, word
        assert list(places) == list(range(places[0], places[-1] + 1))
        first, last = places[0], places[-1] + 1
        before, through = language.decode(ids[:first]), language.decode(ids[:last])
        after_open_bytes = through.strip()
        assert after_open_bytes.endswith(word.text) or word.text in after_open_bytes
        assert len(through.replace(" ", "")) > len(before.replace(" ", ""))
    starts = [places[0] for places in tokens]
    assert starts == sorted(starts)
    assert len(set(starts)) == len(starts), "the second “red” is not the first one"


def test_a_word_of_several_tokens_takes_all_of_them(language):
    ids = language.encode("a unpurpled car")
    (places,) = tokens_of_words(language, ids, split_words("a unpurpled car")[1:2])
    assert len(places) > 2
    assert language.decode(ids[places[0] : places[-1] + 1]) == "unpurpled"


def test_a_word_the_ids_do_not_spell_has_no_tokens(language):
    words = split_words("a zebra car")
    tokens = tokens_of_words(language, language.encode("a car"), words)
    assert [bool(places) for places in tokens] == [True, False, True]


def test_nearest_words_are_found_in_spite_of_what_all_share(language):
    embeddings = language.model.get_input_embeddings()
    with torch.no_grad():
        embeddings.weight.add_(4.0)  # a large common part
    wanted = ["boat", "red"]
    ids = [language.encode(word)[0] for word in wanted]
    tokens = language.embed(torch.tensor(ids)) + 0.01
    found = nearest_words(language, tokens, 4, torch.device("cpu"))
    assert [row[0].text for row in found] == wanted
    assert all(len(row) == 4 for row in found)
    for row in found:
        cosines = [word.cosine for word in row]
        assert cosines == sorted(cosines, reverse=True)
        assert cosines[0] == pytest.approx(1, abs=1e-3)
        assert all(word.text.isalpha() for word in row)
