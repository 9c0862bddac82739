"""Graphs are made once, for batches of any size."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from r2ad2.support.compilation import for_any_batch


def test_batches_of_any_size_share_one_graph():
    traced = []

    def total(columns):
        traced.append(columns["number"].shape)
        return columns["number"] + tf.strings.length(columns["text"])

    compiled = for_any_batch(total)
    for n in (3, 1, 0, 40):
        columns = {"number": tf.range(n), "text": tf.fill([n], "ab")}
        np.testing.assert_array_equal(compiled(columns), np.arange(n) + 2)
    assert [shape.as_list() for shape in traced] == [[None]]
