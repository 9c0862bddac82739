"""Batches: shuffled reproducibly for training, chunks of bounded size elsewhere."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tensorflow as tf

from r2ad2.training.batches import bounded_batch_size, in_chunks, shuffled_batches


def epochs(n, seed=3, first_epoch=0):
    """Return the batches of n epochs of ten samples with labels."""
    samples = np.arange(10, dtype=np.float32)
    pipeline, steps = shuffled_batches([samples, -samples], 4, seed, first_epoch)
    batches = [(x.numpy(), y.numpy()) for x, y in pipeline.take(n * steps)]
    return [batches[i * steps : (i + 1) * steps] for i in range(n)]


def order(epoch):
    return np.concatenate([x for x, _ in epoch]).tolist()


def test_each_epoch_has_every_sample_once_in_an_order_of_its_own():
    first, second = epochs(2)
    assert [len(x) for x, _ in first] == [4, 4, 2]
    assert sorted(order(first)) == sorted(order(second)) == list(range(10))
    assert order(first) != order(second)
    for x, y in itertools.chain(first, second):
        np.testing.assert_array_equal(x, -y)


def test_the_order_depends_on_seed_and_epoch_alone():
    orders = [order(epoch) for epoch in epochs(3)]
    assert [order(epoch) for epoch in epochs(2, first_epoch=1)] == orders[1:]
    assert [order(epoch) for epoch in epochs(3, seed=4)] != orders


def test_every_epoch_draws_other_rows_of_a_pool_and_none_twice():
    samples, pool = np.arange(10), np.arange(35)

    def drawn(n_epochs, first_epoch=0):
        pipeline, steps = shuffled_batches([samples], 4, 3, first_epoch, [pool])
        batches = list(pipeline.take(n_epochs * steps).as_numpy_iterator())
        assert all(len(x) == len(z) for x, z in batches)
        rows = [
            np.concatenate(column).reshape(n_epochs, 10) for column in zip(*batches, strict=True)
        ]
        return rows[0].tolist(), rows[1].tolist()

    orders, rows = drawn(20)
    plain, steps = shuffled_batches([samples], 4, 3)
    assert np.concatenate([x for (x,) in plain.take(steps)]).tolist() == orders[0]
    assert all(len(set(row)) == 10 for row in rows)
    assert len(set(map(tuple, rows))) == 20
    assert {row for epoch in rows for row in epoch} == set(range(35))
    assert drawn(2, first_epoch=5) == (orders[5:7], rows[5:7])


@pytest.mark.parametrize(
    ("n_bytes", "size"), [(2**30, 16), (2**28 // 100, 100), (2**20, 256), (1, 4096)]
)
def test_batches_outside_training_need_about_256_megabytes(n_bytes, size):
    assert bounded_batch_size(n_bytes) == size


def test_chunks_give_the_result_of_all_samples_together():
    samples = {"a": np.arange(7.0), "b": np.arange(7.0) ** 2}
    sizes, reports = [], []

    def function(chunk):
        sizes.append(len(chunk["a"]))
        return tf.stack([chunk["a"], chunk["b"]], axis=1)

    result = in_chunks(function, samples, 3, reports.append)
    np.testing.assert_array_equal(result, np.stack([samples["a"], samples["b"]], axis=1))
    assert sizes == [3, 3, 1]
    assert reports == [3, 6, 7]


def test_no_samples_give_an_empty_result_of_the_right_shape():
    result = in_chunks(lambda x: tf.stack([x, x], axis=1), np.empty(0, np.float32), 3)
    assert (result.shape, result.dtype) == ((0, 2), np.float32)
