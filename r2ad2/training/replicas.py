"""What training on several devices under a tf.distribute strategy takes."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


def has_machines() -> bool:
    """Say whether the strategy in force spans several processes."""
    strategy = tf.distribute.get_strategy()
    return (
        isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
        and len(strategy.cluster_resolver.cluster_spec().as_dict().get("worker", ())) > 1
    )


def loss_in_batch(loss: tf.Tensor, n_samples: tf.Tensor) -> tf.Tensor:
    """Weigh a device's mean loss by its share in the batch's samples.

    The optimisers add up the gradients of all devices: weighted so they are those of the mean loss
    of the whole batch, also where the last batch of an epoch cannot be divided evenly.

    Args:
        loss: scalar, the mean loss of the samples on this device.
        n_samples: how many there are; none is possible.

    Returns:
        The loss times its share in [0, 1]; the loss itself on a single device.
    """
    if tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return loss
    n_here = tf.cast(n_samples, loss.dtype)
    n_everywhere = tf.distribute.get_replica_context().all_reduce(
        tf.distribute.ReduceOp.SUM, n_here
    )
    return loss * (n_here / n_everywhere)


def seed_of_device(seed: tf.Tensor) -> tf.Tensor:
    """Make a seed (2,) of Keras' generators differ between the devices of a strategy.

    There all devices keep a generator's state in common: without this they would draw the same
    noise and drop the same units. On a single device the seed stays as it is.
    """
    replica = tf.distribute.get_replica_context()
    if replica is None or replica.num_replicas_in_sync == 1:
        return seed
    return seed + tf.cast([replica.replica_id_in_sync_group, 0], seed.dtype)


def build_metrics_by(model: keras.Model, batch: Any) -> None:
    """Let a compiled model make the state of its metrics by a batch given here.

    Under a strategy Keras takes the data's first batch for that, and cannot if it is divided
    unevenly over the devices.

    Args:
        model: of which `fit` is called next.
        batch: one sample with its target, as `fit` takes them.
    """
    if tf.distribute.has_strategy():
        build = model._maybe_symbolic_build
        model._maybe_symbolic_build = lambda iterator=None, data_batch=None: build(data_batch=batch)
