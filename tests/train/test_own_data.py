"""Training on a user's own data: checked whole, shown in a seeded order, resumed exactly."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from minigpt4.conversation import Conversation, Turn, render
from minigpt4.models.minigpt4 import IGNORED, MiniGPT4
from minigpt4.prompt_formats import ALIGNMENT, CAPTION, TINY, PromptFormat
from train.answer_limit import cut_answers
from train.captions import clean_caption
from train.errors import TrainingError
from train.own_data import OwnData, keep_pictures, split
from train.own_layouts import read_rows
from train.run import main
from train.run_folder import read_lines
from train.samples import Batches, training_seed
from train.settings import OWN_DATA_CONFIGS, ROOT, load_settings
from train.stages import check_own_data, stage_of
from train.validation import Checked, Limits, OwnRow, check_rows

EXAMPLE = ROOT / "examples/own_data"
CAPTIONS = json.loads((ROOT / "tests/golden/prompts.json").read_text())["captions"]
INSTRUCTIONS = ("Look.", "Describe the picture.", "What is it?")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Thirty rows about six pictures; every third row brings its instruction, some have turns."""
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(6):
        Image.new("RGB", (12, 8), (40 * number, 0, 0)).save(folder / f"{number}.png")
    rows: list[dict[str, object]] = [
        {"image": f"{number % 6}.png", "answer": f"The circle is red {number}."}
        for number in range(30)
    ]
    for row in rows[::3]:
        row["instruction"] = "What is the circle?"
    (folder / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return folder / "rows.jsonl"


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


@pytest.fixture
def parts(parts_folder: Path) -> list[str]:
    """What trains on the fixture's random parts, in few steps."""
    return [
        f"model.vision={parts_folder / 'vision.safetensors'}",
        f"model.qformer={parts_folder / 'qformer.safetensors'}",
        f"model.language_model={parts_folder / 'language'}",
        "start=",
        "schedule.warmup_steps=1",
        "check_every=100",
        "check_tokens=4",
        "device=cpu",
    ]


@pytest.mark.parametrize("stage", [1, 2])
def test_the_example_trains_and_resumes(
    tmp_path: Path, parts: list[str], capsys: pytest.CaptureFixture[str], stage: int
) -> None:
    def run(name: str, *options: str) -> tuple[int, str]:
        arguments = ["--stage", str(stage), "--output", str(tmp_path / name), *options]
        code = main(arguments)
        return code, "".join(capsys.readouterr())

    data = ["--data", str(EXAMPLE / "data.jsonl")]
    code, said = run("a", *data, "--set", *parts, "schedule.steps=4")
    assert code == 0
    assert "JSON lines; 20 rows, 20 of them usable, with 20 pictures." in said
    assert "19 samples to learn from, 1 held out; 4 steps of 8 are 1.7 epochs." in said
    assert "Looks at 20 pictures once" in said
    assert "held-out loss" in said
    assert (tmp_path / "a/dropped_rows.jsonl").read_text() == ""
    record = json.loads((tmp_path / "a/data.json").read_text())
    assert (record["usable"], record["dropped"]) == (20, {})
    sides = [row["side"] for row in read_lines(tmp_path / "a/samples.jsonl")]
    assert sides == ["held out", *["learned from"] * 4] * 2

    assert run("a", "--resume", *data)[0] == 0
    code, said = run("a", "--resume", "--data", "other.jsonl")
    assert code == 1
    assert "was begun with" in said


def test_a_run_goes_on_with_the_samples_it_stopped_before(
    tmp_path: Path, data: Path, parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    def losses(name: str) -> list[float]:
        return [row["loss"] for row in read_lines(tmp_path / name / "metrics.jsonl")]

    fixed = [
        "--stage",
        "2",
        "--data",
        str(data),
        "--set",
        *parts,
        "schedule.steps=6",
        "batch_size=7",
    ]
    assert main([*fixed, "save_every=3", "--output", str(tmp_path / "a")]) == 0
    assert main([*fixed, "save_every=3", "--output", str(tmp_path / "b")]) == 0
    assert losses("a") == losses("b")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("train.loop._check_skipped", _kill_at(5))
        with pytest.raises(RuntimeError, match="killed"):
            main([*fixed, "save_every=3", "--output", str(tmp_path / "c")])
    assert main(["--stage", "2", "--resume", "--output", str(tmp_path / "c")]) == 0
    assert losses("c") == losses("a")

    data.write_text(data.read_text().replace("red 7", "blue 7"))
    capsys.readouterr()
    assert main(["--stage", "2", "--resume", "--output", str(tmp_path / "c")]) == 1
    assert "was begun with 30 other rows" in capsys.readouterr().err


def _kill_at(step: int):
    def check(_run: object, position: object) -> None:
        if position.step == step:  # type: ignore[attr-defined]
            raise RuntimeError("killed")

    return check


def test_dropped_rows_are_written_down(tmp_path: Path, data: Path, parts: list[str]) -> None:
    rows = [f'{{"image": "1.png", "answer": "Number {number}."}}' for number in range(120)]
    data.write_text("\n".join([*rows, '{"image": "1.png"}']))
    run = ["--stage", "2", "--output", str(tmp_path / "run"), "--data", str(data)]
    assert main([*run, "--set", *parts, "schedule.steps=1"]) == 0
    assert read_lines(tmp_path / "run/dropped_rows.jsonl") == [
        {
            "line": 121,
            "cause": "no answer",
            "problem": "answer is missing. Given: image.",
            "row": '{"image": "1.png"}',
        }
    ]


def test_check_data_trains_nothing(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    check = ["--stage", "2", "--check-data", "--data", str(data), "--set"]
    check.append(f"model.language_model={tmp_path / 'nowhere'}")
    assert main(check) == 1
    assert "nowhere cannot be read" in capsys.readouterr().err
    assert main(["--stage", "2", "--check-data"]) == 1
    assert "--check-data needs --data" in capsys.readouterr().err
    assert main(["--stage", "0", "--data", str(data)]) == 1
    assert "no --data" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_check_data_tells_and_returns_what_training_would(
    tmp_path: Path, data: Path, parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    check = ["--stage", "2", "--check-data", "--data", str(data), "--set", *parts]
    assert main(check) == 0
    assert "30 rows, 30 of them usable, with 6 pictures." in capsys.readouterr().out
    data.write_text(data.read_text() + '{"image": "9.png", "answer": "A."}\n')
    assert main(check) == 1
    said = capsys.readouterr()
    assert "line 31: missing picture" in said.out
    assert "3.23 % of the rows cannot be used" in said.err
    assert not (tmp_path / "runs").exists()


def test_the_example_is_small_and_right(parts: list[str]) -> None:
    files = [path for path in EXAMPLE.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 400_000
    for picture in EXAMPLE.glob("pictures/*.png"):
        with Image.open(picture) as image:
            assert image.size == (224, 224)
    for stage in (1, 2):
        data = f"own_data.path={EXAMPLE}"  # the folder will do
        checked = check_own_data(load_settings(OWN_DATA_CONFIGS[stage], [*parts, data]))
        assert (len(checked.rows), checked.pictures, checked.faults) == (20, 20, ())
        assert checked.cut == 0
