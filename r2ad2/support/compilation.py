"""Graphs for batches of any size, and whether XLA, TensorFlow's compiler, is available."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import Any

import tensorflow as tf

logger = logging.getLogger(__name__)


@cache
def can_fuse() -> bool:
    """Return whether XLA can compile for this machine's default device."""
    try:
        tf.function(lambda x: x + 1, jit_compile=True)(tf.constant(0.0))
    except (tf.errors.OpError, NotImplementedError) as error:
        logger.info("scoring is not compiled by XLA: %s", str(error).splitlines()[0])
        return False
    return True


def for_any_batch(function: Callable[[Any], tf.Tensor]) -> Callable[[Any], tf.Tensor]:
    """Compile a function into one graph, at its first call, that serves batches of any size.

    By itself, `tf.function` makes a graph for the first batch's size, and another one when a batch
    has a different size. Tracing gradients takes longer than most batches do.

    Args:
        function: from a tensor, or a nested structure of tensors, with samples along the first
            axis to a tensor. The types, and the sizes of the other axes, must stay the same.
    """
    graph = tf.function(function, reduce_retracing=True, autograph=False)
    traced = False

    def call(inputs: Any) -> tf.Tensor:
        nonlocal traced
        if not traced:
            graph.get_concrete_function(tf.nest.map_structure(_any_size, inputs))
            traced = True
        return graph(inputs)

    return call


def padded(samples: tf.Tensor, multiple: int = 1) -> tf.Tensor:
    """Append zeros to samples (n, ...) up to a multiple of some rows, and to at least one row.

    Some of TensorFlow's kernels fail on empty batches, and oneDNN's pooling ends the process.
    """
    shape = tf.shape(samples)
    n_more = tf.where(shape[0] == 0, multiple, tf.math.floormod(-shape[0], multiple))
    more = tf.zeros(tf.concat([[n_more], shape[1:]], axis=0), samples.dtype)
    return tf.ensure_shape(tf.concat([samples, more], axis=0), [None, *samples.shape[1:]])


def _any_size(batch: tf.Tensor) -> tf.TensorSpec:
    return tf.TensorSpec([None, *batch.shape[1:]], batch.dtype)
