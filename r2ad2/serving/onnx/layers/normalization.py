"""Batch normalisation outside training:  y = x s + t."""

from __future__ import annotations

import keras
import numpy as np

from r2ad2.serving.onnx.graph import Tensor
from r2ad2.serving.onnx.layers.dense import bias_gradient
from r2ad2.serving.onnx.registry import Call, Converter, not_exportable, register_converter


@register_converter(keras.layers.BatchNormalization)
class BatchNormalizationConverter(Converter):
    """s = gamma / sqrt(variance + epsilon),  t = beta - mean s."""

    positionwise = True

    def forward(self, call: Call) -> Tensor:
        """Scale and shift the last axis."""
        layer = call.layer
        rank = len(call.input.sample_shape)
        axis = layer.axis if isinstance(layer.axis, int) else layer.axis[0]
        if axis not in (-1, rank) and axis != len(call.input.shape) - 1:
            raise not_exportable(layer, "it does not normalise the last axis")
        inverse = 1 / np.sqrt(call.weight("moving_variance", rank) + layer.epsilon)
        gamma = call.weight("gamma", rank) if layer.scale else inverse.dtype.type(1)
        beta = call.weight("beta", rank) if layer.center else inverse.dtype.type(0)
        mean = call.weight("moving_mean", rank)
        call.notes.update(inverse=inverse, mean=mean, scale=inverse * gamma)
        return call.input * (inverse * gamma) + (beta - mean * inverse * gamma)

    def backward(self, call: Call, delta: Tensor) -> list[Tensor]:
        """Multiply by s."""
        return [delta * call.notes["scale"]]

    def gradient(self, call: Call, name: str, delta: Tensor) -> Tensor:
        """Sum delta over positions; for gamma, times the normalised input."""
        if name == "gamma":
            delta = delta * ((call.input - call.notes["mean"]) * call.notes["inverse"])
        return bias_gradient(delta)
