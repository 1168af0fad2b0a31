"""The loss curve of a run as a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_INK, _LIGHT_INK, _GRID = "#1f2430", "#667085", "#e4e7ec"
_LOSS, _HELD_OUT = "#3b6fd4", "#d9622b"
_SMOOTHING = 0.95


def plot_run(
    path: Path,
    metrics: Sequence[dict[str, Any]],
    held_out: Sequence[tuple[int, float]],
    title: str,
) -> None:
    """Draws loss and learning rate over the steps.

    Args:
        path: PNG file to write.
        metrics: Rows of metrics.jsonl.
        held_out: Step and loss of every look at held-out pictures.
        title: Stands above the curves.
    """
    figure = Figure(figsize=(8, 5), dpi=110, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 1]})
    rows = [row for row in metrics if row["loss"] is not None]
    steps = [row["step"] for row in rows]
    losses = [row["loss"] for row in rows]
    above.plot(steps, losses, color=_LOSS, alpha=0.25, linewidth=0.8)
    above.plot(steps, _smoothed(losses), color=_LOSS, linewidth=1.8, label="training (smoothed)")
    if held_out:
        above.plot(
            *zip(*held_out, strict=True),
            color=_HELD_OUT,
            linewidth=1.4,
            marker="o",
            markersize=4,
            label="held-out pictures",
        )
    above.set_title(title, loc="left", color=_INK, fontsize=12)
    above.set_ylabel("loss (nats per token)", color=_INK)
    highest = max([*_smoothed(losses), *(loss for _, loss in held_out)], default=1.0)
    above.set_ylim(0, 1.08 * highest)
    above.legend(frameon=False, labelcolor=_INK)
    below.plot(
        [row["step"] for row in metrics],
        [row["learning_rate"] for row in metrics],
        color=_LIGHT_INK,
        linewidth=1.4,
    )
    below.set_ylabel("learning rate", color=_INK)
    below.set_xlabel("optimiser steps", color=_INK)
    below.set_ylim(bottom=0)
    below.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    for axes in (above, below):
        axes.grid(color=_GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(colors=_LIGHT_INK, length=0)
        for side in axes.spines.values():
            side.set_visible(False)
        axes.margins(x=0.01)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _smoothed(losses: Sequence[float]) -> list[float]:
    """Running means that forget slowly; the first ones are means of what there is."""
    smoothed: list[float] = []
    total = weight = 0.0
    for loss in losses:
        total = _SMOOTHING * total + loss
        weight = _SMOOTHING * weight + 1
        smoothed.append(total / weight)
    return smoothed
