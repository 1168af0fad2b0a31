import pytest
import torch
from transformers import LogitsProcessorList, RepetitionPenaltyLogitsProcessor
from transformers.generation.logits_process import TemperatureLogitsWarper, TopPLogitsWarper

from minigpt4.config import GenerationSettings
from minigpt4.engines.sampling import Draw, draw_tokens

GRID = 4000


class Evenly(Draw):
    """Draws with numbers that cover 0 to 1 evenly, one after the other."""

    def __init__(self, settings):
        super().__init__(settings)
        self._count = 0

    def number(self):
        self._count += 1
        return (self._count - 0.5) / GRID


def settings(**given):
    return GenerationSettings(**{"temperature": 0.0, "repetition_penalty": 1.0, **given})


@pytest.mark.parametrize("penalty", [1.05, 1.3, 2.0])
def test_the_penalty_is_that_of_transformers_over_the_answers_own_tokens(penalty):
    logits = torch.randn(3, 40, generator=torch.Generator().manual_seed(1)) * 2
    drawn = [[], [3, 3, 7, 12], list(range(20))]
    draws = [Draw(settings(repetition_penalty=penalty)) for _ in drawn]
    for draw, before in zip(draws, drawn, strict=True):
        draw.drawn += before
    theirs = RepetitionPenaltyLogitsProcessor(penalty)
    expected = [
        int(
            theirs(torch.tensor([before], dtype=torch.long), logits[row : row + 1].clone()).argmax()
        )
        for row, before in enumerate(drawn)
    ]
    assert draw_tokens(logits, draws) == expected
    assert [draw.drawn for draw in draws] == [
        [*before, token] for before, token in zip(drawn, expected, strict=True)
    ]


@pytest.mark.parametrize("vocabulary", [30, 3000])
@pytest.mark.parametrize(
    ("temperature", "top_p"), [(1.0, 0.9), (0.6, 0.5), (1.7, 1.0), (1.0, 0.05)]
)
def test_tokens_come_as_often_as_transformers_says(vocabulary, temperature, top_p):
    # Flat enough that with the larger vocabulary the likeliest few hundred do not hold all of top_p.
    logits = torch.randn(1, vocabulary, generator=torch.Generator().manual_seed(2))
    chain = LogitsProcessorList([TemperatureLogitsWarper(temperature)])
    if top_p < 1:
        chain.append(TopPLogitsWarper(top_p))
    expected = chain(torch.zeros(1, 0, dtype=torch.long), logits.clone()).softmax(-1)[0]
    draw = Evenly(settings(temperature=temperature, top_p=top_p))
    tokens = torch.tensor([draw_tokens(logits, [draw])[0] for _ in range(GRID)])
    counted = torch.bincount(tokens, minlength=vocabulary) / GRID
    # Evenly spaced numbers miss a share by less than one of them on either side.
    assert (counted - expected).abs().max() <= 2 / GRID
    assert (counted[expected == 0] == 0).all()


def test_a_rows_token_does_not_depend_on_the_other_rows():
    logits = torch.randn(5, 700, generator=torch.Generator().manual_seed(3))
    kinds = [
        settings(temperature=1.0, seed=11),
        settings(),
        settings(temperature=0.7, top_p=0.4, repetition_penalty=1.4, seed=12),
        settings(temperature=1.3, top_p=1.0, seed=13),
        settings(repetition_penalty=1.2),
    ]
    together = [Draw(kind) for kind in kinds]
    alone = [Draw(kind) for kind in kinds]
    for _ in range(40):
        tokens = draw_tokens(logits, together)
        assert tokens == [
            draw_tokens(logits[row : row + 1], [draw])[0] for row, draw in enumerate(alone)
        ]


def test_the_same_seed_draws_the_same_and_no_seed_does_not():
    logits = torch.zeros(1, 500)

    def drawn(seed):
        draw = Draw(settings(temperature=1.0, top_p=1.0, seed=seed))
        for _ in range(20):
            draw_tokens(logits, [draw])
        return draw.drawn

    assert drawn(4) == drawn(4)
    assert len({tuple(drawn(seed)) for seed in (4, 5, None, None)}) == 4


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_row_without_numbers_has_no_token_and_spoils_no_other(broken, temperature):
    logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(4))
    logits[1, 30] = broken
    draws = [Draw(settings(temperature=temperature, seed=1)) for _ in range(3)]
    tokens = draw_tokens(logits, draws)
    assert tokens[1] is None
    assert None not in (tokens[0], tokens[2])
    assert [len(draw.drawn) for draw in draws] == [1, 0, 1]


@pytest.mark.parametrize("temperature", [1e-20, 1e-38, 1e-46])
@pytest.mark.parametrize("top_p", [0.05, 0.9, 1.0])
def test_a_temperature_of_nearly_0_takes_the_likeliest(temperature, top_p):
    logits = torch.randn(4, 3000, generator=torch.Generator().manual_seed(5)) * 10
    draws = [Draw(settings(temperature=temperature, top_p=top_p, seed=row)) for row in range(4)]
    assert draw_tokens(logits, draws) == logits.argmax(-1).tolist()


def test_a_step_that_fails_uses_up_no_chance(monkeypatch):
    logits = torch.zeros(1, 500)
    drawn = {"temperature": 1.0, "top_p": 1.0, "seed": 5}
    undisturbed, disturbed = Draw(settings(**drawn)), Draw(settings(**drawn))
    for number in range(10):
        draw_tokens(logits, [undisturbed])
        if number == 4:
            with monkeypatch.context() as broken:
                broken.setattr(torch, "searchsorted", lambda *_, **__: 1 / 0)
                with pytest.raises(ZeroDivisionError):
                    draw_tokens(logits, [disturbed])
        draw_tokens(logits, [disturbed])
    assert disturbed.drawn == undisturbed.drawn
