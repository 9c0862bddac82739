"""Two-dimensional convolutions.

z_p   = window_p(x) W + b             at every position p of the kernel
dL/dW = sum over p of window_p(x) (outer) delta_p
dL/db = sum over p of delta_p
"""

from __future__ import annotations

import keras
import tensorflow as tf

from r2ad2.gradients.rules.registry import GradientRule, register_rule
from r2ad2.gradients.rules.terms import add_bias, in_compute_type, is_plain, with_bias_gradient
from r2ad2.gradients.windows import correlate_windows


@register_rule(keras.layers.Conv2D)
class Conv2DRule(GradientRule):
    """dL/dW = sum over positions of window(x) (outer) delta."""

    def supports(self, layer: keras.layers.Conv2D) -> bool:
        """Cover ungrouped convolutions with the channels last."""
        return is_plain(layer) and layer.groups == 1 and layer.data_format == "channels_last"

    def pre_activation(self, layer: keras.layers.Conv2D, inputs: tf.Tensor) -> tf.Tensor:
        """Compute the convolution and add the bias."""
        inputs = in_compute_type(layer, inputs)
        outputs = layer.convolution_op(inputs, in_compute_type(layer, layer.kernel))
        return add_bias(layer, outputs)

    def gradients(
        self, layer: keras.layers.Conv2D, inputs: tf.Tensor, delta: tf.Tensor
    ) -> list[tf.Tensor]:
        """Correlate the input's windows with delta."""
        kernel = correlate_windows(
            inputs, delta, layer.kernel_size, layer.strides, layer.dilation_rate, layer.padding
        )
        return with_bias_gradient(layer, [kernel], delta)
