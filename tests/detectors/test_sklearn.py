"""scikit-learn's own conformance suite, and the tools around an estimator."""

from __future__ import annotations

import copy
import pickle
import pydoc

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

from r2ad2 import GradientForestDetector, R2AD2Detector
from tests.helpers.detectors import SMALL, DistanceDetector
from tests.helpers.tables import table

# As small, and with as few graphs to trace, as still learns to tell two blobs apart.
CONFORMANCE = {
    "architecture": "8-4",
    "alarm_units": (16, 8, 8),
    "start_epoch": 2,
    "n_snapshots": 1,
    "holdout": 0.0,
    "epochs": 20,
    "batch_size": 8,
    "learning_rate": 3e-3,
    "dropout": 0.0,
    "random_state": 0,
}


FOREST = {
    "architecture": "8-4",
    "start_epoch": 2,
    "n_snapshots": 1,
    "n_trees": 4,
    "batch_size": 8,
    "random_state": 0,
}


# No check is expected to fail.
@pytest.mark.slow
@parametrize_with_checks([R2AD2Detector(**CONFORMANCE), GradientForestDetector(**FOREST)])
def test_conformance(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def cancer():
    data = load_breast_cancer(as_frame=True)
    return data.data.iloc[:160, :6], 1 - data.target.iloc[:160]


@pytest.mark.slow
def test_cross_validation_in_parallel_gives_the_same_as_in_sequence(cancer):
    detector = R2AD2Detector(**SMALL)
    scores = [
        cross_val_score(detector, *cancer, cv=2, scoring="average_precision", n_jobs=n_jobs)
        for n_jobs in (1, 2)
    ]
    np.testing.assert_array_equal(*scores)
    assert (scores[0] > 0.5).all()


@pytest.mark.slow
def test_grid_search_over_a_pipeline_that_gives_frames(cancer):
    pipeline = make_pipeline(QuantileTransformer(n_quantiles=50), R2AD2Detector(**CONFORMANCE))
    pipeline.set_output(transform="pandas")
    search = GridSearchCV(
        pipeline, {"r2ad2detector__epochs": [1, 20]}, cv=2, scoring="roc_auc"
    ).fit(*cancer)
    detector = search.best_estimator_[-1]
    assert list(detector.feature_names_in_) == list(cancer[0].columns)
    assert search.score(*cancer) > 0.7


def test_clone_copy_and_pickle_keep_what_was_fitted(cancer):
    X, y = cancer
    detector = R2AD2Detector(**SMALL).fit(X, y)
    for other in (copy.deepcopy(detector), pickle.loads(pickle.dumps(detector))):
        np.testing.assert_array_equal(other.predict_proba(X), detector.predict_proba(X))
        np.testing.assert_array_equal(other.p_values(X), detector.p_values(X))
    fresh = clone(detector)
    assert fresh.get_params() == detector.get_params()
    assert not hasattr(fresh, "pipeline_")


def test_help_shows_all_parameters():
    shown = pydoc.plain(pydoc.render_doc(R2AD2Detector.__init__))
    parameters = R2AD2Detector().get_params()
    assert {"false_positive_rate", "batch_size", "sketch_size"} <= set(parameters)
    for name, value in parameters.items():
        assert f"{name}: " in shown
        assert f" = {value!r}" in shown


@pytest.mark.parametrize(
    ("y", "anomaly_label", "classes"),
    [
        ([0, 1], None, [0, 1]),
        ([-1, 1], None, [-1, 1]),
        ([1, -1], -1, [1, -1]),
        ([False, True], None, [False, True]),
        (["fine", "fraud"], None, ["fine", "fraud"]),
        (["normal", "attack"], "attack", ["normal", "attack"]),
        (["normal", "normal"], "attack", ["normal", "attack"]),
        (["benign", "benign"], None, ["benign", "anomaly"]),
        ([0.0, 0.0], None, [0, 1]),
        ([False, True], "true", [False, True]),
        ([0, 1], "1.0", [0, 1]),
        ([1.0, 0.0], "0", [1, 0]),
        (["0", "1"], 1, ["0", "1"]),
        (["ok", "Attack"], "attack", ["ok", "Attack"]),
        ([2_000_001, 3_000_001], "3000001", [2_000_001, 3_000_001]),
    ],
)
def test_labels_of_any_type(y, anomaly_label, classes, rng):
    X = rng.random((40, 3))
    labels = np.where(np.arange(40) < 6, y[1], y[0])
    detector = DistanceDetector(anomaly_label=anomaly_label).fit(X, labels)
    assert detector.classes_.tolist() == classes
    anomalous = detector.decision_function(X) > 0
    np.testing.assert_array_equal(detector.predict(X) == classes[1], anomalous)


@pytest.mark.parametrize(
    ("anomaly_label", "classes"),
    [
        (None, [0, 1]),
        (2, [0, 2]),
        (0, [1, 0]),
        (0.0, [1, 0]),
        (False, [True, False]),
        ("0", ["1", "0"]),
        ("attack", ["0", "attack"]),
    ],
)
def test_without_labels_normal_is_another_label_than_the_anomaly(anomaly_label, classes, rng):
    X = rng.random((40, 3))
    detector = DistanceDetector(anomaly_label=anomaly_label).fit(X)
    assert detector.classes_.tolist() == classes
    anomalous = detector.decision_function(X) > 0
    np.testing.assert_array_equal(detector.predict(X) == classes[1], anomalous)


def test_what_labels_in_words_mean_is_told(rng, caplog):
    X, y = rng.random((40, 3)), np.where(np.arange(40) < 6, "attack", "normal")
    DistanceDetector(anomaly_label="attack").fit(X, y)
    assert not caplog.records
    DistanceDetector().fit(X, y)
    told = [record.getMessage() for record in caplog.records]
    assert told[0].startswith("label 'normal' counts as the anomaly, 'attack' as normal")
    assert told[1].startswith("known anomalies outnumber normal samples, 34 to 6")


def test_labels_among_the_samples_and_a_single_column_are_refused(rng):
    X = pd.DataFrame(rng.random((40, 3)), columns=["a", "b", "c"])
    X["odd"] = (X["a"] > 0.9).astype(int)
    with pytest.raises(ValueError, match="also holds the labels, in column 'odd': drop it"):
        DistanceDetector().fit(X, X["odd"])
    detector = DistanceDetector().fit(X.drop(columns="odd"), X["odd"])
    with pytest.raises(ValueError, match="got 'odd': pass a column"):
        detector.fit(X, "odd")
    with pytest.raises(ValueError, match=r"table\.iloc\[\[0\]\]"):
        detector.predict(X.iloc[0])


def test_an_anomaly_label_that_does_not_occur_is_refused(rng):
    with pytest.raises(ValueError, match="'odd' is not one of the labels"):
        R2AD2Detector(**SMALL, anomaly_label="odd").fit(rng.random((4, 2)), ["a", "b", "a", "a"])
    with pytest.raises(ValueError, match="'odd' is not of the type of the only label, 0"):
        R2AD2Detector(**SMALL, anomaly_label="odd").fit(rng.random((40, 2)), np.zeros(40, int))


@pytest.mark.parametrize("named", [True, False])
def test_datasets_arrays_and_frames_give_equal_scores(named):
    X, y = table(np.random.default_rng(0), 60)
    X = X.astype({"level": str})
    samples = X if named else X[["amount", "count"]].to_numpy(np.float32)
    tensors = {name: column.to_numpy() for name, column in X.items()} if named else samples
    dataset = tf.data.Dataset.from_tensor_slices((tensors, y))
    detector = R2AD2Detector(**SMALL).fit(samples, y)
    for form in (dataset, dataset.batch(7)):
        other = R2AD2Detector(**SMALL).fit(form)
        np.testing.assert_array_equal(other.predict_proba(samples), detector.predict_proba(samples))
        unlabelled = form.map(lambda x, y: x)
        np.testing.assert_array_equal(other.predict(unlabelled), detector.predict(samples))


def test_nested_lists_and_tensors_are_samples(rng):
    X = rng.random((40, 3))
    detector = R2AD2Detector(**SMALL).fit(X.tolist())
    np.testing.assert_array_equal(detector.predict(tf.constant(X)), detector.predict(X))
    with pytest.raises(ValueError, match="leave out y"):
        detector.fit(tf.data.Dataset.from_tensor_slices((X, np.zeros(40))), np.zeros(40))
