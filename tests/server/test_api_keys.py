"""The keys of `/v1`."""

import hmac

import pytest
from starlette.datastructures import Headers

from minigpt4.errors import ConfigError
from minigpt4.server import api_keys
from minigpt4.server.api_keys import VARIABLE, ApiKeys


def bearing(value: str) -> Headers:
    return Headers({"authorization": value})


def test_without_the_variable_everybody_may_ask() -> None:
    keys = ApiKeys.from_environment({})
    assert not keys
    assert keys.admits(Headers())
    assert not keys.known(bearing("Bearer anything"))


def test_keys_stand_between_commas() -> None:
    keys = ApiKeys.from_environment({VARIABLE: " one ,two,,\n"})
    for right in ("Bearer one", "bearer two", "Bearer  two "):
        assert keys.admits(bearing(right)), right
    for wrong in ("", "Bearer", "Bearer ", "one", "Basic one", "Bearer One", "Bearer one,two"):
        assert not keys.admits(bearing(wrong)), wrong
    assert not keys.admits(Headers())


@pytest.mark.parametrize("value", ["", " ", ",", " , "])
def test_a_variable_without_a_key_is_a_mistake(value: str) -> None:
    with pytest.raises(ConfigError, match="holds no key"):
        ApiKeys.from_environment({VARIABLE: value})


def test_every_key_is_compared_in_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def noted(a: bytes, b: bytes) -> bool:
        compared.append((a, b))
        return real(a, b)

    monkeypatch.setattr(api_keys.hmac, "compare_digest", noted)
    keys = ApiKeys(["first", "a much longer second one", "third"])
    for given in ("first", "third", "x", "a much longer second one", "\xe4"):
        compared.clear()
        keys.admits(bearing(f"Bearer {given}"))
        assert len(compared) == 3
        assert {len(each) for pair in compared for each in pair} == {32}
