"""What training on several devices of one machine needs, under `tf.distribute.MirroredStrategy`."""

from __future__ import annotations

import tensorflow as tf


def n_devices() -> int:
    """Return the number of devices of the strategy in force, 1 without a strategy."""
    return tf.distribute.get_strategy().num_replicas_in_sync


def divisible(n_samples: int) -> int:
    """Round a number of samples down to one that all devices can share evenly.

    Keras' own training step weighs the devices' parts of a batch equally, so they must be equal.
    """
    return n_samples - n_samples % n_devices()


def mean_on_replica(loss: tf.Tensor) -> tf.Tensor:
    """Undo Keras' division of a loss by the number of devices: the mean over this device's samples.

    Args:
        loss: scalar result of a `keras.losses.Loss`.
    """
    return loss if n_devices() == 1 else loss * n_devices()


def share_of_batch(loss: tf.Tensor, n_samples: tf.Tensor) -> tf.Tensor:
    """Weigh a device's mean loss by its share of the batch's samples.

    The optimisers add up the gradients of all devices. Weighted like this, the sum is the gradient
    of the mean loss over the whole batch, even if the batch cannot be divided evenly.

    Args:
        loss: scalar, the mean loss of the samples on this device.
        n_samples: number of samples on this device, possibly none.

    Returns:
        The loss times its share in [0, 1]; on a single device the loss itself.
    """
    if n_devices() == 1:
        return loss
    n_here = tf.cast(n_samples, loss.dtype)
    n_everywhere = tf.distribute.get_replica_context().all_reduce(
        tf.distribute.ReduceOp.SUM, n_here
    )
    return loss * (n_here / n_everywhere)


def replica_seed(seed: tf.Tensor) -> tf.Tensor:
    """Make a seed (2,) from a Keras generator differ between the devices.

    All devices share a generator's state: without this they would draw the same noise and drop the
    same units. On a single device the seed stays as it is.
    """
    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return seed
    return seed + tf.cast([replica.replica_id_in_sync_group, 0], seed.dtype)
