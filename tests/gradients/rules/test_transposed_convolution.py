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
transposed_convolutions = st.fixed_dictionaries(
    {
        "filters": st.integers(1, 4),
        "kernel_size": kernels,
        "strides": st.sampled_from([1, 2, 3, (2, 1)]),
        "padding": paddings,
        "activation": activations,
        "use_bias": st.booleans(),
    }
)


@few_examples
@given(transposed_convolutions, images)
def test_transposed_convolution(settings, shape):
    assert_equals_reference(layers.Conv2DTranspose(**settings), shape)


@pytest.mark.parametrize(
    "settings",
    [{"output_padding": 1}, {"dilation_rate": 2, "strides": 1}, {"data_format": "channels_first"}],
)
def test_other_transposed_convolutions_have_no_rule(settings):
    assert find_rule(layers.Conv2DTranspose(4, 3, strides=2)) is not None
    assert find_rule(layers.Conv2DTranspose(4, 3, **({"strides": 2} | settings))) is None
