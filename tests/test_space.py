"""The repository as a Hugging Face Space; tests/test_repository.py holds its front matter."""

import re
from pathlib import Path

import demo

ROOT = Path(__file__).parents[1]


def test_the_space_starts_with_the_embedded_model_and_listens_outside(monkeypatch):
    monkeypatch.setenv("SPACE_ID", "somebody/minigpt4")
    monkeypatch.delenv("MINIGPT4_CONFIG", raising=False)
    given = demo._parse([])
    assert (given.host, given.port) == ("0.0.0.0", 7860)
    assert Path(given.cfg_path).samefile(ROOT / "eval_configs" / "tiny.yaml")


def test_every_variable_that_the_page_names_is_read():
    told = (ROOT / "docs" / "spaces.md").read_text(encoding="utf-8")
    code = "".join(
        path.read_text(encoding="utf-8")
        for path in [ROOT / "demo.py", *(ROOT / "minigpt4").rglob("*.py")]
    )
    named = set(re.findall(r"`(MINIGPT4_\w+)`", told))
    assert named
    for variable in named:
        assert variable in code, variable
