"""The port gives the numbers of the authors' published code: tests/fixtures/golden/README.md."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from r2ad2.gradients import PerSampleGradients
from r2ad2.networks.autoencoder import Autoencoder
from r2ad2.networks.model import R2AD2
from tests.conftest import PROJECT

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
    return [golden[key] for key in sorted(golden) if key.startswith(prefix)]


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


@pytest.fixture(scope="module", params=["part", pytest.param("whole", marks=pytest.mark.slow)])
def load(request):
    """Return a function that reads a file of golden arrays by its name."""
    if request.param == "whole":
        return request.getfixturevalue("golden")
    return lambda name: np.load(PROJECT / "tests" / "fixtures" / "golden" / f"{name}.npz")


@pytest.fixture(scope="module", params=sorted(CASES))
def case(request, load):
    data = {"every/gradients": 1, "every/weights": 1} | dict(load(request.param))
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
    return SimpleNamespace(data=data, snapshots=snapshots, model=model)


def test_reconstruction_equals_the_authors(case):
    expected = case.data["reconstruction"]
    assert_close(case.snapshots[0](case.data["x"][: len(expected)]), expected)


@pytest.mark.parametrize("method", ["closed_form", "vectorized_map"])
def test_gradients_equal_the_authors(case, method):
    for k, snapshot in enumerate(case.snapshots):
        gradients = PerSampleGradients(snapshot, method=method)(case.data["x"])
        assert_close(gradients[:, :: case.data["every/gradients"]], case.data["gradients"][:, k])


def test_scores_and_training_steps_equal_the_authors(case):
    data, model = case.data, case.model
    x, y = data["x"], data["y"]
    assert_close(model.gradients(x)[..., :: data["every/gradients"]], data["gradients"])
    assert_close(model.predict(x, verbose=0), data["scores_before"])
    for step, noise in enumerate(data["noise"], start=1):
        model.noise.assign(noise)
        losses = model.train_on_batch(x, y, return_dict=True)
        model.reset_metrics()
        for ours, theirs in LOSSES.items():
            assert_close(losses[ours], data[f"step{step}/loss/{theirs}"])
        assert_close(model.predict(x, verbose=0), data[f"step{step}/scores"])
        for name, part in {"alarm": model.alarm, "norm": model.normalization}.items():
            expected = arrays(data, f"step{step}/{name}")
            if not expected:
                assert step == 2  # recorded without weights
                continue
            actual = [
                weight if weight.shape == target.shape else weight[:: data["every/weights"]]
                for weight, target in zip(part.get_weights(), expected, strict=True)
            ]
            assert_weights_close(actual, expected, steps=step)
