"""What all encoders of input samples share: the interface, min-max scaling, missing numbers."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

_TYPICAL_SAMPLES = 10_000
_FARTHEST = 1e6


class InputEncoder(keras.layers.Layer, abc.ABC):
    """Turns raw samples into float32 tensors for the networks, scaled to [0, 1] on normal data.

    An encoder is learnt from training samples, refuses samples of another form with an error that
    names the culprit (`prepare`, in Python), and encodes (`call`, in TensorFlow, hence part of the
    saved model). Samples that differ from the normal training data may leave [0, 1].
    """

    def __init__(self, **kwargs: Any):
        # Raw values keep their double precision until they are scaled.
        super().__init__(autocast=False, trainable=False, **kwargs)

    def build(self, input_shape: Any) -> None:
        """Mark the encoder as built: what it has learnt was given to its constructor."""
        self.built = True

    @property
    def lookup_layers(self) -> Sequence[keras.layers.Layer]:
        """Keras layers whose tables an export must track."""
        return ()

    @classmethod
    @abc.abstractmethod
    def learn(
        cls, samples: Any, is_normal: np.ndarray, in_use: np.ndarray, missing: str = "error"
    ) -> InputEncoder:
        """Learn the encoding from training samples.

        Args:
            samples: all training samples; all of them are checked.
            is_normal: (n,) whether scaling is learnt from a sample.
            in_use: (n,) whether anything is learnt from a sample.
            missing: "error" or "indicator": what becomes of missing values.

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
        """Check samples and make them arrays, or a dict of arrays by column, for `call`.

        Raises:
            ValueError: if the samples do not have the form of the training data.
        """

    def typical(self, encoded: np.ndarray) -> np.ndarray:
        """Make one sample that is typical of encoded samples (n, ...): their median."""
        return np.median(encoded[:: -(-len(encoded) // _TYPICAL_SAMPLES)], axis=0)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """Return the shape of encoded samples."""
        return (None, *self.sample_shape)


def scale(values: tf.Tensor, minimum: Any, maximum: Any) -> tf.Tensor:
    """Scale so that minimum becomes 0 and maximum 1; constant columns are only shifted.

    Values further away than a million times the range count as that far away, so that gradients
    stay finite.

    Args:
        values: tensor (batch, ...).
        minimum: number or one per column.
        maximum: number or one per column.

    Returns:
        float32 tensor of the shape of `values`.
    """
    minimum = np.asarray(minimum, dtype=np.float64)
    span = np.asarray(maximum, dtype=np.float64) - minimum
    span = np.where(span == 0, 1.0, span)
    scaled = (tf.cast(values, tf.float64) - minimum) / span
    return tf.cast(tf.clip_by_value(scaled, -_FARTHEST, _FARTHEST), tf.float32)


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


def count(n: int, noun: str) -> str:
    """Write "1 row", "2 rows"."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
