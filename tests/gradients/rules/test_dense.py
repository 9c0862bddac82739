import keras
from hypothesis import given
from hypothesis import strategies as st

from r2ad2.gradients.rules import find_rule
from tests.gradients.rules.common import activations, assert_equals_reference, few_examples

layers = keras.layers
shapes = st.lists(st.integers(1, 7), min_size=1, max_size=3)


@few_examples
@given(shapes, st.integers(1, 7), activations, st.booleans())
def test_dense(shape, units, activation, use_bias):
    assert_equals_reference(layers.Dense(units, activation, use_bias), tuple(shape))


def test_layers_with_lora_factors_have_no_rule():
    layer = layers.Dense(3)
    layer.build((None, 4))
    assert find_rule(layer) is not None
    layer.enable_lora(1)
    assert find_rule(layer) is None
