"""The paper's figures: curves over what an experiment varies, and ranks of the methods."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from r2ad2.experiments.advice import LABEL_BINS, ROW_BINS, Choice
from r2ad2.experiments.comparison import (
    CASE,
    METRICS,
    Ranking,
    by_task,
    comparable,
    complete_datasets,
    grid,
    order_of,
    summarise,
)
from r2ad2.experiments.protocols import EXPERIMENTS
from r2ad2.support.extras import from_extra
from r2ad2.support.messages import count

with from_extra("report", "matplotlib"):
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Rectangle
    from matplotlib.ticker import NullLocator
    from matplotlib.transforms import Bbox

    from r2ad2.plots import new_figure

_COLOURS = ("#c8553d", "#3b6ea5", "#5a8f69", "#8a6fb0", "#b8862f", "#4d4d4d", "#2a9d9d", "#b05a7a")
_MARKERS = "osD^vP*X"
_FITTING = 15  # letters of a method's name that fit into a cell of the map


def plot_levels(rows: pd.DataFrame, experiment: str, reference: str) -> Figure:
    """Plot AUC and AP against what the experiment varies: one row per data set, and the mean.

    The mean is over the data sets that have all levels of all methods. A method that only has
    results at level 0 needs none of what is varied: a dashed line continues it to the right.
    Levels that are not evenly spaced are drawn on a logarithmic axis, which also has the 0.

    Args:
        rows: results without errors, all of one budget.
        experiment: one that varies something.
        reference: method to draw first, with a stronger line.
    """
    protocol, summary = EXPERIMENTS[experiment], summarise(rows)
    methods = order_of(summary["method"].unique().tolist(), reference)
    panels = {str(name): dict.fromkeys(METRICS, part) for name, part in summary.groupby("dataset")}
    complete = {metric: complete_datasets(summary, metric) for metric in METRICS}
    if all(len(names) > 1 for names in complete.values()):
        panels[f"mean of {min(map(len, complete.values()))} data sets"] = {
            metric: summary[summary["dataset"].isin(names)] for metric, names in complete.items()
        }
    levels, styles = np.unique(summary["level"]), _styles(rows)
    figure = new_figure(9, 2.6 * len(panels) + 0.4)
    axes = figure.subplots(len(panels), len(METRICS), squeeze=False, sharex=True)
    for row, (name, parts) in zip(axes, panels.items(), strict=True):
        for ax, metric in zip(row, METRICS, strict=True):
            values = grid(parts[metric], metric, "level").sort_index()
            for method in methods:
                if method in values:
                    width = 2.2 if method == reference else 1.2
                    _plot_method(ax, values[method].dropna(), levels, styles[method], width)
            ax.set(title=f"{name}: {metric}")
            ax.grid(alpha=0.3)
            _scale_levels(ax, levels)
    for ax in axes[-1]:
        ax.set(xlabel=protocol.varies)
    handles = [Line2D([], [], label=name, markersize=4, **styles[name]) for name in methods]
    figure.legend(handles=handles, loc="outside lower center", ncols=6)
    return figure


def _styles(rows: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Return colour and marker by method, the same in all figures; the first 64 differ."""
    return {
        method: {
            "color": _COLOURS[i % len(_COLOURS)],
            "marker": _MARKERS[(i + i // len(_COLOURS)) % len(_MARKERS)],
        }
        for i, method in enumerate(sorted(rows["method"].unique(), key=str.lower))
    }


def _plot_method(
    ax: Axes, values: pd.Series, levels: np.ndarray, style: dict[str, Any], width: float
) -> None:
    ax.plot(values.index, values, markersize=4, linewidth=width, **style)
    if values.index.tolist() == [0] and len(levels) > 1:
        ends = [0, levels[-1]]
        ax.plot(ends, [values.iloc[0]] * 2, "--", color=style["color"], linewidth=width, alpha=0.6)


def _scale_levels(ax: Axes, levels: np.ndarray) -> None:
    """Use a logarithmic axis, linear below the smallest positive level, for uneven levels."""
    steps = np.diff(levels)
    if len(steps) < 2 or np.allclose(steps, steps[0]):
        return
    ax.set_xscale("symlog", linthresh=levels[levels > 0].min(), linscale=0.4)
    ax.set_xticks(levels, [f"{level:g}" for level in levels], minor=False)
    ax.xaxis.set_minor_locator(NullLocator())


def plot_ranks(ranking: Ranking) -> Figure:
    """Draw average ranks on a line, with bars across methods that do not differ significantly.

    Source: Demšar, JMLR 7 (2006), figure 1.
    """
    methods: Sequence[str] = ranking.ranks.index.tolist()
    n_left = math.ceil(len(methods) / 2)
    depth = n_left * 0.5 + 0.4 + 0.2 * len(ranking.groups)
    figure = new_figure(7, 1.1 + 0.55 * depth)
    ax = figure.add_subplot()
    ax.set(xlim=(0.2, len(methods) + 0.8), ylim=(-depth - 0.2, 1))
    ax.axis("off")
    ax.hlines(0, 1, len(methods), color="black")
    for tick in range(1, len(methods) + 1):
        ax.vlines(tick, 0, 0.1, color="black")
        ax.text(tick, 0.18, str(tick), ha="center")
    ax.hlines(0.7, 1, 1 + ranking.critical_difference, color="#c8553d", linewidth=2)
    ax.text(1, 0.8, f"critical difference {ranking.critical_difference:.2f}", color="#c8553d")
    for i, group in enumerate(ranking.groups):
        y = -0.2 - 0.2 * i
        ends = ranking.ranks[group]
        ax.hlines(y, ends.min() - 0.05, ends.max() + 0.05, color="black", linewidth=4)
    start = 0.4 + 0.2 * len(ranking.groups)
    for i, method in enumerate(methods):
        left = i < n_left
        y = -start - 0.5 * (i if left else len(methods) - 1 - i)
        x, end = ranking.ranks[method], 0.9 if left else len(methods) + 0.1
        ax.plot([x, x, end], [0, y, y], color="black", linewidth=0.8)
        label = f"{method} ({x:.2f})"
        ax.text(
            end + (-0.05 if left else 0.05), y, label, ha="right" if left else "left", va="center"
        )
    ax.set_xlim(-0.9, len(methods) + 1.9)
    return figure


def plot_costs(rows: pd.DataFrame) -> Figure | None:
    """Plot the methods' mean average precision against the time they need for training.

    Only methods and tasks that can be compared count, see `comparable`. None if there are none.

    Args:
        rows: results without errors, all of one experiment and budget.
    """
    summary = summarise(rows)
    precision = comparable(by_task(summary, "AP"))
    if precision.empty:
        return None
    times = rows.groupby(CASE, dropna=False)["fit_seconds"].median().reset_index()
    seconds = by_task(times, "fit_seconds").loc[precision.index, precision.columns].median()
    kind = "data sets" if summary["level"].isna().all() else "data sets and levels"
    figure = new_figure(8, 4.5)
    ax = figure.add_subplot()
    ax.set(
        xscale="log",
        xlabel=f"seconds of training (median over {kind})",
        ylabel=f"average precision (mean over {kind})",
        title=f"{len(precision)} {kind}: up is better, left is faster",
    )
    means, styles = precision.mean(), _styles(rows)
    for method in precision.columns:
        ax.plot(seconds[method], means[method], linestyle="", **styles[method])
    ax.margins(x=0.2, y=0.1)
    ax.grid(alpha=0.3)
    figure.draw_without_rendering()  # places are known from here on
    _label_points(ax, {method: (seconds[method], means[method]) for method in precision.columns})
    return figure


def _label_points(ax: Axes, points: Mapping[str, tuple[float, float]]) -> None:
    """Write names beside points, on the first side where none covers another name or a point."""
    marks = ax.transData.transform(list(points.values()))
    taken = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in marks]
    for name, point in points.items():
        text = ax.annotate(name, point, (5, 4), textcoords="offset points", fontsize=9)
        for dx, dy in ((5, 4), (5, -11), (-5, 4), (-5, -11), (5, 15), (5, -22), (5, 4)):
            text.set(ha="left" if dx > 0 else "right")
            text.xyann = (dx, dy)
            if not text.get_window_extent().count_overlaps(taken):
                break
        taken.append(text.get_window_extent())


def plot_choices(choices: Sequence[Choice]) -> Figure | None:
    """Draw a map of the best method for each number of known anomalies and of training rows.

    Args:
        choices: see `choose_methods`.

    Returns:
        The figure; None if there are not at least two choices, or none between several methods.
    """
    if len(choices) < 2:
        return None
    labels = [name for name in LABEL_BINS if any(one.labels == name for one in choices)]
    sizes = [name for name in ROW_BINS if any(one.rows == name for one in choices)]
    figure = new_figure(0.85 + 1.4 * len(sizes), 1.2 + 0.8 * len(labels))
    ax = figure.add_subplot()
    ax.set(
        xlim=(0, len(sizes)),
        ylim=(len(labels), 0),
        xlabel="normal rows to train on",
        ylabel="known anomalies" if len(labels) > 1 else "known\nanomalies",
    )
    ax.set_xticks(np.arange(len(sizes)) + 0.5, sizes)
    ax.set_yticks(np.arange(len(labels)) + 0.5, labels)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    colours = LinearSegmentedColormap.from_list("margin", ["#f3f6f4", "#74bd8b"])
    limit = max([0.01, *(one.margin for one in choices)])
    shades = ScalarMappable(Normalize(0, limit, clip=True), colours)
    for one in choices:
        x, y = sizes.index(one.rows), labels.index(one.labels)
        _draw_choice(ax, x, y, one, shades.to_rgba(np.array(one.margin)))
    bar = figure.colorbar(shades, ax=ax, location="bottom", aspect=40, pad=0.02)
    bar.set_label("margin over the runner-up, average precision", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    return figure


def _draw_choice(ax: Axes, x: float, y: float, one: Choice, colour: Any) -> None:
    """Fill one cell of the map: best method, runner-up, margin and number of tasks."""
    clear = one.is_significant
    ax.add_patch(
        Rectangle(
            (x + 0.02, y + 0.03),
            0.96,
            0.94,
            facecolor=colour,
            edgecolor="#2f6b45" if clear else "#8a938d",
            linestyle="-" if clear else (0, (3, 2)),
            linewidth=1.8 if clear else 0.9,
        )
    )
    text: dict[str, Any] = {"ha": "center", "va": "center", "color": "#111111"}
    lines = [
        (0.24, one.best, 10.0, "bold"),
        (0.51, f"{'>' if clear else '≈'} {one.second}", 8.5, "normal"),
        (0.76, f"{one.margin:+.3f}, {count(one.n_tasks, 'task')}", 8.5, "normal"),
    ]
    for down, line, size, weight in lines:
        # Long names are written smaller.
        fitting = min(1.0, 10 * _FITTING / (size * len(line)))
        ax.text(x + 0.5, y + down, line, fontsize=size * fitting, weight=weight, **text)


def plot_methods(rows: pd.DataFrame, summary: pd.DataFrame) -> Figure:
    """Plot each method's average precision, fold by fold, and its training time.

    Args:
        rows: one row per method and fold, with "AP" and "fit_seconds".
        summary: one row per method, best first, with the means.
    """
    methods = summary["method"].tolist()[::-1]
    figure = new_figure(9, 1.2 + 0.32 * len(methods))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[2, 1])
    for y, method in enumerate(methods):
        folds = rows[(rows["method"] == method) & rows["error"].isna()]
        left.plot(folds["AP"], [y] * len(folds), "o", color=_COLOURS[1], alpha=0.5, markersize=4)
        left.plot(folds["AP"].mean(), y, "D", color=_COLOURS[0], markersize=6)
        right.barh(y, folds["fit_seconds"].median(), color=_COLOURS[2])
    left.set(xlabel="average precision (dots: folds)", yticks=range(len(methods)))
    left.set_yticklabels(methods)
    right.set(xlabel="seconds of training", xscale="log")
    for ax in (left, right):
        ax.grid(alpha=0.3, axis="x")
    return figure


def to_svg(figure: Figure) -> str:
    """Write a figure as SVG, identical for identical figures."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "r2ad2", "svg.fonttype": "path"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
