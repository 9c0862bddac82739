"""The port gives the numbers of the authors' published code (golden arrays)."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from r2ad2.gradients import PerSampleGradients
from r2ad2.networks.autoencoder import Autoencoder
from r2ad2.networks.model import R2AD2

CASES = {
    "dense": ("7-5-3", (12,), (16, 12, 8, 6)),
    "conv": ("8C3-8C3-8", (28, 28, 1), (4, 3, 3, 2)),
}
LEARNING_RATE = 1e-3
LOSSES = {
    "training_loss": "Alarm Training Loss",
    "synthetic_loss": "Alarm Noise Loss",
    "loss": "Alarm Total Loss",
    "normalization_loss": "Preprocess Training Loss",
}


class ReplayedNoise(R2AD2):
    """Draws the synthetic anomalies that the authors' code drew."""

    noise: tf.Variable

    def sample_synthetic_anomalies(self, x):
        return tf.convert_to_tensor(self.noise)


def arrays(golden, prefix):
    return [golden[key] for key in sorted(golden.files) if key.startswith(prefix)]


def assert_close(actual, expected, tolerance=1e-5):
    """Equal within the tolerance relative to the largest magnitude."""
    scale = max(np.abs(expected).max(), 1e-30)
    assert np.abs(np.asarray(actual) - expected).max() <= tolerance * scale


def assert_weights_close(actual, expected, steps):
    """Equal within 1e-5 of the part's largest weight, and within 1e-4 of Adam's step sizes.

    The second is what binds for small weights such as biases: Adam moves each weight by up to its
    learning rate whatever the gradient's size, so it magnifies the rounding of tiny gradients.
    """
    largest = max(np.abs(array).max() for array in expected)
    tolerance = min(1e-5 * largest, 1e-4 * steps * LEARNING_RATE)
    for weight, target in zip(actual, expected, strict=True):
        rounding = np.abs(target).max() * np.finfo(np.float32).eps
        assert np.abs(weight - target).max() <= tolerance + rounding


@pytest.fixture(params=sorted(CASES))
def case(request, golden):
    data = golden(request.param)
    architecture, shape, alarm_units = CASES[request.param]
    snapshots = []
    for k in range(3):
        snapshot = Autoencoder(architecture, input_shape=shape, dropout=0.0)
        snapshot.set_weights(arrays(data, f"snapshot{k}/"))
        snapshots.append(snapshot)
    model = ReplayedNoise(snapshots, alarm_units=alarm_units, dropout=0.0)
    model.noise = tf.Variable(data["noise"][0])
    model.alarm.set_weights(arrays(data, "step0/alarm"))
    model.normalization.set_weights(arrays(data, "step0/norm"))
    model.compile(learning_rate=LEARNING_RATE)
    return data, snapshots, model


def test_reconstruction_equals_the_authors(case):
    data, snapshots, _ = case
    assert_close(snapshots[0](data["x"]), data["reconstruction"])


@pytest.mark.parametrize("method", ["closed_form", "vectorized_map"])
def test_gradients_equal_the_authors(case, method):
    data, snapshots, _ = case
    for k, snapshot in enumerate(snapshots):
        gradients = PerSampleGradients(snapshot, method=method)(data["x"])
        assert_close(gradients, data["gradients"][:, k])


def test_scores_and_training_steps_equal_the_authors(case):
    data, _, model = case
    x, y = data["x"], data["y"]
    assert_close(model.gradients(x), data["gradients"])
    assert_close(model.predict(x, verbose=0), data["scores_before"])
    for step in (1, 2, 3):
        model.noise.assign(data["noise"][step - 1])
        losses = model.train_on_batch(x, y, return_dict=True)
        model.reset_metrics()
        for ours, theirs in LOSSES.items():
            assert_close(losses[ours], data[f"step{step}/loss/{theirs}"])
        assert_close(model.predict(x, verbose=0), data[f"step{step}/scores"])
        for name, part in {"alarm": model.alarm, "norm": model.normalization}.items():
            expected = arrays(data, f"step{step}/{name}")
            if expected:  # step 2 is recorded without weights
                assert_weights_close(part.get_weights(), expected, steps=step)
