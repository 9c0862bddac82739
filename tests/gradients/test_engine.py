"""The closed form of per-sample gradients equals the reference, one tape per sample."""

from __future__ import annotations

import logging

import keras
import numpy as np
import pytest

from r2ad2 import Autoencoder
from r2ad2.gradients import PerSampleGradients

layers = keras.layers


def engines(model, **settings):
    """Make the closed form and the reference."""
    return [
        PerSampleGradients(model, method=method, **settings)
        for method in ("closed_form", "vectorized_map")
    ]


def relative_difference(actual, expected):
    """Compute the largest difference, relative to the largest magnitude."""
    assert actual.shape == expected.shape
    if not len(expected):
        return 0.0
    return np.abs(actual - expected).max() / np.abs(expected).max()


def difference(model, n, dtype="float32", **settings):
    closed, mapped = engines(model, **settings)
    x = samples(model, n, dtype)
    return relative_difference(closed(x), mapped(x))


def samples(model, n, dtype="float64"):
    return np.random.default_rng(0).normal(0.5, 1.0, (n, *model.input_shape[1:])).astype(dtype)


@pytest.mark.parametrize(
    ("architecture", "shape"), [("8-4", (20,)), ("8C3-8C3-8", (28, 28, 1)), ("3C3-2", (9, 6, 2))]
)
def test_autoencoders_equal_reference_in_single_precision(architecture, shape):
    model = Autoencoder(architecture, input_shape=shape, seed=1)
    closed, mapped = engines(model)
    for n in (0, 1, 7, 256):
        x = samples(model, n, "float32")
        assert relative_difference(closed(x), mapped(x)) <= 1e-5
        assert closed(x).shape == (n, model.count_params())


@pytest.mark.parametrize("loss", ["mse", "mae", keras.losses.Huber()])
def test_other_losses_equal_reference(loss):
    model = Autoencoder("5-3", input_shape=(8,), seed=1, dtype="float64")
    assert difference(model, 7, "float64", loss=loss) <= 1e-10


def test_nested_and_sequential_models_equal_reference():
    encoder = keras.Sequential([keras.Input((6,)), layers.Dense(4, "relu"), layers.Dropout(0.5)])
    inputs = keras.Input((6,))
    model = keras.Model(inputs, layers.Dense(6, "sigmoid")(encoder(inputs)))
    assert difference(model, 7) <= 1e-5


def test_a_layer_called_twice_adds_up_its_gradients():
    shared = layers.Dense(6, "tanh")
    inputs = keras.Input((6,))
    model = keras.Model(inputs, layers.Dense(6, "sigmoid")(shared(shared(inputs))))
    assert difference(model, 7) <= 1e-5


def test_layers_without_rule_fall_back_to_the_reference_and_say_so(caplog):
    inputs = keras.Input((6, 4))
    x = layers.LSTM(5, return_sequences=True, unroll=True)(layers.LayerNormalization()(inputs))
    model = keras.Model(inputs, layers.Dense(4, "sigmoid")(x))
    with caplog.at_level(logging.WARNING, logger="r2ad2"):
        assert difference(model, 3) <= 1e-5
    assert "LSTM" in caplog.text
    assert "LayerNormalization" in caplog.text
    assert "Dense" not in caplog.text


def test_models_that_are_not_a_graph_of_layers_are_refused():
    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(3, "sigmoid")

        def call(self, x):
            return self.dense(x)

    model = Subclassed()
    model(np.zeros((1, 3), "float32"))
    with pytest.raises(ValueError, match=r"keras.Model\(inputs, outputs\)"):
        PerSampleGradients(model)


def test_images_of_any_size_use_the_reference():
    inputs = keras.Input((None, None, 1))
    model = keras.Model(inputs, layers.Conv2D(1, 3, padding="same", activation="sigmoid")(inputs))
    assert PerSampleGradients(model).method == "vectorized_map"
    assert PerSampleGradients(model)(np.ones((2, 5, 4, 1))).shape == (2, 10)
    with pytest.raises(ValueError, match="vectorized_map"):
        PerSampleGradients(model, method="closed_form")


@pytest.mark.parametrize("n_layers", [0, 1, 2])
def test_mixed_precision_models_give_single_precision_gradients_near_the_reference(n_layers):
    inputs = keras.Input((12,))
    dtypes = ["mixed_bfloat16"] * n_layers + ["float32"] * (2 - n_layers)
    x = layers.Dense(8, "relu", dtype=dtypes[0])(inputs)
    model = keras.Model(inputs, layers.Dense(12, "sigmoid", dtype=dtypes[1])(x))
    x = samples(model, 5, "float32")
    closed, mapped = (engine(x) for engine in engines(model))
    assert closed.dtype == mapped.dtype == np.float32
    np.testing.assert_allclose(closed, mapped, atol=0.02 * np.abs(mapped).max())


def test_frozen_layers_are_left_out():
    model = Autoencoder("4-2", input_shape=(6,), seed=0)
    model.get_layer("code").trainable = False
    engine = PerSampleGradients(model)
    assert engine.size == sum(w.numpy().size for w in model.trainable_weights)
    assert not any(name.startswith("code/") for name in engine.names)
    reference = PerSampleGradients(model, method="vectorized_map")
    x = samples(model, 5, "float32")
    np.testing.assert_allclose(engine(x), reference(x), rtol=1e-5, atol=1e-8)


def test_a_model_frozen_as_a_whole_gives_the_gradient_of_all_weights():
    model = Autoencoder("4-2", input_shape=(6,), seed=0)
    before = PerSampleGradients(model)(np.ones((2, 6))).numpy()
    model.trainable = False
    np.testing.assert_array_equal(PerSampleGradients(model)(np.ones((2, 6))), before)
    assert not model.trainable


def test_names_say_which_slice_belongs_to_which_weight():
    model = Autoencoder("4-2", input_shape=(6,), seed=0)
    engine = PerSampleGradients(model)
    slices = list(engine.names.values())
    assert list(engine.names) == [w.path for w in model.trainable_weights]
    assert slices[0] == slice(0, 24)
    assert slices[-1].stop == engine.size


def test_gradients_agree_with_finite_differences():
    model = Autoencoder("3", input_shape=(4,), seed=0, dtype="float64")
    x = samples(model, 2)
    gradients = PerSampleGradients(model)(x).numpy()
    loss = keras.losses.binary_crossentropy
    kernel = model.get_layer("code").kernel
    value, step = kernel.numpy(), 1e-6
    for i in range(value.size):
        shifted = [value.copy(), value.copy()]
        for sign, array in zip((1, -1), shifted, strict=True):
            array.flat[i] += sign * step
        losses = []
        for array in shifted:
            kernel.assign(array)
            losses.append(np.asarray(loss(x, model(x))))
        np.testing.assert_allclose(gradients[:, i], (losses[0] - losses[1]) / (2 * step), atol=1e-6)
        kernel.assign(value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda ae: PerSampleGradients(ae, method="magic"), "magic"),
        (lambda ae: PerSampleGradients(ae)(np.zeros((2, 5))), r"\(None, 6\)"),
        (lambda ae: PerSampleGradients(keras.Model(ae.input, ae.layers[1].output)), "shape of its"),
    ],
)
def test_wrong_use_is_refused_with_a_clear_error(make, message):
    with pytest.raises(ValueError, match=message):
        make(Autoencoder("4-2", input_shape=(6,)))
