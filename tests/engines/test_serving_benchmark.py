import json

import pytest
import torch

from benchmarks.serving import TURNS, main
from benchmarks.serving_models import SIZES, write_model
from benchmarks.serving_peer import load_peer, turn_prompt
from minigpt4.engines.blocks import PAGE

HISTORY = 100


@pytest.mark.slow
@pytest.mark.load
def test_the_quick_benchmark_measures_every_peer(tmp_path):
    main(["--sizes", "quick", "--threads", "1", "--out", str(tmp_path)])
    found = json.loads((tmp_path / "serving.json").read_text())
    peers = found["sizes"]["quick"]["peers"]
    assert list(peers) == ["ours", "release", "instructblip"]
    for peer in peers.values():
        assert list(peer["first_token"]) == ["1", "3", "6"]
        assert list(peer["tokens_per_second"]) == ["1", "4"]
        values = [
            *peer["first_token"].values(),
            *peer["tokens_per_second"].values(),
            peer["decode"],
        ]
        assert all(wall > 0 and cpu > 0 for wall, cpu in values)
        assert peer["peak_mb"] > 100
        assert peer["startup"] > 0
    table = (tmp_path / "serving.md").read_text()
    assert "| first token, turn 6 |" in table
    assert "| 4 chats, tokens/s with prompts |" in table
    assert (tmp_path / "serving.png").read_bytes().startswith(b"\x89PNG")


def test_ours_reads_only_what_is_new_of_the_follow_ups_it_is_measured_by(tmp_path):
    """Counted, not timed: what the benchmark asks of our engine is what a cache is good for."""
    write_model(SIZES["quick"], tmp_path / "model")
    with torch.inference_mode():
        ours, _ = load_peer("ours", SIZES["quick"], tmp_path / "model", None)
        known = 0
        for turn in range(1, max(TURNS) + 1):
            before = ours._engine.statistics()
            ours.first_token(turn_prompt(ours.language, 1, turn, HISTORY))
            after = ours._engine.statistics()
            whole = after.prompt_tokens - before.prompt_tokens
            cached = after.cached_tokens - before.cached_tokens
            # Blocks of the cache are whole pages, and the last question is another one each time.
            assert known - 2 * PAGE < cached <= known if turn > 1 else cached == 0
            known = whole
    ours._engine.close()
