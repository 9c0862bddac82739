"""Two-dimensional separable convolutions; formulas as in r2ad2.gradients.rules."""

from __future__ import annotations

import math

import keras
import numpy as np

from r2ad2.gradients.rules import find_rule
from r2ad2.serving.onnx.graph import Tensor
from r2ad2.serving.onnx.layers.dense import bias_gradient
from r2ad2.serving.onnx.registry import Call, Converter, not_exportable, register_converter
from r2ad2.serving.onnx.windows import by_element, pixels_of, take, window_table


def _depthwise(call: Call) -> np.ndarray:
    """Return the depthwise kernel (elements, channels, multiplier), copies first."""
    kernel = call.array("depthwise_kernel")
    height, width, channels, multiplier = kernel.shape[-4:]
    shape = (height * width, channels, multiplier)
    return kernel.reshape(shape if len(call.layers) == 1 else (-1, 1, 1, *shape))


def _pointwise(call: Call) -> np.ndarray:
    """Return the pointwise kernel (channels * multiplier, filters), copies first."""
    kernel = call.array("pointwise_kernel")
    matrix = kernel.shape[-2:]
    return kernel.reshape(matrix if len(call.layers) == 1 else (-1, 1, *matrix))


@register_converter(keras.layers.SeparableConv2D)
class SeparableConv2DConverter(Converter):
    """h = window(x) D channel by channel,  z = h P + b."""

    def forward(self, call: Call) -> Tensor:
        """Write both convolutions."""
        layer = call.layer
        if find_rule(layer) is None:
            raise not_exportable(layer, "it has the channels first")
        height, width, channels = call.input.sample_shape
        shape = layer.compute_output_shape((None, height, width, channels))[1:]
        table = call.notes["table"] = window_table(
            (height, width),
            shape[:2],
            layer.kernel_size,
            layer.strides,
            layer.dilation_rate,
            layer.padding,
        )
        kernel = _depthwise(call)
        n_positions, n_elements = table.shape
        windows = take(pixels_of(call.input), table)
        windows = windows.reshape((n_positions, n_elements, channels, 1))
        hidden = (windows * kernel).sum(-3)
        hidden = hidden.reshape((n_positions, channels * kernel.shape[-1]))
        call.notes.update(windows=windows, hidden=hidden)
        z = hidden @ _pointwise(call)
        return (z + call.weight("bias", 2) if layer.use_bias else z).reshape(shape)

    def _hidden_delta(self, call: Call, delta: Tensor) -> Tensor:
        """Write the gradient with respect to h."""
        return pixels_of(delta) @ _pointwise(call).swapaxes(-1, -2)

    def backward(self, call: Call, delta: Tensor) -> list[Tensor]:
        """Multiply the deltas of h that meet each pixel by D."""
        height, width, channels = call.input.sample_shape
        met = take(self._hidden_delta(call, delta), by_element(call.notes["table"], height * width))
        kernel = _depthwise(call)
        parts = met.reshape((height * width, kernel.shape[-3], channels, kernel.shape[-1]))
        return [(parts * kernel).sum(-1).sum(-2).reshape(call.input.sample_shape)]

    def gradient(self, call: Call, name: str, delta: Tensor) -> Tensor:
        """Correlate windows with the deltas of h, or h with the deltas."""
        if name == "bias":
            return bias_gradient(delta)
        if name == "pointwise_kernel":
            product = call.notes["hidden"].swap_last() @ pixels_of(delta)
            return product.reshape((math.prod(product.sample_shape),))
        channels, multiplier = _depthwise(call).shape[-2:]
        deltas = self._hidden_delta(call, delta)
        deltas = deltas.reshape((deltas.sample_shape[0], 1, channels, multiplier))
        product = (call.notes["windows"] * deltas).sum(-4)
        return product.reshape((math.prod(product.sample_shape),))
