"""Training on a user's own data: checked whole, shown in a seeded order, resumed exactly."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from minigpt4.conversation import Conversation, Turn, render
from minigpt4.models.minigpt4 import IGNORED, MiniGPT4
from minigpt4.prompt_formats import ALIGNMENT, CAPTION, TINY, PromptFormat
from train.answer_limit import cut_answers
from train.captions import clean_caption
from train.errors import TrainingError
from train.own_data import OwnData, keep_pictures, split
from train.own_layouts import read_rows
from train.samples import Batches, training_seed
from train.settings import OWN_DATA_CONFIGS, ROOT, load_settings
from train.stages import check_own_data, stage_of
from train.validation import Checked, Limits, OwnRow, check_rows

CAPTIONS = json.loads((ROOT / "tests/golden/prompts.json").read_text())["captions"]
INSTRUCTIONS = ("Look.", "Describe the picture.", "What is it?")


def _limits(prompt_format: PromptFormat = TINY, **changes: int) -> Limits:
    return replace(
        Limits(
            prompt_format=prompt_format,
            encode=list,  # type: ignore[arg-type]  # a token a character
            queries=4,
            context=1000,
            answer_tokens=100,
            longest_instruction="Describe it.",
        ),
        **changes,
    )


def _checked(path: Path, *lines: str, **changes: int) -> Checked:
    if lines:
        path.write_text("".join(f"{line}\n" for line in lines))
    return check_rows(read_rows(path), _limits(**changes))


def _own(data: Path, **options: object) -> OwnData:
    given = {"stage": 2, "seed": 0, **options}
    return OwnData(_checked(data).rows, INSTRUCTIONS, **given)  # type: ignore[arg-type]


def _dialogue(*texts: str) -> list[dict[str, str]]:
    roles = ("human", "gpt") * len(texts)
    return [{"from": role, "value": text} for role, text in zip(roles, texts, strict=False)]


@pytest.mark.parametrize("case", CAPTIONS)
def test_captions_are_cleaned_as_the_release_did(case: dict[str, str]) -> None:
    assert clean_caption(case["raw"]) == case["processed"]


def test_every_fault_is_counted_and_has_its_line(data: Path) -> None:
    (data.parent / "torn.png").write_bytes((data.parent / "0.png").read_bytes()[:40])
    (data.parent / "words.png").write_text("no picture")
    turns = _dialogue("<image> Q", "A" * 90, *("Q", "A" * 90) * 9)
    good = '{"image": "1.png", "answer": "Fine."}'
    checked = _checked(
        data,
        good,
        '{"image": "nowhere.png", "answer": "A."}',
        '{"image": "torn.png", "answer": "A."}',
        '{"image": "words.png", "answer": "A."}',
        '{"image": "words.png", "answer": "B."}',
        '{"image": "2.png", "answer": " \\n"}',
        '{"image": "2.png", "answer": 4}',
        json.dumps({"image": "2.png", "instruction": "x" * 2001, "answer": "A."}),
        json.dumps({"image": "2.png", "conversations": turns}),
        good.replace("Fine", "Good"),
    )
    assert [row.line for row in checked.rows] == [1, 10]
    told = {each.line: (each.cause, each.problem) for each in checked.faults}
    assert checked.causes == {
        "unreadable picture": 3,
        "missing picture": 1,
        "empty answer": 1,
        "wrong type": 1,
        "question": 1,
        "longer than the context": 1,
    }
    assert [line for line, (cause, _) in told.items() if cause == "unreadable picture"] == [3, 4, 5]
    assert told[2][1].endswith("nowhere.png: There is no image file at this place.")
    assert told[3][1].endswith("The image could not be read. It may be damaged.")
    assert told[4][1].endswith("Please use a JPEG, PNG, WebP, GIF or BMP image.")
    assert "the limit is 2,000" in told[8][1]
    assert "10 turns and the picture need 1," in told[9][1]
    lines = "\n".join(checked.lines())
    assert "10 rows, 2 of them usable, with 1 picture." in lines
    assert "8 rows cannot be used:\n       3 x unreadable picture" in lines
    assert lines.count("    line ") == 5
    assert checked.stops.startswith("80 % of the rows cannot be used")


def test_one_bad_row_in_a_hundred_is_told_and_two_stop(data: Path) -> None:
    rows = [f'{{"image": "1.png", "answer": "Number {number}."}}' for number in range(100)]
    bad = '{"image": "1.png", "answer": ""}'
    checked = _checked(data, *rows[1:], bad)
    assert checked.stops == ""
    assert "line 100: empty answer: the answer is empty." in "\n".join(checked.lines())
    assert "2 % of the rows" in _checked(data, *rows[2:], bad, bad).stops
    assert "1 different row can be used" in _checked(data, rows[0], rows[0]).stops


def test_long_answers_are_cut_on_the_right_and_counted(data: Path, tiny_model: MiniGPT4) -> None:
    checked = _checked(data, answer_tokens=10)
    assert (checked.cut, checked.longest_answer) == (30, len("The circle is red 29.###"))
    assert "30 answers longer than 10 tokens (the longest has 24)" in "\n".join(checked.lines())
    encode, end = tiny_model.language.encode, tiny_model.language.encode("###")
    long, short = "The circle is red and the square is blue.", "Yes."
    turns = (Turn("What?", long, ("k",)), Turn("And?", short), Turn("So?", long))
    for prompt_format in (TINY, ALIGNMENT):
        conversation = Conversation(turns)
        whole = tiny_model.tokenize(render(conversation, prompt_format))
        limits = replace(
            _limits(prompt_format), encode=encode, queries=tiny_model.queries, answer_tokens=6
        )
        cut = cut_answers(whole, 6, end)
        learned = [label for label in cut.labels if label != IGNORED]
        first = encode(long)[:6]
        joined = prompt_format.join_text
        assert learned == (first if joined else [*first, *encode(short), *end, *first])
        length = limits.length(conversation)
        assert (length.tokens, length.cut) == (len(cut.ids), 1 if joined else 2)
        assert len(cut.ids) == len(cut.labels)
        assert cut_answers(whole, 1000, end) == whole
        # What follows a cut answer stands as in serving, behind its end symbol.
        asked = replace(conversation, turns=(*turns[:2], Turn("So?")))
        served = tiny_model.tokenize(render(asked, TINY)).ids
        if not joined:
            gone = len(encode(long)) - 6
            assert len(cut.ids) - 6 == len(served) - gone


def test_slots_behind_a_cut_answer_move(tiny_model: MiniGPT4) -> None:
    turns = (Turn("What?", "The circle is red and blue."), Turn("And?", "Yes.", ("k",)))
    whole = tiny_model.tokenize(render(Conversation(turns), TINY))
    cut = cut_answers(whole, 3, tiny_model.language.encode("###"))
    (start, key), (before, _) = cut.slots[0], whole.slots[0]
    assert key == "k"
    assert before - start == len(whole.ids) - len(cut.ids) > 0
    assert cut.ids[start : start + tiny_model.queries] == (0,) * tiny_model.queries
    assert cut.ids[start:] == whole.ids[before:]


def test_the_split_is_seeded_and_knows_content_alone(data: Path) -> None:
    rows = list(_checked(data).rows)
    learned, held_out = split(rows, 0)
    assert (len(learned), len(held_out)) == (29, 1)
    assert split(rows[::-1], 0)[1] == held_out
    assert len({split(rows, seed)[1][0].content for seed in range(20)}) > 5
    assert len(split([*rows, held_out[0]], 0)[1]) == 2, "equal rows are never on both sides"
    many = [OwnRow(n, Path("x"), Conversation((Turn("", str(n), ("k",)),))) for n in range(1000)]
    assert len(split(many, 0)[1]) == 32
    assert len(split(many[:200], 0)[1]) == 10


def test_an_epoch_shows_every_row_once_in_an_order_of_its_own(data: Path) -> None:
    own, again = _own(data), _own(data)
    first = training_seed(2, 0)
    epochs = [
        [own.sample_of(first + epoch * 29 + place) for place in range(29)] for epoch in range(3)
    ]
    answers = [[sample.conversation.turns[0].answer for sample in epoch] for epoch in epochs]
    assert all(len(set(epoch)) == 29 for epoch in answers)
    assert answers[0] != answers[1] != answers[2]
    held_out = own.held_out[0].conversation.turns[0].answer
    assert held_out not in answers[0]
    # A resumed run asks a new object for the middle of an epoch first.
    assert again.sample_of(first + 40).conversation == epochs[1][11].conversation
    assert again.sample_of(first + 3).conversation == epochs[0][3].conversation
    assert [s.conversation for s in again.held_out] == [s.conversation for s in own.held_out]
    drawn: dict[str | None, set[str]] = {}
    for number in range(29 * 8):
        turn = own.sample_of(first + number).conversation.turns[0]
        drawn.setdefault(turn.answer, set()).add(turn.question)
    brought = [each for each in drawn.values() if each == {"What is the circle?"}]
    assert len(brought) in (9, 10)
    assert all(each <= set(INSTRUCTIONS) for each in drawn.values() if each not in brought)
    assert max(len(each) for each in drawn.values()) == 3, "drawn anew in every epoch"


def test_joined_formats_learn_every_answer_of_a_dialogue(data: Path) -> None:
    turns = _dialogue("<image> Q", "One.", "R", "Two.", "S", "Three.")
    rows = [{"image": f"{n}.png", "conversations": turns} for n in range(4)]
    checked = _checked(data, *(json.dumps(row) for row in rows))
    for each_turn, expected in ((False, ["Three."] * 3), (True, ["One.", "Three.", "Two."] * 3)):
        own = OwnData(checked.rows, INSTRUCTIONS, stage=2, seed=0, each_turn=each_turn)
        samples = [own.sample_of(training_seed(2, n)) for n in range(own.epoch_samples)]
        last = [sample.conversation.turns[-1].answer for sample in samples]
        assert sorted(map(str, last)) == sorted(expected)


def test_labels_stand_on_answers_alone(data: Path, tiny_model: MiniGPT4) -> None:
    own = _own(data)
    batch = next(Batches(tiny_model, TINY, own.sample_of, 100).of_step(2, 4, 5, 1))
    encode = tiny_model.language.encode
    for row in range(5):
        answer = own.sample_of(training_seed(2, 20 + row)).conversation.turns[0].answer
        labels = batch.labels[row]
        assert labels[labels != IGNORED].tolist() == encode(answer or "") + encode("###")


def test_a_batch_learns_the_first_tokens_of_a_long_answer(data: Path, tiny_model: MiniGPT4) -> None:
    own = _own(data)
    batch = next(Batches(tiny_model, TINY, own.sample_of, 3).of_step(2, 0, 4, 1))
    for row in range(4):
        answer = own.sample_of(training_seed(2, row)).conversation.turns[0].answer
        labels = batch.labels[row]
        assert labels[labels != IGNORED].tolist() == tiny_model.language.encode(answer or "")[:3]


@pytest.mark.parametrize(("prompt_format", "samples"), [("tiny", 3), ("alignment", 9)])
def test_a_stage_teaches_every_answer_of_a_dialogue(
    data: Path, parts: list[str], prompt_format: str, samples: int
) -> None:
    turns = _dialogue("<image> Q", "One.", "R", "Two.", "S", "Three.")
    rows = [{"image": f"{n}.png", "conversations": turns} for n in range(4)]
    data.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    changes = [f"own_data.path={data}", f"model.prompt_format={prompt_format}"]
    settings = load_settings(OWN_DATA_CONFIGS[2], [*parts, *changes])
    stage = stage_of(settings, check_own_data(settings))
    assert stage.epoch_samples == samples
    assert len(stage.asked) == len(stage.for_loss) == 1


def test_the_eye_looks_once_or_anew(data: Path, tiny_model: MiniGPT4) -> None:
    own, rows = _own(data), _checked(data).rows
    kept, anew = (Batches(tiny_model, TINY, own.sample_of) for _ in range(2))
    assert keep_pictures(kept.query_outputs, rows, 1).startswith("Looks at 6 pictures once")
    assert "anew in every step" in keep_pictures(anew.query_outputs, rows, 0)
    for path in data.parent.glob("*.png"):
        path.rename(path.with_suffix(".gone"))
    one = next(kept.of_step(2, 3, 4, 1))
    with pytest.raises(TrainingError, match="was read when training began"):
        next(anew.of_step(2, 3, 4, 1))
    for path in data.parent.glob("*.gone"):
        path.rename(path.with_suffix(".png"))
    two = next(anew.of_step(2, 3, 4, 1))
    torch.testing.assert_close(one.query_output, two.query_output, rtol=1e-4, atol=1e-5)
    assert torch.equal(one.ids, two.ids)


def test_stage_1_learns_cleaned_captions(data: Path) -> None:
    turns = _dialogue("<image> Q", "One.", "R", "Two.")
    lines = [
        '{"image": "1.png", "caption": "A RED Circle!"}',
        '{"image": "2.png", "instruction": "What?", "answer": "Blue."}',
        '{"image": "2.png", "answer": "!!!"}',
        json.dumps({"image": "3.png", "conversations": turns}),
    ]
    data.write_text("\n".join(lines))
    checked = check_rows(read_rows(data), _limits(CAPTION))
    texts = [
        (row.conversation.turns[0].question, row.conversation.turns[0].answer)
        for row in checked.rows
    ]
    assert texts == [("", "a red circle"), ("", "blue")]
    assert checked.causes == {"empty answer": 1, "several turns": 1}
    assert "Nothing is left of '!!!'" in checked.faults[0].problem
    assert "no place for instructions: those of 1 row" in "\n".join(checked.lines())
