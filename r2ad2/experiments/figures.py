"""The publication's figures: curves over what an experiment varies, and ranks of the methods."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import pandas as pd

from r2ad2.experiments.comparison import METRICS, Ranking, grid, order_of, summarise
from r2ad2.experiments.protocols import EXPERIMENTS
from r2ad2.support.extras import from_extra

with from_extra("report", "matplotlib"):
    import matplotlib as mpl
    from matplotlib.figure import Figure

    from r2ad2.plots import new_figure

_COLOURS = ("#c8553d", "#3b6ea5", "#5a8f69", "#8a6fb0", "#b8862f", "#4d4d4d", "#2a9d9d", "#b05a7a")
_MARKERS = "osD^vP*X"


def plot_levels(rows: pd.DataFrame, experiment: str, reference: str) -> Figure:
    """Plot AUC and AP against what the experiment varies: one row per data set, and the mean.

    Args:
        rows: results without errors, all of one budget.
        experiment: one that varies something.
        reference: method to draw first, with a stronger line.
    """
    protocol, summary = EXPERIMENTS[experiment], summarise(rows)
    methods = order_of(summary["method"].unique().tolist(), reference)
    panels = {str(name): part for name, part in summary.groupby("dataset")}
    if len(panels) > 1:
        panels["mean"] = summary
    figure = new_figure(9, 2.6 * len(panels))
    axes = figure.subplots(len(panels), len(METRICS), squeeze=False, sharex=True)
    for row, (name, part) in zip(axes, panels.items(), strict=True):
        for ax, metric in zip(row, METRICS, strict=True):
            values = grid(part, metric, "level").sort_index()
            for i, method in enumerate(methods):
                if method in values:
                    ax.plot(
                        values.index,
                        values[method],
                        label=method,
                        color=_COLOURS[i % len(_COLOURS)],
                        marker=_MARKERS[i % len(_MARKERS)],
                        markersize=4,
                        linewidth=2.2 if method == reference else 1.2,
                    )
            ax.set(title=f"{name}: {metric}")
            ax.grid(alpha=0.3)
    for ax in axes[-1]:
        ax.set(xlabel=protocol.varies)
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
    return figure


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

    Only data sets on which all methods have results count. None if there is no such data set.

    Args:
        rows: results without errors, all of one experiment and budget.
    """
    precision = rows.pivot_table("AP", "dataset", "method").dropna()
    seconds = rows.pivot_table("fit_seconds", "dataset", "method", "median")
    if precision.empty:
        return None
    figure = new_figure(8, 4.5)
    ax = figure.add_subplot()
    ax.set(
        xscale="log",
        xlabel="seconds of training (median over data sets)",
        ylabel="average precision (mean over data sets)",
        title=f"{len(precision)} data sets: up is better, left is faster",
    )
    for i, method in enumerate(precision.columns):
        x, y = seconds.loc[precision.index, method].median(), precision[method].mean()
        ax.plot(x, y, _MARKERS[i % len(_MARKERS)], color=_COLOURS[i % len(_COLOURS)])
        ax.annotate(method, (x, y), (5, 4), textcoords="offset points", fontsize=9)
    ax.margins(x=0.2)
    ax.grid(alpha=0.3)
    return figure


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
