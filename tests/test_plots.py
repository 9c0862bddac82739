"""Plots show the given values on the given Axes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from r2ad2 import plots
from r2ad2.detectors.explanation import Explanation

LABELS = np.array([0, 0, 0, 1, 1])
SCORES = np.array([0.1, 0.2, 0.6, 0.4, 0.9])
EXPLANATION = Explanation(
    scores=np.array([0.9]),
    baseline_score=0.1,
    features=pd.DataFrame([[0.5, -0.1, 0.3, 0.1]], [17], ["a", "b", "c", "d"]),
    heat_maps=np.array([[[0.5, -0.1], [0.3, 0.1]]]),
)


@pytest.fixture
def ax():
    return Figure().add_subplot()


@pytest.mark.parametrize(
    ("function", "point"),
    [(plots.plot_roc, (1 / 3, 0.5)), (plots.plot_precision_recall, (0.5, 0.5))],
)
def test_curves_mark_the_threshold(function, point, ax):
    assert function(LABELS, SCORES, 0.5, ax) is ax
    marked = [line.get_xydata()[0] for line in ax.lines if line.get_marker() == "o"]
    np.testing.assert_allclose(marked, [point])


def test_score_distributions_count_every_sample(ax):
    plots.plot_scores(LABELS, SCORES, 0.3, ax)
    assert sum(patch.get_height() for patch in ax.patches) == 5
    assert "threshold 0.3" in [text.get_text() for text in ax.get_legend().get_texts()]


HISTORY = pd.DataFrame(
    {
        "phase": ["autoencoder"] * 2 + ["alarm network"] * 3,
        "epoch": [1, 2, 1, 2, 3],
        "loss": [5.0, 4, 3, 2, 1],
        "val_loss": [None, None, 3, 2, 1],
    }
)


def test_training_curves_of_all_phases_lie_side_by_side(ax):
    plots.plot_history(HISTORY, ax)
    curves = {line.get_label(): line.get_xydata() for line in ax.lines}
    np.testing.assert_array_equal(curves["autoencoder: loss"], [[1, 5], [2, 4]])
    np.testing.assert_array_equal(curves["alarm network: loss"], [[3, 3], [4, 2], [5, 1]])
    assert "autoencoder: val loss" not in curves


def test_the_largest_importances_are_on_top(ax):
    importances = pd.Series({"a": 0.1, "residual": 0.6, "c": 0.3})
    plots.plot_importances(importances, n_features=2, ax=ax)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["c", "residual"]
    np.testing.assert_allclose([bar.get_width() for bar in ax.patches], [0.3, 0.6])


def test_explanation_bars_are_sorted_and_sum_to_the_whole(ax):
    plots.plot_explanation(EXPLANATION, n_features=2, ax=ax)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["2 others", "c", "a"]
    np.testing.assert_allclose([bar.get_width() for bar in ax.patches], [0, 0.3, 0.5], atol=1e-12)
    assert "17" in ax.get_title()


def test_heat_maps_need_images(ax):
    plots.plot_heat_map(EXPLANATION, image=np.zeros((2, 2)), ax=ax)
    np.testing.assert_array_equal(ax.images[-1].get_array(), EXPLANATION.heat_maps[0])
    # The image shows through where it matters less.
    np.testing.assert_allclose(ax.images[-1].get_alpha(), [[0.8, 0.16], [0.48, 0.16]])
    table = Explanation(EXPLANATION.scores, 0.1, EXPLANATION.features)
    with pytest.raises(ValueError, match="plot_explanation"):
        plots.plot_heat_map(table)


def test_plots_are_written(tmp_path):
    written = plots.save_evaluation_plots(LABELS, SCORES, tmp_path / "new", 0.5, HISTORY)
    assert len(written) == 4
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)
