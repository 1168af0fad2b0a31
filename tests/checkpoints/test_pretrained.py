"""Models saved as folders: the same model again, and nothing but a model."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from safetensors.torch import load_file

from minigpt4.api import CONFIGS, LoadedChat, find_config, load
from minigpt4.build import build_model
from minigpt4.checkpoints import pretrained
from minigpt4.checkpoints.files import read_header
from minigpt4.checkpoints.model_cards import model_card
from minigpt4.checkpoints.pretrained import save_model
from minigpt4.checkpoints.release import native_record
from minigpt4.checkpoints.saved import saved_config, saved_settings
from minigpt4.config import ASSETS, Config, load_config
from minigpt4.errors import CheckpointError, ConfigError
from minigpt4.models.minigpt4 import MiniGPT4
from tests.checkpoints.parts import MODEL, RELEASE

HARBOUR = ASSETS / "examples" / "harbour.png"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def tiny() -> Config:
    return load_config(CONFIGS / "tiny.yaml", ["device=cpu"])


def released(folder: Path, **changes: Any) -> Config:
    path = folder / "released.yaml"
    content = {"model": {**MODEL, **changes}, "device": "cpu", "precision": "float32"}
    path.write_text(yaml.safe_dump(content))
    return load_config(path)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model, saved."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_model(tiny(), folder)
    return folder


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    """A saved model that a test may spoil."""
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def change(folder: Path, changes: Mapping[str, Any]) -> None:
    path = folder / "config.json"
    content = json.loads(path.read_text())
    for key, value in changes.items():
        *groups, name = key.split(".")
        at = content
        for group in groups:
            at = at.setdefault(group, {})
        at[name] = value
    path.write_text(json.dumps(content))


def same_weights(one: MiniGPT4, other: MiniGPT4) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_saved_folder_is_the_same_model(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From another directory, too: nothing in it depends on where it was made."""
    first = load("tiny", device="cpu")
    moved = Path(shutil.copytree(saved, tmp_path / "elsewhere" / "mine"))
    monkeypatch.chdir(tmp_path)
    again = load("elsewhere/mine", device="cpu")
    assert same_weights(first._chat._model, again._chat._model)
    for question in ("What color is the boat?", "Describe this image in detail."):
        assert again.ask(HARBOUR, question) == first.ask(HARBOUR, question)
        for drawn in ({"temperature": 1.3, "seed": seed} for seed in (1, 2)):
            told = again.ask(HARBOUR, question, **drawn), first.ask(HARBOUR, question, **drawn)
            assert told[0] == told[1]
    assert torch.equal(first.encode(HARBOUR), again.encode(HARBOUR))
    assert load(moved, ["generation.max_new_tokens=3"]).config.generation.max_new_tokens == 3


def test_a_loaded_model_saves_itself_again(saved: Path, tmp_path: Path) -> None:
    chat = load(saved, device="cpu")
    chat.save_pretrained(tmp_path / "second")
    for file in sorted(saved.rglob("*")):
        if file.is_file():
            again = tmp_path / "second" / file.relative_to(saved)
            assert again.read_bytes() == file.read_bytes(), file.name
    chat.save_pretrained(saved)  # onto itself
    assert same_weights(build_model(tiny()), build_model(load_config(saved_config(saved))))


def test_what_a_saved_folder_holds(saved: Path) -> None:
    names = {path.relative_to(saved).as_posix() for path in saved.rglob("*") if path.is_file()}
    assert names == {
        *("config.json", "README.md", "LICENSE", "scores.json"),
        *("vision.safetensors", "qformer.safetensors", "projection.safetensors"),
        *("language/config.json", "language/generation_config.json", "language/model.safetensors"),
        *("language/tokenizer.model", "language/tokenizer_config.json"),
    }
    content = json.loads((saved / "config.json").read_text())
    assert content["model_type"] == "minigpt4"
    assert content["model"]["vision"] == "folder:vision.safetensors"
    assert content.keys().isdisjoint({"server", "engine", "device", "quantize", "spread"})


