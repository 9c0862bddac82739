"""Two-dimensional transposed convolutions.

A transposed convolution is the adjoint of a convolution with the same kernel, so input and delta
swap places. With p the positions of the kernel over the output, one for each pixel of the input:

    dL/dW = sum over p of window_p(delta) (outer) x_p
    dL/db = sum over all pixels of delta
"""

from __future__ import annotations

import keras
import tensorflow as tf
from keras import ops

from r2ad2.gradients.rules.registry import GradientRule, register_rule
from r2ad2.gradients.rules.terms import add_bias, in_compute_type, is_plain, with_bias_gradient
from r2ad2.gradients.windows import correlate_windows


@register_rule(keras.layers.Conv2DTranspose)
class Conv2DTransposeRule(GradientRule):
    """dL/dW = sum over positions of window(delta) (outer) x."""

    def supports(self, layer: keras.layers.Conv2DTranspose) -> bool:
        """Cover transposed convolutions with the channels last and the default output size."""
        return (
            is_plain(layer)
            and layer.data_format == "channels_last"
            and layer.output_padding is None
            # Keras and TensorFlow disagree on the size of dilated outputs.
            and set(layer.dilation_rate) == {1}
        )

    def pre_activation(self, layer: keras.layers.Conv2DTranspose, inputs: tf.Tensor) -> tf.Tensor:
        """Compute the transposed convolution and add the bias."""
        outputs = ops.conv_transpose(
            in_compute_type(layer, inputs),
            in_compute_type(layer, layer.kernel),
            strides=list(layer.strides),
            padding=layer.padding,
            output_padding=layer.output_padding,
            data_format=layer.data_format,
            dilation_rate=layer.dilation_rate,
        )
        return add_bias(layer, outputs)

    def gradients(
        self, layer: keras.layers.Conv2DTranspose, inputs: tf.Tensor, delta: tf.Tensor
    ) -> list[tf.Tensor]:
        """Correlate the windows of delta with the input."""
        kernel = correlate_windows(
            delta, inputs, layer.kernel_size, layer.strides, layer.dilation_rate, layer.padding
        )
        return with_bias_gradient(layer, [kernel], delta)
