import keras
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
separable_convolutions = st.fixed_dictionaries(
    {
        "filters": st.integers(1, 4),
        "kernel_size": kernels,
        "depth_multiplier": st.integers(1, 2),
        "padding": paddings,
        "activation": activations,
        "use_bias": st.booleans(),
    }
)
steps = st.sampled_from([{"strides": 1}, {"strides": 2}, {"strides": 3}, {"dilation_rate": 2}])


@few_examples
@given(separable_convolutions, steps, images)
def test_separable_convolution(settings, step, shape):
    assert_equals_reference(layers.SeparableConv2D(**settings, **step), shape)


def test_channels_first_have_no_rule():
    assert find_rule(layers.SeparableConv2D(2, 3)) is not None
    assert find_rule(layers.SeparableConv2D(2, 3, data_format="channels_first")) is None
