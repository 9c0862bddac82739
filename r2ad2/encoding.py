"""What all encoders of input samples share: the interface, and min-max scaling."""

from __future__ import annotations

import abc
from typing import Any

import keras
import numpy as np
import tensorflow as tf


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

    @classmethod
    @abc.abstractmethod
    def learn(cls, samples: Any, is_normal: np.ndarray) -> InputEncoder:
        """Learn the encoding from checked training samples; scaling from the normal ones alone."""

    @property
    @abc.abstractmethod
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one encoded sample."""

    @abc.abstractmethod
    def prepare(self, samples: Any) -> Any:
        """Check samples and make them arrays, or a dict of arrays by column, for `call`.

        Raises:
            ValueError: if the samples do not have the form of the training data.
        """

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """Return the shape of encoded samples."""
        return (None, *self.sample_shape)


def scale(values: tf.Tensor, minimum: Any, maximum: Any) -> tf.Tensor:
    """Scale so that minimum becomes 0 and maximum 1; constant columns are only shifted.

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
    return tf.cast((tf.cast(values, tf.float64) - minimum) / span, tf.float32)


def count(n: int, noun: str) -> str:
    """Write "1 row", "2 rows"."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
