"""The inputs of an exported model: one tensor per column, or one tensor of arrays or images."""

from __future__ import annotations

import abc
import keyword
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from r2ad2.encoders.arrays import ImageEncoder, VectorEncoder
from r2ad2.encoders.base import InputEncoder
from r2ad2.encoders.tables import TableEncoder

# The only types of a tf.train.Example.
_EXAMPLE_TYPES = {tf.string: tf.string, tf.int64: tf.int64, tf.bool: tf.int64, tf.uint8: tf.int64}


def input_names(columns: Sequence[str]) -> dict[str, str]:
    """Name the input of each column: the column's own name where it is a valid argument name.

    Runs of other characters become "_"; "_" is appended to Python's keywords, and numbers to
    names that would occur twice.
    """
    names: dict[str, str] = {}
    for column in columns:
        name = re.sub(r"\W+", "_", column, flags=re.ASCII) or "_"
        if name[0].isdigit():
            name = f"_{name}"
        if keyword.iskeyword(name):
            name += "_"
        unique, number = name, 2
        while unique in names.values():
            unique, number = f"{name}_{number}", number + 1
        names[column] = unique
    return names


class ServingInputs(abc.ABC):
    """The inputs of an exported model's signatures, for one kind of encoder."""

    @property
    @abc.abstractmethod
    def specs(self) -> dict[str, tf.TensorSpec]:
        """Type and shape of each input, by its name."""

    @property
    @abc.abstractmethod
    def example_features(self) -> dict[str, tf.io.FixedLenFeature]:
        """The features of a tf.train.Example."""

    @abc.abstractmethod
    def for_encoder(self, inputs: Mapping[str, tf.Tensor]) -> Any:
        """Convert the inputs to the encoder's; values it cannot encode are an error."""

    @abc.abstractmethod
    def from_example(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Convert the parsed features of examples to inputs."""

    @abc.abstractmethod
    def sample(self, n: int) -> dict[str, np.ndarray]:
        """Make n samples for warming up a server."""


class TableInputs(ServingInputs):
    """One input (batch,) per column, of the type that the column had in training.

    Timestamps are seconds since 1970 (UTC). Where missing values are allowed, all numbers are
    floats, missing numbers are NaN and missing texts are empty.
    """

    def __init__(self, encoder: TableEncoder):
        self._encoder = encoder
        self._names = input_names(encoder.columns)

    def _type(self, column: str) -> tf.DType:
        if column in self._encoder.categories:
            return tf.string
        if self._encoder.fills is not None:
            return tf.float64
        return tf.as_dtype(self._encoder.types.get(column, "float64"))

    @property
    def specs(self) -> dict[str, tf.TensorSpec]:
        """One tensor per column."""
        return {
            name: tf.TensorSpec([None], self._type(column), name)
            for column, name in self._names.items()
        }

    @property
    def example_features(self) -> dict[str, tf.io.FixedLenFeature]:
        """One feature per column, by its own name."""
        return {column: _feature([], self._example_type(column)) for column in self._names}

    def _example_type(self, column: str) -> tf.DType:
        # float32 would resolve minutes at best.
        return tf.int64 if column in self._encoder.timestamps else self._type(column)

    def for_encoder(self, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Rename inputs to columns, and require finite numbers."""
        columns = {column: inputs[name] for column, name in self._names.items()}
        numbers = {name: tf.cast(columns[name], tf.float64) for name in self._encoder.number_names}
        allowed = tf.math.is_nan if self._encoder.fills is not None else None
        with tf.control_dependencies(_require_finite(numbers, allowed)):
            return {name: tf.identity(column) for name, column in (columns | numbers).items()}

    def from_example(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Cast features to the columns' types."""
        return {
            name: features[column]
            if features[column].dtype == self._type(column)
            else tf.cast(features[column], self._type(column))
            for column, name in self._names.items()
        }

    def sample(self, n: int) -> dict[str, np.ndarray]:
        """Repeat the lowest values and the first categories."""
        values: dict[str, Any] = {name: low for name, (low, _) in self._encoder.ranges.items()}
        values |= {name: (v or [""])[0] for name, v in self._encoder.categories.items()}
        values |= dict.fromkeys(self._encoder.timestamps, 0.0)
        return {
            name: np.full(n, values[column], dtype=self._type(column).as_numpy_dtype)
            for column, name in self._names.items()
        }


class _DenseInputs(ServingInputs):
    """One input "inputs" (batch, ...)."""

    def __init__(self, shape: Sequence[int], dtype: tf.DType, allow_missing: bool, typical: float):
        self._shape = list(shape)
        self._dtype = dtype
        self._allow_missing = allow_missing
        self._typical = typical

    @property
    def specs(self) -> dict[str, tf.TensorSpec]:
        return {"inputs": tf.TensorSpec([None, *self._shape], self._dtype, "inputs")}

    @property
    def example_features(self) -> dict[str, tf.io.FixedLenFeature]:
        return {"inputs": _feature(self._shape, self._dtype)}

    def for_encoder(self, inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        values = tf.cast(inputs["inputs"], tf.float64)
        allowed = tf.math.is_nan if self._allow_missing else None
        with tf.control_dependencies(_require_finite({"inputs": values}, allowed)):
            return tf.identity(values)

    def from_example(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {"inputs": tf.cast(features["inputs"], self._dtype)}

    def sample(self, n: int) -> dict[str, np.ndarray]:
        return {"inputs": np.full([n, *self._shape], self._typical, self._dtype.as_numpy_dtype)}


def _feature(shape: list[int], dtype: tf.DType) -> tf.io.FixedLenFeature:
    return tf.io.FixedLenFeature(shape, _EXAMPLE_TYPES.get(dtype, tf.float32))


def _require_finite(numbers: Mapping[str, tf.Tensor], allowed: Any) -> list[tf.Operation]:
    """Assert that numbers are finite, so that a server's error names the column."""
    assertions = []
    for name, values in numbers.items():
        fine = tf.math.is_finite(values)
        if allowed is not None:
            fine |= allowed(values)
        # TensorFlow would escape quotation marks.
        message = f"column {name} holds NaN or infinity: fill or drop these rows"
        assertions.append(tf.debugging.Assert(tf.reduce_all(fine), [message]))
    return assertions


def _vector_inputs(encoder: VectorEncoder) -> ServingInputs:
    return _DenseInputs(
        [len(encoder.minimum)], tf.float64, encoder.fills is not None, encoder.minimum[0]
    )


def _image_inputs(encoder: ImageEncoder) -> ServingInputs:
    is_byte = encoder.integer and encoder.minimum >= 0 and encoder.maximum <= 255
    return _DenseInputs(
        encoder.image_shape, tf.uint8 if is_byte else tf.float32, False, encoder.minimum
    )


_KINDS = {TableEncoder: TableInputs, VectorEncoder: _vector_inputs, ImageEncoder: _image_inputs}


def inputs_of(encoder: InputEncoder) -> ServingInputs:
    """Describe the inputs of an exported model with this encoder."""
    return _KINDS[type(encoder)](encoder)
