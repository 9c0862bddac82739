"""The reconstruction loss of each sample of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import keras
import tensorflow as tf

LossLike: TypeAlias = "str | Callable | keras.losses.Loss"


def per_sample_loss(loss: LossLike) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Turn a Keras loss into a function that returns one number per sample.

    Args:
        loss: name of a Keras loss, a Keras loss object, or a function of (target, prediction)
            with values of shape (batch, ...).

    Returns:
        A function of target and prediction, both (batch, ...), that returns the mean loss over
        each sample's outputs, (batch,).
    """
    resolved = keras.losses.get(loss)
    # A loss object would average over the batch; its `call` does not.
    elementwise = resolved.call if isinstance(resolved, keras.losses.Loss) else resolved

    def mean_per_sample(target: tf.Tensor, prediction: tf.Tensor) -> tf.Tensor:
        values = elementwise(target, prediction)
        return tf.reduce_mean(values, axis=range(1, values.shape.rank))

    return mean_per_sample