def test_the_model_card_has_the_scores(saved: Path) -> None:
    card = ModelCard.load(saved / "README.md")
    assert card.data.license == "bsd-3-clause"
    assert card.data.pipeline_tag == "image-text-to-text"
    scores = json.loads((ASSETS / "tiny" / "scores.json").read_text())
    answers = scores["stage2"]["answers"]
    (result,) = card.data.eval_results
    assert result.metric_value == round(sum(answers.values()) / len(answers), 4)
    assert (
        f"| color | {scores['stage2']['number']['color']:,} | {answers['color']:.1%} |" in card.text
    )
    recall = scores["stage2"]["descriptions"]["recall"]
    assert f"| recall | {recall:.1%} |" in card.text  # a table of its own
    assert 'load("path/to/this/folder")' in card.text
    assert "unseen pairs" in card.text


def test_a_card_without_scores_says_so() -> None:
    config = replace(tiny(), model=replace(tiny().model, prompt_format="llama2_chat"))
    card = model_card(config, saved_settings(config), {}, None, "other")
    assert "gave no scores" in card
    assert "LLAMA 2 Community License" in card


@pytest.mark.parametrize("pickled", [False, True])
def test_released_files_become_a_saved_model(tmp_path: Path, *, pickled: bool) -> None:
    """Layouts are translated, numbers are not: in safetensors, with the same ids for answers."""
    language = tmp_path / "llama"
    shutil.copytree(RELEASE / "llama", language)
    if pickled:
        torch.save(load_file(language / "model.safetensors"), language / "pytorch_model.bin")
        (language / "model.safetensors").unlink()
    config = released(tmp_path, language_model=str(language))
    folder = tmp_path / "saved"
    save_model(config, folder)
    assert not list(folder.rglob("*.bin")) + list(folder.rglob("*.pth"))
    again = load_config(saved_config(folder), ["device=cpu"])
    one, other = build_model(config), build_model(again)
    assert same_weights(one, other)
    record = native_record(read_header(folder / "projection.safetensors"))
    assert record["prompt_format"] == "vicuna_v0"
    first, second = chat_of(config), chat_of(again)
    for settings in ({"temperature": 0.0}, {"temperature": 1.0, "seed": 5}):
        told = [
            each.ask(HARBOUR, "What?", max_new_tokens=20, **settings) for each in (first, second)
        ]
        assert told[0] == told[1]


def chat_of(config: Config) -> LoadedChat:
    from minigpt4.build import build_chat

    return LoadedChat(build_chat(config), config)


