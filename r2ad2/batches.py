"""Shuffled batches whose order follows from a seed and the epoch number alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf


def shuffled_batches(
    arrays: Sequence[np.ndarray], batch_size: int, seed: int, first_epoch: int = 0
) -> tuple[tf.data.Dataset, int]:
    """Make an endless pipeline of shuffled batches, one permutation per epoch.

    The permutation of an epoch depends on nothing but the seed and the epoch's number, so that
    training can be taken up at any epoch with the very same batches.

    Args:
        arrays: arrays of equal length, batched together.
        batch_size: samples per batch; the last batch of an epoch may be smaller.
        seed: decides all permutations.
        first_epoch: number of the epoch with which to begin.

    Returns:
        The pipeline of tuples of tensors, and the number of batches of one epoch.
    """
    n_samples = len(arrays[0])
    tensors = [tf.constant(array) for array in arrays]
    indices = tf.range(n_samples, dtype=tf.int64)

    def epoch_batches(epoch: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(indices, seed=[seed, epoch])
        return tf.data.Dataset.from_tensor_slices(order).batch(batch_size)

    pipeline = (
        tf.data.Dataset.counter(first_epoch)
        .flat_map(epoch_batches)
        .map(lambda index: tuple(tf.gather(tensor, index) for tensor in tensors))
        .prefetch(tf.data.AUTOTUNE)
    )
    return pipeline, math.ceil(n_samples / batch_size)
