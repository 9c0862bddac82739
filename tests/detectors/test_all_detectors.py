"""What every registered detector does, whichever method it is."""

from __future__ import annotations

import re

import keras
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse
import tensorflow as tf
from sklearn.base import clone
from sklearn.metrics import roc_auc_score

from r2ad2 import load
from r2ad2.detectors.registry import make_detector
from tests.helpers.detectors import DETECTORS, QUICK, SETTINGS
from tests.helpers.serving import assert_equal_answers, tensors
from tests.helpers.tables import bad_fits, table


@pytest.fixture(scope="module", params=DETECTORS)
def detector_type(request):
    return DETECTORS[request.param]


@pytest.fixture(scope="module")
def data():
    return table(np.random.default_rng(0))


@pytest.fixture(scope="module")
def fitted(detector_type, data):
    return make_detector(detector_type, SETTINGS).fit(*data)


def test_all_methods_are_registered():
    assert set(DETECTORS) >= {"R2AD2", "AE", "GradCon", "DeepSAD", "DevNet", "A3"}


def test_scores_tell_anomalies_from_normal_rows(fitted, data):
    X, y = data
    scores = fitted.predict_proba(X)
    assert scores.shape == (len(X), 2)
    assert scores.dtype == np.float64
    assert ((scores >= 0) & (scores <= 1)).all()
    assert roc_auc_score(y, fitted.decision_function(X)) > 0.9
    np.testing.assert_array_equal(fitted.predict(X), fitted.decision_function(X) > 0)
    assert fitted.predict(X)[y == 0].mean() < 0.1


@pytest.fixture
def policy():
    """Return a function that sets Keras' dtype policy, for this test."""
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


def test_equal_random_state_gives_bit_equal_scores(detector_type, fitted, data, policy):
    policy("float64")  # which concerns other networks
    again = make_detector(detector_type, SETTINGS).fit(*data)
    assert keras.config.dtype_policy().name == "float64"
    np.testing.assert_array_equal(again.predict_proba(data[0]), fitted.predict_proba(data[0]))


def test_loaded_detector_gives_the_same_scores(fitted, data, tmp_path, policy):
    path = fitted.save(tmp_path / "model.keras")
    policy("mixed_bfloat16")
    loaded = load(path)
    assert type(loaded) is type(fitted)
    np.testing.assert_array_equal(loaded.predict_proba(data[0]), fitted.predict_proba(data[0]))
    np.testing.assert_array_equal(loaded.p_values(data[0]), fitted.p_values(data[0]))
    assert loaded.threshold_ == fitted.threshold_
    assert loaded.get_params() == fitted.get_params()
    pd.testing.assert_frame_equal(loaded.history_, fitted.history_)


def test_a_rows_score_does_not_depend_on_the_others(fitted, data):
    X, _ = data
    scores = fitted.predict_proba(X)[:, 1]
    order = np.random.default_rng(1).permutation(len(X))
    np.testing.assert_allclose(
        fitted.predict_proba(X.iloc[order])[:, 1], scores[order], rtol=1e-5, atol=1e-6
    )
    single = [fitted.predict_proba(X[i : i + 1])[0, 1] for i in range(5)]
    np.testing.assert_allclose(single, scores[:5], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_exported_model_answers_as_the_detector_does(fitted, data, tmp_path, policy):
    policy("mixed_float16")
    serve = tf.saved_model.load(fitted.export(tmp_path / "1")).signatures["serving_default"]
    assert_equal_answers(serve(**tensors(data[0])), fitted, data[0])


def test_tables_of_other_packages_and_dicts_give_the_same_answers(fitted, data):
    X, _ = data
    expected, why = fitted.predict_proba(X), fitted.explain(X.iloc[:3]).features
    backwards = pa.Table.from_pandas(X[X.columns[::-1]])
    for form in (backwards, X.to_dict("list")):
        np.testing.assert_array_equal(fitted.predict_proba(form), expected)
        np.testing.assert_array_equal(fitted.predict(form), fitted.predict(X))
        np.testing.assert_array_equal(fitted.p_values(form), fitted.p_values(X))
    np.testing.assert_array_equal(fitted.explain(backwards.slice(0, 3)).features, why)


@pytest.mark.slow
def test_sparse_samples_give_the_scores_of_dense_ones(detector_type, rng):
    dense = np.where(rng.random((80, 6)) < 0.6, 0, rng.random((80, 6)))
    y = np.arange(80) % 8 == 0
    X = scipy.sparse.csr_array(dense)
    expected = make_detector(detector_type, QUICK).fit(dense, y)
    detector = make_detector(detector_type, QUICK).fit(X, y)
    np.testing.assert_allclose(detector.predict_proba(X), expected.predict_proba(dense), atol=1e-6)
    np.testing.assert_allclose(detector.p_values(X), expected.p_values(dense), atol=1e-6)
    np.testing.assert_allclose(
        detector.explain(X[:2]).features, expected.explain(dense[:2]).features, atol=1e-6
    )


def test_explanations_add_up_to_the_scores(fitted, data):
    explanation = fitted.explain(data[0][:5])
    np.testing.assert_allclose(
        explanation.features.sum(axis=1), explanation.scores - explanation.baseline_score, atol=1e-5
    )


def test_history_has_the_losses_of_every_phase(fitted):
    history = fitted.history_
    assert list(history.columns[:2]) == ["phase", "epoch"]
    assert np.isfinite(history["loss"]).all()
    for _, phase in history.groupby("phase"):
        assert (phase["epoch"].diff().dropna() > 0).all()
    autoencoder = history[history["phase"] == "autoencoder"]["epoch"]
    np.testing.assert_array_equal(autoencoder, np.arange(1, len(autoencoder) + 1))


def test_the_model_is_not_compiled(fitted):
    assert not fitted.model_.compiled


def test_images_progress_and_parameters(detector_type, rng, capsys):
    images, y = rng.random((40, 8, 6)), np.arange(40) % 8 == 0
    special = {"architecture": "4C3-4C3-4", "verbose": 1, "calibration_fraction": 0.0}
    detector = make_detector(detector_type, QUICK | special)
    assert clone(detector).get_params() == detector.get_params()
    scores = detector.fit(images, y).predict_proba(images)[:, 1]
    assert np.isfinite(scores).all()
    np.testing.assert_array_equal(detector.predict_proba(images[..., None])[:, 1], scores)
    shown = capsys.readouterr().err
    for phase in detector.history_["phase"].unique():
        assert f"{phase}: " in shown


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [pytest.param(X, y, m, id=name) for name, X, y, m in bad_fits(np.random.default_rng(0))],
)
def test_bad_training_data_gives_one_clear_error(detector_type, X, y, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make_detector(detector_type, QUICK).fit(X, y)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X: X.drop(columns="kind"), "missing column 'kind'"),
        (lambda X: X.assign(extra=1), "unexpected column 'extra'"),
        (lambda X: X.assign(amount="12,5"), "'amount' is numeric, but row 0 holds '12,5'"),
        (lambda X: X.assign(amount=np.nan), "'amount'"),
        (lambda X: X[:0], "0 sample"),
        (lambda X: X.to_numpy(), "DataFrame"),
    ],
)
def test_bad_new_data_gives_one_clear_error(fitted, data, change, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        fitted.predict(change(data[0]))


@pytest.mark.parametrize(
    ("name", "value"), [("random_state", "seed"), ("learning_rate", 0), ("batch_size", "large")]
)
def test_bad_parameters_are_named(detector_type, data, name, value):
    with pytest.raises(ValueError, match=name):
        detector_type(**{name: value}).fit(*data)
