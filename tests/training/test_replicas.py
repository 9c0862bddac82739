"""Training on two devices of one machine gives the losses of one device."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from r2ad2.training.replicas import divisible, mean_on_replica, replica_seed, share_of_batch

TOLERANCE = 1e-4

# A process of its own, because TensorFlow divides its devices before their first use.
PROGRAM = """
import json, sys
import numpy as np, tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
strategies = {"alone": tf.distribute.get_strategy(), "together": mirrored}

from r2ad2 import R2AD2, R2AD2Detector, Autoencoder
from r2ad2.networks.snapshots import train_snapshots


class WithoutChance(R2AD2):
    def sample_synthetic_anomalies(self, x):
        return 1.5 - tf.roll(x, 1, axis=1) ** 2


def trained(shape, architecture, n, n_snapshots, **settings):
    y = (np.arange(n) % 5 == 0).astype(np.float32)
    x = np.random.default_rng(0).random((n, *shape), dtype=np.float32)
    x *= 1 - 0.6 * y.reshape(-1, *[1] * len(shape))
    weight = 1 + np.random.default_rng(1).random(n, dtype=np.float32)
    snapshots = [Autoencoder(architecture, input_shape=shape, seed=k) for k in range(n_snapshots)]
    model = WithoutChance(snapshots, alarm_units=(6, 4), dropout=0.0, seed=0, **settings)
    model.compile(1e-2, metrics=["mae"])
    batches = tf.data.Dataset.from_tensor_slices((x, y, weight)).batch(16)
    fitted = model.fit(batches, epochs=6, shuffle=False, verbose=0, validation_data=(x, y))
    weights = model.normalization.get_weights() + model.alarm.get_weights()
    return {
        **fitted.history,
        "weights": np.concatenate([w.ravel() for w in weights]).tolist(),
        "scores": np.asarray(model(x[:16])).ravel().tolist(),
    }


def autoencoder():
    x = np.random.default_rng(0).random((75, 6), dtype=np.float32)
    target = Autoencoder("4-2", input_shape=(6,), seed=0, dropout=0.0)
    # 50 samples are seen, in batches of 16 and 2; 25 are held back.
    result = train_snapshots(
        target, x, start_epoch=2, n_snapshots=2, snapshot_interval=1, holdout=1 / 3,
        batch_size=17 if tf.distribute.has_strategy() else 16, learning_rate=1e-2,
    )
    weights = [s.get_weights() for s in result.snapshots]
    return {
        "loss": result.history["loss"].tolist(),
        "weights": np.concatenate([w.ravel() for s in weights for w in s]).tolist(),
        "held_back": result.held_back.tolist(),
    }


def detector_scores():
    x = np.random.default_rng(0).random((67, 4))
    detector = R2AD2Detector(
        architecture="3", alarm_units=(4, 3), start_epoch=1, epochs=1, n_snapshots=1, batch_size=16
    )
    return detector.fit(x, np.arange(67) % 8 == 0).decision_function(x).tolist()


def noise_of_devices():
    snapshots = [Autoencoder("4-2", input_shape=(6,), seed=k) for k in range(2)]
    model = R2AD2(snapshots, alarm_units=(4, 3), seed=0)
    x = tf.ones((500, 6))
    draw = tf.function(lambda: mirrored.run(lambda: (
        model.sample_synthetic_anomalies(x), model.alarm.layers[0](x, training=True))))
    return [[np.asarray(part).ravel().tolist() for part in values.values] for values in draw()]


results = {}
for name, strategy in strategies.items():
    with strategy.scope():
        results[name] = {
            # Of the last batch one device gets 6 samples, or none.
            "table": trained((6,), "4-2", 60, 1, gradient="sketch", sketch_size=8),
            "images": trained((8, 8, 1), "4C3-3", 33, 2),
            "autoencoder": autoencoder(),
        }
with mirrored.scope():
    results["noise"], results["scores"] = noise_of_devices(), detector_scores()
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def results():
    environment = os.environ | {"TF_ENABLE_ONEDNN_OPTS": "0"}
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    return json.loads(process.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("case", ["table", "images"])
def test_two_devices_have_the_losses_of_one(results, case):
    alone, together = results["alone"][case], results["together"][case]
    losses = {"loss", "training_loss", "synthetic_loss", "normalization_loss"}
    assert losses | {"mae", "val_loss", "val_mae"} < set(alone)
    assert np.ptp(alone["loss"]) > 0.05  # the training has an effect
    for name, values in alone.items():
        np.testing.assert_allclose(together[name], values, atol=TOLERANCE, err_msg=name)


@pytest.mark.slow
def test_two_devices_train_the_autoencoder_of_one(results):
    alone, together = results["alone"]["autoencoder"], results["together"]["autoencoder"]
    assert len(alone["held_back"]) == 25
    for name, values in alone.items():
        np.testing.assert_allclose(together[name], values, atol=TOLERANCE, err_msg=name)


@pytest.mark.slow
def test_devices_draw_their_own_noise(results):
    for first, second in results["noise"]:
        assert np.std(first) > 0.1
        assert abs(np.corrcoef(first, second)[0, 1]) < 0.1


@pytest.mark.slow
def test_a_detector_trains_on_two_devices(results):
    assert len(results["scores"]) == 67
    assert np.isfinite(results["scores"]).all()


def test_a_single_device_changes_nothing():
    assert divisible(7) == 7
    assert mean_on_replica(0.3) == 0.3
    assert share_of_batch(0.3, 5) == 0.3
    seed = np.array([1, 2])
    assert replica_seed(seed) is seed
