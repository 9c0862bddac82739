import keras
import pytest
from hypothesis import given
from hypothesis import strategies as st

from r2ad2.gradients.rules import find_rule
from tests.gradients.rules.common import (
    activations,
    assert_equals_reference,
    few_examples,
    images,
    kernels,
    paddings,
)

layers = keras.layers
steps = st.sampled_from(
    [
        {"strides": 1},
        {"strides": 2},
        {"strides": (1, 2)},
        {"strides": (3, 1)},
        {"dilation_rate": 2},
    ]
)
convolutions = st.fixed_dictionaries(
    {
        "filters": st.integers(1, 4),
        "kernel_size": kernels,
        "padding": paddings,
        "activation": activations,
        "use_bias": st.booleans(),
    }
)


@few_examples
@given(convolutions, steps, images)
def test_convolution(settings, step, shape):
    assert_equals_reference(layers.Conv2D(**settings, **step), shape)


@pytest.mark.parametrize("settings", [{"groups": 2}, {"data_format": "channels_first"}])
def test_other_convolutions_have_no_rule(settings):
    assert find_rule(layers.Conv2D(4, 3)) is not None
    assert find_rule(layers.Conv2D(4, 3, **settings)) is None
