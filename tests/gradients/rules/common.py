"""The one comparison that every rule has to pass, and what the rules' tests share."""

from __future__ import annotations

import math

import keras
import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from r2ad2.gradients import PerSampleGradients
from r2ad2.gradients.rules import find_rule

few_examples = settings(
    max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
activations = st.sampled_from(["relu", "tanh", "sigmoid", "leaky_relu", "linear"])
kernels = st.tuples(st.integers(1, 3), st.integers(1, 3))
paddings = st.sampled_from(["same", "valid"])
images = st.tuples(st.integers(5, 9), st.integers(5, 9), st.integers(1, 5))


def assert_equals_reference(layer, shape, batch_sizes=(0, 1, 5)):
    """Compare the rule of a layer with one gradient tape per sample, in double precision.

    Args:
        layer: an unbuilt layer; a copy of it with random weights is tested.
        shape: of one sample that the layer takes.
        batch_sizes: numbers of samples.
    """
    random = np.random.default_rng(0)
    layer = type(layer).from_config(layer.get_config() | {"dtype": "float64"})
    inputs = keras.Input(shape, dtype="float64")
    hidden = keras.layers.Flatten(dtype="float64")(layer(inputs))
    assert find_rule(layer) is not None, f"no rule covers {layer.get_config()}"
    outputs = keras.layers.Dense(math.prod(shape), "sigmoid", dtype="float64")(hidden)
    model = keras.Model(inputs, keras.layers.Reshape(shape, dtype="float64")(outputs))
    layer.set_weights([random.normal(size=weight.shape) for weight in layer.weights])
    closed, reference = (
        PerSampleGradients(model, method=method) for method in ("closed_form", "vectorized_map")
    )
    for n in batch_sizes:
        x = random.normal(0.5, 1.0, (n, *shape))
        expected = reference(x).numpy()
        assert expected.shape == (n, model.count_params())
        assert not n or np.abs(expected[:, : layer.count_params()]).max() > 0
        tolerance = 1e-10 * np.abs(expected).max(initial=1e-20)
        np.testing.assert_allclose(closed(x), expected, rtol=0, atol=tolerance)
