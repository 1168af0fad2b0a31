"""Finished parts go on: new heads learn behind them, and the third step of stage 0 takes them."""

import logging
import shlex
from dataclasses import replace

import pytest
import torch

from minigpt4.checkpoints.loading import resize_positions
from minigpt4.errors import CheckpointError
from tests.train.tiny.test_eye import SETTINGS
from train.tiny import heads_anew, stage0
from train.tiny.eye import Eye, save_parts
from train.tiny.steps import load_weights


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """A folder of finished parts at a tiny size, with something in place of a language model."""
    monkeypatch.setattr(heads_anew, "EyeSettings", lambda: SETTINGS)
    torch.manual_seed(5)
    folder = tmp_path / "parts"
    folder.mkdir()
    save_parts(Eye(SETTINGS.preset), folder, SETTINGS.preset)
    (folder / "language").mkdir()
    (folder / "language" / "model.safetensors").write_bytes(b"words")
    return folder


def test_new_heads_learn_and_the_parts_stay_as_they_are(parts, tmp_path):
    eye = heads_anew.eye_of(parts, SETTINGS)
    before = {name: each.clone() for name, each in eye.state_dict().items()}
    first = heads_anew.fit_heads(eye, SETTINGS, tmp_path / "1.pt", batches=2, rounds=1)
    last = heads_anew.fit_heads(eye, SETTINGS, tmp_path / "2.pt", batches=2, rounds=20)
    assert last < 0.8 * first
    for name, each in eye.state_dict().items():
        assert each.equal(before[name]) == ("heads" not in name), name


def test_parts_made_for_smaller_pictures_get_more_positions_and_keep_the_rest(parts):
    small = SETTINGS.preset
    larger = replace(small, vision=replace(small.vision, image_size=small.vision.image_size + 16))
    eye = heads_anew.eye_of(parts, replace(SETTINGS, preset=larger))
    before = heads_anew.eye_of(parts, SETTINGS).vision.state_dict()
    for name, each in eye.vision.state_dict().items():
        expected = before[name]
        if name == "transformer.pos_embed":
            assert larger.vision.grid > small.vision.grid
            expected = resize_positions(expected, larger.vision.grid)
        assert each.equal(expected), name


def test_the_folder_is_what_the_third_step_goes_on_from(parts, tmp_path, caplog):
    output = tmp_path / "again"
    with caplog.at_level(logging.INFO):
        heads_anew.main(
            ["--output", str(output), "--parts", str(parts), "--batches", "1", "--threads", "1"]
        )
    saved, again = Eye(SETTINGS.preset), heads_anew.eye_of(parts, SETTINGS)
    load_weights(saved, output / "eye.pt")
    for part in ("vision", "qformer"):
        for name, each in getattr(again, part).state_dict().items():
            assert each.equal(getattr(saved, part).state_dict()[name])
    assert (output / "language" / "model.safetensors").read_bytes() == b"words"
    assert "python -m train.tiny.stage0 --only bridge" in caplog.messages[-1]


def test_the_command_that_it_names_is_one_and_shows_new_pictures(
    parts, tmp_path, caplog, monkeypatch
):
    output = tmp_path / "again"
    with caplog.at_level(logging.INFO):
        heads_anew.main(["--output", str(output), "--parts", str(parts), "--batches", "1"])
    given = {}
    monkeypatch.setattr(stage0, "run", lambda folder, **settings: given.update(settings))
    stage0.main(shlex.split(caplog.messages[-1])[3:])
    assert given["only"] == "bridge"
    for name in ("fitting", "bridge"):
        assert given[name].first_seed > type(given[name])().first_seed


def test_a_folder_that_is_there_is_left_alone(parts, tmp_path, capsys):
    with pytest.raises(SystemExit):
        heads_anew.main(["--output", str(tmp_path), "--parts", str(parts)])
    assert "is there already" in capsys.readouterr().err


def test_parts_that_are_not_there_are_told(tmp_path):
    with pytest.raises(CheckpointError, match=r"vision\.safetensors"):
        heads_anew.eye_of(tmp_path, SETTINGS)
