"""Suggestions: high scores first, different from each other, the same every time."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from r2ad2.detectors.suggesting import choose_different, scaled
from tests.helpers.detectors import DistanceDetector
from tests.helpers.moving_tables import payments


@pytest.fixture(scope="module")
def detector():
    return DistanceDetector(random_state=0).fit(payments(0, 400))


def test_the_highest_score_is_first_and_no_row_comes_twice(detector):
    X = payments(1, 200, anomaly_share=0.1)
    chosen = detector.suggest(X, 20)
    scores = detector.predict_proba(X)[:, 1]
    assert chosen[0] == scores.argmax()
    assert len(set(chosen)) == 20
    assert np.mean(scores[chosen] > np.quantile(scores, 0.7)) >= 0.9
    np.testing.assert_array_equal(detector.suggest(X, 20), chosen)


def test_one_in_ten_is_the_least_certain_one(detector):
    X = payments(1, 200, anomaly_share=0.1)
    chosen = detector.suggest(X, 10)
    doubts = np.abs(detector.predict_proba(X)[:, 1] - 0.5)
    rest = np.setdiff1d(np.arange(len(X)), chosen[:9])
    assert chosen[9] == rest[doubts[rest].argmin()]


def test_kinds_take_turns_where_the_highest_scores_are_of_one_kind():
    kinds = np.repeat([0.0, 5.0, 10.0], [10, 5, 5])
    scores = np.linspace(1, 0.8, 20)
    chosen = choose_different(scores, kinds[:, np.newaxis], 3)
    assert sorted(kinds[chosen]) == [0, 5, 10]
    assert chosen[0] == 0


def test_duplicates_are_chosen_last_and_by_score():
    scores = np.array([0.5, 0.9, 0.7, 0.8])
    chosen = choose_different(scores, np.zeros((4, 2)), 4)
    np.testing.assert_array_equal(chosen, [1, 3, 2, 0])


def test_a_constant_feature_and_an_outlier_do_not_decide_the_distances(rng):
    features = np.stack([rng.normal(size=50), np.zeros(50)], axis=1)
    features[0, 0] = 1e9
    assert np.isfinite(scaled(features)).all()
    assert np.abs(scaled(features)).max() <= 3
    weighted = scaled(features, np.array([0.25, 0.75]))
    np.testing.assert_allclose(weighted[:, 0], scaled(features)[:, 0] / 2)


def test_fewer_samples_than_wanted_are_all_ranked(detector):
    chosen = detector.suggest(payments(1, 7), 10)
    assert sorted(chosen) == list(range(7))
    assert detector.suggest(payments(1, 1)).tolist() == [0]


def test_tables_with_any_index_give_positions(detector):
    X = payments(1, 60)
    moved = X.set_axis(pd.Index([f"row {i}" for i in range(60)]))
    np.testing.assert_array_equal(detector.suggest(moved), detector.suggest(X))


def test_no_sample_wanted_is_refused(detector):
    for wrong in (2.7, "3", None, True):
        with pytest.raises(ValueError, match="n_samples must be a whole number of at least 1, got"):
            detector.suggest(payments(1, 5), wrong)
    with pytest.raises(ValueError, match="n_samples must be at least 1, got 0"):
        detector.suggest(payments(1, 5), 0)
