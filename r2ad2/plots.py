"""Plots of scores and training; every function draws on Matplotlib Axes and returns them."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.metrics import PrecisionRecallDisplay, RocCurveDisplay

_NORMAL, _ANOMALY = "#3b6ea5", "#c8553d"


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    figure = Figure(figsize=(5, 4), layout="constrained")
    FigureCanvasAgg(figure)  # no display needed, and no figure left open in pyplot
    return figure.add_subplot()


def plot_roc(labels: np.ndarray, scores: np.ndarray, ax: Axes | None = None) -> Axes:
    """Plot the receiver operating characteristic of scores (n,) for labels (n,) in {0, 1}."""
    ax = _axes(ax)
    RocCurveDisplay.from_predictions(labels, scores, ax=ax, plot_chance_level=True)
    ax.set(title="ROC curve", xlabel="false positive rate", ylabel="true positive rate")
    return ax


def plot_precision_recall(labels: np.ndarray, scores: np.ndarray, ax: Axes | None = None) -> Axes:
    """Plot precision against recall of scores (n,) for labels (n,) in {0, 1}."""
    ax = _axes(ax)
    PrecisionRecallDisplay.from_predictions(labels, scores, ax=ax, plot_chance_level=True)
    ax.set(title="Precision and recall", xlabel="recall", ylabel="precision")
    return ax


def plot_scores(
    labels: np.ndarray, scores: np.ndarray, threshold: float = 0.5, ax: Axes | None = None
) -> Axes:
    """Plot the distribution of scores (n,) of normal and anomalous samples, and the threshold."""
    ax = _axes(ax)
    bins = np.linspace(0, 1, 41).tolist()
    for value, name, colour in ((0, "normal", _NORMAL), (1, "anomalous", _ANOMALY)):
        ax.hist(scores[labels == value], bins=bins, label=name, color=colour, alpha=0.7)
    ax.axvline(threshold, color="black", linestyle="--", label=f"threshold {threshold:.2g}")
    ax.set(title="Anomaly scores", xlabel="score", ylabel="samples", yscale="log")
    ax.legend()
    return ax


def plot_history(history: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Plot the losses of all phases in a detector's `history_`, one phase after the other."""
    ax = _axes(ax)
    start = 0
    for phase, rows in history.groupby("phase", sort=False):
        epochs = start + rows["epoch"]
        for name in rows.columns.difference(["phase", "epoch"]):
            if rows[name].notna().any():
                ax.plot(epochs, rows[name], label=f"{phase}: {name.replace('_', ' ')}")
        start = int(epochs.max())
        ax.axvline(start, color="lightgrey", zorder=0)
    ax.set(title="Training", xlabel="epoch (all phases)", ylabel="loss")
    ax.legend(fontsize="x-small")
    return ax


def save_plot(ax: Axes, path: Path) -> Path:
    """Write the figure of the Axes to an image file; its folder is made if necessary."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cast(Figure, ax.figure).savefig(path, dpi=120)
    return path


def save_evaluation_plots(
    labels: np.ndarray, scores: np.ndarray, folder: Path, threshold: float = 0.5
) -> list[Path]:
    """Write roc.png, precision_recall.png and scores.png into the folder."""
    return [
        save_plot(plot_roc(labels, scores), folder / "roc.png"),
        save_plot(plot_precision_recall(labels, scores), folder / "precision_recall.png"),
        save_plot(plot_scores(labels, scores, threshold), folder / "scores.png"),
    ]
