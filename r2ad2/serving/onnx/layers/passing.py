"""Layers that pass on their input, or only give it another shape."""

from __future__ import annotations

import math
from dataclasses import replace

import keras

from r2ad2.networks.alarm import Dropout, TimeDistributed
from r2ad2.serving.onnx.graph import Tensor
from r2ad2.serving.onnx.registry import (
    Call,
    Converter,
    find_converter,
    not_exportable,
    register_converter,
)

_layers = keras.layers


@register_converter(
    _layers.InputLayer,
    _layers.Dropout,
    _layers.SpatialDropout1D,
    _layers.SpatialDropout2D,
    _layers.GaussianNoise,
    _layers.GaussianDropout,
    _layers.AlphaDropout,
    _layers.ActivityRegularization,
    _layers.Identity,
    _layers.Activation,
    Dropout,
)
class PassingConverter(Converter):
    """y = x outside training; an Activation layer's function follows."""

    positionwise = True

    def forward(self, call: Call) -> Tensor:
        """Return the input."""
        return call.input

    def backward(self, call: Call, delta: Tensor) -> list[Tensor]:
        """Return delta."""
        return [delta]


@register_converter(_layers.Flatten, _layers.Reshape)
class ReshapingConverter(Converter):
    """The same values in another shape."""

    def forward(self, call: Call) -> Tensor:
        """Give each sample the layer's output shape."""
        if getattr(call.layer, "data_format", None) == "channels_first":
            raise not_exportable(call.layer, "its images have the channels first")
        n_values = math.prod(call.input.sample_shape)
        shape = call.layer.compute_output_shape((None, *call.input.sample_shape))[1:]
        reshaped = call.input.reshape([size or n_values for size in shape])
        return replace(reshaped, logits=None)  # Keras forgets them, even if the shape stays

    def backward(self, call: Call, delta: Tensor) -> list[Tensor]:
        """Give delta the input's shape."""
        return [delta.reshape(call.input.sample_shape)]


@register_converter(TimeDistributed)
class TimeDistributedConverter(Converter):
    """The wrapped layer at each time step; it must act on the last axis only."""

    def forward(self, call: Call) -> Tensor:
        """Apply the wrapped layer to all steps at once."""
        inner = [layer.layer for layer in call.layers]
        converter = find_converter(inner[0])
        if converter is None or not converter.positionwise:
            raise not_exportable(call.layer, f"it wraps a {type(inner[0]).__name__}")
        return converter.forward(Call(call.graph, inner, call.inputs))
