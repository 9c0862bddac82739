"""The estimated number of anomalies left covers the true one."""

from __future__ import annotations

import numpy as np
import pytest

from r2ad2.review.estimates import anomalies_left


def simulate(rng, n_normal, n_anomalies, n_held_back, n_reviewed, digits):
    """Draw scores, review the highest ones, and return the estimate and the truth."""
    held_back = np.sort(rng.normal(size=n_held_back)).round(digits)
    scores = np.concatenate([rng.normal(size=n_normal), rng.normal(4, 1, size=n_anomalies)])
    scores = scores.round(digits)
    is_anomaly = np.arange(len(scores)) >= n_normal
    above = n_held_back - np.searchsorted(held_back, scores, side="left")
    p_values = (1 + above) / (n_held_back + 1)
    is_reviewed = np.zeros(len(scores), dtype=bool)
    is_reviewed[np.argsort(-scores)[:n_reviewed]] = True
    left = anomalies_left(
        p_values,
        held_back,
        is_reviewed,
        int((is_reviewed & ~is_anomaly).sum()),
        int((is_reviewed & is_anomaly).sum()),
        0.02,
    )
    return left, int((is_anomaly & ~is_reviewed & (p_values <= left.p_value + 1e-9)).sum())


@pytest.mark.parametrize("digits", [6, 0], ids=["all different", "many equal scores"])
@pytest.mark.parametrize(("n_reviewed", "n_anomalies"), [(0, 60), (40, 60), (200, 60), (30, 0)])
def test_the_interval_covers_the_truth_though_reviewed_rows_are_selected(
    n_reviewed, n_anomalies, digits
):
    rng = np.random.default_rng(1)
    results = [simulate(rng, 2000, n_anomalies, 300, n_reviewed, digits) for _ in range(200)]
    covered = [left.low <= true <= left.high for left, true in results]
    assert np.mean(covered) >= 0.87  # of 90 %, with 200 repetitions
    assert all(left.low <= left.estimate <= left.high for left, _ in results)


def test_without_enough_held_back_rows_there_is_no_estimate():
    p_values = np.full(10, 0.5)
    nobody = np.zeros(10, dtype=bool)
    assert anomalies_left(p_values, np.array([]), nobody, 0, 0, 0.05) is None
    assert anomalies_left(p_values, np.array([0.5]), nobody, 0, 0, 0.05) is None
