"""Batches: shuffled ones for training, chunks of bounded memory for everything else."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

# Memory for one batch outside training, in bytes.
_WORKING_BYTES = 2**28


def default_batch_size(n_samples: int) -> int:
    """Choose the power of two nearest to an eightieth of the samples, from 16 to 512."""
    return int(np.clip(2 ** np.round(np.log2(max(n_samples, 1) / 80)), 16, 512))


def bounded_batch_size(bytes_per_sample: int) -> int:
    """Choose how many samples to process at a time outside training: 16 to 4096."""
    return int(np.clip(_WORKING_BYTES // bytes_per_sample, 16, 4096))


def shuffled_batches(
    arrays: Sequence[np.ndarray],
    batch_size: int,
    seed: int,
    first_epoch: int = 0,
    pools: Sequence[np.ndarray] = (),
) -> tuple[tf.data.Dataset, int]:
    """Make an endless pipeline of shuffled batches, one permutation per epoch.

    Each epoch also draws as many rows from every pool as there are samples, none of them twice. All
    this depends on nothing but the seed and the epoch's number, so that training can resume at any
    epoch with exactly the same batches.

    Args:
        arrays: arrays of equal length, batched together.
        batch_size: samples per batch; the last batch of an epoch may be smaller.
        seed: decides all permutations.
        first_epoch: number of the epoch with which to begin.
        pools: arrays of at least as many rows as there are samples.

    Returns:
        The pipeline of tuples of tensors, those of the pools last, and the number of batches of one
        epoch.
    """
    n_samples = len(arrays[0])
    tensors = [tf.constant(array) for array in [*arrays, *pools]]

    def epoch_batches(epoch: tf.Tensor) -> tf.data.Dataset:
        order = _shuffled(n_samples, seed, epoch)
        drawn = [_shuffled(len(pool), seed, -1 - epoch)[:n_samples] for pool in pools]
        indices = (*[order] * len(arrays), *drawn)
        return tf.data.Dataset.from_tensor_slices(indices).batch(batch_size)

    pipeline = (
        tf.data.Dataset.counter(first_epoch)
        .flat_map(epoch_batches)
        .map(lambda *indices: tuple(map(tf.gather, tensors, indices)))
        .prefetch(1)
        .with_options(_as_written())
    )
    return pipeline, math.ceil(n_samples / batch_size)


def batches_in_order(arrays: Sequence[np.ndarray], batch_size: int) -> tf.data.Dataset:
    """Make a pipeline of batches for evaluation.

    Args:
        arrays: arrays of equal length, batched together.
        batch_size: samples per batch; the last batch may be smaller.

    Returns:
        The pipeline of tuples of tensors.
    """
    tensors = [tf.constant(array) for array in arrays]
    return (
        tf.data.Dataset.range(0, len(arrays[0]), batch_size)
        .map(lambda start: tuple(tensor[start : start + batch_size] for tensor in tensors))
        .with_options(_as_written())
    )


def _as_written() -> tf.data.Options:
    """Run a pipeline without rewriting or tuning it first.

    That happens whenever an iteration begins, which for an evaluation is once per epoch, and takes
    longer than the batches of a small data set.
    """
    options = tf.data.Options()
    options.experimental_optimization.apply_default_optimizations = False
    options.autotune.enabled = False
    return options


def _shuffled(n: int, seed: int, epoch: tf.Tensor) -> tf.Tensor:
    """Shuffle the numbers from 0 to n - 1."""
    numbers = tf.range(n, dtype=tf.int64)
    return tf.random.experimental.stateless_shuffle(numbers, seed=[seed, epoch])


def in_chunks(
    function: Callable[[Any], tf.Tensor],
    samples: Any,
    size: int,
    report: Callable[[int], Any] | None = None,
) -> np.ndarray:
    """Apply a function to samples in chunks, so that memory does not grow with their number.

    Args:
        function: maps tensors to tensors, samples along the first axis.
        samples: array with samples along the first axis, or a nested structure of such arrays.
        size: samples per call.
        report: called with the number of samples done so far.

    Returns:
        The concatenated results.
    """
    n_samples = len(tf.nest.flatten(samples)[0])
    result = np.empty(0)
    for start in range(0, max(n_samples, 1), size):
        chunk = tf.nest.map_structure(
            lambda array, first=start: tf.convert_to_tensor(array[first : first + size]), samples
        )
        values = function(chunk).numpy()
        if start == 0:
            result = np.empty((n_samples, *values.shape[1:]), values.dtype)
        result[start : start + len(values)] = values
        if report is not None:
            report(start + len(values))
    return result
