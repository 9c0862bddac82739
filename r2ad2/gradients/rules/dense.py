"""Dense layers.

    z_p   = x_p W + b                     at every position p between batch and features
    dL/dW = sum over p of x_p (outer) delta_p
    dL/db = sum over p of delta_p

With a single position the whole gradient is one outer product: [x, 1] (outer) delta.

Source: Goodfellow, "Efficient Per-Example Gradient Computations" (2015).
"""

from __future__ import annotations

import keras
import tensorflow as tf
from keras import ops

from r2ad2.gradients.rules.registry import GradientRule, register_rule
from r2ad2.gradients.rules.terms import (
    add_bias,
    flat_positions,
    in_compute_type,
    is_plain,
    with_bias_gradient,
)


@register_rule(keras.layers.Dense)
class DenseRule(GradientRule):
    """dL/dW = sum over positions of x (outer) delta."""

    def supports(self, layer: keras.layers.Dense) -> bool:
        """Cover all but quantised and LoRA layers."""
        return is_plain(layer)

    def pre_activation(self, layer: keras.layers.Dense, inputs: tf.Tensor) -> tf.Tensor:
        """Compute x W + b."""
        inputs = in_compute_type(layer, inputs)
        return add_bias(layer, ops.matmul(inputs, in_compute_type(layer, layer.kernel)))

    def gradients(
        self, layer: keras.layers.Dense, inputs: tf.Tensor, delta: tf.Tensor
    ) -> list[tf.Tensor]:
        """Sum the outer products over positions."""
        kernel = tf.matmul(flat_positions(inputs), flat_positions(delta), transpose_a=True)
        return with_bias_gradient(layer, [kernel], delta)

    def factors(
        self, layer: keras.layers.Dense, inputs: tf.Tensor, delta: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor] | None:
        """Return [x, 1] and delta for inputs (batch, features)."""
        if inputs.shape.rank != 2:
            return None
        if layer.bias is None:
            return inputs, delta
        return tf.concat([inputs, tf.ones_like(inputs[:, :1])], axis=1), delta
