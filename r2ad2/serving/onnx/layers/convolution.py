"""Two-dimensional convolutions and their adjoints, as gathers and matrix products.

    z_p   = window_p(x) W + b
    dL/dW = sum over positions p of window_p(x) (outer) delta_p
    dL/dx = sum over the elements o of a window of delta_(position that meets x with o) W_o'

A transposed convolution is the adjoint of a convolution with the same kernel: input and delta swap
places.
"""

from __future__ import annotations

import math

import keras
import numpy as np

from r2ad2.gradients.rules import find_rule
from r2ad2.serving.onnx.graph import Tensor
from r2ad2.serving.onnx.layers.dense import bias_gradient
from r2ad2.serving.onnx.registry import Call, Converter, not_exportable, register_converter
from r2ad2.serving.onnx.windows import by_element, pixels_of, window_table, windows


def _require_rule(layer: keras.layers.Layer) -> None:
    """Check that the gradients' own formula covers the layer: it has the same limits."""
    if find_rule(layer) is None:
        raise not_exportable(layer, "it is grouped, quantised or has the channels first")


def _correlate(left: Tensor, right: Tensor) -> Tensor:
    """Sum left (outer) right over positions, flattened."""
    product = left.swap_last() @ right
    return product.reshape((math.prod(product.sample_shape),))


def _matrix(call: Call, adjoint: bool) -> np.ndarray:
    """Return the kernel as a matrix (elements * channels, channels of the result).

    Of several copies (copies, 1, ...). The adjoint's has both kinds of channels swapped.
    """
    kernel = call.array("kernel")
    kernel = kernel.reshape(-1, math.prod(kernel.shape[-4:-2]), *kernel.shape[-2:])
    if adjoint:
        kernel = kernel.swapaxes(-1, -2)
    copies, elements, rows, columns = kernel.shape
    matrix = kernel.reshape(copies, 1, elements * rows, columns)
    return matrix if len(call.layers) > 1 else matrix[0, 0]


def _output_shape(call: Call) -> tuple[int, ...]:
    return call.layer.compute_output_shape((None, *call.input.sample_shape))[1:]


@register_converter(keras.layers.Conv2D)
class Conv2DConverter(Converter):
    """z = window(x) W + b."""

    def forward(self, call: Call) -> Tensor:
        """Multiply all windows by the kernel."""
        layer, shape = call.layer, _output_shape(call)
        _require_rule(layer)
        table = call.notes["table"] = window_table(
            call.input.sample_shape[:2],
            shape[:2],
            layer.kernel_size,
            layer.strides,
            layer.dilation_rate,
            layer.padding,
        )
        call.notes["windows"] = windows(pixels_of(call.input), table)
        z = call.notes["windows"] @ _matrix(call, adjoint=False)
        return (z + call.weight("bias", 2) if layer.use_bias else z).reshape(shape)

    def backward(self, call: Call, delta: Tensor) -> list[Tensor]:
        """Multiply the deltas that meet each pixel by the adjoint kernel."""
        table = by_element(call.notes["table"], math.prod(call.input.sample_shape[:2]))
        gradient = windows(pixels_of(delta), table) @ _matrix(call, adjoint=True)
        return [gradient.reshape(call.input.sample_shape)]

    def gradient(self, call: Call, name: str, delta: Tensor) -> Tensor:
        """Correlate windows and deltas."""
        if name == "bias":
            return bias_gradient(delta)
        return _correlate(call.notes["windows"], pixels_of(delta))


@register_converter(keras.layers.Conv2DTranspose)
class Conv2DTransposeConverter(Converter):
    """z = adjoint of a convolution, + b."""

    def forward(self, call: Call) -> Tensor:
        """Multiply the inputs that meet each pixel of the output by the kernel."""
        layer, shape = call.layer, _output_shape(call)
        _require_rule(layer)
        table = call.notes["table"] = window_table(
            shape[:2],
            call.input.sample_shape[:2],
            layer.kernel_size,
            layer.strides,
            (1, 1),
            layer.padding,
        )
        met = windows(pixels_of(call.input), by_element(table, math.prod(shape[:2])))
        z = met @ _matrix(call, adjoint=True)
        return (z + call.weight("bias", 2) if layer.use_bias else z).reshape(shape)

    def _windows_of(self, call: Call, delta: Tensor) -> Tensor:
        known = call.notes.setdefault("windows", {})
        if delta.name not in known:
            known[delta.name] = windows(pixels_of(delta), call.notes["table"])
        return known[delta.name]

    def backward(self, call: Call, delta: Tensor) -> list[Tensor]:
        """Convolve delta."""
        gradient = self._windows_of(call, delta) @ _matrix(call, adjoint=False)
        return [gradient.reshape(call.input.sample_shape)]

    def gradient(self, call: Call, name: str, delta: Tensor) -> Tensor:
        """Correlate the windows of delta with the input."""
        if name == "bias":
            return bias_gradient(delta)
        return _correlate(self._windows_of(call, delta), pixels_of(call.input))
