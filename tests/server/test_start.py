"""What is looked at before a server starts, and what the start tells."""

import os
import socket
from pathlib import Path

import pytest

from minigpt4.config import Config, ModelConfig, ServerConfig
from minigpt4.errors import CheckpointError, ConfigError, MiniGPT4Error
from minigpt4.server import app
from minigpt4.server.app import check_address, reason, serve, served_name
from minigpt4.ui.app import OwnWorkingDirectory
from tests.ports import free_port

COMMIT = "0123456789" * 4


def configuration(**server: str) -> Config:
    model = ModelConfig(
        preset="tiny", prompt_format="tiny", vision="v", language_model="l", projection="p"
    )
    return Config(model=model, server=ServerConfig(**server))


def test_a_free_address_is_fine() -> None:
    check_address("127.0.0.1", free_port())


def test_a_port_in_use_is_told_before_anything_is_loaded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(_config: Config) -> None:
        pytest.fail("The model is loaded for nothing.")

    monkeypatch.setattr("minigpt4.build.build_chat", load)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert serve("tiny", port=port) == 1
    assert capsys.readouterr().err == (
        f"Port {port} is in use. Stop what uses it, or choose another with --port.\n"
    )


def test_an_address_of_another_machine_is_no_port_in_use() -> None:
    with pytest.raises(MiniGPT4Error, match=r"port \d+ of 192\.0\.2\.1: .*--host") as refused:
        check_address("192.0.2.1", free_port())  # an address for examples: nobody has it
    assert "in use" not in str(refused.value)


@pytest.mark.parametrize("port", [0, -1, 65_536])
def test_no_such_port(port: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert serve("tiny", port=port) == 2
    assert f"--port: {port} given; expected a port from 1 to 65535." in capsys.readouterr().err


def test_a_saved_model_that_cannot_be_fetched_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fetch(_path: object) -> Path:
        raise CheckpointError("owner/name could not be fetched.")

    monkeypatch.setattr(app, "find_config", fetch)
    assert serve(f"owner/name@{COMMIT}") == 1
    assert capsys.readouterr().err == "owner/name could not be fetched.\n"


def test_a_saved_model_is_called_by_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configuration()
    file = tmp_path / "my-model" / "config.json"
    file.parent.mkdir()
    assert served_name(config, "tiny", Path("eval_configs/tiny.yaml")) == "tiny"
    assert served_name(config, str(file.parent), file) == "my-model"
    cached = tmp_path / "snapshots" / COMMIT / "config.json"
    assert served_name(config, f"owner/name@{COMMIT}", cached) == "owner/name"
    monkeypatch.chdir(file.parent)
    assert served_name(config, ".", Path("config.json")) == "my-model"
    assert served_name(configuration(model_name="mine"), str(file.parent), file) == "mine"


def test_the_working_directory_is_left_before_it_is_deleted() -> None:
    before = Path.cwd()
    try:
        folder = OwnWorkingDirectory()
        assert Path.cwd().samefile(folder.name)
        assert list(Path(folder.name).iterdir()) == []
        folder.cleanup()
        assert Path.cwd() == before
        assert not Path(folder.name).exists()
    finally:
        os.chdir(before)


def test_what_nobody_foresaw_comes_with_its_trace() -> None:
    def fail() -> None:
        raise RuntimeError("no memory")

    try:
        fail()
    except RuntimeError as error:
        told = reason(error, 7860)
    assert "in fail" in told
    assert told.endswith("The server could not start: RuntimeError: no memory")
    assert reason(ConfigError(["seen"]), 7860) == "seen"
