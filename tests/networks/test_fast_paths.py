"""Each fast path gives the numbers of the plain formulation."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from r2ad2 import R2AD2, Autoencoder
from r2ad2.benchmark.plain import PlainR2AD2
from r2ad2.networks.adam import FusedAdam
from r2ad2.networks.alarm import Dropout, UnrolledLSTM


@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("n_steps", [1, 2, 4])
def test_unrolled_lstm_equals_keras(rng, return_sequences, n_steps):
    settings = {"units": 5, "return_sequences": return_sequences, "dtype": "float64"}
    layers = [UnrolledLSTM(**settings), keras.layers.LSTM(**settings)]
    x = tf.constant(rng.normal(size=(7, n_steps, 6)))
    for layer in layers:
        layer.build(x.shape)
    weights = [rng.normal(size=weight.shape) for weight in layers[0].weights]
    results = []
    for layer in layers:
        layer.set_weights(weights)
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = layer(x)
            total = tf.reduce_sum(outputs**2)
        sources = [x, *(weight.value for weight in layer.trainable_weights)]
        gradients = tape.gradient(total, sources, unconnected_gradients="zero")
        results.append([outputs, *gradients])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_dropout_drops_at_its_rate_and_keeps_the_mean(dtype):
    layer = Dropout(0.4, seed=0, dtype=dtype)
    x = tf.ones((101, 3, 333), dtype)
    first, second = (np.asarray(tf.cast(layer(x, training=True), tf.float32)) for _ in range(2))
    # Of 100,000 draws the share has a standard deviation of .0015.
    assert np.mean(first == 0) == pytest.approx(0.4, abs=0.007)
    assert np.mean((first == 0) & (second == 0)) == pytest.approx(0.16, abs=0.006)
    assert np.unique(first) == pytest.approx([0, 1 / 0.6], rel=5e-3)
    assert first.mean() == pytest.approx(1, abs=0.012)
    np.testing.assert_array_equal(layer(x, training=False), x)
    np.testing.assert_array_equal(Dropout(0.0)(x, training=True), x)


def test_fused_adam_equals_keras(rng):
    start = [rng.normal(size=(4, 3)), rng.normal(size=(3,))]
    schedule = keras.optimizers.schedules.ExponentialDecay(1e-2, 3, 0.5)
    results = []
    for optimizer in (FusedAdam(schedule), keras.optimizers.Adam(schedule)):
        random = np.random.default_rng(1)
        variables = [keras.Variable(array, dtype="float32") for array in start]
        for _ in range(10):
            gradients = [
                tf.constant(random.normal(size=array.shape), tf.float32) for array in start
            ]
            optimizer.apply(gradients, variables)
        results.append([variable.numpy() for variable in variables])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)  # of ten steps of about 1e-2


def without_chance(base):
    class WithFixedNoise(base):
        def sample_synthetic_anomalies(self, x):
            return tf.random.stateless_normal(tf.shape(x), [0, 1], 0.5, 1.0)

    return WithFixedNoise


@pytest.mark.parametrize(
    ("architecture", "shape", "n_snapshots"),
    [("8-4", (12,), 2), ("2C3-3", (8, 8, 1), 1)],
    ids=["dense, two snapshots", "images, one snapshot"],
)
def test_training_equals_the_plain_formulation(rng, architecture, shape, n_snapshots):
    snapshots = [Autoencoder(architecture, input_shape=shape, seed=k) for k in range(n_snapshots)]
    ours = without_chance(R2AD2)(snapshots, alarm_units=(6, 4, 3), dropout=0.0, seed=0)
    plain = without_chance(PlainR2AD2)(ours)
    x = rng.random((32, *shape), dtype=np.float32)
    y = (np.arange(32) % 5 == 0).astype(np.float32)
    weight = 1 + rng.random(32, dtype=np.float32)
    results = []
    for model in (ours, plain):
        model.compile()
        losses = []
        for _ in range(3):
            losses.append(model.train_on_batch(x, y, weight, return_dict=True))
            model.reset_metrics()
        weights = model.alarm.get_weights() + model.normalization.get_weights()
        results.append(
            {
                "gradients": model.gradients(x).numpy(),
                "scores": model(x).numpy(),
                "losses": [loss[name] for loss in losses for name in sorted(loss)],
                "weights": np.concatenate([w.ravel() for w in weights]),
            }
        )
    ours, plain = results
    for name, tolerance in {"gradients": 1e-6, "losses": 1e-5, "scores": 1e-5}.items():
        np.testing.assert_allclose(
            ours[name], plain[name], rtol=1e-5, atol=tolerance * np.abs(plain[name]).max()
        )
    # Adam magnifies the rounding of tiny gradients, up to its step of 1e-3 per weight.
    np.testing.assert_allclose(ours["weights"], plain["weights"], atol=1e-5)


def test_known_gradients_train_as_recomputed_ones(rng):
    snapshots = [Autoencoder("4-2", input_shape=(6,), seed=k) for k in range(2)]
    x = rng.random((32, 6), dtype=np.float32)
    y = (np.arange(32) % 5 == 0).astype(np.float32)
    scores, losses = [], []
    for known in (False, True):
        model = R2AD2(snapshots, alarm_units=(3,), seed=0)
        model.compile()
        inputs = {"x": x, "gradients": model.alarm_inputs(x).numpy()} if known else x
        batches = tf.data.Dataset.from_tensor_slices((inputs, y)).batch(8)
        model.fit(batches, shuffle=False, epochs=3, verbose=0)
        scores.append(model.predict(inputs, verbose=0))
        losses.append(model.evaluate(inputs, y, verbose=0))
    np.testing.assert_allclose(*scores, atol=1e-6)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_known_gradients_of_synthetic_anomalies_train_as_recomputed_ones(rng):
    class AtTheCorner(R2AD2):
        def sample_synthetic_anomalies(self, x):
            return tf.ones_like(x) - x  # known beforehand

    snapshots = [Autoencoder("4-2", input_shape=(6,), seed=k) for k in range(2)]
    x = rng.random((32, 6), dtype=np.float32)
    y = (np.arange(32) % 5 == 0).astype(np.float32)
    scores = []
    for known in ({}, {"synthetic_gradients"}, {"synthetic_gradients", "gradients"}):
        model = AtTheCorner(snapshots, alarm_units=(3,), seed=0)
        model.compile()
        inputs = {"x": x}
        inputs |= {name: model.alarm_inputs(1 - x if "_" in name else x).numpy() for name in known}
        batches = tf.data.Dataset.from_tensor_slices((inputs, y)).batch(8)
        model.fit(batches, shuffle=False, epochs=3, verbose=0)
        scores.append(model.predict(x, verbose=0))
    np.testing.assert_allclose(scores[0], scores[1], atol=1e-6)
    np.testing.assert_allclose(scores[0], scores[2], atol=1e-6)


def test_bfloat16_scores_are_close_and_weights_stay_in_single_precision(rng):
    snapshots = [Autoencoder("8-4", input_shape=(12,), seed=k) for k in range(2)]
    x = rng.random((64, 12), dtype=np.float32)
    models = [
        R2AD2(snapshots, alarm_units=(16, 8, 4), seed=0, alarm_dtype=dtype)
        for dtype in ("float32", "mixed_bfloat16")
    ]
    models[1].set_weights(models[0].get_weights())
    single, half = (model.predict(x, verbose=0) for model in models)
    np.testing.assert_allclose(half, single, atol=2e-3)
    assert not np.array_equal(half, single)
    assert {weight.dtype for weight in models[1].alarm.weights} == {"float32"}
    assert half.dtype == np.float32
