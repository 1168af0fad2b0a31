"""SECURITY.md promises what is tested, and names settings that there are."""

import re
from dataclasses import fields
from pathlib import Path

from minigpt4.config import LimitsConfig, ServerConfig
from minigpt4.server import api_keys, auth, guards_body, limits
from minigpt4.server.guards_payload import LEAST_SESSION

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")


def test_the_page_is_short_and_says_how_to_report():
    assert len(PAGE.splitlines()) < 120
    assert PAGE.index("## How to report") < 100


def test_every_promise_names_a_test_that_is_there():
    rows = [
        line for line in PAGE.splitlines() if line.startswith("| ") and "measured by" not in line
    ]
    assert len(rows) >= 15
    for row in rows:
        named = re.findall(r"`((?:tests|minigpt4)/[\w./]+)`", row)
        assert named, row
    missing = [
        name for name in re.findall(r"`([\w]+/[\w./]+\.py)`", PAGE) if not (ROOT / name).exists()
    ]
    assert missing == []
    targets = re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"`make ([a-z-]+)`", PAGE)) <= set(targets)
    for link in re.findall(r"\]\(([^)]+)\)", PAGE):
        assert (ROOT / link).exists(), link


def test_settings_and_numbers_are_the_real_ones():
    groups = {"server": ServerConfig, "limits": LimitsConfig}
    named = re.findall(r"`(server|limits)\.(\w+)", PAGE)
    assert len(named) > 10
    for group, name in named:
        assert name in {each.name for each in fields(groups[group])}, name
    assert {auth.VARIABLE, api_keys.VARIABLE} <= set(re.findall(r"MINIGPT4_\w+", PAGE))
    for number in (
        f"{guards_body.JSON_BYTES // 2**20} MB of JSON",
        f"{guards_body.FILES_AT_ONCE} files",
        f"may take {guards_body.BODY_SECONDS} s",
        f"{limits.MOST_OPEN} open requests",
        f"{limits.LOGINS_PER_MINUTE} logins a minute",
        f"a password has {auth.LEAST_CHARACTERS} characters",
        f"`server.grace_seconds` ({ServerConfig().grace_seconds})",
        f"fewer than {LEAST_SESSION}",
    ):
        assert number in " ".join(PAGE.split()), number
