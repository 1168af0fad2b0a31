"""The scores of the ablations as a picture, for light pages and for dark ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from train.ablation.figures import ArmFigures, Share, arms_in, by_data


@dataclass(frozen=True, slots=True)
class _Theme:
    """Colours, as #rrggbb: of the ground, of text, of what stands back, and of the two series."""

    ground: str
    ink: str
    faint: str
    grid: str
    before: str
    after: str


_THEMES = {
    "light": _Theme("#ffffff", "#1f2430", "#5b6475", "#e4e7ec", "#d9a32b", "#3b6fd4"),
    "dark": _Theme("#0d1117", "#e6e9ef", "#9aa4b5", "#2b3240", "#e0b252", "#7aa2f0"),
}
_BAR = 0.36


def plot(path: Path, found: Mapping[str, Any], theme: Literal["light", "dark"]) -> None:
    """Draws failures, exact answers, and scores by share of stage 1's data.

    Args:
        path: PNG file to write.
        found: Of `experiment.results`.
        theme: Of the page it is to stand on.
    """
    colors, arms = _THEMES[theme], arms_in(found)
    ablations = [arm for arm in arms if arm.data == 1]
    shares = by_data(arms)
    figure = Figure(figsize=(11, 4.4), dpi=120, layout="constrained", facecolor=colors.ground)
    FigureCanvasAgg(figure)
    pictures = found["made_with"]["scenes"]
    panels = figure.subplots(1, 3)
    _bars(
        panels[0], colors, ablations, "Failed descriptions",
        [[arm.described(stage, "failures", pictures) for arm in ablations] for stage in (1, 2)],
    )  # fmt: skip
    _bars(
        panels[1], colors, ablations, "Exact answers",
        [[arm.exact(stage) for arm in ablations] for stage in (1, 2)],
    )  # fmt: skip
    blind = arms[0].exact(2, "blind")
    if blind is not None:
        panels[1].axvline(100 * blind.value, color=colors.faint, linestyle=":", linewidth=1.4)
        panels[1].annotate(
            "blind", (100 * blind.value, -0.62), color=colors.faint, fontsize=8.5, ha="center",
            va="center", annotation_clip=False,
            bbox={"facecolor": colors.ground, "edgecolor": "none", "pad": 1},
        )  # fmt: skip
    _lines(panels[2], colors, shares, pictures)
    _legend(figure, panels[1], "outside lower left", colors)
    _legend(figure, panels[2], "outside lower right", colors)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, facecolor=colors.ground)


def _legend(
    figure: Figure,
    axes: Axes,
    place: Literal["outside lower left", "outside lower right"],
    colors: _Theme,
) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc=place, ncols=2, frameon=False, labelcolor=colors.ink)


def _bars(
    axes: Axes,
    colors: _Theme,
    arms: Sequence[ArmFigures],
    title: str,
    stages: Sequence[Sequence[Share | None]],
) -> None:
    """A row an arm: what it scores after stage 1 and after stage 2, with two standard errors."""
    places = range(len(arms))
    for shares, color, shift, label in (
        (stages[0], colors.before, -_BAR / 2, "after stage 1"),
        (stages[1], colors.after, _BAR / 2, "after stage 2"),
    ):
        values = [0.0 if share is None else 100 * share.value for share in shares]
        errors = [0.0 if share is None else 200 * share.error for share in shares]
        # A share is never below 0, and neither is its bar.
        low = [min(error, value) for value, error in zip(values, errors, strict=True)]
        axes.barh(
            [place + shift for place in places], values, height=0.9 * _BAR, color=color,
            label=label, xerr=[low, errors], ecolor=colors.ink, error_kw={"linewidth": 1},
        )  # fmt: skip
        for place, value, error in zip(places, values, errors, strict=True):
            axes.text(
                value + error + 1.5, place + shift, f"{value:.0f}", color=colors.ink, fontsize=8.5,
                va="center",
            )  # fmt: skip
    axes.set_yticks(list(places), [arm.title for arm in arms], color=colors.ink)
    axes.set_ylim(len(arms) - 0.5, -0.75)
    axes.set_xlim(0, 112)
    _finish(axes, colors, title, "x")
    axes.set_xlabel("per cent", color=colors.ink)


def _lines(axes: Axes, colors: _Theme, arms: Sequence[ArmFigures], pictures: int) -> None:
    """What arms score after both stages, by the share of stage 1's data that they saw."""
    places = list(range(len(arms)))
    for label, color, marker, shift, shares in (
        ("exact answers", colors.after, "o", -0.03, [arm.exact(2) for arm in arms]),
        (
            "objects named",
            colors.ink,
            "s",
            0.03,
            [arm.described(2, "recall", pictures) for arm in arms],
        ),
    ):
        values = [0.0 if share is None else 100 * share.value for share in shares]
        errors = [0.0 if share is None else 200 * share.error for share in shares]
        axes.errorbar(
            [place + shift for place in places], values, yerr=errors, color=color, marker=marker,
            markersize=5, linewidth=1.8, ecolor=colors.ink, elinewidth=1, capsize=0, label=label,
        )  # fmt: skip
    axes.set_xticks(places, [f"{100 * arm.data:g}" for arm in arms])
    axes.set_xlim(-0.4, len(arms) - 0.6)
    axes.set_ylim(0, 108)
    _finish(axes, colors, "After stage 2, by stage 1's data", "y")
    axes.set_xlabel("per cent of stage 1's samples", color=colors.ink)
    axes.set_ylabel("per cent", color=colors.ink)


def _finish(axes: Axes, colors: _Theme, title: str, grid: Literal["x", "y"]) -> None:
    axes.set_facecolor(colors.ground)
    axes.set_title(title, loc="left", color=colors.ink, fontsize=11)
    axes.grid(axis=grid, color=colors.grid, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=colors.faint, labelcolor=colors.ink, length=0, labelsize=9)
    for side in axes.spines.values():
        side.set_visible(False)
