"""`train/curate.py` as a person runs it: the documented example, going on, failing, being killed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest

from tests.train.curation.fake_endpoint import fake_endpoint, refused, said
from tests.train.curation.made import described, lines, pictures
from train.curate import main
from train.curation.folder import Folder
from train.run import main as train
from train.settings import ROOT

HELP = {"describe", "repair", "filter", "review", "export", "status"}
HEAVY = {"torch", "torchvision", "gradio", "transformers", "numpy", "PIL", "httpx", "tqdm"}
MANY = [f"The image shows a field with number {number} on it." for number in range(24)]


@pytest.fixture
def fake(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test\r\n")  # as from a file made on Windows
    with fake_endpoint() as fake:
        yield fake


def repaired(folder: Folder) -> dict[str, str]:
    return {name: row.get("text", "") for name, row in folder.repaired.rows().items()}


def test_the_documented_example_from_pictures_to_training(tmp_path, capsys, monkeypatch):
    """The lines of --help and of the documentation, with three pictures."""
    from train.cartoon.make import make

    monkeypatch.chdir(tmp_path)
    make(tmp_path / "runs/drawn", first=0, number=3, size=64)
    (tmp_path / "runs/drawn/broken.png").write_bytes(b"no picture")
    describe = ["describe", "runs/curation", "--pictures", "runs/drawn", "--device", "cpu"]
    describe += ["--projection", "assets:tiny/projection_stage1.safetensors"]
    describe += ["--set", "generation.max_new_tokens=60"]
    prompt = ["--prompt", "Describe this image in detail."]
    assert main([*describe, *prompt, "--number", "2"]) == 0
    first = (tmp_path / "runs/curation/described.jsonl").read_bytes()
    assert main([*describe, *prompt]) == 1  # one picture is broken
    told = capsys.readouterr().out
    assert "broken.png: Please use a JPEG, PNG, WebP, GIF or BMP image." in told
    assert "3 described (1 failed)" in told
    content = (tmp_path / "runs/curation/described.jsonl").read_bytes()
    assert content.startswith(first)
    assert len(content.splitlines()) == 4
    assert main([*describe, *prompt]) == 1  # tried again, and not written again
    assert (tmp_path / "runs/curation/described.jsonl").read_bytes() == content
    assert main(describe) == 1
    assert "prompt was" in capsys.readouterr().err

    folder = Folder(tmp_path / "runs/curation")
    row = folder.described.rows()["0.png"]
    assert row["continued"]
    settings = folder.runs()[row["run"]]["settings"]
    assert settings["prompt"] == "Describe this image in detail."
    assert (settings["go_on"], settings["enough_tokens"]) == ("Continue", 80)
    assert len(settings["model"]["frozen"]) == len(settings["model"]["projection"]) == 64

    assert main(["repair", "runs/curation", "--rules"]) == 0
    assert main(["filter", "runs/curation", "--min-words", "2"]) == 0
    for caption in folder.captions():  # however badly so small a model describes
        with folder.reviewed.appending() as rows:
            from train.curation.reviewing import Review

            kept = {each.id for each in Review(folder, rows)._captions}
            if caption.id in kept:
                Review(folder, rows).accept(caption.id, f"{caption.text} It is drawn.")
    capsys.readouterr()
    if folder.reviewed.rows():
        assert main(["export", "runs/curation"]) == 0
        train(["--stage", "2", "--data", "runs/curation/stage2", "--check-data"])
        assert "the release's folder" in capsys.readouterr().out
    assert main(["status", "runs/curation"]) == 0
    assert "3 described" in capsys.readouterr().out


def test_a_language_model_repairs_and_says_which_it_was(tmp_path, fake, capsys):
    folder = described(tmp_path, MANY)
    command = ["repair", str(tmp_path), "--endpoint", fake.url, "--model", "m", "--at-once", "6"]
    six = threading.Barrier(6, timeout=60)  # an answer comes when six are asked for
    fake.answer = lambda text, _: (six.wait(), said(f"{text} Mended."))[1]
    assert main([*command, "--temperature", "0"]) == 0
    assert repaired(folder) == {f"{n + 1}.png": f"{text} Mended." for n, text in enumerate(MANY)}
    assert fake.most == 6
    assert set(fake.keys) == {"Bearer sk-test"}
    row = folder.repaired.rows()["1.png"]
    assert (row["model"], row["usage"]["total_tokens"], row["tries"]) == ("mender-1", 10, 1)
    run = folder.runs()[row["run"]]
    assert (
        run["settings"]["prompt"] == fake.bodies[0]["messages"][0]["content"].rpartition("\n\n")[0]
    )
    assert (run["settings"]["model"], run["notes"]["endpoint"]) == ("m", fake.url)
    written = "".join(path.read_text() for path in tmp_path.glob("*.jsonl"))
    assert "sk-test" not in written
    assert main([*command, "--temperature", "0"]) == 0  # nothing is left to do
    assert len(fake.bodies) == len(MANY)
    assert main(command) == 1
    assert "temperature was 0.0 and is null" in capsys.readouterr().err
    assert main(["repair", str(tmp_path), "--rules"]) == 1


def test_a_row_that_fails_stops_no_other_and_is_tried_again(tmp_path, fake, capsys):
    folder = described(tmp_path, MANY)
    command = ["repair", str(tmp_path), "--endpoint", fake.url, "--model", "m"]
    fake.answer = lambda text, _: refused(400, "odd") if "number 3 " in text else said(text)
    assert main(command) == 1
    assert "4.png: 400 Bad Request: odd" in capsys.readouterr().out
    assert folder.repaired.rows()["4.png"]["failed"] == "400 Bad Request: odd"
    assert len(repaired(folder)) == len(MANY)
    assert main(["filter", str(tmp_path)]) == 0
    assert folder.filtered.rows()["4.png"]["reasons"][0] == "not repaired"
    assert "1 x not repaired" in capsys.readouterr().out
    asked = len(fake.bodies)
    fake.answer = lambda text, _: said(text)
    assert main(command) == 0
    assert len(fake.bodies) == asked + 1
    assert repaired(folder)["4.png"] == MANY[3]


def test_an_endpoint_that_is_out_of_order_ends_the_step(tmp_path, fake, capsys):
    folder = described(tmp_path, MANY)
    command = ["repair", str(tmp_path), "--endpoint", fake.url, "--model", "m", "--at-once", "2"]
    fake.answer = lambda *_: refused(503, "asleep")
    assert main([*command, "--tries", "2", "--first-pause", "0.01"]) == 1
    assert "failed at 10 rows one after the other" in capsys.readouterr().err
    assert len(fake.bodies) <= 2 * (10 + 2)
    fake.answer = lambda *_: refused(401, "wrong key")
    assert main(command) == 1
    assert "wrong key" in capsys.readouterr().err
    fake.answer = lambda text, _: said(text)
    assert main(command) == 0
    assert repaired(folder) == {f"{n + 1}.png": text for n, text in enumerate(MANY)}


@pytest.mark.load
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_step_goes_on_and_asks_nothing_twice(tmp_path, fake, how):
    folder = described(tmp_path, MANY)
    command = [sys.executable, "train/curate.py", "repair", str(tmp_path), "--endpoint", fake.url]
    command += ["--model", "m", "--at-once", "2"]
    enough, ended = threading.Event(), threading.Event()

    def answer(text, _):
        if len(fake.bodies) > 8:
            enough.set()
            ended.wait(60)
        return said(f"{text} Mended.")

    fake.answer = answer
    environment = {**os.environ, "NO_PROXY": "127.0.0.1"}
    running = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert enough.wait(120)
    running.send_signal(how)
    time.sleep(1.5)  # it hears of it
    ended.set()
    running.communicate(timeout=100)
    assert running.returncode == (-signal.SIGKILL if how == signal.SIGKILL else 130)
    before = set(repaired(folder))
    assert 0 < len(before) < len(MANY)
    fake.answer = lambda text, _: said(f"{text} Mended.")
    assert subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0
    assert repaired(folder) == {f"{n + 1}.png": f"{text} Mended." for n, text in enumerate(MANY)}
    asked = Counter(fake.texts())
    assert {asked[MANY[int(name.partition(".")[0]) - 1]] for name in before} == {1}
    assert sum(asked.values()) <= len(MANY) + 2  # what was under way
    assert len(lines(folder.repaired.path)) == len(MANY)


def test_rules_fail_only_where_nothing_is_left(tmp_path, capsys):
    folder = described(tmp_path, ["The dog runs home. The dog runs home.", "### ###", "###"])
    assert main(["repair", str(tmp_path), "--rules"]) == 1
    rows = folder.repaired.rows()
    assert rows["1.png"]["text"] == "The dog runs home."
    assert rows["1.png"]["changes"] == {"repeated sentence": 1}
    assert "nothing is left" in rows["2.png"]["failed"]
    assert "2 failed" in capsys.readouterr().out


def test_other_limits_judge_anew_and_keep_decisions(tmp_path, capsys):
    folder = described(tmp_path)
    assert main(["filter", str(tmp_path)]) == 1
    assert "--unrepaired" in capsys.readouterr().err
    assert main(["filter", str(tmp_path), "--unrepaired", "--min-words", "99"]) == 0
    assert not any(row["kept"] for row in folder.filtered.rows().values())
    assert "4 x too short" in capsys.readouterr().out
    assert main(["filter", str(tmp_path), "--unrepaired"]) == 0
    assert all(row["kept"] for row in folder.filtered.rows().values())
    assert {run["settings"]["min_words"] for run in folder.runs().values()} == {99, 8}


def test_the_same_name_twice_is_told(tmp_path, capsys, monkeypatch):
    from train.curation.describe import still_to_describe
    from train.curation.sources import pictures_of

    pictures(tmp_path, 1)
    (tmp_path / "rows.jsonl").write_text(f"{json.dumps({'image': '1.png'})}\n" * 3)
    found = list(pictures_of(str(tmp_path / "rows.jsonl"), tmp_path))
    waiting, twice = still_to_describe(found, {})
    assert ([each.id for each in waiting], twice) == (["1.png"], ["1.png", "1.png"])
    assert still_to_describe(found, {"1.png": {"id": "1.png", "text": "x"}})[0] == []
    assert len(still_to_describe(found, {"1.png": {"id": "1.png", "failed": "x"}})[0]) == 1


def test_help_is_quick_and_teaches_by_example(capsys):
    program = (
        "import sys; sys.argv = ['curate.py', '--help']\n"
        "import train.curate\n"
        "try: train.curate.main()\n"
        "except SystemExit as end: code = end.code\n"
        f"heavy = {HEAVY!r} & {{name.partition('.')[0] for name in sys.modules}}\n"
        "sys.exit(f'{code} {heavy}' if code or heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert all(f"train/curate.py {step}" in done.stdout for step in HELP - {"status"})
    for step in HELP:
        with pytest.raises(SystemExit) as end:
            main([step, "--help"])
        assert end.value.code == 0
    capsys.readouterr()
    for wrong in (
        [],
        ["describe", "x"],
        ["repair", "x", "--rules", "--endpoint", "y"],
        ["review", "x", "--port", "99999"],
        ["nonsense"],
    ):
        with pytest.raises(SystemExit) as end:
            main(wrong)
        assert end.value.code == 2
    assert main(["describe", "x", "--pictures", "y", "--set", "nonsense=1"]) == 2
    assert "nonsense" in capsys.readouterr().err
