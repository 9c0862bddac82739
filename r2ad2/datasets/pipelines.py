"""tf.data pipelines of samples in memory."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from sklearn.preprocessing import MinMaxScaler


def batches_of(
    arrays: tuple[np.ndarray, np.ndarray],
    batch_size: int,
    shuffle: bool,
    seed: int,
    rows: np.ndarray | None = None,
    scaler: MinMaxScaler | None = None,
) -> tf.data.Dataset:
    """Make a pipeline that gives batches of samples and labels.

    Args:
        arrays: samples (m, ...) and labels (n,).
        batch_size: samples per batch; the last batch may be smaller.
        shuffle: whether to reshuffle in each epoch.
        seed: seed of the shuffling.
        rows: position in `samples` of each label's sample (n,); None if they correspond one to one.
        scaler: applied to each batch of samples.

    Raises:
        ValueError: for a batch size below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    samples, labels = arrays
    n_samples = len(labels)
    order = tf.data.Dataset.range(n_samples)
    if shuffle and n_samples > 1:
        order = order.shuffle(n_samples, seed=seed)  # of indices only, hence of all of them

    def gather(index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # NumPy, not tf.gather: TensorFlow would copy the whole array first.
        x = samples[index if rows is None else rows[index]]
        if scaler is not None:
            x = scaler.transform(x)
        return x.astype(np.float32), labels[index].astype(np.int64)

    def to_batch(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        x, y = tf.numpy_function(gather, [index], (tf.float32, tf.int64))
        return tf.ensure_shape(x, (None, *samples.shape[1:])), tf.ensure_shape(y, (None,))

    return (
        order.batch(batch_size)
        .map(to_batch, num_parallel_calls=tf.data.AUTOTUNE)
        .prefetch(tf.data.AUTOTUNE)
    )
