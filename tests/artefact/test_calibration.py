"""Thresholds keep their guarantee: in theory, by simulation, and on real data."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from sklearn.exceptions import NotFittedError

from r2ad2 import R2AD2Detector, load
from r2ad2.artefact.calibration import (
    Calibration,
    conformal_threshold,
    required_samples,
    with_margin,
)
from r2ad2.datasets import load_dataset
from tests.helpers.detectors import SMALL, DistanceDetector

N_SPLITS = 200


def assert_guaranteed(rates, nominal, resolution):
    """Check that the mean rate is the nominal one, or below it by the resolution at most."""
    error = np.std(rates) / np.sqrt(len(rates))
    assert np.mean(rates) <= nominal + error
    assert np.mean(rates) >= nominal - resolution - 3 * error


@pytest.mark.slow
def test_simulated_false_positive_rate_of_whole_trainings():
    random = np.random.default_rng(0)
    rates = {0.01: [], 0.05: []}
    for seed in range(N_SPLITS):
        # Few samples with heavy tails, so that scaling by the training's range matters.
        X = random.standard_t(2, (1_200, 3))
        detector = DistanceDetector(
            false_positive_rate=0.01, calibration_fraction=0.6, random_state=seed
        ).fit(X[:200])
        p_values = detector.p_values(X[200:])
        np.testing.assert_array_equal(detector.predict(X[200:]), p_values <= 0.01)
        for rate, found in rates.items():
            found.append((p_values <= rate).mean())
    for rate, found in rates.items():
        assert_guaranteed(found, rate, resolution=1 / 121)


def test_simulated_false_positive_rate_of_r2ad2_on_real_rows(real_data):
    split = load_dataset("mammography", real_data).split(random_state=110)
    settings = SMALL | {"n_snapshots": 1, "batch_size": 128, "false_positive_rate": 0.05}
    detector = R2AD2Detector(**settings).fit(split.x_train[:2_000], split.y_train[:2_000])
    fresh = split.x_train[2_000:][split.y_train[2_000:] == 0]
    scores = detector.predict_proba(fresh)[:, 1]
    random = np.random.default_rng(0)
    rates = []
    for _ in range(N_SPLITS):
        order = random.permutation(len(fresh))
        threshold = conformal_threshold(scores[order[:250]], 0.05)
        rates.append((scores[order[250:]] > threshold).mean())
    assert_guaranteed(rates, 0.05, resolution=1 / 251)
    # The detector's own threshold is one of those.
    assert np.min(rates) / 2 < detector.predict(fresh).mean() < np.max(rates) * 2


@given(
    scores=st.lists(st.floats(0, 1, width=32, allow_subnormal=False), min_size=1, max_size=60),
    fresh=st.lists(st.floats(0, 1, width=32, allow_subnormal=False), min_size=1, max_size=20),
    rate=st.floats(0.01, 0.99),
)
def test_flagged_are_those_with_small_p_values(scores, fresh, rate):
    scores, fresh = np.array(scores), np.array(fresh)
    if len(scores) < required_samples(rate):
        with pytest.raises(ValueError, match="held-back"):
            conformal_threshold(scores, rate)
        return
    p_values = Calibration.from_scores(scores, 0.5).p_values(fresh)
    assert ((p_values > 0) & (p_values <= 1)).all()
    by_hand = [(1 + np.sum(scores >= score)) / (1 + len(scores)) for score in fresh]
    np.testing.assert_allclose(p_values, by_hand, rtol=1e-6)
    flagged = fresh > conformal_threshold(scores, rate)
    np.testing.assert_array_equal(flagged, np.array(by_hand) <= rate + 1e-9)


@pytest.mark.parametrize(("rate", "needed"), [(0.5, 1), (0.1, 9), (0.01, 99), (0.001, 999)])
def test_number_of_samples_that_a_rate_needs(rate, needed):
    assert required_samples(rate) == needed
    assert conformal_threshold(np.arange(needed) / needed, rate) == 1 - 1 / needed
    with pytest.raises(ValueError, match=f"at least {needed} held-back"):
        conformal_threshold(np.zeros(needed - 1), rate)


@pytest.fixture(scope="module")
def normal():
    return np.random.default_rng(0).normal(size=(400, 3))


def test_too_few_samples_for_the_rate_are_named_before_training(normal):
    detector = R2AD2Detector(false_positive_rate=0.01)
    with pytest.raises(ValueError, match=r"99 held-back.*400 normal samples are 40: raise"):
        detector.fit(normal)
    with pytest.raises(ValueError, match=r"no more than 10,000 are held back, .* at least 0\.0001"):
        R2AD2Detector(false_positive_rate=1e-5).fit(normal)
    with pytest.raises(ValueError, match="not both"):
        R2AD2Detector(false_positive_rate=0.1, contamination=0.1).fit(normal)
    with pytest.raises(ValueError, match="2 are held back"):
        R2AD2Detector(calibration_fraction=0.9).fit(normal[:3])


def test_threshold_and_p_values_survive_saving(normal, tmp_path):
    detector = DistanceDetector(false_positive_rate=0.1, random_state=0).fit(normal)
    loaded = load(detector.save(tmp_path / "model.keras"))
    assert loaded.threshold_ == detector.threshold_ != 0.5
    fresh = np.random.default_rng(1).normal(size=(100, 3))
    np.testing.assert_array_equal(loaded.p_values(fresh), detector.p_values(fresh))
    np.testing.assert_array_equal(loaded.predict(fresh), detector.p_values(fresh) <= 0.1)


def test_an_assigned_threshold_is_that_of_files_copies_and_exports(normal, tmp_path):
    detector = DistanceDetector(random_state=0).fit(normal)
    p_values = detector.p_values(normal)
    shallow = copy.copy(detector)
    scores = detector.predict_proba(normal)[:, 1]
    detector.threshold_ = np.quantile(scores, 0.9)
    expected = detector.predict(normal)
    assert expected.sum() == 40
    for other in (
        load(detector.save(tmp_path / "model.keras")),
        copy.deepcopy(detector),
        pickle.loads(pickle.dumps(detector)),
    ):
        assert other.threshold_ == detector.threshold_
        np.testing.assert_array_equal(other.predict(normal), expected)
    exported = tf.saved_model.load(str(detector.export(tmp_path / "1")))
    answers = exported.signatures["serving_default"](tf.constant(normal))
    np.testing.assert_array_equal(np.ravel(answers["is_anomaly"]), expected == 1)
    np.testing.assert_array_equal(detector.p_values(normal), p_values)
    assert shallow.threshold_ == 0.5
    detector.calibrate(normal)
    np.testing.assert_array_equal(detector.predict(normal), expected)
    assert detector.fit(normal).threshold_ == 0.5


def test_an_assigned_threshold_must_be_finite_and_of_a_fitted_detector(normal):
    detector = DistanceDetector()
    assert not hasattr(detector, "threshold_")
    with pytest.raises(NotFittedError):
        detector.threshold_ = 0.9
    detector.fit(normal)
    for threshold in (np.nan, np.inf, 1e300):
        with pytest.raises(ValueError, match="must be a finite number, got"):
            detector.threshold_ = threshold
    assert detector.threshold_ == 0.5


def test_contamination_flags_that_share_of_the_training_samples(normal):
    detector = DistanceDetector(contamination=0.1).fit(normal)
    assert detector.predict(normal).sum() == 40
    # Ties at the threshold are not flagged.
    assert DistanceDetector(contamination=0.5).fit(np.ones((20, 2))).predict(np.ones((1, 2))) == 0


def test_without_held_back_samples_the_threshold_is_a_half(normal):
    detector = DistanceDetector(calibration_fraction=0).fit(normal)
    assert detector.threshold_ == 0.5
    with pytest.raises(ValueError, match="calibrate"):
        detector.p_values(normal)


def test_recalibrating_moves_the_threshold(normal):
    detector = DistanceDetector(false_positive_rate=0.1, random_state=0).fit(normal)
    scores = detector.predict_proba(3 * normal)[:, 1]
    before = detector.threshold_
    detector.calibrate(3 * normal)
    assert detector.threshold_ == pytest.approx(conformal_threshold(scores, 0.1), rel=2e-5)
    assert detector.threshold_ > before
    # Raised a little, so that no sample is above its own duplicate by rounding.
    assert (detector.pipeline_.calibration.scores.numpy() > np.sort(scores)).all()
    assert detector.predict(3 * normal).mean() <= 0.1
    # Of labelled samples only the normal ones count.
    y = np.arange(400) % 2
    detector.calibrate(normal, y)
    recalibrated = detector.pipeline_.calibration.scores.numpy()
    detector.calibrate(normal[y == 0])
    np.testing.assert_array_equal(detector.pipeline_.calibration.scores, recalibrated)
    assert len(recalibrated) == 200
    with pytest.raises(ValueError, match="at least 9"):
        detector.calibrate(normal[:8])
    with pytest.raises(ValueError, match="label 'fine', but the detector was trained with 0 and 1"):
        detector.calibrate(normal, np.full(400, "fine"))


def test_held_back_samples_are_not_trained_on(normal):
    seen = {}

    class Spy(DistanceDetector):
        def _fit_scorer(self, x, y, random, progress):
            seen["x"] = x
            return super()._fit_scorer(x, y, random, progress)

    X = normal.copy()
    y = (np.arange(400) < 20).astype(int)
    detector = Spy(calibration_fraction=0.5, random_state=0).fit(X, y)
    assert len(seen["x"]) == 20 + 190
    assert detector.pipeline_.calibration.n_samples == 190
    # The encoder does not learn their range either.
    normal_seen = seen["x"][20:]
    np.testing.assert_allclose(normal_seen.min(axis=0), 0, atol=1e-7)
    np.testing.assert_allclose(normal_seen.max(axis=0), 1, atol=1e-7)


def test_rounding_does_not_lower_p_values():
    scores = np.float32([0.1, 0.5, 0.9, 1.0])
    calibration = Calibration.from_scores(with_margin(scores), 0.5)
    rounded = np.minimum(scores * np.float32(1 + 2e-6), 1)
    np.testing.assert_allclose(calibration.p_values(rounded), [1, 0.8, 0.6, 0.4], rtol=1e-6)
    assert calibration.scores.numpy().max() == 1


def test_duplicates_of_held_back_samples_are_not_flagged():
    """Five kinds of rows: the highest score has a fifth of the mass, so none may be flagged."""
    rows = np.random.default_rng(0).random((5, 3))
    X = np.repeat(rows, 60, axis=0)
    detector = R2AD2Detector(**SMALL | {"n_snapshots": 1, "false_positive_rate": 0.1}).fit(X)
    alone = np.concatenate([detector.predict(row[np.newaxis]) for row in rows])
    together = detector.predict(X)
    assert not alone.any()
    assert not together.any()
    assert (detector.p_values(rows) > 0.1).all()
