"""Two-dimensional separable convolutions.

    h_p[c, m] = sum over offsets o of x_(p + o)[c] D_o[c, m]       the depthwise convolution
    z_p       = h_p P + b                                          the pointwise one
    dL/dP     = sum over p of h_p (outer) delta_p
    dL/dD_o   = sum over p of x_(p + o)[c] (P delta_p)[c, m]
    dL/db     = sum over p of delta_p

The product with P gives h's own delta, from which the depthwise kernel's gradient follows.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf
from keras import ops

from r2ad2.gradients.rules.registry import GradientRule, register_rule
from r2ad2.gradients.rules.terms import (
    add_bias,
    flat_positions,
    in_compute_type,
    with_bias_gradient,
)
from r2ad2.gradients.windows import shifted_pixels


@register_rule(keras.layers.SeparableConv2D)
class SeparableConv2DRule(GradientRule):
    """dL/dP = sum of h (outer) delta,  dL/dD = sum of window(x) * (P delta), channel by channel."""

    def supports(self, layer: keras.layers.SeparableConv2D) -> bool:
        """Cover separable convolutions with the channels last."""
        return layer.data_format == "channels_last"

    def weights(self, layer: keras.layers.SeparableConv2D) -> Sequence[keras.Variable]:
        """List depthwise kernel, pointwise kernel and bias."""
        kernels = [layer.depthwise_kernel, layer.pointwise_kernel]
        return kernels if layer.bias is None else [*kernels, layer.bias]

    def _depthwise(self, layer: keras.layers.SeparableConv2D, inputs: tf.Tensor) -> tf.Tensor:
        """Compute h (batch, rows, columns, channels * multiplier)."""
        return ops.depthwise_conv(
            in_compute_type(layer, inputs),
            in_compute_type(layer, layer.depthwise_kernel),
            strides=layer.strides,
            padding=layer.padding,
            data_format=layer.data_format,
            dilation_rate=layer.dilation_rate,
        )

    def _pointwise_matrix(self, layer: keras.layers.SeparableConv2D) -> tf.Tensor:
        """Return P (channels * multiplier, filters)."""
        return in_compute_type(layer, layer.pointwise_kernel)[0, 0]

    def pre_activation(self, layer: keras.layers.SeparableConv2D, inputs: tf.Tensor) -> tf.Tensor:
        """Compute h P + b."""
        outputs = ops.matmul(self._depthwise(layer, inputs), self._pointwise_matrix(layer))
        return add_bias(layer, outputs)

    def gradients(
        self, layer: keras.layers.SeparableConv2D, inputs: tf.Tensor, delta: tf.Tensor
    ) -> list[tf.Tensor]:
        """Sum h (outer) delta, and the input's windows times P delta, over positions."""
        hidden, deltas = flat_positions(self._depthwise(layer, inputs)), flat_positions(delta)
        pointwise = tf.matmul(hidden, deltas, transpose_a=True)
        hidden_delta = tf.matmul(deltas, self._pointwise_matrix(layer), transpose_b=True)
        shifted = shifted_pixels(
            inputs,
            delta.shape[1:-1],
            layer.kernel_size,
            layer.strides,
            layer.dilation_rate,
            layer.padding,
        )
        batch, positions = tf.unstack(tf.shape(deltas)[:2])
        *_, channels, multiplier = layer.depthwise_kernel.shape
        hidden_delta = tf.reshape(hidden_delta, (batch, positions, channels, multiplier))
        depthwise = [tf.einsum("npc,npcm->ncm", pixels, hidden_delta) for pixels in shifted]
        gradients = [
            tf.reshape(gradient, (batch, *weight.shape))
            for gradient, weight in zip(
                (tf.stack(depthwise, axis=1), pointwise), self.weights(layer), strict=False
            )
        ]
        return with_bias_gradient(layer, gradients, delta)
