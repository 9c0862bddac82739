"""Extreme numbers, few and equal anomalies, and trainings that diverge."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from r2ad2 import Autoencoder, R2AD2Detector
from r2ad2.detectors.registry import make_detector
from r2ad2.gradients import PerSampleGradients
from r2ad2.networks.snapshots import train_snapshots
from tests.helpers.detectors import DETECTORS, QUICK, SMALL

FARTHEST = 1e6  # what encoders limit scaled features to


@pytest.mark.parametrize("method", ["closed_form", "vectorized_map"])
@pytest.mark.parametrize(("architecture", "shape"), [("8-4", (6,)), ("3C3-2", (8, 6, 1))])
def test_gradients_of_badly_scaled_samples_are_finite(architecture, shape, method, rng):
    autoencoder = Autoencoder(architecture, input_shape=shape, seed=0)
    gradients = PerSampleGradients(autoencoder, method=method)
    x = rng.choice([-1, 1], (8, *shape)) * rng.uniform(0.1, 1, (8, *shape))
    mixed = np.where(rng.random(x.shape) < 0.5, FARTHEST, 1e-30)
    for scale in (FARTHEST, 1e-30, 1e-44, mixed):
        assert np.isfinite(gradients((x * scale).astype(np.float32))).all()


def scaled(rng, n=100):
    """Make samples whose features are of very different magnitude."""
    return rng.random((n, 5)) * [1e30, 1e-30, 1, 1e300, 1e-300]


def test_badly_scaled_features_count_as_others_do(rng):
    """The scaling undoes powers of two exactly."""
    X, y = rng.random((100, 4)), np.arange(100) < 10
    powers = 2.0 ** np.array([100, -100, 0, 900])
    plain, other = (R2AD2Detector(**SMALL).fit(v, y) for v in (X, X * powers))
    scores = plain.predict_proba(X)
    np.testing.assert_array_equal(other.predict_proba(X * powers), scores)
    far = np.concatenate([X * s for s in (-1e308, 1e30, 1e-30, 1e308)])
    assert np.isfinite(plain.predict_proba(far)).all()
    # Copies of a row, many to a batch and over several batches, score as it does.
    copies = np.arange(9000) % 100
    np.testing.assert_array_equal(plain.predict_proba(X[copies]), scores[copies])


@pytest.mark.slow
@pytest.mark.parametrize("name", DETECTORS)
def test_one_anomaly_and_equal_ones_and_extremes_give_finite_scores(name, rng):
    """All at once: one of 150 rows is known to be anomalous, or several copies of one are."""
    X = scaled(rng, 150)
    X[0] = -1e308
    X[149, 0] = 1e308
    for n_anomalies in (1, 8):
        samples = X.copy()
        samples[:n_anomalies] = X[0]
        detector = make_detector(DETECTORS[name], QUICK).fit(samples, np.arange(150) < n_anomalies)
        scores = detector.predict_proba(samples)[:, 1]
        assert np.isfinite(scores).all()
        assert (scores[:n_anomalies] == scores[0]).all()
        assert np.isfinite(detector.history_["loss"]).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", DETECTORS)
def test_a_diverging_training_says_what_to_change_and_leaves_the_detector(name, rng, tmp_path):
    X, y = rng.random((100, 4)), np.arange(100) < 10
    detector = make_detector(DETECTORS[name], QUICK).fit(X, y)
    scores, history = detector.predict_proba(X), detector.history_
    detector.set_params(learning_rate=1e38, checkpoint_dir=tmp_path)
    with pytest.raises(ValueError, match=r"diverged in epoch \d+, phase .*_rate \(1e\+38\)"):
        detector.fit(X, y)
    np.testing.assert_array_equal(detector.predict_proba(X), scores)
    assert detector.history_ is history


def test_the_phase_that_diverges_is_named(rng):
    X = rng.random((60, 4))
    cases = [
        ({"learning_rate": 1e38}, "epoch 1, phase 'autoencoder'"),
        ({"noise_std": 1e38}, "phase 'alarm network'.*settings"),
        ({"architecture": poisoned(), "holdout": 0.0}, "gradients of 54 training samples"),
        ({"noise_std": 1e38, "synthetic_pool": 1}, r"gradients of \d+ synthetic samples"),
    ]
    for settings, message in cases:
        with pytest.raises(ValueError, match=message):
            R2AD2Detector(**(SMALL | settings)).fit(X)


@keras.saving.register_keras_serializable("tests")
class InfiniteInInference(keras.layers.Layer):
    """Does nothing while it is trained."""

    def call(self, x, training=False):
        """Multiply by infinity, but in training."""
        return x if training else x * np.inf


def poisoned():
    inputs = keras.Input((4,))
    hidden = InfiniteInInference()(keras.layers.Dense(3, "tanh")(inputs))
    return keras.Model(inputs, keras.layers.Dense(4, "sigmoid")(hidden))


def test_losses_and_weights_that_are_not_finite_end_the_first_phase(rng):
    x = rng.random((40, 4), dtype=np.float32)

    def loss(target, prediction):
        return tf.reduce_mean((target - prediction) ** 2, axis=-1) / 0.0

    own = Autoencoder("3", input_shape=(4,), seed=0)
    with pytest.raises(ValueError, match=r"epoch 1, phase 'autoencoder': .*loss is"):
        train_snapshots(own, x, loss=loss)
    own = Autoencoder("3", input_shape=(4,), seed=0)
    own.set_weights([np.full_like(weight, np.nan) for weight in own.get_weights()])
    with pytest.raises(ValueError, match=r"epoch 1, phase 'autoencoder': .*loss is nan"):
        R2AD2Detector(**(SMALL | {"architecture": own})).fit(x)


def test_divergence_keeps_the_last_good_checkpoint(rng, tmp_path, monkeypatch):
    """The weights are poisoned in the third of five epochs."""
    X = rng.random((60, 4))
    monkeypatch.setattr("r2ad2.training.loop._SHARE_OF_TIME", np.inf)
    settings = QUICK | {"epochs": 5, "checkpoint_dir": tmp_path}
    whole = make_detector(DETECTORS["AE"], QUICK | {"epochs": 5}).fit(X)
    on_epoch_end = keras.callbacks.CallbackList.on_epoch_end

    def poison(self, epoch, logs=None):
        if epoch == 2:
            kernel = self._model.trainable_weights[0]
            kernel.assign(kernel * np.nan)
        on_epoch_end(self, epoch, logs)

    with monkeypatch.context() as patched:
        patched.setattr(keras.callbacks.CallbackList, "on_epoch_end", poison)
        with pytest.raises(ValueError, match=r"epoch 3, phase 'autoencoder': weight .* not finite"):
            make_detector(DETECTORS["AE"], settings).fit(X)
    with np.load(tmp_path / "autoencoder.checkpoint.npz") as kept:
        assert '"epoch": 2' in str(kept["state"])
    detector = make_detector(DETECTORS["AE"], settings).fit(X)
    np.testing.assert_array_equal(detector.predict_proba(X), whole.predict_proba(X))


def test_another_process_gives_bit_equal_scores_whatever_the_form_of_the_samples(tmp_path):
    code = f"""
        import numpy as np, pandas as pd, tensorflow as tf
        from r2ad2 import R2AD2Detector
        X = np.random.default_rng(5).random((80, 4)).astype("float32")
        y = (np.arange(80) < 8).astype(int)
        form = FORM
        samples = {{
            "array": (X, y),
            "frame": (pd.DataFrame(X, columns=list("abcd")), y),
            "pipeline": (tf.data.Dataset.from_tensor_slices((X, y)).batch(7), None),
        }}[form]
        detector = R2AD2Detector(**{SMALL!r}).fit(*samples)
        scores = detector.predict_proba(samples[0] if form == "frame" else X)
        """
    code = textwrap.dedent(code)
    path = tmp_path / "scores.npy"
    script = code.replace("FORM", repr("array")) + f"\nnp.save({str(path)!r}, scores)"
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    for form in ("frame", "pipeline"):
        found: dict = {}
        exec(code.replace("FORM", repr(form)), found)
        np.testing.assert_array_equal(found["scores"], np.load(path))
    assert isinstance(found["samples"][0], tf.data.Dataset)
    assert not pd.isna(found["scores"]).any()
