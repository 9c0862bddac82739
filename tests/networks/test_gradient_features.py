"""What the trees see: gradient norms equal to those of the reference, in double precision."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from r2ad2 import Autoencoder
from r2ad2.gradients import PerSampleGradients
from r2ad2.networks.gradient_features import GradientFeatures
from r2ad2.networks.gradient_norms import GradientNorms, double_precision_copy

SHAPES = {"6-3": (7,), "4C3-4C3-2": (8, 8, 1)}


def snapshots(architecture: str, n: int = 2) -> list[keras.Model]:
    return [
        Autoencoder(architecture, input_shape=SHAPES[architecture], dropout=0.3, seed=seed)
        for seed in range(n)
    ]


def random_samples(shape: tuple[int, ...], n: int = 9) -> np.ndarray:
    return np.random.default_rng(0).random((n, *shape)).astype(np.float32)


@pytest.mark.parametrize("architecture", SHAPES)
def test_norms_equal_those_of_the_mapped_gradients(architecture):
    models = [double_precision_copy(model) for model in snapshots(architecture)]
    x = random_samples(SHAPES[architecture]).astype(np.float64)
    positions = range(len(models[0].weights))
    norms = GradientNorms(models, positions)
    for k, model in enumerate(models):
        engine = PerSampleGradients(model, method="vectorized_map", weights=model.weights)
        flat = engine(x).numpy()
        for i, layer in enumerate(norms.layers):
            parts = [flat[:, at] for path, at in engine.names.items() if path.startswith(layer)]
            squares = np.square(np.concatenate(parts, axis=1)).sum(axis=1)
            expected = np.log(squares + 1e-24) / 2
            np.testing.assert_allclose(norms(x)[0][:, k, i], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("architecture", SHAPES)
def test_the_mapped_gradients_are_the_reference_of_the_closed_form(architecture):
    models = [double_precision_copy(model) for model in snapshots(architecture)]
    x = random_samples(SHAPES[architecture]).astype(np.float64)
    positions = range(len(models[0].weights))
    fast, reference = (
        GradientNorms(models, positions, method=method)(x)[0]
        for method in ("closed_form", "vectorized_map")
    )
    np.testing.assert_allclose(fast, reference, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("architecture", SHAPES)
def test_features_are_values_norms_and_residuals(architecture):
    features = GradientFeatures(snapshots(architecture), [0, 1])
    x = random_samples(SHAPES[architecture])
    seen = features(x).numpy()
    assert seen.shape == (len(x), features.size)
    assert seen.dtype == np.float32
    np.testing.assert_array_equal(seen[:, : features.n_values], x.reshape(len(x), -1))
    residual = x - features.snapshots[-1](x.astype(np.float64)).numpy()
    np.testing.assert_allclose(
        seen[:, features.residual_positions], residual.reshape(len(x), -1), atol=1e-7
    )
    assert features.norm_positions.shape == (2, 1)  # one layer's kernel and bias were chosen


def test_a_sample_has_the_same_features_in_any_batch_and_with_xla():
    features = GradientFeatures(snapshots("6-3"), range(8), squashed=True)
    x = random_samples((7,), 301) * 100
    together = features(x).numpy()
    alone = np.concatenate([features(row[np.newaxis]) for row in x[:20]])
    np.testing.assert_array_equal(alone, together[:20])
    fused = tf.function(features.call, jit_compile=True, autograph=False)(tf.constant(x))
    np.testing.assert_allclose(fused, together, rtol=1e-6)


def test_squashed_inputs_keep_extreme_values_finite():
    features = GradientFeatures(snapshots("6-3"), range(8), squashed=True)
    x = np.full((2, 7), 1e6, np.float32) * [[1], [-1]]
    assert np.isfinite(features(x)).all()
    features.center.assign(np.full(7, 2.0))
    features.scale.assign(np.full(7, 0.5))
    middle = features(np.full((1, 7), 2.0))[0]
    plain = GradientFeatures(snapshots("6-3"), range(8))(np.full((1, 7), 0.5))[0]
    np.testing.assert_allclose(middle[7:], plain[7:], rtol=1e-6)


def test_double_precision_copies_models_within_models():
    inner = Autoencoder("3", input_shape=(7,), seed=0)
    inputs = keras.Input((7,))
    outputs = keras.layers.Dense(7, activation="sigmoid", name="last")(inner(inputs))
    model = keras.Model(inputs, outputs)
    copy = double_precision_copy(model, "copy")
    x = random_samples((7,))
    assert copy(x).dtype == tf.float64
    assert not copy.trainable_weights
    np.testing.assert_allclose(copy(x), model(x), atol=1e-6)


def test_features_survive_a_keras_file(tmp_path):
    features = GradientFeatures(snapshots("6-3"), range(6), squashed=True)
    features.center.assign(np.arange(7.0))
    features.save(tmp_path / "features.keras")
    again = keras.saving.load_model(tmp_path / "features.keras", safe_mode=True)
    x = random_samples((7,))
    np.testing.assert_array_equal(again(x), features(x))
