"""Saved models on the hub: published in one commit, fetched by it."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import ModelCard
from huggingface_hub.errors import LocalEntryNotFoundError

from minigpt4 import cli
from minigpt4.api import CONFIGS, find_config, load
from minigpt4.checkpoints.pretrained import push_folder, save_model
from minigpt4.checkpoints.saved import fetch_saved, is_saved_reference
from minigpt4.config import ASSETS, Config, load_config
from minigpt4.errors import CheckpointError, ConfigError
from minigpt4.references import parse_reference
from tests.truth import true_answer

HARBOUR = ASSETS / "examples" / "harbour.png"
ANSWER = true_answer("harbour", "What color is the boat?")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def tiny() -> Config:
    return load_config(CONFIGS / "tiny.yaml", ["device=cpu"])


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


class FakeHub:
    """The hub: what was pushed, and what a download finds here or there."""

    def __init__(self, here: Path | None = None, there: Path | None = None) -> None:
        self.here, self.there = here, there
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.pushed: set[str] = set()

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        hub = self

        class Api:
            def __init__(self, token: str | None = None) -> None:
                hub.calls.append(("api", {"token": token}))

            def create_repo(self, repo_id: str, **told: Any) -> None:
                hub.calls.append(("create_repo", {"repo_id": repo_id, **told}))

            def upload_folder(self, **told: Any) -> SimpleNamespace:
                hub.calls.append(("upload_folder", told))
                root = Path(told["folder_path"])
                files = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
                kept = huggingface_hub.utils.filter_repo_objects(
                    [path.as_posix() for path in files], allow_patterns=told["allow_patterns"]
                )
                hub.pushed = set(kept)
                return SimpleNamespace(oid=COMMIT)

        monkeypatch.setattr(huggingface_hub, "HfApi", Api)
        monkeypatch.setattr(huggingface_hub, "snapshot_download", self.download)

    def download(self, repo_id: str, **told: Any) -> str:
        self.calls.append(("download", {"repo_id": repo_id, **told}))
        found = self.here if told["local_files_only"] else self.there
        if found is None:
            if told["local_files_only"]:
                raise LocalEntryNotFoundError("not here")
            raise OSError("no network")
        return str(found)


def test_push(saved: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hub = FakeHub()
    hub.install(monkeypatch)
    chat = load(saved, device="cpu")
    commit = chat.push_to_hub("owner/name", private=True, token="t", commit_message="First")
    assert commit.oid == COMMIT
    assert [name for name, _ in hub.calls] == ["api", "create_repo", "upload_folder"]
    assert hub.calls[0][1] == {"token": "t"}
    assert hub.calls[1][1] == {"repo_id": "owner/name", "private": True, "exist_ok": True}
    assert hub.calls[2][1]["repo_id"] == "owner/name"
    assert hub.calls[2][1]["commit_message"] == "First"
    everything = {path.relative_to(saved).as_posix() for path in saved.rglob("*") if path.is_file()}
    assert hub.pushed == everything
    folder = Path(shutil.copytree(saved, tmp_path / "more"))
    (folder / "notes.txt").write_text("private")
    push_folder(folder, "owner/name")
    assert hub.pushed == everything
    (folder / "config.json").unlink()
    with pytest.raises(ConfigError, match="no saved model"):
        push_folder(folder, "owner/name")


def test_a_hub_that_refuses_is_a_sentence(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = FakeHub()
    hub.install(monkeypatch)

    def refuse(*_arguments: object, **_told: object) -> None:
        raise PermissionError("403 Forbidden")

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", refuse)
    with pytest.raises(CheckpointError, match="could not be published: PermissionError: 403"):
        push_folder(saved, "owner/name")


def test_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub = FakeHub()
    hub.install(monkeypatch)
    folder = str(tmp_path / "mine")
    assert cli.main(["save", folder, "--licence", "mit"]) == 0
    assert ModelCard.load(Path(folder) / "README.md").data.license == "mit"
    assert cli.main(["doctor", "--cfg-path", folder]) == 0
    question = [str(HARBOUR), "What color is the boat?"]
    assert cli.main(["ask", *question, "--cfg-path", folder, "--device", "cpu"]) == 0
    assert capsys.readouterr().out.endswith(f"{ANSWER}\n")
    assert cli.main(["push", folder, "owner/name", "--private", "--message", "Hello"]) == 0
    assert capsys.readouterr().out == f"owner/name@{COMMIT}\n"
    assert hub.calls[1][1]["private"] is True
    assert hub.calls[2][1]["commit_message"] == "Hello"
    assert cli.main(["push", str(tmp_path), "owner/name"]) == 2
    assert cli.main(["save", str(tmp_path)]) == 1
    assert "not empty" in capsys.readouterr().err


def test_a_model_of_the_hub_by_its_commit(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = FakeHub(there=saved)
    hub.install(monkeypatch)
    chat = load(f"owner/name@{COMMIT}", device="cpu")
    assert chat.ask(HARBOUR, "What color is the boat?") == ANSWER
    assert [call[1]["local_files_only"] for call in hub.calls] == [True, False]
    assert {call[1]["revision"] for call in hub.calls} == {COMMIT}


def test_a_model_that_is_here_asks_no_network(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = FakeHub(here=saved)
    hub.install(monkeypatch)
    assert find_config(f"owner/name@{COMMIT}") == saved / "config.json"
    assert len(hub.calls) == 1


def test_half_a_download_is_fetched_again(
    saved: Path, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (copy / "vision.safetensors").unlink()
    hub = FakeHub(here=copy, there=saved)
    hub.install(monkeypatch)
    assert fetch_saved(parse_reference(f"owner/name@{COMMIT}")) == saved / "config.json"


def test_without_a_network_it_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeHub().install(monkeypatch)
    with pytest.raises(CheckpointError, match="could not be fetched"):
        load(f"owner/name@{COMMIT}")


def test_a_branch_is_no_commit() -> None:
    with pytest.raises(ConfigError, match="40 hexadecimal digits"):
        load("owner/name@main")
    assert not is_saved_reference("tiny")
    assert not is_saved_reference(f"owner/name@{COMMIT}:file.safetensors")
