"""Explanations add up to the score, and point at the cause."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer

from r2ad2 import GradientForestDetector, R2AD2Detector
from r2ad2.support.shapley import attribute
from tests.helpers.detectors import SMALL
from tests.helpers.tables import table

CANCER = {
    "architecture": "20-10-5",
    "alarm_units": (32, 16, 8),
    "start_epoch": 5,
    "snapshot_interval": 2,
    "epochs": 60,
    "batch_size": 16,
    "gradient": "sketch",
    "sketch_size": 32,
    "random_state": 0,
}


def assert_complete(explanation):
    """Check that attributions sum to the difference of the scores, by far better than 2 %."""
    difference = explanation.scores - explanation.baseline_score
    for part in (explanation.features, explanation.snapshots, explanation.layers):
        np.testing.assert_allclose(part.sum(axis=1), difference, atol=1e-5)


@pytest.fixture(scope="module")
def fitted():
    X, y = table(np.random.default_rng(0))
    X["when"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(len(X)) * 3_701, unit="s")
    X.loc[3, "amount"] = np.nan
    return R2AD2Detector(**SMALL, missing="indicator").fit(X, y), X, y


def test_attributions_of_a_mixed_table_are_complete_and_named(fitted):
    detector, X, _ = fitted
    rows = X.iloc[40:80]
    explanation = detector.explain(rows)
    assert_complete(explanation)
    # Slots, flags and times are summed up to their columns.
    assert list(explanation.features.columns) == list(X.columns)
    pd.testing.assert_index_equal(explanation.features.index, rows.index)
    assert list(explanation.snapshots) == ["snapshot_0", "snapshot_1"]
    assert list(explanation.layers) == [
        "encoder_1",
        "encoder_2",
        "code",
        "decoder_1",
        "decoder_2",
        "output",
    ]
    np.testing.assert_allclose(explanation.scores, detector.predict_proba(rows)[:, 1], atol=1e-6)
    frame = explanation.to_frame()
    assert {"score", "feature:amount", "snapshot:snapshot_1", "layer:code"} <= set(frame)
    assert len(frame) == len(rows)


def test_explanations_do_not_depend_on_the_other_samples(fitted):
    detector, X, _ = fitted
    together = detector.explain(X.iloc[:20]).features
    alone = pd.concat([detector.explain(X.iloc[[i]]).features for i in range(20)])
    np.testing.assert_allclose(alone, together, atol=1e-6)


def test_another_baseline(fitted):
    detector, X, y = fitted
    anomaly = X[y == 1].iloc[[0]]
    explanation = detector.explain(X.iloc[:5], baseline=anomaly)
    assert_complete(explanation)
    assert explanation.baseline_score == pytest.approx(detector.predict_proba(anomaly)[0, 1], 1e-5)
    same = detector.explain(anomaly, baseline=anomaly)
    assert not same.features.to_numpy().any()
    with pytest.raises(ValueError, match="one sample"):
        detector.explain(X, baseline=X)
    with pytest.raises(ValueError, match="missing column"):
        detector.explain(X.drop(columns="kind"))


@pytest.mark.parametrize("number", [1, 0, -5, 2.5, True])
def test_too_few_permutations_are_refused(fitted, number):
    detector, X = fitted[0], fitted[1]
    with pytest.raises(ValueError, match="n_permutations must be"):
        detector.explain(X[:1], n_permutations=number)


@pytest.mark.parametrize("n_snapshots", [1, 2])
def test_arrays_and_images(n_snapshots, rng):
    settings = SMALL | {"n_snapshots": n_snapshots}
    array = R2AD2Detector(**settings).fit(rng.random((40, 3)))
    explanation = array.explain(rng.random((4, 3)) * 2)
    assert_complete(explanation)
    assert list(explanation.features) == ["x0", "x1", "x2"]
    assert explanation.heat_maps is None
    images = rng.random((40, 9, 6, 2))
    detector = R2AD2Detector(**settings).fit(images)
    explanation = detector.explain(images[:3] + np.eye(9, 6)[..., None])
    assert_complete(explanation)
    assert explanation.heat_maps.shape == (3, 9, 6)
    np.testing.assert_allclose(
        explanation.heat_maps.sum(axis=(1, 2)), explanation.features.sum(axis=1), atol=1e-6
    )


@pytest.mark.parametrize(
    "detector",
    [R2AD2Detector(**SMALL), GradientForestDetector(start_epoch=2, n_trees=8, random_state=0)],
    ids=lambda detector: type(detector).__name__,
)
def test_later_explanations_use_the_graphs_of_the_first(detector, rng, monkeypatch):
    X = rng.uniform(size=(60, 5))
    detector.fit(X, np.arange(60) < 20)
    first = detector.explain(X[:3])
    made = []
    compile_graph = tf.function
    monkeypatch.setattr(tf, "function", lambda f, **kwargs: made.append(f) or compile_graph(f))
    later = detector.explain(X[:7])
    assert not made
    for part in ("features", "snapshots", "layers"):
        expected = getattr(first, part)
        pd.testing.assert_frame_equal(getattr(later, part)[:3], expected, atol=1e-5)


@pytest.mark.slow
def test_the_corrupted_column_comes_first():
    data = load_breast_cancer(as_frame=True)
    X, y = data.data, 1 - data.target
    train, fresh = np.arange(len(X)) % 2 == 0, (np.arange(len(X)) % 2 == 1) & (y == 0)
    detector = R2AD2Detector(**CANCER).fit(X[train], y[train])
    normal = X[fresh][detector.predict(X[fresh]) == 0]
    assert len(normal) > 100
    random = np.random.default_rng(0)
    culprits = random.integers(0, X.shape[1], len(normal))
    corrupted = normal.copy()
    highest, span = X[y == 0].max(), X[y == 0].max() - X[y == 0].min()
    for row, column in enumerate(culprits):
        corrupted.iloc[row, column] = highest.iloc[column] + 3 * span.iloc[column]
    explanation = detector.explain(corrupted)
    assert_complete(explanation)
    first = explanation.features.to_numpy().argmax(axis=1)
    assert (first == culprits).mean() >= 0.9


@given(
    weights=st.lists(st.floats(-3, 3), min_size=2, max_size=8),
    n_permutations=st.integers(1, 30),
)
def test_sums_are_attributed_exactly_and_jumps_are_not_lost(weights, n_permutations):
    weights, n = np.array(weights), len(weights)
    inputs, baseline = np.arange(2.0 * n).reshape(2, n) % 5, np.ones(n)
    groups = [np.array([i]) for i in range(n)]
    for jump in (0.0, 1.0):

        def evaluate(x, jump=jump):
            return x @ weights + jump * (x.sum(axis=1) > 2)

        found = attribute(evaluate, inputs, baseline, groups, n_permutations=n_permutations)
        np.testing.assert_allclose(
            found.sum(axis=1), evaluate(inputs) - evaluate(baseline[None]), atol=1e-9
        )
        if not jump:
            np.testing.assert_allclose(found, (inputs - baseline) * weights, atol=1e-9)


def test_few_groups_get_exact_shapley_values():
    """Known values of the game 'a and (b or c)': 2/3 for a, 1/6 for b and c."""
    found = attribute(
        lambda x: np.minimum(x[:, 0], np.maximum(x[:, 1], x[:, 2])),
        np.ones((1, 3)),
        np.zeros(3),
        [np.array([i]) for i in range(3)],
        n_permutations=6,
    )
    np.testing.assert_allclose(found, [[2 / 3, 1 / 6, 1 / 6]])
