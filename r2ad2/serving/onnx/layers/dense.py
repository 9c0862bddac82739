"""Dense layers:  z = x W + b,  dL/dW = sum over positions of x (outer) delta."""

from __future__ import annotations

import math

import keras
import numpy as np

from r2ad2.gradients.rules.terms import is_plain
from r2ad2.serving.onnx.graph import Tensor
from r2ad2.serving.onnx.registry import Call, Converter, not_exportable, register_converter


def require_plain(layer: keras.layers.Layer) -> None:
    """Check that a kernel is the trained variable itself."""
    if not is_plain(layer):
        raise not_exportable(layer, "it is quantised or has LoRA factors")


def bias_gradient(delta: Tensor) -> Tensor:
    """Sum delta (..., positions, channels) over positions; (..., channels) stays as it is."""
    shape = delta.sample_shape
    if len(shape) == 1:
        return delta
    return delta.reshape((math.prod(shape[:-1]), shape[-1])).sum(-2)


@register_converter(keras.layers.Dense)
class DenseConverter(Converter):
    """z = x W + b."""

    positionwise = True

    def forward(self, call: Call) -> Tensor:
        """Multiply by the kernel and add the bias."""
        require_plain(call.layer)
        kernel = call.notes["kernel"] = call.graph.constant(_matrices(call, call.input))
        z = call.input @ kernel
        return z + call.weight("bias", len(z.sample_shape)) if call.layer.use_bias else z

    def backward(self, call: Call, delta: Tensor) -> list[Tensor]:
        """Multiply by the transposed kernel."""
        return [delta @ call.notes["kernel"].swap_last()]

    def factors(self, call: Call, delta: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return x and delta for inputs (batch, features)."""
        return (call.input, delta) if len(call.input.sample_shape) == 1 else None

    def gradient(self, call: Call, name: str, delta: Tensor) -> Tensor:
        """Sum x (outer) delta over positions."""
        if name == "bias":
            return bias_gradient(delta)
        x, n = call.input, call.input.sample_shape[-1]
        positions = math.prod(x.sample_shape[:-1])
        left = x.reshape((positions, n)).swap_last()
        product = left @ delta.reshape((positions, delta.sample_shape[-1]))
        return product.reshape((math.prod(product.sample_shape),))


def _matrices(call: Call, x: Tensor) -> np.ndarray:
    """Return kernels (rows, columns), of several copies (copies, 1, ..., rows, columns)."""
    kernel = call.array("kernel")
    if len(call.layers) == 1:
        return kernel
    copies, rows, columns = kernel.shape
    return kernel.reshape(copies, *[1] * (len(x.sample_shape) - 1), rows, columns)
