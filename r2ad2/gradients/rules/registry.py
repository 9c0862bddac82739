"""The registry of gradient rules, and how to add a rule.

A layer computes ``output = activation(z)``, where the pre-activation ``z`` depends linearly on each
of the layer's weights. One batched backward pass gives ``delta = d loss / d z`` for all samples.
The gradient of one sample's loss with respect to a weight is then a product of that sample's input
and its delta, so no tape per sample is needed. For a layer without an ``activation`` attribute, z
is the output.

To add a rule for a layer type, write one file in this folder. The package finds it by itself::

    \"\"\"MyDense layers:  z = x W,  dL/dW = x (outer) delta.\"\"\"

    @register_rule(MyDense)
    class MyDenseRule(GradientRule):
        def weights(self, layer):
            return [layer.kernel]

        def pre_activation(self, layer, inputs):
            return tf.matmul(inputs, layer.kernel)

        def gradients(self, layer, inputs, delta):
            return [tf.einsum("ni,nj->nij", inputs, delta)]

and one test file in ``tests/gradients/rules`` that compares it with the reference, one tape per
sample::

    def test_my_dense():
        assert_equals_reference(MyDense(4), (5,))

`r2ad2.gradients.rules.terms` has the terms that several rules share, `r2ad2.gradients.windows` the
sliding windows of convolutions. A rule covers exactly one layer type, not its subclasses: a
subclass may compute something else. Rules in other packages register themselves the same way on
import.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf


class GradientRule(abc.ABC):
    """How the per-sample gradients of one layer type follow from its inputs and deltas."""

    def supports(self, layer: keras.layers.Layer) -> bool:
        """Return whether the rule covers this layer's settings; if not, the reference is used."""
        return True

    def weights(self, layer: keras.layers.Layer) -> Sequence[keras.Variable]:
        """List the layer's weights in the order in which `gradients` returns their gradients."""
        return [layer.kernel] if layer.bias is None else [layer.kernel, layer.bias]

    @abc.abstractmethod
    def pre_activation(self, layer: keras.layers.Layer, inputs: tf.Tensor) -> tf.Tensor:
        """Compute z, the input of ``layer.activation``, for inputs (batch, ...)."""

    @abc.abstractmethod
    def gradients(
        self, layer: keras.layers.Layer, inputs: tf.Tensor, delta: tf.Tensor
    ) -> list[tf.Tensor]:
        """Compute the gradients (batch, *weight.shape) with respect to `weights(layer)`.

        Args:
            layer: the layer.
            inputs: the layer's input (batch, ...).
            delta: gradient of the summed loss with respect to z, in the shape of z.
        """

    def factors(
        self, layer: keras.layers.Layer, inputs: tf.Tensor, delta: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor] | None:
        """Return the gradients as one outer product per sample, if they are one.

        Returns:
            Tensors (batch, rows) and (batch, columns) whose outer product, flattened, is the
            gradient with respect to all of `weights(layer)`, concatenated; None if it is not an
            outer product.
        """
        return None


_RULES: dict[type[keras.layers.Layer], GradientRule] = {}


def register_rule(
    layer_type: type[keras.layers.Layer],
) -> Callable[[type[GradientRule]], type[GradientRule]]:
    """Register a `GradientRule` class for a layer type, replacing an earlier one."""

    def register(rule: type[GradientRule]) -> type[GradientRule]:
        _RULES[layer_type] = rule()
        return rule

    return register


def find_rule(layer: keras.layers.Layer) -> GradientRule | None:
    """Return the rule that covers the layer, or None."""
    rule = _RULES.get(type(layer))
    return rule if rule is not None and rule.supports(layer) else None
