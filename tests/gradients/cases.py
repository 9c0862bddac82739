"""Random autoencoders for tests of per-sample gradients, as functions that build them."""

from __future__ import annotations

import keras
from hypothesis import strategies as st

layers = keras.layers
activations = st.sampled_from(["relu", "tanh", "sigmoid", "leaky_relu", "linear"])
kernels = st.tuples(st.integers(1, 3), st.integers(1, 3))
paddings = st.sampled_from(["same", "valid"])


@st.composite
def dense_models(draw, dtype="float64"):
    width = draw(st.integers(1, 9))
    hidden = draw(st.lists(st.tuples(st.integers(1, 7), activations, st.booleans()), max_size=3))

    def build():
        inputs = x = keras.Input((width,), dtype=dtype)
        for units, activation, use_bias in hidden:
            x = layers.Dense(units, activation=activation, use_bias=use_bias, dtype=dtype)(x)
        return keras.Model(inputs, layers.Dense(width, activation="sigmoid", dtype=dtype)(x))

    return build


@st.composite
def convolutional_models(draw, dtype="float64"):
    """A convolution, a transposed convolution, and a dense layer that restores the image."""
    shape = draw(st.tuples(st.integers(5, 9), st.integers(5, 9), st.integers(1, 3)))
    common = {"activation": draw(activations), "use_bias": draw(st.booleans()), "dtype": dtype}
    strides = draw(st.sampled_from([1, 2, 3, (1, 2), (3, 1)]))
    convolution = {
        "filters": draw(st.integers(1, 4)),
        "kernel_size": draw(kernels),
        "strides": strides,
        "padding": draw(paddings),
        "dilation_rate": draw(st.integers(1, 2)) if strides == 1 else 1,
    }
    transposed = {
        "filters": draw(st.integers(1, 4)),
        "kernel_size": draw(kernels),
        "strides": draw(st.integers(1, 3)),
        "padding": draw(paddings),
    }

    def build():
        inputs = keras.Input(shape, dtype=dtype)
        x = layers.Conv2D(**convolution, **common)(inputs)
        x = layers.Conv2DTranspose(**transposed, **common)(x)
        x = layers.Flatten(dtype=dtype)(x)
        x = layers.Dense(shape[0] * shape[1] * shape[2], activation="sigmoid", dtype=dtype)(x)
        return keras.Model(inputs, layers.Reshape(shape, dtype=dtype)(x))

    return build
