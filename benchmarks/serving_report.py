"""Table and plot of the serving benchmark."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

LABELS = {
    "ours": "ours (batching)",
    "release": "the release's way",
    "instructblip": "InstructBLIP, transformers",
    "vllm": "ours (vLLM)",
}


def write_report(found: Mapping[str, Any], folder: Path) -> None:
    """Writes serving.json, serving.md and serving.png."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found, indent=1)
    (folder / "serving.json").write_text(text + "\n")
    found = json.loads(text)  # its keys are strings from here on
    (folder / "serving.md").write_text("\n".join(_table(found)) + "\n")
    _plot(found, folder / "serving.png")


def _table(found: Mapping[str, Any]) -> Iterator[str]:
    machine = found["machine"]
    yield (
        f"{machine['threads']} threads, {machine['processor']}, torch {machine['torch']}, "
        f"transformers {machine['transformers']}. Seconds on the clock, in brackets "
        "seconds of the CPUs. The clock counts what else the machine did; the CPUs do not."
    )
    for name, size in found["sizes"].items():
        peers, plan = size["peers"], size["plan"]
        yield ""
        yield f"### {name}"
        yield ""
        yield (
            f"Answers of {plan['tokens']} tokens; {plan['history']:,} tokens before the first "
            f"turn's question; best of {plan['repeats']}."
        )
        yield ""
        yield "| | " + " | ".join(LABELS[peer] for peer in peers) + " |"
        yield "|--|" + "--|" * len(peers)
        ours = peers["ours"]
        for turn in ours["first_token"]:
            costs = [
                (peer["first_token"][turn], ours["first_token"][turn]) for peer in peers.values()
            ]
            yield _row(f"first token, turn {turn}", [_lower(*cost) for cost in costs])
        rates = [(peer["decode"], ours["decode"]) for peer in peers.values()]
        yield _row("one chat, tokens/s after the first", [_higher(*rate) for rate in rates])
        for chats in ours["tokens_per_second"]:
            rates = [
                (peer["tokens_per_second"][chats], ours["tokens_per_second"][chats])
                for peer in peers.values()
            ]
            yield _row(f"{chats} chats, tokens/s with prompts", [_higher(*rate) for rate in rates])
        yield _row("start to ready, s", [f"{peer['startup']:.1f}" for peer in peers.values()])
        yield _row("peak memory, MB", [f"{peer['peak_mb']:,.0f}" for peer in peers.values()])
        encode = ", ".join(
            f"{wall * 1000:.0f} ms a picture {count} at a time"
            for count, (wall, _) in ours["encode"].items()
        )
        yield ""
        yield (
            f"Pictures: {encode}. One token reads {size['read_mb_per_token']:,.0f} MB of weights; "
            f"this machine reads {size['bandwidth_gb_s'][0]:.1f} GB/s at best "
            f"({size['bandwidth_gb_s'][1]:.1f} GB a CPU second), of which one chat reaches "
            f"{size['bandwidth_share'][0]:.0%} ({size['bandwidth_share'][1]:.0%})."
        )


def _row(what: str, cells: list[str]) -> str:
    return f"| {what} | " + " | ".join(cells) + " |"


def _lower(value: list[float], ours: list[float]) -> str:
    wall, cpu = value
    times = "" if value is ours else f", {wall / ours[0]:.1f} x ({cpu / ours[1]:.1f} x) ours"
    return f"{wall:.3f} ({cpu:.3f}){times}"


def _higher(value: list[float], ours: list[float]) -> str:
    wall, cpu = value
    times = "" if value is ours else f"; ours {ours[0] / wall:.1f} x ({ours[1] / cpu:.1f} x)"
    return f"{wall:.1f} ({cpu:.1f}){times}"


def _plot(found: Mapping[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure

    sizes = found["sizes"]
    figure = Figure(figsize=(9, 0.5 + 3.2 * len(sizes)), layout="constrained")
    grid = figure.subplots(len(sizes), 2, squeeze=False)
    for row, (name, size) in zip(grid, sizes.items(), strict=True):
        peers = size["peers"]
        for at, (peer, values) in enumerate(peers.items()):
            seconds = [cpu for _, cpu in values["first_token"].values()]
            places = [turn + 0.8 * (at + 0.5) / len(peers) for turn in range(len(seconds))]
            row[0].bar(places, seconds, 0.75 / len(peers), label=LABELS[peer])
            rates = [cpu for _, cpu in values["tokens_per_second"].values()]
            chats = [int(count) for count in values["tokens_per_second"]]
            row[1].plot(chats, rates, marker="o")
        turns = list(peers["ours"]["first_token"])
        row[0].set(title=f"{name}: CPU seconds to the first token", yscale="log", xlabel="turn")
        row[0].set_xticks([turn + 0.4 for turn in range(len(turns))], turns)
        row[1].set(title=f"{name}: tokens a CPU second", xlabel="chats at once", ylim=(0, None))
    figure.legend(*grid[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    figure.savefig(path, dpi=120)
