"""Shared by all encoders of samples: the interface, min-max scaling, missing numbers."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

_TYPICAL_SAMPLES = 10_000
FARTHEST = 1e6
LARGEST = np.finfo(np.float64).max.item()
TINY = np.finfo(np.float64).tiny.item()  # TensorFlow treats smaller numbers as zero
_WIDE = 1e307


class InputTypeError(ValueError, TypeError):
    """Samples or labels of an unusable type.

    It is both kinds of error: scikit-learn expects a TypeError, while all other bad input raises a
    ValueError.
    """


class InputEncoder(keras.layers.Layer, abc.ABC):
    """Turns raw samples into float32 tensors for the networks, scaled to [0, 1] on normal data.

    An encoder is learnt from training samples. `prepare` (in Python) refuses samples of another
    form with an error that names the culprit; `call` (in TensorFlow, hence part of the saved model)
    encodes. Samples that differ from the normal training data may lie outside [0, 1].
    """

    def __init__(self, **kwargs: Any):
        # Raw values keep their double precision until they are scaled.
        super().__init__(autocast=False, trainable=False, dtype="float32", **kwargs)

    def build(self, input_shape: Any) -> None:
        """Mark the encoder as built: its constructor received all that was learnt."""
        self.built = True

    @property
    def lookup_layers(self) -> Sequence[keras.layers.Layer]:
        """Keras layers whose tables an export must track."""
        return ()

    @classmethod
    @abc.abstractmethod
    def learn(
        cls,
        samples: Any,
        is_normal: np.ndarray,
        in_use: np.ndarray,
        missing: str = "error",
        scaling: str = "minmax",
    ) -> InputEncoder:
        """Learn the encoding from training samples.

        Args:
            samples: all training samples; all of them are checked.
            is_normal: (n,) whether to learn scaling from a sample.
            in_use: (n,) whether to learn anything from a sample.
            missing: how to treat missing values: "error" or "indicator".
            scaling: how to scale numeric columns, a name in `r2ad2.encoders.scaling.SCALINGS`;
                images are always scaled by their range.

        Raises:
            ValueError: for samples that cannot be encoded; the message names the culprit.
        """

    @property
    @abc.abstractmethod
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one encoded sample."""

    @property
    @abc.abstractmethod
    def feature_groups(self) -> dict[str, np.ndarray]:
        """Positions in the flattened encoded sample that belong to each feature of the input."""

    @abc.abstractmethod
    def prepare(self, samples: Any) -> Any:
        """Check samples and convert them for `call`: to an array, or a dict of arrays.

        Raises:
            ValueError: if the samples differ in form from the training data.
        """

    def typical(self, encoded: np.ndarray) -> np.ndarray:
        """Return a typical one of encoded samples (n, ...): their median."""
        return np.median(encoded[:: -(-len(encoded) // _TYPICAL_SAMPLES)], axis=0)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """Return the shape of encoded samples."""
        return (None, *self.sample_shape)


def scale(values: tf.Tensor, minimum: Any, maximum: Any) -> tf.Tensor:
    """Scale so that minimum becomes 0 and maximum 1; constant columns are only shifted.

    Scaled values are clipped at a million, so that gradients stay finite.

    Args:
        values: tensor (batch, ...).
        minimum: number or one per column.
        maximum: number or one per column.

    Returns:
        float32 tensor of the shape of `values`.
    """
    values = tf.cast(values, tf.float64)
    factor, minimum, span = scaling_of(minimum, maximum)
    if np.any(factor != 1):
        values = values * factor
    scaled = (values - minimum) / span
    return tf.cast(tf.clip_by_value(scaled, -FARTHEST, FARTHEST), tf.float32)


def scaling_of(minimum: Any, maximum: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute the numbers of ``scaled = (factor * value - minimum) / span``; see `scale`.

    Returns:
        Factor, minimum and span. The factor is 1, or a sixteenth for ranges close to the largest
        double or beyond.
    """
    minimum, maximum = (np.asarray(limit, dtype=np.float64) for limit in (minimum, maximum))
    # In graphs TensorFlow multiplies by 1 / span, and treats denormal numbers as zero.
    factor = np.where(maximum / 2 - minimum / 2 > _WIDE, 1 / 16, 1.0)
    minimum, maximum = minimum * factor, maximum * factor
    span = maximum - minimum
    return factor, minimum, np.where(span < TINY, 1.0, span)


def fill_missing(values: tf.Tensor, fills: Any) -> tuple[tf.Tensor, tf.Tensor]:
    """Replace NaN by one number per column.

    Args:
        values: tensor (batch, columns).
        fills: one number per column.

    Returns:
        The values without NaN, and a float32 tensor (batch, columns): 1 where there was NaN.
    """
    missing = tf.math.is_nan(values)
    filled = tf.where(missing, tf.constant(np.asarray(fills), values.dtype), values)
    return filled, tf.cast(missing, tf.float32)


def mean_of_present(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute the mean of each column's finite values (0 if there are none), and their number.

    Args:
        values: numbers (rows, columns); even the largest doubles do not overflow.

    Returns:
        Means and counts (columns,).
    """
    present = np.isfinite(values)
    counts = present.sum(axis=0)
    return np.where(present, values / np.maximum(counts, 1), 0).sum(axis=0), counts


def require_finite_numbers(**learnt: Any) -> None:
    """Check the learnt numbers of an encoder.

    Raises:
        ValueError: if one is not finite; the message names the argument.
    """
    for name, numbers in learnt.items():
        if not np.isfinite(np.asarray(numbers, dtype=np.float64)).all():
            raise ValueError(f"{name} of an encoder must be finite numbers")
