"""The inputs of an exported model: one tensor per column, or one tensor of arrays or images."""

from __future__ import annotations

import abc
import keyword
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from r2ad2.encoders.arrays import ImageEncoder, VectorEncoder
from r2ad2.encoders.base import InputEncoder
from r2ad2.encoders.tables import NUMBERS, TableEncoder

# The only types of a tf.train.Example.
_EXAMPLE_TYPES = {tf.string: tf.string, tf.int64: tf.int64, tf.bool: tf.int64, tf.uint8: tf.int64}


def input_names(columns: Sequence[str]) -> dict[str, str]:
    """Name the input of each column: the column's own name where TensorFlow accepts it.

    Runs of characters other than ASCII letters, digits and "_" become "_", and names start with a
    letter; "_" is appended to Python's keywords. TensorFlow compares names without regard to case:
    of names that would then be equal, a column's own name has priority, and the others end in a
    number.
    """
    wanted = {column: _argument_name(column) for column in columns}
    owners: dict[str, str] = {}
    for column, name in wanted.items():
        if name == column:
            owners.setdefault(name.lower(), column)
    names = {column: column for column in owners.values()}
    numbers: dict[str, int] = defaultdict(lambda: 2)
    for column, name in wanted.items():
        if column in names:
            continue
        unique = name
        while unique.lower() in owners:
            unique = f"{name}_{numbers[name.lower()]}"
            numbers[name.lower()] += 1
        owners[unique.lower()] = column
        names[column] = unique
    return {column: names[column] for column in columns}


def _argument_name(column: str) -> str:
    """Return a valid argument name that resembles the column's; not necessarily a unique one."""
    name = re.sub(r"\W+", "_", column, flags=re.ASCII).lstrip("_")
    if not name or name[0].isdigit():
        name = f"column_{name}".rstrip("_")
    return f"{name}_" if keyword.iskeyword(name) or name == "self" else name


class ServingInputs(abc.ABC):
    """The inputs of an exported model's signatures, for one kind of encoder."""

    @property
    @abc.abstractmethod
    def specs(self) -> dict[str, tf.TensorSpec]:
        """Type and shape of each input, by its name."""

    @property
    def columns(self) -> dict[str, str]:
        """The column of each input, by the input's name; none for arrays and images."""
        return {}

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
    def columns(self) -> dict[str, str]:
        """The column of each input, by the input's name."""
        return {name: column for column, name in self._names.items()}

    @property
    def example_features(self) -> dict[str, tf.io.FixedLenFeature]:
        """One feature per column, by its own name."""
        return {column: _feature([], self._example_type(column)) for column in self._names}

    def _example_type(self, column: str) -> tf.DType:
        # float32 would resolve minutes at best.
        return tf.int64 if column in self._encoder.timestamps else self._type(column)

    def for_encoder(self, inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Rename inputs to columns, stack the numbers and require that they are finite."""
        texts = {name: inputs[self._names[name]] for name in self._encoder.categories}
        numbers = self._encoder.number_names
        if not numbers:
            return texts
        columns = [tf.cast(inputs[self._names[name]], tf.float64) for name in numbers]
        stacked = tf.stack(columns, axis=1)
        with tf.control_dependencies(
            [_assert_finite(stacked, numbers, self._encoder.fills is not None)]
        ):
            return {**texts, NUMBERS: tf.identity(stacked)}

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
        flat = tf.reshape(values, [-1, 1])
        with tf.control_dependencies([_assert_finite(flat, ["inputs"], self._allow_missing)]):
            return tf.identity(values)

    def from_example(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {"inputs": tf.cast(features["inputs"], self._dtype)}

    def sample(self, n: int) -> dict[str, np.ndarray]:
        return {"inputs": np.full([n, *self._shape], self._typical, self._dtype.as_numpy_dtype)}


def _feature(shape: list[int], dtype: tf.DType) -> tf.io.FixedLenFeature:
    return tf.io.FixedLenFeature(shape, _EXAMPLE_TYPES.get(dtype, tf.float32))


def _assert_finite(numbers: tf.Tensor, columns: Sequence[str], allow_missing: bool) -> tf.Operation:
    """Assert that numbers (batch, columns) are finite; a server's error names the column."""
    fine = tf.math.is_finite(numbers)
    if allow_missing:
        fine |= tf.math.is_nan(numbers)
    by_column = tf.reduce_all(fine, axis=0)
    first = tf.argmin(tf.cast(by_column, tf.int32))
    # TensorFlow would escape quotation marks.
    message = tf.strings.join(
        ["column ", tf.constant(columns)[first], " holds NaN or infinity: fill or drop these rows"]
    )
    return tf.debugging.Assert(tf.reduce_all(by_column), [message])


def _vector_inputs(encoder: VectorEncoder) -> ServingInputs:
    return _DenseInputs(
        [len(encoder.minimum)], tf.float64, encoder.fills is not None, encoder.minimum[0]
    )


def _image_inputs(encoder: ImageEncoder) -> ServingInputs:
    pixels = tf.uint8 if encoder.is_bytes else tf.float32
    return _DenseInputs(encoder.image_shape, pixels, False, encoder.minimum)


_KINDS = {TableEncoder: TableInputs, VectorEncoder: _vector_inputs, ImageEncoder: _image_inputs}


def inputs_of(encoder: InputEncoder) -> ServingInputs:
    """Describe the inputs of an exported model with this encoder."""
    return _KINDS[type(encoder)](encoder)
