"""Plots of scores, training and explanations; every function returns the Matplotlib Axes."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
from sklearn.metrics import PrecisionRecallDisplay, RocCurveDisplay

from r2ad2.detectors.evaluation import evaluate_scores
from r2ad2.detectors.explanation import Explanation
from r2ad2.support.extras import from_extra
from r2ad2.support.files import make_folder

with from_extra("plots", "matplotlib"):
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

_NORMAL, _ANOMALY = "#3b6ea5", "#c8553d"


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    return new_figure(5, 4).add_subplot()


def new_figure(width: float, height: float) -> Figure:
    """Make a figure (sizes in inches) that needs no display and is not kept open by pyplot."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def plot_roc(
    labels: np.ndarray, scores: np.ndarray, threshold: float = 0.5, ax: Axes | None = None
) -> Axes:
    """Plot the receiver operating characteristic and the threshold's point on it.

    Args:
        labels: (n,) in {0, 1}, 1 = anomaly.
        scores: (n,), higher is more anomalous.
        threshold: scores above it are predicted anomalous.
        ax: Axes to draw on; by default new ones.
    """
    ax = _axes(ax)
    RocCurveDisplay.from_predictions(labels, scores, ax=ax, plot_chance_level=True)
    figures = evaluate_scores(labels, scores, threshold)
    _mark_threshold(ax, figures["false_positive_rate"], figures["recall"], threshold)
    ax.set(title="ROC curve", xlabel="false positive rate", ylabel="true positive rate")
    return ax


def plot_precision_recall(
    labels: np.ndarray, scores: np.ndarray, threshold: float = 0.5, ax: Axes | None = None
) -> Axes:
    """Plot precision against recall and the threshold's point on the curve; see `plot_roc`."""
    ax = _axes(ax)
    PrecisionRecallDisplay.from_predictions(labels, scores, ax=ax, plot_chance_level=True)
    figures = evaluate_scores(labels, scores, threshold)
    _mark_threshold(ax, figures["recall"], figures["precision"], threshold)
    ax.set(title="Precision and recall", xlabel="recall", ylabel="precision")
    return ax


def _mark_threshold(ax: Axes, x: float, y: float, threshold: float) -> None:
    ax.plot([x], [y], "o", color="black", label=f"threshold {threshold:.2g}", zorder=3)
    ax.legend(fontsize="small")


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
    ax.set(title="Training", xlabel="epoch, or number of trees (all phases)", ylabel="loss")
    ax.legend(fontsize="x-small")
    return ax


def plot_importances(importances: pd.Series, n_features: int = 20, ax: Axes | None = None) -> Axes:
    """Plot the largest importances as bars, the largest on top.

    Args:
        importances: `feature_importances_` of a `GradientForestDetector`.
        n_features: maximum number of bars.
        ax: Axes to draw on; by default new ones.
    """
    ax = _axes(ax)
    shown = importances.nlargest(n_features).iloc[::-1]
    ax.barh([str(name) for name in shown.index], shown.to_numpy(), color=_NORMAL)
    ax.set(title="Importance of features", xlabel="share")
    return ax


def plot_explanation(
    explanation: Explanation, sample: int = 0, n_features: int = 10, ax: Axes | None = None
) -> Axes:
    """Plot a sample's largest attributions as bars, the largest on top.

    Args:
        explanation: result of a detector's `explain`.
        sample: position of the sample.
        n_features: maximum number of bars; one more stands for all other features.
        ax: Axes to draw on; by default new ones.
    """
    ax = _axes(ax)
    values = explanation.features.iloc[sample]
    order = values.abs().sort_values(ascending=False, kind="stable").index
    shown = values[order[:n_features]].iloc[::-1]
    others = order[n_features:]
    if len(others):
        rest = pd.Series({f"{len(others)} others": values[others].sum()})
        shown = pd.concat([rest, shown])
    colours = [_ANOMALY if value > 0 else _NORMAL for value in shown]
    ax.barh([str(name) for name in shown.index], shown.to_numpy(), color=colours)
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set(
        title=f"Sample {values.name}: score {explanation.scores[sample]:.2f}, typical "
        f"{explanation.baseline_score:.2f}",
        xlabel="attribution to the score",
    )
    return ax


def plot_heat_map(
    explanation: Explanation,
    sample: int = 0,
    image: np.ndarray | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Plot which parts of an image raise (red) or lower (blue) its score.

    Args:
        explanation: result of a detector's `explain` for images.
        sample: position of the image.
        image: (height, width[, channels]) drawn underneath.
        ax: Axes to draw on; by default new ones.

    Raises:
        ValueError: if the samples were not images.
    """
    if explanation.heat_maps is None:
        raise ValueError("heat maps exist only for images: use plot_explanation")
    ax = _axes(ax)
    values = explanation.heat_maps[sample]
    if image is not None:
        ax.imshow(np.squeeze(image), cmap="gray")
    limit = max(float(np.abs(values).max()), np.finfo(float).tiny)
    alpha = 1.0 if image is None else np.abs(values) / limit * 0.8
    drawn = ax.imshow(values, cmap="RdBu_r", vmin=-limit, vmax=limit, alpha=alpha)
    cast(Figure, ax.figure).colorbar(drawn, ax=ax, label="attribution to the score")
    ax.set(title=f"Image {sample}: score {explanation.scores[sample]:.2f}", xticks=[], yticks=[])
    return ax


def save_plot(ax: Axes, path: Path) -> Path:
    """Write the figure of the Axes to an image file; its folder is created if necessary."""
    make_folder(path.parent)
    cast(Figure, ax.figure).savefig(path, dpi=120)
    return path


def save_evaluation_plots(
    labels: np.ndarray, scores: np.ndarray, folder: Path, threshold: float, history: pd.DataFrame
) -> list[Path]:
    """Write roc.png, precision_recall.png, scores.png and training.png into the folder."""
    plots = {
        "roc": plot_roc(labels, scores, threshold),
        "precision_recall": plot_precision_recall(labels, scores, threshold),
        "scores": plot_scores(labels, scores, threshold),
        "training": plot_history(history),
    }
    return [save_plot(ax, folder / f"{name}.png") for name, ax in plots.items()]
