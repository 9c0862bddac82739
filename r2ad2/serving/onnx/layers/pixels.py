"""Layers that rearrange or pool pixels: pooling, cropping, padding, upsampling."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

from r2ad2.serving.onnx.graph import Tensor
from r2ad2.serving.onnx.registry import Call, Converter, not_exportable, register_converter
from r2ad2.serving.onnx.windows import occurrences, pixels_of, take, window_table

_layers = keras.layers


def _require_channels_last(layer: Any) -> None:
    if layer.data_format != "channels_last":
        raise not_exportable(layer, "its images have the channels first")


def _output_shape(call: Call) -> tuple[int, ...]:
    return call.layer.compute_output_shape((None, *call.input.sample_shape))[1:]


def _add_up(values: Tensor, table: np.ndarray, shape: tuple[int, ...]) -> Tensor:
    """Add up values (..., entries of a table, channels) by pixel: the adjoint of a gather."""
    places = occurrences(table, math.prod(shape[:2]))
    return take(values, places).sum(-2).reshape(shape)


def _pooling_table(call: Call) -> np.ndarray:
    layer = call.layer
    _require_channels_last(layer)
    return window_table(
        call.input.sample_shape[:2],
        _output_shape(call)[:2],
        layer.pool_size,
        layer.strides,
        (1, 1),
        layer.padding,
    )


@register_converter(_layers.MaxPooling2D)
class MaxPooling2DConverter(Converter):
    """The maximum of each window; the gradient goes to the first of several maxima."""

    def forward(self, call: Call) -> Tensor:
        """Take maxima."""
        table = call.notes["table"] = _pooling_table(call)
        lowest = float(np.finfo(call.input.dtype).min)
        call.notes["windows"] = take(pixels_of(call.input), table, lowest)
        return call.notes["windows"].maximum(-2).reshape(_output_shape(call))

    def backward(self, call: Call, delta: Tensor) -> list[Tensor]:
        """Give delta to the pixel that was the maximum."""
        values, table = call.notes["windows"], call.notes["table"]
        n_positions, n_elements = table.shape
        channels = delta.sample_shape[-1]
        shape = (*values.shape[:-2], 1, values.shape[-1])
        winner = call.graph.add("ArgMax", (values,), shape, np.dtype(np.int64), axis=-2, keepdims=1)
        is_winner = winner.compare("Equal", np.arange(n_elements)[:, np.newaxis])
        parts = is_winner.cast(delta.dtype) * delta.reshape((n_positions, 1, channels))
        flat = parts.reshape((n_positions * n_elements, channels))
        return [_add_up(flat, table, call.input.sample_shape)]


@register_converter(_layers.AveragePooling2D)
class AveragePooling2DConverter(Converter):
    """The mean of each window's pixels, without padding."""

    def forward(self, call: Call) -> Tensor:
        """Take means."""
        table = call.notes["table"] = _pooling_table(call)
        counts = (table >= 0).sum(axis=1, keepdims=True)
        call.notes["share"] = (1 / counts).astype(call.input.dtype)
        total = take(pixels_of(call.input), table).sum(-2)
        return (total * call.notes["share"]).reshape(_output_shape(call))

    def backward(self, call: Call, delta: Tensor) -> list[Tensor]:
        """Divide delta among the window's pixels."""
        table = call.notes["table"]
        shared = pixels_of(delta) * call.notes["share"]
        spread = shared.gather(np.repeat(np.arange(len(table)), table.shape[1]), -2)
        return [_add_up(spread, table, call.input.sample_shape)]


@register_converter(_layers.Cropping2D, _layers.ZeroPadding2D, _layers.UpSampling2D)
class PixelMapConverter(Converter):
    """Each pixel of the output is one of the input, or 0."""

    def forward(self, call: Call) -> Tensor:
        """Gather the pixels."""
        layer = call.layer
        _require_channels_last(layer)
        if getattr(layer, "interpolation", "nearest") != "nearest":
            raise not_exportable(layer, f"it interpolates ({layer.interpolation})")
        # The layer itself says where each pixel goes: numbers from 1, so that 0 is padding.
        height, width, _ = call.input.sample_shape
        numbers = np.arange(1, height * width + 1, dtype=np.float64)
        image = numbers.reshape(1, height, width, 1)
        copy = type(layer).from_config({**layer.get_config(), "dtype": "float64"})
        table = copy(image).numpy().astype(np.int64).ravel() - 1
        call.notes["table"] = table
        return take(pixels_of(call.input), table).reshape(_output_shape(call))

    def backward(self, call: Call, delta: Tensor) -> list[Tensor]:
        """Add up the deltas of each pixel's copies."""
        return [_add_up(pixels_of(delta), call.notes["table"], call.input.sample_shape)]


@register_converter(_layers.GlobalAveragePooling2D)
class GlobalAveragePooling2DConverter(Converter):
    """The mean of all pixels."""

    def forward(self, call: Call) -> Tensor:
        """Take the mean."""
        _require_channels_last(call.layer)
        pixels = pixels_of(call.input)
        mean = pixels.sum(-2) * (1.0 / pixels.sample_shape[0])
        return mean.reshape(_output_shape(call))

    def backward(self, call: Call, delta: Tensor) -> list[Tensor]:
        """Divide delta among all pixels."""
        height, width, channels = call.input.sample_shape
        share = np.full((height * width, 1), 1.0 / (height * width))
        return [(delta.reshape((1, channels)) * share).reshape(call.input.sample_shape)]
