"""Activations as layers of their own, with settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras

from r2ad2.serving.onnx.activations import Activation, find_activation, leaky
from r2ad2.serving.onnx.graph import Tensor
from r2ad2.serving.onnx.registry import Call, Converter, not_exportable, register_converter

_layers = keras.layers


def _relu(layer: keras.layers.ReLU) -> Activation:
    if layer.max_value is not None or layer.threshold:
        raise not_exportable(layer, "it has a maximum or a threshold")
    return leaky(float(layer.negative_slope))


def _elu(layer: keras.layers.ELU) -> Activation:
    if float(layer.alpha) != 1:
        raise not_exportable(layer, "its alpha is not 1")
    return find_activation(layer, keras.activations.elu)


_ACTIVATIONS: Mapping[type, Callable[[Any], Activation]] = {
    _layers.ReLU: _relu,
    _layers.LeakyReLU: lambda layer: leaky(float(layer.negative_slope)),
    _layers.ELU: _elu,
}


@register_converter(*_ACTIVATIONS)
class ActivationConverter(Converter):
    """y = f(x)."""

    positionwise = True

    def forward(self, call: Call) -> Tensor:
        """Apply the activation."""
        found = _ACTIVATIONS[type(call.layer)](call.layer)
        output = found.forward(call.input)
        call.notes.update(found=found, output=output)
        return output

    def backward(self, call: Call, delta: Tensor) -> list[Tensor]:
        """Multiply by the derivative."""
        return [delta * call.notes["found"].derivative(call.input, call.notes["output"])]
