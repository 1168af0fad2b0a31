import json

import pytest

from benchmarks.serving import main


@pytest.mark.slow
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
    # In CPU time, which others on the machine do not take: a follow-up is read from the cache.
    assert peers["ours"]["first_token"]["6"][1] < peers["release"]["first_token"]["6"][1]
    table = (tmp_path / "serving.md").read_text()
    assert "| first token, turn 6 |" in table
    assert "| 4 chats, tokens/s with prompts |" in table
    assert (tmp_path / "serving.png").read_bytes().startswith(b"\x89PNG")
