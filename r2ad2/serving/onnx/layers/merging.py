"""Layers that combine several inputs of the same shape, or side by side."""

from __future__ import annotations

import functools
import operator

import keras
import numpy as np

from r2ad2.serving.onnx.graph import Tensor
from r2ad2.serving.onnx.registry import Call, Converter, not_exportable, register_converter


@register_converter(keras.layers.Add)
class AddConverter(Converter):
    """The sum of all inputs."""

    def forward(self, call: Call) -> Tensor:
        """Add up."""
        return functools.reduce(operator.add, call.inputs)

    def backward(self, call: Call, delta: Tensor) -> list[Tensor]:
        """Give each input delta."""
        return [delta for _ in call.inputs]


@register_converter(keras.layers.Concatenate)
class ConcatenateConverter(Converter):
    """All inputs along the last axis."""

    def forward(self, call: Call) -> Tensor:
        """Concatenate."""
        if call.layer.axis not in (-1, len(call.inputs[0].sample_shape)):
            raise not_exportable(call.layer, "it does not concatenate along the last axis")
        return call.graph.concat(call.inputs)

    def backward(self, call: Call, delta: Tensor) -> list[Tensor]:
        """Split delta."""
        ends = np.cumsum([value.sample_shape[-1] for value in call.inputs])
        starts = [0, *ends[:-1]]
        return [
            delta.gather(np.arange(start, end), -1) for start, end in zip(starts, ends, strict=True)
        ]
