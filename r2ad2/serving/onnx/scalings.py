"""Scaled numeric columns as ONNX operations, for each way of scaling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from r2ad2.encoders.base import FARTHEST, LARGEST, scaling_of
from r2ad2.encoders.scaling import (
    LimitedScaling,
    MinMaxScaling,
    QuantileScaling,
    RobustScaling,
    Scaling,
)
from r2ad2.serving.onnx.graph import Tensor
from r2ad2.serving.onnx.trees import segment_numbers


def scaled(values: Tensor, minimum: Any, maximum: Any) -> Tensor:
    """Write `r2ad2.encoders.base.scale`."""
    factor, lowest, span = scaling_of(minimum, maximum)
    values = values.cast(np.float64)
    if np.any(factor != 1):
        values = values * factor
    return ((values - lowest) / span).clip(-FARTHEST, FARTHEST).cast(np.float32)


def _by_range(scaling: MinMaxScaling, values: Tensor) -> Tensor:
    return scaled(values, scaling.lowest, scaling.highest)


def _by_quantiles(scaling: QuantileScaling, values: Tensor) -> Tensor:
    """Write the piecewise linear curve of each column, and the logarithms beyond its range."""
    curve = scaling.curve
    columns = values.cast(np.float64)
    if np.any(curve.unit != 1):
        columns = columns * curve.unit
    lowest, highest = curve.knots[:, 0], curve.knots[:, -1]
    inside = _limited(columns, lowest, highest)
    segment = segment_numbers(inside, curve.knots[:, 1:-1])
    n_columns, n_segments, _ = curve.segments.shape
    number = segment + np.arange(n_columns) * n_segments
    start, width, level, rise = (
        _looked_up(curve.segments[:, :, part].ravel(), number) for part in range(4)
    )
    results = level + (inside - start) / width * rise
    above, below = (
        ((distance / curve.span).clip(0.0, LARGEST) + 1.0).unary("Log")
        for distance in (columns - highest, -(columns - lowest))
    )
    return (results + above - below).cast(np.float32)


def _limited(values: Tensor, lowest: np.ndarray, highest: np.ndarray) -> Tensor:
    graph = values.graph
    below, above = values.compare("Less", lowest), values.compare("Greater", highest)
    limited = graph.where(below, lowest, values, np.float64)
    return graph.where(above, highest, limited, np.float64)


def _looked_up(table: np.ndarray, numbers: Tensor) -> Tensor:
    operands = (numbers.graph.constant(table), numbers)
    return numbers.graph.add("Gather", operands, numbers.shape, np.dtype(np.float64), axis=0)


def _robustly(scaling: RobustScaling, values: Tensor) -> Tensor:
    """Write the sigmoid around each column's median."""
    distance = values.cast(np.float64) * 0.5 - scaling.center / 2
    limited = (distance / (scaling.spread / 2)).clip(-LARGEST, LARGEST)
    return limited.unary("Sigmoid").cast(np.float32)


_SCALINGS: dict[type[Scaling], Callable[[Any, Tensor], Tensor]] = {
    MinMaxScaling: _by_range,
    LimitedScaling: _by_range,
    QuantileScaling: _by_quantiles,
    RobustScaling: _robustly,
}


def write_scaling(scaling: Scaling, values: Tensor) -> Tensor:
    """Write scaled values: float32 (batch, columns) of numbers (batch, columns)."""
    return _SCALINGS[type(scaling)](scaling, values)
