"""The report's plots, drawn from the scores alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

_INK, _LIGHT_INK, _GRID = "#1f2430", "#667085", "#e4e7ec"
_FINAL, _EARLY, _BLIND = "#3b6fd4", "#d9622b", "#c3c9d5"
_TITLES = {
    "language": "language model",
    "eye": "eye",
    "fitting": "eye to slots",
    "bridge": "Q-Former to language model",
}


def plot_scores(path: Path, scores: Mapping[str, Any], targets: Mapping[str, float]) -> None:
    """Bars by type of question: right after stage 2, after stage 1, and blind; ticks at targets."""
    final, blind = scores["stage2"]["answers"], scores["stage2"]["blind"]
    early = scores["paper"].get("stage1", {}).get("answers", {})
    names = sorted(final, key=lambda name: final[name]["right"])
    figure, (axes,) = _figure(8, 0.42 * len(names) + 1.2, 1)
    for place, name in enumerate(names):
        bars = (
            (0.27, final, _FINAL, "stage 2"),
            (0.0, early, _EARLY, "stage 1 only"),
            (-0.27, blind, _BLIND, "blind (another scene's picture)"),
        )
        for offset, of, color, label in bars:
            value = 100 * of.get(name, {}).get("right", 0.0)
            axes.barh(place + offset, value, 0.24, color=color, label="" if place else label)
        if name in targets:
            label = "" if any(other in targets for other in names[:place]) else "target"
            x = 100 * targets[name]
            axes.plot([x, x], [place - 0.4, place + 0.4], color=_INK, linewidth=1.6, label=label)
    axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    axes.set_xlim(0, 101)
    _finish(axes, "Right answers on held-out scenes, by type of question", "% of the questions")
    _save(figure, path, legend=axes)


def plot_training(path: Path, curves: Mapping[str, Mapping[str, Any]]) -> None:
    """For each part of stage 0 its loss, and below it what it scored while it trained."""
    names = [name for name in _TITLES if curves.get(name, {}).get("loss")]
    figure, axes = _figure(4 * max(1, len(names)), 5.6, 2, max(1, len(names)))
    for column, name in enumerate(names):
        above, below = axes[column], axes[len(names) + column]
        above.plot(*_columns(curves[name]["loss"]), color=_FINAL, linewidth=1.4)
        _finish(above, _TITLES[name], "")
        above.set_ylabel("loss (smoothed)", color=_INK)
        above.set_ylim(bottom=0)
        for place, (label, points) in enumerate(curves[name].get("scores", {}).items()):
            steps, values = _columns(points)
            color = (_FINAL, _EARLY, "#2f8f6b", _LIGHT_INK)[place % 4]
            below.plot(steps, [100 * value for value in values], color=color, label=label)
        _finish(below, "", "optimiser steps")
        below.set_ylabel("% right, held out", color=_INK)
        below.set_ylim(0, 101)
        if curves[name].get("scores"):
            below.legend(frameon=False, labelcolor=_INK, fontsize=8, loc="lower right")
    _save(figure, path)


def plot_gate(path: Path, gate: Mapping[str, Mapping[str, float]], threshold: float) -> None:
    """Bars by type of question: what the language model answers when it is told the true scene."""
    names = [name for name in next(iter(gate.values()), {}) if name != "mean"]
    figure, (axes,) = _figure(8, 0.3 * len(names) + 1.4, 1)
    colors = (_FINAL, _EARLY)
    for index, (things, scores) in enumerate(gate.items()):
        offset = 0.2 - 0.4 * index if len(gate) > 1 else 0.0
        places = [place + offset for place in range(len(names))]
        values = [100 * scores.get(name, 0.0) for name in names]
        label = f"up to {things} things"
        axes.barh(places, values, 0.36, color=colors[index % 2], label=label)
    axes.axvline(100 * threshold, color=_INK, linewidth=1.4, label="gate")
    axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    axes.set_xlim(0, 101)
    _finish(axes, "The language model alone, told the true scene", "% of the answers exact")
    _save(figure, path, legend=axes)


def _figure(width: float, height: float, rows: int, columns: int = 1) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), dpi=110, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    grid = figure.subplots(rows, columns, squeeze=False)
    return figure, [axes for row in grid for axes in row]


def _columns(points: Sequence[Sequence[float]]) -> tuple[list[float], list[float]]:
    return [point[0] for point in points], [point[1] for point in points]


def _finish(axes: Axes, title: str, label: str) -> None:
    axes.set_title(title, loc="left", color=_INK, fontsize=12)
    axes.set_xlabel(label, color=_INK)
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_LIGHT_INK, length=0)
    for side in axes.spines.values():
        side.set_visible(False)


def _save(figure: Figure, path: Path, *, legend: Axes | None = None) -> None:
    if legend is not None:
        handles, labels = legend.get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside lower center", ncols=4, frameon=False, labelcolor=_INK
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