def test_the_saved_projection_knows_its_saved_parts(tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    save_model(released(tmp_path), folder)
    other = load_file(folder / "language" / "model.safetensors")
    other["model.norm.weight"] += 1
    from safetensors.torch import save_file

    save_file(other, folder / "language" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="trained on other parts"):
        build_model(load_config(saved_config(folder), ["device=cpu"]))


def test_a_language_model_in_shards(tmp_path: Path) -> None:
    language = tmp_path / "llama"
    shutil.copytree(RELEASE / "llama", language)
    state = load_file(language / "model.safetensors")
    (language / "model.safetensors").unlink()
    names = sorted(state)
    shards = {
        "pytorch_model-00001-of-00002.bin": names[::2],
        "pytorch_model-00002-of-00002.bin": names[1::2],
    }
    for file, held in shards.items():
        torch.save({name: state[name] for name in held}, language / file)
    index = {name: file for file, held in shards.items() for name in held}
    (language / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": index}))
    config = released(tmp_path, language_model=str(language))
    save_model(config, tmp_path / "saved")
    found = {path.name for path in (tmp_path / "saved" / "language").glob("model*")}
    assert found == {
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
    }
    again = build_model(load_config(saved_config(tmp_path / "saved"), ["device=cpu"]))
    assert same_weights(build_model(config), again)


def test_own_example_pictures_go_along(tmp_path: Path) -> None:
    shutil.copy(HARBOUR, tmp_path / "Mine.PNG")
    config = tiny()
    example = replace(config.page.examples[0], picture=str(tmp_path / "Mine.PNG"))
    page = replace(config.page, examples=(example,))
    save_model(replace(config, page=page), tmp_path / "saved")
    (tmp_path / "Mine.PNG").unlink()
    again = load_config(saved_config(tmp_path / "saved"))
    assert Path(again.page.examples[0].picture).read_bytes() == HARBOUR.read_bytes()


def test_a_language_model_of_the_hub_stays_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"owner/language@{COMMIT}"
    config = replace(tiny(), model=replace(tiny().model, language_model=text))
    monkeypatch.setattr(
        huggingface_hub, "snapshot_download", lambda *_a, **_k: str(ASSETS / "tiny" / "language")
    )
    save_model(config, tmp_path / "saved")
    content = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert content["model"]["language_model"] == text
    assert not (tmp_path / "saved" / "language").exists()
    assert text in (tmp_path / "saved" / "README.md").read_text()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("all of it")
    with pytest.raises(CheckpointError, match="not empty"):
        save_model(tiny(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(CheckpointError, match="not empty"):
        save_model(tiny(), tmp_path)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model.vision": "/etc/passwd"}, "lie in its own folder"),
        ({"model.vision": "folder:../../secret.safetensors"}, "lie in its own folder"),
        ({"model.projection": "assets:../../README.md"}, "lie in its own folder"),
        ({"model.language_model": "language"}, "lie in its own folder"),
        (
            {"page.examples": [{"picture": "/srv/private.png", "question": "?"}]},
            r"page\.examples\[0\]\.picture",
        ),
        ({"engine.kind": "vllm", "engine.urls": ["http://evil.example"]}, "engine.urls"),
        ({"server.log_texts": True}, "server.log_texts"),
        ({"device": "cuda:3"}, "device"),
        ({"format_version": 2}, "2 given; expected a whole number that is 1"),
        ({"model_type": "llava"}, "minigpt4"),
        ({"model.visoin": "x"}, "Did you mean vision?"),
    ],
)
def test_a_saved_model_may_not_say_everything(
    copy: Path, changes: dict[str, Any], told: str
) -> None:
    change(copy, changes)
    with pytest.raises(ConfigError, match=told):
        find_config(copy)


def test_strict_as_ever(copy: Path, tmp_path: Path) -> None:
    (copy / "qformer.safetensors").write_bytes((copy / "vision.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="qformer"):
        load(copy, device="cpu")
    (copy / "qformer.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"qformer\.safetensors"):
        load(copy, device="cpu")
    with pytest.raises(ConfigError, match="holds no saved model"):
        load(tmp_path, device="cpu")


def test_a_known_name_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tiny").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_config("tiny") == CONFIGS / "tiny.yaml"
    with pytest.raises(ConfigError, match="holds no saved model"):
        find_config("./tiny")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read"),
        ("{", "is no JSON"),
        ("[1]", "does not read"),
        ('{"stage2": 3}', "does not read"),
        ('{"stage2": {"answers": 3}}', "does not read"),
    ],
)
def test_scores_that_are_none_are_told_before_anything_is_written(
    tmp_path: Path, content: str | None, told: str
) -> None:
    scores = tmp_path / "mine.json"
    if content is not None:
        scores.write_text(content)
    with pytest.raises(ConfigError, match=told):
        save_model(tiny(), tmp_path / "saved", scores=scores)
    assert not (tmp_path / "saved").exists()


def test_a_save_that_breaks_off_leaves_no_model_and_can_be_done_again(
    copy: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also over an older model: parts of two are none."""

    def full(*_arguments: object, **_more: object) -> None:
        raise CheckpointError("No space left on device.")

    fresh = tmp_path / "fresh"
    with monkeypatch.context() as broken:
        broken.setattr(pretrained, "_save_projection", full)
        for folder in (copy, fresh):
            with pytest.raises(CheckpointError, match="No space"):
                save_model(tiny(), folder)
            with pytest.raises(ConfigError, match="no saved model"):
                saved_config(folder)
    for folder in (copy, fresh):
        save_model(tiny(), folder)
        assert not list(folder.glob(".*"))
        assert same_weights(build_model(tiny()), build_model(load_config(saved_config(folder))))


def test_nothing_of_the_model_before_is_left(copy: Path) -> None:
    language = copy / "language"
    old = language / "model-00001-of-00002.safetensors"
    shutil.copy(language / "model.safetensors", old)
    (language / "model.safetensors.index.json").write_text("{}")
    save_model(tiny(), copy)
    assert not old.exists()
    assert not (language / "model.safetensors.index.json").exists()
    assert "00002" not in (copy / "README.md").read_text()
