"""The gradient forest: good with few labels or none, retrained in place, resumed, explained."""

from __future__ import annotations

import logging

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from r2ad2 import GradientForestDetector, load
from r2ad2.artefact.sketch import fingerprints
from r2ad2.detectors.presets import PRESETS, make_preset
from r2ad2.networks.forest_training import COUNTEREXAMPLE, KNOWN, NORMAL, PLANS, balanced_weights
from tests.helpers.tables import table

QUICK = {
    "start_epoch": 2,
    "n_snapshots": 2,
    "snapshot_interval": 1,
    "n_trees": 20,
    "random_state": 0,
}


def clusters(n: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw normal rows on a line, and anomalies, one in ten, beside it."""
    random = np.random.default_rng(seed)
    first = random.normal(size=n)
    X = np.stack([first, first + 0.1 * random.normal(size=n), random.normal(size=n)], axis=1)
    y = (np.arange(n) % 10 == 0).astype(int)
    X[y == 1, 1] += 1.5
    return X, y


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    return clusters()


@pytest.fixture(scope="module")
def fitted(data) -> GradientForestDetector:
    return GradientForestDetector(**QUICK).fit(*data)


# ---- what it finds ------------------------------------------------------------------------


def test_five_known_anomalies_suffice_where_no_single_column_tells(data):
    X, y = data
    seen = (y == 0) | (np.cumsum(y) <= 5)
    detector = GradientForestDetector(**QUICK).fit(X[seen], y[seen])
    fresh, labels = clusters(seed=1)
    assert roc_auc_score(labels, detector.predict_proba(fresh)[:, 1]) > 0.85


@pytest.mark.parametrize("code", [-1e9, -3.4e38, 1e9])
def test_codes_for_missing_values_hide_no_anomalies(data, code):
    X, y = data
    X = X.copy()
    X[np.flatnonzero(y == 0)[:60:2], 1] = code
    detector = GradientForestDetector(**QUICK).fit(X, y)
    fresh, labels = clusters(seed=1)
    assert roc_auc_score(labels, detector.predict_proba(fresh)[:, 1]) > 0.9


def test_anomalies_are_found_with_no_label_at_all(data):
    X, y = data
    detector = GradientForestDetector(**QUICK).fit(X[y == 0])
    fresh, labels = clusters(seed=1)
    assert roc_auc_score(labels, detector.predict_proba(fresh)[:, 1]) > 0.7
    assert {judge["name"] for judge in detector.model_.judges} == {
        plan.name for plan in PLANS if not plan.name.endswith("(known)")
    }


def test_images_of_unknown_kinds_are_found():
    images, digits = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8) / 16
    train = np.arange(len(images)) % 2 == 0
    keep = train & ((digits < 4) | (digits == 5))  # 5 is the only kind known in training
    detector = GradientForestDetector(architecture="4C3-4C3-4", **QUICK)
    detector.fit(images[keep], digits[keep] == 5)
    unknown = ~train & (digits != 5)
    scores = detector.predict_proba(images[unknown])[:, 1]
    assert roc_auc_score(digits[unknown] > 3, scores) > 0.9


def test_few_rows_need_no_settings_and_cause_no_warning(caplog):
    random = np.random.default_rng(0)
    X = random.normal(size=(200, 4))
    X[:6] += 3
    with caplog.at_level(logging.WARNING):
        detector = GradientForestDetector(random_state=0).fit(X, np.arange(200) < 6)
    assert not [record for record in caplog.records if record.name.startswith("r2ad2")]
    assert detector.predict(X[:6]).all()


# ---- how much it trains on ----------------------------------------------------------------


def test_more_rows_than_max_samples_are_left_out_and_mentioned(data, capsys):
    X, y = data
    detector = GradientForestDetector(**QUICK | {"max_samples": 100, "verbose": 1}).fit(X, y)
    assert "training on 100 of 486 normal samples" in capsys.readouterr().err
    scores = detector.predict_proba(X)[:, 1]
    assert scores[y == 1].min() > np.median(scores[y == 0])  # every known anomaly was seen


def test_max_samples_bounds_the_number_of_nodes():
    X, y = clusters(4000)
    nodes = [
        GradientForestDetector(**QUICK | {"max_samples": n}).fit(X, y).model_.forest.n_nodes
        for n in (200, 1_000_000)
    ]
    assert nodes[0] < nodes[1] / 3


# ---- training again -----------------------------------------------------------------------


def test_judges_may_be_chosen_by_name(data):
    X, y = data
    names = ["values (fine)", "boosting"]
    both, one = (
        GradientForestDetector(**QUICK, judges=judges).fit(X, y) for judges in (names, names[:1])
    )
    assert [judge["name"] for judge in both.model_.get_config()["judges"]] == names
    whole = GradientForestDetector(**QUICK).fit(X, y)
    assert whole.history_.query("phase == 'values (fine)'").equals(
        one.history_.query("phase == 'values (fine)'")
    )
    assert not np.array_equal(both.predict_proba(X), one.predict_proba(X))


@pytest.mark.parametrize(
    ("judges", "message"),
    [
        (["values"], "unknown judge 'values': choose one of values .fine"),
        (["boosting"], "at least one of these forests: 'values .fine"),
        ([], "at least one of these forests"),
        ("values (fine)", "judges"),
    ],
)
def test_judges_that_cannot_judge_are_refused_before_training(data, judges, message):
    with pytest.raises(ValueError, match=message):
        GradientForestDetector(**QUICK, judges=judges).fit(*data)


def test_warm_start_keeps_encoding_and_snapshots_and_learns_new_labels(data):
    X, y = data
    known = y.copy()
    known[np.flatnonzero(y)[1:]] = 0
    detector = GradientForestDetector(**QUICK, warm_start=True).fit(X, known)
    before = detector.predict_proba(X)[:, 1]
    encoder, snapshots = detector.pipeline_.encoder, detector.model_.features
    detector.fit(X, y)
    assert detector.pipeline_.encoder is encoder
    assert detector.model_.features is snapshots
    assert "autoencoder" not in set(detector.history_["phase"])
    after = detector.predict_proba(X)[:, 1]
    assert after[y == 1].mean() > before[y == 1].mean()


def test_warm_start_continues_from_a_loaded_file(fitted, data, tmp_path):
    detector = load(fitted.save(tmp_path / "model.keras")).set_params(warm_start=True)
    detector.fit(*data)
    np.testing.assert_array_equal(
        detector.model_.features(data[0][:5]), fitted.model_.features(data[0][:5])
    )


def test_warm_start_with_other_columns_is_refused():
    X, y = table(np.random.default_rng(0))
    detector = GradientForestDetector(**QUICK, warm_start=True).fit(X, y)
    before = detector.predict_proba(X)
    message = (
        "keeps the encoding of the earlier training.*unexpected column 'new'.*warm_start=False"
    )
    with pytest.raises(ValueError, match=message):
        detector.fit(X.assign(new=1), y)
    np.testing.assert_array_equal(detector.predict_proba(X), before)


def test_warm_start_holds_back_the_same_rows_except_those_now_known(data, tmp_path, caplog):
    X, y = data
    few = np.where(np.cumsum(y) <= 5, y, 0)
    first = GradientForestDetector(**QUICK, warm_start=True, calibration_fraction=0.2).fit(X, few)
    prints = first.sketch_.held_back
    assert len(prints) == int(0.2 * (len(X) - 5))
    reviewed = np.concatenate([X, X[:40] + 0.01])
    detector = load(first.save(tmp_path / "model.keras")).set_params(warm_start=True)
    detector.fit(reviewed, np.concatenate([y, y[:40]]))
    kept = detector.sketch_.held_back
    assert set(kept.tolist()) <= set(prints.tolist())
    encoded = detector._encode(detector.pipeline_.encoder, X)
    n_found_out = np.isin(prints, fingerprints(encoded[(y == 1) & (few == 0)])).sum()
    assert len(kept) == len(prints) - n_found_out
    assert detector.pipeline_.calibration.n_samples == len(kept)
    assert "warm_start" not in caplog.text
    detector.fit(*clusters(seed=5))
    assert "call calibrate with fresh normal samples" in caplog.text


def test_warm_start_says_if_nothing_was_held_back_before(data, caplog):
    X, y = data
    detector = GradientForestDetector(**QUICK, warm_start=True, calibration_fraction=0).fit(X, y)
    detector.set_params(calibration_fraction=0.2).fit(X, y)
    assert detector.pipeline_.calibration.n_samples
    assert "the earlier training held no samples back" in caplog.text
    assert "call calibrate with fresh normal samples" in caplog.text


@pytest.mark.parametrize("n_others", [0, 1])
def test_warm_start_on_the_held_back_rows_holds_back_a_share_of_them(data, n_others, caplog):
    X, _ = data
    detector = GradientForestDetector(**QUICK, warm_start=True, calibration_fraction=0.2).fit(X)
    held_back = detector.sketch_.held_back
    was_held_back = np.isin(
        fingerprints(detector._encode(detector.pipeline_.encoder, X)), held_back
    )
    others = np.flatnonzero(~was_held_back)[:n_others]
    detector.fit(X[np.sort(np.concatenate([np.flatnonzero(was_held_back), others]))])
    kept = detector.sketch_.held_back
    assert len(kept) == int(0.2 * (len(held_back) + n_others))
    assert set(kept.tolist()) <= set(held_back.tolist())
    assert "warm_start" not in caplog.text


def test_suggestions_compare_what_the_trees_see(fitted, data):
    X, _ = data
    encoded = fitted._encode(fitted.pipeline_.encoder, X[:50])
    features = fitted._features_to_compare(encoded)
    assert features.shape == (50, fitted.model_.n_features)
    unused = np.asarray(fitted.model_.importances) == 0
    assert not features[:, unused].any()
    assert len(set(fitted.suggest(X, 12))) == 12


def test_without_warm_start_another_fit_starts_over(data):
    X, y = data
    again = GradientForestDetector(**QUICK).fit(X * 2, y).fit(X, y)
    once = GradientForestDetector(**QUICK).fit(X, y)
    np.testing.assert_array_equal(again.predict_proba(X), once.predict_proba(X))


def test_an_interrupted_training_resumes_after_its_last_forest(data, tmp_path, monkeypatch):
    X, y = data
    whole = GradientForestDetector(**QUICK).fit(X, y)
    last = type(PLANS[4])
    train = last._train

    def crash(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(last, "_train", crash)
    with pytest.raises(KeyboardInterrupt):
        GradientForestDetector(**QUICK, checkpoint_dir=tmp_path).fit(X, y)
    monkeypatch.setattr(last, "_train", train)
    forest = type(PLANS[0])
    monkeypatch.setattr(forest, "_train", crash)  # the forests are not trained again
    resumed = GradientForestDetector(**QUICK, checkpoint_dir=tmp_path).fit(X, y)
    np.testing.assert_array_equal(resumed.predict_proba(X), whole.predict_proba(X))
    pd.testing.assert_frame_equal(resumed.history_, whole.history_)


# ---- what it says about itself ------------------------------------------------------------


def test_arms_and_snapshots_and_layers_add_up_to_the_score(fitted, data):
    explanation = fitted.explain(data[0][:4])
    difference = explanation.scores - explanation.baseline_score
    for part in (explanation.arms, explanation.snapshots, explanation.layers):
        np.testing.assert_allclose(part.sum(axis=1), difference, atol=1e-5)
    assert list(explanation.arms) == ["values", "gradients"]
    assert {"sample", "residual", "snapshot_0", "snapshot_1"} == set(explanation.snapshots)
    assert "arm:gradients" in explanation.to_frame()


def test_the_column_that_matters_is_the_most_important_one(data):
    random = np.random.default_rng(0)
    X = random.normal(size=(300, 4))
    y = np.arange(300) < 40
    X[y, 2] += 3
    detector = GradientForestDetector(**QUICK).fit(X, y)
    importances = detector.feature_importances_
    assert importances.sum() == pytest.approx(1)
    assert importances.idxmax() == "x2"
    assert {"residual", "gradient of output (snapshot 1)"} < set(importances.index)


def test_importances_survive_the_file(fitted, tmp_path):
    again = load(fitted.save(tmp_path / "model.keras"))
    pd.testing.assert_series_equal(again.feature_importances_, fitted.feature_importances_)


def test_history_has_the_out_of_bag_loss_of_every_forest(fitted):
    history = fitted.history_.set_index("phase")
    for plan in PLANS[:4]:
        curve = history.loc[plan.name]
        assert list(curve["epoch"]) == [10, 20]
        assert (curve["loss"] < 0.25).all()  # better than a constant score of one half


# ---- one score, however it is computed ----------------------------------------------------


def test_large_and_small_batches_have_equal_scores(fitted):
    X = np.random.default_rng(1).standard_t(2, size=(5000, 3))  # large ones are compiled by XLA
    together = fitted.predict_proba(X)[:, 1]
    pieces = np.concatenate([fitted.predict_proba(part)[:, 1] for part in np.split(X, 25)])
    np.testing.assert_allclose(pieces, together, atol=1e-7)


def test_the_exported_model_has_equal_scores(fitted, tmp_path):
    X = np.random.default_rng(1).standard_t(2, size=(2000, 3))
    exported = tf.saved_model.load(str(fitted.export(tmp_path / "1")))
    scores = exported.signatures["serving_default"](tf.constant(X))["score"]
    np.testing.assert_allclose(np.ravel(scores), fitted.predict_proba(X)[:, 1], atol=1e-6)


# ---- settings -----------------------------------------------------------------------------


def test_kinds_have_their_total_weights():
    kinds = np.array([NORMAL] * 90 + [KNOWN] * 3 + [COUNTEREXAMPLE] * 90)
    weights = balanced_weights(kinds)
    assert weights.mean() == pytest.approx(1)
    shares = [weights[kinds == kind].sum() / len(kinds) for kind in range(3)]
    np.testing.assert_allclose(shares, [0.5, 0.35, 0.15])
    np.testing.assert_allclose(balanced_weights(kinds[:93])[90:].sum() / 93, 0.5)


def test_networks_that_cannot_be_used_are_refused_before_training(rng):
    images = rng.random((60, 6, 6, 2))
    grouped = keras.Sequential(
        [keras.Input((6, 6, 2)), keras.layers.Conv2D(2, 3, padding="same", groups=2, name="pair")]
    )
    with pytest.raises(ValueError, match="layer 'pair' is a grouped convolution"):
        GradientForestDetector(**QUICK, architecture=grouped).fit(images)
    unbuilt = keras.Sequential([keras.layers.Dense(3)])
    with pytest.raises(ValueError, match=r"no weights yet: .* keras.Sequential\(\[keras.Input"):
        GradientForestDetector(**QUICK, architecture=unbuilt).fit(rng.random((60, 3)))


def test_cutmix_without_known_anomalies_says_what_to_do(data):
    detector = GradientForestDetector(**QUICK, counterexamples="cutmix")
    with pytest.raises(ValueError, match='label some, or use "resampled"'):
        detector.fit(data[0])


@pytest.mark.parametrize(
    ("name", "value"),
    [("n_trees", 0), ("counterexamples", "noise"), ("max_samples", 1), ("holdout", 1.0)],
)
def test_settings_out_of_range_are_named(data, name, value):
    with pytest.raises(ValueError, match=f"'{name}' parameter"):
        GradientForestDetector(**{name: value}).fit(*data)


def test_presets_make_their_detectors():
    assert {name: type(make_preset(name)).__name__ for name in PRESETS} == {
        "forest": "GradientForestDetector",
        "fast": "R2AD2Detector",
        "paper": "R2AD2Detector",
    }
    assert make_preset("forest", n_trees=7).n_trees == 7
    with pytest.raises(ValueError, match="unknown preset 'slow'"):
        make_preset("slow")
    with pytest.raises(ValueError, match=r"unknown setting 'n_tree'.*n_trees"):
        make_preset("forest", n_tree=7)
