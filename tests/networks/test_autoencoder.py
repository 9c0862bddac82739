"""Autoencoders have the paper's architectures and survive serialisation."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r2ad2 import Autoencoder


def weight_shapes(model):
    return [tuple(w.shape) for w in model.weights if len(w.shape) > 1]


def test_dense_architecture_is_symmetric():
    model = Autoencoder("40-20-10", input_shape=(122,))
    expected = [(122, 40), (40, 20), (20, 10), (10, 20), (20, 40), (40, 122)]
    assert weight_shapes(model) == expected
    assert model.count_params() == 12_012  # G of NSL-KDD


def test_dropout_is_behind_hidden_layers_but_not_behind_the_code():
    model = Autoencoder("4-3-2", input_shape=(6,))
    names = [type(layer).__name__ for layer in model.layers]
    assert names == [
        "InputLayer",
        *["Dense", "Dropout"] * 2,
        "Dense",
        *["Dense", "Dropout"] * 2,
        "Dense",
    ]


@pytest.mark.parametrize(("size", "trim"), [(28, True), (32, False)])
def test_convolutional_architecture_is_the_original(size, trim):
    model = Autoencoder("8C3-8C3-8", input_shape=(size, size, 1))
    code_inputs = (size // 4) ** 2 * 8
    shapes = [(3, 3, 1, 8), (3, 3, 8, 8), (code_inputs, 8), (8, 512), (3, 3, 8, 8)]
    shapes += [(3, 3, 8, 8)] * trim + [(3, 3, 1, 8)]
    assert weight_shapes(model) == shapes
    assert model.output_shape == (None, size, size, 1)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 4),
    st.sampled_from(["8C3-8C3-8", "4C3-3", "2C5-3C3-2C3-6-4"]),
)
def test_any_image_size_is_reconstructed(height, width, channels, architecture):
    model = Autoencoder(architecture, input_shape=(height, width, channels))
    assert model.output_shape == model.input_shape


def test_settings_reach_the_layers_and_survive_a_round_trip(tmp_path):
    model = Autoencoder(
        "6-3", input_shape=(5, 2, 1), dropout=0.1, activation="leaky_relu", use_bias=False, seed=3
    )
    assert not any("bias" in w.path for w in model.weights)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded, Autoencoder)
    assert loaded.get_config() == model.get_config()
    x = np.random.default_rng(0).random((3, 5, 2, 1), dtype=np.float32)
    np.testing.assert_array_equal(loaded(x), model(x))


def test_images_have_their_channels_last_whatever_keras_expects():
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_first")
    try:
        model = Autoencoder("4C3-4C3-3", input_shape=(9, 6, 2))
    finally:
        keras.config.set_image_data_format(before)
    assert model(np.zeros((5, 9, 6, 2))).shape == (5, 9, 6, 2)


def test_equal_seeds_give_equal_weights():
    first, second, other = (
        Autoencoder("4-2", input_shape=(6,), seed=seed).get_weights() for seed in (1, 1, 2)
    )
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize(
    ("architecture", "shape", "message"),
    [
        ("", (4,), "architecture"),
        ("8C3", (8, 8, 1), "dense code"),
        ("8-8C3-8", (8, 8, 1), "architecture"),
        ("a-b", (4,), "'a-b'"),
        ("8C3-4", (4,), "images"),
        ("4", (4, 4), r"\(4, 4\)"),
        ("4", (0,), r"\(0,\)"),
    ],
)
def test_wrong_descriptions_are_refused(architecture, shape, message):
    with pytest.raises(ValueError, match=message):
        Autoencoder(architecture, input_shape=shape)


@keras.saving.register_keras_serializable("tests")
def doubled(x):
    return 2 * x


def test_code_layer_can_have_an_activation_of_its_own(tmp_path, rng):
    model = Autoencoder(
        "4-3", input_shape=(5,), activation=doubled, code_activation="linear", use_bias=False
    )
    x = rng.normal(size=(6, 5)).astype(np.float32)
    kernels = model.get_weights()
    code = keras.Model(model.input, model.get_layer("code").output)
    np.testing.assert_allclose(code(x), 2 * x @ kernels[0] @ kernels[1], rtol=1e-4, atol=1e-6)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(x), model(x))
    assert Autoencoder("4-3", input_shape=(5,)).get_config()["code_activation"] == "relu"
